/*
 * The checking model of the arbiter's shell: see tr_model.h.
 */
#include "support/tr_model.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "base/util.h"

#define NEVER UINT64_MAX

static void __attribute__((format(printf, 2, 3))) broken(struct tr_model *m, const char *fmt, ...)
{
    va_list ap;
    size_t len;

    if (m->broken[0])
        return;
    len = (size_t)snprintf(m->broken, sizeof(m->broken),
                           "at %llu ms: ", (unsigned long long)m->now_ms);
    va_start(ap, fmt);
    vsnprintf(m->broken + len, sizeof(m->broken) - len, fmt, ap);
    va_end(ap);
}

#define promise(m, fact, ...)                                                                      \
    do {                                                                                           \
        if (!(fact))                                                                               \
            broken((m), __VA_ARGS__);                                                              \
    } while (0)

static bool is_active(const struct tr_model_proc *p)
{
    return p->phase == TR_STARTING || p->phase == TR_READY || p->phase == TR_RUNNING;
}

static bool has_slot(const struct tr_set *set, uint32_t slot)
{
    if (slot >= 1 && slot <= TR_SLOTS_MAX)
        return slot <= set->workers;
    for (uint32_t kind = 0; kind < TR_KINDS_MAX; kind++)
        if (slot > tr_slot(kind, 0) && slot <= tr_slot(kind, set->others[kind]))
            return true;
    return false;
}

static bool is_of(const struct tr_model_proc *p, const struct tr_set *set)
{
    return set->revision && is_active(p) && p->revision == set->revision &&
           has_slot(set, p->slot) && !p->is_heir && !p->is_replaced;
}

static bool is_wanted_heir(const struct tr_model *m, const struct tr_model_proc *p)
{
    return p->is_heir && is_active(p) && p->revision == m->live.revision &&
           has_slot(&m->live, p->slot);
}

/* The process of the live set that fills @slot, or NULL. */
static struct tr_model_proc *holder_of(struct tr_model *m, uint32_t slot)
{
    for (uint32_t i = 0; i < m->n_procs; i++)
        if (is_of(&m->procs[i], &m->live) && m->procs[i].slot == slot)
            return &m->procs[i];
    return NULL;
}

/* The slot of @p is empty: an heir that is on its way fills it. */
static void promote_heir(struct tr_model *m, const struct tr_model_proc *p)
{
    for (uint32_t i = 0; i < m->n_procs; i++)
        if (is_wanted_heir(m, &m->procs[i]) && m->procs[i].slot == p->slot)
            m->procs[i].is_heir = false;
}

static uint32_t count_of(const struct tr_model *m, const struct tr_set *set, enum tr_phase phase)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < m->n_procs; i++)
        n += is_of(&m->procs[i], set) && m->procs[i].phase == phase;
    return n;
}

uint32_t tr_model_count(const struct tr_model *m, enum tr_phase phase)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < m->n_procs; i++)
        n += m->procs[i].phase == phase;
    return n;
}

static void enter(struct tr_model *m, struct tr_model_proc *p, enum tr_phase phase,
                  uint64_t kill_ms)
{
    p->phase = phase;
    p->since_ms = m->now_ms;
    p->kill_ms = kill_ms;
    p->event_ms = NEVER;
}

/* Companions have a moment more. */
static uint64_t stop_ms_of(const struct tr_model *m, const struct tr_model_proc *p)
{
    const uint32_t kind = tr_slot_kind(p->slot) + 1;
    const bool is_companion = kind == m->live.companions || kind == m->next.companions;

    return m->stop_ms + (is_companion ? TR_QUICK_GRACE_MS : 0);
}

static void begin_drain(struct tr_model *m, struct tr_model_proc *p)
{
    uint64_t kill_ms = m->now_ms + p->exit_timeout_ms + TR_KILL_GRACE_MS;

    enter(m, p, TR_DRAINING, m->is_stopping ? MIN(kill_ms, stop_ms_of(m, p)) : kill_ms);
}

/* ---- what the engine says ---- */

static void do_spawn(struct tr_model *m, const struct tr_action *a, struct tr_model_proc *p)
{
    const struct tr_set *set = a->revision == m->next.revision ? &m->next : &m->live;

    promise(m, !m->is_stopping && !m->is_given_up, "a spawn after the stop");
    promise(m, p->phase == TR_FREE, "proc %u is spawned into, but not free", a->proc);
    promise(m, a->revision && a->revision == set->revision, "a spawn for nobody's revision");
    promise(m, has_slot(set, a->slot), "a spawn for slot %u", a->slot);
    promise(m, set == &m->live || (!m->failure && !m->is_turning), "a late spawn for `next`");
    p->is_heir = set == &m->live && holder_of(m, a->slot);
    for (uint32_t i = 0; i < m->n_procs; i++) {
        promise(m, !is_of(&m->procs[i], set) || m->procs[i].slot != a->slot || p->is_heir,
                "a second process for slot %u", a->slot);
        promise(m, !p->is_heir || &m->procs[i] == p || !is_wanted_heir(m, &m->procs[i]),
                "a second heir");
    }
    if (p->is_heir) {
        const struct tr_model_proc *old = holder_of(m, a->slot);

        promise(m, old->wants_heir && old->phase == TR_RUNNING, "an heir that nobody wants");
        promise(m, m->now_ms >= old->since_ms + TR_RECYCLE_MIN_MS, "an heir too soon");
        promise(m, !m->next.revision, "an heir during a reload");
        promise(m, tr_model_count(m, TR_DRAINING) == 0, "an heir while another one drains");
    }
    p->wants_heir = p->is_replaced = false;
    p->slot = a->slot;
    p->revision = a->revision;
    p->is_quick = false;
    p->exit_timeout_ms = set->exit_timeout_ms;
    if (set->companions && tr_slot_kind(a->slot) == set->companions - 1)
        p->exit_timeout_ms += TR_COMPANION_MS;
    if (set->brief && tr_slot_kind(a->slot) == set->brief - 1)
        p->exit_timeout_ms = MIN(p->exit_timeout_ms, (uint64_t)TR_BRIEF_MS);
    enter(m, p, TR_STARTING, m->now_ms + set->boot_timeout_ms);
}

static void do_run(struct tr_model *m, const struct tr_action *a, struct tr_model_proc *p)
{
    promise(m, p->phase == TR_READY, "proc %u is told to run, but not ready", a->proc);
    promise(m, !m->is_stopping, "a process is told to run during a stop");
    promise(m, is_of(p, &m->live) || is_of(p, &m->next) || is_wanted_heir(m, p),
            "an unwanted process is told to run");
    if (p->is_heir) {
        holder_of(m, p->slot)->is_replaced = true;
        p->is_heir = false;
    }
    if (is_of(p, &m->next) && !m->is_turning) {
        promise(m, count_of(m, &m->next, TR_READY) == transition_size(&m->next),
                "`next` is told to run before all of it is ready");
        promise(m, !m->failure, "`next` is told to run although it failed");
        m->is_turning = true;
    }
    enter(m, p, TR_RUNNING, NEVER);
}

static void do_drain(struct tr_model *m, const struct tr_action *a, struct tr_model_proc *p)
{
    promise(m, m->is_stopping || !(is_of(p, &m->live) || is_of(p, &m->next)),
            "proc %u is wanted, but drains", a->proc);
    promise(m, a->is_quick == m->is_quick, "is_quick is wrong");
    if (p->phase == TR_DRAINING)
        promise(m, a->is_quick && !p->is_quick, "proc %u is told to drain twice", a->proc);
    else
        promise(m, p->phase == TR_RUNNING, "proc %u is told to drain, but does not serve", a->proc);
    if (p->phase == TR_RUNNING)
        begin_drain(m, p);
    p->is_quick = a->is_quick;
}

static void do_kill(struct tr_model *m, const struct tr_action *a, struct tr_model_proc *p)
{
    bool is_late = m->now_ms >= p->kill_ms;

    promise(m, p->phase != TR_FREE && p->phase != TR_KILLED, "proc %u is killed in vain", a->proc);
    promise(m, p->phase != TR_RUNNING, "proc %u serves, but is killed", a->proc);
    switch (a->why) {
    case TR_KILL_BOOT_TIMEOUT:
        promise(m, p->phase == TR_STARTING && is_late, "killed before boot_timeout");
        if (is_of(p, &m->next) && !m->failure)
            m->failure = TR_FAILURE_BOOT_TIMEOUT;
        break;
    case TR_KILL_EXIT_TIMEOUT:
        promise(m, p->phase == TR_DRAINING && is_late, "killed before exit_timeout");
        break;
    case TR_KILL_ROLLBACK:
        promise(m, is_of(p, &m->next) && m->failure, "killed by a rollback that is none");
        break;
    case TR_KILL_STOP:
        promise(m, p->phase != TR_DRAINING || is_late, "killed before the quick grace");
        promise(m, m->is_stopping || !(is_of(p, &m->live) || is_of(p, &m->next)),
                "proc %u is wanted, but killed", a->proc);
        break;
    }
    enter(m, p, TR_KILLED, NEVER);
}

static void do_commit(struct tr_model *m, const struct tr_action *a)
{
    promise(m, a->revision && a->revision == m->next.revision, "a commit of nobody's revision");
    promise(m, m->is_turning && !m->failure && !m->is_stopping, "a commit out of turn");
    promise(m, count_of(m, &m->next, TR_READY) + count_of(m, &m->next, TR_STARTING) == 0,
            "a commit before all of `next` run");
    m->live = m->next;
    m->next = (struct tr_set){0};
    m->is_turning = false;
}

static void do_rollback(struct tr_model *m, const struct tr_action *a)
{
    promise(m, a->revision && a->revision == m->next.revision, "a rollback of nobody's revision");
    promise(m, m->failure && a->failure == m->failure, "a rollback because of %d, not %d",
            (int)a->failure, (int)m->failure);
    for (uint32_t i = 0; i < m->n_procs; i++)
        promise(m, !is_of(&m->procs[i], &m->next), "a rollback before all of `next` are killed");
    m->next = (struct tr_set){0};
    m->failure = TR_FAILURE_NONE;
    m->is_turning = false;
}

static void begin_stop(struct tr_model *m, bool is_quick, uint64_t stop_ms)
{
    m->stop_ms = m->is_stopping ? MIN(m->stop_ms, stop_ms) : stop_ms;
    m->is_stopping = true;
    m->is_quick = is_quick;
    if (m->next.revision && !m->failure)
        m->failure = TR_FAILURE_STOPPED;
    for (uint32_t i = 0; i < m->n_procs; i++)
        if (m->procs[i].phase == TR_DRAINING)
            m->procs[i].kill_ms = MIN(m->procs[i].kill_ms, stop_ms_of(m, &m->procs[i]));
}

static uint32_t count_others(const struct tr_set *set)
{
    return transition_size(set) - set->workers;
}

/* Those that live, draining ones included. */
static uint32_t count_workers(const struct tr_model *m)
{
    uint32_t n = 0;

    for (uint32_t i = 0; i < m->n_procs; i++)
        n += (is_active(&m->procs[i]) || m->procs[i].phase == TR_DRAINING) &&
             m->procs[i].slot <= TR_SLOTS_MAX;
    return n;
}

static void do_end(struct tr_model *m, const struct tr_action *a)
{
    uint32_t n_processes = m->n_procs - tr_model_count(m, TR_FREE);

    if (a->kind == TR_SERVING) {
        promise(m, !m->is_serving && !m->is_stopping, "serving, again");
        promise(m, count_of(m, &m->live, TR_RUNNING) == transition_size(&m->live),
                "serving, but not all run");
        m->is_serving = true;
    } else if (a->kind == TR_STOPPED) {
        promise(m, m->is_stopping && !m->is_stopped, "stopped, but not asked to");
        promise(m, n_processes == 0, "stopped with %u processes left", n_processes);
        m->is_stopped = true;
    } else {
        promise(m, !m->is_stopping && !m->is_given_up, "gives up, again");
        promise(m, count_workers(m) == 0 || (!m->is_serving && count_others(&m->live) > 0),
                "gives up, but workers are left");
        m->is_given_up = true;
        begin_stop(m, true, m->now_ms + TR_QUICK_GRACE_MS);
    }
}

static void trace(struct tr_model *m, const struct tr_action *a)
{
    static const char *const kills[] = {"boot", "exit", "rollback", "stop"};
    static const char *const failures[] = {"none", "died", "boot", "fork", "stopped"};
    char *at = m->trace + m->trace_len;
    size_t size = sizeof(m->trace) - m->trace_len;

    if (size < 64)
        return;
    if (m->trace_len) {
        *at++ = ' ';
        size--;
    }
    switch (a->kind) {
    case TR_SPAWN:
        snprintf(at, size, "spawn:%u@%u", a->proc, a->slot);
        break;
    case TR_RUN:
        snprintf(at, size, "run:%u", a->proc);
        break;
    case TR_DRAIN:
        snprintf(at, size, "%s:%u", a->is_quick ? "quit" : "drain", a->proc);
        break;
    case TR_KILL:
        snprintf(at, size, "kill:%u/%s", a->proc, kills[a->why]);
        break;
    case TR_COMMIT:
        snprintf(at, size, "commit:%u", (unsigned)a->revision);
        break;
    case TR_ROLLBACK:
        snprintf(at, size, "rollback:%u/%s", (unsigned)a->revision, failures[a->failure]);
        break;
    case TR_SERVING:
    case TR_STOPPED:
    case TR_GIVE_UP:
        snprintf(at, size, "%s",
                 a->kind == TR_SERVING   ? "serving"
                 : a->kind == TR_STOPPED ? "stopped"
                                         : "give-up");
        break;
    case TR_NOTHING:
        break;
    }
    m->trace_len += strlen(m->trace + m->trace_len);
}

static void act(struct tr_model *m, const struct tr_action *a)
{
    struct tr_model_proc *p = &m->procs[a->proc];

    promise(m, !m->is_stopped, "an action after the end");
    promise(m, a->proc < m->n_procs, "proc %u is out of range", a->proc);
    m->n[a->kind]++;
    trace(m, a);
    switch (a->kind) {
    case TR_SPAWN:
        do_spawn(m, a, p);
        break;
    case TR_RUN:
        do_run(m, a, p);
        break;
    case TR_DRAIN:
        do_drain(m, a, p);
        break;
    case TR_KILL:
        do_kill(m, a, p);
        break;
    case TR_COMMIT:
        do_commit(m, a);
        break;
    case TR_ROLLBACK:
        do_rollback(m, a);
        break;
    case TR_SERVING:
    case TR_STOPPED:
    case TR_GIVE_UP:
        do_end(m, a);
        break;
    case TR_NOTHING:
        break;
    }
    if (m->on_action)
        m->on_action(m, a);
}

/* ---- what must hold when the engine rests ---- */

static void check_process(struct tr_model *m, uint32_t proc)
{
    const struct tr_model_proc *p = &m->procs[proc];
    bool is_wanted = is_of(p, &m->live) || is_of(p, &m->next) || is_wanted_heir(m, p);

    promise(m, p->phase == TR_FREE || m->now_ms < p->kill_ms, "proc %u is overdue", proc);
    promise(m, !is_active(p) || (is_wanted && !m->is_stopping), "proc %u is left over", proc);
    promise(m, p->phase != TR_READY || is_of(p, &m->next), "proc %u is left waiting", proc);
    if (is_active(p))
        promise(m, !transition_is_planned(&m->engine, proc), "proc %u is not wanted?", proc);
}

static void check_rest(struct tr_model *m)
{
    const struct transition *t = &m->engine;
    uint64_t deadline_ms = transition_deadline(t);
    uint32_t n_free = tr_model_count(m, TR_FREE);
    uint32_t n_live = 0;

    promise(m, deadline_ms > m->now_ms, "the deadline is in the past");
    promise(m, transition_next(&m->engine, m->now_ms).kind == TR_NOTHING, "no rest at rest");
    promise(m, transition_deadline(t) == deadline_ms, "the deadline moves at rest");
    for (enum tr_phase phase = TR_FREE; phase < TR_PHASES; phase++)
        promise(m, transition_count(t, phase) == tr_model_count(m, phase), "phase %d is miscounted",
                (int)phase);
    for (uint32_t i = 0; i < m->n_procs; i++) {
        check_process(m, i);
        n_live += is_of(&m->procs[i], &m->live);
        if (m->procs[i].phase != TR_FREE)
            promise(m, deadline_ms <= m->procs[i].kill_ms, "the deadline of proc %u is lost", i);
    }
    promise(m, !m->failure && !m->is_turning, "a rollback or commit is still due");
    if (!m->is_stopping) {
        promise(m, n_live == transition_size(&m->live) || n_free == 0 || deadline_ms < NEVER,
                "an empty slot is forgotten");
        promise(m,
                !transition_is_degraded(t) ||
                    count_of(m, &m->live, TR_RUNNING) < transition_size(&m->live),
                "degraded, but all run");
    }
    promise(m, !transition_can_reload(t, 1) || (!m->next.revision && !m->is_stopping && n_free > 0),
            "a reload is possible now?");
    promise(m, m->is_stopped == (m->is_stopping && n_free == m->n_procs), "the end is missed");
}

static void drain(struct tr_model *m)
{
    struct tr_action a;

    for (uint32_t left = 8 * m->n_procs + 64;
         (a = transition_next(&m->engine, m->now_ms)).kind != TR_NOTHING; left--) {
        act(m, &a);
        if (left == 0 || m->broken[0]) {
            broken(m, "the engine does not come to rest");
            return;
        }
    }
    check_rest(m);
}

/* ---- what happens to the engine ---- */

static void note_end(struct tr_model *m, struct tr_model_proc *p, enum tr_failure failure)
{
    if (is_of(p, &m->next) && !m->failure)
        m->failure = failure;
}

static void note_scale(struct tr_model *m, uint32_t workers)
{
    struct tr_set *set = m->next.revision ? &m->next : &m->live;
    uint8_t none = 0, *companions = set->companions ? &set->others[set->companions - 1] : &none;
    uint32_t room = m->n_procs - count_others(set) + *companions;

    if (m->next.revision)
        room -= transition_size(&m->live);
    room = MIN(room, (uint32_t)TR_SLOTS_MAX);
    workers = MIN(workers, room);
    while (set->companions && workers + MIN(workers, (uint32_t)TR_KIND_SLOTS_MAX) > room)
        workers--;
    if (!workers || m->is_stopping || workers == set->workers)
        return;
    set->workers = workers;
    *companions = (uint8_t)MIN(workers, (uint32_t)TR_KIND_SLOTS_MAX);
}

static void note_one_more(struct tr_model *m, uint32_t kind)
{
    if (!transition_has_room(&m->engine, kind))
        return;
    promise(m, m->live.others[kind] < TR_KIND_SLOTS_MAX, "one more than there can be");
    m->live.others[kind]++;
    if (m->next.revision)
        m->next.others[kind]++;
    promise(m, transition_size(&m->live) + transition_size(&m->next) <= m->n_procs,
            "one more than there are procs");
}

static void note_stop(struct tr_model *m, bool is_quick)
{
    uint64_t graceful_ms = m->live.exit_timeout_ms + TR_KILL_GRACE_MS;

    if (m->is_quick)
        return;
    is_quick |= m->is_stopping;
    begin_stop(m, is_quick, m->now_ms + (is_quick ? TR_QUICK_GRACE_MS : graceful_ms));
}

static void note(struct tr_model *m, const struct tr_event *ev)
{
    struct tr_model_proc *p = &m->procs[ev->proc];

    switch (ev->kind) {
    case TR_EV_RELOAD:
        if (transition_can_reload(&m->engine, transition_size(&ev->set)) && ev->set.workers >= 1 &&
            ev->set.revision > m->live.revision) {
            promise(m, tr_model_count(m, TR_FREE) >= transition_size(&ev->set),
                    "no room for a reload");
            m->next = ev->set;
        }
        break;
    case TR_EV_SCALE:
        note_scale(m, ev->workers);
        break;
    case TR_EV_ONE_MORE:
        note_one_more(m, ev->other);
        break;
    case TR_EV_READY:
        if (p->phase == TR_STARTING)
            enter(m, p, TR_READY, NEVER);
        break;
    case TR_EV_DRAINS:
        if (is_active(p)) {
            const bool was_holder = is_of(p, &m->live);

            note_end(m, p, TR_FAILURE_DIED);
            begin_drain(m, p);
            if (was_holder)
                promote_heir(m, p);
        }
        break;
    case TR_EV_TOLD:
        if (p->phase == TR_DRAINING && !p->is_quick)
            begin_drain(m, p);
        break;
    case TR_EV_WANTS_HEIR:
        p->wants_heir |= p->phase == TR_RUNNING && is_of(p, &m->live);
        break;
    case TR_EV_EXITED: {
        const bool was_holder = is_of(p, &m->live);

        note_end(m, p, TR_FAILURE_DIED);
        enter(m, p, TR_FREE, NEVER);
        if (was_holder)
            promote_heir(m, p);
        break;
    }
    case TR_EV_FORK_FAILED:
        if (p->phase == TR_STARTING) {
            note_end(m, p, TR_FAILURE_FORK);
            enter(m, p, TR_FREE, NEVER);
        }
        break;
    case TR_EV_STOP:
        note_stop(m, ev->is_quick);
        break;
    case TR_EV_TICK:
        break;
    }
}

void tr_model_event(struct tr_model *m, const struct tr_event *ev)
{
    if (ev->proc < m->n_procs)
        note(m, ev);
    transition_event(&m->engine, m->now_ms, ev);
    drain(m);
}

void tr_model_advance(struct tr_model *m, uint64_t to_ms)
{
    uint64_t deadline_ms;

    while (!m->broken[0] && (deadline_ms = transition_deadline(&m->engine)) <= to_ms) {
        m->now_ms = MAX(m->now_ms, deadline_ms);
        tr_model_event(m, &(struct tr_event){.kind = TR_EV_TICK});
    }
    m->now_ms = MAX(m->now_ms, to_ms);
}

struct tr_set tr_model_set(struct tr_model *m, uint32_t workers)
{
    struct tr_set set = {
        .revision = ++m->last_revision,
        .workers = workers,
        .boot_timeout_ms = TR_MODEL_BOOT_MS,
        .exit_timeout_ms = TR_MODEL_EXIT_MS,
    };

    memcpy(set.others, m->others, sizeof(set.others));
    set.brief = m->brief;
    if (m->companions) {
        set.companions = m->companions;
        set.others[m->companions - 1] = (uint8_t)MIN(workers, (uint32_t)TR_KIND_SLOTS_MAX);
    }
    return set;
}

void tr_model_reload(struct tr_model *m, uint32_t workers)
{
    tr_model_event(m, &(struct tr_event){.kind = TR_EV_RELOAD, .set = tr_model_set(m, workers)});
}

void tr_model_kind(struct tr_model *m, enum tr_event_kind kind, uint32_t proc)
{
    tr_model_event(m, &(struct tr_event){.kind = kind, .proc = proc});
}

void tr_model_upgrade(struct tr_model *m)
{
    static struct tr_inherited procs[TR_RECORDS_MAX];
    static struct transition fresh;
    size_t n = 0;

    if (!m->is_serving || m->next.revision || m->is_stopping || m->broken[0])
        return;
    for (uint32_t i = 0; i < m->n_procs; i++) {
        transition_describe(&m->engine, i, &procs[n]);
        n += procs[n].proc.phase != TR_FREE;
    }
    promise(
        m, transition_inherit(&fresh, &m->live, m->n_procs, (uint32_t)m->now_ms + 1, procs, n) == 0,
        "what the engine has cannot be inherited");
    m->engine = fresh;
    drain(m);
}

void tr_model_init_kinds(struct tr_model *m, uint32_t workers, uint32_t n_first, uint32_t n_last,
                         uint32_t n_procs, uint32_t seed, tr_model_listener *on_action,
                         void *userdata)
{
    const uint32_t room = n_procs - 1; /* one worker at least */

    memset(m, 0, sizeof(*m));
    m->n_procs = n_procs;
    m->on_action = on_action;
    m->userdata = userdata;
    for (uint32_t i = 0; i < n_procs; i++)
        enter(m, &m->procs[i], TR_FREE, NEVER);
    m->others[0] = (uint8_t)MIN(n_first, room);
    m->others[TR_KINDS_MAX - 1] = (uint8_t)MIN(n_last, room - m->others[0]);
    m->live = tr_model_set(m, workers);
    m->live.workers = MIN(workers, n_procs - count_others(&m->live));
    transition_init(&m->engine, &m->live, n_procs, seed);
    drain(m);
}

void tr_model_init(struct tr_model *m, uint32_t workers, uint32_t n_procs, uint32_t seed,
                   tr_model_listener *on_action, void *userdata)
{
    tr_model_init_kinds(m, workers, 0, 0, n_procs, seed, on_action, userdata);
}
