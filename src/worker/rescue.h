/*
 * The rescue: a worker that crashes or hangs sends its idle connections, from its fatal-signal
 * handler, into a socket pair that the arbiter keeps; whoever fills its slot next takes them out.
 * What is in the middle of a message is lost with the process.
 */
#ifndef WORKER_RESCUE_H
#define WORKER_RESCUE_H

#include <ev.h>
#include <stdint.h>

#include "worker/accept.h"

enum { RESCUE_PATIENCE_MS = 500, RESCUE_DATAGRAMS_A_WAKE = 4 };

/*
 * rescue_send - send every descriptor that the marks of @conns call idle, in batches of a protocol
 * each, and call it moving
 * Async-signal-safe: allocates nothing, takes no lock; gives up when nothing moves for
 * RESCUE_PATIENCE_MS.
 * @fd      the writing end, not blocking
 * Returns the number of descriptors that were sent.
 */
uint32_t rescue_send(int fd, const struct conn_set *conns);

/* Collects what comes out of a pair: a slot's, or the arbiter's own. */
struct rescue {
    ev_io io;
    struct acceptor *acceptor; /* borrowed: whose connections they become; NULL = not started */
    bool is_once; /* the senders are gone: what is there now is all */
    uint64_t n_collected; /* since the last line in the log */
    uint64_t n_new; /* of them, those that no worker had before */
};

/*
 * rescue_start - watch @fd instead of the one before; with @is_once only until it is empty
 * @fd  taken over; -1 = none
 */
void rescue_start(struct rescue *r, int fd, struct acceptor *acceptor, bool is_once);

/* rescue_stop - no more, and close it; rescue_finish - after taking what is there. No harm in doing
 * so twice. */
void rescue_stop(struct rescue *r);
void rescue_finish(struct rescue *r);

#endif
