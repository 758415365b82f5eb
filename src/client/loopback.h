/*
 * Our own addresses on this machine: 127.0.0.0/8 is all ours, and each address has all ports.
 */
#ifndef CLIENT_LOOPBACK_H
#define CLIENT_LOOPBACK_H

#include <stdbool.h>
#include "client/addresses.h"

enum { LOOPBACK_SOURCES = 200 };

/* loopback_is_v4 - can a connection to it come from any loopback_source? */
bool loopback_is_v4(const struct arb_address *to);

/* loopback_source - 127.0.1.1 and so on, LOOPBACK_SOURCES of them in circle; port 0 */
void loopback_source(unsigned i, struct arb_address *ret);

#endif
