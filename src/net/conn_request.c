/*
 * Replies that come later. A request outlives its connection, so that whoever has it never holds
 * what is gone. Runs in a worker.
 */
#include "net/conn_impl.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

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
    if (unlikely(set->sample.read_ns))
        conn_sample_request(r);
    if (!(conn->special & CONN_OWES)) {
        conn->special |= CONN_OWES;
        conn_mark(conn, CONN_MARK_BUSY);
        conn_count_owing(set, set->n_owing + 1);
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

void arb_request_end(struct arb_request *request, enum arb_next next)
{
    struct conn_set *set = request->set;
    struct arb_conn *c = request->conn;

    assert(!request->is_ended); /* exactly once: see protocol.h */
    request->is_ended = true;
    request->conn = NULL;
    conn_request_put(request, &set->ended);
    ev_prepare_start(set->loop, &set->turn_end);
    if (!c)
        return;
    conn_sample_reply(request);
    c->special |= CONN_HAS_ENDED;
    if (list_is_empty(&c->more->requests)) {
        conn_stop_owing(c);
        conn_news(c, CONN_NEWS_ANSWERED);
    }
    if (next == ARB_CLOSE || next == ARB_REFUSE)
        conn_end_soon(c, next == ARB_CLOSE ? CONN_END_QUIT : CONN_END_TOO_BIG);
}
