/*
 * An epoll inside an epoll, and a timer for the engine's next deadline.
 */
#include "support/flow_in_loop.h"

#include "base/clock.h"
#include "base/util.h"

static void on_ready(struct ev_loop *loop, ev_io *w, int revents)
{
    (void)loop;
    (void)revents;
    flow_turn(container_of(w, struct flow_in_loop, io)->flow, 0);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
    (void)loop;
    (void)revents;
    flow_turn(container_of(w, struct flow_in_loop, timer)->flow, 0);
}

static void on_prepare(struct ev_loop *loop, ev_prepare *w, int revents)
{
    struct flow_in_loop *f = container_of(w, struct flow_in_loop, prepare);
    uint64_t at_ns = deadlines_next(&f->flow->deadlines), now_ns = clock_mono_ns();

    (void)revents;
    ev_timer_stop(loop, &f->timer);
    if (at_ns == DEADLINE_NEVER)
        return;
    ev_now_update(loop);
    ev_timer_set(&f->timer, at_ns > now_ns ? (double)(at_ns - now_ns) / 1e9 : 0., 0.);
    ev_timer_start(loop, &f->timer);
}

void flow_in_loop_start(struct flow_in_loop *f, struct ev_loop *loop, struct flow *flow)
{
    f->flow = flow;
    ev_io_init(&f->io, on_ready, flow->ep, EV_READ);
    ev_prepare_init(&f->prepare, on_prepare);
    ev_timer_init(&f->timer, on_timer, 0., 0.);
    ev_io_start(loop, &f->io);
    ev_prepare_start(loop, &f->prepare);
}

void flow_in_loop_stop(struct flow_in_loop *f, struct ev_loop *loop)
{
    ev_io_stop(loop, &f->io);
    ev_prepare_stop(loop, &f->prepare);
    ev_timer_stop(loop, &f->timer);
}
