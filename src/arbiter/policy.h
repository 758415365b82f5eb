/*
 * When may a slot be filled again? A pure function of events and time.
 *
 * A death in service is restarted at once, then at most once per second and slot, and a few times
 * sooner if the dead has left connections that only its successor can serve. Deaths before ready
 * back off exponentially, 100 ms to 30 s with jitter. Ten seconds in service reset both. Planned
 * ends never count. Deaths before ready spend a budget, which a death in service restores: a worker
 * that got that far is hope. When it is spent and nothing serves, the arbiter gives up.
 */
#ifndef ARBITER_POLICY_H
#define ARBITER_POLICY_H

#include <stdbool.h>
#include <stdint.h>

enum {
    POLICY_SERVICE_INTERVAL_MS = 1000,
    POLICY_SERVICE_JITTER_MS = 250, /* on top of the interval */
    POLICY_BACKOFF_MIN_MS = 100,
    POLICY_BACKOFF_MAX_MS = 30000,
    POLICY_GOOD_SERVICE_MS = 10000,
    POLICY_HASTE_MAX = 3, /* without a good service in between */
    POLICY_BUDGET_PER_SLOT = 4,
    POLICY_BUDGET_MIN = 8,
};

/* One a slot; all zero is a slot without history. */
struct policy {
    uint32_t early_deaths; /* before ready, in a row */
    uint64_t last_restart_ms; /* time of the last restart after a death in service; 0 = none */
    uint64_t not_before_ms; /* the slot stays empty until then */
    uint32_t n_hasty; /* restarts ahead of their time */
};

/* One an arbiter. */
struct policy_budget {
    uint32_t left; /* early deaths in a row that are still allowed */
    uint32_t full;
};

void policy_budget_init(struct policy_budget *b, uint32_t n_slots);

/*
 * policy_on_death - an unplanned end
 * @was_ready  it had got as far as service
 * @random     any 32 random bits, for the jitter
 * Sets not_before_ms.
 */
void policy_on_death(struct policy *p, struct policy_budget *b, uint64_t now_ms, bool was_ready,
                     uint32_t random);

/* policy_hasten - after a death in service: connections wait for the next one, so it starts at
 * once, POLICY_HASTE_MAX times */
void policy_hasten(struct policy *p, uint64_t now_ms);

/* policy_on_fork_failure - as an early death, but nobody's fault: spends no budget */
void policy_on_fork_failure(struct policy *p, uint64_t now_ms, uint32_t random);

/* policy_on_commit - another configuration: deaths before it do not count, except for the rate */
void policy_on_commit(struct policy *p);

/* policy_on_good_service - a process has served for POLICY_GOOD_SERVICE_MS: deaths
 * before it do not count */
void policy_on_good_service(struct policy *p, struct policy_budget *b);

#endif
