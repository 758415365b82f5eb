/*
 * Messages between actors as a process with damaged memory may write them: whatever is accepted is
 * written again byte by byte.
 */
#include "fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include "wire/relayed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t again[RELAYED_MAX_BYTES];
    struct relayed m;

    if (relayed_get(data, size, &m) < 0)
        return 0;
    if (relayed_bytes(&m) != size)
        abort();
    relayed_put(&m, again);
    if (memcmp(again, data, size) != 0)
        abort();
    return 0;
}
