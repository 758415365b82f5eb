/*
 * Our own addresses to connect from.
 */
#ifndef MEASURE_LOCAL_ADDRESSES_H
#define MEASURE_LOCAL_ADDRESSES_H

#include "client/connect.h"

/*
 * local_addresses_find - for connections to @to: those of the interface that leads there, or of
 * 127.0.0.0/8, which is all ours; each gives seven of ten of its ports. What cannot be learned is
 * left to the system.
 */
void local_addresses_find(const struct arb_address *to, struct local_addresses *ret);

/* local_addresses_of_loopback - each connection from another one of 127.0.1.0/24, the @first-th
 * first; none if @to is not of 127.0.0.0/8 */
void local_addresses_of_loopback(const struct arb_address *to, unsigned first,
                                 struct local_addresses *ret);

#endif
