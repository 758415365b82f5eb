/*
 * What is behind arb_spawn: who waits in this process for an actor that the arbiter starts. Runs in
 * every process, the arbiter included.
 */
#ifndef ACTOR_SPAWN_H
#define ACTOR_SPAWN_H

#include <arbiter/server.h>
#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

enum { SPAWNS_MAX = 256, SPAWN_TIMEOUT_MS = 120000 };

struct spawns {
    struct list list; /* of struct spawn, owned */
    unsigned n;
    uint64_t last_id;
    struct ev_loop *loop; /* borrowed, as the next one */
    const struct arb_program *program;
    /* ask for one of @kind; the answer comes by spawns_on_reply. Returns 0 or -errno. */
    int (*ask)(struct spawns *all, uint64_t id, const char *kind);
};

/* spawns_init - nobody waits; spawns_fini - who waits is forgotten */
void spawns_init(struct spawns *all, struct ev_loop *loop, const struct arb_program *program,
                 int (*ask)(struct spawns *all, uint64_t id, const char *kind));
void spawns_fini(struct spawns *all);

/* spawns_on_reply - @body (borrowed) is {"result":ID} or {"error":{"code","message"}} */
void spawns_on_reply(struct spawns *all, uint64_t id, const json_t *body);

/* spawns_sweep - who has waited for too long: an upgrade may have come in between */
void spawns_sweep(struct spawns *all, uint64_t now_ms);

#endif
