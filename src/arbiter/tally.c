/*
 * Counters that can be trusted, from a worker that cannot.
 */
#include "arbiter/tally.h"

#include <string.h>

#include "base/util.h"

void tally_init(struct tally *t, uint64_t now_ns)
{
    memset(t, 0, sizeof(*t));
    t->looked_ns = now_ns;
}

static void take(counter_t *last, counter_t *sum, uint64_t value, uint64_t most)
{
    const uint64_t step = value - counter_get(last); /* backwards: wraps, and is far too much */

    counter_set(last, value);
    if (step <= most)
        counter_add(sum, step);
}

void tally_take(struct tally *t, const struct counters *shared, uint64_t now_ns)
{
    static const uint64_t second = 1000000000, longest_s = 1 << 22;
    const uint64_t seconds = (now_ns - t->looked_ns) / second + 1;
    const uint64_t most = MIN(seconds, longest_s) * TALLY_MAX_A_SECOND;

    t->looked_ns = now_ns;
#define X(field, help) take(&t->last.field, &t->sum.field, counter_get(&shared->field), most);
    COUNTERS(X)
#undef X
}

/* Each connection comes in one way and goes out one way. */
void tally_end(struct tally *t)
{
    const uint64_t n_in = counter_get(&t->sum.accepted) + counter_get(&t->sum.handed_in) +
                          counter_get(&t->sum.rescued);
    uint64_t n_out = counter_get(&t->sum.handed_out);

#define X(field, help)                                                                             \
    if (strncmp(#field, "closed_", 7) == 0)                                                        \
        n_out += counter_get(&t->sum.field);
    COUNTERS(X)
#undef X
    counter_add(&t->sum.left, n_in > n_out ? n_in - n_out : 0);
}

void counters_sum(struct counters *sum, const struct counters *c)
{
#define X(field, help) counter_add(&sum->field, counter_get(&c->field));
    COUNTERS(X)
#undef X
}
