/*
 * Addresses of 127.0.0.0/8.
 */
#include "client/loopback.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

bool loopback_is_v4(const struct arb_address *to)
{
    const struct sockaddr_in *sin = (const void *)&to->sa;

    return to->sa.ss_family == AF_INET && ntohl(sin->sin_addr.s_addr) >> 24 == 127;
}

void loopback_source(unsigned i, struct arb_address *ret)
{
    struct sockaddr_in sin = {.sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(0x7f000101u + i % LOOPBACK_SOURCES)};

    memset(ret, 0, sizeof(*ret));
    memcpy(&ret->sa, &sin, sizeof(sin));
    ret->len = sizeof(sin);
}
