/*
 * Linked into a program: ARB_TEST_NO_FENCE in the environment leaves out the fence of messages
 * between actors, so that a test can be seen to find what goes wrong without it.
 */
#include <stdlib.h>

#include "actor/relay_rules.h"

static void __attribute__((constructor)) leave_fence_out(void)
{
    relay_is_fence_off = getenv("ARB_TEST_NO_FENCE") != NULL;
}
