/*
 * The codec of a peer that a proxy has named: in a batch of moved connections, and in what a worker
 * and its keeper say. Pure.
 */
#ifndef WIRE_PEER_H
#define WIRE_PEER_H

#include "base/addr.h"

enum { PEER_BYTES = 20 };

/* peer_put - write exactly so many bytes */
void peer_put(const struct addr_named *peer, uint8_t buf[PEER_BYTES]);

/* peer_get - back again. Returns 0 or -EBADMSG; @ret is unspecified then. */
int peer_get(const uint8_t buf[PEER_BYTES], struct addr_named *ret);

#endif
