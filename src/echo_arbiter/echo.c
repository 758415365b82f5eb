/*
 * EchoServerProtocol: the longest prefix of whole messages is the reply, and is copied nowhere.
 */
#include "echo_arbiter/echo.h"

#include <arbiter/frame.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static const struct arb_key keys[] = {
    ARB_KEY_SIZE(struct echo_conf, max_message, "16MiB", 1, 1 << 30, "longest, without separator"),
    ARB_KEY_BYTES(struct echo_conf, separator, "\\r\\n\\r\\n", 16,
                  "what ends a message; \"\" = no messages, every byte is echoed as it comes"),
};

/*
 * A message that grows lies in its old and in its larger new block for a moment, behind the unsent
 * reply to the one before: with less room one that is allowed could never arrive.
 */
static int check(const void *conf, const struct arb_limits *limits, char *why, size_t why_size)
{
    const uint64_t max = ((const struct echo_conf *)conf)->max_message, room = limits->max_buffered;
    char message[ARB_SIZE_TEXT_LEN], buffered[ARB_SIZE_TEXT_LEN];

    if (max <= room / 4)
        return 0;
    snprintf(why, why_size,
             "messages of \"%s\" are too large for buffers of \"%s\", allowed: a "
             "server.max_buffered of at least four times server.max_message",
             arb_size_text(max, message), arb_size_text(room, buffered));
    return -EINVAL;
}

static int start(struct arb_actor *self, const void *conf, void **ret_server)
{
    const struct echo_conf *c = conf;
    const char *quit = c->separator.len ? "QUIT" : NULL;

    (void)self;
    *ret_server = malloc(sizeof(struct arb_frame));
    return *ret_server ? arb_frame_init(*ret_server, &c->separator, c->max_message, quit) : -ENOMEM;
}

static void echo(void *rule, struct arb_conn *c, const struct arb_input *in, struct arb_output *out)
{
    (void)c;
    arb_frame_scan(rule, in, out);
    out->reply = in->data;
    out->reply_len = out->consumed;
}

const struct arb_protocol echo_protocol =
    ARB_PROTOCOL(.name = "echo", .group = "server", .keys = ARB_KEYS(keys),
                 .conf_size = sizeof(struct echo_conf), .check = check, .start = start,
                 .stop = free, .on_data = echo);
