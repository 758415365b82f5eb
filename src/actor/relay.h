/*
 * Messages between actors, as every process has them: what is behind arb_send and on_message. One
 * end of the order that the arbiter keeps (see relay_rules.h), with the mailbox, the messages that
 * are kept for moves, and the reports to the arbiter. Runs in every process, the arbiter included.
 */
#ifndef ACTOR_RELAY_H
#define ACTOR_RELAY_H

#include <arbiter/actor.h>
#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "actor/mailbox.h"
#include "actor/relay_rules.h"
#include "wire/relayed.h"

struct relay;

struct relay_ops {
    /* @m borrowed; @is_for_all: a message to "all" */
    void (*on_message)(struct relay *r, const struct arb_message *m, bool is_for_all);
    void (*on_can_send)(struct relay *r);
    /* own messages have got their numbers: a fence may have opened. NULL = no matter */
    void (*on_numbered)(struct relay *r);
    /*
     * what is sent for @conn gets @sequence: it may not leave before that has its number. 0 = only
     * make room to remember one, which may fail. NULL = there are no connections.
     * Returns 0 or -ENOMEM.
     */
    int (*fence)(struct relay *r, struct arb_conn *conn, uint64_t sequence);
    /* the way to the arbiter; NULL = the mailbox. Returns 0 or -errno. */
    int (*transmit)(struct relay *r, struct mailbox_data *data);
};

struct relay {
    const struct relay_ops *ops; /* borrowed, as the next two */
    struct ev_loop *loop;
    struct mailbox *mailbox; /* to the arbiter; NULL in the arbiter */
    uint32_t proc;
    struct relay_end end;
    uint64_t current; /* the message to "all" that on_message is called for now; 0 = none */
    uint64_t lost; /* a message that had to be kept for a move, and for which there was no memory */
    ev_timer report;
};

/*
 * relay_start - @proc: of this process; RELAYED_ARBITER in the arbiter
 * The mailbox is started before; this process takes part from its first message to the arbiter on.
 */
void relay_start(struct relay *r, struct ev_loop *loop, struct mailbox *mailbox, uint32_t proc,
                 const struct relay_ops *ops);
void relay_stop(struct relay *r);

/* relay_on_datagram - of the mailbox. Returns 0 or -EBADMSG. */
int relay_on_datagram(struct relay *r, const uint8_t *data, size_t len);

/* relay_hear - the same, decoded: a MESSAGE or STATUS of the arbiter. Returns 0 or -EBADMSG. */
int relay_hear(struct relay *r, const struct relayed *m);

/* relay_post - arb_send, without the connection. Returns as that; on 0 with its sequence. */
int relay_post(struct relay *r, const char *to, const char *topic, const void *data, size_t len,
               uint64_t *ret_sequence);

/* -- moves: the pairs of relay_rules.h -- */

void relay_take_begin(struct relay *r, struct relay_pair *p);
void relay_take_batch(struct relay *r, struct relay_pair *p, uint64_t position);
void relay_give_begin(struct relay *r, struct relay_pair *p);

/* relay_give_floor - the position at which the oldest unanswered batch was sent; RELAY_NOTHING */
void relay_give_floor(struct relay *r, struct relay_pair *p, uint64_t position);

/* relay_move_end - of either side; one that did not begin is fine */
void relay_move_end(struct relay *r, struct relay_pair *p);

/* relay_is_whole - is everything here that a connection has missed which has seen @seen? If not, it
 * cannot be served. */
bool relay_is_whole(const struct relay *r, uint64_t seen);

/* relay_replay - call @fn for each message to "all" above @seen, up to the position of this process
 */
void relay_replay(struct relay *r, uint64_t seen,
                  void (*fn)(void *data, const struct arb_message *m), void *data);

#endif
