/*
 * When has a worker done enough? Limits of messages and memory after which it asks to be replaced.
 */
#ifndef WORKER_RECYCLE_H
#define WORKER_RECYCLE_H

#include <stdint.h>

/*
 * recycle_max_requests - from two to four thirds of @limit, all as likely, so that workers which
 * started together do not end together
 * @limit   arbiter.max_requests; 0 = never
 * @random  any 64 bits
 * Returns 1 or more; UINT64_MAX = never. Pure.
 */
uint64_t recycle_max_requests(uint64_t limit, uint64_t random);

/*
 * recycle_memory_grace_ms - how long a worker serves before arbiter.max_memory counts
 * One that is above the limit when it is new, or all but, is not helped by being replaced.
 * @limit  arbiter.max_memory; 0 = never
 * @fresh  resident bytes of this worker when it was ready
 * Returns RECYCLE_GRACE_MS, or RECYCLE_TIGHT_GRACE_MS if the limit leaves less than
 * RECYCLE_ROOM_BYTES. Pure.
 */
enum {
    RECYCLE_GRACE_MS = 5000,
    RECYCLE_TIGHT_GRACE_MS = 60000,
    RECYCLE_ROOM_BYTES = 8 << 20,
};
uint64_t recycle_memory_grace_ms(uint64_t limit, uint64_t fresh);

#endif
