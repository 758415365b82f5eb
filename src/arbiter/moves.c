/*
 * One line in the log for all the connections that a transition has moved. Runs in the arbiter.
 */
#include "arbiter/internal.h"

#include "base/clock.h"

/* By the counters: a giver's report may be overtaken by its exit. */
static uint64_t handed_out(struct arbiter *a)
{
    uint64_t n = counter_get(&a->totals.handed_out);

    for (uint32_t i = 0; i < a->n_children_used; i++) {
        struct child *c = &a->children[i];

        if (!c->pid)
            continue;
        tally_take(&c->tally, &c->score->counters, clock_mono_ns());
        n += counter_get(&c->tally.sum.handed_out);
    }
    return n;
}

void moves_want(struct arbiter *a)
{
    a->moves.is_wanted = true;
}

void moves_begin(struct arbiter *a)
{
    if (a->moves.since_ms)
        return;
    a->moves.since_ms = clock_mono_ms();
    a->moves.before = handed_out(a);
}

/* Somebody gives, or has yet to be told to. */
static bool is_unfinished(const struct arbiter *a)
{
    for (uint32_t i = 0; i < a->n_children_used; i++)
        if (a->children[i].pid && a->children[i].must_drain)
            return true;
    return handover_is_moving(a);
}

void moves_settle(struct arbiter *a)
{
    struct moves *m = &a->moves;
    uint64_t count;

    if (!m->since_ms || is_unfinished(a))
        return;
    count = handed_out(a) - m->before;
    if (count > 0)
        LOG_AT_(a->log, m->is_wanted ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG, log_emit,
                "connections changed hands", F_UINT("count", count),
                F_UINT("took_ms", clock_mono_ms() - m->since_ms));
    *m = (struct moves){0};
}
