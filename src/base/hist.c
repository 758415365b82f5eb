/*
 * Counts by the leading bits of a value.
 */
#include "base/hist.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "base/util.h"

int hist_init(struct hist *h)
{
    *h = (struct hist){.counts = calloc(HIST_N, sizeof(*h->counts)), .min = UINT64_MAX};
    return h->counts ? 0 : -ENOMEM;
}

void hist_fini(struct hist *h)
{
    free(h->counts);
    h->counts = NULL;
}

static unsigned hist_shift(unsigned bits, size_t place)
{
    return place < (size_t)2 << bits ? 0 : (unsigned)(place >> bits) - 1;
}

uint64_t hist_place_low(unsigned bits, size_t place)
{
    const unsigned shift = hist_shift(bits, place);

    return ((uint64_t)place - ((uint64_t)shift << bits)) << shift;
}

uint64_t hist_place_high(unsigned bits, size_t place)
{
    return hist_place_low(bits, place) + ((UINT64_C(1) << hist_shift(bits, place)) - 1);
}

uint64_t hist_low(size_t index)
{
    return hist_place_low(HIST_BITS, index);
}

uint64_t hist_high(size_t index)
{
    return hist_place_high(HIST_BITS, index);
}

void hist_merge(struct hist *to, const struct hist *from)
{
    for (size_t i = 0; i < HIST_N; i++)
        to->counts[i] += from->counts[i];
    to->n += from->n;
    to->sum += from->sum;
    to->min = MIN(to->min, from->min);
    to->max = MAX(to->max, from->max);
}

double hist_mean(const struct hist *h)
{
    return h->n ? h->sum / (double)h->n : 0;
}

/* A hair less, so that 99.9 % of 1000 is 999 whatever binary fractions make of it. */
uint64_t hist_rank(uint64_t n, double percent)
{
    const double rank = ceil((double)n * percent / 100 * (1 - 1e-12));

    return rank < 1 ? 1 : (uint64_t)rank;
}

uint64_t hist_percentile(const struct hist *h, double percent)
{
    const uint64_t wanted = hist_rank(h->n, percent);
    uint64_t seen = 0;

    for (size_t i = 0; i < HIST_N; i++) {
        seen += h->counts[i];
        if (seen >= wanted)
            return MIN(MAX(hist_high(i), h->min), h->max);
    }
    return h->n ? h->max : 0;
}

uint64_t hist_above(const struct hist *h, uint64_t value)
{
    uint64_t n = 0;

    for (size_t i = hist_index(value) + 1; i < HIST_N; i++)
        n += h->counts[i];
    return n;
}

/* Running mean and variance (B. P. Welford, 1962): no sum of squares that loses its digits. */
void times_add(struct times *t, uint64_t ns)
{
    double distance = (double)ns - t->mean_ns;

    t->n++;
    if (t->n == 1 || ns < t->min_ns)
        t->min_ns = ns;
    if (ns > t->max_ns)
        t->max_ns = ns;
    t->mean_ns += distance / (double)t->n;
    t->squares += distance * ((double)ns - t->mean_ns);
}

double times_deviation(const struct times *t)
{
    return t->n > 0 ? sqrt(t->squares / (double)t->n) : 0;
}
