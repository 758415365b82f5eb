/*
 * Where a client can connect to: an address as people write it becomes a list to be tried.
 */
#ifndef CLIENT_ADDRESSES_H
#define CLIENT_ADDRESSES_H

#include <arbiter/client.h>
#include <stdint.h>
#include "base/addr.h"
#include "client/deadlines.h"

enum { ADDRESSES_MAX = 32 };

struct addresses {
    int n;
    struct arb_address all[ADDRESSES_MAX];
};

/*
 * addresses_find - all addresses of @a, families taking turns, the resolver's first choice first
 * (RFC 8305, section 4)
 * @resolver     called with @userdata for names only; NULL = the system's. Blocks with it.
 * @deadline_ns  CLOCK_MONOTONIC, for the system's; DEADLINE_NEVER = none
 * @ret          untouched on failure
 * Returns 0, ARB_UNRESOLVED, ARB_NO_RESOLVER, ARB_NOMEM, ARB_TIMEOUT or -errno.
 */
int addresses_find(const struct addr *a, arb_resolver *resolver, void *userdata,
                   uint64_t deadline_ns, struct addresses *ret);

/*
 * addresses_resolve - what the system's resolver says of the name @a, ADDRESSES_MAX at most
 * @deadline_ns  CLOCK_MONOTONIC; DEADLINE_NEVER = as long as the system takes
 * Returns as an arb_resolver, or -ETIMEDOUT. With a deadline a thread does the waiting, which is
 * gone when this returns, but for -ETIMEDOUT: then it ends when the system gives up. Blocks.
 */
int addresses_resolve(const struct addr *a, uint64_t deadline_ns, struct arb_address *ret);

#endif
