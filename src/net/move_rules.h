/*
 * Who owns a connection while it moves: the rules as two small machines, one for each end of a
 * pair. Pure; net/move*.c does what they say, and a test explores every interleaving.
 *
 * A batch is the giver's until it is sent. From then on the giver touches it no more, until the
 * answer: taken over (it lets go), or refused (it goes on serving). If the taker's end is closed
 * with no answer in the queue, the taker did not get to touch it: the giver goes on. The taker
 * answers before it touches anything; when that fails because the giver is gone, nobody else has
 * the batch.
 *
 * It follows that a living giver may not close its end while something is unanswered.
 */
#ifndef NET_MOVE_RULES_H
#define NET_MOVE_RULES_H

#include <stdbool.h>
#include <stdint.h>

enum { MOVE_UNANSWERED_MAX = 4 };

/* The giver's side of a pair. Zero is the beginning. */
struct giving {
    enum {
        GIVING_WAITING, /* for the taker's first word */
        GIVING_OPEN,
        GIVING_CLOSED, /* nothing more is sent; answers still come */
        GIVING_ENDED, /* the taker's end is closed */
    } phase;
    uint32_t answered; /* batches 1..answered are settled */
    uint32_t sent; /* batches above `answered` up to this one are nobody's to touch */
};

enum giving_outcome {
    GIVING_NOTHING, /* no batch is concerned */
    GIVING_RELEASE, /* the oldest unanswered batch is the taker's: let go */
    GIVING_RESUME, /* it is ours again: serve it */
};

/* giving_may_send - now, one batch: its id is giving->sent + 1 */
bool giving_may_send(const struct giving *g);

/* giving_sent - the batch is on its way */
void giving_sent(struct giving *g);

/* giving_answered - an answer has come. Nonsense closes the giving, and concerns no batch. */
enum giving_outcome giving_answered(struct giving *g, uint32_t id, bool is_taken);

/* giving_close - send nothing more */
void giving_close(struct giving *g);

/* giving_ended - end of file, after every queued answer. Call until GIVING_NOTHING. */
enum giving_outcome giving_ended(struct giving *g);

/* giving_unanswered - batches of which we do not know */
static inline uint32_t giving_unanswered(const struct giving *g)
{
    return g->sent - g->answered;
}

/* The taker's side. Zero is the beginning; its first word is the answer to batch 0. */
struct taking {
    enum {
        TAKING_GREETING, /* says its first word */
        TAKING_OPEN,
        TAKING_ANSWERING, /* a batch has come and is not yet answered: nobody's to touch */
        TAKING_ENDED,
    } phase;
    bool is_accepted; /* what the answer says */
    uint32_t received;
};

/*
 * taking_received - batch @id has come
 * @is_welcome  complete, understood, and there is room for all of it
 * Returns whether to accept it: the answer to send. Nonsense ends the taking, without an answer.
 */
bool taking_received(struct taking *t, uint32_t id, bool is_welcome);

enum taking_outcome {
    TAKING_NOTHING, /* go on; a refused batch's descriptors are closed */
    TAKING_OWN, /* the batch is ours: serve it */
    TAKING_DROP, /* it is not: close our copies, and our end */
};

/* taking_answered - the answer (or the first word) was sent, with this result: 0 or -errno */
enum taking_outcome taking_answered(struct taking *t, int result);

#endif
