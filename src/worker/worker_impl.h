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
#include "actor/own.h"
#include "actor/process.h"
#include "actor/scoreboard.h"
#include "net/conn.h"
#include "net/conn_sources.h"
#include "net/keep.h"
#include "worker/accept.h"
#include "worker/collect.h"
#include "worker/conn_log.h"
#include "worker/listing.h"
#include "worker/moves.h"
#include "worker/protocols.h"

struct worker {
    const struct actor_boot *boot; /* borrowed */
    struct process process;
    struct protocols protocols;
    struct conn_set conns;
    struct acceptor acceptor;
    struct moves moves;
    struct keep keep;
    struct conn_sources sources; /* conns.sources, if there are limits per source */
    uint64_t n_rescued; /* that it has offered, of which the log has not heard yet */
    struct collect collect;
    struct listings listings;
    struct conn_log conn_log;
    ev_timer drain_deadline; /* what is left then is cut */
    ev_timer move_deadline; /* what has not moved is drained then, unless some have since */
    uint64_t n_gone; /* connections that had moved or ended at the last move_deadline */
    ev_timer late; /* then the arbiter hears of replies that were given late: of several at once */
    size_t n_late; /* of which it has not heard yet */
    uint64_t asked_ms; /* when it was last told */
    uint64_t memory_from_ms; /* arbiter.max_memory counts from then on */
    uint64_t max_requests; /* after which it asks to be replaced; UINT64_MAX = never */
    bool is_draining;
};

/* worker.c */

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

/*
 * worker_on_answered - a connection owes nothing any more
 * Returns whether it is held until it is moved: others take the connections of this worker.
 */
bool worker_on_answered(struct worker *w);

/* worker_become_orphan - the arbiter is gone: free its addresses and drain */
void worker_become_orphan(struct worker *w);

#endif
