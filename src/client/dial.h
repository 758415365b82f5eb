/*
 * From an address to a connected socket, within a deadline: a connector for those who wait.
 */
#ifndef CLIENT_DIAL_H
#define CLIENT_DIAL_H

#include <stdint.h>
#include "base/addr.h"
#include "client/addresses.h"
#include "client/deadlines.h"
#include "client/outcome.h"

#define DIAL_FOREVER DEADLINE_NEVER

/*
 * dial - connect
 * @a            borrowed; ":PORT" is this machine's loopback
 * @resolver     NULL = the system's; called without userdata
 * @deadline_ns  CLOCK_MONOTONIC, for the name and all addresses together; DIAL_FOREVER = none
 * @ret_fd       on 0: owned by the caller; non-blocking, close-on-exec, TCP_NODELAY
 * Returns 0, CALL_TIMEOUT, CALL_REFUSED (also: no such unix socket), CALL_UNREACHABLE,
 * CALL_UNKNOWN_HOST, CALL_NO_RESOLVER, CALL_NO_MEMORY or -errno; of several failures that of the
 * address that failed last. Blocks.
 */
int dial(const struct addr *a, arb_resolver *resolver, uint64_t deadline_ns, int *ret_fd);

/*
 * dial_to - the same for addresses that are known
 * @address  which is tried first; on 0: which has answered
 * @stop_fd  CALL_CANCELLED as soon as it is readable; -1 = nothing stops it
 */
int dial_to(const struct addresses *to, int *address, int stop_fd, uint64_t deadline_ns,
            int *ret_fd);

/*
 * dial_prefer - put the address that answers first, for those who connect many times; connects once
 * if there are several. Returns as dial_to.
 */
int dial_prefer(struct addresses *to, uint64_t deadline_ns);

#endif
