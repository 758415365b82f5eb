/*
 * What is behind struct arb_actor. It is a hold on this process: each protocol of a worker, each
 * actor of another kind and the program in the arbiter has one of its own, so that counters, timers
 * and log lines know their owner. All holds of a process point to what they share. Each process
 * fills in its holds at its start; the functions of <arbiter/actor.h> work on them.
 */
#ifndef ACTOR_ACTOR_H
#define ACTOR_ACTOR_H

#include <arbiter/actor.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct conn_set;
struct ev_loop;
struct log;
struct relay;
struct score_record;
struct spawns;

/* What the holds of a process share. */
struct actor_process {
    const char *id; /* borrowed: "worker.2" */
    uint32_t slot; /* 0 = the arbiter */
    struct ev_loop *loop; /* borrowed */
    struct log *const *log; /* borrowed: where the pointer to the log stands; a reload changes it */
    struct score_record *record; /* borrowed: of this process; NULL in the arbiter */
    struct relay *relay; /* borrowed: messages of actors; NULL = none yet */
    struct spawns *spawns; /* borrowed: actors that were asked for; NULL = nobody can be asked */
};

struct arb_actor {
    struct actor_process *process; /* borrowed */
    const char *owner; /* borrowed: name of the protocol, the kind, or "arbiter" */
    bool is_protocol; /* the owner is one: log lines name it, as a worker can have several */
    unsigned protocol; /* its index in the program's table */
    unsigned first_counter, n_counters; /* its own among all of the program */
    struct conn_set *conns; /* borrowed: of a protocol, once the worker has begun; else NULL */
    void *data; /* of the owner, such as @server of a protocol; first argument of its callbacks */
    bool wants_to_send; /* arb_send has said -EAGAIN: on_can_send is owed */
    struct list timers, watches; /* owned */
};

/* actor_init - a hold without counters. @process,@owner: borrowed */
void actor_init(struct arb_actor *self, struct actor_process *process, const char *owner);

/* actor_fini - free its timers and watches; after the owner's `stop`. A zeroed hold is fine. */
void actor_fini(struct arb_actor *self);

#endif
