/*
 * The noting half of the transition engine: what has happened, and what others ask about it. Runs
 * in the arbiter; knows no process, signal, clock or log. What to do about it: transition_next.c.
 */
#include "arbiter/transition.h"

#include <string.h>
#include "arbiter/transition_proc.h"
#include "base/util.h"

static void on_tick(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    (void)t, (void)now_ms, (void)ev; /* transition_next() looks at the time itself */
}

static void on_reload(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    (void)now_ms;
    if (ev->set.revision == 0 || ev->set.revision == t->live.revision ||
        !transition_can_reload(t, ev->set.workers))
        return;
    t->next = ev->set;
}

static uint32_t slots_of(uint32_t n_records)
{
    return MIN(n_records, (uint32_t)TR_SLOTS_MAX);
}

/* Two sets share the records: `next` leaves room for `live`, or it could never become ready. */
static void on_scale(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    (void)now_ms;
    enum tr_role role = t->next.revision ? TR_NEXT : TR_LIVE;
    struct tr_set *set = t->next.revision ? &t->next : &t->live;
    uint32_t room = t->n_records - (t->next.revision ? t->live.workers : 0);
    uint32_t workers = MIN(ev->workers, slots_of(room));
    if (workers == 0 || workers == set->workers || t->mode != TR_MODE_SERVE)
        return;
    for (uint32_t slot = workers + 1; slot <= set->workers; slot++) {
        t->holder[role][slot] = 0;
        if (role == TR_LIVE) {
            t->holder[TR_HEIR][slot] = 0;
            t->slots[slot] = (struct policy){0};
        }
    }
    set->workers = workers;
    if (role == TR_LIVE)
        policy_budget_init(&t->budget, workers);
}

static void on_ready(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    if (t->procs[ev->record].phase == TR_STARTING)
        proc_enter(t, ev->record, TR_READY, now_ms, 0);
}

/* One that drains before it has served backs off like a failed fork: a slot must not spin. */
static void on_drains(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    const struct tr_proc *p = &t->procs[ev->record];
    if (p->phase != TR_STARTING && p->phase != TR_READY && p->phase != TR_RUNNING)
        return;
    enum tr_role role = proc_role(t, ev->record);
    if (role == TR_NEXT && !t->is_commit_due)
        next_fail(t, TR_FAILURE_DIED, ev->record);
    else if (role != TR_NO_ROLE && p->phase == TR_STARTING)
        slot_on_false_start(t, ev->record, now_ms);
    proc_drain(t, ev->record, now_ms);
}

static void on_told(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    const struct tr_proc *p = &t->procs[ev->record];
    if (p->phase == TR_DRAINING && !p->is_quick)
        proc_time_to_drain(t, ev->record, now_ms);
}

static void on_recycle(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    (void)now_ms;
    if (t->procs[ev->record].phase == TR_RUNNING && proc_role(t, ev->record) == TR_LIVE)
        t->procs[ev->record].wants_heir = true;
}

static void on_exited(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    enum tr_role role = proc_role(t, ev->record);
    if (t->procs[ev->record].phase == TR_FREE)
        return;
    if (role == TR_LIVE || role == TR_HEIR || (role == TR_NEXT && t->is_commit_due))
        slot_on_death(t, ev->record, now_ms, ev->was_killed, ev->is_missed);
    else if (role == TR_NEXT)
        next_fail(t, TR_FAILURE_DIED, ev->record);
    proc_free(t, ev->record);
}

static void on_fork_failed(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    const struct tr_proc *p = &t->procs[ev->record];
    enum tr_role role = proc_role(t, ev->record);
    if (p->phase != TR_STARTING)
        return;
    if (role == TR_NEXT)
        next_fail(t, TR_FAILURE_FORK, ev->record);
    else if (role != TR_NO_ROLE)
        slot_on_false_start(t, ev->record, now_ms);
    proc_free(t, ev->record);
}

static void on_stop(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    uint64_t graceful_ms = deadline_after(t->live.exit_timeout_ms, TR_KILL_GRACE_MS);
    if (t->mode == TR_MODE_SERVE && !ev->is_quick)
        stop_within(t, TR_MODE_GRACEFUL, deadline_after(now_ms, graceful_ms));
    else if (t->mode != TR_MODE_QUICK)
        stop_within(t, TR_MODE_QUICK, deadline_after(now_ms, TR_QUICK_GRACE_MS));
}

void transition_event(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    typedef void handler(struct transition *, uint64_t, const struct tr_event *);
    static handler *const handlers[] = {
        [TR_EV_TICK] = on_tick,          [TR_EV_RELOAD] = on_reload,
        [TR_EV_SCALE] = on_scale,        [TR_EV_READY] = on_ready,
        [TR_EV_DRAINS] = on_drains,      [TR_EV_TOLD] = on_told,
        [TR_EV_WANTS_HEIR] = on_recycle, [TR_EV_EXITED] = on_exited,
        [TR_EV_STOP] = on_stop,          [TR_EV_FORK_FAILED] = on_fork_failed,
    };
    if ((size_t)ev->kind >= ARRAY_SIZE(handlers) || ev->record >= t->n_records)
        return;
    handlers[ev->kind](t, now_ms, ev);
    t->pass.is_due = true;
}

/* ---- what others ask ---- */

void transition_init(struct transition *t, const struct tr_set *first, uint32_t n_records,
                     uint32_t random)
{
    memset(t, 0, sizeof(*t));
    t->n_records = MIN(n_records, (uint32_t)TR_RECORDS_MAX);
    t->n_records = MAX(t->n_records, (uint32_t)1);
    t->live = *first;
    t->live.workers = MAX((uint32_t)1, first->workers);
    t->live.workers = MIN(t->live.workers, slots_of(t->n_records));
    t->n[TR_FREE] = t->n_records;
    t->random = random ? random : 1;
    t->pass.is_due = true;
    policy_budget_init(&t->budget, t->live.workers);
}

uint64_t transition_deadline(const struct transition *t)
{
    return t->pass.is_due ? 0 : t->pass.wake_ms;
}

static uint32_t count_held(const struct transition *t)
{
    return t->n[TR_STARTING] + t->n[TR_READY] + t->n[TR_RUNNING];
}

bool transition_can_reload(const struct transition *t, uint32_t workers)
{
    bool is_starting = !t->has_served && (t->n[TR_RUNNING] == 0 || t->n[TR_STARTING] > 0);
    uint32_t held = count_held(t);
    uint32_t missing = held < t->live.workers ? t->live.workers - held : 0;
    return t->mode == TR_MODE_SERVE && t->next.revision == 0 && !is_starting && workers >= 1 &&
           workers <= TR_SLOTS_MAX && t->n[TR_FREE] >= workers + missing;
}

bool transition_is_degraded(const struct transition *t)
{
    if (t->mode != TR_MODE_SERVE || t->n[TR_RUNNING] >= t->live.workers)
        return false;
    for (uint32_t slot = 1; slot <= t->live.workers; slot++) {
        const struct policy *p = &t->slots[slot];
        uint32_t holder = t->holder[TR_LIVE][slot];
        if (holder && t->procs[holder - 1].phase == TR_RUNNING)
            continue;
        if (p->early_deaths || p->last_restart_ms || (!holder && t->has_served))
            return true;
    }
    return false;
}

bool transition_is_planned(const struct transition *t, uint32_t record)
{
    return t->mode != TR_MODE_SERVE ||
           (proc_role(t, record) == TR_NO_ROLE && !t->procs[record].is_overdue);
}

const char *transition_failure_text(enum tr_failure failure)
{
    switch (failure) {
    case TR_FAILURE_DIED:
        return "a new worker died before it was ready";
    case TR_FAILURE_BOOT_TIMEOUT:
        return "a new worker was not ready within arbiter.boot_timeout";
    case TR_FAILURE_FORK:
        return "a new worker could not be forked";
    case TR_FAILURE_STOPPED:
    case TR_FAILURE_NONE:
        break;
    }
    return "stopping";
}

uint32_t transition_count(const struct transition *t, enum tr_phase phase)
{
    return t->n[phase];
}

enum tr_phase transition_phase(const struct transition *t, uint32_t record)
{
    return t->procs[record].phase;
}

bool transition_is_staying(const struct transition *t, uint32_t record)
{
    const struct tr_proc *p = &t->procs[record];

    return p->phase == TR_RUNNING && p->revision == t->live.revision &&
           !transition_is_planned(t, record);
}

bool transition_has_time(const struct transition *t, uint32_t record, uint64_t now_ms)
{
    const struct tr_proc *p = &t->procs[record];

    return now_ms - p->since_ms <= p->exit_timeout_ms / 2;
}

bool transition_is_due(const struct transition *t)
{
    return t->pass.is_due;
}

uint32_t transition_workers(const struct transition *t)
{
    return t->live.workers;
}

uint32_t transition_wanted(const struct transition *t)
{
    return t->next.revision ? t->next.workers : t->live.workers;
}

bool transition_is_slot_wanted(const struct transition *t, uint32_t slot)
{
    return slot <= t->live.workers || slot <= t->next.workers;
}

bool transition_is_stopped(const struct transition *t)
{
    return t->is_stopped;
}

bool transition_is_settled(const struct transition *t)
{
    return !t->next.revision && t->n[TR_RUNNING] == t->live.workers;
}
