/*
 * The log writer: a process that reads lines from a pipe and writes them to a file, a terminal or
 * standard error. A child of the arbiter. It may hang in open or write as long as its target does:
 * nobody waits for it, and who finds the pipe full drops lines and counts them.
 *
 * Its socket to the arbiter, SOCK_SEQPACKET, carries text:
 *   arbiter -> writer   "reopen Q"         open the file anew, behind the lines that are queued
 *                       "leave"            end; another writer goes on with the pipe
 *   writer -> arbiter   "opened Q N TEXT"  a target has been opened (N = 0), or not: errno and why
 *                       "lost N"           lines that nobody writes any more, since the last report
 * Q is the number of the question that the writer has answered last, also when it has tried again
 * of itself.
 */
#ifndef LOG_WRITER_LOG_WRITER_H
#define LOG_WRITER_LOG_WRITER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum { LOG_WRITER_PIPE_BYTES = 1 << 20, LOG_WRITER_MESSAGE_MAX = 1024, LOG_WRITER_RETRY_MS = 5000 };

struct log_writer_options {
    const char *path; /* borrowed; "" = standard error */
    int pipe_fd; /* borrowed: reading end, not blocking; lines are written to it whole */
    uint64_t question; /* that its first opening answers, from 1 */
    bool is_daemon; /* standard error leads nowhere */
    bool is_first; /* to open this target: a failure ends the writer, and the arbiter decides */
    bool is_last; /* the target takes nothing any more: it only says how many lines are lost */
};

/*
 * log_writer_start - fork one; it writes until every writing end of the pipe is closed
 * @ret_control_fd  the caller's end of its socket, not blocking
 * Returns 0 or -errno.
 */
int log_writer_start(const struct log_writer_options *options, pid_t *ret_pid, int *ret_control_fd);

/* log_writer_say - one message, either way. Does not block. Returns whether it was taken. */
bool log_writer_say(int control_fd, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
