/*
 * The end of a child, for whoever has a deadline as well: nothing ends a process that waits for a
 * file system, not even SIGKILL. Any process.
 */
#ifndef BASE_REAP_H
#define BASE_REAP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { REAP_KILLED_MS = 200 }; /* enough for a process that can be killed at all */

/*
 * reap_by - wait for the end of a child until @deadline_ms (clock_mono_ms), at least once
 * @ret_status  as of waitpid(2); NULL = of no interest
 * Returns whether it has ended. If not, it is left to itself, and to init.
 */
bool reap_by(pid_t pid, uint64_t deadline_ms, int *ret_status);

/* reap_killed - kill it, and wait for REAP_KILLED_MS. Returns as reap_by. */
bool reap_killed(pid_t pid, int *ret_status);

#endif
