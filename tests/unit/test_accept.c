/*
 * The accept gate: who may take a connection, and how even the shares become.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/util.h"
#include "worker/accept.h"

static void accept_gate__no_sibling__always_open(void **state)
{
    (void)state;
    assert_true(accept_gate_is_open(0, UINT64_MAX, 0));
    assert_true(accept_gate_is_open(1000000, UINT64_MAX, 0));
}

static void accept_gate__table__opens_below_least_and_slack(void **state)
{
    static const struct {
        uint64_t own, least, closes;
        bool is_open;
    } rows[] = {
        {0, 0, 0, true},       {1, 0, 0, true},        {2, 0, 0, false}, /* slack of two */
        {101, 100, 0, true},   {105, 100, 0, true},    {106, 100, 0, false}, /* a sixteenth */
        {1061, 1000, 0, true}, {1062, 1000, 0, false}, {10, 2, 9, true}, /* about to fall */
        {11, 2, 9, false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(accept_gate_is_open(rows[i].own, rows[i].least, rows[i].closes),
                         rows[i].is_open);
}

/* Whatever the order in which workers wake, a gate that is asked before each accept keeps them
 * even. */
static void accept_gate__random_wakers__shares_stay_within_slack(void **state)
{
    uint64_t own[4] = {0};
    uint64_t least, most;

    (void)state;
    srandom(8060);
    for (int accepted = 0; accepted < 20000;) {
        size_t me = (size_t)random() % 4;

        least = UINT64_MAX;
        for (size_t i = 0; i < 4; i++)
            if (i != me)
                least = MIN(least, own[i]);
        if (accept_gate_is_open(own[me], least, 0)) {
            own[me]++;
            accepted++;
        }
    }
    least = most = own[0];
    for (size_t i = 1; i < 4; i++) {
        least = MIN(least, own[i]);
        most = MAX(most, own[i]);
    }
    assert_true(most <= least + least / 16 + 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accept_gate__no_sibling__always_open),
        cmocka_unit_test(accept_gate__table__opens_below_least_and_slack),
        cmocka_unit_test(accept_gate__random_wakers__shares_stay_within_slack),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
