/*
 * The deciding half of the transition engine: wanted against actual, one action at a time.
 *
 * A pass looks at the records (what each process is to do: the table `orders`), then at the sets
 * (serving, commit, rollback), then at the slots (what is missing), then for the end. It is resumed
 * after an action and begun anew by an event or at its earliest deadline, so that n actions cost
 * one pass, and a call with nothing to do costs nothing.
 */
#include <assert.h>
#include <string.h>
#include "arbiter/transition_proc.h"
#include "base/util.h"

/* Where a process stands decides what is wanted of it. */
enum standing {
    OF_LIVE,
    OF_NEXT, /* prepared by a reload */
    OF_COMMIT, /* of `next`, all of which are ready */
    OF_ROLLBACK, /* of `next`, which has failed */
    UNWANTED, /* an older revision, or a slot that is no more */
    STOPPING,
    STANDINGS
};

enum order { KEEP, RUN, DRAIN, HASTEN, KILL };

/* clang-format off */
static const enum order orders[STANDINGS][TR_PHASES] = {
    /*                FREE  STARTING READY RUNNING DRAINING KILLED */
    [OF_LIVE]     = { KEEP, KEEP,    RUN,  KEEP,   KEEP,    KEEP },
    [OF_NEXT]     = { KEEP, KEEP,    KEEP, KEEP,   KEEP,    KEEP },
    [OF_COMMIT]   = { KEEP, KEEP,    RUN,  KEEP,   KEEP,    KEEP },
    [OF_ROLLBACK] = { KEEP, KILL,    KILL, DRAIN, KEEP,    KEEP },
    [UNWANTED]    = { KEEP, KILL,    KILL, DRAIN, KEEP,    KEEP },
    [STOPPING]    = { KEEP, KILL,    KILL, DRAIN, HASTEN,  KEEP },
};
/* clang-format on */

static enum standing standing_of(const struct transition *t, enum tr_role role)
{
    if (t->mode != TR_MODE_SERVE)
        return STOPPING;
    if (role == TR_NO_ROLE)
        return UNWANTED;
    if (role == TR_LIVE || role == TR_HEIR)
        return OF_LIVE;
    return t->failure ? OF_ROLLBACK : t->is_commit_due ? OF_COMMIT : OF_NEXT;
}

static bool say(const struct transition *t, struct tr_action *a, enum tr_action_kind kind,
                uint32_t record)
{
    const struct tr_proc *p = &t->procs[record];
    a->kind = kind;
    a->record = record;
    a->slot = p->slot;
    a->revision = p->revision;
    a->is_quick = p->is_quick;
    return true;
}

static bool say_of_set(struct transition *t, struct tr_action *a, enum tr_action_kind kind,
                       uint64_t revision)
{
    t->pass.is_due = true;
    a->kind = kind;
    a->revision = revision;
    return true;
}

static bool kill_it(struct transition *t, uint64_t now_ms, uint32_t record, enum tr_kill_reason why,
                    struct tr_action *a)
{
    proc_release(t, record);
    proc_enter(t, record, TR_KILLED, now_ms, 0);
    a->why = why;
    return say(t, a, TR_KILL, record);
}

/* A deadline has come. */
static bool expire(struct transition *t, uint64_t now_ms, uint32_t record, struct tr_action *a)
{
    struct tr_proc *p = &t->procs[record];
    if (p->phase == TR_RUNNING) {
        policy_on_good_service(&t->slots[p->slot], &t->budget);
        p->deadline_ms = 0;
        return false;
    }
    if (p->phase == TR_DRAINING)
        return kill_it(t, now_ms, record, p->is_quick ? TR_KILL_STOP : TR_KILL_EXIT_TIMEOUT, a);
    assert(p->phase == TR_STARTING);
    p->is_overdue = true;
    if (proc_role(t, record) == TR_NEXT) {
        next_fail(t, TR_FAILURE_BOOT_TIMEOUT, record);
        t->pass.is_due = true; /* those that the pass has left behind are to be taken back too */
    } else {
        t->pass.is_due = true; /* an heir's slot backs off too */
        slot_on_death(t, record, now_ms, false, false);
    }
    return kill_it(t, now_ms, record, TR_KILL_BOOT_TIMEOUT, a);
}

/* Tell one that drains of the stop: a nearer deadline, and the order to exit at once. */
static bool hasten(struct transition *t, uint32_t record, struct tr_action *a)
{
    struct tr_proc *p = &t->procs[record];
    p->deadline_ms = MIN(p->deadline_ms, t->stop_deadline_ms);
    if (p->is_quick || t->mode != TR_MODE_QUICK)
        return false;
    p->is_quick = true;
    return say(t, a, TR_DRAIN, record);
}

/* An heir that serves has the slot; the one before it is looked at again, and drains. */
static void take_over(struct transition *t, uint32_t record)
{
    uint32_t slot = t->procs[record].slot;
    if (proc_role(t, record) != TR_HEIR)
        return;
    t->holder[TR_LIVE][slot] = t->holder[TR_HEIR][slot];
    t->holder[TR_HEIR][slot] = 0;
    t->pass.is_due = true;
}

static bool step_record(struct transition *t, uint64_t now_ms, uint32_t record, struct tr_action *a)
{
    struct tr_proc *p = &t->procs[record];
    enum standing standing = standing_of(t, proc_role(t, record));
    switch (orders[standing][p->phase]) {
    case RUN:
        take_over(t, record);
        proc_enter(t, record, TR_RUNNING, now_ms, deadline_after(now_ms, POLICY_GOOD_SERVICE_MS));
        return say(t, a, TR_RUN, record);
    case DRAIN:
        proc_drain(t, record, now_ms);
        if (standing == STOPPING && hasten(t, record, a))
            return true;
        return say(t, a, TR_DRAIN, record);
    case KILL:
        return kill_it(t, now_ms, record, standing == OF_ROLLBACK ? TR_KILL_ROLLBACK : TR_KILL_STOP,
                       a);
    case HASTEN:
        if (hasten(t, record, a))
            return true;
        break;
    case KEEP:
        break;
    }
    return p->deadline_ms && now_ms >= p->deadline_ms && expire(t, now_ms, record, a);
}

/* ---- a pass ---- */

static void pass_begin(struct transition *t)
{
    t->pass = (struct tr_pass){.slot = {1, 1}, .wake_ms = TR_NEVER};
}

/* May @record have an heir, and when? A limit that is passed at once must not become a loop of
 * forks. */
static void consider_heir(struct transition *t, uint32_t record, uint64_t now_ms)
{
    const struct tr_proc *p = &t->procs[record];
    uint64_t from_ms = deadline_after(p->since_ms, TR_RECYCLE_MIN_MS);
    from_ms = MAX(from_ms, t->slots[p->slot].not_before_ms);
    if (from_ms > now_ms)
        t->pass.wake_ms = MIN(t->pass.wake_ms, from_ms);
    else if (t->pass.to_replace == 0)
        t->pass.to_replace = record + 1;
}

static void pass_count(struct transition *t, uint64_t now_ms, uint32_t record)
{
    const struct tr_proc *p = &t->procs[record];
    enum tr_role role = proc_role(t, record);
    t->pass.live_running += role == TR_LIVE && p->phase == TR_RUNNING;
    t->pass.next_ready += role == TR_NEXT && p->phase == TR_READY;
    t->pass.next_held += role == TR_NEXT;
    t->pass.heirs += role == TR_HEIR;
    if (p->wants_heir && role == TR_LIVE)
        consider_heir(t, record, now_ms);
    if (p->deadline_ms)
        t->pass.wake_ms = MIN(t->pass.wake_ms, p->deadline_ms);
}

/* A record is looked at until nothing is to be done about it, and counted then. */
static bool step_records(struct transition *t, uint64_t now_ms, struct tr_action *a)
{
    for (; t->pass.record < t->top; t->pass.record++) {
        if (step_record(t, now_ms, t->pass.record, a))
            return true;
        pass_count(t, now_ms, t->pass.record);
    }
    return false;
}

/* A slot that has come to a new configuration in good health begins anew, but for its interval. */
static void commit(struct transition *t)
{
    memcpy(t->holder[TR_LIVE], t->holder[TR_NEXT], sizeof(t->holder[TR_LIVE]));
    memset(t->holder[TR_NEXT], 0, sizeof(t->holder[TR_NEXT]));
    memset(t->holder[TR_HEIR], 0, sizeof(t->holder[TR_HEIR]));
    t->live = t->next;
    t->next = (struct tr_set){0};
    t->is_commit_due = false;
    policy_budget_init(&t->budget, t->live.workers);
    for (uint32_t slot = 1; slot <= TR_SLOTS_MAX; slot++) {
        if (slot > t->live.workers)
            t->slots[slot] = (struct policy){0};
        else if (t->holder[TR_LIVE][slot])
            policy_on_commit(&t->slots[slot]);
    }
}

static bool step_sets(struct transition *t, struct tr_action *a)
{
    uint64_t revision = t->next.revision;
    if (t->pass.is_due)
        return false;
    if (t->mode == TR_MODE_SERVE && !t->has_served && t->pass.live_running == t->live.workers) {
        t->has_served = true;
        return say_of_set(t, a, TR_SERVING, t->live.revision);
    }
    if (revision == 0)
        return false;
    if (t->failure) {
        assert(t->pass.next_held == 0);
        a->failure = t->failure;
        a->record = t->failed_record;
        a->slot = t->failed_slot;
        t->failure = TR_FAILURE_NONE;
        t->failed_record = t->failed_slot = 0;
        t->is_commit_due = false;
        t->next = (struct tr_set){0};
        return say_of_set(t, a, TR_ROLLBACK, revision);
    }
    if (t->is_commit_due) {
        commit(t); /* the records came first: all of `next` have been told to run */
        return say_of_set(t, a, TR_COMMIT, revision);
    }
    if (t->pass.next_ready == t->next.workers)
        t->is_commit_due = t->pass.is_due = true;
    return false;
}

static bool spawn(struct transition *t, uint64_t now_ms, enum tr_role role, uint32_t slot,
                  struct tr_action *a)
{
    const struct tr_set *set = role == TR_NEXT ? &t->next : &t->live;
    uint32_t record = proc_alloc(t);
    t->holder[role][slot] = (uint16_t)(record + 1);
    t->procs[record] = (struct tr_proc){
        .slot = slot, .revision = set->revision, .exit_timeout_ms = set->exit_timeout_ms};
    proc_enter(t, record, TR_STARTING, now_ms, deadline_after(now_ms, set->boot_timeout_ms));
    t->pass.record = t->top; /* young ones need no look in this pass */
    t->pass.wake_ms = MIN(t->pass.wake_ms, t->procs[record].deadline_ms);
    return say(t, a, TR_SPAWN, record);
}

/* `live` first. Without a free record the end of some process is what to wait for, not a time. */
static bool step_slots(struct transition *t, uint64_t now_ms, enum tr_role role,
                       struct tr_action *a)
{
    const struct tr_set *set = role == TR_LIVE ? &t->live : &t->next;
    if (t->pass.is_due || t->mode != TR_MODE_SERVE)
        return false;
    for (uint32_t *slot = &t->pass.slot[role]; *slot <= set->workers; ++*slot) {
        uint64_t not_before_ms = role == TR_LIVE ? t->slots[*slot].not_before_ms : 0;
        if (t->holder[role][*slot])
            continue;
        if (t->n[TR_FREE] == 0)
            return false;
        if (not_before_ms <= now_ms)
            return spawn(t, now_ms, role, *slot, a);
        t->pass.wake_ms = MIN(t->pass.wake_ms, not_before_ms);
    }
    return false;
}

/* One heir at a time, none before the last one's predecessor is gone, and none while a reload
 * replaces everybody anyway. */
static bool step_heir(struct transition *t, uint64_t now_ms, struct tr_action *a)
{
    if (t->pass.is_due || t->mode != TR_MODE_SERVE || t->next.revision || t->pass.heirs > 0 ||
        t->n[TR_DRAINING] > 0 || t->pass.to_replace == 0 || t->n[TR_FREE] == 0)
        return false;
    t->pass.heirs++;
    return spawn(t, now_ms, TR_HEIR, t->procs[t->pass.to_replace - 1].slot, a);
}

/* After the slots: whatever may start has been started. */
static bool is_hopeless(const struct transition *t)
{
    return t->budget.left == 0 && !t->n[TR_STARTING] && !t->n[TR_READY] && !t->n[TR_RUNNING] &&
           !t->n[TR_DRAINING];
}

static bool step_end(struct transition *t, uint64_t now_ms, struct tr_action *a)
{
    if (t->pass.is_due || t->is_stopped)
        return false;
    if (t->mode == TR_MODE_SERVE) {
        if (!is_hopeless(t))
            return false;
        t->is_given_up = true;
        stop_within(t, TR_MODE_QUICK, deadline_after(now_ms, TR_QUICK_GRACE_MS));
        return say_of_set(t, a, TR_GIVE_UP, t->live.revision);
    }
    if (t->n[TR_FREE] < t->n_records)
        return false;
    t->is_stopped = true;
    return say_of_set(t, a, TR_STOPPED, t->live.revision);
}

struct tr_action transition_next(struct transition *t, uint64_t now_ms)
{
    struct tr_action a = {.kind = TR_NOTHING};
    do {
        if (t->pass.is_due || now_ms >= t->pass.wake_ms)
            pass_begin(t);
        if (step_records(t, now_ms, &a) || step_sets(t, &a) || step_slots(t, now_ms, TR_LIVE, &a) ||
            step_slots(t, now_ms, TR_NEXT, &a) || step_heir(t, now_ms, &a) ||
            step_end(t, now_ms, &a))
            return a;
    } while (t->pass.is_due);
    return a;
}
