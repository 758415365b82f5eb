/*
 * The arbiter's part in the messages between actors: it gives each its number, and passes it on to
 * whom it concerns. The rules are actor/relay_rules.h's. The arbiter's own actor, which the program
 * has written, takes part as every other process does.
 */
#ifndef ARBITER_SEQUENCER_H
#define ARBITER_SEQUENCER_H

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "actor/relay.h"
#include "base/list.h"

struct arbiter;
struct child;

struct sequencer {
    struct relay_order order;
    struct relay_member own; /* the arbiter's own actor */
    struct relay relay; /* its end */
    struct list inbox; /* owned: its messages that have no number yet */
    ev_timer tell; /* says to those that wait how far all are */
    uint64_t n_dropped; /* messages to nobody */
    bool is_paused; /* for an exec: nothing is sent or read */
};

/* sequencer_init - before anything is inherited; sequencer_fini also if it was not called */
void sequencer_init(struct arbiter *a);
void sequencer_fini(struct arbiter *a);

/* sequencer_inherit - @c is of the image before; what is told of it has been filled in. Returns 0
 * or -ENOMEM. */
int sequencer_inherit(struct arbiter *a, struct child *c);

/* sequencer_on_data - a datagram of @c. Returns 0 or -errno: its mailbox is to be closed. */
int sequencer_on_data(struct arbiter *a, struct child *c, const uint8_t *data, size_t len);

/* sequencer_join - @c speaks for the first time: it takes part from the next message on; again is
 * fine. sequencer_leave - nobody waits for it any more: it has ended, or hears nothing. */
void sequencer_join(struct arbiter *a, struct child *c);
void sequencer_leave(struct arbiter *a, struct child *c);

/* sequencer_settle - number what the arbiter's own actor has sent */
void sequencer_settle(struct arbiter *a);

/* sequencer_pause - read no mailbox, so that what waits to be sent comes to an end; or go on */
void sequencer_pause(struct arbiter *a, bool is_paused);

/* sequencer_is_used - does anybody listen, or has anybody sent? */
bool sequencer_is_used(const struct arbiter *a);

/* sequencer_info - for the command `info`; owned by the caller */
json_t *sequencer_info(const struct arbiter *a);

#endif
