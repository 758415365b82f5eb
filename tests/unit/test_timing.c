/*
 * Times by how long they were: the bounds of counts, percentiles, what is believed of another
 * process, and the way over an upgrade.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/timing.h"
#include "base/util.h"
#include "conformance/must.h"

static const uint64_t us = 1000, ms = 1000000, most = UINT64_C(1) << 40;

static void timing_add__each_time__within_the_bounds_of_its_count(void **state UNUSED)
{
    uint64_t rng = 5;

    for (int i = 0; i < 100000; i++) {
        const uint64_t ns = random_next(&rng) >> (28 + rng_below(&rng, 36));
        struct timing t = {0};
        size_t place = 0;

        timing_add(&t, ns, 3);
        assert_int_equal(timing_count(&t), 3);
        while (counter_get(&t.counts[place]) == 0)
            place++;
        assert_true(place + 1 == TIMING_N || ns <= timing_bound_us(place) * us);
        assert_true(place == 0 || ns > timing_bound_us(place - 1) * us);
        assert_int_equal(counter_get(&t.max_ns), ns);
    }
}

static void timing_bound_us__every_count__a_quarter_more_at_most(void **state UNUSED)
{
    assert_int_equal(timing_bound_us(0), 1);
    for (size_t i = 1; i < TIMING_N; i++) {
        const uint64_t before = timing_bound_us(i - 1), bound = timing_bound_us(i);

        assert_true(bound > before && (bound == before + 1 || bound * 4 <= before * 5));
    }
    assert_int_equal(timing_bound_us(TIMING_N - 1), UINT64_C(1) << TIMING_MAX_BITS);
}

static void timing_octave__bound_itself__is_below_it(void **state UNUSED)
{
    for (unsigned i = 0; i < TIMING_OCTAVES; i++) {
        struct timing t = {0};

        timing_add(&t, us << i, 1);
        timing_add(&t, (us << i) + 1, 1);
        assert_int_equal(timing_octave(&t, i), 1);
        assert_int_equal(i > 0 ? timing_octave(&t, i - 1) : 0, 0);
        assert_int_equal(timing_count(&t), 2);
    }
}

static void
timing_percentile__known_times__never_too_low_and_a_quarter_too_high(void **state UNUSED)
{
    struct timing t = {0};

    assert_true(timing_percentile_us(&t, 99) == 0);
    for (uint64_t i = 1; i <= 1000; i++)
        timing_add(&t, i * us, 1);
    for (unsigned percent = 1; percent <= 100; percent++) {
        const double got = timing_percentile_us(&t, percent), right = percent * 10;

        assert_true(got >= right && got <= right * 1.25);
    }
    assert_true(timing_percentile_us(&t, 100) == 1000);
    timing_add(&t, 3600 * 1000 * ms, 1000000); /* longer than any count says */
    assert_true(timing_percentile_us(&t, 50) == 3600e6);
    assert_int_equal(timing_octave(&t, TIMING_OCTAVES - 1), 1000);
}

static void timing_take__counted_up__exact_and_once(void **state UNUSED)
{
    struct timing shared = {0}, last = {0}, sum = {0};
    uint64_t rng = 7, n = 0;

    for (int i = 0; i < 1000; i++) {
        const uint64_t times = 1 + rng_below(&rng, 256);

        timing_add(&shared, rng_below(&rng, 90000 * ms), times);
        n += times;
        timing_take(&last, &sum, &shared, most);
        timing_take(&last, &sum, &shared, most);
        assert_int_equal(timing_count(&sum), n);
        assert_int_equal(counter_get(&sum.sum_us), counter_get(&shared.sum_us));
        assert_int_equal(counter_get(&sum.max_ns), counter_get(&shared.max_ns));
    }
    assert_memory_equal(sum.counts, shared.counts, sizeof(sum.counts));
}

/* A sum that the counts do not allow is brought to the nearest that they do; so is the longest. */
static void timing_take__sum_or_longest_impossible__as_the_counts_say(void **state UNUSED)
{
    struct timing shared = {0}, last = {0}, sum = {0};

    timing_add(&shared, 10 * ms, 4);
    counter_set(&shared.sum_us, UINT64_MAX);
    counter_set(&shared.max_ns, UINT64_MAX);
    timing_take(&last, &sum, &shared, most);
    assert_in_range(counter_get(&sum.sum_us), 4 * 10000, 5 * 10000);
    assert_in_range(counter_get(&sum.max_ns), 10 * ms, 12500 * us);
    counter_set(&shared.sum_us, 0);
    counter_set(&shared.max_ns, 0);
    timing_take(&last, &sum, &shared, most);
    assert_in_range(counter_get(&sum.sum_us), 4 * 10000, 5 * 10000);
    assert_in_range(counter_get(&sum.max_ns), 10 * ms, 12500 * us);
}

static void timing_take__garbage__nothing_falls_and_nothing_explodes(void **state UNUSED)
{
    struct timing shared = {0}, last = {0}, sum = {0}, before = {0};
    uint64_t rng = 9;

    for (int i = 0; i < 20000; i++) {
        counter_t *words = shared.counts;
        const size_t place = rng_below(&rng, sizeof(shared) / sizeof(*words));

        counter_set(place < TIMING_N    ? &words[place]
                    : place == TIMING_N ? &shared.sum_us
                                        : &shared.max_ns,
                    random_next(&rng) >> rng_below(&rng, 64));
        timing_take(&last, &sum, &shared, 1000);
        for (size_t k = 0; k < TIMING_N; k++)
            assert_in_range(counter_get(&sum.counts[k]) - counter_get(&before.counts[k]), 0, 1000);
        assert_true(counter_get(&sum.sum_us) >= counter_get(&before.sum_us));
        assert_true(counter_get(&sum.max_ns) >= counter_get(&before.max_ns));
        assert_true(counter_get(&sum.sum_us) <= INT64_MAX);
        timing_reset(&before);
        timing_merge(&before, &sum);
    }
}

static void timing_unpack__what_was_packed__the_same(void **state UNUSED)
{
    struct timing t = {0}, back = {0};
    uint64_t rng = 11;
    json_t *o;

    for (int i = 0; i < 300; i++)
        timing_add(&t, random_next(&rng) >> (20 + rng_below(&rng, 40)), rng_below(&rng, 9));
    o = timing_pack(&t);
    assert_int_equal(timing_unpack(o, &back), 0);
    assert_memory_equal(&back, &t, sizeof(t));
    json_decref(o);
}

static void timing_raise__less_than_there_is__kept(void **state UNUSED)
{
    struct timing t = {0}, least = {0};

    timing_add(&t, 5 * us, 7);
    timing_add(&least, 5 * us, 3);
    timing_add(&least, 9 * ms, 2);
    timing_raise(&t, &least);
    assert_int_equal(timing_octave(&t, 3), 7);
    assert_int_equal(timing_count(&t), 9);
    assert_int_equal(counter_get(&t.max_ns), 9 * ms);
    assert_int_equal(counter_get(&t.sum_us), counter_get(&least.sum_us));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timing_add__each_time__within_the_bounds_of_its_count),
        cmocka_unit_test(timing_bound_us__every_count__a_quarter_more_at_most),
        cmocka_unit_test(timing_octave__bound_itself__is_below_it),
        cmocka_unit_test(timing_percentile__known_times__never_too_low_and_a_quarter_too_high),
        cmocka_unit_test(timing_take__counted_up__exact_and_once),
        cmocka_unit_test(timing_take__sum_or_longest_impossible__as_the_counts_say),
        cmocka_unit_test(timing_take__garbage__nothing_falls_and_nothing_explodes),
        cmocka_unit_test(timing_unpack__what_was_packed__the_same),
        cmocka_unit_test(timing_raise__less_than_there_is__kept),
    };

    return cmocka_run_group_tests_name("timing", tests, NULL, NULL);
}
