/*
 * The audit is audited: a server that keeps the books on its own lies, and the verdict must agree
 * with them to the last message. 100 seeded runs, 10 000 in the soak.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "measure/audit.h"
#include "measure/audit_text.h"
#include "support/it.h"
#include "support/liar.h"
#include "conformance/must.h"

enum { MESSAGES = 150, LANES = 3 };

#define SAME(what, audit, books)                                                                   \
    MUST((audit) == (books),                                                                       \
         "seed %" PRIu64 ": %s: the audit says %" PRIu64 ", the server did %" PRIu64, seed,        \
         (what), (uint64_t)(audit), (uint64_t)(books))

static void compare(uint64_t seed, const struct audit_tally *t, const struct liar *l)
{
    static const struct audit_limits limits = {.max_stall_ns = UINT64_MAX};
    const struct audit_counts *c = &t->counts;
    uint64_t n = MESSAGES * LANES;
    uint64_t gone = l->count[LIAR_LOSE] + l->count[LIAR_TRUNCATE] + l->count[LIAR_CORRUPT];
    bool is_honest =
        gone + l->count[LIAR_SWAP] + l->count[LIAR_DOUBLE] + l->count[LIAR_FOREIGN] == 0;

    SAME("sent", c->sent, n);
    SAME("arrived", l->n_frames, n);
    SAME("lost", c->lost, l->count[LIAR_LOSE]);
    SAME("duplicated", c->duplicated, l->count[LIAR_DOUBLE]);
    SAME("reordered", c->reordered, l->count[LIAR_SWAP]);
    SAME("truncated", c->truncated, l->count[LIAR_TRUNCATE]);
    SAME("corrupted", c->corrupted, l->count[LIAR_CORRUPT]);
    SAME("foreign", c->foreign, l->count[LIAR_FOREIGN]);
    SAME("echoed", c->echoed, n - gone - l->count[LIAR_SWAP]);
    SAME("failed", audit_counts_failed(c), 0);
    SAME("connected", c->connected, LANES);
    SAME("lost in all", timeline_lost(c), gone);
    SAME("delivered", audit_judge(t, &limits).is_delivered, is_honest);
    if (l->count[LIAR_DELAY] > 0)
        MUST(t->stall.ns >= l->delay_ms * UINT64_C(1000000), "seed %" PRIu64 ": stall of %" PRIu64,
             seed, t->stall.ns);
}

/* One lie in so many percent of the messages. Adds what was done to @sum. */
static void run_one(struct ev_loop *loop, uint64_t seed, unsigned percent, uint64_t *sum)
{
    struct audit_options o;
    struct audit_tally t;
    struct audit *audit;
    struct liar l;

    liar_start(&l, loop, seed);
    l.percent = percent;
    l.n_messages = MESSAGES;
    l.delay_ms = 2;
    audit_options_init(&o, l.addr);
    o.seed = seed;
    o.run = (uint32_t)seed;
    o.lanes = LANES;
    o.messages = MESSAGES;
    o.depth = MESSAGES; /* what is lost stays under way until the end */
    o.think_min_ms = o.think_max_ms = 0;
    o.size_max = 600;
    o.is_reconnecting = false;
    MUST(audit_start(loop, &o, &audit) == 0, "audit_start");
    while (!audit_is_done(audit))
        ev_run(loop, EVRUN_ONCE);
    t = audit_result(audit).total;
    compare(seed, &t, &l);
    for (int i = 0; i < LIAR_FATES_N; i++)
        sum[i] += l.count[i];
    audit_free(audit);
    liar_stop(&l);
}

static void audit__server_that_lies__verdict_is_exact(void **state)
{
    struct ev_loop *loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    uint64_t seed = it_seed(), sum[LIAR_FATES_N] = {0};
    unsigned runs = it_is_soak() ? 10000 : 100;

    (void)state;
    MUST(loop, "no loop");
    for (unsigned i = 0; i < runs; i++)
        run_one(loop, seed + i, i % 10 == 0 ? 0 : 5 + i % 30, sum);
    ev_loop_destroy(loop);
    for (int i = 0; i < LIAR_FATES_N; i++)
        MUST(sum[i] >= runs / 2, "fate %d was tried %" PRIu64 " times only", i, sum[i]);
    print_message("# %u runs, %" PRIu64 " honest messages, %" PRIu64 " lost, %" PRIu64
                  " doubled, %" PRIu64 " swapped, %" PRIu64 " truncated, %" PRIu64
                  " corrupted, %" PRIu64 " foreign, %" PRIu64 " delayed\n",
                  runs, sum[LIAR_HONEST], sum[LIAR_LOSE], sum[LIAR_DOUBLE], sum[LIAR_SWAP],
                  sum[LIAR_TRUNCATE], sum[LIAR_CORRUPT], sum[LIAR_FOREIGN], sum[LIAR_DELAY]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(audit__server_that_lies__verdict_is_exact),
    };

    return it_run(tests);
}
