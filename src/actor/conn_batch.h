/*
 * Connections as descriptors in one datagram of a socket pair (base/fdpass), for whoever takes them
 * out: those of a worker that dies, and those that waited at an address that is closed. All of a
 * datagram speak one protocol, which is named by a hash: who takes them out may be of another
 * version of the program.
 */
#ifndef ACTOR_CONN_BATCH_H
#define ACTOR_CONN_BATCH_H

#include <stdint.h>

enum { CONN_BATCH_MAX = 252 };

/* What comes with 1..CONN_BATCH_MAX descriptors. A small payload: it is what the kernel's queue is
 * measured by. */
struct conn_batch {
    uint32_t n_fds;
    uint32_t is_new; /* nobody has counted them as accepted by a worker's loop */
    uint64_t protocol; /* hash_name of its name */
    uint32_t wish; /* enum proxy_wish of new ones, by the listener that has accepted them */
    uint32_t unused;
};

#endif
