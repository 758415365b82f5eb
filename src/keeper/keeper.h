/*
 * A keeper: an actor of the framework's own kind beside the workers, which holds duplicates of
 * their connections (keeper/wards.h) and is asleep else. One process each.
 */
#ifndef KEEPER_KEEPER_H
#define KEEPER_KEEPER_H

#include "actor/boot.h"
#include "actor/command.h"

/* keeper_actor - what the arbiter forks for each keeper */
extern const struct actor_kind keeper_actor;

#endif
