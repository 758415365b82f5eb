/*
 * Workers that give and take, in one process: rigs of connections, pairs between them, and the
 * steps of a move one at a time, so that a test can end either side where it likes.
 */
#ifndef SUPPORT_MOVE_RIG_H
#define SUPPORT_MOVE_RIG_H

#include "net/move.h"
#include "support/conn_rig.h"

enum { TAKERS_MAX = 3 };

struct taker {
    struct rig rig;
    struct move_in in;
    int fd; /* its end until it takes; -1 */
};

struct move_rig {
    struct rig giver;
    struct move_out out;
    struct taker takers[TAKERS_MAX];
    size_t n_takers;
    int fds[TAKERS_MAX]; /* the giver's ends until it gives */
    int *peers; /* owned: the clients' ends */
    size_t n_peers;
    bool is_giver_dead;
    size_t fds_before;
};

/* move_rig_init - @limits as of rig_init, for all; checks for lost descriptors at the end */
void move_rig_init(struct move_rig *t, size_t n_takers, const struct conn_limits *limits);
void move_rig_fini(struct move_rig *t);

/* move_rig_connect - @n connections to the giver; peers[] */
void move_rig_connect(struct move_rig *t, size_t n);

/* The steps. */
void giver_gives(struct move_rig *t, size_t count);
void giver_turns(struct move_rig *t); /* one turn of its loop */
void giver_dies(struct move_rig *t);
void taker_takes(struct taker *k, size_t max_open);
void taker_turns(struct taker *k);
void taker_dies(struct taker *k); /* its end of the pair, and all its connections */

/* move_rig_run - all loops, until the giving is done and every taking is over */
void move_rig_run(struct move_rig *t);

/* move_rig_settle - all loops, until no byte moves any more */
void move_rig_settle(struct move_rig *t);

/* move_rig_echo - a message on @fd and its echo; false if the connection has ended instead */
bool move_rig_echo(struct move_rig *t, int fd);

/* move_rig_expect_echoes - on @n of the peers; the others have ended */
void move_rig_expect_echoes(struct move_rig *t, size_t n);

#endif
