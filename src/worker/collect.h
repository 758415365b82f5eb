/*
 * Connections of nobody, as descriptors in a socket pair that the arbiter passes: those that waited
 * at an address that is closed, and those that a worker of an image without keepers has left.
 */
#ifndef WORKER_COLLECT_H
#define WORKER_COLLECT_H

#include <ev.h>
#include <stdint.h>

#include "worker/accept.h"

enum { COLLECT_DATAGRAMS_A_WAKE = 4 };

struct collect {
    ev_io io;
    struct acceptor *acceptor; /* borrowed: whose connections they become; NULL = not started */
    uint64_t n_collected;
    uint64_t n_new; /* of them, those that no worker had before */
};

/* collect_start - take what is in @fd, taken over, until it is empty; first what is in the one
 * before */
void collect_start(struct collect *r, int fd, struct acceptor *acceptor);

/* collect_finish - take what is there now, and no more; collect_stop - no more at all. No harm in
 * doing so twice. */
void collect_finish(struct collect *r);
void collect_stop(struct collect *r);

#endif
