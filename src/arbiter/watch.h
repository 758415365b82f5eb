/*
 * The arbiter's regular look at its workers, and what /proc says of one that hangs, for the log.
 */
#ifndef ARBITER_WATCH_H
#define ARBITER_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct arbiter;
struct child;

/* watch_start - begin to look at the workers */
void watch_start(struct arbiter *a);

/* watch_begin - a process that has just been forked, or inherited, is watched from now on */
void watch_begin(struct child *c, uint64_t timeout_ms);

/*
 * watch_abort - at the end of its time: one that does not turn its loop is aborted first, so that
 * its idle connections are rescued. Returns false if it does.
 */
bool watch_abort(struct arbiter *a, struct child *c);

/* Texts are "" where the kernel does not say, or not to us. */
struct evidence {
    char state[24]; /* "T (stopped)" */
    uint64_t cpu_ms; /* used since it began, user and system */
    char wchan[64]; /* the kernel function that it sleeps in */
    char syscall[192]; /* "running", or number, arguments, sp and pc */
    char stack[1024]; /* of the kernel, the innermost first */
    char unread[192]; /* files of /proc/PID that cannot be read, and why; "" = all can */
};

/* watch_evidence - whatever can be had of process @pid */
void watch_evidence(struct evidence *e, pid_t pid);

/* The pure halves, each for the text of one file. */
void watch_read_stat(struct evidence *e, const char *text, long ticks_a_second);
void watch_read_line(char *ret, size_t size, const char *text);
void watch_read_stack(struct evidence *e, const char *text);

#endif
