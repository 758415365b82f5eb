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
#include <sys/types.h>

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
    /* Numbers of the framework's own kinds, and 1; 0 = this program cannot have it. */
    uint32_t keeper;
    uint32_t status;
};

/* The framework's own: a keeper for each worker, TR_KIND_SLOTS_MAX at most; one that shows over
 * HTTP how the server is. */
#define KINDS_KEEPER "keeper"
#define KINDS_STATUS "status"
enum { KINDS_KEEPERS = 1, KINDS_ONE_STATUS = 2 };

/* kinds_init - those of @program, borrowed; NULL = it has none. Of the framework's own those in
 * @framework, KINDS_*, come last. */
void kinds_init(struct kinds *k, const struct arb_program *program, unsigned framework);

/* kinds_add - one more that only the program before has known. Returns its index, or -ENOSPC. */
int kinds_add(struct kinds *k, const char *name);

/* kinds_find - index of the kind of that name, or -1 */
int kinds_find(const struct kinds *k, const char *name);

/* kinds_want - into @set: as many of each as the program says and as were spawned, and of the
 * framework's own those in @framework */
void kinds_want(const struct kinds *k, struct tr_set *set, unsigned framework);

/* kinds_is_keeper, kinds_is_status - is @slot one of theirs, which this program can start? */
static inline bool kinds_is_keeper(const struct kinds *k, uint32_t slot)
{
    return k->keeper && tr_slot_kind(slot) == k->keeper - 1;
}

static inline bool kinds_is_status(const struct kinds *k, uint32_t slot)
{
    return k->status && tr_slot_kind(slot) == k->status - 1;
}

/* kinds_row - what actors of the kind of @slot run; NULL = of a worker, of the framework's own, or
 * of an earlier program */
const struct arb_kind *kinds_row(const struct kinds *k, uint32_t slot);

/* kinds_name - of what fills @slot: "worker", "clock". Borrowed. */
const char *kinds_name(const struct kinds *k, uint32_t slot);

/* kinds_id - of the actor of @slot: "worker.2", "clock.1" */
void kinds_id(const struct kinds *k, uint32_t slot, char ret[KINDS_ID_LEN]);

/* kinds_slot - back again; 0 = there can be no such actor. "worker.2@4711" is that process of it,
 * of which there are several while one drains. */
uint32_t kinds_slot(const struct kinds *k, const char *id);

/* kinds_pid - the process that @id names; 0 = none, -1 = what cannot be one */
pid_t kinds_pid(const char *id);

#endif
