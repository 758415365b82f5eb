/*
 * A worker's side of its keeper: which connections are registered with it, how they end, and what
 * it offers. Runs in a worker's loop; knows no arbiter and no mailbox. The rules: keep_rules.h and
 * keep.md; what is said: wire/keep.h.
 *
 * Connections that are too young are not registered, so that who comes and goes costs nothing. A
 * timer looks after them, and runs only while there are some, or something is still to be said.
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
#include "wire/keep.h"

enum {
    KEEP_TICK_MS = 500, /* at most, and at most half of keep_after */
    KEEP_OFFERS_A_WAKE = 4,
    KEEP_PATIENCE_MS = 500, /* of a handler of fatal signals, when nothing moves */
};

struct keep;

/* @count connections have come since the last call, and no more offers are there now. */
typedef void keep_on_taken(struct keep *k, uint64_t count);

struct keep {
    struct conn_set *set; /* borrowed; NULL = there is no table, and never a keeper */
    keep_on_taken *on_taken;
    struct keep_table table; /* `set` marks in it */
    struct keeping rules;
    ev_io io;
    ev_timer tick;
    ev_prepare at_once; /* runs before the loop sleeps, if keep_after is 0 and somebody has come */
    int fd; /* owned: this worker's end of the pair; -1 = none */
    uint64_t keep_after_ms, tick_ms;
    unsigned ticks_a_step, ticks; /* steps: the young get older, who is older is registered */
    size_t n_kept;
    uint64_t n_taken; /* since the last on_taken */
    bool is_open; /* offers are heard: this worker serves */
    bool is_closed; /* this worker drains: it refuses them */
    bool is_disordered; /* connections that are settled may stand behind others in set->all */
    bool is_behind; /* what is old enough could not be registered */
    struct keep_message taken; /* the answer to an offer that could not be sent; count 0 = none */
    /* What is put together. */
    struct keep_message message;
    struct arb_conn *conns[KEEP_COUNT_MAX];
    uint8_t bytes[KEEP_MESSAGE_MAX];
};

/*
 * keep_init - the set's marks are in the table of @table_fd from now on
 * @table_fd  taken over; -1 = there is none: then nothing is ever kept
 * Before the first connection. Returns 0 or -errno (the set then has its marks as before).
 */
int keep_init(struct keep *k, struct conn_set *set, int table_fd, uint64_t keep_after_ms,
              keep_on_taken *on_taken);

/* keep_fini - after conn_set_cut, before conn_set_fini; also without keep_init, and twice */
void keep_fini(struct keep *k);

/*
 * keep_link - a keeper has come, and the one before it is not to be used any more
 * @fd  taken over: this worker's end. What the one before has offered is taken first.
 */
void keep_link(struct keep *k, int fd);

/* keep_tick - register what is old enough, sweep, send what could not be sent */
void keep_tick(struct keep *k);

/* keep_open - take what is offered from now on; before, it waits */
void keep_open(struct keep *k);

/* keep_close - refuse what is offered from now on */
void keep_close(struct keep *k);

/* ---- for conn*.c and move*.c: @c is in a set that has a struct keep ---- */

/* keep_come - it is served from now on, or again */
void keep_come(struct arb_conn *c);

/* keep_rethink - it may be passed on, or may no more, as its mark says */
void keep_rethink(struct arb_conn *c);

/* keep_end - for a kept one, before `close`: what comes before that in KEEP_ORDER_END. The peer
 * sees a reset if SO_LINGER asks for one. */
void keep_end(struct arb_conn *c);

/* keep_given - for a kept one, before `close`: what comes before that in KEEP_ORDER_GIVEN and
 * KEEP_ORDER_DROP */
void keep_given(const struct arb_conn *c);

/* keep_lose - what has been expected as @fd cannot be served */
void keep_lose(struct keep *k, int fd);

/*
 * keep_imported - register @conns, a list of detached ones marked as moving, before their giver is
 * answered. What cannot be registered now is registered soon, as others are.
 */
void keep_imported(struct keep *k, const struct list *conns);

/* ---- keep_crash.c ---- */

/*
 * keep_crash - in a handler of a fatal signal, which returns to nothing that it has interrupted:
 * register what is idle and is not registered. Async-signal-safe.
 * Gives up when nothing moves for KEEP_PATIENCE_MS. Returns how many idle ones are registered.
 */
uint32_t keep_crash(struct keep *k);

#endif
