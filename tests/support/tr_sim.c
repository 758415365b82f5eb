/*
 * Random processes on a virtual clock: see tr_sim.h.
 */
#include "support/tr_sim.h"

#include "base/util.h"

uint32_t tr_sim_random(struct tr_sim *s, uint32_t below)
{
    s->random = s->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(((s->random >> 32) * below) >> 32);
}

static bool chance(struct tr_sim *s, uint32_t percent)
{
    return tr_sim_random(s, 100) < percent;
}

static void plan(struct tr_sim *s, struct tr_model_proc *p, enum tr_event_kind event,
                 uint32_t within_ms)
{
    p->event = event;
    p->event_ms = s->model.now_ms + tr_sim_random(s, within_ms + 1);
}

static void plan_boot(struct tr_sim *s, struct tr_model_proc *p)
{
    const struct tr_sim_habits *h = &s->habits;

    if (chance(s, h->fork_failure))
        plan(s, p, TR_EV_FORK_FAILED, 0);
    else if (chance(s, h->boot_death))
        plan(s, p, TR_EV_EXITED, h->boot_ms);
    else if (!chance(s, h->boot_hang))
        plan(s, p, TR_EV_READY, h->boot_ms);
}

static void plan_drain(struct tr_sim *s, struct tr_model_proc *p)
{
    if (!chance(s, s->habits.drain_hang))
        plan(s, p, TR_EV_EXITED, s->habits.drain_ms);
}

static enum tr_event_kind own_accord(struct tr_sim *s)
{
    return chance(s, s->habits.recycle) ? TR_EV_WANTS_HEIR : TR_EV_DRAINS;
}

static void on_model_action(struct tr_model *m, const struct tr_action *a)
{
    struct tr_sim *s = m->userdata;
    struct tr_model_proc *p = &m->procs[a->proc];

    if (a->kind == TR_SPAWN)
        plan_boot(s, p);
    else if (a->kind == TR_RUN && s->habits.service_ms)
        plan(s, p, chance(s, s->habits.own_accord) ? own_accord(s) : TR_EV_EXITED,
             s->habits.service_ms);
    else if (a->kind == TR_DRAIN)
        plan_drain(s, p);
    else if (a->kind == TR_KILL)
        plan(s, p, TR_EV_EXITED, s->habits.reap_ms);
    if (s->on_action)
        s->on_action(s, a);
}

static struct tr_model_proc *earliest(struct tr_model *m)
{
    struct tr_model_proc *first = &m->procs[0];

    for (uint32_t i = 1; i < m->n_procs; i++)
        if (m->procs[i].event_ms < first->event_ms)
            first = &m->procs[i];
    return first;
}

void tr_sim_run(struct tr_sim *s, uint64_t to_ms)
{
    struct tr_model *m = &s->model;

    while (!m->broken[0]) {
        struct tr_model_proc *p = earliest(m);
        uint64_t next_ms = MIN(p->event_ms, transition_deadline(&m->engine));

        if (next_ms > to_ms)
            break;
        if (p->event_ms > next_ms) {
            tr_model_advance(m, next_ms);
            continue;
        }
        m->now_ms = MAX(m->now_ms, p->event_ms);
        p->event_ms = UINT64_MAX;
        tr_model_kind(m, p->event, (uint32_t)(p - m->procs));
        if (p->phase == TR_DRAINING && p->event == TR_EV_DRAINS)
            plan_drain(s, p);
    }
    m->now_ms = MAX(m->now_ms, to_ms);
}

bool tr_sim_kill(struct tr_sim *s)
{
    struct tr_model *m = &s->model;
    uint32_t start = tr_sim_random(s, m->n_procs);

    for (uint32_t i = 0; i < m->n_procs; i++) {
        uint32_t proc = (start + i) % m->n_procs;

        if (m->procs[proc].phase == TR_FREE)
            continue;
        tr_model_event(m,
                       &(struct tr_event){.kind = TR_EV_EXITED, .proc = proc, .was_killed = true});
        return true;
    }
    return false;
}

void tr_sim_init_kinds(struct tr_sim *s, uint32_t workers, uint32_t n_first, uint32_t n_last,
                       uint32_t n_procs, uint64_t seed, const struct tr_sim_habits *habits)
{
    *s = (struct tr_sim){.habits = *habits, .random = seed};
    tr_sim_random(s, 1);
    tr_model_init_kinds(&s->model, workers, n_first, n_last, n_procs, (uint32_t)seed,
                        on_model_action, s);
}

void tr_sim_init(struct tr_sim *s, uint32_t workers, uint32_t n_procs, uint64_t seed,
                 const struct tr_sim_habits *habits)
{
    tr_sim_init_kinds(s, workers, 0, 0, n_procs, seed, habits);
}
