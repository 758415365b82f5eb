/*
 * The times that ping sums up.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "measure/ping.h"
#include "support/must.h"

static void ping_times__none__all_zero(void **state)
{
    struct ping_times t = {0};

    (void)state;
    assert_true(ping_times_mdev(&t) <= 0 && t.mean_ns <= 0);
    assert_true(ping_lost_percent(0, 0) <= 0);
}

static void ping_times__known_values__least_mean_greatest_deviation(void **state)
{
    static const uint64_t ns[] = {2, 4, 4, 4, 5, 5, 7, 9}; /* mean 5, deviation 2 */
    struct ping_times t = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(ns) / sizeof(ns[0]); i++)
        ping_times_add(&t, ns[i]);
    assert_int_equal(t.min_ns, 2);
    assert_int_equal(t.max_ns, 9);
    assert_true(fabs(t.mean_ns - 5) < 1e-9);
    assert_true(fabs(ping_times_mdev(&t) - 2) < 1e-9);
    assert_true(fabs(ping_lost_percent(8, 6) - 25) < 1e-9);
}

/* Large times that differ little: where a sum of squares would have no digits left. */
static void ping_times__far_from_zero__deviation_keeps_its_digits(void **state)
{
    struct ping_times t = {0};
    uint64_t rng = 1, base = UINT64_C(3600000000000);

    (void)state;
    for (int i = 0; i < 100000; i++)
        ping_times_add(&t, base + rng_below(&rng, 1001));
    assert_true(fabs(t.mean_ns - (double)base - 500) < 10);
    assert_true(fabs(ping_times_mdev(&t) - 1001 / sqrt(12)) < 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ping_times__none__all_zero),
        cmocka_unit_test(ping_times__known_values__least_mean_greatest_deviation),
        cmocka_unit_test(ping_times__far_from_zero__deviation_keeps_its_digits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
