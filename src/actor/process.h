/*
 * What every process that the arbiter forks has, a worker or an actor of another kind: its loop,
 * its mailbox, its state, its heartbeat, and what it does about SIGTERM and the end of the arbiter.
 * Its owner fills in a table of what else is to happen.
 */
#ifndef ACTOR_PROCESS_H
#define ACTOR_PROCESS_H

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "actor/actor.h"
#include "actor/boot.h"
#include "actor/heartbeat.h"
#include "actor/mailbox.h"
#include "actor/relay.h"
#include "actor/sandbox.h"
#include "actor/own_call.h"
#include "actor/spawn.h"
#include "actor/state.h"
#include "actor/usage.h"

struct process;

struct process_ops {
    /* a message of the arbiter; @fds as of a mailbox */
    void (*on_message)(struct process *p, struct message *m, int *fds, size_t n_fds);
    /* the arbiter is gone: end; perhaps called again */
    void (*on_orphaned)(struct process *p);
    /* it has asked to be replaced before it was told to run: nobody will tell it to end */
    void (*on_unwanted)(struct process *p);
    /* the mailbox is closed, but the arbiter lives: it will end this process. NULL = no matter */
    void (*on_cut_off)(struct process *p);
    /* messages between actors: as of struct relay_ops; NULL = nobody hears them here */
    void (*on_relayed)(struct process *p, const struct arb_message *m, bool is_for_all);
    void (*on_can_send)(struct process *p);
    void (*on_numbered)(struct process *p);
    int (*fence)(struct process *p, struct arb_conn *conn, uint64_t sequence);
    /* with the heartbeat, and with one beat a second at most; NULL = nothing to do */
    void (*on_beat)(struct process *p);
    void (*on_second)(struct process *p);
};

struct process {
    const struct actor_boot *boot; /* borrowed, as the next one */
    const struct process_ops *ops;
    struct ev_loop *loop; /* owned */
    struct score_record *record; /* borrowed: the shared record that only this process writes */
    struct mailbox mailbox;
    struct relay relay; /* messages between actors */
    struct heartbeat heartbeat;
    struct usage usage;
    ev_signal term;
    struct actor_process shared; /* of the holds on this process */
    struct own_calls own_calls; /* commands of the program that run here */
    struct spawns spawns; /* actors that were asked for here */
    enum actor_state state; /* the record has a copy */
    bool has_been_termed; /* a second SIGTERM is for at once */
    bool has_asked; /* to be replaced */
    bool is_cut_off; /* the mailbox is closed */
    bool is_over; /* a second SIGTERM has come */
};

/*
 * process_begin - the state is "starting", signals that stray are ignored
 * @p        zeroed
 * process_prepare - then make the loop. Returns 0 or -errno.
 * process_confine - then, with all open that it needs, enter the sandbox. Returns 0, or -errno if
 *                   that fails and the configuration requires it; both are logged.
 * process_ready   - then hear the arbiter, beat, and say that this process is ready
 * process_fini    - the loop has ended: give back what there is; never begun is fine
 */
void process_begin(struct process *p, const struct actor_boot *boot, const struct process_ops *ops);
int process_prepare(struct process *p);
int process_confine(struct process *p, enum sandbox_who who);
void process_ready(struct process *p);
void process_fini(struct process *p);

/* process_set_state - a step of the states' table: published, logged, and shown in the process
 * title */
void process_set_state(struct process *p, enum actor_state state);

/* process_tell - a message to the arbiter; @args is taken over, NULL = none. Returns 0 or -errno,
 * logged. */
int process_tell(struct process *p, const char *command, uint64_t id, json_t *args);

/*
 * process_call - the arguments of message @id, `call`, name a command of the program and have its
 * own: run it with the data of its owner among @holds. It replies now or later.
 */
void process_call(struct process *p, const struct arb_actor *holds, unsigned n_holds, uint64_t id,
                  const json_t *args);

/* process_is_orphan - is the arbiter gone? */
bool process_is_orphan(const struct process *p);

/* process_ask_for_heir - ask the arbiter, once, to be replaced; goes on until told to stop */
void process_ask_for_heir(struct process *p, const char *reason);

#endif
