/*
 * Messages between actors: one total order, each exactly once, also for a connection that moves
 * from one process to another. The rules as pure machines: numbers in, decisions out. The arbiter
 * has the order, each process (the arbiter's own actor included) an end of it.
 *
 *   order  numbers messages; knows how far every process is, and how much each has under way
 *   end    where a process is; what it has sent; which messages it still needs for moves
 *
 * A message for all goes to all processes, its sender included. A process repeats it for a
 * connection that came to it later than the message (taken from a process that was behind), or that
 * came back (refused by a taker), and leaves out a connection that has had it elsewhere (taken from
 * a process that was ahead): `seen`. The rules lean on two facts: mailboxes are first in, first
 * out, and the arbiter introduces the ends of a move with no number between the two messages.
 */
#ifndef ACTOR_RELAY_RULES_H
#define ACTOR_RELAY_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

enum {
    RELAY_WINDOW_BYTES =
        4 << 20, /* under way in the whole server; each process has a share of it */
    RELAY_COST_BYTES = 256, /* of a message beside its data, for whoever keeps it */
    /* What one process has under way at most, even if it does not keep to its share. */
    RELAY_HELD_MAX_BYTES = 2 * RELAY_WINDOW_BYTES,
    RELAY_REPORT_BYTES = 64 << 10, /* after so much a process says how far it is */
};

#define RELAY_NOTHING UINT64_MAX /* as a floor: no message is needed */

/* relay_cost - what a message with that much data counts as */
static inline size_t relay_cost(size_t data_len)
{
    return data_len + RELAY_COST_BYTES;
}

/* ---- messages that are under way, oldest first ---- */

struct relay_member;

struct relay_entry {
    uint64_t number; /* 0 = it has none yet */
    uint64_t sequence; /* its sender's count */
    size_t bytes;
    struct relay_member *sender; /* in the arbiter; NULL = it has ended */
};

struct relay_ledger {
    struct relay_entry *entries; /* owned, a ring */
    size_t first, n, room;
};

/* ---- the order: in the arbiter ---- */

/* One process in the order. */
struct relay_member {
    struct list link; /* in order->members, if it takes part */
    bool is_joined;
    bool has_left; /* what it had sent before is still numbered */
    bool is_stalled; /* as it has said last: something could not be sent for want of room */
    uint64_t sent; /* number of the last message that was sent to it */
    uint64_t done; /* it is done with those up to this one, as it has said last */
    uint64_t sequence; /* of its last own message */
    uint64_t last; /* the number of that */
    uint64_t told; /* it knows that all are done up to this number */
    size_t held_bytes; /* of its own messages that not all are done with */
};

struct relay_order {
    uint64_t number; /* of the last message; 0 = there was none */
    uint64_t done; /* all processes are done up to this one */
    struct list members;
    size_t n_members;
    struct relay_ledger ledger;
    size_t held_bytes; /* of all messages in the ledger */
};

void relay_order_init(struct relay_order *o);
void relay_order_fini(struct relay_order *o);

/* relay_share - bytes that each process may have under way */
size_t relay_share(const struct relay_order *o);

/* relay_join - a process takes part from the next number on; it was zeroed before */
void relay_join(struct relay_order *o, struct relay_member *m);

/*
 * relay_leave - it hears nothing any more: nobody waits for it. What it had sent before may still
 * be numbered. Nothing happens if it did not take part.
 */
void relay_leave(struct relay_order *o, struct relay_member *m);

/*
 * relay_inherit - it took part when the image before this one was executed: all but the link is
 * filled in. What it had under way counts until all are done with the last number.
 * Returns 0 or -ENOMEM.
 */
int relay_inherit(struct relay_order *o, struct relay_member *m);

/*
 * relay_number - the next message of @m gets its number
 * @sequence  its own count: one more than the last
 * @bytes     relay_cost
 * Returns 0, -EBADMSG (out of turn, or far more than its share) or -ENOMEM; then nothing is
 * changed.
 */
int relay_number(struct relay_order *o, struct relay_member *m, uint64_t sequence, size_t bytes,
                 uint64_t *ret_number);

/* relay_sent - message @number has been put into the mailbox of @m, behind all before it */
void relay_sent(struct relay_member *m, uint64_t number);

/* relay_report - @m says that it is done up to @done, which is of no matter once it has left.
 * Returns 0 or -EBADMSG: that cannot be. */
int relay_report(struct relay_member *m, uint64_t done);

/* relay_advance - how far are all, after reports and ends? Returns whether that is further. */
bool relay_advance(struct relay_order *o);

/* relay_must_tell - does @m wait for news that it has not been told yet? */
bool relay_must_tell(const struct relay_order *o, const struct relay_member *m);

/* ---- an end: in every process ---- */

/* A message that is kept for moves; part of the process' own struct. */
struct relay_kept {
    struct list link;
    uint64_t number;
    size_t bytes;
};

/* A move in which this process gives or takes. */
struct relay_pair {
    struct list link; /* in end->pairs */
    uint64_t floor; /* it may need the messages above this number */
};

struct relay_end {
    uint64_t position; /* the last number that was taken from the mailbox and handled */
    struct list kept; /* relay_kept, ascending: messages that a move may need */
    struct list pairs;
    size_t kept_bytes;
    uint64_t sequence; /* of the last own message */
    uint64_t numbered; /* own messages up to this one have got their numbers */
    uint64_t all_done; /* all processes are done up to this number, as heard last */
    struct relay_ledger ledger; /* own messages that not all are done with */
    size_t held_bytes; /* of those */
    size_t share; /* the most that may be held; one message always may */
    bool is_refused; /* a message was not sent for want of room, and on_can_send is owed */
    uint64_t reported; /* the arbiter knows that this process is done up to this number */
    bool is_reported_refused; /* the arbiter knows of is_refused */
    size_t unreported_bytes; /* that were handled since */
};

void relay_end_init(struct relay_end *e, size_t share);
/* relay_end_fini - nothing is kept any more: see relay_pop */
void relay_end_fini(struct relay_end *e);

/*
 * relay_send - count an own message that is about to be sent
 * @ret_sequence  of it
 * Returns 0, -EAGAIN (too much is under way: relay_can_send says when) or -ENOMEM.
 */
int relay_send(struct relay_end *e, size_t bytes, uint64_t *ret_sequence);

/* relay_unsend - the message just counted could not be sent */
void relay_unsend(struct relay_end *e);

/* relay_numbered - own messages up to @sequence have numbers, at most @number */
void relay_numbered(struct relay_end *e, uint64_t sequence, uint64_t number);

/* relay_told - the arbiter has said how far all are, and what each may have under way */
void relay_told(struct relay_end *e, uint64_t all_done, size_t share);

/* relay_can_send - is on_can_send owed and due? Once; then it is owed no more. */
bool relay_can_send(struct relay_end *e);

/* relay_passed - this process has handled everything up to @number; @bytes of it are new */
void relay_passed(struct relay_end *e, uint64_t number, size_t bytes);

/* relay_done - up to which message this process is done: handled, and not kept for a move */
uint64_t relay_done(const struct relay_end *e);

/* relay_must_report - is there enough news for a report of its own? relay_reported - it was sent */
bool relay_must_report(const struct relay_end *e);
void relay_reported(struct relay_end *e, uint64_t done);

/* relay_has_news - is there anything that the arbiter does not know yet? */
bool relay_has_news(const struct relay_end *e);

/* Set by tests alone, which have to see what goes wrong without the fence. */
extern bool relay_is_fence_off;

/* relay_is_fenced - has own message @sequence not come back with its number? Then the connection
 * that sent it may not leave: a later message of it could get an earlier number elsewhere. */
static inline bool relay_is_fenced(const struct relay_end *e, uint64_t sequence)
{
    return sequence > e->numbered && !relay_is_fence_off;
}

/* -- moves -- */

/*
 * relay_pair_begin - a move begins here
 * @floor  the taker: the position, when it hears of the move; the giver: RELAY_NOTHING
 */
void relay_pair_begin(struct relay_end *e, struct relay_pair *p, uint64_t floor);

/*
 * relay_pair_trim - the taker: it has handled a batch that the giver sent at @position
 * That may be below the taker's own at the beginning: numbers that concern one process only are
 * passed at different times.
 */
void relay_pair_trim(struct relay_pair *p, uint64_t position);

/*
 * relay_pair_set - the giver: its own position when it sent the oldest batch that is not answered,
 * RELAY_NOTHING if all are
 */
void relay_pair_set(struct relay_pair *p, uint64_t floor);
void relay_pair_end(struct relay_pair *p);

/* relay_seen - what travels with a connection of this process that has seen @seen, 0 = as the
 * process */
static inline uint64_t relay_seen(const struct relay_end *e, uint64_t seen)
{
    return seen > e->position ? seen : e->position;
}

/* relay_wants - has message @number, for all, to be kept? Then relay_keep. */
bool relay_wants(const struct relay_end *e, uint64_t number);
void relay_keep(struct relay_end *e, struct relay_kept *k);

/* relay_pop - a message that no move needs any more, to be freed by the caller; NULL = none */
struct relay_kept *relay_pop(struct relay_end *e);

/* relay_after - the first kept message above @number: what a connection that has seen @number has
 * missed begins here. NULL = nothing. */
struct relay_kept *relay_after(const struct relay_end *e, uint64_t number);
struct relay_kept *relay_next(const struct relay_end *e, const struct relay_kept *k);

#endif
