/*
 * EchoServerProtocol: the longest prefix of whole messages is the reply, and is copied nowhere.
 */
#include "echo/echo.h"

#include <arbiter/frame.h>
#include <errno.h>
#include <stdlib.h>

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
    ARB_PROTOCOL(.name = "echo", .start = echo_start, .stop = free, .on_data = echo_on_data);
