/*
 * The transition engine: what has happened is noted (transition_event), and what to do about it is
 * decided, wanted against actual, one action at a time (transition_next). Pure: knows no process,
 * signal, clock or log. One file, although a long one: all of it works on one struct, and a cut
 * would make that struct and its invariants public.
 */
#include "arbiter/transition.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "base/util.h"

#define TR_NEVER UINT64_MAX

/* ---- the slots of a set ---- */

uint32_t transition_size(const struct tr_set *set)
{
    uint32_t n = set->workers;
    for (uint32_t kind = 0; kind < TR_KINDS_MAX; kind++)
        n += set->others[kind];
    return n;
}

static bool set_has(const struct tr_set *set, uint32_t slot)
{
    uint32_t kind = tr_slot_kind(slot);
    return tr_slot_number(slot) <= (kind < TR_KINDS_MAX ? set->others[kind] : set->workers);
}

/* The first one behind @slot; 0 = there is none. */
static uint32_t set_next(const struct tr_set *set, uint32_t slot)
{
    if (slot < set->workers)
        return slot + 1;
    uint32_t kind = slot > TR_SLOTS_MAX ? tr_slot_kind(slot) : 0;
    uint32_t number = slot > TR_SLOTS_MAX ? tr_slot_number(slot) : 0;
    for (; kind < TR_KINDS_MAX; kind++, number = 0)
        if (number < set->others[kind])
            return tr_slot(kind, number + 1);
    return 0;
}

/* Companions of so many workers. */
static uint32_t companions_of(const struct tr_set *set, uint32_t workers)
{
    return set->companions ? MIN(workers, (uint32_t)TR_KIND_SLOTS_MAX) : 0;
}

static void set_workers(struct tr_set *set, uint32_t workers)
{
    set->workers = workers;
    if (set->companions)
        set->others[set->companions - 1] = (uint8_t)companions_of(set, workers);
}

/* Fewer than are wanted if that many processes cannot be, but one worker at least. */
static void set_limit(struct tr_set *set, uint32_t n_procs)
{
    uint32_t room = n_procs - 1;
    for (uint32_t kind = 0; kind < TR_KINDS_MAX; kind++) {
        uint32_t n = MIN((uint32_t)set->others[kind], (uint32_t)TR_KIND_SLOTS_MAX);
        set->others[kind] = (uint8_t)MIN(n, room);
        room -= set->others[kind];
    }
    set->workers = MIN(set->workers, room + 1);
    set->workers = MIN(set->workers, (uint32_t)TR_SLOTS_MAX);
    set->workers = MAX(set->workers, (uint32_t)1);
    if (set->companions)
        set->others[set->companions - 1] = (uint8_t)MIN(companions_of(set, set->workers),
                                                        (uint32_t)set->others[set->companions - 1]);
}

static bool is_set_possible(const struct tr_set *set)
{
    for (uint32_t kind = 0; kind < TR_KINDS_MAX; kind++)
        if (set->others[kind] > TR_KIND_SLOTS_MAX)
            return false;
    if (set->companions > TR_KINDS_MAX || set->brief > TR_KINDS_MAX)
        return false;
    return set->revision && set->workers >= 1 && set->workers <= TR_SLOTS_MAX;
}

static void budgets_init(struct transition *t)
{
    policy_budget_init(&t->budget, t->live.workers);
    policy_budget_init(&t->others_budget, transition_size(&t->live) - t->live.workers);
}

static struct policy_budget *budget_of(struct transition *t, uint32_t slot)
{
    return slot <= TR_SLOTS_MAX ? &t->budget : &t->others_budget;
}

/* ---- which process has which slot ---- */

/* Neither wraps nor gives "never". */
static uint64_t deadline_after(uint64_t now_ms, uint64_t ms)
{
    return ms < TR_NEVER - 1 - now_ms ? now_ms + ms : TR_NEVER - 1;
}

static uint32_t next_random(struct transition *t)
{
    t->random ^= t->random << 13;
    t->random ^= t->random >> 17;
    t->random ^= t->random << 5;
    return t->random;
}

/* The set of which @proc fills a slot. */
static enum tr_role proc_role(const struct transition *t, uint32_t proc)
{
    uint32_t slot = t->procs[proc].slot;
    for (enum tr_role role = TR_LIVE; role < TR_ROLES; role++)
        if (t->holder[role][slot] == proc + 1)
            return role;
    return TR_NO_ROLE;
}

/* Change the phase; @deadline_ms 0 = none. */
static void proc_enter(struct transition *t, uint32_t proc, enum tr_phase phase, uint64_t now_ms,
                       uint64_t deadline_ms)
{
    struct tr_proc *p = &t->procs[proc];
    t->n[p->phase]--;
    t->n[phase]++;
    if (p->slot <= TR_SLOTS_MAX) {
        t->n_workers[p->phase]--;
        t->n_workers[phase]++;
    }
    p->phase = phase;
    p->since_ms = now_ms;
    p->deadline_ms = deadline_ms;
}

/* Free the slot, or give it to the heir. The process no longer counts as wanted. */
static void proc_release(struct transition *t, uint32_t proc)
{
    enum tr_role role = proc_role(t, proc);
    uint32_t slot = t->procs[proc].slot;
    if (role == TR_NO_ROLE)
        return;
    t->holder[role][slot] = 0;
    if (role == TR_LIVE) {
        t->holder[TR_LIVE][slot] = t->holder[TR_HEIR][slot];
        t->holder[TR_HEIR][slot] = 0;
    }
}

/* There is no such process any more. */
static void proc_free(struct transition *t, uint32_t proc)
{
    proc_release(t, proc);
    proc_enter(t, proc, TR_FREE, 0, 0);
    t->procs[proc] = (struct tr_proc){.phase = TR_FREE};
    t->free_from = MIN(t->free_from, proc);
    while (t->top > 0 && t->procs[t->top - 1].phase == TR_FREE)
        t->top--;
}

/* The lowest free proc; only if one is free. */
static uint32_t proc_alloc(struct transition *t)
{
    uint32_t proc = t->free_from;
    while (t->procs[proc].phase != TR_FREE)
        proc++;
    t->free_from = proc + 1;
    t->top = MAX(t->top, proc + 1);
    return proc;
}

/* Its exit timeout begins now. */
static void proc_time_to_drain(struct transition *t, uint32_t proc, uint64_t now_ms)
{
    struct tr_proc *p = &t->procs[proc];
    p->deadline_ms = deadline_after(now_ms, deadline_after(p->exit_timeout_ms, TR_KILL_GRACE_MS));
}

/* Release it to drain within the exit timeout that it was started with. */
static void proc_drain(struct transition *t, uint32_t proc, uint64_t now_ms)
{
    proc_release(t, proc);
    proc_enter(t, proc, TR_DRAINING, now_ms, 0);
    proc_time_to_drain(t, proc, now_ms);
}

/* Until the first set serves: that one of them runs is no hope for another that cannot start. */
static void others_hold_budget(struct transition *t, uint32_t left)
{
    if (!t->has_served)
        t->others_budget.left = MIN(t->others_budget.left, left);
}

/* Tell the policy of the slot. @is_blameless: it is not held against it that it was not ready.
 * @is_missed: connections wait for its successor. */
static void slot_on_death(struct transition *t, uint32_t proc, uint64_t now_ms, bool is_blameless,
                          bool is_missed)
{
    const struct tr_proc *p = &t->procs[proc];
    struct policy *policy = &t->slots[p->slot];
    uint32_t left = t->others_budget.left;
    policy_on_death(policy, budget_of(t, p->slot), now_ms, is_blameless || p->phase != TR_STARTING,
                    next_random(t));
    others_hold_budget(t, left);
    if (is_missed)
        policy_hasten(policy, now_ms);
}

static void slot_on_false_start(struct transition *t, uint32_t proc, uint64_t now_ms)
{
    policy_on_fork_failure(&t->slots[t->procs[proc].slot], now_ms, next_random(t));
}

/* A rollback is due because of @proc; the first failure counts. */
static void next_fail(struct transition *t, enum tr_failure failure, uint32_t proc)
{
    if (t->failure)
        return;
    t->failure = failure;
    t->failed_proc = proc;
    t->failed_slot = t->procs[proc].slot;
}

/* All must end; none later than before. */
static void stop_within(struct transition *t, enum tr_mode mode, uint64_t deadline_ms)
{
    t->stop_deadline_ms = deadline_ms;
    t->mode = mode;
    if (t->next.revision && !t->failure)
        t->failure = TR_FAILURE_STOPPED;
}

/* ---- what has happened ---- */

static void on_tick(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    (void)t, (void)now_ms, (void)ev; /* transition_next() looks at the time itself */
}

static void on_reload(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    (void)now_ms;
    if (!is_set_possible(&ev->set) || ev->set.revision == t->live.revision ||
        !transition_can_reload(t, transition_size(&ev->set)))
        return;
    t->next = ev->set;
}

/* The set of @role has no such slot any more. */
static void forget_slot(struct transition *t, enum tr_role role, uint32_t slot)
{
    t->holder[role][slot] = 0;
    if (role != TR_LIVE)
        return;
    t->holder[TR_HEIR][slot] = 0;
    t->slots[slot] = (struct policy){0};
}

/* As many as @set may have, with their companions. */
static uint32_t room_for_workers(const struct transition *t, const struct tr_set *set)
{
    const uint32_t now = set->workers + (set->companions ? set->others[set->companions - 1] : 0);
    const uint32_t held = transition_size(&t->live) + transition_size(&t->next) - now;
    uint32_t room = MIN(t->n_procs - held, (uint32_t)TR_SLOTS_MAX + TR_KIND_SLOTS_MAX);
    while (room > 0 && room + companions_of(set, room) > t->n_procs - held)
        room--;
    return MIN(room, (uint32_t)TR_SLOTS_MAX);
}

/* Two sets share the procs: `next` leaves room for `live`, or it could never become ready. */
static void on_scale(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    (void)now_ms;
    enum tr_role role = t->next.revision ? TR_NEXT : TR_LIVE;
    struct tr_set *set = t->next.revision ? &t->next : &t->live;
    uint32_t workers = MIN(ev->workers, room_for_workers(t, set));
    if (workers == 0 || workers == set->workers || t->mode != TR_MODE_SERVE)
        return;
    const struct tr_set before = *set;
    set_workers(set, workers);
    for (uint32_t slot = set_next(&before, 0); slot; slot = set_next(&before, slot))
        if (!set_has(set, slot))
            forget_slot(t, role, slot);
    if (role == TR_LIVE)
        policy_budget_init(&t->budget, workers);
}

/* Of both sets: a rollback does not take it back. */
static void on_one_more(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    (void)now_ms;
    if (!transition_has_room(t, ev->other))
        return;
    t->live.others[ev->other]++;
    if (t->next.revision)
        t->next.others[ev->other]++;
}

static void on_ready(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    if (t->procs[ev->proc].phase == TR_STARTING)
        proc_enter(t, ev->proc, TR_READY, now_ms, 0);
}

/* One that drains before it has served backs off like a failed fork: a slot must not spin. */
static void on_drains(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    const struct tr_proc *p = &t->procs[ev->proc];
    if (p->phase != TR_STARTING && p->phase != TR_READY && p->phase != TR_RUNNING)
        return;
    enum tr_role role = proc_role(t, ev->proc);
    if (role == TR_NEXT && !t->is_commit_due)
        next_fail(t, TR_FAILURE_DIED, ev->proc);
    else if (role != TR_NO_ROLE && p->phase == TR_STARTING)
        slot_on_false_start(t, ev->proc, now_ms);
    proc_drain(t, ev->proc, now_ms);
}

static void on_told(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    const struct tr_proc *p = &t->procs[ev->proc];
    if (p->phase == TR_DRAINING && !p->is_quick)
        proc_time_to_drain(t, ev->proc, now_ms);
}

static void on_wants_heir(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    (void)now_ms;
    if (t->procs[ev->proc].phase == TR_RUNNING && proc_role(t, ev->proc) == TR_LIVE)
        t->procs[ev->proc].wants_heir = true;
}

static void on_exited(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    enum tr_role role = proc_role(t, ev->proc);
    if (t->procs[ev->proc].phase == TR_FREE)
        return;
    if (role == TR_LIVE || role == TR_HEIR || (role == TR_NEXT && t->is_commit_due))
        slot_on_death(t, ev->proc, now_ms, ev->was_killed, ev->is_missed);
    else if (role == TR_NEXT)
        next_fail(t, TR_FAILURE_DIED, ev->proc);
    proc_free(t, ev->proc);
}

static void on_fork_failed(struct transition *t, uint64_t now_ms, const struct tr_event *ev)
{
    const struct tr_proc *p = &t->procs[ev->proc];
    enum tr_role role = proc_role(t, ev->proc);
    if (p->phase != TR_STARTING)
        return;
    if (role == TR_NEXT)
        next_fail(t, TR_FAILURE_FORK, ev->proc);
    else if (role != TR_NO_ROLE)
        slot_on_false_start(t, ev->proc, now_ms);
    proc_free(t, ev->proc);
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
        [TR_EV_TICK] = on_tick,
        [TR_EV_RELOAD] = on_reload,
        [TR_EV_SCALE] = on_scale,
        [TR_EV_ONE_MORE] = on_one_more,
        [TR_EV_READY] = on_ready,
        [TR_EV_DRAINS] = on_drains,
        [TR_EV_TOLD] = on_told,
        [TR_EV_WANTS_HEIR] = on_wants_heir,
        [TR_EV_EXITED] = on_exited,
        [TR_EV_STOP] = on_stop,
        [TR_EV_FORK_FAILED] = on_fork_failed,
    };
    if ((size_t)ev->kind >= ARRAY_SIZE(handlers) || ev->proc >= t->n_procs)
        return;
    handlers[ev->kind](t, now_ms, ev);
    t->pass.is_due = true;
}

/* ---- what to do ---- */

/*
 * A pass looks at the procs (what each process is to do: the table `orders`), then at the sets
 * (serving, commit, rollback), then at the slots (what is missing), then for the end. It is resumed
 * after an action and begun anew by an event or at its earliest deadline, so that n actions cost
 * one pass, and a call with nothing to do costs nothing.
 */

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
                uint32_t proc)
{
    const struct tr_proc *p = &t->procs[proc];
    a->kind = kind;
    a->proc = proc;
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

static bool kill_it(struct transition *t, uint64_t now_ms, uint32_t proc, enum tr_kill_reason why,
                    struct tr_action *a)
{
    proc_release(t, proc);
    proc_enter(t, proc, TR_KILLED, now_ms, 0);
    a->why = why;
    return say(t, a, TR_KILL, proc);
}

/* A deadline has come. */
static bool expire(struct transition *t, uint64_t now_ms, uint32_t proc, struct tr_action *a)
{
    struct tr_proc *p = &t->procs[proc];
    if (p->phase == TR_RUNNING) {
        uint32_t left = t->others_budget.left;
        policy_on_good_service(&t->slots[p->slot], budget_of(t, p->slot));
        others_hold_budget(t, left);
        p->deadline_ms = 0;
        return false;
    }
    if (p->phase == TR_DRAINING)
        return kill_it(t, now_ms, proc, p->is_quick ? TR_KILL_STOP : TR_KILL_EXIT_TIMEOUT, a);
    assert(p->phase == TR_STARTING);
    p->is_overdue = true;
    if (proc_role(t, proc) == TR_NEXT) {
        next_fail(t, TR_FAILURE_BOOT_TIMEOUT, proc);
        t->pass.is_due = true; /* those that the pass has left behind are to be taken back too */
    } else {
        t->pass.is_due = true; /* an heir's slot backs off too */
        slot_on_death(t, proc, now_ms, false, false);
    }
    return kill_it(t, now_ms, proc, TR_KILL_BOOT_TIMEOUT, a);
}

/* Companions end by themselves once the last worker is gone. */
static uint64_t stop_deadline_of(const struct transition *t, uint32_t slot)
{
    const uint32_t kind = tr_slot_kind(slot) + 1;
    const bool is_companion = kind == t->live.companions || kind == t->next.companions;
    return deadline_after(t->stop_deadline_ms, is_companion ? TR_QUICK_GRACE_MS : 0);
}

/* Tell one that drains of the stop: a nearer deadline, and the order to exit at once. */
static bool hasten(struct transition *t, uint32_t proc, struct tr_action *a)
{
    struct tr_proc *p = &t->procs[proc];
    p->deadline_ms = MIN(p->deadline_ms, stop_deadline_of(t, p->slot));
    if (p->is_quick || t->mode != TR_MODE_QUICK)
        return false;
    p->is_quick = true;
    return say(t, a, TR_DRAIN, proc);
}

/* An heir that serves has the slot; the one before it is looked at again, and drains. */
static void take_over(struct transition *t, uint32_t proc)
{
    uint32_t slot = t->procs[proc].slot;
    if (proc_role(t, proc) != TR_HEIR)
        return;
    t->holder[TR_LIVE][slot] = t->holder[TR_HEIR][slot];
    t->holder[TR_HEIR][slot] = 0;
    t->pass.is_due = true;
}

static bool step_proc(struct transition *t, uint64_t now_ms, uint32_t proc, struct tr_action *a)
{
    struct tr_proc *p = &t->procs[proc];
    enum standing standing = standing_of(t, proc_role(t, proc));
    switch (orders[standing][p->phase]) {
    case RUN:
        take_over(t, proc);
        proc_enter(t, proc, TR_RUNNING, now_ms, deadline_after(now_ms, POLICY_GOOD_SERVICE_MS));
        return say(t, a, TR_RUN, proc);
    case DRAIN:
        proc_drain(t, proc, now_ms);
        if (standing == STOPPING && hasten(t, proc, a))
            return true;
        return say(t, a, TR_DRAIN, proc);
    case KILL:
        return kill_it(t, now_ms, proc, standing == OF_ROLLBACK ? TR_KILL_ROLLBACK : TR_KILL_STOP,
                       a);
    case HASTEN:
        if (hasten(t, proc, a))
            return true;
        break;
    case KEEP:
        break;
    }
    return p->deadline_ms && now_ms >= p->deadline_ms && expire(t, now_ms, proc, a);
}

/* ---- a pass ---- */

static void pass_begin(struct transition *t)
{
    t->pass = (struct tr_pass){
        .slot = {[TR_LIVE] = set_next(&t->live, 0), [TR_NEXT] = set_next(&t->next, 0)},
        .wake_ms = TR_NEVER,
    };
}

/* May @proc have an heir, and when? A limit that is passed at once must not become a loop of
 * forks. */
static void consider_heir(struct transition *t, uint32_t proc, uint64_t now_ms)
{
    const struct tr_proc *p = &t->procs[proc];
    uint64_t from_ms = deadline_after(p->since_ms, TR_RECYCLE_MIN_MS);
    from_ms = MAX(from_ms, t->slots[p->slot].not_before_ms);
    if (from_ms > now_ms)
        t->pass.wake_ms = MIN(t->pass.wake_ms, from_ms);
    else if (t->pass.to_replace == 0)
        t->pass.to_replace = proc + 1;
}

static void pass_count(struct transition *t, uint64_t now_ms, uint32_t proc)
{
    const struct tr_proc *p = &t->procs[proc];
    enum tr_role role = proc_role(t, proc);
    t->pass.live_running += role == TR_LIVE && p->phase == TR_RUNNING;
    t->pass.next_ready += role == TR_NEXT && p->phase == TR_READY;
    t->pass.next_held += role == TR_NEXT;
    t->pass.heirs += role == TR_HEIR;
    if (p->wants_heir && role == TR_LIVE)
        consider_heir(t, proc, now_ms);
    if (p->deadline_ms)
        t->pass.wake_ms = MIN(t->pass.wake_ms, p->deadline_ms);
}

/* A proc is looked at until nothing is to be done about it, and counted then. */
static bool step_procs(struct transition *t, uint64_t now_ms, struct tr_action *a)
{
    for (; t->pass.proc < t->top; t->pass.proc++) {
        if (step_proc(t, now_ms, t->pass.proc, a))
            return true;
        pass_count(t, now_ms, t->pass.proc);
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
    budgets_init(t);
    for (uint32_t slot = 1; slot <= TR_ALL_SLOTS_MAX; slot++) {
        if (!set_has(&t->live, slot))
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
    if (t->mode == TR_MODE_SERVE && !t->has_served &&
        t->pass.live_running == transition_size(&t->live)) {
        t->has_served = true;
        return say_of_set(t, a, TR_SERVING, t->live.revision);
    }
    if (revision == 0)
        return false;
    if (t->failure) {
        assert(t->pass.next_held == 0);
        a->failure = t->failure;
        a->proc = t->failed_proc;
        a->slot = t->failed_slot;
        t->failure = TR_FAILURE_NONE;
        t->failed_proc = t->failed_slot = 0;
        t->is_commit_due = false;
        t->next = (struct tr_set){0};
        return say_of_set(t, a, TR_ROLLBACK, revision);
    }
    if (t->is_commit_due) {
        commit(t); /* the procs came first: all of `next` have been told to run */
        return say_of_set(t, a, TR_COMMIT, revision);
    }
    if (t->pass.next_ready == transition_size(&t->next))
        t->is_commit_due = t->pass.is_due = true;
    return false;
}

static uint64_t exit_timeout_of(const struct tr_set *set, uint32_t slot)
{
    const uint32_t kind = tr_slot_kind(slot) + 1;
    if (kind == set->companions)
        return deadline_after(set->exit_timeout_ms, TR_COMPANION_MS);
    if (kind == set->brief)
        return MIN(set->exit_timeout_ms, (uint64_t)TR_BRIEF_MS);
    return set->exit_timeout_ms;
}

static bool spawn(struct transition *t, uint64_t now_ms, enum tr_role role, uint32_t slot,
                  struct tr_action *a)
{
    const struct tr_set *set = role == TR_NEXT ? &t->next : &t->live;
    uint32_t proc = proc_alloc(t);
    t->holder[role][slot] = (uint16_t)(proc + 1);
    t->procs[proc] = (struct tr_proc){
        .slot = slot, .revision = set->revision, .exit_timeout_ms = exit_timeout_of(set, slot)};
    proc_enter(t, proc, TR_STARTING, now_ms, deadline_after(now_ms, set->boot_timeout_ms));
    t->pass.proc = t->top; /* young ones need no look in this pass */
    t->pass.wake_ms = MIN(t->pass.wake_ms, t->procs[proc].deadline_ms);
    return say(t, a, TR_SPAWN, proc);
}

/* `live` first. Without a free proc the end of some process is what to wait for, not a time. */
static bool step_slots(struct transition *t, uint64_t now_ms, enum tr_role role,
                       struct tr_action *a)
{
    const struct tr_set *set = role == TR_LIVE ? &t->live : &t->next;
    if (t->pass.is_due || t->mode != TR_MODE_SERVE)
        return false;
    for (uint32_t *slot = &t->pass.slot[role]; *slot; *slot = set_next(set, *slot)) {
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

/* After the slots: whatever may start has been started. Without the others there is no start, but
 * what serves already goes on. */
static bool is_hopeless(const struct transition *t)
{
    const uint32_t *n = t->n_workers;
    if (!t->has_served && t->others_budget.left == 0)
        return true;
    return t->budget.left == 0 && !n[TR_STARTING] && !n[TR_READY] && !n[TR_RUNNING] &&
           !n[TR_DRAINING];
}

static bool step_end(struct transition *t, uint64_t now_ms, struct tr_action *a)
{
    if (t->pass.is_due || t->is_stopped)
        return false;
    if (t->mode == TR_MODE_SERVE) {
        if (!is_hopeless(t))
            return false;
        stop_within(t, TR_MODE_QUICK, deadline_after(now_ms, TR_QUICK_GRACE_MS));
        return say_of_set(t, a, TR_GIVE_UP, t->live.revision);
    }
    if (t->n[TR_FREE] < t->n_procs)
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
        if (step_procs(t, now_ms, &a) || step_sets(t, &a) || step_slots(t, now_ms, TR_LIVE, &a) ||
            step_slots(t, now_ms, TR_NEXT, &a) || step_heir(t, now_ms, &a) ||
            step_end(t, now_ms, &a))
            return a;
    } while (t->pass.is_due);
    return a;
}

/* ---- what others ask ---- */

void transition_init(struct transition *t, const struct tr_set *first, uint32_t n_procs,
                     uint32_t random)
{
    memset(t, 0, sizeof(*t));
    t->n_procs = MIN(n_procs, (uint32_t)TR_RECORDS_MAX);
    t->n_procs = MAX(t->n_procs, (uint32_t)1);
    t->live = *first;
    set_limit(&t->live, t->n_procs);
    t->n[TR_FREE] = t->n_procs;
    t->random = random ? random : 1;
    t->pass.is_due = true;
    budgets_init(t);
}

uint64_t transition_deadline(const struct transition *t)
{
    return t->pass.is_due ? 0 : t->pass.wake_ms;
}

static uint32_t count_held(const struct transition *t)
{
    return t->n[TR_STARTING] + t->n[TR_READY] + t->n[TR_RUNNING];
}

bool transition_can_reload(const struct transition *t, uint32_t n)
{
    bool is_starting = !t->has_served && (t->n[TR_RUNNING] == 0 || t->n[TR_STARTING] > 0);
    uint32_t wanted = transition_size(&t->live), held = count_held(t);
    uint32_t missing = held < wanted ? wanted - held : 0;
    return t->mode == TR_MODE_SERVE && t->next.revision == 0 && !is_starting && n >= 1 &&
           n <= TR_ALL_SLOTS_MAX && t->n[TR_FREE] >= n + missing;
}

/* As for scaling: `next` leaves room for `live`. */
bool transition_has_room(const struct transition *t, uint32_t kind)
{
    uint32_t n_sets = t->next.revision ? 2 : 1;
    return t->mode == TR_MODE_SERVE && kind < TR_KINDS_MAX &&
           t->live.others[kind] < TR_KIND_SLOTS_MAX && t->next.others[kind] < TR_KIND_SLOTS_MAX &&
           transition_size(&t->live) + transition_size(&t->next) + n_sets <= t->n_procs;
}

bool transition_is_degraded(const struct transition *t)
{
    const struct tr_set *live = &t->live;
    if (t->mode != TR_MODE_SERVE || t->n[TR_RUNNING] >= transition_size(live))
        return false;
    for (uint32_t slot = set_next(live, 0); slot; slot = set_next(live, slot)) {
        const struct policy *p = &t->slots[slot];
        uint32_t holder = t->holder[TR_LIVE][slot];
        if (holder && t->procs[holder - 1].phase == TR_RUNNING)
            continue;
        if (p->early_deaths || p->last_restart_ms || (!holder && t->has_served))
            return true;
    }
    return false;
}

bool transition_is_planned(const struct transition *t, uint32_t proc)
{
    return t->mode != TR_MODE_SERVE ||
           (proc_role(t, proc) == TR_NO_ROLE && !t->procs[proc].is_overdue);
}

const char *transition_failure_text(enum tr_failure failure)
{
    switch (failure) {
    case TR_FAILURE_DIED:
        return "died before it was ready";
    case TR_FAILURE_BOOT_TIMEOUT:
        return "was not ready within arbiter.boot_timeout";
    case TR_FAILURE_FORK:
        return "could not be forked";
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

enum tr_phase transition_phase(const struct transition *t, uint32_t proc)
{
    return t->procs[proc].phase;
}

bool transition_is_staying(const struct transition *t, uint32_t proc)
{
    const struct tr_proc *p = &t->procs[proc];

    return p->phase == TR_RUNNING && p->revision == t->live.revision &&
           !transition_is_planned(t, proc);
}

bool transition_is_ending(const struct transition *t, uint32_t proc)
{
    return t->procs[proc].wants_heir || t->procs[proc].phase > TR_RUNNING;
}

bool transition_has_time(const struct transition *t, uint32_t proc, uint64_t now_ms)
{
    const struct tr_proc *p = &t->procs[proc];

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

uint32_t transition_others(const struct transition *t, uint32_t kind)
{
    return t->live.others[kind];
}

bool transition_is_slot_running(const struct transition *t, uint32_t slot)
{
    uint32_t holder = t->holder[TR_LIVE][slot];
    return holder && t->procs[holder - 1].phase == TR_RUNNING;
}

bool transition_serves(const struct transition *t)
{
    for (uint32_t slot = 1; slot <= t->live.workers; slot++)
        if (transition_is_slot_running(t, slot))
            return true;
    return false;
}

uint32_t transition_missing(const struct transition *t, uint32_t *ret_first)
{
    uint32_t n = 0;
    for (uint32_t slot = set_next(&t->live, 0); slot; slot = set_next(&t->live, slot))
        if (!transition_is_slot_running(t, slot) && n++ == 0)
            *ret_first = slot;
    return n;
}

uint32_t transition_all_others(const struct transition *t)
{
    return transition_size(&t->live) - t->live.workers;
}

bool transition_is_stopped(const struct transition *t)
{
    return t->is_stopped;
}

bool transition_is_settled(const struct transition *t)
{
    return !t->next.revision && t->n_workers[TR_RUNNING] == t->live.workers;
}

/* ---- how the engine of a new image begins ---- */

/* What deadline_ms must be in each phase. */
static const enum {
    NO_DEADLINE,
    A_DEADLINE,
    PERHAPS
} deadlines[TR_PHASES] = {
    [TR_STARTING] = A_DEADLINE,
    [TR_RUNNING] = PERHAPS,
    [TR_DRAINING] = A_DEADLINE,
};

static bool is_sound(const struct transition *t, const struct tr_inherited *a)
{
    const struct tr_proc *p = &a->proc;
    const bool serves = p->phase == TR_RUNNING;
    if (a->index >= t->n_procs || p->phase <= TR_FREE || p->phase >= TR_PHASES ||
        t->procs[a->index].phase != TR_FREE || p->slot < 1 || p->slot > TR_ALL_SLOTS_MAX ||
        p->revision == 0)
        return false;
    if (deadlines[p->phase] != PERHAPS &&
        (p->deadline_ms != 0) != (deadlines[p->phase] == A_DEADLINE))
        return false;
    if (a->role == TR_NO_ROLE)
        return true;
    /* The sets know no others, and only what serves can have an heir, which does not yet. */
    return (a->role == TR_LIVE || (a->role == TR_HEIR && !serves)) && p->phase < TR_DRAINING &&
           set_has(&t->live, p->slot) && t->holder[a->role][p->slot] == 0 &&
           (serves || !p->wants_heir);
}

static void take(struct transition *t, const struct tr_inherited *a)
{
    if (a->role != TR_NO_ROLE)
        t->holder[a->role][a->proc.slot] = (uint16_t)(a->index + 1);
    t->procs[a->index] = a->proc;
    t->n[TR_FREE]--;
    t->n[a->proc.phase]++;
    t->n_workers[a->proc.phase] += a->proc.slot <= TR_SLOTS_MAX;
    if (t->top <= a->index)
        t->top = a->index + 1;
}

int transition_inherit(struct transition *t, const struct tr_set *live, uint32_t n_procs,
                       uint32_t random, const struct tr_inherited *procs, size_t n)
{
    if (!is_set_possible(live) || transition_size(live) > n_procs)
        return -EINVAL;
    transition_init(t, live, n_procs, random);
    t->has_served = true;
    for (size_t i = 0; i < n; i++) {
        if (!is_sound(t, &procs[i]))
            return -EINVAL;
        take(t, &procs[i]);
    }
    for (uint32_t slot = set_next(live, 0); slot; slot = set_next(live, slot))
        if (t->holder[TR_HEIR][slot] && !t->holder[TR_LIVE][slot])
            return -EINVAL;
    return 0;
}

void transition_describe(const struct transition *t, uint32_t proc, struct tr_inherited *ret)
{
    *ret = (struct tr_inherited){proc, proc_role(t, proc), t->procs[proc]};
}
