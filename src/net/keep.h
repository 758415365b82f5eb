/*
 * A worker's side of its keeper: which connections are registered with it, how they end, and what
 * it offers. Runs in a worker's loop; knows no arbiter and no mailbox. The rules: keep_rules.h and
 * keep.md; what is said: wire/keep.h.
 *
 * Without a keeper, and for each connection that is not kept, everything here is one test of a
 * flag.
 */
#ifndef NET_KEEP_H
#define NET_KEEP_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/conn.h"
#include "net/keep_rules.h"
#include "net/keep_table.h"

struct keep;

/* Connections have come by an offer. */
typedef void keep_on_taken(struct keep *k, uint32_t count);

struct keep {
    struct conn_set *set; /* borrowed */
    struct keep_table table; /* `set` marks in it; not mapped = no keeper ever */
    struct keeping rules;
    keep_on_taken *on_taken;
    ev_io io;
    int fd; /* owned: this worker's end of the pair; -1 = none */
    int epoll_fd; /* borrowed: libev's; -1 = could not be found, and nothing is kept */
    uint32_t keep_after_ticks; /* ticks until a connection is registered; 0 = at once */
    size_t n_kept;
    bool is_closed; /* takes no more offers: this worker drains */
};

/*
 * keep_init - the set's marks are in the table of @table_fd from now on
 * @table_fd  taken over; -1 = there is none: then all calls below do nothing
 * Before the first connection. Returns 0 or -errno (the set then has its marks as before).
 */
int keep_init(struct keep *k, struct conn_set *set, int table_fd, keep_on_taken *on_taken);

/* keep_fini - after conn_set_cut, before conn_set_fini; also without keep_init */
void keep_fini(struct keep *k);

/*
 * keep_link - a keeper has come, and the one before it is not to be used any more
 * @fd  taken over: this worker's end. What the one before has offered is taken first.
 */
void keep_link(struct keep *k, int fd);

/* keep_tick - with the heartbeat: register what is old enough, sweep, send what could not be sent
 */
void keep_tick(struct keep *k);

/* keep_close - refuse what is offered from now on */
void keep_close(struct keep *k);

/* ---- for conn*.c and move*.c; @c is kept or not ---- */

/* keep_end - before the descriptor is closed: what comes before `close` in KEEP_ORDER_END. With
 * @is_reset the peer sees a reset. */
void keep_end(struct arb_conn *c, bool is_reset);

/* keep_unkeep - served on, but not to be passed on any more */
void keep_unkeep(struct arb_conn *c);

/* keep_given - what comes before `close` in KEEP_ORDER_GIVEN and KEEP_ORDER_DROP */
void keep_given(struct arb_conn *c);

/*
 * keep_imported - register @conns, a list of detached ones marked as moving, before their giver is
 * answered. What cannot be registered now is registered as any other later.
 */
void keep_imported(struct keep *k, const struct list *conns);

/* keep_unwatch - take a descriptor out of the kernel's set of libev's (EPOLL_CTL_DEL) */
void keep_unwatch(const struct keep *k, int fd);

/*
 * keep_crash - in a handler of a fatal signal: register what is idle and not registered
 * Async-signal-safe. Returns how many were.
 */
uint32_t keep_crash(struct keep *k);

#endif
