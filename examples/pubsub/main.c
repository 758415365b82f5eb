/*
 * pubsub: the program. The tables say what there is; see pubsub.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "pubsub.h"

static int start(struct arb_actor *self, const void *conf, void **ret_server)
{
    const struct conf *c = conf;
    struct server *srv = calloc(1, sizeof(*srv));

    if (!srv)
        return -ENOMEM;
    *srv = (struct server){
        .self = self,
        .conf = c,
        .parser = {.max_inline = c->max_inline,
                   .max_bulk = c->max_bulk,
                   .max_args = c->max_arguments},
        .inner = {.max_inline = SIZE_MAX, .max_bulk = SIZE_MAX, .max_args = INT64_MAX},
    };
    *ret_server = srv;
    members_start(srv);
    return 0;
}

static void stop(void *server)
{
    struct server *srv = server;

    members_stop(srv);
    resp_parser_free(&srv->parser);
    resp_parser_free(&srv->inner);
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
    const struct tables *own = &((struct server *)server)->own;
    unsigned long long n = 0;
    char text[128];

    (void)args;
    for (enum kind kind = 0; kind < KINDS; kind++) {
        for (const struct channel *c = NULL; (c = tables_next(own, kind, c));)
            n += c->n_subscribers;
    }
    snprintf(text, sizeof(text), "{\"channels\":%zu,\"patterns\":%zu,\"subscriptions\":%llu}",
             own->of[CHANNEL].n, own->of[PATTERN].n, n);
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
                 .on_data = session_data, .on_close = session_close, .state_version = 1,
                 .save = session_save, .restore = session_restore, .on_message = publish_on_message,
                 .on_can_send = session_can_send);

/* ---- the clock: an actor of its own kind, which publishes the time each second ---- */

static void tick(void *data)
{
    const struct resp_arg channel = {"__clock__", 9};
    char text[32];
    const int len = snprintf(text, sizeof(text), "%lld", (long long)time(NULL));

    /* Without credit this one is left out: the next one comes soon. */
    publish_send(data, NULL, &channel, &(struct resp_arg){text, (size_t)len});
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
