/*
 * System calls of the code under test, counted and answered as a test wants. The program is linked
 * with --wrap for recv, send, readv, malloc, calloc and realloc.
 */
#ifndef SUPPORT_CALLS_H
#define SUPPORT_CALLS_H

#include <stddef.h>

/* The next answers of the system. */
struct answer {
    unsigned n_left; /* so many calls get it */
    int error; /* the call fails with that; 0 = it does not */
    size_t at_most; /* bytes taken or given; 0 = no bound */
};

extern struct calls {
    int peer, other_peer; /* whose calls are the test's own */
    unsigned n_reads, n_writes, n_allocations;
    unsigned fail_allocation; /* the so-manieth from here on fails; 0 = none */
    struct answer on_read, on_write;
} calls;

void calls_reset(void);
void calls_count_from_here(void);

#endif
