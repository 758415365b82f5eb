/*
 * EchoServerProtocol: the longest prefix of whole messages is the reply, and is copied nowhere.
 */
#include "echo/echo.h"

#include <arbiter/frame.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUFFERED_PER_MESSAGE = 4, SEPARATOR_MAX = 16 };

static const struct arb_key keys[] = {
    ARB_KEY_SIZE(struct echo_conf, max_message, "16MiB", 1, 1 << 30,
                 "longest message, without its separator"),
    ARB_KEY_BYTES(struct echo_conf, separator, "\\r\\n\\r\\n", SEPARATOR_MAX,
                  "what ends a message; \"\" = no messages, every byte is echoed as it comes"),
};

/*
 * A message that grows lies in its old and in its larger new block for a moment, behind the unsent
 * reply to the one before: with less room one that is allowed could never arrive.
 */
static int echo_check(const void *conf, const struct arb_limits *limits, char *why, size_t why_size)
{
    const struct echo_conf *c = conf;
    char message[ARB_SIZE_TEXT_LEN], buffered[ARB_SIZE_TEXT_LEN];

    if (c->max_message <= limits->max_buffered / BUFFERED_PER_MESSAGE)
        return 0;
    snprintf(why, why_size,
             "messages of \"%s\" are too large for buffers of \"%s\", allowed: a "
             "server.max_buffered of at least four times server.max_message",
             arb_size_text(c->max_message, message), arb_size_text(limits->max_buffered, buffered));
    return -EINVAL;
}

static int echo_start(struct arb_actor *self, const void *conf, void **ret_server)
{
    const struct echo_conf *c = conf;
    struct arb_frame *frame = malloc(sizeof(*frame));
    int rc = -ENOMEM;

    (void)self;
    if (frame)
        rc = arb_frame_init(frame, &c->separator, c->max_message,
                            c->separator.len > 0 ? ECHO_QUIT : NULL);
    if (rc < 0) {
        free(frame);
        return rc;
    }
    *ret_server = frame;
    return 0;
}

static void echo_on_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                         struct arb_output *out)
{
    (void)conn;
    arb_frame_scan(server, in, out);
    out->reply = in->data;
    out->reply_len = out->consumed;
}

const struct arb_protocol echo_server_protocol =
    ARB_PROTOCOL(.name = "echo", .group = "server", .keys = ARB_KEYS(keys),
                 .conf_size = sizeof(struct echo_conf), .check = echo_check, .start = echo_start,
                 .stop = free, .on_data = echo_on_data);
