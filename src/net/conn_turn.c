/*
 * What protocols are told at the end of a turn of the loop: that a connection is closed, that it
 * may be written to, that all it owed has been given. Runs in a worker.
 *
 * A callback of a protocol may send to any connection, and so end any: the one that it is about, or
 * one that has to make way. Told at once, a protocol would hear of that in the middle of its own
 * loop over its connections. So it hears of it here, outside of all callbacks.
 */
#include "net/conn_impl.h"

/* After so many rounds it is others' turn. */
enum { ROUNDS_MAX = 64 };

static const enum arb_end arb_ends[CONN_ENDS] = {
    [CONN_END_PEER] = ARB_END_PEER,
    [CONN_END_PARTIAL] = ARB_END_PARTIAL,
    [CONN_END_QUIT] = ARB_END_CLOSED,
    [CONN_END_RESET] = ARB_END_RESET,
    [CONN_END_ERROR] = ARB_END_RESET,
    [CONN_END_TOO_BIG] = ARB_END_REFUSED,
    [CONN_END_MESSAGE_TIMEOUT] = ARB_END_TIMEOUT,
    [CONN_END_WRITE_TIMEOUT] = ARB_END_TIMEOUT,
    [CONN_END_KEEP_ALIVE] = ARB_END_TIMEOUT,
    [CONN_END_BUFFERED] = ARB_END_LIMIT,
    [CONN_END_DRAINED] = ARB_END_DRAINED,
    [CONN_END_CUT] = ARB_END_CUT,
    [CONN_END_EVICTED] = ARB_END_LIMIT,
    [CONN_END_OWING] = ARB_END_CUT,
    [CONN_END_BROKEN] = ARB_END_BROKEN,
    /* Protocols do not know of these. */
    [CONN_END_PROXY] = ARB_END_REFUSED,
    [CONN_END_MAX_PER_SOURCE] = ARB_END_LIMIT,
    [CONN_END_ACCEPT_RATE] = ARB_END_LIMIT,
    [CONN_END_KILLED] = ARB_END_KILLED,
};

int conn_announce(struct arb_conn *c, enum arb_origin origin)
{
    const struct conn_protocol *p = conn_protocol_of(c);
    int rc = 0;

    if (!c->more)
        return 0;
    c->more->is_announced = true;
    if (p->table->on_open)
        rc = p->table->on_open(p->server, c, origin);
    if (rc < 0)
        c->more->is_announced = false;
    return rc;
}

void conn_renounce(struct arb_conn *c, enum arb_end why)
{
    const struct conn_protocol *p = conn_protocol_of(c);

    if (!c->more || !c->more->is_announced)
        return;
    c->more->is_announced = false;
    if (p->table->on_close)
        p->table->on_close(p->server, c, why);
}

/* The last of what it owed has been given. */
static void tell_answered(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);

    if (c->special & CONN_OWES)
        return;
    if (c->special & CONN_ENDS_SOON)
        conn_end_decided(c);
    else if (set->on_answered && set->on_answered(set, c))
        c->special |= CONN_HELD;
    else if ((c->special & CONN_WAITS) && !c->is_paused)
        conn_go_on(c);
    if (c->phase == CONN_OPEN && set->is_draining && !c->tail.block && !(c->special & CONN_HELD))
        conn_drain(c);
}

static void conn_tell(struct arb_conn *c)
{
    const struct conn_protocol *p = conn_protocol_of(c);
    const uint8_t news = c->more->news;
    const bool is_closing = c->phase == CONN_CLOSED; /* so that nobody else finishes it */

    c->more->news = 0;
    if ((news & CONN_NEWS_WRITABLE) && c->phase == CONN_OPEN && !c->is_paused)
        p->table->on_writable(p->server, c);
    if ((news & CONN_NEWS_ANSWERED) && c->phase == CONN_OPEN)
        tell_answered(c);
    if (news & CONN_NEWS_END)
        conn_end_decided(c);
    if (news & CONN_NEWS_CLOSED)
        conn_renounce(c, arb_ends[c->end]);
    conn_settle(c);
    if (is_closing)
        conn_close_rest(c);
}

static bool has_news(const struct conn_set *set)
{
    return !list_is_empty(&set->news) || !list_is_empty(&set->gone) || !list_is_empty(&set->ended);
}

/* What a callback adds comes in the next round. */
static void tell_all(struct conn_set *set)
{
    struct list now;

    list_init(&now);
    list_splice(&now, &set->news);
    while (!list_is_empty(&now)) {
        struct conn_more *more = container_of(now.next, struct conn_more, link);
        struct arb_conn *c = more->conn;

        list_remove(&more->link);
        conn_tell(c);
    }
}

void conn_set_settle(struct conn_set *set)
{
    for (unsigned i = 0; i < ROUNDS_MAX && has_news(set); i++) {
        conn_tell_gone(set);
        tell_all(set);
    }
}

/* A loop that still has news for somebody must not sleep. */
static void on_idle(struct ev_loop *loop, ev_idle *idle, int revents)
{
    (void)loop, (void)idle, (void)revents;
}

void conn_on_turn_end(struct ev_loop *loop, ev_prepare *prepare, int revents UNUSED)
{
    struct conn_set *set = prepare->data;

    conn_set_settle(set);
    conn_free_closed(set, CONN_SPARE);
    if (has_news(set)) {
        ev_idle_start(loop, &set->turn_again);
    } else {
        ev_idle_stop(loop, &set->turn_again);
        ev_prepare_stop(loop, prepare);
    }
}

void conn_turn_init(struct conn_set *set)
{
    list_init(&set->news);
    list_init(&set->gone);
    list_init(&set->orphans);
    list_init(&set->ended);
    ev_prepare_init(&set->turn_end, conn_on_turn_end);
    set->turn_end.data = set;
    ev_idle_init(&set->turn_again, on_idle);
}

void conn_turn_fini(struct conn_set *set)
{
    ev_prepare_stop(set->loop, &set->turn_end);
    ev_idle_stop(set->loop, &set->turn_again);
    conn_free_requests(set);
}
