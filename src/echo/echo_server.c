/*
 * EchoServerProtocol: the longest prefix of whole messages is the reply, and is copied nowhere.
 */
#include "echo/echo.h"

#include <errno.h>

/* What the framing says is what the protocol wants, word for word. */
_Static_assert((int)FRAME_PENDING == (int)PROTOCOL_GO_ON, "outcomes");
_Static_assert((int)FRAME_QUIT == (int)PROTOCOL_CLOSE, "outcomes");
_Static_assert((int)FRAME_TOO_BIG == (int)PROTOCOL_TOO_BIG, "outcomes");

int echo_rule_init(struct frame_rule *r, const void *separator, size_t separator_len,
                   size_t max_message)
{
    return frame_rule_init(r, separator, separator_len, max_message, ECHO_QUIT,
                           separator_len > 0 ? ECHO_QUIT_LEN : 0);
}

static struct protocol_result echo_on_data(const void *context, uint64_t *state,
                                           const uint8_t *data, size_t len, size_t resume)
{
    const struct frame_result found = frame_scan(context, data, len, resume);

    (void)state;
    return (struct protocol_result){
        .outcome = (enum protocol_outcome)found.outcome,
        .consumed = found.complete,
        .resume = found.resume,
        .reply = data,
        .reply_len = found.complete,
        .messages = found.messages,
        .scanned = found.scanned,
    };
}

/* All that an Echo knows of a connection is its unfinished bytes. */
static size_t echo_save(const void *context, uint64_t state, uint8_t *buf, size_t size)
{
    (void)context, (void)state, (void)buf, (void)size;
    return 0;
}

static int echo_restore(const void *context, const uint8_t *data, size_t len, uint64_t *ret_state)
{
    (void)context, (void)data;
    if (len > 0)
        return -EBADMSG;
    *ret_state = 0;
    return 0;
}

const struct protocol echo_server_protocol = {
    .name = "echo",
    .on_data = echo_on_data,
    .is_stateless_when_idle = true,
    .save = echo_save,
    .restore = echo_restore,
};
