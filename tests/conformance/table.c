/*
 * The table of the conformance cases; the cases are in frames.c and ends.c.
 */
#include "conformance/conformance.h"

#include "base/util.h"

const struct conformance_case conformance_cases[] = {
#define X(n, name, text, needs)                                                                    \
    {.number = (n), .title = (text), .run = conformance_##name, .needs_max_message = (needs)},
    CONFORMANCE_CASES(X)
#undef X
};

const size_t conformance_n_cases = ARRAY_SIZE(conformance_cases);
