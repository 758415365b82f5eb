/*
 * The pool's rig.
 */
#include "support/pool_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"

struct pool_rig rig;

__attribute__((format(printf, 1, 2))) static void trace(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    rig.len += (size_t)vsnprintf(rig.trace + rig.len, sizeof(rig.trace) - rig.len, format, ap);
    va_end(ap);
    assert_true(rig.len < sizeof(rig.trace));
}

static struct thing *thing_of(struct pool_member *m)
{
    return container_of(m, struct thing, member);
}

int number(const struct thing *t)
{
    return (int)(t - rig.things) + 1;
}

static int on_open(void *context, struct pool_member **ret)
{
    struct thing *t = rig.things;

    assert_ptr_equal(context, &rig);
    if (rig.refuse) {
        trace("refuse ");
        return rig.refuse;
    }
    while (t->state != 'n')
        t++;
    assert_true(t < rig.things + POOL_RIG_N);
    *t = (struct thing){.state = 'c'};
    trace("open%d ", number(t));
    *ret = &t->member;
    return ARB_OK;
}

static bool is_usable(void *context, struct pool_member *m)
{
    (void)context;
    return !thing_of(m)->is_unusable;
}

static void on_close(void *context, struct pool_member *m)
{
    (void)context;
    assert_true(thing_of(m)->state != 'n');
    trace("close%d ", number(thing_of(m)));
    thing_of(m)->state = 'n';
}

const struct pool_ops pool_rig_ops = {on_open, is_usable, on_close};

static void on_ready(struct pool_waiter *w, struct pool_member *m, int status)
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

struct arb_client_counters counters_of(const struct pool *pool)
{
    struct arb_client_counters c;

    pool_counters(pool, &c);
    return c;
}

struct guest *guest(int name)
{
    return &rig.guests[name - 'a'];
}

void come(int name)
{
    guest(name)->waiter.on_ready = on_ready;
    pool_acquire(rig.pool, &guest(name)->waiter);
}

void opened(int n)
{
    rig.things[n - 1].state = 'o';
    pool_opened(rig.pool, &rig.things[n - 1].member);
}

void failed(int n, int status)
{
    rig.things[n - 1].state = 'n';
    pool_failed(rig.pool, &rig.things[n - 1].member, status);
}

void leave(int name)
{
    pool_release(rig.pool, &guest(name)->thing->member);
}

void lost(int n)
{
    rig.things[n - 1].state = 'n';
    pool_lost(rig.pool, &rig.things[n - 1].member);
}

void pool_rig_begin(unsigned size, unsigned shares)
{
    memset(&rig, 0, sizeof(rig));
    for (size_t i = 0; i < POOL_RIG_N; i++)
        rig.things[i].state = 'n';
    assert_int_equal(pool_new(&pool_rig_ops, &rig, size, shares, &rig.pool), ARB_OK);
}

void assert_counters(unsigned in_use, unsigned available, unsigned connecting, unsigned waiting,
                     unsigned long long sessions)
{
    assert_int_equal(counters_of(rig.pool).in_use, in_use);
    assert_int_equal(counters_of(rig.pool).available, available);
    assert_int_equal(counters_of(rig.pool).connecting, connecting);
    assert_int_equal(counters_of(rig.pool).waiting, waiting);
    assert_int_equal(counters_of(rig.pool).sessions, sessions);
}

void pool_rig_finish(void)
{
    pool_free(rig.pool);
    for (size_t i = 0; i < POOL_RIG_N; i++)
        assert_int_equal(rig.things[i].state, 'n');
}
