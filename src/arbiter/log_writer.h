/*
 * The log writer: a process that reads lines from a pipe and writes them to a file, a terminal or
 * standard error. A child of the arbiter. It may hang in open or write as long as its target does:
 * nobody waits for it, and who finds the pipe full drops lines and counts them.
 *
 * Its socket to the arbiter, SOCK_SEQPACKET, carries text:
 *   arbiter -> writer   "reopen"       open the file anew, behind the lines that are queued
 *                       "leave"        end; another writer goes on with the pipe
 *   writer -> arbiter   "open N TEXT"  a target has been opened (N = 0), or not: errno and why
 *                       "lost N"       lines that the target did not take, since the last report
 */
#ifndef ARBITER_LOG_WRITER_H
#define ARBITER_LOG_WRITER_H

#include <stdbool.h>
#include <sys/types.h>

enum { LOG_WRITER_PIPE_BYTES = 1 << 20, LOG_WRITER_MESSAGE_MAX = 1024, LOG_WRITER_RETRY_MS = 5000 };

struct log_writer_options {
    const char *path; /* borrowed; "" = standard error */
    int pipe_fd; /* owned: reading end, not blocking; lines are written to it whole */
    int control_fd; /* owned */
    pid_t arbiter_pid;
    bool is_daemon; /* standard error leads nowhere */
    bool is_first; /* to open this target: a failure is the arbiter's to judge, and ends it */
};

/*
 * log_writer_main - write until every writing end of the pipe is closed; a forked child, in which
 * all signals are blocked and nothing but the two descriptors and 0 to 2 is open
 */
void __attribute__((noreturn)) log_writer_main(const struct log_writer_options *options);

#endif
