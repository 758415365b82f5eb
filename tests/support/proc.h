/*
 * What /proc says of a process. Everything is a snapshot: a process that is gone reads as nothing.
 */
#ifndef SUPPORT_PROC_H
#define SUPPORT_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/types.h>

enum { PROC_CHILDREN_MAX = 256 };

/* proc_children - live and dead children, at most @max. Returns how many. */
size_t proc_children(pid_t pid, pid_t *ret, size_t max);

/* proc_state - 'R', 'S', 'T', 'Z' …; 0 = gone */
char proc_state(pid_t pid);
bool proc_is_alive(pid_t pid); /* there, and no zombie */

size_t proc_count_fds(pid_t pid);

/* proc_find_fd - the number of a descriptor whose link contains @text, or -1 */
int proc_find_fd(pid_t pid, const char *text);

/* proc_list_fds - "0 /dev/null\n1 …", for messages and comparisons; always terminated */
void proc_list_fds(pid_t pid, char *buf, size_t size);

/* proc_status - the number behind "KEY:" of /proc/PID/status, in its own unit and base */
uint64_t proc_status(pid_t pid, const char *key, int base);

/* proc_limit_fds - prlimit(2) of RLIMIT_NOFILE by a process of the same user as @pid: root may not
 * everywhere do it for others. Returns whether it worked. */
bool proc_limit_fds(pid_t pid, const struct rlimit *limit, struct rlimit *ret_before);

uint64_t proc_cpu_ms(pid_t pid); /* user and system */

/* proc_command - the command line, blanks between */
void proc_command(pid_t pid, char *buf, size_t size);

#endif
