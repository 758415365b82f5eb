/*
 * The codec of a peer that a proxy has named. Pure.
 */
#include "wire/peer.h"

#include <errno.h>
#include <string.h>

#include "wire/bytes.h"

void peer_put(const struct addr_named *peer, uint8_t buf[PEER_BYTES])
{
    bytes_put(buf, peer->kind, 2);
    bytes_put(buf + 2, peer->port, 2);
    memcpy(buf + 4, peer->ip.bytes, sizeof(peer->ip.bytes));
}

int peer_get(const uint8_t buf[PEER_BYTES], struct addr_named *ret)
{
    static const uint8_t nothing[PEER_BYTES];
    const uint64_t kind = bytes_get(buf, 2);

    if (kind > ADDR_NAMED_UNIX)
        return -EBADMSG;
    if (kind != ADDR_NAMED_IP && memcmp(buf + 2, nothing, PEER_BYTES - 2) != 0)
        return -EBADMSG;
    *ret = (struct addr_named){.kind = (uint8_t)kind, .port = (uint16_t)bytes_get(buf + 2, 2)};
    memcpy(ret->ip.bytes, buf + 4, sizeof(ret->ip.bytes));
    return 0;
}
