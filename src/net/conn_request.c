/*
 * Replies that come later. A request outlives its connection, so that whoever has it never holds
 * what is gone. Runs in a worker.
 */
#include "net/conn_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct arb_request {
    struct list link; /* in conn_more.requests, or in a list of the set */
    struct conn_set *set; /* borrowed */
    struct arb_conn *conn; /* borrowed; NULL = it is gone */
    void (*on_gone)(struct arb_request *request, void *data);
    void *data; /* the protocol's */
    bool is_ended; /* freed at the end of the turn */
};

static struct arb_request *request_at(struct list *link)
{
    return container_of(link, struct arb_request, link);
}

static void request_put(struct arb_request *r, struct list *where)
{
    list_remove(&r->link);
    list_append(where, &r->link);
}

static void count_owing(struct conn_set *set, size_t n)
{
    set->n_owing = n;
    if (set->owing)
        counter_set(set->owing, n);
}

struct arb_request *arb_request_new(struct arb_conn *conn,
                                    void (*on_gone)(struct arb_request *request, void *data),
                                    void *data)
{
    struct conn_set *set = conn_set_of(conn);
    struct conn_more *more = NULL;
    struct arb_request *r;

    if (conn->phase == CONN_OPEN && !(conn->special & (CONN_DETACHED | CONN_ENDS_SOON)))
        more = conn_more(conn);
    if (!more)
        return NULL;
    r = malloc(sizeof(*r));
    if (!r)
        return NULL;
    *r = (struct arb_request){.set = set, .conn = conn, .on_gone = on_gone, .data = data};
    list_append(&more->requests, &r->link);
    if (!(conn->special & CONN_OWES)) {
        conn->special |= CONN_OWES;
        conn_mark(conn, CONN_MARK_BUSY);
        count_owing(set, set->n_owing + 1);
    }
    return r;
}

void *arb_request_data(const struct arb_request *request)
{
    return request->data;
}

struct arb_conn *arb_request_conn(const struct arb_request *request)
{
    return request->conn;
}

int arb_request_reply(struct arb_request *request, const void *data, size_t len)
{
    assert(!request->is_ended);
    return request->conn ? conn_push(request->conn, data, len) : -EPIPE;
}

static void stop_owing(struct arb_conn *c)
{
    c->special &= (uint8_t)~CONN_OWES;
    count_owing(conn_set_of(c), conn_set_of(c)->n_owing - 1);
}

void arb_request_end(struct arb_request *request, enum arb_next next)
{
    struct conn_set *set = request->set;
    struct arb_conn *c = request->conn;

    assert(!request->is_ended); /* exactly once: see protocol.h */
    request->is_ended = true;
    request->conn = NULL;
    request_put(request, &set->ended);
    ev_prepare_start(set->loop, &set->turn_end);
    if (!c)
        return;
    c->special |= CONN_HAS_ENDED;
    if (list_is_empty(&c->more->requests)) {
        stop_owing(c);
        conn_news(c, CONN_NEWS_ANSWERED);
    }
    if (next == ARB_CLOSE || next == ARB_REFUSE)
        conn_end_soon(c, next == ARB_CLOSE ? CONN_END_QUIT : CONN_END_TOO_BIG);
}

void conn_orphan_requests(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);

    if (!(c->special & CONN_OWES))
        return;
    stop_owing(c);
    while (!list_is_empty(&c->more->requests)) {
        struct arb_request *r = request_at(c->more->requests.next);

        r->conn = NULL;
        request_put(r, r->on_gone ? &set->gone : &set->orphans);
    }
    ev_prepare_start(set->loop, &set->turn_end);
}

static void free_list(struct list *requests)
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

        request_put(r, &set->orphans);
        r->on_gone(r, r->data);
    }
    free_list(&set->ended);
}

void conn_free_requests(struct conn_set *set)
{
    free_list(&set->gone);
    free_list(&set->orphans);
    free_list(&set->ended);
}
