/*
 * The other kinds of actors that the arbiter knows, beside its workers: their names, how many of
 * each are wanted, and which slots of the engine are theirs. Pure.
 */
#ifndef ARBITER_KINDS_H
#define ARBITER_KINDS_H

#include <arbiter/server.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arbiter/transition.h"

enum { KINDS_NAME_LEN = 32, KINDS_ID_LEN = 32 };

struct kind_entry {
    char name[KINDS_NAME_LEN];
    const struct arb_kind *row; /* borrowed; NULL = of the program before an upgrade: none is
                                   started any more */
    uint32_t n_spawned; /* on top of those that the program says */
};

struct kinds {
    struct kind_entry list[TR_KINDS_MAX]; /* index = the engine's number of the kind */
    uint32_t n;
    uint32_t
        keeper; /* number of the framework's own kind, and 1; 0 = this program has no keepers */
};

/* The framework's own kind: one for each worker, TR_KIND_SLOTS_MAX at most. */
#define KINDS_KEEPER "keeper"

/* kinds_init - those of @program, borrowed; NULL = it has none. With @has_keepers the framework's
 * own comes last. */
void kinds_init(struct kinds *k, const struct arb_program *program, bool has_keepers);

/* kinds_add - one more that only the program before has known. Returns its index, or -ENOSPC. */
int kinds_add(struct kinds *k, const char *name);

/* kinds_find - index of the kind of that name, or -1 */
int kinds_find(const struct kinds *k, const char *name);

/* kinds_want - into @set: as many of each as the program says and as were spawned, and with
 * @has_keepers those of its workers */
void kinds_want(const struct kinds *k, struct tr_set *set, bool has_keepers);

/* kinds_is_keeper - is @slot one of keepers, which this program can start? */
static inline bool kinds_is_keeper(const struct kinds *k, uint32_t slot)
{
    return k->keeper && tr_slot_kind(slot) == k->keeper - 1;
}

/* kinds_row - what actors of the kind of @slot run; NULL = of a worker, a keeper, or of an earlier
 * program */
const struct arb_kind *kinds_row(const struct kinds *k, uint32_t slot);

/* kinds_name - of what fills @slot: "worker", "clock". Borrowed. */
const char *kinds_name(const struct kinds *k, uint32_t slot);

/* kinds_id - of the actor of @slot: "worker.2", "clock.1" */
void kinds_id(const struct kinds *k, uint32_t slot, char ret[KINDS_ID_LEN]);

/* kinds_slot - back again; 0 = there can be no such actor */
uint32_t kinds_slot(const struct kinds *k, const char *id);

#endif
