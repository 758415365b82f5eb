/*
 * How the transition engine of a new image begins: with the processes that the old one has left.
 * Pure; the list comes from outside and is believed only as far as it makes sense.
 */
#include <errno.h>
#include <stddef.h>
#include "arbiter/transition_proc.h"

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
    if (a->record >= t->n_records || p->phase <= TR_FREE || p->phase >= TR_PHASES ||
        t->procs[a->record].phase != TR_FREE || p->slot < 1 || p->slot > TR_SLOTS_MAX ||
        p->revision == 0)
        return false;
    if (deadlines[p->phase] != PERHAPS &&
        (p->deadline_ms != 0) != (deadlines[p->phase] == A_DEADLINE))
        return false;
    if (a->role == TR_NO_ROLE)
        return true;
    /* The sets know no others, and only what serves can have an heir, which does not yet. */
    return (a->role == TR_LIVE || (a->role == TR_HEIR && !serves)) && p->phase < TR_DRAINING &&
           p->slot <= t->live.workers && t->holder[a->role][p->slot] == 0 &&
           (serves || !p->wants_heir);
}

static void take(struct transition *t, const struct tr_inherited *a)
{
    if (a->role != TR_NO_ROLE)
        t->holder[a->role][a->proc.slot] = (uint16_t)(a->record + 1);
    t->procs[a->record] = a->proc;
    t->n[TR_FREE]--;
    t->n[a->proc.phase]++;
    if (t->top <= a->record)
        t->top = a->record + 1;
}

int transition_inherit(struct transition *t, const struct tr_set *live, uint32_t n_records,
                       uint32_t random, const struct tr_inherited *procs, size_t n)
{
    if (live->revision == 0 || live->workers < 1 || live->workers > TR_SLOTS_MAX ||
        live->workers > n_records)
        return -EINVAL;
    transition_init(t, live, n_records, random);
    t->has_served = true;
    for (size_t i = 0; i < n; i++) {
        if (!is_sound(t, &procs[i]))
            return -EINVAL;
        take(t, &procs[i]);
    }
    for (uint32_t slot = 1; slot <= t->live.workers; slot++)
        if (t->holder[TR_HEIR][slot] && !t->holder[TR_LIVE][slot])
            return -EINVAL;
    return 0;
}

void transition_describe(const struct transition *t, uint32_t record, struct tr_inherited *ret)
{
    *ret = (struct tr_inherited){record, proc_role(t, record), t->procs[record]};
}
