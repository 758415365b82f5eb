/*
 * Times that a process counts by how long they were, for others to read in shared memory: a small
 * histogram of microseconds with four counts per doubling, so that a percentile is at most a
 * quarter too high. One process writes, others read, as with counters. Pure.
 */
#ifndef BASE_TIMING_H
#define BASE_TIMING_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/counters.h"
#include "base/hist.h"

enum {
    TIMING_BITS = 2,
    TIMING_MAX_BITS = 26, /* of microseconds: 67 s; longer times are counted with those */
    TIMING_N = HIST_COUNTS(TIMING_BITS, TIMING_MAX_BITS),
    TIMING_OCTAVES = TIMING_MAX_BITS, /* bounds of 1, 2, 4 … microseconds: see timing_octave */
};

struct timing {
    counter_t counts[TIMING_N];
    counter_t sum_us; /* of all times, each rounded to microseconds */
    counter_t max_ns; /* the longest */
};

/* timing_add - @n times of @ns nanoseconds, by the one writer only */
void timing_add(struct timing *t, uint64_t ns, uint64_t n);

/* timing_reset - all zero */
void timing_reset(struct timing *t);

/* timing_bound_us - the longest time that is counted at @place; the last place has no bound */
uint64_t timing_bound_us(size_t place);

/* timing_count - how many times there are */
uint64_t timing_count(const struct timing *t);

/* timing_octave - how many of them took at most 2^@i microseconds; @i below TIMING_OCTAVES */
uint64_t timing_octave(const struct timing *t, unsigned i);

/* timing_percentile_us - what @percent of them did not exceed: never too low; 0 without any */
double timing_percentile_us(const struct timing *t, double percent);

/* timing_merge - add @from to @to; the caller is the one writer of @to */
void timing_merge(struct timing *to, const struct timing *from);

/*
 * timing_take - add to @sum by how much @shared, which another process writes, has grown since
 * @last
 * @most  a count that has grown by more, or has fallen, adds nothing: it cannot be true
 * Sum and maximum are kept within what the counts allow.
 */
void timing_take(struct timing *last, struct timing *sum, const struct timing *shared,
                 uint64_t most);

/* timing_pack - as JSON, which later versions can read with other counts. NULL without memory. */
json_t *timing_pack(const struct timing *t);

/* timing_unpack - what timing_pack has made, added to @t. Returns 0, or -EBADMSG: it is none. */
int timing_unpack(const json_t *o, struct timing *t);

/* timing_raise - counts, sum and longest of @t are at least those of @least */
void timing_raise(struct timing *t, const struct timing *least);

#endif
