/*
 * The generic pool: who gets what, in which order, and what happens when it goes wrong.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <cmocka.h>
#include "base/util.h"
#include "support/pool_rig.h"

/* ---- what it is ---- */

static void pool_new__sizes_out_of_range__refused(void **state UNUSED)
{
    struct pool *p = NULL;

    assert_int_equal(pool_new(&pool_rig_ops, NULL, 0, 1, &p), ARB_INVALID);
    assert_int_equal(pool_new(&pool_rig_ops, NULL, ARB_POOL_SIZE_MAX + 1, 1, &p), ARB_INVALID);
    assert_int_equal(pool_new(&pool_rig_ops, NULL, 1, 0, &p), ARB_INVALID);
    assert_null(p);
    pool_free(NULL);
}

static void pool_acquire__nothing_there__opens_lazily(void **state UNUSED)
{
    pool_rig_begin(10, 1);
    assert_trace("");
    assert_int_equal(counters_of(rig.pool).pool_size, 10);
    come('a');
    assert_trace("open1 ");
    assert_counters(0, 0, 1, 1, 0);
    opened(1);
    assert_trace("a=1 ");
    assert_counters(1, 0, 0, 0, 1);
    leave('a');
    assert_counters(0, 1, 0, 0, 1);
    come('b');
    assert_trace("b=1 ");
    pool_rig_finish();
    assert_trace("close1 ");
}

static void pool_acquire__several_idle__first_in_first_out(void **state UNUSED)
{
    pool_rig_begin(3, 1);
    for (char g = 'a'; g <= 'c'; g++)
        come(g);
    for (int i = 1; i <= 3; i++)
        opened(i);
    leave('b');
    leave('c');
    leave('a');
    assert_trace("open1 open2 open3 a=1 b=2 c=3 ");
    come('d');
    come('e');
    come('f');
    assert_trace("d=2 e=3 f=1 ");
    pool_rig_finish();
}

static void pool_acquire__full__waiters_in_order(void **state UNUSED)
{
    pool_rig_begin(1, 1);
    for (char g = 'a'; g <= 'e'; g++)
        come(g);
    assert_counters(0, 0, 1, 5, 0);
    opened(1);
    for (char g = 'a'; g <= 'e'; g++)
        leave(g);
    assert_trace("open1 a=1 b=1 c=1 d=1 e=1 ");
    assert_counters(0, 1, 0, 0, 1);
    pool_rig_finish();
}

static void pool_acquire__released_before_opened__first_waiter_and_the_next(void **state UNUSED)
{
    pool_rig_begin(2, 1);
    come('a');
    opened(1);
    come('b');
    come('c');
    leave('a'); /* b need not wait for the one that opens for it */
    assert_trace("open1 a=1 open2 b=1 ");
    opened(2);
    assert_trace("c=2 ");
    pool_rig_finish();
}

/* ---- what goes wrong ---- */

static void pool_failed__waiters__one_told_the_others_go_on(void **state UNUSED)
{
    pool_rig_begin(2, 1);
    come('a');
    come('b');
    come('c');
    assert_trace("open1 open2 ");
    failed(1, ARB_REFUSED);
    assert_trace("a:refused open1 ");
    failed(2, ARB_TIMEOUT);
    assert_trace("b:timeout ");
    failed(1, ARB_REFUSED);
    assert_trace("c:refused ");
    assert_counters(0, 0, 0, 0, 0);
    pool_rig_finish();
}

static void pool_failed__more_opening_than_needed__nobody_told(void **state UNUSED)
{
    pool_rig_begin(3, 1);
    come('a');
    opened(1);
    come('b');
    come('c');
    leave('a');
    assert_trace("open1 a=1 open2 open3 b=1 ");
    failed(2, ARB_REFUSED); /* c has the third one yet */
    assert_trace("");
    opened(3);
    assert_trace("c=3 ");
    pool_rig_finish();
}

static void pool_open__refused_at_once__every_waiter_told(void **state UNUSED)
{
    pool_rig_begin(2, 1);
    rig.refuse = ARB_NOMEM;
    come('a');
    come('b');
    assert_trace("refuse a:nomem refuse b:nomem ");
    assert_counters(0, 0, 0, 0, 0);
    pool_rig_finish();
}

static void pool_acquire__idle_ones_dead__closed_and_replaced(void **state UNUSED)
{
    pool_rig_begin(2, 1);
    come('a');
    come('b');
    opened(1);
    opened(2);
    leave('a');
    leave('b');
    rig.things[0].is_unusable = true;
    come('c');
    assert_trace("open1 open2 a=1 b=2 close1 c=2 ");
    leave('c');
    rig.things[1].is_unusable = true;
    come('d');
    assert_trace("close2 open1 ");
    opened(1);
    assert_trace("d=1 ");
    assert_counters(1, 0, 0, 0, 3);
    pool_rig_finish();
}

static void pool_opened__dead_from_the_beginning__handed_out_once(void **state UNUSED)
{
    pool_rig_begin(1, 1);
    come('a');
    rig.things[0].is_unusable = true;
    opened(1); /* else it would be opened and closed for ever */
    assert_trace("open1 a=1 ");
    leave('a');
    come('b');
    assert_trace("close1 open1 ");
    pool_rig_finish();
}

static void pool_cancel__waiting__told_and_its_opening_closed(void **state UNUSED)
{
    pool_rig_begin(3, 1);
    come('a');
    come('b');
    come('c');
    assert_trace("open1 open2 open3 ");
    pool_cancel(rig.pool, &guest('c')->waiter, ARB_CANCELLED);
    assert_trace("c:cancelled close3 ");
    pool_cancel(rig.pool, &guest('a')->waiter, ARB_TIMEOUT);
    assert_trace("a:timeout close1 ");
    opened(2);
    assert_trace("b=2 ");
    pool_rig_finish();
}

static void pool_cancel__queue_behind_a_full_pool__others_keep_their_turn(void **state UNUSED)
{
    pool_rig_begin(1, 1);
    for (char g = 'a'; g <= 'd'; g++)
        come(g);
    opened(1);
    pool_cancel(rig.pool, &guest('b')->waiter, ARB_TIMEOUT);
    leave('a');
    leave('c');
    assert_trace("open1 a=1 b:timeout c=1 d=1 ");
    pool_rig_finish();
}

static void pool_lost__waiters__another_is_opened(void **state UNUSED)
{
    pool_rig_begin(1, 1);
    come('a');
    opened(1);
    come('b');
    lost(1);
    assert_trace("open1 a=1 open1 ");
    assert_counters(0, 0, 1, 1, 1);
    opened(1);
    assert_trace("b=1 ");
    leave('b');
    lost(1); /* an idle one */
    assert_counters(0, 0, 0, 0, 2);
    pool_rig_finish();
    assert_trace("");
}

static void pool_acquire_again__lost_its_member__ahead_of_the_others(void **state UNUSED)
{
    pool_rig_begin(2, 2);
    come('a');
    come('b');
    opened(1);
    come('c');
    come('d');
    opened(2);
    come('e');
    assert_trace("open1 a=1 b=1 open2 c=2 d=2 ");
    pool_acquire_again(rig.pool, &guest('b')->waiter);
    pool_acquire_again(rig.pool, &guest('a')->waiter);
    assert_trace("");
    lost(1);
    opened(1);
    assert_trace("open1 a=1 b=1 ");
    leave('a');
    assert_trace("e=1 ");
    pool_rig_finish();
}

static void pool_close__all_states__closed_and_told(void **state UNUSED)
{
    pool_rig_begin(3, 1);
    for (char g = 'a'; g <= 'e'; g++)
        come(g);
    opened(1);
    opened(2);
    leave('b'); /* c gets 2 */
    assert_trace("open1 open2 open3 a=1 b=2 c=2 ");
    pool_close(rig.pool, ARB_CANCELLED);
    assert_trace("close1 close2 close3 d:cancelled e:cancelled ");
    assert_counters(0, 0, 0, 0, 2);
    come('f');
    pool_acquire_again(rig.pool, &guest('f')->waiter);
    assert_trace("f:pool_closed f:pool_closed ");
    pool_rig_finish();
}

/* ---- sharing, retiring ---- */

static void pool_acquire__shared__room_is_used_before_another_is_opened(void **state UNUSED)
{
    pool_rig_begin(2, 3);
    for (char g = 'a'; g <= 'd'; g++)
        come(g);
    assert_trace("open1 open2 ");
    opened(1);
    assert_trace("a=1 b=1 c=1 ");
    opened(2);
    assert_trace("d=2 ");
    come('e');
    come('f');
    come('g');
    assert_trace("e=2 f=2 ");
    assert_counters(2, 0, 0, 1, 2);
    leave('b');
    assert_trace("g=1 ");
    leave('a');
    leave('c');
    assert_counters(2, 0, 0, 0, 2);
    leave('g');
    assert_counters(1, 1, 0, 0, 2);
    pool_rig_finish();
}

static void pool_retire__leased__no_new_lease_and_closed_after_the_last(void **state UNUSED)
{
    pool_rig_begin(1, 2);
    come('a');
    come('b');
    opened(1);
    pool_retire(rig.pool, &rig.things[0].member);
    leave('a');
    come('c');
    assert_trace("open1 a=1 b=1 ");
    leave('b');
    assert_trace("close1 open1 ");
    opened(1);
    assert_trace("c=1 ");
    pool_rig_finish();
}

static void pool_retire__idle__closed_now(void **state UNUSED)
{
    pool_rig_begin(1, 1);
    come('a');
    opened(1);
    leave('a');
    pool_retire(rig.pool, &rig.things[0].member);
    assert_trace("open1 a=1 close1 ");
    pool_rig_finish();
}

/* ---- calls from within ---- */

static void leave_at_once(struct guest *g)
{
    g->then = NULL;
    pool_release(rig.pool, &g->thing->member);
}

static void pool_release__from_the_handler__next_waiter(void **state UNUSED)
{
    pool_rig_begin(1, 1);
    for (char g = 'a'; g <= 'c'; g++) {
        guest(g)->then = leave_at_once;
        come(g);
    }
    opened(1);
    assert_trace("open1 a=1 b=1 c=1 ");
    assert_counters(0, 1, 0, 0, 1);
    pool_rig_finish();
}

static void come_again(struct guest *g)
{
    g->then = NULL;
    pool_acquire(rig.pool, &g->waiter);
}

static void pool_failed__comes_again_from_the_handler__behind_the_others(void **state UNUSED)
{
    pool_rig_begin(1, 1);
    guest('a')->then = come_again;
    come('a');
    come('b');
    failed(1, ARB_REFUSED);
    assert_trace("open1 a:refused open1 ");
    opened(1);
    assert_trace("b=1 ");
    leave('b');
    assert_trace("a=1 ");
    pool_rig_finish();
}

static void close_all(struct guest *g)
{
    g->then = NULL;
    pool_close(rig.pool, ARB_POOL_CLOSED);
}

static void pool_close__from_the_handler__everybody_told(void **state UNUSED)
{
    pool_rig_begin(2, 1);
    guest('a')->then = close_all;
    for (char g = 'a'; g <= 'd'; g++)
        come(g);
    opened(2);
    assert_trace("open1 open2 a=2 close2 close1 b:pool_closed c:pool_closed d:pool_closed ");
    pool_rig_finish();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool_new__sizes_out_of_range__refused),
        cmocka_unit_test(pool_acquire__nothing_there__opens_lazily),
        cmocka_unit_test(pool_acquire__several_idle__first_in_first_out),
        cmocka_unit_test(pool_acquire__full__waiters_in_order),
        cmocka_unit_test(pool_acquire__released_before_opened__first_waiter_and_the_next),
        cmocka_unit_test(pool_failed__waiters__one_told_the_others_go_on),
        cmocka_unit_test(pool_failed__more_opening_than_needed__nobody_told),
        cmocka_unit_test(pool_open__refused_at_once__every_waiter_told),
        cmocka_unit_test(pool_acquire__idle_ones_dead__closed_and_replaced),
        cmocka_unit_test(pool_opened__dead_from_the_beginning__handed_out_once),
        cmocka_unit_test(pool_cancel__waiting__told_and_its_opening_closed),
        cmocka_unit_test(pool_cancel__queue_behind_a_full_pool__others_keep_their_turn),
        cmocka_unit_test(pool_lost__waiters__another_is_opened),
        cmocka_unit_test(pool_acquire_again__lost_its_member__ahead_of_the_others),
        cmocka_unit_test(pool_close__all_states__closed_and_told),
        cmocka_unit_test(pool_acquire__shared__room_is_used_before_another_is_opened),
        cmocka_unit_test(pool_retire__leased__no_new_lease_and_closed_after_the_last),
        cmocka_unit_test(pool_retire__idle__closed_now),
        cmocka_unit_test(pool_release__from_the_handler__next_waiter),
        cmocka_unit_test(pool_failed__comes_again_from_the_handler__behind_the_others),
        cmocka_unit_test(pool_close__from_the_handler__everybody_told),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
