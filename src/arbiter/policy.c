/*
 * The restart policy: when an emptied slot may be filled again. Pure; the arbiter's transition
 * engine calls it. It must not know what a process, a signal or a clock is.
 */
#include "arbiter/policy.h"

#include <string.h>
#include "base/util.h"

void policy_budget_init(struct policy_budget *b, uint32_t n_slots)
{
    b->full = MAX((uint32_t)POLICY_BUDGET_MIN, POLICY_BUDGET_PER_SLOT * n_slots);
    b->left = b->full;
}

/*
 * The first half of the delay doubles, the second half is jitter, so that every delay lies between
 * the two bounds and slots that die together do not come back together, not even at the bounds.
 */
static uint64_t policy_backoff_ms(uint32_t early_deaths, uint32_t random)
{
    uint64_t half = POLICY_BACKOFF_MIN_MS;
    for (uint32_t i = 1; i < early_deaths && half < POLICY_BACKOFF_MAX_MS / 2; i++)
        half *= 2;
    half = MIN(half, (uint64_t)POLICY_BACKOFF_MAX_MS / 2);
    return half + ((half * random) >> 32);
}

/*
 * The interval is at least a second and not exactly one: whoever kills workers by a clock would
 * else catch each new one at the same moment of its start, and see no service at all.
 */
static uint64_t policy_interval_end_ms(const struct policy *p, uint32_t random)
{
    uint64_t jitter_ms = ((uint64_t)POLICY_SERVICE_JITTER_MS * random) >> 32;
    return p->last_restart_ms + POLICY_SERVICE_INTERVAL_MS + jitter_ms;
}

/* A slot that has lately been restarted after a death in service keeps that interval as well. */
static void policy_back_off(struct policy *p, uint64_t now_ms, uint32_t random)
{
    if (p->early_deaths < UINT32_MAX)
        p->early_deaths++;
    p->not_before_ms = now_ms + policy_backoff_ms(p->early_deaths, random);
    if (p->last_restart_ms) {
        p->not_before_ms = MAX(p->not_before_ms, p->last_restart_ms + POLICY_SERVICE_INTERVAL_MS);
        p->last_restart_ms = p->not_before_ms;
    }
}

void policy_on_death(struct policy *p, struct policy_budget *b, uint64_t now_ms, bool was_ready,
                     uint32_t random)
{
    if (!was_ready) {
        if (b->left > 0)
            b->left--;
        policy_back_off(p, now_ms, random);
        return;
    }
    p->early_deaths = 0; /* one that was ready breaks every row */
    b->left = b->full;
    p->not_before_ms = now_ms;
    if (p->last_restart_ms)
        p->not_before_ms = MAX(now_ms, policy_interval_end_ms(p, random));
    p->last_restart_ms = MAX(p->not_before_ms, (uint64_t)1);
}

void policy_hasten(struct policy *p, uint64_t now_ms)
{
    if (p->early_deaths || p->not_before_ms <= now_ms || p->n_hasty >= POLICY_HASTE_MAX)
        return;
    p->n_hasty++;
    p->not_before_ms = now_ms;
    p->last_restart_ms = MAX(now_ms, (uint64_t)1);
}

void policy_on_commit(struct policy *p)
{
    *p = (struct policy){.last_restart_ms = p->last_restart_ms, .n_hasty = p->n_hasty};
}

void policy_on_fork_failure(struct policy *p, uint64_t now_ms, uint32_t random)
{
    policy_back_off(p, now_ms, random);
}

void policy_on_good_service(struct policy *p, struct policy_budget *b)
{
    memset(p, 0, sizeof(*p));
    b->left = b->full;
}
