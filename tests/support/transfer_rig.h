/*
 * Workers that give and take, in one process: rigs of connections, pairs between them, and the
 * steps of a transfer one at a time, so that a test can end either side where it likes.
 */
#ifndef SUPPORT_TRANSFER_RIG_H
#define SUPPORT_TRANSFER_RIG_H

#include "net/transfer.h"
#include "support/conn_rig.h"

enum { TAKERS_MAX = 3 };

struct taker {
    struct rig rig;
    struct transfer_in in;
    int fd; /* its end until it takes; -1 */
};

struct transfer_rig {
    struct rig giver;
    struct transfer_out out;
    struct taker takers[TAKERS_MAX];
    size_t n_takers;
    int fds[TAKERS_MAX]; /* the giver's ends until it gives */
    int *peers; /* owned: the clients' ends */
    size_t n_peers;
    bool is_giver_dead;
    size_t fds_before;
};

/* transfer_rig_init - @limits as of rig_init, for all; checks for lost descriptors at the end */
void transfer_rig_init(struct transfer_rig *t, size_t n_takers, const struct conn_limits *limits);
void transfer_rig_fini(struct transfer_rig *t);

/* transfer_rig_connect - @n connections to the giver; peers[] */
void transfer_rig_connect(struct transfer_rig *t, size_t n);

/* The steps. */
void giver_gives(struct transfer_rig *t, size_t count);
void giver_turns(struct transfer_rig *t); /* one turn of its loop */
void giver_dies(struct transfer_rig *t);
void taker_takes(struct taker *k, size_t max_open);
void taker_turns(struct taker *k);
void taker_dies(struct taker *k); /* its end of the pair, and all its connections */

/* transfer_rig_run - all loops, until the giving is done and every taking is over */
void transfer_rig_run(struct transfer_rig *t);

/* transfer_rig_settle - all loops, until no byte moves any more */
void transfer_rig_settle(struct transfer_rig *t);

/* transfer_rig_echo - a message on @fd and its echo; false if the connection has ended instead */
bool transfer_rig_echo(struct transfer_rig *t, int fd);

/* transfer_rig_expect_echoes - on @n of the peers; the others have ended */
void transfer_rig_expect_echoes(struct transfer_rig *t, size_t n);

#endif
