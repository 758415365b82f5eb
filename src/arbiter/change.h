/*
 * A change of everything that serves: a reload or an upgrade, at most one at a time. Requests of a
 * kind coalesce, and wait until nothing is in their way. Knows its kinds by their tables alone.
 */
#ifndef ARBITER_CHANGE_H
#define ARBITER_CHANGE_H

#include <stdbool.h>
#include <sys/types.h>

#include "arbiter/transition.h"

struct arbiter;

/* In the order in which they begin, if more than one is wanted. */
enum change_kind { CHANGE_RELOAD, CHANGE_UPGRADE, CHANGE_KINDS };

struct change_ops {
    const char *obstacle; /* what nothing else can begin for meanwhile: "a reload is under way" */
    /* the child that it has forked; 0 = none */
    pid_t (*child)(const struct arbiter *a);
    void (*on_child_exit)(struct arbiter *a, int status);
    /* begin; it ends by change_end or change_postpone, perhaps from here */
    void (*start)(struct arbiter *a);
    /* of the engine: the next revision serves, or has been taken back: @why, a sentence */
    void (*on_commit)(struct arbiter *a);
    void (*on_rollback)(struct arbiter *a, enum tr_failure failure, const char *why);
    /* the arbiter stops, whether it is under way or not */
    void (*cancel)(struct arbiter *a);
};

struct change {
    const struct change_ops *const *kinds; /* borrowed, CHANGE_KINDS: filled in by the wiring */
    const struct change_ops *active; /* NULL = none */
    bool is_wanted[CHANGE_KINDS];
    const char *said_why[CHANGE_KINDS]; /* borrowed: what it waits for, as the log says; or NULL */
};

/* change_request - begin one as soon as nothing is in its way */
void change_request(struct arbiter *a, enum change_kind kind);

/* change_obstacle - why one of @kind cannot begin now, a sentence; NULL = it can */
const char *change_obstacle(const struct arbiter *a, enum change_kind kind);

/* change_settle - begin one that is wanted, if it can begin now */
void change_settle(struct arbiter *a);

/* change_begin - one is under way already: in an upgrade's new image, which has a table of its own
 */
void change_begin(struct arbiter *a, const struct change_ops *ops);

/* change_end - the active one is over; change_postpone - it could not go on: begin anew later */
void change_end(struct arbiter *a);
void change_postpone(struct arbiter *a);

/* change_on_exit - a child that is no worker has ended. Returns whether it belonged to a change. */
bool change_on_exit(struct arbiter *a, pid_t pid, int status);

/* change_cancel - the arbiter stops: forget them all */
void change_cancel(struct arbiter *a);

#endif
