/*
 * libarbiter-testing: connections and requests of a pretended worker, <arbiter/protocol.h> over
 * memory. What a worker does at the end of a turn of its loop is done here after each call of a
 * test.
 */
#include "testing/testing_impl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID(conn) ((unsigned long long)(conn)->id)

static bool is_ordered_to_end(const struct arb_conn *c)
{
    return c->next_step == ARB_CLOSE || c->next_step == ARB_REFUSE;
}

/* ---- beginning and end ---- */

static struct arb_conn *conn_new(struct arb_actor *a, uint64_t id, enum arb_origin origin,
                                 bool is_blank)
{
    struct arb_conn *c = test_alloc(sizeof(*c));

    c->actor = a;
    c->id = id;
    c->is_blank = is_blank;
    c->seen = a->last_number;
    c->state = test_alloc(a->protocol->conn_size);
    c->next = a->conns;
    a->conns = c;
    if (a->protocol->on_open && a->protocol->on_open(a->data, c, origin) < 0) {
        c->is_closed = true;
        c->why = ARB_END_CLOSED;
        return NULL;
    }
    return c;
}

void test_conn_finish(struct arb_conn *c, enum arb_end why)
{
    struct arb_actor *a = c->actor;

    c->is_closed = true;
    c->why = why;
    for (struct arb_request *r = a->requests; r; r = r->next) {
        if (r->conn != c)
            continue;
        r->conn = NULL;
        if (r->on_gone && !r->is_ended)
            r->on_gone(r, r->data);
    }
    c->is_in_close = true;
    if (a->protocol->on_close)
        a->protocol->on_close(a->data, c, why);
    c->is_in_close = false;
}

struct arb_conn *arb_test_open(struct arb_actor *self)
{
    struct arb_conn *c = conn_new(self, ++self->last_id, ARB_ACCEPTED, false);

    test_settle(self);
    return c;
}

struct arb_conn *test_restore(struct arb_actor *a, uint64_t id, bool is_blank, const void *state,
                              size_t len)
{
    struct arb_conn *c = conn_new(a, id, ARB_MOVED, is_blank);
    void *exact = test_alloc(len);
    int r = 0;

    if (len > 0)
        memcpy(exact, state, len);
    if (c && a->protocol->restore)
        r = a->protocol->restore(a->data, c, a->protocol->state_version, exact, len);
    free(exact);
    if (r == 0)
        return c;
    test_conn_finish(c, ARB_END_MOVED);
    return NULL;
}

/* ---- bytes ---- */

static int conn_put(struct arb_conn *c, const void *data, size_t len)
{
    if (c->unsent + len > c->actor->max_buffered) {
        c->is_over_limit = true;
        return -ENOBUFS;
    }
    text_add(&c->output, data, len);
    c->unsent += c->is_stalled ? len : 0;
    c->is_above |= c->unsent > ARB_HIGH_WATER;
    return 0;
}

static void check_output(struct arb_conn *c, const struct arb_input *in, struct arb_output *out,
                         bool has_requested)
{
    struct arb_actor *a = c->actor;

    if (out->consumed > in->len) {
        test_broken(a, "on_data consumed %zu of %zu bytes", out->consumed, in->len);
        out->consumed = in->len;
    }
    if (out->resume > in->len - out->consumed) {
        test_broken(a, "on_data wants to resume at byte %zu, but leaves only %zu", out->resume,
                    in->len - out->consumed);
        out->resume = 0;
    }
    if (out->reply_len > 0 && !out->reply) {
        test_broken(a, "on_data gave a reply of %zu bytes that is NULL", out->reply_len);
        out->reply_len = 0;
    }
    if ((int)out->next < ARB_GO_ON || out->next > ARB_REFUSE) {
        test_broken(a, "on_data answered %d, which is no arb_next", (int)out->next);
        out->next = ARB_CLOSE;
    }
    if (out->next == ARB_WAIT && !has_requested && c->owed == 0)
        test_broken(a, "on_data answered ARB_WAIT, but there is no request to wait for");
}

static void check_state(struct arb_conn *c)
{
    const struct arb_protocol *p = c->actor->protocol;
    const size_t len = p->save && !c->is_closed ? p->save(c->actor->data, c, NULL, 0) : 0;

    if (len > ARB_STATE_MAX)
        test_broken(c->actor, "save needs %zu bytes, more than ARB_STATE_MAX, after on_data", len);
}

static void call_on_data(struct arb_conn *c, bool is_end)
{
    struct arb_actor *a = c->actor;
    const struct arb_request *newest = a->requests;
    void *exact = test_alloc(c->input.len);
    const struct arb_input in = {exact, c->input.len, c->resume, is_end};
    struct arb_output out = {0};

    if (in.len > 0)
        memcpy(exact, c->input.data, in.len);
    c->is_new = false;
    a->protocol->on_data(a->data, c, &in, &out);
    check_output(c, &in, &out, a->requests != newest);
    text_drop(&c->input, out.consumed);
    c->resume = out.resume;
    c->messages += out.messages;
    if (out.reply_len > 0)
        conn_put(c, out.reply, out.reply_len);
    c->is_waiting = out.next == ARB_WAIT && c->owed > 0;
    if (out.next == ARB_CLOSE || out.next == ARB_REFUSE)
        arb_conn_close(c, out.next);
    c->is_end_told = is_end && !(c->is_waiting && c->input.len > 0);
    check_state(c);
    free(exact);
}

/* What one connection can do now. Returns false if there is nothing. */
static bool conn_step(struct arb_conn *c)
{
    const bool is_owing = c->owed > 0 || c->unsent > 0;

    if (c->is_closed)
        return false;
    if (c->is_over_limit)
        return test_conn_finish(c, ARB_END_LIMIT), true;
    if (is_ordered_to_end(c)) {
        if (is_owing)
            return false;
        return test_conn_finish(c, c->next_step == ARB_CLOSE ? ARB_END_CLOSED : ARB_END_REFUSED),
               true;
    }
    if (c->is_waiting || c->unsent > ARB_HIGH_WATER)
        return false;
    if (c->is_new)
        return call_on_data(c, false), true;
    if (c->is_ending && !c->is_end_told)
        return call_on_data(c, true), true;
    if (c->is_end_told && !is_owing)
        return test_conn_finish(c, c->input.len > 0 ? ARB_END_PARTIAL : ARB_END_PEER), true;
    return false;
}

void test_settle(struct arb_actor *a)
{
    for (bool is_more = true; is_more;) {
        is_more = false;
        for (struct arb_conn *c = a->conns; c; c = c->next)
            is_more |= conn_step(c);
    }
}

void arb_test_feed(struct arb_conn *conn, const void *data, size_t len)
{
    if (conn->is_closed || is_ordered_to_end(conn) || len == 0)
        return;
    text_add(&conn->input, data, len);
    conn->is_new = true;
    test_settle(conn->actor);
}

void arb_test_end(struct arb_conn *conn)
{
    conn->is_ending = true;
    test_settle(conn->actor);
}

void arb_test_cut(struct arb_conn *conn, enum arb_end why)
{
    if (!conn->is_closed)
        test_conn_finish(conn, why);
    test_settle(conn->actor);
}

const char *arb_test_read(struct arb_conn *conn, size_t *ret_len)
{
    free(conn->got.data);
    conn->got = (struct text){0};
    text_add(&conn->got, conn->output.data, conn->is_stalled ? 0 : conn->output.len);
    text_drop(&conn->output, conn->got.len);
    *ret_len = conn->got.len;
    return conn->got.data;
}

void arb_test_stall(struct arb_conn *conn, bool is_stalled)
{
    struct arb_actor *a = conn->actor;

    conn->is_stalled = is_stalled;
    if (is_stalled || conn->is_closed)
        return;
    conn->unsent = 0;
    if (conn->is_above && a->protocol->on_writable)
        a->protocol->on_writable(a->data, conn);
    conn->is_above = false;
    test_settle(a);
}

bool arb_test_is_open(const struct arb_conn *conn, enum arb_end *ret_why)
{
    if (conn->is_closed && ret_why)
        *ret_why = conn->why;
    return !conn->is_closed;
}

/* ---- moving ---- */

static void conn_take_over(struct arb_conn *to, struct arb_conn *from)
{
    const uint64_t q = from->actor->last_number;

    text_add(&to->input, from->input.data, from->input.len);
    text_add(&to->output, from->output.data, from->output.len);
    to->resume = from->resume;
    to->unsent = from->unsent;
    to->messages = from->messages;
    to->seen = from->seen > q ? from->seen : q;
    to->is_new = from->is_new;
    to->is_ending = from->is_ending;
    to->is_end_told = from->is_end_told;
    to->is_stalled = from->is_stalled;
    to->is_above = from->is_above;
    if (from->timeout_ms > 0)
        to->timeout_ms = to->actor->now_ms + (from->timeout_ms - from->actor->now_ms);
    test_conn_finish(from, ARB_END_MOVED);
}

/* The saved state. Returns false if there is none that can move. */
static bool conn_save(struct arb_conn *c, struct text *ret)
{
    struct arb_actor *a = c->actor;
    const struct arb_protocol *p = a->protocol;
    size_t len, again;
    void *before, *exact;

    if (!p->save)
        return p->conn_size == 0;
    len = p->save(a->data, c, NULL, 0);
    before = test_alloc(p->conn_size);
    exact = test_alloc(len);
    memcpy(before, c->state, p->conn_size);
    again = p->save(a->data, c, exact, len);
    if (again != len)
        test_broken(a, "save needs %zu bytes, and %zu when it is called again", len, again);
    if (memcmp(before, c->state, p->conn_size) != 0)
        test_broken(a, "save changes the state of the connection");
    text_add(ret, exact, len);
    free(before);
    free(exact);
    return len <= ARB_STATE_MAX;
}

struct arb_conn *arb_test_move(struct arb_conn *conn, struct arb_actor *to)
{
    struct text state = {0};
    struct arb_conn *moved = NULL;

    if (conn->is_closed || conn->owed > 0 || is_ordered_to_end(conn))
        return NULL;
    if (conn_save(conn, &state)) {
        moved = test_restore(to, conn->id, conn->is_blank, state.data, state.len);
        if (moved)
            conn_take_over(moved, conn);
        else
            test_broken(to, "restore refuses what save has written");
    }
    free(state.data);
    test_settle(to);
    return moved;
}

struct arb_conn *arb_test_rescue(struct arb_conn *conn, struct arb_actor *to)
{
    struct arb_conn *taken;

    if (conn->is_closed || conn->owed > 0 || conn->input.len > 0 || conn->unsent > 0 ||
        is_ordered_to_end(conn) ||
        (to->protocol->conn_size > 0 ? !conn->is_blank : conn->is_not_kept))
        return NULL;
    taken = conn_new(to, conn->id, ARB_RESCUED, false);
    if (taken)
        conn_take_over(taken, conn);
    test_settle(to);
    return taken;
}

/* ---- messages of actors ---- */

void arb_test_deliver(struct arb_actor *self, struct arb_conn *conn,
                      const struct arb_message *message)
{
    self->delivering = message->number;
    if (self->kind && self->kind->on_message)
        self->kind->on_message(self->data, message);
    if (self->protocol && self->protocol->on_message)
        self->protocol->on_message(self->data, conn, message);
    self->delivering = 0;
    for (struct arb_conn *c = self->conns; c; c = c->next) {
        if ((!conn || c == conn) && c->seen < message->number)
            c->seen = message->number;
    }
    if (self->last_number < message->number)
        self->last_number = message->number;
    test_settle(self);
}

/* ---- <arbiter/protocol.h> ---- */

/* Has the protocol a connection in its hands that is closed already? */
static bool is_gone(const struct arb_conn *c, const char *function)
{
    if (c->is_closed && !c->is_in_close)
        test_broken(c->actor, "%s: connection %llu is closed", function, ID(c));
    return c->is_closed;
}

void *arb_conn_state(const struct arb_conn *conn)
{
    is_gone(conn, __func__);
    return conn->state;
}

uint64_t arb_conn_id(const struct arb_conn *conn)
{
    is_gone(conn, __func__);
    return conn->id;
}

const char *arb_conn_peer(const struct arb_conn *conn, char buf[ARB_PEER_LEN])
{
    is_gone(conn, __func__);
    snprintf(buf, ARB_PEER_LEN, "192.0.2.1:%llu", 1024 + ID(conn) % 64512);
    return buf;
}

int arb_conn_send(struct arb_conn *conn, const void *data, size_t len)
{
    if (is_gone(conn, __func__) || is_ordered_to_end(conn))
        return -EPIPE;
    if (conn->actor->delivering > 0 && conn->seen >= conn->actor->delivering)
        return ARB_SEEN;
    return conn_put(conn, data, len);
}

size_t arb_conn_unsent(const struct arb_conn *conn)
{
    is_gone(conn, __func__);
    return conn->unsent;
}

void arb_conn_close(struct arb_conn *conn, enum arb_next how)
{
    if (how != ARB_CLOSE && how != ARB_REFUSE)
        test_broken(conn->actor, "arb_conn_close: %d is neither ARB_CLOSE nor ARB_REFUSE",
                    (int)how);
    if (!is_gone(conn, __func__) && !is_ordered_to_end(conn))
        conn->next_step = how;
}

void arb_conn_timeout(struct arb_conn *conn, uint32_t ms)
{
    if (!is_gone(conn, __func__))
        conn->timeout_ms = ms > 0 ? conn->actor->now_ms + ms : 0;
}

void arb_conn_set_blank(struct arb_conn *conn, bool is_blank)
{
    if (!is_gone(conn, __func__))
        conn->is_blank = is_blank;
}

void arb_conn_keep(struct arb_conn *conn, bool is_to_be_kept)
{
    if (!is_gone(conn, __func__))
        conn->is_not_kept = !is_to_be_kept;
}

void arb_conn_each(struct arb_actor *self, void (*fn)(struct arb_conn *conn, void *data),
                   void *data)
{
    for (struct arb_conn *c = self->conns; c; c = c->next) {
        if (!c->is_closed)
            fn(c, data);
    }
}

struct arb_request *arb_request_new(struct arb_conn *conn,
                                    void (*on_gone)(struct arb_request *request, void *data),
                                    void *data)
{
    struct arb_request *r;

    if (is_gone(conn, __func__) || is_ordered_to_end(conn))
        return NULL;
    r = test_alloc(sizeof(*r));
    *r = (struct arb_request){conn->actor->requests, conn->actor, conn, on_gone, data, false};
    conn->actor->requests = r;
    conn->owed++;
    return r;
}

static bool is_over(const struct arb_request *r, const char *function)
{
    if (r->is_ended)
        test_broken(r->actor, "%s: the request has been ended already", function);
    return r->is_ended;
}

void *arb_request_data(const struct arb_request *request)
{
    is_over(request, __func__);
    return request->data;
}

struct arb_conn *arb_request_conn(const struct arb_request *request)
{
    is_over(request, __func__);
    return request->conn;
}

int arb_request_reply(struct arb_request *request, const void *data, size_t len)
{
    if (is_over(request, __func__) || !request->conn)
        return -EPIPE;
    return conn_put(request->conn, data, len);
}

void arb_request_end(struct arb_request *request, enum arb_next next)
{
    struct arb_conn *c = request->conn;

    if (next == ARB_WAIT)
        test_broken(request->actor, "arb_request_end: ARB_WAIT is for on_data only");
    if (is_over(request, __func__))
        return;
    request->is_ended = true;
    request->conn = NULL;
    if (!c)
        return;
    c->owed--;
    if (next == ARB_CLOSE || next == ARB_REFUSE)
        arb_conn_close(c, next);
    if (c->owed > 0 || !c->is_waiting)
        return;
    c->is_waiting = false;
    c->is_new = c->input.len > 0;
}
