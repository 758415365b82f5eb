/*
 * Publishing. A message goes to all workers, and each gives it to its own subscribers. It is sent
 * as subscribers get it, so that most workers only pass it on.
 *
 * How many subscribers a message reaches is known without asking: each worker tells the others how
 * many it has of a channel or pattern whenever that changes, in a message "count" of RESP:
 *
 *     token { kind name subscribers }...
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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "glob.h"

enum { FULL = ARB_MESSAGE_MAX - NAME_BYTES - 128, SLOTS_MAX = 4096 };

/* ---- messages to subscribers ---- */

int publish_send(struct arb_actor *self, struct arb_conn *conn, const struct resp_arg *channel,
                 const struct resp_arg *data)
{
    struct text message = {0};
    int r;

    resp_line(&message, "*3");
    resp_word(&message, "message");
    resp_bulk(&message, channel->data, channel->len);
    resp_bulk(&message, data->data, data->len);
    r = message.has_failed ? -ENOMEM
                           : arb_send(self, conn, "all", "publish", message.data, message.len);
    text_free(&message);
    return r;
}

/* A subscriber that does not keep up ends behind what it has got: nothing is left out. */
static void push_to(struct session *s, const char *data, size_t len)
{
    const size_t unsent = arb_conn_unsent(s->conn);
    const struct arb_field field = {"unsent", NULL, unsent};
    struct arb_actor *self = s->server->self;
    int r = -ENOBUFS;

    if (s->is_slow)
        return;
    if (unsent + len <= s->server->conf->max_unsent)
        r = arb_conn_send(s->conn, data, len);
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
static void push_all(const struct channel *c, const struct session *only, const char *data,
                     size_t len)
{
    struct subscription *sub = only ? session_find(only, c) : LIST_FIRST(&c->subscribers), *next;

    for (; sub; sub = next) {
        next = only ? NULL : LIST_NEXT(sub, in_channel);
        push_to(sub->session, data, len);
    }
}

static void on_publish(struct server *srv, const struct session *only, const char *data, size_t len)
{
    const struct resp_arg *name = &srv->inner.args[1], *text = &srv->inner.args[2];
    struct channel *c = tables_find(&srv->own, CHANNEL, name);

    if (c)
        push_all(c, only, data, len);
    for (c = NULL; (c = tables_next(&srv->own, PATTERN, c));) {
        if (!glob_match(c->name, c->len, name->data, name->len))
            continue;
        text_clear(&srv->push);
        resp_line(&srv->push, "*4");
        resp_word(&srv->push, "pmessage");
        resp_bulk(&srv->push, c->name, c->len);
        resp_bulk(&srv->push, name->data, name->len);
        resp_bulk(&srv->push, text->data, text->len);
        push_all(c, only, srv->push.data, srv->push.len);
    }
}

/* ---- what others know of this worker ---- */

static void add_number(struct text *t, int64_t n)
{
    char digits[24];

    resp_bulk(t, digits, (size_t)snprintf(digits, sizeof(digits), "%" PRId64, n));
}

static void add_entry(struct text *t, const struct channel *c)
{
    add_number(t, c->kind);
    resp_bulk(t, c->name, c->len);
    add_number(t, c->n_subscribers);
}

/* @n entries, which are freed. Returns false without credit. */
static bool tell(struct server *srv, size_t n, struct text *entries)
{
    struct text message = {0};
    int r = -ENOMEM;

    resp_line(&message, "*%zu", 1 + 3 * n);
    add_number(&message, srv->token);
    text_add(&message, entries->data, entries->len);
    if (!message.has_failed && !entries->has_failed)
        r = arb_send(srv->self, NULL, "all", "count", message.data, message.len);
    text_free(&message);
    text_free(entries);
    return r == 0;
}

static bool tell_all(struct server *srv)
{
    struct text entries = {0};
    size_t n = 0;

    srv->token++;
    for (enum kind kind = 0; kind < KINDS; kind++) {
        for (struct channel *c = NULL; (c = tables_next(&srv->own, kind, c)); n++) {
            if (entries.len > FULL) {
                if (!tell(srv, n, &entries))
                    return false;
                n = 0;
            }
            add_entry(&entries, c);
        }
    }
    return tell(srv, n, &entries);
}

void members_flush(struct server *srv)
{
    if (srv->is_asking)
        srv->is_asking = arb_send(srv->self, NULL, "all", "ask", "", 0) < 0;
    if (srv->is_telling)
        srv->is_telling = !tell_all(srv);
}

void members_changed(struct server *srv, struct channel *c)
{
    struct text entry = {0};

    if (!srv->is_telling) {
        add_entry(&entry, c);
        srv->is_telling = !tell(srv, 1, &entry);
    }
    if (c->n_subscribers == 0)
        tables_remove(&srv->own, c);
}

/* ---- what this worker knows of others ---- */

static struct member *member_find(struct server *srv, const char *from)
{
    const char *dot = strchr(from, '.');
    const size_t slot = dot ? strtoul(dot + 1, NULL, 10) : 0;
    struct member *grown;

    if (slot == 0 || slot > SLOTS_MAX || slot == arb_actor_slot(srv->self))
        return NULL;
    if (slot > srv->n_members) {
        grown = realloc(srv->members, slot * sizeof(*grown));
        if (!grown)
            return NULL;
        memset(grown + srv->n_members, 0, (slot - srv->n_members) * sizeof(*grown));
        srv->members = grown;
        srv->n_members = slot;
    }
    return &srv->members[slot - 1];
}

static void on_count(struct server *srv, const char *from, const struct resp_arg *args, size_t n)
{
    struct member *m = member_find(srv, from);
    int64_t token = 0, kind = 0, count = 0;
    struct channel *c;

    resp_number(args[0].data, args[0].len, &token);
    if (!m || token < m->token)
        return;
    if (token > m->token)
        tables_free(&m->tables);
    m->token = token;
    for (size_t i = 1; i + 3 <= n; i += 3) {
        resp_number(args[i].data, args[i].len, &kind);
        resp_number(args[i + 2].data, args[i + 2].len, &count);
        c = tables_add(&m->tables, kind == PATTERN ? PATTERN : CHANNEL, &args[i + 1]);
        if (c)
            c->n_subscribers = (uint32_t)count;
        if (c && count == 0)
            tables_remove(&m->tables, c);
    }
}

/* A changed format gets a new topic: workers of two versions live together during an upgrade. */
void publish_on_message(void *server, struct arb_conn *only, const struct arb_message *message)
{
    struct server *srv = server;
    struct resp_parser *p = &srv->inner;
    size_t len;

    if (strcmp(message->topic, "ask") == 0 && !only) {
        srv->is_telling = true;
        members_flush(srv);
    }
    if (resp_parse(p, message->data, message->len, NULL, &len) != RESP_COMMAND)
        return;
    if (strcmp(message->topic, "publish") == 0 && p->n_args == 3)
        on_publish(srv, only ? arb_conn_state(only) : NULL, message->data, message->len);
    else if (strcmp(message->topic, "count") == 0 && !only)
        on_count(srv, message->from, p->args, p->n_args);
}

void members_start(struct server *srv)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now); /* the same clock for all processes */
    srv->token = now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
    srv->is_asking = srv->is_telling = true;
    members_flush(srv);
}

void members_stop(struct server *srv)
{
    members_flush(srv);
    tables_free(&srv->own);
    for (size_t i = 0; i < srv->n_members; i++)
        tables_free(&srv->members[i].tables);
    free(srv->members);
}
