/*
 * The transition engine in the arbiter: time and events go in. What it says is done when the
 * arbiter settles, so nobody who posts an event is surprised by forks and kills. Knows nothing of
 * what the actions are.
 */
#include "arbiter/internal.h"

#include "base/clock.h"

void engine_post(struct arbiter *a, const struct tr_event *ev)
{
    transition_event(a->engine, clock_mono_ms(), ev);
    settle_soon(a);
}

void engine_act(struct arbiter *a, void (*act)(struct arbiter *, const struct tr_action *))
{
    struct tr_action action;

    while ((action = transition_next(a->engine, clock_mono_ms())).kind != TR_NOTHING)
        act(a, &action);
}

static void on_alarm(struct ev_loop *loop, ev_timer *timer UNUSED, int revents UNUSED)
{
    engine_post(ev_userdata(loop), &(struct tr_event){.kind = TR_EV_TICK});
}

void engine_set_alarm(struct arbiter *a, bool is_due)
{
    const uint64_t deadline_ms = transition_deadline(a->engine), now_ms = clock_mono_ms();
    double after_s = 0.;

    ev_timer_stop(a->loop, &a->alarm);
    if (!is_due && deadline_ms == UINT64_MAX)
        return;
    if (!is_due)
        after_s = deadline_ms > now_ms ? (double)(deadline_ms - now_ms) / 1e3 : 0.001;
    ev_timer_init(&a->alarm, on_alarm, after_s, 0.);
    ev_now_update(a->loop);
    ev_timer_start(a->loop, &a->alarm);
}
