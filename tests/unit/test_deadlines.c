/*
 * Deadlines against a plain array of times.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "base/util.h"
#include "client/deadlines.h"
#include "conformance/must.h"

static void deadlines_take__same_and_different_times__earliest_first(void **state UNUSED)
{
    struct deadlines all = {0};
    struct deadline d[5];

    memset(d, 0, sizeof(d));
    assert_int_equal(deadlines_next(&all), DEADLINE_NEVER);
    deadlines_set(&all, &d[0], 30);
    deadlines_set(&all, &d[1], 10);
    deadlines_set(&all, &d[2], 10);
    deadlines_set(&all, &d[3], 20);
    deadlines_set(&all, &d[4], DEADLINE_NEVER);
    assert_false(d[4].is_set);
    assert_int_equal(deadlines_next(&all), 10);
    assert_null(deadlines_take(&all, 9));
    assert_int_equal(deadlines_take(&all, 20)->at_ns, 10);
    assert_int_equal(deadlines_take(&all, 20)->at_ns, 10);
    assert_ptr_equal(deadlines_take(&all, 20), &d[3]);
    assert_null(deadlines_take(&all, 20));
    deadlines_set(&all, &d[0], 15); /* moved */
    assert_ptr_equal(deadlines_take(&all, 20), &d[0]);
    deadlines_unset(&all, &d[0]);
    assert_int_equal(deadlines_next(&all), DEADLINE_NEVER);
}

static uint64_t earliest(const uint64_t *at, size_t n)
{
    uint64_t least = DEADLINE_NEVER;

    for (size_t i = 0; i < n; i++)
        least = MIN(least, at[i]);
    return least;
}

static void deadlines__random_changes__as_the_array_says(void **state UNUSED)
{
    enum { N = 300 };
    static struct deadline d[N];
    uint64_t at[N], rng = 7;
    struct deadlines all = {0};

    memset(d, 0, sizeof(d));
    memset(at, 0xff, sizeof(at));
    for (int round = 0; round < 60000; round++) {
        size_t i = rng_below(&rng, N);
        struct deadline *taken;

        switch (rng_below(&rng, 4)) {
        case 0:
            deadlines_unset(&all, &d[i]);
            at[i] = DEADLINE_NEVER;
            break;
        case 1:
            taken = deadlines_take(&all, rng_below(&rng, 1000));
            if (taken) {
                assert_int_equal(taken->at_ns, earliest(at, N));
                assert_int_equal(at[taken - d], taken->at_ns);
                at[taken - d] = DEADLINE_NEVER;
            }
            break;
        default:
            at[i] = rng_below(&rng, 1000);
            deadlines_set(&all, &d[i], at[i]);
            break;
        }
        assert_int_equal(deadlines_next(&all), earliest(at, N));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deadlines_take__same_and_different_times__earliest_first),
        cmocka_unit_test(deadlines__random_changes__as_the_array_says),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
