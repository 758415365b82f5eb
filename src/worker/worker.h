/*
 * A worker: accepts on the inherited listeners, serves a protocol, drains when told to. One process
 * each.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include "actor/boot.h"
#include "actor/command.h"

/*
 * worker_main - the whole life of a worker process
 * @boot  borrowed; what it serves are the protocols of its program
 * Returns the exit code: 0 after a drain or stop, 71 if it could not begin.
 */
int worker_main(const struct actor_boot *boot);

extern const struct command_set worker_commands;

#endif
