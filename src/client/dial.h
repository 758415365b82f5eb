/*
 * From an address to a connected socket: names are resolved, every address is tried in the
 * resolver's order, the next one as soon as one fails or has not answered within DIAL_STAGGER_MS
 * (after RFC 8305), and the first that answers wins. No signals, no output, no global state.
 */
#ifndef CLIENT_DIAL_H
#define CLIENT_DIAL_H

#include <stdint.h>
#include "base/addr.h"
#include "client/outcome.h"

enum { DIAL_ADDRESSES_MAX = 32, DIAL_STAGGER_MS = 250 };

#define DIAL_FOREVER UINT64_MAX

/* One address to connect to. */
struct dial_address {
    struct sockaddr_storage sa;
    socklen_t len;
};

/*
 * What finds the addresses of a name instead of the system; a seam for tests.
 * Returns the number written to @ret, 0 for a name without addresses, -EAGAIN (no name server
 * answers) or -errno.
 */
typedef int dial_resolver(const char *host, uint16_t port, struct dial_address *ret, int max);

/*
 * dial_resolve - the system's resolver (getaddrinfo, streams only)
 * Returns as a dial_resolver, or -ETIMEDOUT. With a deadline a thread does the waiting, which lives
 * on after a timeout until the limits of resolv.conf end it. Blocks.
 */
int dial_resolve(const char *host, uint16_t port, uint64_t deadline_ns, struct dial_address *ret,
                 int max);

/*
 * dial_addresses - all that @a stands for, in the order to try them; @ret of DIAL_ADDRESSES_MAX
 * @resolver  NULL = dial_resolve
 * Returns as dial_resolve (0: the name is unknown). Blocks for a name.
 */
int dial_addresses(const struct addr *a, dial_resolver *resolver, uint64_t deadline_ns,
                   struct dial_address *ret);

/* dial_outcome - the outcome that an errno of a connection means; -errno if none */
int dial_outcome(int error);

/*
 * dial - connect
 * @a            borrowed; ":PORT" is this machine's loopback
 * @resolver     NULL = dial_resolve
 * @deadline_ns  CLOCK_MONOTONIC, for the name and all addresses together; DIAL_FOREVER = none
 * @ret_fd       on 0: owned by the caller; non-blocking, close-on-exec, TCP_NODELAY
 * Returns 0, CALL_TIMEOUT, CALL_REFUSED (also: no such unix socket), CALL_UNREACHABLE,
 * CALL_UNKNOWN_HOST, CALL_NO_RESOLVER or -errno; of several failures that of the address that
 * failed last. Blocks.
 */
int dial(const struct addr *a, dial_resolver *resolver, uint64_t deadline_ns, int *ret_fd);

#endif
