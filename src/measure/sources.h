/*
 * Our own addresses to connect from.
 */
#ifndef MEASURE_SOURCES_H
#define MEASURE_SOURCES_H

#include "client/connect.h"

/*
 * sources_find - for connections to @to: those of the interface that leads there, or of
 * 127.0.0.0/8, which is all ours; each gives seven of ten of its ports. What cannot be learned is
 * left to the system.
 */
void sources_find(const struct arb_address *to, struct connect_sources *ret);

/* sources_of_loopback - each connection from another one of 127.0.1.0/24, the @first-th first; none
 * if @to is not of 127.0.0.0/8 */
void sources_of_loopback(const struct arb_address *to, unsigned first, struct connect_sources *ret);

#endif
