/*
 * An actor of another kind than workers (struct arb_kind): supervised as they are, without
 * listeners and without connections. One process each.
 */
#ifndef KIND_KIND_H
#define KIND_KIND_H

#include "actor/boot.h"
#include "actor/command.h"

/* kind_actor - what the arbiter forks for all kinds of a program; which one is in the boot */
extern const struct actor_kind kind_actor;

#endif
