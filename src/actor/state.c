/*
 * The states of an actor as one table. Pure; any process.
 */
#include "actor/state.h"

#include <stddef.h>

#define TO(s) (1u << ACTOR_##s)

static const struct {
    const char *name;
    unsigned may_become; /* one bit per state */
} states[ACTOR_STATES] = {
    /* clang-format off */
    [ACTOR_INITIAL]   = {"initial",   TO(INACTIVE)},
    [ACTOR_INACTIVE]  = {"inactive",  TO(STARTING) | TO(CLOSE) | TO(TERMINATE)},
    [ACTOR_STARTING]  = {"starting",  TO(RUN) | TO(STOPPING) | TO(CLOSE) | TO(TERMINATE)},
    [ACTOR_RUN]       = {"run",       TO(STOPPING) | TO(CLOSE) | TO(TERMINATE)},
    [ACTOR_STOPPING]  = {"stopping",  TO(CLOSE) | TO(TERMINATE)},
    [ACTOR_CLOSE]     = {"close",     TO(INITIAL)},
    [ACTOR_TERMINATE] = {"terminate", TO(INITIAL)},
    /* clang-format on */
};

/* Shared memory and peers may hold any number. */
static bool is_state(enum actor_state s)
{
    return (unsigned)s < ACTOR_STATES;
}

const char *actor_state_name(enum actor_state s)
{
    return is_state(s) ? states[s].name : "unknown";
}

bool actor_state_may_follow(enum actor_state from, enum actor_state to)
{
    return is_state(from) && is_state(to) && (states[from].may_become & (1u << to)) != 0;
}
