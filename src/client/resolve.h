/*
 * The system's resolver (getaddrinfo), within a deadline. Part of the library.
 */
#ifndef CLIENT_RESOLVE_H
#define CLIENT_RESOLVE_H

#include <arbiter/client.h>
#include <stdint.h>

/*
 * resolve - the stream addresses of a name
 * @deadline_ns  CLOCK_MONOTONIC; DEADLINE_NEVER = as long as the system takes
 * Returns as an arb_resolver, or -ETIMEDOUT. With a deadline a thread does the waiting, which is
 * gone when this returns, but for -ETIMEDOUT: then it ends when the system gives up. Blocks.
 */
int resolve(const char *host, uint16_t port, uint64_t deadline_ns, struct arb_address *ret,
            int max);

#endif
