/*
 * A model of the arbiter's shell around the transition engine: it does what the engine says, on a
 * virtual clock, and holds each action and each rest against what the engine promises. It looks at
 * the actions and the public questions only, never into the engine. Unit tests and the fuzz target
 * share it.
 */
#ifndef SUPPORT_TR_MODEL_H
#define SUPPORT_TR_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "arbiter/transition.h"

struct tr_model;
/* Called for each action after the model has done it. */
typedef void tr_model_listener(struct tr_model *m, const struct tr_action *a);

struct tr_model_proc {
    enum tr_phase phase;
    bool is_quick;
    bool wants_heir;
    bool is_heir; /* started for the slot of a process that wants one */
    bool is_replaced; /* its heir serves */
    uint32_t slot;
    uint64_t revision;
    uint64_t exit_timeout_ms;
    uint64_t since_ms;
    uint64_t kill_ms; /* the engine must have killed it by then; UINT64_MAX = never */
    uint64_t event_ms; /* of the simulation: what it does next of its own accord, and when */
    enum tr_event_kind event;
};

struct tr_model {
    struct transition engine;
    uint64_t now_ms;
    uint64_t last_revision;
    uint32_t n_procs;
    struct tr_set live, next; /* as the actions have told; next.revision 0 = none */
    uint32_t companions, brief; /* as of the sets that a test makes */
    uint8_t others[TR_KINDS_MAX]; /* actors of other kinds in each set that a test makes */
    bool is_turning; /* the first of `next` has been told to run */
    enum tr_failure failure; /* why a rollback must follow */
    bool is_serving, is_stopping, is_quick, is_given_up, is_stopped;
    uint64_t stop_ms; /* all must have been killed by then */
    uint32_t n[TR_GIVE_UP + 1]; /* actions so far, by kind */
    struct tr_model_proc procs[TR_RECORDS_MAX];
    char trace[4096]; /* actions as text; emptied by who reads it, cut when full */
    size_t trace_len;
    char broken[256]; /* the first broken promise; "" = none */
    tr_model_listener *on_action; /* NULL = nobody listens */
    void *userdata;
};

/* tr_model_init - start @workers in @n_procs with generous timeouts, and do what is said first;
 * tr_model_init_kinds - beside them actors of two other kinds, @n_first and @n_last */
void tr_model_init(struct tr_model *m, uint32_t workers, uint32_t n_procs, uint32_t seed,
                   tr_model_listener *on_action, void *userdata);
void tr_model_init_kinds(struct tr_model *m, uint32_t workers, uint32_t n_first, uint32_t n_last,
                         uint32_t n_procs, uint32_t seed, tr_model_listener *on_action,
                         void *userdata);

/* tr_model_reload, tr_model_kind - the two kinds of event that tests need most */
void tr_model_reload(struct tr_model *m, uint32_t workers);
void tr_model_kind(struct tr_model *m, enum tr_event_kind kind, uint32_t proc);

/* tr_model_event - feed one event now, do what is said, check all */
void tr_model_event(struct tr_model *m, const struct tr_event *ev);

/* tr_model_advance - let time pass, with a tick at each deadline on the way */
void tr_model_advance(struct tr_model *m, uint64_t to_ms);

/*
 * tr_model_upgrade - let a new engine inherit what the old one has, as over an exec
 * Does nothing during the first start, a reload or a stop: then there is no upgrade.
 */
void tr_model_upgrade(struct tr_model *m);

/* tr_model_set - a set for a reload: a new revision, with the first one's timeouts */
struct tr_set tr_model_set(struct tr_model *m, uint32_t workers);

/* tr_model_count - processes in @phase as the model sees it */
uint32_t tr_model_count(const struct tr_model *m, enum tr_phase phase);

enum { TR_MODEL_BOOT_MS = 1000, TR_MODEL_EXIT_MS = 3000 };

#endif
