/*
 * Whom workers and other actors serve as is found out, and tried, by a child: a look-up of a name
 * may block for ever, and what cannot be done shall be known before anything is bound.
 */
#ifndef CONF_TRIAL_H
#define CONF_TRIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/log.h"
#include "base/privileges.h"
#include "conf/config.h"

enum { TRIAL_MS = 10000 };

/*
 * trial_start - fork the child
 * @program  borrowed: the name of the program, which is that of its usual user
 * @ret_fd   owned by the caller: for trial_result
 * Returns 0 or -errno.
 */
int trial_start(const struct config *config, const char *program, pid_t *ret_pid, int *ret_fd);

/*
 * trial_result - what the child has said that ended with @status; @fd is closed
 * @why  on failure: a sentence that names the key; CONFIG_WHY_LEN bytes
 * Returns 0, -ESRCH (there is no such user or group), -EPERM or -errno.
 */
int trial_result(const struct config *config, int fd, int status, struct privileges *ret,
                 char *why);

/* trial_run - the whole of it, in TRIAL_MS at most. Returns as trial_result; or -ETIME. */
int trial_run(const struct config *config, const char *program, struct privileges *ret, char *why);

/* trial_is_needed - is there anything that the arbiter does not know by itself? */
bool trial_is_needed(const struct config *config);

/* trial_log - say what was found, if root has started the server */
void trial_log(const struct privileges *p, struct log *log);

#endif
