/*
 * The heartbeat and the loop's lag. Runs in every process that the arbiter forks.
 */
#include "actor/heartbeat.h"

#include <stdbool.h>

#include "base/clock.h"
#include "base/util.h"

static const uint64_t ms = 1000000, second = 1000000000;

uint64_t lag_window_add(struct lag_window *w, uint64_t now_ns, uint64_t late_ns)
{
    const uint64_t age_ns = now_ns - w->since_ns;

    if (age_ns >= second) {
        w->most_before_ns = age_ns < 2 * second ? w->most_ns : 0;
        w->most_ns = 0;
        w->since_ns = now_ns;
    }
    w->most_ns = MAX(w->most_ns, late_ns);
    return MAX(w->most_ns, w->most_before_ns);
}

uint64_t heartbeat_interval_ms(uint64_t timeout_ms, bool is_busy)
{
    const uint64_t wanted = is_busy ? HEARTBEAT_BUSY_MS : HEARTBEAT_IDLE_MS;
    const uint64_t most = timeout_ms / HEARTBEATS_A_TIMEOUT;

    return MAX(MIN(wanted, most), UINT64_C(1));
}

/* libev rounds its waits up to whole milliseconds: that much is not the loop's fault. */
static uint64_t lateness(uint64_t now_ns, uint64_t due_ns)
{
    return now_ns > due_ns + ms ? now_ns - due_ns - ms : 0;
}

static void beat(struct heartbeat *h, struct ev_loop *loop, uint64_t now_ns, uint64_t late_ns)
{
    const unsigned turn = ev_iteration(loop);
    /* An idle loop turns once a beat: for the beat. */
    const bool is_busy = turn - h->turn > 2;
    const uint64_t interval_ms = heartbeat_interval_ms(h->timeout_ms, is_busy);

    counter_set(&h->record->heartbeat_ns, now_ns);
    counter_set(&h->record->lag_ns, lag_window_add(&h->lag, now_ns, late_ns));
    h->turn = turn;
    h->due_ns = now_ns + interval_ms * ms;
    ev_now_update(loop); /* what came before in this turn would shorten the wait */
    ev_timer_set(&h->timer, (double)interval_ms / 1e3, 0.);
    ev_timer_start(loop, &h->timer);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int revents UNUSED)
{
    struct heartbeat *h = container_of(timer, struct heartbeat, timer);
    const uint64_t now_ns = clock_mono_ns(), late_ns = lateness(now_ns, h->due_ns);

    timing_add(&h->record->times.lag, late_ns, 1);
    beat(h, loop, now_ns, late_ns);
    h->on_beat(h);
    if (now_ns - h->second_ns < second - HEARTBEAT_BUSY_MS * ms)
        return;
    h->second_ns = now_ns;
    h->on_second(h);
}

void heartbeat_start(struct heartbeat *h, struct ev_loop *loop, struct score_record *record,
                     uint64_t timeout_ms)
{
    const uint64_t now_ns = clock_mono_ns();

    h->record = record;
    h->timeout_ms = timeout_ms;
    h->due_ns = h->second_ns = now_ns;
    h->turn = ev_iteration(loop);
    ev_timer_init(&h->timer, on_timer, 0., 0.);
    beat(h, loop, now_ns, 0);
}
