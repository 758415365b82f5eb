/*
 * The codec between a worker and its keeper. Pure; explicit little-endian bytes, versioned, and
 * read as if a stranger had written them. A keeper outlives workers and images: both ends may be of
 * different versions. Who owns what: src/net/keep.md.
 *
 *   register   worker → keeper, with n descriptors: hold a duplicate of each
 *   sweep      worker → keeper: close each duplicate whose serial differs from the table
 *   offer      keeper → worker, with n descriptors: connections that a dead worker has left
 *   taken      worker → keeper: the answer to an offer, entry by entry, and the registration of
 * what is taken, in one datagram
 *
 * A registration or an offer in which a proxy has named somebody is of version 2, whose entries say
 * whom; all others are of version 1.
 */
#ifndef WIRE_KEEP_H
#define WIRE_KEEP_H

#include <stddef.h>
#include <stdint.h>

#include "wire/peer.h"

enum {
    KEEP_VERSION = 1, /* offers are frozen: a keeper of an earlier image offers to a later worker */
    KEEP_VERSION_NAMED = 2,
    KEEP_COUNT_MAX = 252, /* entries of a message; one descriptor less than fits in a datagram */
    KEEP_HEAD_BYTES = 16,
    KEEP_REGISTER_BYTES = 24, /* an entry */
    KEEP_OFFER_BYTES = 16,
    KEEP_TAKEN_BYTES = 8,
    KEEP_MESSAGE_MAX = KEEP_HEAD_BYTES + KEEP_COUNT_MAX * (KEEP_REGISTER_BYTES + PEER_BYTES),
};

enum keep_kind { KEEP_REGISTER = 1, KEEP_SWEEP = 2, KEEP_OFFER = 3, KEEP_TAKEN = 4 };

/* Descriptor numbers are the worker's. */
#define KEEP_REFUSED UINT32_MAX /* the number of what a worker has not taken */

struct keep_origin {
    uint64_t listener; /* hash_name of the address that accepted it; 0 = not known */
    uint64_t protocol; /* hash_name of the protocol's name */
};

/*
 * One entry. In `register` all count; in `offer` only origin and peer; in `taken` number and
 * serial:
 *   number, serial      it is taken, and registered here like this
 *   number, 0           it is taken, and not to be kept here
 *   KEEP_REFUSED, 0     it is not taken
 */
struct keep_entry {
    uint32_t number; /* of the descriptor in the worker */
    uint32_t serial; /* tells what had the same number before; 0 in no registration */
    struct keep_origin origin;
    struct addr_named peer;
};

struct keep_message {
    enum keep_kind kind;
    uint32_t batch; /* offer, taken: from 1; else 0 */
    uint32_t count; /* sweep: 0; else 1..KEEP_COUNT_MAX */
    struct keep_entry entries[KEEP_COUNT_MAX];
};

/* keep_put - write what is well-formed; returns the number of bytes */
size_t keep_put(const struct keep_message *m, uint8_t buf[KEEP_MESSAGE_MAX]);

/*
 * keep_get - read a datagram
 * @ret  its head and its first `count` entries are set; unspecified on failure
 * Returns 0, -EPROTONOSUPPORT (another version) or -EBADMSG.
 */
int keep_get(const uint8_t *data, size_t len, struct keep_message *ret);

#endif
