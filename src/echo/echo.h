/*
 * The Echo protocol: what both sides share (separator, QUIT) and EchoServerProtocol, which echoes
 * whole messages. No socket, loop, time or log.
 */
#ifndef ECHO_ECHO_H
#define ECHO_ECHO_H

#include <arbiter/protocol.h>
#include <stddef.h>
#include "wire/frame.h"

#define ECHO_SEPARATOR     "\r\n\r\n"
#define ECHO_SEPARATOR_LEN 4
#define ECHO_QUIT          "QUIT"
#define ECHO_QUIT_LEN      4

struct echo_conf {
    struct arb_bytes separator; /* empty = raw: any bytes are a message, and QUIT is none */
    uint64_t max_message; /* bytes, without the separator */
};

/* The server side; its conf is a struct echo_conf, its server a struct arb_frame. */
extern const struct arb_protocol echo_server_protocol;

/* echo_rule_init - the rule of both sides: QUIT counts only where messages have an end */
int echo_rule_init(struct frame_rule *r, const void *separator, size_t separator_len,
                   size_t max_message);

#endif
