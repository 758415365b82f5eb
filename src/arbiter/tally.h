/*
 * What the arbiter believes of a worker's counters. Pure. A worker that has gone mad may write
 * anything into its record, so its counters are not taken as they stand: what they have grown by
 * since the last look is added up, and a step that no machine could have done, or one backwards,
 * counts nothing.
 */
#ifndef ARBITER_TALLY_H
#define ARBITER_TALLY_H

#include <stdint.h>
#include "base/counters.h"

/* No counter grows faster than this in a second: a terabyte. */
#define TALLY_MAX_A_SECOND (UINT64_C(1) << 40)

struct tally {
    struct counters last; /* as read */
    struct counters sum; /* as believed: never decreases */
    uint64_t looked_ns;
};

/* tally_init - a new process, whose counters are zero */
void tally_init(struct tally *t, uint64_t now_ns);

/* tally_take - look at @shared */
void tally_take(struct tally *t, const struct counters *shared, uint64_t now_ns);

/* tally_end - the process has ended, with connections open or not: those are counted as left */
void tally_end(struct tally *t);

/* counters_sum - @sum += @c */
void counters_sum(struct counters *sum, const struct counters *c);

#endif
