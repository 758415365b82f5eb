/*
 * The codec between a worker and its keeper. What is accepted has to be what writing it again would
 * give.
 */
#include "fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include "wire/keep.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t again[KEEP_MESSAGE_MAX];
    struct keep_message m;

    if (keep_get(data, size, &m) != 0)
        return 0;
    if (m.count > KEEP_COUNT_MAX || size > sizeof(again) || keep_put(&m, again) != size ||
        memcmp(data, again, size) != 0)
        abort();
    return 0;
}
