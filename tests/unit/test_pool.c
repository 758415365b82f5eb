/*
 * The generic pool, with members that are only numbers: what it opens, hands out and closes is
 * written down as a text and compared. And a storm of random events under its promises.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <arbiter/pool.h>
#include "base/util.h"
#include "support/must.h"

enum { N = 64 };

struct thing {
    struct arb_pool_member member;
    char state; /* 'n'one, 'c'onnecting, 'o'pen */
    bool is_unusable;
};

struct guest {
    struct arb_pool_waiter waiter;
    struct rig *rig;
    struct thing *thing; /* leased */
    int status;
    unsigned n_answers;
    void (*then)(struct guest *g); /* from within the handler */
};

struct rig {
    struct arb_pool *pool;
    struct thing things[N];
    struct guest guests[N];
    int refuse; /* what open says */
    char trace[4096];
    size_t len;
};

static struct rig rig; /* one test at a time */

__attribute__((format(printf, 1, 2))) static void trace(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    rig.len += (size_t)vsnprintf(rig.trace + rig.len, sizeof(rig.trace) - rig.len, format, ap);
    va_end(ap);
    assert_true(rig.len < sizeof(rig.trace));
}

#define assert_trace(text)                                                                         \
    do {                                                                                           \
        assert_string_equal(rig.trace, text);                                                      \
        rig.trace[rig.len = 0] = '\0';                                                             \
    } while (0)

static struct thing *thing_of(struct arb_pool_member *m)
{
    return container_of(m, struct thing, member);
}

static int number(const struct thing *t)
{
    return (int)(t - rig.things) + 1;
}

static int on_open(void *context, struct arb_pool_member **ret)
{
    struct thing *t = rig.things;

    assert_ptr_equal(context, &rig);
    if (rig.refuse) {
        trace("refuse ");
        return rig.refuse;
    }
    while (t->state != 'n')
        t++;
    assert_true(t < rig.things + N);
    *t = (struct thing){.state = 'c'};
    trace("open%d ", number(t));
    *ret = &t->member;
    return ARB_OK;
}

static int is_usable(void *context, struct arb_pool_member *m)
{
    (void)context;
    return !thing_of(m)->is_unusable;
}

static void on_close(void *context, struct arb_pool_member *m)
{
    (void)context;
    assert_true(thing_of(m)->state != 'n');
    trace("close%d ", number(thing_of(m)));
    thing_of(m)->state = 'n';
}

static const struct arb_pool_ops ops = {on_open, is_usable, on_close};

static void on_ready(struct arb_pool_waiter *w, struct arb_pool_member *m, int status)
{
    struct guest *g = container_of(w, struct guest, waiter);

    assert_true((status == ARB_OK) == (m != NULL));
    g->thing = m ? thing_of(m) : NULL;
    g->status = status;
    g->n_answers++;
    if (m)
        trace("%c=%d ", (char)('a' + (g - rig.guests)), number(g->thing));
    else
        trace("%c:%s ", (char)('a' + (g - rig.guests)), arb_status_name(status));
    if (g->then)
        g->then(g);
}

static struct guest *guest(int name)
{
    return &rig.guests[name - 'a'];
}

static void come(int name)
{
    guest(name)->waiter.on_ready = on_ready;
    guest(name)->rig = &rig;
    arb_pool_acquire(rig.pool, &guest(name)->waiter);
}

static void opened(int n)
{
    rig.things[n - 1].state = 'o';
    arb_pool_opened(rig.pool, &rig.things[n - 1].member);
}

static void failed(int n, int status)
{
    rig.things[n - 1].state = 'n';
    arb_pool_failed(rig.pool, &rig.things[n - 1].member, status);
}

static void leave(int name)
{
    arb_pool_release(rig.pool, &guest(name)->thing->member);
}

static void lost(int n)
{
    rig.things[n - 1].state = 'n';
    arb_pool_lost(rig.pool, &rig.things[n - 1].member);
}

static void begin(unsigned size, unsigned shares)
{
    memset(&rig, 0, sizeof(rig));
    for (size_t i = 0; i < N; i++)
        rig.things[i].state = 'n';
    assert_int_equal(arb_pool_new(&ops, &rig, size, shares, &rig.pool), ARB_OK);
}

static void assert_counters(unsigned in_use, unsigned available, unsigned connecting,
                            unsigned waiting, unsigned long long sessions)
{
    assert_int_equal(arb_pool_in_use(rig.pool), in_use);
    assert_int_equal(arb_pool_available(rig.pool), available);
    assert_int_equal(arb_pool_connecting(rig.pool), connecting);
    assert_int_equal(arb_pool_waiting(rig.pool), waiting);
    assert_int_equal(arb_pool_sessions(rig.pool), sessions);
}

static void finish(void)
{
    arb_pool_free(rig.pool);
    for (size_t i = 0; i < N; i++)
        assert_int_equal(rig.things[i].state, 'n');
}

/* ---- what it is ---- */

static void pool_new__sizes_out_of_range__refused(void **state UNUSED)
{
    struct arb_pool *p = NULL;

    assert_int_equal(arb_pool_new(&ops, NULL, 0, 1, &p), ARB_INVALID);
    assert_int_equal(arb_pool_new(&ops, NULL, ARB_POOL_SIZE_MAX + 1, 1, &p), ARB_INVALID);
    assert_int_equal(arb_pool_new(&ops, NULL, 1, 0, &p), ARB_INVALID);
    assert_null(p);
    arb_pool_free(NULL);
}

static void pool_acquire__nothing_there__opens_lazily(void **state UNUSED)
{
    begin(10, 1);
    assert_trace("");
    assert_int_equal(arb_pool_size(rig.pool), 10);
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
    finish();
    assert_trace("close1 ");
}

static void pool_acquire__several_idle__first_in_first_out(void **state UNUSED)
{
    begin(3, 1);
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
    finish();
}

static void pool_acquire__full__waiters_in_order(void **state UNUSED)
{
    begin(1, 1);
    for (char g = 'a'; g <= 'e'; g++)
        come(g);
    assert_counters(0, 0, 1, 5, 0);
    opened(1);
    for (char g = 'a'; g <= 'e'; g++)
        leave(g);
    assert_trace("open1 a=1 b=1 c=1 d=1 e=1 ");
    assert_counters(0, 1, 0, 0, 1);
    finish();
}

static void pool_acquire__released_before_opened__first_waiter_and_the_next(void **state UNUSED)
{
    begin(2, 1);
    come('a');
    opened(1);
    come('b');
    come('c');
    leave('a'); /* b need not wait for the one that opens for it */
    assert_trace("open1 a=1 open2 b=1 ");
    opened(2);
    assert_trace("c=2 ");
    finish();
}

/* ---- what goes wrong ---- */

static void pool_failed__waiters__one_told_the_others_go_on(void **state UNUSED)
{
    begin(2, 1);
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
    finish();
}

static void pool_failed__more_opening_than_needed__nobody_told(void **state UNUSED)
{
    begin(3, 1);
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
    finish();
}

static void pool_open__refused_at_once__every_waiter_told(void **state UNUSED)
{
    begin(2, 1);
    rig.refuse = ARB_NOMEM;
    come('a');
    come('b');
    assert_trace("refuse a:nomem refuse b:nomem ");
    assert_counters(0, 0, 0, 0, 0);
    finish();
}

static void pool_acquire__idle_ones_dead__closed_and_replaced(void **state UNUSED)
{
    begin(2, 1);
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
    finish();
}

static void pool_opened__dead_from_the_beginning__handed_out_once(void **state UNUSED)
{
    begin(1, 1);
    come('a');
    rig.things[0].is_unusable = true;
    opened(1); /* else it would be opened and closed for ever */
    assert_trace("open1 a=1 ");
    leave('a');
    come('b');
    assert_trace("close1 open1 ");
    finish();
}

static void pool_cancel__waiting__told_and_its_opening_closed(void **state UNUSED)
{
    begin(3, 1);
    come('a');
    come('b');
    come('c');
    assert_trace("open1 open2 open3 ");
    arb_pool_cancel(rig.pool, &guest('c')->waiter, ARB_CANCELLED);
    assert_trace("c:cancelled close3 ");
    arb_pool_cancel(rig.pool, &guest('a')->waiter, ARB_TIMEOUT);
    assert_trace("a:timeout close1 ");
    opened(2);
    assert_trace("b=2 ");
    finish();
}

static void pool_cancel__queue_behind_a_full_pool__others_keep_their_turn(void **state UNUSED)
{
    begin(1, 1);
    for (char g = 'a'; g <= 'd'; g++)
        come(g);
    opened(1);
    arb_pool_cancel(rig.pool, &guest('b')->waiter, ARB_TIMEOUT);
    leave('a');
    leave('c');
    assert_trace("open1 a=1 b:timeout c=1 d=1 ");
    finish();
}

static void pool_lost__waiters__another_is_opened(void **state UNUSED)
{
    begin(1, 1);
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
    finish();
    assert_trace("");
}

static void pool_acquire_again__lost_its_member__ahead_of_the_others(void **state UNUSED)
{
    begin(2, 2);
    come('a');
    come('b');
    opened(1);
    come('c');
    come('d');
    opened(2);
    come('e');
    assert_trace("open1 a=1 b=1 open2 c=2 d=2 ");
    arb_pool_acquire_again(rig.pool, &guest('b')->waiter);
    arb_pool_acquire_again(rig.pool, &guest('a')->waiter);
    assert_trace("");
    lost(1);
    opened(1);
    assert_trace("open1 a=1 b=1 ");
    leave('a');
    assert_trace("e=1 ");
    finish();
}

static void pool_close__all_states__closed_and_told(void **state UNUSED)
{
    begin(3, 1);
    for (char g = 'a'; g <= 'e'; g++)
        come(g);
    opened(1);
    opened(2);
    leave('b'); /* c gets 2 */
    assert_trace("open1 open2 open3 a=1 b=2 c=2 ");
    arb_pool_close(rig.pool, ARB_CANCELLED);
    assert_trace("close1 close2 close3 d:cancelled e:cancelled ");
    assert_counters(0, 0, 0, 0, 2);
    come('f');
    arb_pool_acquire_again(rig.pool, &guest('f')->waiter);
    assert_trace("f:pool_closed f:pool_closed ");
    finish();
}

/* ---- sharing, retiring ---- */

static void pool_acquire__shared__room_is_used_before_another_is_opened(void **state UNUSED)
{
    begin(2, 3);
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
    finish();
}

static void pool_retire__leased__no_new_lease_and_closed_after_the_last(void **state UNUSED)
{
    begin(1, 2);
    come('a');
    come('b');
    opened(1);
    arb_pool_retire(rig.pool, &rig.things[0].member);
    leave('a');
    come('c');
    assert_trace("open1 a=1 b=1 ");
    leave('b');
    assert_trace("close1 open1 ");
    opened(1);
    assert_trace("c=1 ");
    finish();
}

static void pool_retire__idle__closed_now(void **state UNUSED)
{
    begin(1, 1);
    come('a');
    opened(1);
    leave('a');
    arb_pool_retire(rig.pool, &rig.things[0].member);
    assert_trace("open1 a=1 close1 ");
    finish();
}

/* ---- calls from within ---- */

static void leave_at_once(struct guest *g)
{
    g->then = NULL;
    arb_pool_release(rig.pool, &g->thing->member);
}

static void pool_release__from_the_handler__next_waiter(void **state UNUSED)
{
    begin(1, 1);
    for (char g = 'a'; g <= 'c'; g++) {
        guest(g)->then = leave_at_once;
        come(g);
    }
    opened(1);
    assert_trace("open1 a=1 b=1 c=1 ");
    assert_counters(0, 1, 0, 0, 1);
    finish();
}

static void come_again(struct guest *g)
{
    g->then = NULL;
    arb_pool_acquire(rig.pool, &g->waiter);
}

static void pool_failed__comes_again_from_the_handler__behind_the_others(void **state UNUSED)
{
    begin(1, 1);
    guest('a')->then = come_again;
    come('a');
    come('b');
    failed(1, ARB_REFUSED);
    assert_trace("open1 a:refused open1 ");
    opened(1);
    assert_trace("b=1 ");
    leave('b');
    assert_trace("a=1 ");
    finish();
}

static void close_all(struct guest *g)
{
    g->then = NULL;
    arb_pool_close(rig.pool, ARB_POOL_CLOSED);
}

static void pool_close__from_the_handler__everybody_told(void **state UNUSED)
{
    begin(2, 1);
    guest('a')->then = close_all;
    for (char g = 'a'; g <= 'd'; g++)
        come(g);
    opened(2);
    assert_trace("open1 open2 a=2 close2 close1 b:pool_closed c:pool_closed d:pool_closed ");
    finish();
}

/* ---- a storm ---- */

struct storm {
    uint64_t rng;
    bool is_waiting[N], has_lease[N];
    unsigned size, shares;
};

static struct thing *any_in(struct storm *s, char state)
{
    size_t from = rng_below(&s->rng, N);

    for (size_t i = 0; i < N; i++)
        if (rig.things[(from + i) % N].state == state)
            return &rig.things[(from + i) % N];
    return NULL;
}

/* What a guest knows of itself follows from its answers. */
static void storm_note(struct storm *s)
{
    for (size_t i = 0; i < N; i++) {
        struct guest *g = &rig.guests[i];

        if (s->is_waiting[i] && g->n_answers == 1) {
            s->is_waiting[i] = false;
            s->has_lease[i] = g->thing != NULL;
            g->n_answers = 0;
        }
        assert_int_equal(g->n_answers, 0);
    }
}

static void storm_check(const struct storm *s)
{
    unsigned leases[N] = {0}, in_use = 0, open = 0, connecting = 0, waiting = 0;

    for (size_t i = 0; i < N; i++) {
        waiting += s->is_waiting[i];
        if (s->has_lease[i])
            leases[rig.guests[i].thing - rig.things]++;
    }
    for (size_t i = 0; i < N; i++) {
        open += rig.things[i].state == 'o';
        connecting += rig.things[i].state == 'c';
        in_use += leases[i] > 0;
        assert_true(leases[i] <= s->shares);
        assert_true(leases[i] == 0 || rig.things[i].state == 'o');
    }
    assert_true(open + connecting <= s->size);
    assert_int_equal(arb_pool_in_use(rig.pool), in_use);
    assert_int_equal(arb_pool_available(rig.pool), open - in_use);
    assert_int_equal(arb_pool_connecting(rig.pool), connecting);
    assert_int_equal(arb_pool_waiting(rig.pool), waiting);
    /* Nobody waits for nothing. */
    assert_true(waiting == 0 || connecting > 0 || in_use == s->size);
}

static void storm_lose(struct storm *s, struct thing *t)
{
    for (size_t i = 0; i < N; i++)
        if (s->has_lease[i] && rig.guests[i].thing == t)
            s->has_lease[i] = false;
    lost(number(t));
}

static void storm_event(struct storm *s)
{
    size_t i = rng_below(&s->rng, N / 2);
    struct thing *t;

    switch (rng_below(&s->rng, 8)) {
    case 0:
    case 1:
        if (!s->is_waiting[i] && !s->has_lease[i]) {
            s->is_waiting[i] = true;
            come('a' + (int)i);
        }
        break;
    case 2:
    case 3:
        if (s->has_lease[i]) {
            s->has_lease[i] = false;
            leave('a' + (int)i);
        }
        break;
    case 4:
        if (s->is_waiting[i])
            arb_pool_cancel(rig.pool, &rig.guests[i].waiter, ARB_CANCELLED);
        break;
    case 5:
        if ((t = any_in(s, 'c')) != NULL)
            rng_below(&s->rng, 3) ? opened(number(t)) : failed(number(t), ARB_REFUSED);
        break;
    case 6:
        if ((t = any_in(s, 'o')) != NULL && rng_below(&s->rng, 4) == 0)
            storm_lose(s, t);
        break;
    default:
        if ((t = any_in(s, 'o')) != NULL && rng_below(&s->rng, 4) == 0)
            t->is_unusable = true; /* noticed when it is idle */
        break;
    }
}

static void pool__random_events__promises_hold(void **state UNUSED)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct storm s = {.rng = seed};

        s.size = 1 + (unsigned)rng_below(&s.rng, 6);
        s.shares = rng_below(&s.rng, 2) ? 1 : 1 + (unsigned)rng_below(&s.rng, 5);
        begin(s.size, s.shares);
        for (int i = 0; i < 2000; i++) {
            storm_event(&s);
            storm_note(&s);
            storm_check(&s);
            rig.trace[rig.len = 0] = '\0';
        }
        arb_pool_close(rig.pool, ARB_POOL_CLOSED);
        storm_note(&s);
        for (size_t i = 0; i < N; i++)
            assert_false(s.is_waiting[i]);
        finish();
    }
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
        cmocka_unit_test(pool__random_events__promises_hold),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
