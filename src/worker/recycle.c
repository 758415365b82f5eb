/*
 * Limits after which a worker asks to be replaced. Runs in a worker.
 */
#include "worker/recycle.h"

#include <stdbool.h>

#include "base/hash.h"

uint64_t recycle_max_requests(uint64_t limit, uint64_t random)
{
    const uint64_t third = limit / 3;

    if (limit == 0)
        return UINT64_MAX;
    return limit - third + random_next(&random) % (2 * third + 1);
}

uint64_t recycle_memory_grace_ms(uint64_t limit, uint64_t fresh)
{
    const bool is_tight = limit < fresh || limit - fresh < RECYCLE_ROOM_BYTES;

    return limit && is_tight ? RECYCLE_TIGHT_GRACE_MS : RECYCLE_GRACE_MS;
}
