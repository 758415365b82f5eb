/*
 * Who owns a connection that a keeper holds a duplicate of: the rules as small machines and as
 * orders of acts. Pure; net/keep.c, net/move*.c and src/keeper do what they say, and a test
 * explores every interleaving, with a death between any two acts. As tables: keep.md.
 *
 * A keeper touches no connection. It holds duplicates, and passes on what a dead worker has left
 * idle. What a worker is at is told by its table alone (net/keep_table.h), which is true at every
 * instruction; so the order in which it writes there, sends and closes is what matters.
 */
#ifndef NET_KEEP_RULES_H
#define NET_KEEP_RULES_H

#include <stdbool.h>
#include <stdint.h>

#include "net/move_rules.h"

/* ---- the keeper ---- */

enum keep_verdict {
    KEEP_STALE, /* the number is another's by now, or not registered: close the duplicate, which
                   nobody notices, since its worker has ended or given away the connection */
    KEEP_MOVING, /* in a move: close it. Its peer sees the end, unless another worker has it */
    KEEP_LOST, /* in the middle of something: close it, and its peer sees the end */
    KEEP_IDLE, /* nothing read that is not answered: another worker may go on with it */
};

/*
 * keep_judge - what becomes of the duplicate that was registered as @serial
 * @mark,@table_serial  what the table says of its number
 * Of a dead worker, whose datagrams have all been read; in a sweep, of a living one, only
 * KEEP_STALE means anything.
 */
enum keep_verdict keep_judge(uint8_t mark, uint32_t table_serial, uint32_t serial);

/*
 * Offers to a ward follow the rules of giving: numbered batches, at most MOVE_UNANSWERED_MAX
 * without an answer, in order. There is no greeting. With giving_answered(id, true), each entry is
 * the ward's or refused, as the answer says; at the ward's end of file, giving_ended.
 */
static inline struct giving keep_offers(void)
{
    return (struct giving){.phase = GIVING_OPEN};
}

/* ---- the worker ---- */

struct keeping {
    bool is_linked; /* there is a keeper, as far as is known */
    bool is_sweep_due; /* a registered connection has ended: say so with the next tick */
    uint32_t last_serial; /* of this process; never begins anew */
    struct taking offers; /* what the keeper offers */
};

/* keeping_link - a keeper is there: nothing is registered with it yet */
void keeping_link(struct keeping *k);

/* keeping_serial - of the next registration; never 0 */
uint32_t keeping_serial(struct keeping *k);

enum keeping_outcome {
    KEEPING_DONE,
    KEEPING_LATER, /* again with the next tick; what was to be registered has serial 0 until then */
    KEEPING_GONE, /* there is no keeper any more: every serial is 0 */
    KEEPING_BROKEN, /* as gone; the end has to be closed, after every serial is 0 */
};

/* keeping_sent - a registration or sweep was sent with @result, 0 or -errno */
enum keeping_outcome keeping_sent(struct keeping *k, int result);

enum keeping_answer {
    KEEPING_ANSWER_LATER, /* the batch is nobody's until the answer could be sent */
    KEEPING_ANSWER_KEPT, /* the batch is ours, and registered */
    KEEPING_ANSWER_OWN, /* it is ours, since the keeper is gone; every serial is 0 */
    KEEPING_ANSWER_DROP, /* it is not; as KEEPING_BROKEN */
};

/* keeping_answered - the answer to an offer, after taking_received, was sent with @result */
enum keeping_answer keeping_answered(struct keeping *k, int result);

/* ---- orders ---- */

/* What a worker does with one connection. It may die after each. */
enum keep_act {
    KEEP_ACTS_END,
    KEEP_MARK_FREE,
    KEEP_MARK_AS_IT_IS, /* idle or busy */
    KEEP_MARK_BUSY,
    KEEP_MARK_MOVING,
    KEEP_SERIAL_NEW,
    KEEP_SERIAL_NONE,
    KEEP_SEND_REGISTER, /* fails: serial 0 again */
    KEEP_SEND_TAKEN, /* the answer to the keeper's offer */
    KEEP_SEND_BATCH, /* to a taker */
    KEEP_SEND_ANSWER, /* to a giver */
    KEEP_READ,
    KEEP_REPLY, /* all of it */
    KEEP_SERVE, /* watch it */
    KEEP_UNWATCH, /* EPOLL_CTL_DEL: a duplicate would keep the entry, see keep.md */
    KEEP_SHUTDOWN, /* both ways: the peer sees it, whoever holds duplicates */
    KEEP_CLOSE,
    KEEP_SWEEP_DUE,
};

enum keep_order {
    KEEP_ORDER_REGISTER, /* one that has been served for a while */
    KEEP_ORDER_MESSAGE,
    KEEP_ORDER_END,
    KEEP_ORDER_UNKEEP, /* served on, but not to be passed on: its protocol has state now */
    KEEP_ORDER_OFFERED, /* take what the keeper offers */
    KEEP_ORDER_GIVE, /* to another worker */
    KEEP_ORDER_GIVEN, /* it has taken it */
    KEEP_ORDER_RESUME, /* it has not */
    KEEP_ORDER_TAKE, /* from another worker */
    KEEP_ORDER_DROP, /* what could not be answered */
    KEEP_ORDERS
};

enum { KEEP_ACTS_MAX = 8 };

/* keep_orders - the acts of each, ended by KEEP_ACTS_END */
extern const uint8_t keep_orders[KEEP_ORDERS][KEEP_ACTS_MAX];

#endif
