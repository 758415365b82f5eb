/*
 * The states of an actor, pulsar's words, and which may follow which. Pure.
 */
#ifndef ACTOR_STATE_H
#define ACTOR_STATE_H

#include <stdbool.h>

enum actor_state {
    ACTOR_INITIAL, /* the record is free */
    ACTOR_INACTIVE, /* forked, has not begun */
    ACTOR_STARTING, /* prepares itself */
    ACTOR_RUN, /* ready; serves when told to */
    ACTOR_STOPPING, /* drains */
    ACTOR_CLOSE, /* ended of its own accord */
    ACTOR_TERMINATE, /* was killed */
    ACTOR_STATES
};

const char *actor_state_name(enum actor_state s);

/* actor_state_may_follow - is the step from @from to @to one of the table? */
bool actor_state_may_follow(enum actor_state from, enum actor_state to);

#endif
