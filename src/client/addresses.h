/*
 * Where a client can connect to: an address as people write it becomes a list to be tried.
 */
#ifndef CLIENT_ADDRESSES_H
#define CLIENT_ADDRESSES_H

#include <arbiter/client.h>
#include "base/addr.h"

enum { ADDRESSES_MAX = 32 };

struct addresses {
    int n;
    struct arb_address all[ADDRESSES_MAX];
};

/* addresses_resolve - the system's resolver (getaddrinfo, streams only); an arb_resolver. Blocks.
 */
int addresses_resolve(void *userdata, const char *host, unsigned short port,
                      struct arb_address *ret, int max);

/*
 * addresses_find - all addresses of @a, families taking turns, the resolver's first choice first
 * (RFC 8305, section 4)
 * @resolver  NULL = addresses_resolve; called with @userdata for names only. Blocks with it.
 * @ret       untouched on failure
 * Returns 0, ARB_UNRESOLVED, ARB_NO_RESOLVER, ARB_NOMEM, ARB_TIMEOUT (the resolver's) or -errno.
 */
int addresses_find(const struct addr *a, arb_resolver *resolver, void *userdata,
                   struct addresses *ret);

#endif
