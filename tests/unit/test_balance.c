/*
 * The balance: even loads after one round, silence when they are even enough, bounds kept.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "arbiter/balance.h"
#include "base/util.h"

enum { WORKERS_MAX = 32 };

struct spread {
    uint64_t least, most, total;
};

static struct spread spread_of(const uint64_t *loads, size_t n)
{
    struct spread s = {UINT64_MAX, 0, 0};

    for (size_t i = 0; i < n; i++) {
        s.least = MIN(s.least, loads[i]);
        s.most = MAX(s.most, loads[i]);
        s.total += loads[i];
    }
    return s;
}

/* Plans and carries out one round on @loads; checks what every plan must keep. Returns the moves.
 */
static size_t round_of(uint64_t *loads, size_t n)
{
    struct balance_load sorted[WORKERS_MAX];
    struct balance_move moves[BALANCE_MOVES_MAX];
    bool gives[WORKERS_MAX] = {0}, takes[WORKERS_MAX] = {0};
    uint64_t moved = 0;
    size_t n_moves;

    for (size_t i = 0; i < n; i++)
        sorted[i] = (struct balance_load){(uint32_t)i, loads[i]};
    n_moves = balance_plan(sorted, n, moves);
    assert_true(n_moves <= BALANCE_MOVES_MAX);
    for (size_t i = 0; i < n_moves; i++) {
        assert_true(moves[i].count > 0 && moves[i].count <= loads[moves[i].from]);
        loads[moves[i].from] -= moves[i].count;
        loads[moves[i].to] += moves[i].count;
        gives[moves[i].from] = takes[moves[i].to] = true;
        moved += moves[i].count;
    }
    assert_true(moved <= BALANCE_ROUND_MAX);
    for (size_t i = 0; i < n; i++)
        assert_false(gives[i] && takes[i]);
    return n_moves;
}

static void balance_plan__one_worker_or_none__nothing(void **state)
{
    uint64_t one[] = {1000};

    (void)state;
    assert_int_equal(round_of(one, 0), 0);
    assert_int_equal(round_of(one, 1), 0);
}

static void balance_plan__even_enough__nothing(void **state)
{
    uint64_t a[] = {0, 2, 1}, b[] = {100, 105, 103}, c[] = {1000, 1033};

    (void)state;
    assert_int_equal(round_of(a, 3), 0);
    assert_int_equal(round_of(b, 3), 0);
    assert_int_equal(round_of(c, 2), 0);
}

static void balance_plan__two_grow_to_four__even_in_one_round(void **state)
{
    uint64_t loads[] = {1000, 1000, 0, 0};
    struct spread s;

    (void)state;
    assert_int_equal(round_of(loads, 4), 2);
    s = spread_of(loads, 4);
    assert_int_equal(s.least, 500);
    assert_int_equal(s.most, 500);
    assert_int_equal(round_of(loads, 4), 0);
}

static void balance_plan__remainder__differs_by_one(void **state)
{
    uint64_t loads[] = {10, 0, 0};
    struct spread s;

    (void)state;
    assert_true(round_of(loads, 3) > 0);
    s = spread_of(loads, 3);
    assert_int_equal(s.most - s.least, 1);
    assert_int_equal(s.total, 10);
}

static void balance_plan__more_than_a_round__goes_on_to_the_end(void **state)
{
    uint64_t loads[] = {100000, 0};
    int rounds = 0;

    (void)state;
    while (round_of(loads, 2) > 0)
        assert_true(++rounds <= 4);
    assert_int_equal(rounds, 3);
    assert_int_equal(loads[0], loads[1]);
}

static void balance_plan__random_loads__even_and_then_silent(void **state)
{
    (void)state;
    srandom(8060);
    for (int run = 0; run < 2000; run++) {
        uint64_t loads[WORKERS_MAX];
        size_t n = 2 + (size_t)random() % (WORKERS_MAX - 1);
        struct spread before, after;
        int rounds = 0;

        for (size_t i = 0; i < n; i++)
            loads[i] = (uint64_t)random() % 500;
        before = spread_of(loads, n);
        while (round_of(loads, n) > 0)
            assert_true(++rounds <= 2);
        after = spread_of(loads, n);
        assert_int_equal(before.total, after.total);
        assert_true(after.most <= after.least + after.least / 32 + 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(balance_plan__one_worker_or_none__nothing),
        cmocka_unit_test(balance_plan__even_enough__nothing),
        cmocka_unit_test(balance_plan__two_grow_to_four__even_in_one_round),
        cmocka_unit_test(balance_plan__remainder__differs_by_one),
        cmocka_unit_test(balance_plan__more_than_a_round__goes_on_to_the_end),
        cmocka_unit_test(balance_plan__random_loads__even_and_then_silent),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
