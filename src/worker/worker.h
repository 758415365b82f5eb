/*
 * A worker: accepts on the inherited listeners, serves a protocol, drains when told to. One process
 * each.
 */
#ifndef WORKER_WORKER_H
#define WORKER_WORKER_H

#include <arbiter/server.h>

#include "actor/boot.h"
#include "actor/command.h"

/* What a worker serves. All is borrowed. */
struct worker_protocol {
    const struct arb_protocol *table;
    const void *conf; /* for table->start */
    uint64_t fingerprint; /* of the rules */
};

/*
 * worker_protocols - what the program of @boot serves, by its configuration
 * Returns 0 or -ENOMEM.
 */
int worker_protocols(const struct actor_boot *boot, struct worker_protocol ret[ARB_PROTOCOLS_MAX],
                     unsigned *ret_n);

/*
 * worker_main - the whole life of a worker process
 * @boot       borrowed
 * @protocols  1..CONN_PROTOCOLS_MAX; the first is that of listeners which name none
 * Returns the exit code: 0 after a drain or stop, 71 if it could not begin.
 */
int worker_main(const struct actor_boot *boot, const struct worker_protocol *protocols,
                unsigned n_protocols);

extern const struct command_set worker_commands;

#endif
