/*
 * A tiny program of two protocols with configuration of their own, for tests: "say" answers each
 * read with its greeting, "whisper" with the same bytes in lower case.
 */
#include <arbiter/server.h>
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct say_conf {
    char greeting[32];
    unsigned times;
};

struct whisper_conf {
    uint64_t room;
};

static const struct arb_key say_keys[] = {
    ARB_KEY_TEXT(struct say_conf, greeting, "hello", "what is answered"),
#ifdef CONF_SERVER_WRONG
    ARB_KEY_COUNT(struct say_conf, times, "10", 1, 9, "how often"),
#else
    ARB_KEY_COUNT(struct say_conf, times, "1", 1, 9, "how often"),
#endif
};

static const struct arb_key whisper_keys[] = {
    ARB_KEY_SIZE(struct whisper_conf, room, "4KiB", 1, 1 << 30, "for nothing"),
};

static int say_start(struct arb_actor *self, const void *conf, void **ret_server)
{
    (void)self;
    *ret_server = (void *)(uintptr_t)conf; /* lives as long as the worker */
    return 0;
}

static void say_on_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                        struct arb_output *out)
{
    const struct say_conf *c = server;
    static char reply[9 * sizeof(c->greeting)];

    (void)conn;
    reply[0] = '\0';
    for (unsigned i = 0; i < c->times; i++)
        strcat(reply, c->greeting);
    out->consumed = in->len;
    out->messages = 1;
    out->reply = (const uint8_t *)reply;
    out->reply_len = strlen(reply);
}

static int whisper_check(const void *conf, const struct arb_limits *limits, char *why,
                         size_t why_size)
{
    const struct whisper_conf *c = conf;

    if (c->room <= limits->max_buffered)
        return 0;
    snprintf(why, why_size, "there is no room, allowed: a say.room of server.max_buffered");
    return -1;
}

static void whisper_on_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                            struct arb_output *out)
{
    static uint8_t reply[64];

    (void)server, (void)conn;
    out->consumed = in->len < sizeof(reply) ? in->len : sizeof(reply);
    for (size_t i = 0; i < out->consumed; i++)
        reply[i] = (uint8_t)tolower(in->data[i]);
    out->messages = 1;
    out->reply = reply;
    out->reply_len = out->consumed;
}

static const struct arb_protocol say =
    ARB_PROTOCOL(.name = "say", .keys = ARB_KEYS(say_keys), .conf_size = sizeof(struct say_conf),
                 .start = say_start, .on_data = say_on_data);
/* Two protocols may share a group. */
static const struct arb_protocol whisper =
    ARB_PROTOCOL(.name = "whisper", .group = "say", .keys = ARB_KEYS(whisper_keys),
                 .conf_size = sizeof(struct whisper_conf), .check = whisper_check,
                 .on_data = whisper_on_data);
static const struct arb_protocol *const protocols[] = {&say, &whisper, NULL};
static const struct arb_program program =
    ARB_PROGRAM(.name = "conf-server", .version = "1", .doc = "For tests.", .protocols = protocols);

int main(int argc, char **argv)
{
    return arb_main(&program, argc, argv);
}
