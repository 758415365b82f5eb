/*
 * An echo server in the test's own loop that loses, doubles, swaps, truncates, corrupts and delays
 * whole messages, and invents some, by a seed, and keeps the books on it: what an audit must find
 * to the last message. Uses nothing of the code under test; of a message it knows only where its
 * sequence number stands.
 */
#ifndef SUPPORT_LIAR_H
#define SUPPORT_LIAR_H

#include <ev.h>
#include <stdint.h>
#include "base/list.h"

/* Not two lies in a row: the messages around one are honest, so that there is one right verdict. */
enum liar_fate {
    LIAR_HONEST,
    LIAR_LOSE,
    LIAR_DOUBLE,
    LIAR_SWAP, /* with the next one */
    LIAR_TRUNCATE,
    LIAR_CORRUPT,
    LIAR_FOREIGN, /* honest, but first a message of another connection */
    LIAR_DELAY, /* honest, but later */
    LIAR_FATES_N
};

struct liar {
    struct ev_loop *loop;
    ev_io accept;
    char addr[32];
    uint64_t rng;
    unsigned percent; /* of the messages that are lied about */
    uint32_t n_messages; /* a connection has; the last few are honest */
    unsigned delay_ms;
    uint64_t count[LIAR_FATES_N]; /* what was done */
    uint64_t n_frames; /* received */
    char foreign[256]; /* a whole message of the first connection */
    size_t foreign_len;
    unsigned n_connections;
    struct list conns;
};

void liar_start(struct liar *l, struct ev_loop *loop, uint64_t seed);
void liar_stop(struct liar *l);

#endif
