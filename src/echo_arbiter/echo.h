/*
 * The Echo protocol: each message comes back as it was; QUIT is the last one. See echo-protocol(7).
 */
#ifndef ECHO_ARBITER_ECHO_H
#define ECHO_ARBITER_ECHO_H

#include <arbiter/server.h>

struct echo_conf {
    struct arb_bytes separator; /* empty = raw: any bytes are a message, and QUIT is none */
    uint64_t max_message; /* bytes, without the separator */
};

extern const struct arb_protocol echo_protocol;

#endif
