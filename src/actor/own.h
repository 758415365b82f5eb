/*
 * What a program has of its own: the counters and commands of its protocols, of its kinds of actors
 * and of the program itself, by owner. Made once, before the first fork; every process inherits it.
 * Rows are read with the size that they had where they were compiled. Pure.
 */
#ifndef ACTOR_OWN_H
#define ACTOR_OWN_H

#include <arbiter/server.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "actor/actor.h"
#include "actor/command.h"

struct own_counts;

/* Protocols, kinds, and the program in the arbiter. */
enum { OWN_OWNERS_MAX = ARB_PROTOCOLS_MAX + ARB_KINDS_MAX + 1, OWN_NAME_MAX = 31 };
enum { OWN_KEY_LEN = 2 * OWN_NAME_MAX + 2 }; /* of "OWNER.NAME" */

/* Where an owner runs. */
enum own_place { OWN_IN_WORKERS, OWN_IN_KIND, OWN_IN_ARBITER };

struct own_owner {
    const char *name; /* borrowed; "arbiter" for the program */
    enum own_place place;
    unsigned index; /* in the table of protocols or of kinds */
    unsigned first_counter, n_counters;
};

struct own_counter {
    const struct own_owner *owner; /* borrowed */
    const char *name, *help; /* borrowed */
};

/* A command OWNER.NAME. */
struct own_command {
    struct command_row row; /* owned by struct own, as its name and arguments are */
    const struct own_owner *owner; /* borrowed */
    struct arb_command command; /* a copy */
    char name[OWN_KEY_LEN];
};

struct own {
    const struct arb_program *program; /* borrowed */
    struct own_owner owners[OWN_OWNERS_MAX]; /* protocols, then kinds, then the program */
    size_t n_owners;
    struct own_counter counters[ARB_COUNTERS_MAX]; /* in the order of the owners */
    size_t n_counters;
    struct own_command *commands; /* owned, in the order of the owners */
    size_t n_commands;
    struct command_arg *args; /* owned: those of all commands, each list with its end */
};

/* own_is_name - may an owner, a counter, a command or an argument be called so? NULL may not. */
bool own_is_name(const char *name);

/*
 * own_init - take a program's tables in
 * @program  borrowed for the life of @own; NULL = it has nothing of its own
 * @why      on failure: a sentence of at most @why_size bytes
 * Returns 0, or -EINVAL: the program is not as it must be, or -ENOMEM. own_fini follows, whatever
 * it says. @own stays where it is.
 */
int own_init(struct own *own, const struct arb_program *program, char *why, size_t why_size);
void own_fini(struct own *own);

/* own_hold - the hold that the owner of that name has on @process, borrowed; see actor_init */
void own_hold(const struct own *own, const char *owner, struct actor_process *process,
              struct arb_actor *ret);

/* own_find_command - the one of that name, OWNER.NAME, or NULL */
const struct own_command *own_find_command(const struct own *own, const char *name);

/* own_list_commands - @list, as made by command_list, gets all of them */
void own_list_commands(const struct own *own, json_t *list);

/* own_key - "OWNER.NAME". Returns @buf. */
const char *own_key(const struct own_counter *c, char buf[OWN_KEY_LEN]);

/* own_hash - @h goes on over the names of all counters: what a record's numbers stand for */
uint64_t own_hash(const struct own *own, uint64_t h);

/*
 * own_shown - @counts as {OWNER:{NAME:N}}
 * @kind  of the process: a kind's name, "worker" for all protocols, NULL for all that there are
 * Returns NULL without memory, or if there are none.
 */
json_t *own_shown(const struct own *own, const struct own_counts *counts, const char *kind);

/* own_help - the table as [{"owner","name","help"}]. NULL without memory. */
json_t *own_help(const struct own *own);

/*
 * For an upgrade: counters by OWNER.NAME, beside the framework's, whose names have no dot.
 * own_pack - @object gets @counts and what @kept has. Returns 0 or -ENOMEM.
 * own_unpack - read them back; numbers have been checked
 * @kept  an object, gets at most OWN_KEPT_MAX that this program does not know: the program before
 * may come back. Returns how many more there are, which are dropped.
 * own_keep - @kept gets what @more has: sums
 */
enum { OWN_KEPT_MAX = 2 * ARB_COUNTERS_MAX };
int own_pack(const struct own *own, const struct own_counts *counts, const json_t *kept,
             json_t *object);
size_t own_unpack(const struct own *own, const json_t *object, struct own_counts *counts,
                  json_t *kept);
void own_keep(json_t *kept, const json_t *more);

#endif
