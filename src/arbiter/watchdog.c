/*
 * The check of heartbeats.
 */
#include "arbiter/watchdog.h"

#include "base/util.h"

static const uint64_t ms = 1000000;

void watch_init(struct watch *w, uint64_t timeout_ms, uint64_t now_ns)
{
    *w = (struct watch){.timeout_ns = timeout_ms * ms, .since_ns = now_ns};
}

void watch_resume(struct watch *w, uint64_t heartbeat_ns)
{
    w->heartbeat_ns = heartbeat_ns;
    w->since_ns = MIN(w->since_ns, heartbeat_ns);
}

uint64_t watch_silence_ns(const struct watchdog *d, const struct watch *w)
{
    return d->now_ns > w->since_ns ? d->now_ns - w->since_ns : 0;
}

static void look_again_at(struct watchdog *d, uint64_t time_ns)
{
    d->next_ns = MIN(d->next_ns, time_ns);
}

static void look_again_in(struct watchdog *d, uint64_t ns)
{
    look_again_at(d, d->now_ns + ns);
}

/* Between two looks at a worker, and how late one may be before that is held against nobody. */
static uint64_t step_ns(const struct watch *w)
{
    return w->timeout_ns / WATCHDOG_LOOKS_A_TIMEOUT;
}

void watchdog_look(struct watchdog *d, uint64_t mono_ns, uint64_t boot_ns, uint64_t idle_ms)
{
    const uint64_t mono_step = mono_ns - d->now_ns, boot_step = boot_ns - d->boot_ns;
    const bool is_first = d->now_ns == 0;

    d->was_suspended = !is_first && boot_step > mono_step + WATCHDOG_SUSPEND_MS * ms;
    d->late_ns = !is_first && mono_ns > d->planned_ns ? mono_ns - d->planned_ns : 0;
    d->now_ns = mono_ns;
    d->boot_ns = boot_ns;
    d->next_ns = UINT64_MAX;
    look_again_in(d, MIN(idle_ms, (uint64_t)WATCHDOG_LOOK_MAX_MS) * ms);
}

/* Time in which the watchdog did not run is not held against the worker, and after a suspend or a
 * stall it has all its time again; but only so often, or a machine that is always late would shield
 * one that hangs. */
static void watch_give_grace(const struct watchdog *d, struct watch *w)
{
    const bool is_late = d->late_ns > MIN(step_ns(w), WATCHDOG_LATE_MS * ms);

    if (!d->was_suspended && !is_late)
        return;
    if (w->n_graces < WATCHDOG_GRACES_MAX) {
        w->n_graces++;
        w->since_ns = d->now_ns;
        w->suspected_ns = 0;
        return;
    }
    w->since_ns = MIN(w->since_ns + d->late_ns, d->now_ns);
    if (w->suspected_ns)
        w->suspected_ns = MIN(w->suspected_ns + d->late_ns, d->now_ns);
}

static void hear(const struct watchdog *d, struct watch *w, uint64_t heartbeat_ns)
{
    const bool is_possible = heartbeat_ns >= w->since_ns && heartbeat_ns <= d->now_ns;

    w->since_ns = is_possible ? heartbeat_ns : d->now_ns;
    w->heartbeat_ns = heartbeat_ns;
    w->suspected_ns = 0;
    w->n_graces = 0;
}

static enum watchdog_order on_aborted(struct watchdog *d, struct watch *w)
{
    if (w->is_killed)
        return WATCHDOG_ABORTED;
    if (d->now_ns - w->aborted_ns < WATCHDOG_KILL_MS * ms) {
        look_again_at(d, w->aborted_ns + WATCHDOG_KILL_MS * ms);
        return WATCHDOG_ABORTED;
    }
    w->is_killed = true;
    return WATCHDOG_KILL;
}

enum watchdog_order watchdog_abort(struct watchdog *d, struct watch *w)
{
    if (w->aborted_ns)
        return on_aborted(d, w);
    w->aborted_ns = d->now_ns;
    look_again_in(d, WATCHDOG_KILL_MS * ms);
    return WATCHDOG_ABORT;
}

static enum watchdog_order on_long_silence(struct watchdog *d, struct watch *w)
{
    const uint64_t confirm_ns = MIN(WATCHDOG_CONFIRM_MS * ms, step_ns(w));

    if (w->suspected_ns == 0)
        w->suspected_ns = d->now_ns;
    if (d->now_ns - w->suspected_ns < confirm_ns) {
        look_again_at(d, w->suspected_ns + confirm_ns);
        return WATCHDOG_SUSPECT;
    }
    return watchdog_abort(d, w);
}

enum watchdog_order watchdog_check(struct watchdog *d, struct watch *w, uint64_t heartbeat_ns)
{
    if (w->aborted_ns)
        return on_aborted(d, w);
    if (heartbeat_ns != w->heartbeat_ns)
        hear(d, w, heartbeat_ns);
    watch_give_grace(d, w); /* also one that was heard: that may have been before the stall */
    if (watch_silence_ns(d, w) >= w->timeout_ns)
        return on_long_silence(d, w);
    look_again_at(d, MIN(w->since_ns + w->timeout_ns, d->now_ns + step_ns(w)));
    return WATCHDOG_FINE;
}

uint64_t watchdog_plan(struct watchdog *d)
{
    d->next_ns = MAX(d->next_ns, d->now_ns + ms);
    d->planned_ns = d->next_ns;
    return d->next_ns - d->now_ns;
}
