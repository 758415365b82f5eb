/*
 * Reading echo.conf. The parser (libconfig) runs in a forked child with a deadline, because it may
 * exit, wrap numbers or block; the child returns the table of values, never a promise to parse it
 * again.
 */
#ifndef CONF_CONFIG_FILE_H
#define CONF_CONFIG_FILE_H

#include <stddef.h>
#include <sys/types.h>
#include "conf/config.h"

enum { CONFIG_FILE_MAX_BYTES = 1 << 20, CONFIG_ERRORS_MAX = 32, CONFIG_PARSE_TIMEOUT_MS = 5000 };

/* All that was wrong, in the order of the file. Each text is "FILE:LINE: KEY: what, and what is
 * allowed". */
struct config_errors {
    size_t n;
    char *text[CONFIG_ERRORS_MAX]; /* owned */
};
void config_errors_fini(struct config_errors *e);

/*
 * config_child_start - fork a child that parses @path
 * The child blocks all signals, touches no event loop, writes its result to a pipe and _exits.
 * @path      absolute; borrowed
 * @ret_pid   the child, to be reaped by the caller
 * @ret_fd    reading end (non-blocking, cloexec), owned by the caller; the result is complete at
 * end of file Returns 0 or -errno.
 */
int config_child_start(const char *path, pid_t *ret_pid, int *ret_fd);

/*
 * config_child_result - turn what the child wrote into a configuration
 * @overrides  values from the command line, applied last: pairs (key, canonical text); may be NULL
 * @ret        on 0: owned by the caller
 * @errors     on -EINVAL: at least one text; caller frees
 * Returns 0, -EINVAL (see @errors; also for a child that died or wrote nonsense) or -ENOMEM.
 */
struct config_override {
    enum config_key key;
    const char *text;
};
int config_child_result(const char *path, const char *data, size_t len,
                        const struct config_override *overrides, size_t n_overrides,
                        struct config **ret, struct config_errors *errors);

/*
 * config_load - start, wait at most CONFIG_PARSE_TIMEOUT_MS and finish; for start-up, -t and -T
 * @path  NULL or "" = built-in defaults and overrides only. Blocks. Returns as config_child_result.
 */
int config_load(const char *path, const struct config_override *overrides, size_t n_overrides,
                struct config **ret, struct config_errors *errors);

#endif
