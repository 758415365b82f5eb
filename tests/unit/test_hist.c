/*
 * The histogram: its properties over random values, and against sorting them.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hist.h"
#include "conformance/must.h"

enum { VALUES = 20000 };

/* Every magnitude is as likely as any other. */
static uint64_t random_value(uint64_t *rng)
{
    return random_next(rng) >> (64 - HIST_MAX_BITS + rng_below(rng, HIST_MAX_BITS));
}

static void hist_index__every_count__its_values_and_no_others(void **state)
{
    (void)state;
    for (size_t i = 0; i < HIST_N; i++) {
        assert_int_equal(hist_index(hist_low(i)), i);
        assert_int_equal(hist_index(hist_high(i)), i);
        assert_true(hist_low(i) <= hist_high(i));
        if (i + 1 < HIST_N)
            assert_int_equal(hist_high(i) + 1, hist_low(i + 1));
    }
    assert_int_equal(hist_low(0), 0);
    assert_int_equal(hist_high(HIST_N - 1), (UINT64_C(1) << HIST_MAX_BITS) - 1);
}

static void hist_place__few_bits__each_count_follows_the_one_before(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 8; bits++) {
        const size_t n = HIST_COUNTS(bits, 30u);

        for (size_t i = 0; i < n; i++) {
            assert_int_equal(hist_place(bits, 30, hist_place_low(bits, i)), i);
            assert_int_equal(hist_place(bits, 30, hist_place_high(bits, i)), i);
            assert_int_equal(hist_place_high(bits, i) + 1,
                             i + 1 < n ? hist_place_low(bits, i + 1) : UINT64_C(1) << 30);
        }
        assert_int_equal(hist_place(bits, 30, UINT64_MAX), n - 1);
    }
}

static void hist_index__any_value__three_digits(void **state)
{
    uint64_t rng = 1;

    (void)state;
    for (int i = 0; i < 1000000; i++) {
        uint64_t v = random_value(&rng);
        size_t index = hist_index(v);

        assert_true(hist_low(index) <= v && v <= hist_high(index));
        assert_true(hist_high(index) - v <= v / 1000);
    }
}

static void hist_add__beyond_the_range__the_last_count(void **state)
{
    struct hist h;

    (void)state;
    assert_int_equal(hist_init(&h), 0);
    hist_add(&h, UINT64_MAX, 1);
    assert_int_equal(h.counts[HIST_N - 1], 1);
    assert_int_equal(h.max, UINT64_MAX);
    hist_fini(&h);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void hist_percentile__random_values__as_if_sorted(void **state)
{
    static const double percents[] = {0, 0.1, 1, 10, 25, 50, 75, 90, 99, 99.9, 99.99, 99.999, 100};
    static uint64_t values[VALUES];
    struct hist h;
    uint64_t rng = 2;

    (void)state;
    for (size_t n = 1; n <= VALUES; n = n * 3 + 1) {
        double sum = 0;

        assert_int_equal(hist_init(&h), 0);
        for (size_t i = 0; i < n; i++) {
            values[i] = random_value(&rng);
            sum += (double)values[i];
            hist_add(&h, values[i], 1);
        }
        qsort(values, n, sizeof(values[0]), by_value);
        assert_int_equal(h.n, n);
        assert_int_equal(h.min, values[0]);
        assert_int_equal(h.max, values[n - 1]);
        assert_true(fabs(hist_mean(&h) - sum / (double)n) <= sum * 1e-9);
        for (size_t p = 0; p < sizeof(percents) / sizeof(percents[0]); p++) {
            size_t rank = (size_t)ceil((double)n * percents[p] / 100 - 1e-6);
            uint64_t want = values[rank ? rank - 1 : 0];
            uint64_t got = hist_percentile(&h, percents[p]);

            assert_true(got >= want && got - want <= want / 1000);
        }
        hist_fini(&h);
    }
}

static void hist_merge__parts__equal_the_whole(void **state)
{
    struct hist whole, part[3], sum;
    uint64_t rng = 3;

    (void)state;
    assert_int_equal(hist_init(&whole) | hist_init(&sum), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(hist_init(&part[i]), 0);
    for (int i = 0; i < VALUES; i++) {
        uint64_t v = random_value(&rng), times = 1 + rng_below(&rng, 5);

        hist_add(&whole, v, times);
        hist_add(&part[rng_below(&rng, 3)], v, times);
    }
    for (int i = 0; i < 3; i++)
        hist_merge(&sum, &part[i]);
    assert_int_equal(sum.n, whole.n);
    assert_int_equal(sum.min, whole.min);
    assert_int_equal(sum.max, whole.max);
    assert_memory_equal(sum.counts, whole.counts, HIST_N * sizeof(whole.counts[0]));
    for (int i = 0; i < 3; i++)
        hist_fini(&part[i]);
    hist_fini(&whole);
    hist_fini(&sum);
}

static void hist__empty__zero(void **state)
{
    struct hist h;

    (void)state;
    assert_int_equal(hist_init(&h), 0);
    assert_int_equal(hist_percentile(&h, 50), 0);
    assert_true(hist_mean(&h) <= 0);
    hist_add(&h, 5000, 10);
    hist_add(&h, 100, 1);
    assert_int_equal(hist_above(&h, 100), 10);
    assert_int_equal(hist_above(&h, 5000), 0);
    hist_fini(&h);
}

static void times__none__all_zero(void **state)
{
    struct times t = {0};

    (void)state;
    assert_true(times_deviation(&t) <= 0 && t.mean_ns <= 0);
}

static void times__known_values__least_mean_greatest_deviation(void **state)
{
    static const uint64_t ns[] = {2, 4, 4, 4, 5, 5, 7, 9}; /* mean 5, deviation 2 */
    struct times t = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(ns) / sizeof(ns[0]); i++)
        times_add(&t, ns[i]);
    assert_int_equal(t.min_ns, 2);
    assert_int_equal(t.max_ns, 9);
    assert_true(fabs(t.mean_ns - 5) < 1e-9);
    assert_true(fabs(times_deviation(&t) - 2) < 1e-9);
}

/* Large times that differ little: where a sum of squares would have no digits left. */
static void times__far_from_zero__deviation_keeps_its_digits(void **state)
{
    struct times t = {0};
    uint64_t rng = 1, base = UINT64_C(3600000000000);

    (void)state;
    for (int i = 0; i < 100000; i++)
        times_add(&t, base + rng_below(&rng, 1001));
    assert_true(fabs(t.mean_ns - (double)base - 500) < 10);
    assert_true(fabs(times_deviation(&t) - 1001 / sqrt(12)) < 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hist_index__every_count__its_values_and_no_others),
        cmocka_unit_test(hist_place__few_bits__each_count_follows_the_one_before),
        cmocka_unit_test(hist_index__any_value__three_digits),
        cmocka_unit_test(hist_add__beyond_the_range__the_last_count),
        cmocka_unit_test(hist_percentile__random_values__as_if_sorted),
        cmocka_unit_test(hist_merge__parts__equal_the_whole),
        cmocka_unit_test(hist__empty__zero),
        cmocka_unit_test(times__none__all_zero),
        cmocka_unit_test(times__known_values__least_mean_greatest_deviation),
        cmocka_unit_test(times__far_from_zero__deviation_keeps_its_digits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
