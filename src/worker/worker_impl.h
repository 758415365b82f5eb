/*
 * What the files of the worker share. Included by src/worker/ alone.
 */
#ifndef WORKER_WORKER_IMPL_H
#define WORKER_WORKER_IMPL_H

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>

#include "actor/actor.h"
#include "actor/boot.h"
#include "actor/mailbox.h"
#include "actor/own.h"
#include "actor/scoreboard.h"
#include "net/conn.h"
#include "worker/accept.h"
#include "worker/heartbeat.h"
#include "worker/moves.h"
#include "worker/rescue.h"

struct worker {
    const struct actor_boot *boot; /* borrowed */
    struct ev_loop *loop; /* owned */
    struct score_record *record; /* borrowed: the shared record that only this process writes */
    struct mailbox mailbox;
    struct actor_process process;
    struct arb_actor holds[ARB_PROTOCOLS_MAX]; /* one per protocol of the program, in its order */
    unsigned n_holds;
    struct conn_set conns;
    struct acceptor acceptor;
    struct moves moves;
    struct heartbeat heartbeat;
    struct rescue rescue; /* of this slot */
    struct rescue foreign; /* of a slot that nobody fills any more */
    ev_timer drain_deadline; /* what is left then is cut */
    ev_timer move_deadline; /* the rest is drained then, unless some have moved since */
    size_t n_left; /* connections at the last move_deadline */
    ev_signal term;
    uint64_t memory_from_ms; /* arbiter.max_memory counts from then on */
    uint64_t max_requests; /* after which it asks to be replaced; UINT64_MAX = never */
    enum actor_state state; /* the record has a copy */
    bool has_been_termed; /* a second SIGTERM is for at once */
    bool has_asked; /* to be replaced */
    bool is_cut_off; /* the mailbox is closed */
    bool is_draining;
};

/* worker.c */

/* worker_set_state - a step of the states' table: published, logged, and shown in the process title
 */
void worker_set_state(struct worker *w, enum actor_state state);

/* worker_run - begin to accept */
void worker_run(struct worker *w);

/* worker_drain - accept no more, finish what is begun, then end */
void worker_drain(struct worker *w);

/* worker_move_all - accept no more, give all connections away over @fds, which are taken over, and
 * end; with what stays go on serving until the arbiter, who is told, says drain or move again
 */
void worker_move_all(struct worker *w, int *fds, size_t n_fds);

/* worker_on_closed - a connection is gone; worker_on_moved - some have come from or gone to another
 * worker, or will go no more */
void worker_on_closed(struct worker *w);
void worker_on_moved(struct worker *w);

/* worker_is_orphan - is the arbiter gone? worker_become_orphan - then free its addresses and drain
 */
bool worker_is_orphan(const struct worker *w);
void worker_become_orphan(struct worker *w);

/* worker_ask_for_heir - ask the arbiter, once, for an heir; goes on serving until told to stop */
void worker_ask_for_heir(struct worker *w, const char *reason);

/* worker_tell - a message to the arbiter; @args is taken over, NULL = none. Returns 0 or -errno,
 * logged. */
int worker_tell(struct worker *w, const char *command, uint64_t id, json_t *args);

/* worker_commands.c */

/*
 * worker_command - do what a message of the arbiter says, and reply if it asks for one
 * @fds   owned by the caller; a command takes one over by setting it to -1
 */
void worker_command(struct worker *w, const struct message *m, int *fds, size_t n_fds);

#endif
