/*
 * pubsub: connections, what they wait for and how they move; and the program, whose tables say
 * what there is.
 */
#include "pubsub.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* ---- connections ---- */

void session_discard(struct session *s)
{
    s->is_multi = s->has_error = s->is_executing = false;
    s->n_queued = 0;
    s->executed = 0;
    text_free(&s->queue);
    text_free(&s->executed_reply);
}

void session_reset(struct session *s)
{
    session_discard(s);
    text_free(&s->name);
    s->database = 0;
    while (!TAILQ_EMPTY(&s->subscriptions))
        session_unsubscribe(TAILQ_FIRST(&s->subscriptions));
}

static void tell_blank(const struct session *s)
{
    arb_conn_set_blank(s->conn, s->name.len == 0 && s->database == 0 && s->n_subscriptions == 0 &&
                                    !s->is_multi);
}

static int session_open(void *server, struct arb_conn *conn, enum arb_origin origin)
{
    struct session *s = arb_conn_state(conn);

    (void)origin;
    s->server = server;
    s->conn = conn;
    TAILQ_INIT(&s->subscriptions);
    tell_blank(s);
    return 0;
}

static void session_close(void *server, struct arb_conn *conn, enum arb_end why)
{
    struct session *s = arb_conn_state(conn);

    (void)server, (void)why;
    session_reset(s);
    arb_timer_free(s->timer);
    if (s->is_parked)
        TAILQ_REMOVE(&s->server->parked, s, in_parked);
    session_wake(s);
}

void session_wake(void *session)
{
    struct session *s = session;
    struct arb_request *request = s->request;

    s->has_slept = s->timer != NULL;
    s->timer = NULL;
    s->is_parked = false;
    s->request = NULL;
    if (request)
        arb_request_end(request, ARB_GO_ON);
}

static void session_can_send(void *server)
{
    struct server *srv = server;
    struct session *s;

    if (srv->is_telling)
        members_tell(srv);
    while ((s = TAILQ_FIRST(&srv->parked))) {
        TAILQ_REMOVE(&srv->parked, s, in_parked);
        session_wake(s);
    }
}

static void session_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                         struct arb_output *out)
{
    struct server *srv = server;
    struct session *s = arb_conn_state(conn);
    enum resp_found found = RESP_NOTHING;
    enum run run = RUN_ON;
    size_t len = 0;

    srv->reply.len = 0;
    if (s->place.at != in->resume)
        s->place = (struct resp_place){0};
    while (run <= RUN_FAILED && srv->reply.len <= srv->conf->max_unsent) {
        const struct bytes left = {(const char *)in->data + out->consumed, in->len - out->consumed};

        found = resp_parse(&srv->parser, left, &s->place, &len);
        if (found == RESP_COMMAND)
            run = command_run(s, &srv->parser, (struct bytes){left.data, len}, &srv->reply);
        if (found > RESP_NOTHING || run == RUN_WAIT)
            break;
        out->consumed += len;
        out->messages += found == RESP_COMMAND;
    }
    if (found == RESP_ERROR) {
        arb_count(srv->self, COUNT_ERRORS, 1);
        resp_line(&srv->reply, "-ERR Protocol error: %s", srv->parser.error);
        out->next = ARB_REFUSE;
    } else if (run == RUN_CLOSE || srv->reply.len > srv->conf->max_unsent) {
        out->next = ARB_CLOSE;
    } else if (run == RUN_WAIT) {
        s->request = arb_request_new(conn, NULL, s);
        out->next = s->request ? ARB_WAIT : ARB_CLOSE;
    }
    out->resume = s->place.at;
    out->reply = srv->reply.data;
    out->reply_len = srv->reply.len;
    tell_blank(s);
}

/* ---- moving: the state is the commands that lead to it, and they are run again ---- */

static size_t session_save(void *server, const struct arb_conn *conn, void *buf, size_t size)
{
    const struct session *s = arb_conn_state(conn);
    const struct subscription *sub;
    struct text t = {0};

    (void)server;
    resp_line(&t, "SELECT %u", s->database);
    resp_array(&t, 3, WORD("CLIENT"), WORD("SETNAME"), s->name.data ? BYTES_OF(s->name) : WORD(""));
    TAILQ_FOREACH (sub, &s->subscriptions, in_session)
        resp_array(&t, 2, sub->channel->kind == PATTERN ? WORD("PSUBSCRIBE") : WORD("SUBSCRIBE"),
                   sub->channel->name);
    if (s->is_multi)
        resp_line(&t, "MULTI");
    text_add(&t, s->queue.data, s->queue.len);
    if (s->has_error)
        resp_line(&t, "\"\""); /* no command has this name: it is refused, as another was */
    if (t.len <= size)
        memcpy(buf, t.data, t.len);
    size = t.len;
    text_free(&t);
    return size;
}

static int session_restore(void *server, struct arb_conn *conn, uint32_t version, const void *data,
                           size_t len)
{
    struct server *srv = server;
    struct session *s = arb_conn_state(conn);
    struct bytes left = {data, len};
    enum run run = RUN_ON;
    size_t used;

    s->is_restoring = true;
    while (run == RUN_ON && resp_parse(&srv->inner, left, &s->place, &used) == RESP_COMMAND) {
        srv->reply.len = 0;
        run = command_run(s, &srv->inner, (struct bytes){left.data, used}, &srv->reply);
        if (s->has_error)
            run = RUN_ON;
        left = (struct bytes){left.data + used, left.len - used};
    }
    s->is_restoring = false;
    s->place = (struct resp_place){0};
    tell_blank(s);
    return version == 2 && run == RUN_ON && left.len == 0 ? 0 : -EINVAL;
}

/* ---- the program ---- */

static int start(struct arb_actor *self, const void *conf, void **ret_server)
{
    const struct conf *c = conf;
    struct server *srv = memory(NULL, sizeof(*srv));
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now); /* the same clock for all processes */
    *srv = (struct server){
        .self = self,
        .conf = c,
        .parser.limits = {c->max_inline, c->max_bulk, c->max_arguments},
        .inner.limits = {SIZE_MAX, SIZE_MAX, INT64_MAX},
        .token = now.tv_sec * INT64_C(1000000000) + now.tv_nsec,
    };
    TAILQ_INIT(&srv->parked);
    *ret_server = srv;
    arb_send(self, NULL, "all", "ask", "", 0);
    members_tell(srv);
    return 0;
}

static void stop(void *server)
{
    struct server *srv = server;

    for (enum kind kind = 0; kind < KINDS; kind++) {
        while (!LIST_EMPTY(&srv->channels[kind]))
            channel_free(srv, LIST_FIRST(&srv->channels[kind]));
    }
    text_free(&srv->parser.list);
    text_free(&srv->parser.unquoted);
    text_free(&srv->inner.list);
    text_free(&srv->inner.unquoted);
    text_free(&srv->news);
    text_free(&srv->reply);
    text_free(&srv->push);
    free(srv);
}

static int check(const void *conf, const struct arb_limits *limits, char *why, size_t why_size)
{
    const struct conf *c = conf;

    if (c->max_unsent <= limits->max_buffered && c->max_bulk <= limits->max_buffered)
        return 0;
    snprintf(why, why_size, "pubsub.max_unsent and max_bulk may be at most server.max_buffered");
    return -EINVAL;
}

/* For operators. */
static void channels_run(void *server, struct arb_answer *answer, const struct json_t *args)
{
    const struct server *srv = server;
    const struct channel *c;
    unsigned n[KINDS] = {0}, subscriptions = 0;
    char text[128];

    (void)args;
    for (enum kind kind = 0; kind < KINDS; kind++) {
        LIST_FOREACH (c, &srv->channels[kind], in_kind) {
            n[kind] += c->own > 0;
            subscriptions += c->own;
        }
    }
    snprintf(text, sizeof(text), "{\"channels\":%u,\"patterns\":%u,\"subscriptions\":%u}",
             n[CHANNEL], n[PATTERN], subscriptions);
    arb_answer_text(answer, text);
}

static const struct arb_key keys[] = {
    ARB_KEY_COUNT(struct conf, max_channels, "10000", 1, 1000000,
                  "channels and patterns that a connection may be subscribed to"),
    ARB_KEY_COUNT(struct conf, databases, "16", 1, 1000000, "numbers that SELECT takes, from 0"),
    ARB_KEY_COUNT(struct conf, max_arguments, "1048576", 1, 1048576, "arguments of a command"),
    ARB_KEY_SIZE(struct conf, max_bulk, "1MiB", 1024, 536870912, "longest argument of a command"),
    ARB_KEY_SIZE(struct conf, max_inline, "64KiB", 64, 1048576, "longest line of a command"),
    ARB_KEY_SIZE(struct conf, max_unsent, "8MiB", 65536, 1073741824,
                 "a subscriber that leaves more than this unread is ended"),
};

static const struct arb_counter counters[] = {
    [COUNT_ERRORS] = {"errors", "errors that were replied"},
    [COUNT_PUBLISHED] = {"published", "messages that clients have published"},
    [COUNT_DELIVERED] = {"delivered", "messages to subscribers"},
    [COUNT_PARKED] = {"parked", "times that PUBLISH had to wait for credit"},
    [COUNT_TOO_SLOW] = {"too_slow", "subscribers that were ended as they did not keep up"},
};

static const struct arb_command commands[] = {
    {.name = "channels", .help = "how many channels this worker has", .run = channels_run},
};

const struct arb_protocol pubsub_protocol =
    ARB_PROTOCOL(.name = "pubsub", .keys = ARB_KEYS(keys), .conf_size = sizeof(struct conf),
                 .check = check, .counters = ARB_COUNTERS(counters),
                 .commands = ARB_COMMANDS(commands), .start = start, .stop = stop,
                 .conn_size = sizeof(struct session), .on_open = session_open,
                 .on_data = session_data, .on_close = session_close, .state_version = 2,
                 .save = session_save, .restore = session_restore, .on_message = publish_on_message,
                 .on_can_send = session_can_send);

/* ---- the clock: an actor of its own kind, which publishes the time each second ---- */

static void tick(void *data)
{
    char text[32];
    const int len = snprintf(text, sizeof(text), "%lld", (long long)time(NULL));

    /* Without credit this one is left out: the next one comes soon. */
    publish_send(data, NULL, WORD("__clock__"), (struct bytes){text, (size_t)len});
}

static int clock_start(struct arb_actor *self, const void *const *confs, void **ret_data)
{
    (void)confs, (void)ret_data;
    return arb_timer_new(self, 1000, 1000, tick, self) ? 0 : -ENOMEM;
}

static const struct arb_kind clock_kind =
    ARB_KIND(.name = "clock", .count = 1, .start = clock_start);

int main(int argc, char **argv)
{
    static const struct arb_protocol *const protocols[] = {&pubsub_protocol, NULL};
    static const struct arb_kind *const kinds[] = {&clock_kind, NULL};
    static const struct arb_program program =
        ARB_PROGRAM(.name = "pubsub", .version = "1", .protocols = protocols, .kinds = kinds,
                    .doc = "A publish/subscribe server that speaks the protocol of Redis.");

    return arb_main(&program, argc, argv);
}
