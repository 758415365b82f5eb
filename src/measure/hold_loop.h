/*
 * Connections that are opened, left alone and, if asked, tried once after an idle time of their
 * own; on a loop of the caller's. Says how each ends; prints nothing.
 */
#ifndef MEASURE_HOLD_LOOP_H
#define MEASURE_HOLD_LOOP_H

#include <ev.h>
#include "client/addresses.h"
#include "measure/hold.h"
#include "measure/quantity.h"
#include "client/sources.h"
#include "wire/frame.h"

enum { HOLD_MESSAGE_MAX = 4 + FRAME_SEPARATOR_MAX };

struct hold_options {
    struct arb_address to;
    unsigned n; /* connections, 1.. */
    uint64_t timeout_ms; /* to connect, and of a probe's echo; 0 = none */
    bool is_probing;
    struct quantity_range probe; /* ms, from the least to the longest idle time */
    char message[HOLD_MESSAGE_MAX]; /* what a probe sends */
    size_t message_len;
};

struct hold_loop {
    struct hold_options options;
    struct ev_loop *loop; /* borrowed */
    struct connect_sources sources;
    struct held *held; /* owned, options.n */
    unsigned n_begun, n_connecting, n_over;
    bool is_beginning, is_stopped;
    struct hold_report report;
    int last_failure; /* why the last one could not connect: CALL_* or -errno */
    /* on_end - an open one is cut; @fd is closed afterwards */
    void (*on_end)(struct hold_loop *h, unsigned index, int fd, enum hold_end how, uint64_t age_ns);
    void (*on_over)(struct hold_loop *h); /* none is left; perhaps before hold_loop_start returns */
};

/* hold_loop_init - the callbacks are set afterwards. Returns 0 or -ENOMEM. */
int hold_loop_init(struct hold_loop *h, struct ev_loop *loop, const struct hold_options *options);
void hold_loop_fini(struct hold_loop *h); /* closes all */

void hold_loop_start(struct hold_loop *h);

bool hold_loop_is_over(const struct hold_loop *h);

/* hold_loop_stop - from on_end: none is begun, of no other end is told, on_over follows */
void hold_loop_stop(struct hold_loop *h);

#endif
