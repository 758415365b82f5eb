/*
 * Times by how long they were, in shared memory, and as the state of an upgrade.
 */
#include "base/timing.h"

#include <errno.h>
#include <stdbool.h>

#include "base/util.h"

/* Longer than any connection lives: a hundred days. */
#define LONGEST_NS (UINT64_C(1) << 53)

/* A time that is exactly a bound is not above it. */
static size_t place_of_us(uint64_t us)
{
    return hist_place(TIMING_BITS, TIMING_MAX_BITS, us > 0 ? us - 1 : 0);
}

void timing_add(struct timing *t, uint64_t ns, uint64_t n)
{
    counter_add(&t->counts[place_of_us(ns / 1000 + (ns % 1000 > 0))], n);
    counter_add(&t->sum_us, (ns + 500) / 1000 * n);
    if (ns > counter_get(&t->max_ns))
        counter_set(&t->max_ns, ns);
}

void timing_reset(struct timing *t)
{
    for (size_t i = 0; i < TIMING_N; i++)
        counter_set(&t->counts[i], 0);
    counter_set(&t->sum_us, 0);
    counter_set(&t->max_ns, 0);
}

uint64_t timing_bound_us(size_t place)
{
    return hist_place_high(TIMING_BITS, place) + 1;
}

static uint64_t count_below(const struct timing *t, size_t end)
{
    uint64_t n = 0;

    for (size_t i = 0; i < end; i++)
        n += counter_get(&t->counts[i]);
    return n;
}

uint64_t timing_count(const struct timing *t)
{
    return count_below(t, TIMING_N);
}

uint64_t timing_octave(const struct timing *t, unsigned i)
{
    return count_below(t, place_of_us(UINT64_C(1) << i) + 1);
}

double timing_percentile_us(const struct timing *t, double percent)
{
    const double max_us = (double)counter_get(&t->max_ns) / 1e3;
    const uint64_t n = timing_count(t), wanted = hist_rank(n, percent);
    uint64_t seen = 0;

    for (size_t i = 0; n > 0 && i + 1 < TIMING_N; i++) {
        seen += counter_get(&t->counts[i]);
        if (seen >= wanted)
            return MIN((double)timing_bound_us(i), max_us);
    }
    return n > 0 ? max_us : 0;
}

void timing_merge(struct timing *to, const struct timing *from)
{
    for (size_t i = 0; i < TIMING_N; i++)
        counter_add(&to->counts[i], counter_get(&from->counts[i]));
    counter_add(&to->sum_us, counter_get(&from->sum_us));
    if (counter_get(&to->max_ns) < counter_get(&from->max_ns))
        counter_set(&to->max_ns, counter_get(&from->max_ns));
}

/* ---- what is believed of another process's counts ---- */

static uint64_t product(uint64_t a, uint64_t b)
{
    uint64_t c;

    return __builtin_mul_overflow(a, b, &c) ? UINT64_MAX : c;
}

static uint64_t total(uint64_t a, uint64_t b)
{
    uint64_t c;

    return __builtin_add_overflow(a, b, &c) ? UINT64_MAX : c;
}

static uint64_t within(uint64_t value, uint64_t least, uint64_t most)
{
    return MIN(MAX(value, least), most);
}

static uint64_t longest_of(size_t place)
{
    return place + 1 < TIMING_N ? timing_bound_us(place) * 1000 : LONGEST_NS;
}

/* The longest time belongs to the last place that has a count. */
static void see_longest(struct timing *sum, uint64_t max_ns)
{
    size_t last = TIMING_N;

    while (last > 0 && counter_get(&sum->counts[last - 1]) == 0)
        last--;
    if (last-- == 0)
        return;
    max_ns = within(max_ns, hist_place_low(TIMING_BITS, last) * 1000, longest_of(last));
    if (max_ns > counter_get(&sum->max_ns))
        counter_set(&sum->max_ns, max_ns);
}

void timing_take(struct timing *last, struct timing *sum, const struct timing *shared,
                 uint64_t most)
{
    const uint64_t sum_us = counter_get(&shared->sum_us);
    const uint64_t step_us = sum_us - counter_get(&last->sum_us), was = counter_get(&sum->sum_us);
    uint64_t least_us = 0, most_us = 0;

    for (size_t i = 0; i < TIMING_N; i++) {
        const uint64_t value = counter_get(&shared->counts[i]);
        const uint64_t step = value - counter_get(&last->counts[i]);

        counter_set(&last->counts[i], value);
        if (step == 0 || step > most)
            continue;
        counter_add(&sum->counts[i], step);
        least_us = total(least_us, product(step, hist_place_low(TIMING_BITS, i)));
        most_us = total(most_us, product(step, longest_of(i) / 1000));
    }
    counter_set(&last->sum_us, sum_us);
    counter_set(&sum->sum_us,
                MIN(total(was, within(step_us, least_us, most_us)), (uint64_t)INT64_MAX));
    see_longest(sum, counter_get(&shared->max_ns));
}

void timing_raise(struct timing *t, const struct timing *least)
{
    for (size_t i = 0; i < TIMING_N; i++)
        counter_set(&t->counts[i], MAX(counter_get(&t->counts[i]), counter_get(&least->counts[i])));
    counter_set(&t->sum_us, MAX(counter_get(&t->sum_us), counter_get(&least->sum_us)));
    counter_set(&t->max_ns, MAX(counter_get(&t->max_ns), counter_get(&least->max_ns)));
}

/* ---- as JSON ---- */

static json_int_t integer(const counter_t *c)
{
    return (json_int_t)MIN(counter_get(c), (uint64_t)INT64_MAX);
}

json_t *timing_pack(const struct timing *t)
{
    json_t *counts = json_array();
    int rc = 0;

    for (size_t i = 0; i < TIMING_N; i++) {
        if (counter_get(&t->counts[i]) > 0)
            rc |= json_array_append_new(
                counts, json_pack("[I,I]", (json_int_t)timing_bound_us(i), integer(&t->counts[i])));
    }
    if (rc < 0) {
        json_decref(counts);
        return NULL;
    }
    return json_pack("{s:I,s:I,s:o}", "sum_us", integer(&t->sum_us), "max_ns", integer(&t->max_ns),
                     "counts", counts);
}

static bool is_whole(const json_t *n)
{
    return json_is_integer(n) && json_integer_value(n) >= 0;
}

static int unpack_counts(const json_t *list, struct timing *t)
{
    const json_t *pair;
    size_t i;

    json_array_foreach(list, i, pair)
    {
        const json_t *bound = json_array_get(pair, 0), *n = json_array_get(pair, 1);

        if (json_array_size(pair) != 2 || !is_whole(bound) || !is_whole(n))
            return -EBADMSG;
        counter_add(&t->counts[place_of_us((uint64_t)json_integer_value(bound))],
                    (uint64_t)json_integer_value(n));
    }
    return 0;
}

int timing_unpack(const json_t *o, struct timing *t)
{
    const json_t *sum = json_object_get(o, "sum_us"), *max = json_object_get(o, "max_ns");
    const json_t *counts = json_object_get(o, "counts");

    if (json_object_size(o) != 3 || !is_whole(sum) || !is_whole(max) || !json_is_array(counts))
        return -EBADMSG;
    counter_add(&t->sum_us, (uint64_t)json_integer_value(sum));
    if (counter_get(&t->max_ns) < (uint64_t)json_integer_value(max))
        counter_set(&t->max_ns, (uint64_t)json_integer_value(max));
    return unpack_counts(counts, t);
}
