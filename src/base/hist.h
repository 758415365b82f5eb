/*
 * A histogram with some significant digits over the whole range, in constant memory (after
 * G. Tene's HdrHistogram): with B bits, values below 2^(B+1) have a count each, and above that each
 * doubling has 2^B of them. Pure.
 */
#ifndef BASE_HIST_H
#define BASE_HIST_H

#include <stddef.h>
#include <stdint.h>

/* ---- which count a value has ---- */

/* How many counts there are for values of at most @max_bits. */
#define HIST_COUNTS(bits, max_bits) (((max_bits) - (bits) + 1) << (bits))

/* hist_place - of @value, or of the greatest that has a count */
static inline size_t hist_place(unsigned bits, unsigned max_bits, uint64_t value)
{
    unsigned shift;

    if (value >> max_bits)
        value = (UINT64_C(1) << max_bits) - 1;
    if (value >> (bits + 1) == 0)
        return (size_t)value;
    shift = 63u - bits - (unsigned)__builtin_clzll(value);
    return ((size_t)shift << bits) + (size_t)(value >> shift);
}

/* hist_place_low, hist_place_high - the least and the greatest value of a count */
uint64_t hist_place_low(unsigned bits, size_t place);
uint64_t hist_place_high(unsigned bits, size_t place);

/* hist_rank - how many of @n values, from the least on, are @percent of them: 1 or more */
uint64_t hist_rank(uint64_t n, double percent);

/* ---- a histogram with three digits ---- */

enum {
    HIST_BITS = 10,
    HIST_MAX_BITS = 43, /* of a value: 2.4 hours in nanoseconds; what is above counts as that */
    HIST_N = HIST_COUNTS(HIST_BITS, HIST_MAX_BITS),
};

struct hist {
    uint64_t *counts; /* owned, HIST_N */
    uint64_t n;
    uint64_t min, max; /* exact */
    double sum;
};

/* hist_init - returns 0 or -ENOMEM; hist_fini - NULL counts are fine */
int hist_init(struct hist *h);
void hist_fini(struct hist *h);

/* hist_index - which count a value has; hist_low, hist_high - the least and greatest of it */
static inline size_t hist_index(uint64_t value)
{
    return hist_place(HIST_BITS, HIST_MAX_BITS, value);
}
uint64_t hist_low(size_t index);
uint64_t hist_high(size_t index);

/* hist_add - @times times */
static inline void hist_add(struct hist *h, uint64_t value, uint64_t times)
{
    h->counts[hist_index(value)] += times;
    h->n += times;
    h->sum += (double)value * (double)times;
    if (value < h->min)
        h->min = value;
    if (value > h->max)
        h->max = value;
}

void hist_merge(struct hist *to, const struct hist *from);

/* hist_mean - exact but for rounding; 0 without values */
double hist_mean(const struct hist *h);

/* hist_percentile - the value that @percent of all do not exceed, as hist_high gives it; 0 without
 * values */
uint64_t hist_percentile(const struct hist *h, double percent);

/* hist_above - how many values are in counts above that of @value */
uint64_t hist_above(const struct hist *h, uint64_t value);

/* ---- where a histogram would be too much ---- */

struct times {
    uint64_t n;
    uint64_t min_ns, max_ns;
    double mean_ns;
    double squares; /* sum of squared distances from the mean */
};

void times_add(struct times *t, uint64_t ns);

/* times_deviation - sqrt(E[x²] − E[x]²), in nanoseconds; 0 without times */
double times_deviation(const struct times *t);

#endif
