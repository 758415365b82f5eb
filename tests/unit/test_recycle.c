/*
 * Recycling: the drawn limits, their bounds and spread, and the reading of our own memory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "worker/recycle.h"

static void recycle_max_requests__no_limit__never(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 1000; i++)
        assert_true(recycle_max_requests(0, i) == UINT64_MAX);
}

static void recycle_max_requests__any_limit__two_to_four_thirds(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 1000; i++) {
        assert_int_equal(recycle_max_requests(1, i), 1);
        assert_in_range(recycle_max_requests(3, i), 2, 4);
        assert_in_range(recycle_max_requests(UINT32_MAX, i), UINT32_MAX / 3 * 2,
                        UINT32_MAX / 3 * 4ull);
    }
}

static void recycle_max_requests__many_draws__spread_around_the_limit(void **state)
{
    enum { DRAWS = 20000, LIMIT = 900000, TENTHS = 10 };
    unsigned n[TENTHS] = {0};
    double sum = 0;

    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++) {
        const uint64_t drawn = recycle_max_requests(LIMIT, i);

        sum += (double)drawn;
        n[(drawn - LIMIT / 3 * 2) * TENTHS / (LIMIT / 3 * 2 + 1)]++;
    }
    assert_in_range((uint64_t)(sum / DRAWS), LIMIT / 100 * 99, LIMIT / 100 * 101);
    for (int i = 0; i < TENTHS; i++)
        assert_in_range(n[i], DRAWS / TENTHS * 9 / 10, DRAWS / TENTHS * 11 / 10);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recycle_max_requests__no_limit__never),
        cmocka_unit_test(recycle_max_requests__any_limit__two_to_four_thirds),
        cmocka_unit_test(recycle_max_requests__many_draws__spread_around_the_limit),
        cmocka_unit_test(recycle_memory_grace__limit_near_a_fresh_worker__a_minute),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
