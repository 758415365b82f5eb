/*
 * What protocols are still to be told, and what they owe: only lists, which conn_turn goes through
 * outside of all callbacks. Runs in a worker.
 */
#include "net/conn_impl.h"

#include <assert.h>
#include <stdlib.h>

static struct arb_request *request_at(struct list *link)
{
    return container_of(link, struct arb_request, link);
}

void conn_request_put(struct arb_request *r, struct list *where)
{
    list_remove(&r->link);
    list_append(where, &r->link);
}

void conn_count_owing(struct conn_set *set, size_t n)
{
    set->n_owing = n;
    if (set->owing)
        counter_set(set->owing, n);
}

void conn_stop_owing(struct arb_conn *c)
{
    assert(c->special & CONN_OWES);
    c->special &= (uint8_t)~CONN_OWES;
    conn_count_owing(conn_set_of(c), conn_set_of(c)->n_owing - 1);
}

void conn_orphan_requests(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);

    if (!(c->special & CONN_OWES))
        return;
    conn_stop_owing(c);
    while (!list_is_empty(&c->more->requests)) {
        struct arb_request *r = request_at(c->more->requests.next);

        r->conn = NULL;
        conn_request_put(r, r->on_gone ? &set->gone : &set->orphans);
    }
    ev_prepare_start(set->loop, &set->turn_end);
}

static void free_requests(struct list *requests)
{
    while (!list_is_empty(requests)) {
        struct arb_request *r = request_at(requests->next);

        list_remove(&r->link);
        free(r);
    }
}

void conn_tell_gone(struct conn_set *set)
{
    while (!list_is_empty(&set->gone)) {
        struct arb_request *r = request_at(set->gone.next);

        conn_request_put(r, &set->orphans);
        r->on_gone(r, r->data);
    }
    free_requests(&set->ended);
}

void conn_free_requests(struct conn_set *set)
{
    free_requests(&set->gone);
    free_requests(&set->orphans);
    free_requests(&set->ended);
}

bool conn_news(struct arb_conn *c, enum conn_news news)
{
    struct conn_set *set = conn_set_of(c);
    struct conn_more *more = conn_more(c);

    assert(c->phase != CONN_CLOSED || news == CONN_NEWS_CLOSED); /* it may be gone before */
    if (!more)
        return false;
    more->news |= (uint8_t)news;
    if (list_is_empty(&more->link))
        list_append(&set->news, &more->link);
    ev_prepare_start(set->loop, &set->turn_end);
    return true;
}

void conn_leave_open(struct arb_conn *c)
{
    if (c->more) {
        c->more->wake = WHEEL_NONE;
        conn_orphan_requests(c);
    }
    c->special = 0;
    if (!c->more)
        return;
    if (c->more->is_announced && conn_protocol_of(c)->table->on_close)
        conn_news(c, CONN_NEWS_CLOSED);
}
