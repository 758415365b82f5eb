/*
 * Our own addresses to connect from. An address has so many ports for one peer and no more; who
 * wants more connections takes several.
 */
#ifndef CLIENT_SOURCES_H
#define CLIENT_SOURCES_H

#include "client/addresses.h"
#include "client/loopback.h"

enum { SOURCES_MAX = LOOPBACK_SOURCES };

struct sources {
    unsigned n; /* 0 = the system chooses, as it does without */
    unsigned ports; /* that one of them gives easily: well below what the system allows */
    struct arb_address all[SOURCES_MAX];
};

/*
 * sources_find - for connections to @to: those of the interface that leads there, or of
 * 127.0.0.0/8, which is all ours. What cannot be learned is left to the system.
 */
void sources_find(const struct arb_address *to, struct sources *ret);

#endif
