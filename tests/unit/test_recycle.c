/*
 * Recycling: the jitter's distribution, its bounds, and the reading of our own memory.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "worker/recycle.h"

static void recycle_max_requests__no_limit__never(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 1000; i++)
        assert_true(recycle_max_requests(0, i) == UINT64_MAX);
}

static void recycle_max_requests__limit_of_one__at_least_one(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 10000; i++)
        assert_in_range(recycle_max_requests(1, i), 1, 3);
}

/* The logarithms are normal: mean of the limit's, deviation 0.2. */
static void recycle_max_requests__many_draws__log_normal(void **state)
{
    const int n = 20000;
    double sum = 0, squares = 0;

    (void)state;
    for (int i = 0; i < n; i++) {
        double x = log((double)recycle_max_requests(1000000, (uint64_t)i) / 1e6);

        sum += x;
        squares += x * x;
    }
    assert_true(fabs(sum / n) < 0.01);
    assert_true(fabs(sqrt(squares / n) - 0.2) < 0.01);
}

static void recycle_memory_grace__limit_near_a_fresh_worker__a_minute(void **state)
{
    const uint64_t fresh = 6 << 20, room = RECYCLE_ROOM_BYTES;
    const struct {
        uint64_t limit, grace_ms;
    } table[] = {{0, 5000},
                 {1, 60000},
                 {fresh, 60000},
                 {fresh + room - 1, 60000},
                 {fresh + room, 5000},
                 {UINT64_MAX, 5000}};

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
        assert_int_equal(recycle_memory_grace_ms(table[i].limit, fresh), table[i].grace_ms);
}

static void recycle_resident_bytes__after_touching_memory__has_grown(void **state)
{
    const size_t size = 32 << 20;
    uint64_t before = recycle_resident_bytes();
    char *block = malloc(size);

    (void)state;
    assert_true(before > 0);
    assert_non_null(block);
    memset(block, 1, size);
    assert_true(recycle_resident_bytes() >= before + size / 2);
    free(block);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recycle_max_requests__no_limit__never),
        cmocka_unit_test(recycle_max_requests__limit_of_one__at_least_one),
        cmocka_unit_test(recycle_max_requests__many_draws__log_normal),
        cmocka_unit_test(recycle_memory_grace__limit_near_a_fresh_worker__a_minute),
        cmocka_unit_test(recycle_resident_bytes__after_touching_memory__has_grown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
