/*
 * The pool. Pure: no socket, no time. A member is in exactly one list (opening, idle, leased), and
 * `pump` is the one place where members meet waiters, so that nobody is overtaken or forgotten.
 *
 * Why no waiter hangs: while there is one, the pool is full of leased members (a release pumps), or
 * something is opening (opened and failed pump); `pump` ends in no other state.
 */
#include "client/pool.h"

#include <assert.h>
#include <stdlib.h>

#include "base/util.h"

enum { STATE_NONE, STATE_OPENING, STATE_IDLE, STATE_LEASED, STATES_N };

struct pool {
    const struct pool_ops *ops;
    void *context;
    unsigned size, shares;
    bool is_closed;
    bool is_pumping; /* pump is on the stack: what changes now is seen by it */
    struct list lists[STATES_N];
    unsigned n[STATES_N];
    struct list waiters;
    unsigned n_waiters;
    unsigned long long sessions, requests_processed;
};

static struct pool_member *member_of(struct list *l)
{
    return container_of(l, struct pool_member, link);
}

/* Every change of state goes through here; the new place is the end of its list. */
static void member_move(struct pool *p, struct pool_member *m, int state)
{
    if (m->state != STATE_NONE) {
        list_remove(&m->link);
        p->n[m->state]--;
    }
    m->state = state;
    if (state != STATE_NONE) {
        list_append(&p->lists[state], &m->link);
        p->n[state]++;
    }
}

static void member_close(struct pool *p, struct pool_member *m)
{
    member_move(p, m, STATE_NONE);
    m->leases = 0;
    p->ops->close(p->context, m);
}

static void waiter_answer(struct pool *p, struct pool_waiter *w, struct pool_member *m, int status)
{
    list_remove(&w->link);
    p->n_waiters--;
    w->on_ready(w, m, status);
}

static struct pool_waiter *first_waiter(struct pool *p)
{
    return container_of(p->waiters.next, struct pool_waiter, link);
}

/* The oldest idle one that is still good; it stays in its list. */
static struct pool_member *take_idle(struct pool *p)
{
    while (!list_is_empty(&p->lists[STATE_IDLE])) {
        struct pool_member *m = member_of(p->lists[STATE_IDLE].next);

        if (m->is_fresh || p->ops->is_usable(p->context, m))
            return m;
        /* The check itself may have reported it lost. */
        if (m->state == STATE_IDLE)
            member_close(p, m);
    }
    return NULL;
}

/* The shared member with the fewest leases, so that replies wait for each other as little as
 * possible. */
static struct pool_member *take_shared(struct pool *p)
{
    struct pool_member *best = NULL;

    if (p->shares == 1)
        return NULL;
    for (struct list *l = p->lists[STATE_LEASED].next; l != &p->lists[STATE_LEASED]; l = l->next) {
        struct pool_member *m = member_of(l);

        if (m->leases < p->shares && !m->is_retired && (!best || m->leases < best->leases))
            best = m;
    }
    return best;
}

/* How many members the waiters could use beside those that are there. */
static unsigned n_wanted(const struct pool *p)
{
    return p->n_waiters / p->shares + (p->n_waiters % p->shares != 0);
}

static void open_one(struct pool *p)
{
    struct pool_member *m = NULL;
    int status = p->ops->open(p->context, &m);

    if (status == ARB_OK) {
        *m = (struct pool_member){.state = STATE_NONE};
        member_move(p, m, STATE_OPENING);
        if (p->is_closed)
            member_close(p, m);
    } else if (p->n_waiters > 0) {
        waiter_answer(p, first_waiter(p), NULL, status);
    }
}

static bool serve_one(struct pool *p)
{
    struct pool_member *m = take_idle(p);

    if (!m)
        m = take_shared(p);
    if (!m || p->n_waiters == 0)
        return false;
    if (m->state == STATE_IDLE)
        member_move(p, m, STATE_LEASED);
    m->is_fresh = false;
    m->leases++;
    waiter_answer(p, first_waiter(p), m, ARB_OK);
    return true;
}

static void pump(struct pool *p)
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

int pool_new(const struct pool_ops *ops, void *context, unsigned size, unsigned shares,
             struct pool **ret)
{
    struct pool *p;

    if (size < 1 || size > ARB_POOL_SIZE_MAX || shares < 1)
        return ARB_INVALID;
    p = calloc(1, sizeof(*p));
    if (!p)
        return ARB_NOMEM;
    p->ops = ops;
    p->context = context;
    p->size = size;
    p->shares = shares;
    list_init(&p->waiters);
    for (int i = 0; i < STATES_N; i++)
        list_init(&p->lists[i]);
    *ret = p;
    return ARB_OK;
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    assert(!p->is_pumping);
    pool_close(p, ARB_POOL_CLOSED);
    free(p);
}

void pool_close(struct pool *p, int status)
{
    static const int order[] = {STATE_LEASED, STATE_IDLE, STATE_OPENING};

    p->is_closed = true;
    for (size_t i = 0; i < ARRAY_SIZE(order); i++)
        while (!list_is_empty(&p->lists[order[i]]))
            member_close(p, member_of(p->lists[order[i]].next));
    while (p->n_waiters > 0)
        waiter_answer(p, first_waiter(p), NULL, status);
}

void pool_acquire(struct pool *p, struct pool_waiter *w)
{
    list_init(&w->link);
    if (p->is_closed) {
        w->on_ready(w, NULL, ARB_POOL_CLOSED);
        return;
    }
    list_append(&p->waiters, &w->link);
    p->n_waiters++;
    pump(p);
}

void pool_acquire_again(struct pool *p, struct pool_waiter *w)
{
    list_init(&w->link);
    if (p->is_closed) {
        w->on_ready(w, NULL, ARB_POOL_CLOSED);
        return;
    }
    list_append(p->waiters.next, &w->link);
    p->n_waiters++;
}

/* If several members are opening, the one that would have served this waiter is closed. */
void pool_cancel(struct pool *p, struct pool_waiter *w, int status)
{
    bool is_first = p->waiters.next == &w->link;

    waiter_answer(p, w, NULL, status);
    while (p->n[STATE_OPENING] > n_wanted(p)) {
        struct list *l = &p->lists[STATE_OPENING];

        member_close(p, member_of(is_first ? l->next : l->prev));
    }
}

void pool_opened(struct pool *p, struct pool_member *m)
{
    assert(m->state == STATE_OPENING);
    p->sessions++;
    /* A new member is not checked: if it is bad from the beginning, the next one will be, too. */
    m->is_fresh = p->n_waiters > 0;
    member_move(p, m, STATE_IDLE);
    pump(p);
}

void pool_failed(struct pool *p, struct pool_member *m, int status)
{
    assert(m->state == STATE_OPENING);
    member_move(p, m, STATE_NONE);
    /* The waiter goes on waiting if enough other members are opening. */
    if (p->n[STATE_OPENING] < n_wanted(p))
        waiter_answer(p, first_waiter(p), NULL, status);
    pump(p);
}

void pool_release(struct pool *p, struct pool_member *m)
{
    assert(m->state == STATE_LEASED && m->leases > 0);
    m->leases--;
    if (m->leases == 0 && m->is_retired)
        member_close(p, m);
    else if (m->leases == 0)
        member_move(p, m, STATE_IDLE);
    pump(p);
}

void pool_retire(struct pool *p, struct pool_member *m)
{
    m->is_retired = true;
    if (m->leases == 0 && m->state != STATE_NONE)
        member_close(p, m);
    pump(p);
}

void pool_lost(struct pool *p, struct pool_member *m)
{
    member_move(p, m, STATE_NONE);
    m->leases = 0;
    pump(p);
}

void pool_processed(struct pool *p)
{
    p->requests_processed++;
}

void pool_counters(const struct pool *p, struct arb_client_counters *ret)
{
    *ret = (struct arb_client_counters){
        .pool_size = p->size,
        .in_use = p->n[STATE_LEASED],
        .available = p->n[STATE_IDLE],
        .connecting = p->n[STATE_OPENING],
        .waiting = p->n_waiters,
        .sessions = p->sessions,
        .requests_processed = p->requests_processed,
    };
}
