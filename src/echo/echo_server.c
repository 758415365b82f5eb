/*
 * EchoServerProtocol: the longest prefix of whole messages is the reply, and is copied nowhere.
 */
#include "echo/echo.h"

static const enum protocol_verdict verdict_of[] = {
    [FRAME_PENDING] = PROTOCOL_GO_ON,
    [FRAME_QUIT] = PROTOCOL_CLOSE,
    [FRAME_TOO_BIG] = PROTOCOL_TOO_BIG,
};

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
        .verdict = verdict_of[found.verdict],
        .consumed = found.complete,
        .resume = found.resume,
        .reply = data,
        .reply_len = found.complete,
        .messages = found.messages,
        .scanned = found.scanned,
    };
}

const struct protocol echo_server_protocol = {
    .name = "echo",
    .on_data = echo_on_data,
    .is_stateless_when_idle = true,
};
