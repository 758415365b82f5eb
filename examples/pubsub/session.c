/*
 * Connections: what they are, what they wait for, and how they move.
 */
#include "pubsub.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- state ---- */

/* Generous: the numbers in it are counted with 64 bytes, and so is each subscription. */
bool session_fits(const struct session *s, size_t more)
{
    return 256 + s->name.len + s->saved_bytes + more <= ARB_STATE_MAX;
}

/* Both lists are looked through at once: the shorter one ends the search. */
struct subscription *session_find(const struct session *s, const struct channel *c)
{
    struct subscription *a = TAILQ_FIRST(&s->subscriptions), *b = LIST_FIRST(&c->subscribers);

    for (; a && b; a = TAILQ_NEXT(a, in_session), b = LIST_NEXT(b, in_channel)) {
        if (a->channel == c)
            return a;
        if (b->session == s)
            return b;
    }
    return NULL;
}

bool session_subscribe(struct session *s, enum kind kind, const struct resp_arg *name)
{
    struct channel *c = tables_add(&s->server->own, kind, name);
    struct subscription *sub = c ? malloc(sizeof(*sub)) : NULL;

    if (sub) {
        sub->channel = c;
        sub->session = s;
        LIST_INSERT_HEAD(&c->subscribers, sub, in_channel);
        TAILQ_INSERT_TAIL(&s->subscriptions, sub, in_session);
        c->n_subscribers++;
        s->n_subscriptions++;
        s->saved_bytes += name->len + 64;
    }
    if (c)
        members_changed(s->server, c);
    return sub != NULL;
}

void session_unsubscribe(struct subscription *sub)
{
    struct session *s = sub->session;
    struct channel *c = sub->channel;

    LIST_REMOVE(sub, in_channel);
    TAILQ_REMOVE(&s->subscriptions, sub, in_session);
    s->n_subscriptions--;
    s->saved_bytes -= c->len + 64;
    c->n_subscribers--;
    free(sub);
    members_changed(s->server, c);
}

void session_discard(struct session *s)
{
    s->saved_bytes -= s->queue.len;
    s->mode = (struct mode){.database = s->mode.database};
    s->is_executing = false;
    s->executed = 0;
    text_free(&s->queue);
}

void session_reset(struct session *s)
{
    session_discard(s);
    text_free(&s->name);
    s->mode.database = 0;
    while (!TAILQ_EMPTY(&s->subscriptions))
        session_unsubscribe(TAILQ_FIRST(&s->subscriptions));
}

static void tell_blank(const struct session *s)
{
    arb_conn_set_blank(s->conn, s->name.len == 0 && s->mode.database == 0 &&
                                    s->n_subscriptions == 0 && !s->mode.is_multi);
}

int session_open(void *server, struct arb_conn *conn, enum arb_origin origin)
{
    struct session *s = arb_conn_state(conn);

    (void)origin;
    s->server = server;
    s->conn = conn;
    TAILQ_INIT(&s->subscriptions);
    tell_blank(s);
    return 0;
}

void session_close(void *server, struct arb_conn *conn, enum arb_end why)
{
    struct session *s = arb_conn_state(conn);

    (void)server, (void)why;
    session_reset(s);
    text_free(&s->late);
    arb_timer_free(s->timer);
    if (s->is_parked)
        LIST_REMOVE(s, in_parked);
    if (s->request)
        arb_request_end(s->request, ARB_GO_ON);
}

/* ---- replies that come later ---- */

static void on_slept(void *data);

/* What a command has to wait for: credit, then the time of DEBUG SLEEP. Returns false if nothing.
 */
static bool waits(struct session *s, enum run run)
{
    struct server *srv = s->server;

    if (run == RUN_PARK) {
        arb_count(srv->self, COUNT_PARKED, 1);
        LIST_INSERT_HEAD(&srv->parked, s, in_parked);
        s->is_parked = true;
    } else if (s->sleep_ms > 0) {
        s->timer = arb_timer_new(srv->self, s->sleep_ms, 0, on_slept, s);
    }
    return s->is_parked || s->timer;
}

/* What was waited for is there. A PUBLISH that is not behind EXEC is read again after this. */
static void wake(struct session *s)
{
    struct arb_request *request = s->request;
    const enum run run = s->is_executing ? command_exec(s, &s->late) : RUN_ON;

    if (waits(s, run))
        return;
    arb_request_reply(request, s->late.data, s->late.len);
    text_free(&s->late);
    s->request = NULL;
    tell_blank(s);
    arb_request_end(request, ARB_GO_ON);
}

static void on_slept(void *data)
{
    struct session *s = data;

    s->timer = NULL;
    s->sleep_ms = 0;
    wake(s);
}

void session_can_send(void *server)
{
    struct server *srv = server;
    struct session *s = LIST_FIRST(&srv->parked), *next;

    members_flush(srv);
    LIST_INIT(&srv->parked); /* those that have to wait again are put there */
    for (; s; s = next) {
        next = LIST_NEXT(s, in_parked);
        s->is_parked = false;
        wake(s);
    }
}

/* ---- bytes ---- */

/* The reply to the last command, which begins at @from, is kept until what it waits for has come.
 */
static enum arb_next wait_for(struct session *s, enum run run, struct text *reply, size_t from)
{
    s->request = arb_request_new(s->conn, NULL, s);
    text_add(&s->late, reply->data + from, reply->len - from);
    reply->len = from;
    if (s->request && !s->late.has_failed && waits(s, run))
        return ARB_WAIT;
    if (s->request) /* else the connection would not end before this reply */
        arb_request_end(s->request, ARB_CLOSE);
    s->request = NULL;
    return ARB_CLOSE;
}

void session_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                  struct arb_output *out)
{
    struct server *srv = server;
    struct session *s = arb_conn_state(conn);
    struct text *reply = &srv->reply;
    enum resp_found found = RESP_NOTHING;
    size_t len = 0, from = 0;
    enum run run = RUN_ON;

    text_clear(reply);
    if (s->place.at != in->resume)
        s->place = (struct resp_place){0};
    while (run == RUN_ON && s->sleep_ms == 0 && found <= RESP_NOTHING) {
        from = reply->len;
        found = resp_parse(&srv->parser, (const char *)in->data + out->consumed,
                           in->len - out->consumed, &s->place, &len);
        if (found == RESP_COMMAND)
            run = command_run(s, srv->parser.args, srv->parser.n_args, reply);
        if (found <= RESP_NOTHING && (run != RUN_PARK || s->is_executing))
            out->consumed += len;
        out->messages += found == RESP_COMMAND && run != RUN_PARK;
        if (reply->len > srv->conf->max_unsent)
            run = RUN_CLOSE;
    }
    if (found == RESP_ERROR) {
        arb_count(srv->self, COUNT_ERRORS, 1);
        resp_line(reply, "-ERR Protocol error: %s", srv->parser.error);
        out->next = ARB_REFUSE;
    } else if (run == RUN_CLOSE || reply->has_failed) {
        out->next = ARB_CLOSE;
    } else if (run == RUN_PARK || s->sleep_ms > 0) {
        out->next = wait_for(s, run, reply, from);
    }
    out->resume = s->place.at;
    out->reply = reply->data;
    out->reply_len = reply->len;
    tell_blank(s);
}

/* ---- moving: the state is an array of RESP ---- */

size_t session_save(void *server, const struct arb_conn *conn, void *buf, size_t size)
{
    const struct session *s = arb_conn_state(conn);
    const struct subscription *sub;
    struct text t = {0};
    size_t len;

    (void)server;
    resp_line(&t, "*%u", 3 + 2 * s->n_subscriptions);
    resp_bulk(&t, &s->mode, sizeof(s->mode));
    resp_bulk(&t, s->name.data, s->name.len);
    resp_bulk(&t, s->queue.data, s->queue.len);
    TAILQ_FOREACH (sub, &s->subscriptions, in_session) {
        resp_word(&t, sub->channel->kind == PATTERN ? "p" : "c");
        resp_bulk(&t, sub->channel->name, sub->channel->len);
    }
    len = t.has_failed ? SIZE_MAX : t.len;
    if (len <= size)
        memcpy(buf, t.data, len);
    text_free(&t);
    return len;
}

int session_restore(void *server, struct arb_conn *conn, uint32_t version, const void *data,
                    size_t len)
{
    struct session *s = arb_conn_state(conn);
    struct resp_parser *p = &((struct server *)server)->inner;
    bool is_good = true;
    size_t used;

    if (version != 1 || resp_parse(p, data, len, NULL, &used) != RESP_COMMAND || used != len ||
        p->n_args < 3 || p->args[0].len != sizeof(s->mode))
        return -EINVAL;
    memcpy(&s->mode, p->args[0].data, sizeof(s->mode));
    text_add(&s->name, p->args[1].data, p->args[1].len);
    text_add(&s->queue, p->args[2].data, p->args[2].len);
    s->saved_bytes = s->queue.len;
    for (size_t i = 3; is_good && i + 2 <= p->n_args; i += 2)
        is_good =
            session_subscribe(s, *p->args[i].data == 'p' ? PATTERN : CHANNEL, &p->args[i + 1]);
    tell_blank(s);
    return is_good && !s->name.has_failed && !s->queue.has_failed ? 0 : -ENOMEM;
}
