/*
 * What /proc says of a process that hangs, for the log. Bounded reads; nothing here waits for the
 * process.
 */
#ifndef ARBITER_EVIDENCE_H
#define ARBITER_EVIDENCE_H

#include <stdint.h>
#include <sys/types.h>

/* Texts are "" where the kernel does not say, or not to us. */
struct evidence {
    char state[24]; /* "T (stopped)" */
    uint64_t cpu_ms; /* used since it began, user and system */
    char wchan[64]; /* the kernel function that it sleeps in */
    char syscall[192]; /* "running", or number, arguments, sp and pc */
    char stack[1024]; /* of the kernel, the innermost first */
};

/* evidence_take - whatever can be had of process @pid */
void evidence_take(struct evidence *e, pid_t pid);

/* The pure halves, each for the text of one file. */
void evidence_read_stat(struct evidence *e, const char *text, long ticks_a_second);
void evidence_read_line(char *ret, size_t size, const char *text);
void evidence_read_stack(struct evidence *e, const char *text);

#endif
