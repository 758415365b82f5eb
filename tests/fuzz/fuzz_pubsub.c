/*
 * The protocol of examples/pubsub, by the library of authors' tests: an input in many splits and
 * moves, and as a state that no worker has saved.
 */
#include "fuzz/fuzz.h"

#include <arbiter/testing.h>

extern const struct arb_protocol pubsub_protocol;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    return arb_test_fuzz(&pubsub_protocol, data, size);
}
