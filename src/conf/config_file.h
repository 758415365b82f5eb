/*
 * Reading the configuration file. The parser (libconfig) runs in a forked child with a deadline,
 * because it may exit, wrap numbers or block; the child returns the table of values, never a
 * promise to parse it again.
 */
#ifndef CONF_CONFIG_FILE_H
#define CONF_CONFIG_FILE_H

#include <jansson.h>
#include <stddef.h>
#include <sys/types.h>
#include "conf/config.h"
#include "conf/config_errors.h"

enum {
    CONFIG_FILE_MAX_BYTES = 1 << 20,
    CONFIG_PARSE_TIMEOUT_MS = 5000,
    CONFIG_PARSE_MEMORY_MIB = 256, /* that the child may touch; a file of 1 MiB needs a few */
    CONFIG_ANSWER_MAX_BYTES = 2 << 20, /* whoever reads the child's pipe stops here */
};

/* A value from the command line. */
struct config_override {
    int key;
    const char *text; /* canonical; borrowed */
    const char *option; /* that gave it, for messages: "-o"; NULL = it says itself */
};

/*
 * config_override_read - GROUP.KEY=VALUE, where VALUE is canonical text
 * @text  borrowed by @ret
 * @why   on -EINVAL: a sentence; @why_size bytes
 * Returns 0 or -EINVAL.
 */
int config_override_read(const struct config_schema *schema, const char *text,
                         struct config_override *ret, char *why, size_t why_size);

/*
 * config_child_start - fork a child that parses @path, and looks up the users and groups that are
 * named there or by @overrides
 * The child has every signal but SIGPROF at its default, ends by itself after
 * CONFIG_PARSE_TIMEOUT_MS or when it takes more than CONFIG_PARSE_MEMORY_MIB, touches no event
 * loop, keeps no descriptor, writes its result to a pipe and _exits.
 * @path      absolute; borrowed; NULL or "" = there is no file
 * @ret_pid   the child, to be reaped by the caller
 * @ret_fd    reading end (non-blocking, cloexec), owned by the caller; the result is complete at
 *            end of file
 * Returns 0 or -errno.
 */
int config_child_start(const struct config_schema *schema, const char *path,
                       const struct config_override *overrides, size_t n_overrides, pid_t *ret_pid,
                       int *ret_fd);

/*
 * config_child_result - turn what the child wrote into a configuration
 * @status     how it ended, as of waitpid: why there may be no answer
 * @overrides  values from the command line, applied last; may be NULL
 * @ret        on 0: owned by the caller
 * @errors     zeroed by the caller, config_errors_fini() when done; on -EINVAL: at least one text
 * Returns 0, -EINVAL (see @errors; also for a child that died or wrote nonsense) or -ENOMEM.
 */
int config_child_result(const struct config_schema *schema, const char *path, const char *data,
                        size_t len, int status, const struct config_override *overrides,
                        size_t n_overrides, struct config **ret, struct config_errors *errors);

/*
 * config_load - start, wait and finish; for start-up, -t and -T. Blocks.
 * @path  NULL or "" = built-in defaults and overrides only
 * Returns as config_child_result, or what config_child_start says.
 */
int config_load(const struct config_schema *schema, const char *path,
                const struct config_override *overrides, size_t n_overrides, struct config **ret,
                struct config_errors *errors);

/* config_load_within - config_load with a deadline of its own instead of CONFIG_PARSE_TIMEOUT_MS */
int config_load_within(const struct config_schema *schema, const char *path,
                       const struct config_override *overrides, size_t n_overrides,
                       unsigned timeout_ms, struct config **ret, struct config_errors *errors);

/*
 * config_file_read - the child's work: read @path
 * @values  takes what the file holds, as of config_encode_value: not checked yet
 * Only in a process of its own: libconfig may exit, crash or take for ever.
 * Returns 0, CONFIG_FILE_UNCLEAR (libconfig has found something else in it than the scan of its
 * text: wrong, even if nothing else is), -EINVAL (see @errors) or -ENOMEM.
 */
enum { CONFIG_FILE_UNCLEAR = 1 };
int config_file_read(const struct config_schema *schema, const char *path, json_t *values,
                     struct config_errors *errors);

#endif
