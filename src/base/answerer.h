/*
 * A child that finds something out, writes its answer to a pipe and ends: what may hang or crash
 * does so there. Whoever starts one has a deadline, and kills what has not ended by then.
 */
#ifndef BASE_ANSWERER_H
#define BASE_ANSWERER_H

#include <sys/types.h>

/* What the child does with @job, and with @fd for its answer. Ends the process, by _exit. */
typedef void answerer_main(const void *job, int fd);

/*
 * answerer_start - fork a child for @main
 * It begins with default signals, none blocked, and is killed when its parent ends. It has all of
 * the parent's descriptors.
 * @job      borrowed; the child has a copy of all memory
 * @ret_fd   owned: its answer can be read without blocking, also where a process that it has left
 *   behind still has the other end
 * Returns 0 or -errno.
 */
int answerer_start(answerer_main *main, const void *job, pid_t *ret_pid, int *ret_fd);

#endif
