/*
 * The status actor: one process, of the framework's own kind, that shows over HTTP how the server
 * is. It asks the arbiter for what it shows, changes nothing, and is there if status.bind is set.
 */
#ifndef STATUS_STATUS_H
#define STATUS_STATUS_H

#include "actor/boot.h"
#include "actor/command.h"

/* status_actor - what the arbiter forks for it */
extern const struct actor_kind status_actor;

#endif
