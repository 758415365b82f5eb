/*
 * Counting ends.
 */
#include "measure/hold.h"

#include "base/util.h"

static const struct {
    const char *name, *text;
} rows[] = {
#define X(id, name, text) {name, text},
    HOLD_ENDS(X)
#undef X
};

const char *hold_end_name(enum hold_end e)
{
    return rows[e].name;
}

const char *hold_end_text(enum hold_end e)
{
    return rows[e].text;
}

void hold_ages_add(struct hold_ages *a, uint64_t ns)
{
    a->min_ns = a->n ? MIN(a->min_ns, ns) : ns;
    a->max_ns = MAX(a->max_ns, ns);
    a->n++;
}

uint64_t hold_report_cut(const struct hold_report *r)
{
    uint64_t n = 0;

    for (int i = 0; i < HOLD_ENDS_N; i++)
        n += i == HOLD_REFUSED ? 0 : r->ends[i].n;
    return n;
}

uint64_t hold_probe_ms(uint64_t min, uint64_t max, unsigned i, unsigned n)
{
    return n > 1 ? min + (max - min) * i / (n - 1) : max;
}

bool hold_limit(const struct hold_report *r, uint64_t *ret_survived_ns, uint64_t *ret_cut_ns)
{
    uint64_t cut = UINT64_MAX;

    for (int i = 0; i < HOLD_ENDS_N; i++)
        if (i != HOLD_REFUSED && r->ends[i].n > 0)
            cut = MIN(cut, r->ends[i].min_ns);
    if (r->survived.n == 0 || cut == UINT64_MAX || cut <= r->survived.max_ns)
        return false;
    *ret_survived_ns = r->survived.max_ns;
    *ret_cut_ns = cut;
    return true;
}
