/*
 * The pool. Pure: no socket, no time. A member is in exactly one list (opening, idle, leased), and
 * `pump` is the one place where members meet waiters, so that nobody is overtaken or forgotten.
 *
 * Why no waiter hangs: while there is one, the pool is full of leased members (a release pumps), or
 * something is opening (opened and failed pump); `pump` ends in no other state.
 */
#include <arbiter/pool.h>

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/util.h"

enum { STATE_NONE, STATE_OPENING, STATE_IDLE, STATE_LEASED, STATES_N };

struct arb_pool {
    const struct arb_pool_ops *ops;
    void *context;
    unsigned size, shares;
    bool is_closed;
    bool is_pumping; /* pump is on the stack: what changes now is seen by it */
    struct arb_pool_link lists[STATES_N];
    unsigned n[STATES_N];
    struct arb_pool_link waiters;
    unsigned n_waiters;
    unsigned long long sessions, requests_processed;
};

static void link_init(struct arb_pool_link *l)
{
    l->prev = l->next = l;
}

static bool is_empty(const struct arb_pool_link *l)
{
    return l->next == l;
}

/* Put @l before @at: at the end, if that is the head of a list. */
static void link_insert(struct arb_pool_link *at, struct arb_pool_link *l)
{
    l->prev = at->prev;
    l->next = at;
    at->prev->next = l;
    at->prev = l;
}

static void link_remove(struct arb_pool_link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    link_init(l);
}

static struct arb_pool_member *member_of(struct arb_pool_link *l)
{
    return container_of(l, struct arb_pool_member, link);
}

/* Every change of state goes through here; the new place is the end of its list. */
static void member_move(struct arb_pool *p, struct arb_pool_member *m, int state)
{
    if (m->state != STATE_NONE) {
        link_remove(&m->link);
        p->n[m->state]--;
    }
    m->state = state;
    if (state != STATE_NONE) {
        link_insert(&p->lists[state], &m->link);
        p->n[state]++;
    }
}

static void member_close(struct arb_pool *p, struct arb_pool_member *m)
{
    member_move(p, m, STATE_NONE);
    m->leases = 0;
    p->ops->close(p->context, m);
}

static void waiter_answer(struct arb_pool *p, struct arb_pool_waiter *w, struct arb_pool_member *m,
                          int status)
{
    link_remove(&w->link);
    p->n_waiters--;
    w->on_ready(w, m, status);
}

static struct arb_pool_waiter *first_waiter(struct arb_pool *p)
{
    return container_of(p->waiters.next, struct arb_pool_waiter, link);
}

/* The oldest idle one that is still good; it stays in its list. */
static struct arb_pool_member *take_idle(struct arb_pool *p)
{
    while (!is_empty(&p->lists[STATE_IDLE])) {
        struct arb_pool_member *m = member_of(p->lists[STATE_IDLE].next);

        if (m->is_fresh || p->ops->is_usable(p->context, m))
            return m;
        /* The check itself may have reported it lost. */
        if (m->state == STATE_IDLE)
            member_close(p, m);
    }
    return NULL;
}

/* Of the shared members with room the least used one, so that replies queue as little as may be. */
static struct arb_pool_member *take_shared(struct arb_pool *p)
{
    struct arb_pool_member *best = NULL;

    if (p->shares == 1)
        return NULL;
    for (struct arb_pool_link *l = p->lists[STATE_LEASED].next; l != &p->lists[STATE_LEASED];
         l = l->next) {
        struct arb_pool_member *m = member_of(l);

        if (m->leases < p->shares && !m->is_retired && (!best || m->leases < best->leases))
            best = m;
    }
    return best;
}

/* How many members the waiters could use beside those that are there. */
static unsigned n_wanted(const struct arb_pool *p)
{
    return p->n_waiters / p->shares + (p->n_waiters % p->shares != 0);
}

static void open_one(struct arb_pool *p)
{
    struct arb_pool_member *m = NULL;
    int status = p->ops->open(p->context, &m);

    if (status == ARB_OK) {
        *m = (struct arb_pool_member){.state = STATE_NONE};
        member_move(p, m, STATE_OPENING);
        if (p->is_closed)
            member_close(p, m);
    } else if (p->n_waiters > 0) {
        waiter_answer(p, first_waiter(p), NULL, status);
    }
}

static bool serve_one(struct arb_pool *p)
{
    struct arb_pool_member *m = take_idle(p);

    if (!m)
        m = take_shared(p);
    if (!m || p->n_waiters == 0)
        return false;
    if (m->state == STATE_IDLE)
        member_move(p, m, STATE_LEASED);
    m->is_fresh = 0;
    m->leases++;
    waiter_answer(p, first_waiter(p), m, ARB_OK);
    return true;
}

static void pump(struct arb_pool *p)
{
    if (p->is_pumping)
        return;
    p->is_pumping = true;
    while (p->n_waiters > 0 && !p->is_closed) {
        if (serve_one(p))
            continue;
        if (p->n[STATE_OPENING] >= n_wanted(p) ||
            p->n[STATE_OPENING] + p->n[STATE_IDLE] + p->n[STATE_LEASED] >= p->size)
            break;
        open_one(p);
    }
    p->is_pumping = false;
}

int arb_pool_new(const struct arb_pool_ops *ops, void *context, unsigned size, unsigned shares,
                 struct arb_pool **ret)
{
    struct arb_pool *p;

    if (size < 1 || size > ARB_POOL_SIZE_MAX || shares < 1)
        return ARB_INVALID;
    p = calloc(1, sizeof(*p));
    if (!p)
        return ARB_NOMEM;
    p->ops = ops;
    p->context = context;
    p->size = size;
    p->shares = shares;
    link_init(&p->waiters);
    for (int i = 0; i < STATES_N; i++)
        link_init(&p->lists[i]);
    *ret = p;
    return ARB_OK;
}

void arb_pool_free(struct arb_pool *p)
{
    if (!p)
        return;
    assert(!p->is_pumping);
    arb_pool_close(p, ARB_POOL_CLOSED);
    free(p);
}

void arb_pool_close(struct arb_pool *p, int status)
{
    static const int order[] = {STATE_LEASED, STATE_IDLE, STATE_OPENING};

    p->is_closed = true;
    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        while (!is_empty(&p->lists[order[i]]))
            member_close(p, member_of(p->lists[order[i]].next));
    while (p->n_waiters > 0)
        waiter_answer(p, first_waiter(p), NULL, status);
}

void arb_pool_acquire(struct arb_pool *p, struct arb_pool_waiter *w)
{
    link_init(&w->link);
    if (p->is_closed) {
        w->on_ready(w, NULL, ARB_POOL_CLOSED);
        return;
    }
    link_insert(&p->waiters, &w->link);
    p->n_waiters++;
    pump(p);
}

void arb_pool_acquire_again(struct arb_pool *p, struct arb_pool_waiter *w)
{
    link_init(&w->link);
    if (p->is_closed) {
        w->on_ready(w, NULL, ARB_POOL_CLOSED);
        return;
    }
    link_insert(p->waiters.next, &w->link);
    p->n_waiters++;
}

/* Of several that are opening the one that would have served this waiter goes. */
void arb_pool_cancel(struct arb_pool *p, struct arb_pool_waiter *w, int status)
{
    bool is_first = p->waiters.next == &w->link;

    waiter_answer(p, w, NULL, status);
    while (p->n[STATE_OPENING] > n_wanted(p)) {
        struct arb_pool_link *l = &p->lists[STATE_OPENING];

        member_close(p, member_of(is_first ? l->next : l->prev));
    }
}

void arb_pool_opened(struct arb_pool *p, struct arb_pool_member *m)
{
    assert(m->state == STATE_OPENING);
    p->sessions++;
    /* Not checked by who has waited for it: if it is bad from the beginning, so will be the next.
     */
    m->is_fresh = p->n_waiters > 0;
    member_move(p, m, STATE_IDLE);
    pump(p);
}

void arb_pool_failed(struct arb_pool *p, struct arb_pool_member *m, int status)
{
    assert(m->state == STATE_OPENING);
    member_move(p, m, STATE_NONE);
    /* Not if enough others are on their way. */
    if (p->n[STATE_OPENING] < n_wanted(p))
        waiter_answer(p, first_waiter(p), NULL, status);
    pump(p);
}

void arb_pool_release(struct arb_pool *p, struct arb_pool_member *m)
{
    assert(m->state == STATE_LEASED && m->leases > 0);
    m->leases--;
    if (m->leases == 0 && m->is_retired)
        member_close(p, m);
    else if (m->leases == 0)
        member_move(p, m, STATE_IDLE);
    pump(p);
}

void arb_pool_retire(struct arb_pool *p, struct arb_pool_member *m)
{
    m->is_retired = 1;
    if (m->leases == 0 && m->state != STATE_NONE)
        member_close(p, m);
    pump(p);
}

void arb_pool_lost(struct arb_pool *p, struct arb_pool_member *m)
{
    member_move(p, m, STATE_NONE);
    m->leases = 0;
    pump(p);
}

void arb_pool_processed(struct arb_pool *p)
{
    p->requests_processed++;
}

unsigned arb_pool_size(const struct arb_pool *p)
{
    return p->size;
}

unsigned arb_pool_in_use(const struct arb_pool *p)
{
    return p->n[STATE_LEASED];
}

unsigned arb_pool_available(const struct arb_pool *p)
{
    return p->n[STATE_IDLE];
}

unsigned arb_pool_connecting(const struct arb_pool *p)
{
    return p->n[STATE_OPENING];
}

unsigned arb_pool_waiting(const struct arb_pool *p)
{
    return p->n_waiters;
}

unsigned long long arb_pool_sessions(const struct arb_pool *p)
{
    return p->sessions;
}

unsigned long long arb_pool_requests_processed(const struct arb_pool *p)
{
    return p->requests_processed;
}
