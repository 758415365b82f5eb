/*
 * A client of the library on a loop, against the server that fails on command. Each call is named
 * by its message, one letter; the order of their ends is a word.
 */
#ifndef SUPPORT_RIG_H
#define SUPPORT_RIG_H

#include <ev.h>
#include <arbiter/client.h>
#include "support/faulty.h"

enum { RIG_CALLS_MAX = 26, RIG_HASTY_MS = 25 };

struct rig {
    struct faulty *server;
    struct arb_client *client;
    struct ev_loop *loop;
    struct arb_call *calls[RIG_CALLS_MAX]; /* as started */
    char order[RIG_CALLS_MAX + 1]; /* one letter a handler: a = the first call started */
    int status[RIG_CALLS_MAX];
    unsigned n_started, n_done;
    void (*in_handler)(struct rig *r, struct arb_call *call);
    struct arb_call *kept; /* for the test's own use */
    char trace[4096];
};

void rig_open(struct rig *r, unsigned pool_size, unsigned pipeline);

/* rig_close - free the client, if it is there; every call must have been told */
void rig_close(struct rig *r);

/* rig_start - the next call, its handler counts; @timeout_ms 0 = none. rig_try - it may fail. */
void rig_start(struct rig *r, int timeout_ms);
int rig_try(struct rig *r, const struct arb_call_options *o);

/* rig_drive - run the loop until it ends by itself, and all calls with it; rig_turn - once */
void rig_drive(struct rig *r);
void rig_turn(struct rig *r);

/* rig_run_until_bytes - until so many bytes have reached the server in all */
void rig_run_until_bytes(struct rig *r, unsigned bytes);

unsigned rig_in_use(const struct rig *r);

/* rig_must_be_well - a blocking call is served, and nothing is in use afterwards */
void rig_must_be_well(struct rig *r);

#endif
