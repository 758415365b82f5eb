/*
 * The timing wheel against a naive list of deadlines.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>
#include "base/wheel.h"
#include "base/util.h"

static struct wheel wheel;

static void wheel_next__empty__none(void **state UNUSED)
{
    wheel_init(&wheel, 7);
    assert_int_equal(wheel_next(&wheel), WHEEL_NONE);
    assert_null(wheel_take(&wheel, 1000000));
    assert_int_equal(wheel_next(&wheel), WHEEL_NONE);
}

static void wheel_take__before_and_at_the_tick__only_at_it(void **state UNUSED)
{
    struct wheel_node n;

    wheel_init(&wheel, 0);
    wheel_node_init(&n);
    wheel_arm(&wheel, &n, 300);
    assert_int_equal(wheel_next(&wheel), 300);
    assert_null(wheel_take(&wheel, 299));
    assert_ptr_equal(wheel_take(&wheel, 300), &n);
    assert_int_equal(n.tick, WHEEL_NONE);
    assert_null(wheel_take(&wheel, 300));
    assert_int_equal(wheel_next(&wheel), WHEEL_NONE);
}

static void wheel_arm__later_than_it_hangs__stays(void **state UNUSED)
{
    struct wheel_node n;

    wheel_init(&wheel, 0);
    wheel_node_init(&n);
    wheel_arm(&wheel, &n, 10);
    wheel_arm(&wheel, &n, 400);
    assert_int_equal(n.tick, 10);
    wheel_arm(&wheel, &n, 5);
    assert_int_equal(n.tick, 5);
    assert_int_equal(wheel_next(&wheel), 5);
    wheel_disarm(&wheel, &n);
    assert_int_equal(wheel_next(&wheel), WHEEL_NONE);
    wheel_disarm(&wheel, &n);
}

static void wheel_arm__past_or_beyond_the_horizon__clamped(void **state UNUSED)
{
    struct wheel_node past, far;

    wheel_init(&wheel, 0);
    wheel_node_init(&past);
    wheel_node_init(&far);
    assert_null(wheel_take(&wheel, 99));
    wheel_arm(&wheel, &past, 3);
    assert_int_equal(past.tick, 100);
    wheel_arm(&wheel, &far, 100000);
    assert_int_equal(far.tick, 100 + WHEEL_SLOTS - 1);
    assert_ptr_equal(wheel_take(&wheel, 100), &past);
    assert_null(wheel_take(&wheel, 100));
    assert_ptr_equal(wheel_take(&wheel, UINT32_MAX - 1), &far);
}

static void wheel_take__armed_inside_the_loop__comes_out_later(void **state UNUSED)
{
    struct wheel_node a, b;

    wheel_init(&wheel, 0);
    wheel_node_init(&a);
    wheel_node_init(&b);
    wheel_arm(&wheel, &a, 5);
    wheel_arm(&wheel, &b, 5);
    assert_ptr_equal(wheel_take(&wheel, 5), &a);
    assert_int_equal(wheel_next(&wheel), 5); /* b is due */
    wheel_arm(&wheel, &a, 0);
    assert_int_equal(a.tick, 6);
    /* A whole turn later is the bucket that is being emptied. */
    wheel_disarm(&wheel, &a);
    wheel_arm(&wheel, &a, 5 + WHEEL_SLOTS);
    wheel_disarm(&wheel, &b);
    assert_null(wheel_take(&wheel, 5));
    assert_int_equal(wheel_next(&wheel), 5 + WHEEL_SLOTS);
    assert_ptr_equal(wheel_take(&wheel, 5 + WHEEL_SLOTS), &a);
}

enum { NODES = 64, STEPS = 20000 };

/* What hangs comes out exactly when it should, in the order of ticks, and wheel_next tells when. */
static void wheel_take__random_steps__as_the_naive_list(void **state UNUSED)
{
    struct wheel_node nodes[NODES];
    uint32_t expected[NODES], now = 0;

    srand(1);
    wheel_init(&wheel, 0);
    for (int i = 0; i < NODES; i++) {
        wheel_node_init(&nodes[i]);
        expected[i] = WHEEL_NONE;
    }
    for (int step = 0; step < STEPS; step++) {
        const int i = rand() % NODES;
        uint32_t first = WHEEL_NONE;

        if (rand() % 4 == 0) {
            wheel_disarm(&wheel, &nodes[i]);
            expected[i] = WHEEL_NONE;
        } else {
            const uint32_t tick = now + 1 + (uint32_t)rand() % (WHEEL_SLOTS - 1);

            wheel_arm(&wheel, &nodes[i], tick);
            if (tick < expected[i])
                expected[i] = tick;
        }
        for (int k = 0; k < NODES; k++)
            first = expected[k] < first ? expected[k] : first;
        assert_int_equal(wheel_next(&wheel), first);
        if (rand() % 8 == 0) {
            struct wheel_node *n;
            uint32_t last = 0;

            now += (uint32_t)rand() % (rand() % 16 ? 8 : 2 * WHEEL_SLOTS);
            while ((n = wheel_take(&wheel, now))) {
                uint32_t *e = &expected[n - nodes];

                assert_true(*e <= now && *e >= last);
                last = *e;
                *e = WHEEL_NONE;
            }
            for (int k = 0; k < NODES; k++)
                assert_true(expected[k] > now);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wheel_next__empty__none),
        cmocka_unit_test(wheel_take__before_and_at_the_tick__only_at_it),
        cmocka_unit_test(wheel_arm__later_than_it_hangs__stays),
        cmocka_unit_test(wheel_arm__past_or_beyond_the_horizon__clamped),
        cmocka_unit_test(wheel_take__armed_inside_the_loop__comes_out_later),
        cmocka_unit_test(wheel_take__random_steps__as_the_naive_list),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
