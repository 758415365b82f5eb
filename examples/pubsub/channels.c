/*
 * Channels, who is subscribed to them, here and in other workers, and messages to subscribers.
 *
 * A message goes to all workers, and each gives it to its own subscribers. It is sent as
 * subscribers get it, so that most workers only pass it on.
 *
 * How many subscribers a message reaches is known without asking: each worker tells the others how
 * many it has of a channel or pattern whenever that changes, in a message "counts" of RESP: a line
 * with a token, then arrays of kind, name and number.
 *
 * A worker is known by its slot. With a greater token than before everything that was known of the
 * slot is forgotten: the token of a new process is greater, and whoever tells everything begins
 * with a new one. A new worker sends "ask", and all tell everything. So does a worker that had no
 * credit to tell a change, as soon as it has.
 *
 * What lags: replies to PUBLISH and PUBSUB may miss what another worker has confirmed a moment ago.
 * While workers are replaced, the new one of a slot counts and the old one does not any more, so
 * that connections are missed until they have moved. Those of a crashed worker are counted until
 * its slot has a new one. Who gets a message does not depend on any of this.
 */
#include "pubsub.h"

#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FULL = ARB_MESSAGE_MAX - NAME_BYTES - 128 };

/* Trees compare names: a channel begins with its name. */
static int compare_names(const void *a, const void *b)
{
    const struct bytes *x = a, *y = b;
    const int r = memcmp(x->data, y->data, x->len < y->len ? x->len : y->len);

    return r ? r : (x->len > y->len) - (x->len < y->len);
}

struct channel *channel_find(const struct server *srv, enum kind kind, struct bytes name)
{
    void *node = tfind(&name, &srv->trees[kind], compare_names);

    return node ? *(struct channel **)node : NULL;
}

static struct channel *channel_add(struct server *srv, enum kind kind, struct bytes name)
{
    struct channel *c = channel_find(srv, kind, name);

    if (c)
        return c;
    c = memory(NULL, sizeof(*c) + name.len);
    *c = (struct channel){.name = {c->text, name.len}, .kind = kind};
    memcpy(c->text, name.data, name.len);
    LIST_INSERT_HEAD(&srv->channels[kind], c, in_kind);
    if (!tsearch(c, &srv->trees[kind], compare_names))
        abort();
    return c;
}

void channel_free(struct server *srv, struct channel *c)
{
    tdelete(c, &srv->trees[c->kind], compare_names);
    LIST_REMOVE(c, in_kind);
    free(c->others);
    free(c);
}

/* A channel without subscribers goes. */
static void set_others(struct server *srv, struct channel *c, size_t slot, uint32_t n)
{
    if (slot >= c->n_others) {
        c->others = memory(c->others, (slot + 1) * sizeof(*c->others));
        memset(c->others + c->n_others, 0, (slot + 1 - c->n_others) * sizeof(*c->others));
        c->n_others = slot + 1;
    }
    c->total += n - c->others[slot];
    c->others[slot] = n;
    if (c->total == 0)
        channel_free(srv, c);
}

/* ---- what others know of this worker ---- */

static void add_news(struct server *srv, const struct channel *c)
{
    char digits[16];
    const int len = snprintf(digits, sizeof(digits), "%" PRIu32, c->own);

    if (srv->news.len == 0)
        resp_line(&srv->news, "%" PRId64, srv->token);
    resp_array(&srv->news, 3, c->kind == PATTERN ? WORD("p") : WORD("c"), c->name,
               (struct bytes){digits, (size_t)len});
}

static void send_news(struct server *srv)
{
    if (arb_send(srv->self, NULL, "all", "counts", srv->news.data, srv->news.len) < 0)
        srv->is_telling = true;
    srv->news.len = 0;
}

void members_tell(struct server *srv)
{
    const struct channel *c;

    srv->is_telling = false;
    resp_line(&srv->news, "%" PRId64, ++srv->token);
    for (enum kind kind = 0; kind < KINDS; kind++) {
        LIST_FOREACH (c, &srv->channels[kind], in_kind) {
            if (srv->news.len > FULL)
                send_news(srv);
            add_news(srv, c);
        }
    }
    send_news(srv);
}

/* One subscriber more or less in this worker. */
static void change_own(struct server *srv, struct channel *c, int by)
{
    c->own += (uint32_t)by;
    c->total += (uint32_t)by;
    if (!srv->is_telling) {
        add_news(srv, c);
        send_news(srv);
    }
    if (c->total == 0)
        channel_free(srv, c);
}

/* ---- subscriptions ---- */

/* Both lists are looked through at once: the shorter one ends the search. */
static struct subscription *find_in(const struct session *s, const struct channel *c)
{
    struct subscription *a = TAILQ_FIRST(&s->subscriptions), *b = LIST_FIRST(&c->subscribers);

    while (a && b && a->channel != c && b->session != s) {
        a = TAILQ_NEXT(a, in_session);
        b = LIST_NEXT(b, in_channel);
    }
    return a && b ? (a->channel == c ? a : b) : NULL;
}

struct subscription *session_find(const struct session *s, enum kind kind, struct bytes name)
{
    const struct channel *c = channel_find(s->server, kind, name);

    return c ? find_in(s, c) : NULL;
}

void session_subscribe(struct session *s, enum kind kind, struct bytes name)
{
    struct channel *c = channel_add(s->server, kind, name);
    struct subscription *sub = memory(NULL, sizeof(*sub));

    *sub = (struct subscription){.channel = c, .session = s};
    LIST_INSERT_HEAD(&c->subscribers, sub, in_channel);
    TAILQ_INSERT_TAIL(&s->subscriptions, sub, in_session);
    s->n_subscriptions++;
    s->names_bytes += name.len + 64;
    change_own(s->server, c, 1);
}

void session_unsubscribe(struct subscription *sub)
{
    struct session *s = sub->session;
    struct channel *c = sub->channel;

    LIST_REMOVE(sub, in_channel);
    TAILQ_REMOVE(&s->subscriptions, sub, in_session);
    free(sub);
    s->n_subscriptions--;
    s->names_bytes -= c->name.len + 64;
    change_own(s->server, c, -1);
}

/* ---- messages to subscribers ---- */

int publish_send(struct arb_actor *self, struct arb_conn *conn, struct bytes channel,
                 struct bytes data)
{
    struct text message = {0};
    int r;

    resp_array(&message, 3, WORD("message"), channel, data);
    r = arb_send(self, conn, "all", "publish", message.data, message.len);
    text_free(&message);
    return r;
}

/* A subscriber that does not keep up ends behind what it has got: nothing is left out. */
static void push_to(struct session *s, struct bytes message)
{
    const struct arb_field field = {"unsent", NULL, arb_conn_unsent(s->conn)};
    struct arb_actor *self = s->server->self;
    int r = -ENOBUFS;

    if (s->is_slow)
        return;
    if (field.number + message.len <= s->server->conf->max_unsent)
        r = arb_conn_send(s->conn, message.data, message.len);
    if (r == 0)
        arb_count(self, COUNT_DELIVERED, 1);
    if (r != -ENOBUFS)
        return;
    s->is_slow = true;
    arb_count(self, COUNT_TOO_SLOW, 1);
    arb_log(self, ARB_WARNING, "a subscriber does not keep up, and is ended", &field, 1);
    arb_conn_close(s->conn, ARB_CLOSE);
}

/* To all subscribers of a channel or pattern, or to @only if it is one. */
static void push_all(const struct channel *c, const struct session *only, struct bytes message)
{
    struct subscription *sub = only ? find_in(only, c) : LIST_FIRST(&c->subscribers);

    for (; sub; sub = only ? NULL : LIST_NEXT(sub, in_channel))
        push_to(sub->session, message);
}

static void on_publish(struct server *srv, const struct session *only, struct bytes message)
{
    const struct bytes name = srv->inner.args[1], text = srv->inner.args[2];
    struct channel *c = channel_find(srv, CHANNEL, name);

    if (c)
        push_all(c, only, message);
    LIST_FOREACH (c, &srv->channels[PATTERN], in_kind) {
        if (LIST_EMPTY(&c->subscribers) || !glob_match(c->name, name))
            continue;
        srv->push.len = 0;
        resp_array(&srv->push, 4, WORD("pmessage"), c->name, name, text);
        push_all(c, only, BYTES_OF(srv->push));
    }
}

/* ---- what this worker knows of others ---- */

static void forget(struct server *srv, size_t slot)
{
    for (enum kind kind = 0; kind < KINDS; kind++) {
        for (struct channel *c = LIST_FIRST(&srv->channels[kind]), *next; c; c = next) {
            next = LIST_NEXT(c, in_kind);
            if (slot < c->n_others)
                set_others(srv, c, slot, 0);
        }
    }
}

static void on_counts(struct server *srv, const char *from, struct bytes left)
{
    const struct bytes *args = srv->inner.args;
    const char *dot = strchr(from, '.');
    const size_t slot = dot ? strtoul(dot + 1, NULL, 10) : 0;
    int64_t token = 0, n = 0;
    size_t len;

    resp_number(args[0], &token);
    if (slot == 0 || slot > SLOTS_MAX || slot == arb_actor_slot(srv->self) ||
        token < srv->tokens[slot])
        return;
    if (token > srv->tokens[slot])
        forget(srv, slot);
    srv->tokens[slot] = token;
    while (resp_parse(&srv->inner, left, &(struct resp_place){0}, &len) == RESP_COMMAND) {
        args = srv->inner.args;
        if (srv->inner.n_args == 3 && resp_number(args[2], &n))
            set_others(srv, channel_add(srv, *args[0].data == 'p' ? PATTERN : CHANNEL, args[1]),
                       slot, (uint32_t)n);
        left = (struct bytes){left.data + len, left.len - len};
    }
}

/* A changed format gets a new topic: workers of two versions live together during an upgrade. */
void publish_on_message(void *server, struct arb_conn *only, const struct arb_message *message)
{
    struct server *srv = server;
    const struct bytes all = {message->data, message->len};
    size_t len;

    if (strcmp(message->topic, "ask") == 0 && !only)
        members_tell(srv);
    else if (resp_parse(&srv->inner, all, &(struct resp_place){0}, &len) != RESP_COMMAND)
        return;
    else if (strcmp(message->topic, "publish") == 0 && srv->inner.n_args == 3)
        on_publish(srv, only ? arb_conn_state(only) : NULL, all);
    else if (strcmp(message->topic, "counts") == 0 && !only)
        on_counts(srv, message->from, (struct bytes){all.data + len, all.len - len});
}
