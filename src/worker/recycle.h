/*
 * When has a worker done enough? Limits of messages and memory after which it asks to be replaced.
 */
#ifndef WORKER_RECYCLE_H
#define WORKER_RECYCLE_H

#include <stdint.h>

/*
 * recycle_max_requests - @limit with log-normal jitter (sigma 0.2), so that workers which started
 * together do not end together
 * @limit   arbiter.max_requests; 0 = never
 * @random  any 64 bits
 * Returns 1 or more; UINT64_MAX = never. Pure.
 */
uint64_t recycle_max_requests(uint64_t limit, uint64_t random);

/* recycle_resident_bytes - of this process, from /proc/self/statm; 0 if that cannot be read */
uint64_t recycle_resident_bytes(void);

#endif
