/*
 * Bookkeeping of the transition engine: which record holds which process of which slot. Runs in the
 * arbiter, in events and in passes alike; decides nothing.
 */
#include "arbiter/transition_proc.h"

#include "base/util.h"

uint64_t deadline_after(uint64_t now_ms, uint64_t ms)
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

enum tr_role proc_role(const struct transition *t, uint32_t record)
{
    uint32_t slot = t->procs[record].slot;
    for (enum tr_role role = TR_LIVE; role < TR_ROLES; role++)
        if (t->holder[role][slot] == record + 1)
            return role;
    return TR_NO_ROLE;
}

void proc_enter(struct transition *t, uint32_t record, enum tr_phase phase, uint64_t now_ms,
                uint64_t deadline_ms)
{
    struct tr_proc *p = &t->procs[record];
    t->n[p->phase]--;
    t->n[phase]++;
    p->phase = phase;
    p->since_ms = now_ms;
    p->deadline_ms = deadline_ms;
}

void proc_release(struct transition *t, uint32_t record)
{
    enum tr_role role = proc_role(t, record);
    uint32_t slot = t->procs[record].slot;
    if (role == TR_NO_ROLE)
        return;
    t->holder[role][slot] = 0;
    if (role == TR_LIVE) {
        t->holder[TR_LIVE][slot] = t->holder[TR_HEIR][slot];
        t->holder[TR_HEIR][slot] = 0;
    }
}

void proc_free(struct transition *t, uint32_t record)
{
    proc_release(t, record);
    proc_enter(t, record, TR_FREE, 0, 0);
    t->procs[record] = (struct tr_proc){.phase = TR_FREE};
    t->free_from = MIN(t->free_from, record);
    while (t->top > 0 && t->procs[t->top - 1].phase == TR_FREE)
        t->top--;
}

uint32_t proc_alloc(struct transition *t)
{
    uint32_t record = t->free_from;
    while (t->procs[record].phase != TR_FREE)
        record++;
    t->free_from = record + 1;
    t->top = MAX(t->top, record + 1);
    return record;
}

void proc_time_to_drain(struct transition *t, uint32_t record, uint64_t now_ms)
{
    struct tr_proc *p = &t->procs[record];
    p->deadline_ms = deadline_after(now_ms, deadline_after(p->exit_timeout_ms, TR_KILL_GRACE_MS));
}

void proc_drain(struct transition *t, uint32_t record, uint64_t now_ms)
{
    proc_release(t, record);
    proc_enter(t, record, TR_DRAINING, now_ms, 0);
    proc_time_to_drain(t, record, now_ms);
}

void slot_on_death(struct transition *t, uint32_t record, uint64_t now_ms, bool is_blameless,
                   bool is_missed)
{
    const struct tr_proc *p = &t->procs[record];
    struct policy *policy = &t->slots[p->slot];
    policy_on_death(policy, &t->budget, now_ms, is_blameless || p->phase != TR_STARTING,
                    next_random(t));
    if (is_missed)
        policy_hasten(policy, now_ms);
}

void slot_on_false_start(struct transition *t, uint32_t record, uint64_t now_ms)
{
    policy_on_fork_failure(&t->slots[t->procs[record].slot], now_ms, next_random(t));
}

void next_fail(struct transition *t, enum tr_failure failure, uint32_t record)
{
    if (t->failure)
        return;
    t->failure = failure;
    t->failed_record = record;
    t->failed_slot = t->procs[record].slot;
}

void stop_within(struct transition *t, enum tr_mode mode, uint64_t deadline_ms)
{
    t->stop_deadline_ms = deadline_ms;
    t->mode = mode;
    if (t->next.revision && !t->failure)
        t->failure = TR_FAILURE_STOPPED;
}
