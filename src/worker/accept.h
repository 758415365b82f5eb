/*
 * Accepting: one connection a wake, gated by load so that the workers' shares stay even although
 * they share the listeners (nobody hands connections out). Runs in a worker.
 */
#ifndef WORKER_ACCEPT_H
#define WORKER_ACCEPT_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include "actor/boot.h"
#include "actor/scoreboard.h"
#include "net/conn.h"

enum {
    ACCEPT_FRESH_MS = 2500, /* a heartbeat older than this does not hold the others back */
    ACCEPT_CLOSES_WINDOW_MS = 100,
    ACCEPT_PAUSE_MIN_MS = 50,
    ACCEPT_PAUSE_MAX_MS = 500,
    ACCEPT_SPACING = 50, /* connections more or fewer after which probes are spaced anew */
    ACCEPT_REFUSE_BATCH = 64, /* turned away a wake when all workers are full */
};

struct acceptor;
struct sockaddr;

struct accept_watch {
    ev_io io;
    ev_timer gate; /* runs while this listener waits for a less loaded worker to come first */
    struct acceptor *owner; /* borrowed */
    struct listener *listener; /* borrowed */
    size_t spaced_at; /* connections when the probes were spaced last */
};

struct acceptor {
    const struct actor_boot *boot; /* borrowed */
    struct ev_loop *loop; /* borrowed */
    struct score_record *record; /* borrowed: this process's own */
    struct conn_set *conns; /* borrowed */
    struct accept_watch *watches; /* owned, one per listener */
    size_t n_watches;
    ev_timer pause; /* runs while this worker is full or short of something */
    unsigned pause_ms;
    int reserve_fd; /* owned: given up for a moment to turn a client away when no descriptor is left
                     */
    bool is_running;
    bool is_full; /* cannot take another connection; the record has a copy */
    uint64_t window_start_ns; /* of the count of recent closes */
    uint64_t window_base; /* conn_set.n_closes at its start */
    uint64_t window_before; /* closes in the window before */
};

/*
 * accept_gate_is_open - may a worker with @own connections take one now?
 * @least   the least of the other accepting workers; UINT64_MAX = there is none
 * @closes  own closes in the last ACCEPT_CLOSES_WINDOW_MS
 */
bool accept_gate_is_open(uint64_t own, uint64_t least, uint64_t closes);

/* acceptor_init - borrow all; accepts nothing yet. Returns 0 or -errno. */
int acceptor_init(struct acceptor *a, const struct actor_boot *boot, struct ev_loop *loop,
                  struct conn_set *conns);

/*
 * acceptor_admit - serve a connection that has been accepted, unless its source has too many or
 * comes too fast, or a header of it would not be believed: then it is reset
 * @wish  what it begins with
 * @peer  its address; NULL = it is asked for
 * Counted in either case. Returns 0, -EACCES or -ENOMEM; @fd is taken over.
 */
int acceptor_admit(struct acceptor *a, int fd, unsigned protocol, enum proxy_wish wish,
                   const struct sockaddr *peer, bool may_be_unix);

/* acceptor_on_header - of a connection of the set that begins with a header: what was found is to
 * be logged, see conn_set_on_header */
void acceptor_on_header(struct acceptor *a, const struct conn_header_news *news);

/* acceptor_run - begin to accept */
void acceptor_run(struct acceptor *a);

/* acceptor_stop - accept no more, for good; the listeners stay open until acceptor_fini */
void acceptor_stop(struct acceptor *a);

/* acceptor_on_moved - connections have come from or gone to another worker */
void acceptor_on_moved(struct acceptor *a);

/* acceptor_on_closed - a connection is gone: publish it, and go on if this worker was full */
void acceptor_on_closed(struct acceptor *a);

/* acceptor_fini - stop and close this process's copies of the listeners; the arbiter's live on.
 * Idempotent. */
void acceptor_fini(struct acceptor *a);

#endif
