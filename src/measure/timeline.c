/*
 * An outage begins when a count rises that a good connection never raises.
 */
#include "measure/timeline.h"

#include "base/util.h"

uint64_t timeline_lost(const struct audit_counts *c)
{
    return audit_counts_failed(c) + c->lost + c->truncated + c->corrupted;
}

static uint64_t wrong(const struct audit_counts *c)
{
    return timeline_lost(c) + c->reordered + c->duplicated + c->foreign + c->refused +
           c->unconnected + c->closed + c->reset + c->given_up;
}

static void subtract(struct audit_counts *from, const struct audit_counts *what)
{
#define X(field, help) from->field -= what->field;
    AUDIT_COUNTS(X)
#undef X
}

static void merge(struct timeline_outage *o, const struct audit_counts *delta, unsigned waiting,
                  uint64_t now_ns)
{
    o->to_ns = now_ns;
    o->waiting = MAX(o->waiting, waiting);
    audit_counts_add(&o->delta, delta);
}

static void begin(struct timeline *t, uint64_t from_ns)
{
    t->last = (struct timeline_outage){.from_ns = from_ns};
    t->n_all++;
    if (t->n < TIMELINE_OUTAGES_MAX)
        t->n++;
}

void timeline_look(struct timeline *t, const struct audit_counts *now, unsigned waiting,
                   uint64_t waiting_ns, uint64_t now_ns)
{
    struct audit_counts delta = *now;
    uint64_t from_ns = t->looked_ns ? t->looked_ns : now_ns;

    subtract(&delta, &t->before);
    t->before = *now;
    t->looked_ns = now_ns;
    if (wrong(&delta) == 0 && waiting == 0)
        return;
    if (waiting > 0 && waiting_ns < from_ns)
        from_ns = waiting_ns;
    if (t->n_all == 0 || from_ns > t->last.to_ns + TIMELINE_JOIN_MS * UINT64_C(1000000))
        begin(t, from_ns);
    t->last.from_ns = MIN(t->last.from_ns, from_ns);
    merge(&t->last, &delta, waiting, now_ns);
    if (t->n == t->n_all)
        t->kept[t->n - 1] = t->last;
}
