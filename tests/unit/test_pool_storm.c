/*
 * The pool's promises under random events: nobody is told twice, nobody waits for nothing, and what
 * is counted is what is there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <cmocka.h>
#include "base/util.h"
#include "conformance/must.h"
#include "support/pool_rig.h"

enum { N = POOL_RIG_N };

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
    assert_int_equal(counters_of(rig.pool).in_use, in_use);
    assert_int_equal(counters_of(rig.pool).available, open - in_use);
    assert_int_equal(counters_of(rig.pool).connecting, connecting);
    assert_int_equal(counters_of(rig.pool).waiting, waiting);
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
            pool_cancel(rig.pool, &rig.guests[i].waiter, ARB_CANCELLED);
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
        pool_rig_begin(s.size, s.shares);
        for (int i = 0; i < 2000; i++) {
            storm_event(&s);
            storm_note(&s);
            storm_check(&s);
            rig.trace[rig.len = 0] = '\0';
        }
        pool_close(rig.pool, ARB_POOL_CLOSED);
        storm_note(&s);
        for (size_t i = 0; i < N; i++)
            assert_false(s.is_waiting[i]);
        pool_rig_finish();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pool__random_events__promises_hold),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
