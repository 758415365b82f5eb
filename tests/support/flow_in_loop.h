/*
 * The traffic engine in a test's own loop, beside the servers of the test.
 */
#ifndef SUPPORT_FLOW_IN_LOOP_H
#define SUPPORT_FLOW_IN_LOOP_H

#include <ev.h>
#include "measure/flow.h"

struct flow_in_loop {
    struct flow *flow; /* borrowed */
    ev_io io;
    ev_prepare prepare;
    ev_timer timer;
};

/* flow_in_loop_start - each turn of @loop is one of @flow, too, until flow_in_loop_stop */
void flow_in_loop_start(struct flow_in_loop *f, struct ev_loop *loop, struct flow *flow);
void flow_in_loop_stop(struct flow_in_loop *f, struct ev_loop *loop);

#endif
