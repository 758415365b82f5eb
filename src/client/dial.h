/*
 * From an address to a connected socket, within a deadline: a connector for those who wait.
 */
#ifndef CLIENT_DIAL_H
#define CLIENT_DIAL_H

#include <stdint.h>
#include "base/addr.h"
#include "client/addresses.h"
#include "client/outcome.h"

#define DIAL_FOREVER UINT64_MAX

/*
 * What finds the addresses of a name instead of the system; a seam for tests.
 * Returns the number written to @ret, 0 for a name without addresses, -EAGAIN (no name server
 * answers) or -errno.
 */
typedef int dial_resolver(const char *host, uint16_t port, struct arb_address *ret, int max);

/*
 * dial_resolve - the system's resolver (getaddrinfo, streams only)
 * Returns as a dial_resolver, or -ETIMEDOUT. With a deadline a thread does the waiting, which lives
 * on after a timeout until the limits of resolv.conf end it. Blocks.
 */
int dial_resolve(const char *host, uint16_t port, uint64_t deadline_ns, struct arb_address *ret,
                 int max);

/*
 * dial_addresses - all that @a stands for, in the order to try them
 * @resolver  NULL = dial_resolve
 * Returns as addresses_find, or CALL_TIMEOUT. Blocks for a name.
 */
int dial_addresses(const struct addr *a, dial_resolver *resolver, uint64_t deadline_ns,
                   struct addresses *ret);

/*
 * dial - connect
 * @a            borrowed; ":PORT" is this machine's loopback
 * @resolver     NULL = dial_resolve
 * @deadline_ns  CLOCK_MONOTONIC, for the name and all addresses together; DIAL_FOREVER = none
 * @ret_fd       on 0: owned by the caller; non-blocking, close-on-exec, TCP_NODELAY
 * Returns 0, CALL_TIMEOUT, CALL_REFUSED (also: no such unix socket), CALL_UNREACHABLE,
 * CALL_UNKNOWN_HOST, CALL_NO_RESOLVER, CALL_NO_MEMORY or -errno; of several failures that of the
 * address that failed last. Blocks.
 */
int dial(const struct addr *a, dial_resolver *resolver, uint64_t deadline_ns, int *ret_fd);

#endif
