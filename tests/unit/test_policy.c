/*
 * The restart policy on a virtual clock.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include "arbiter/policy.h"
#include "base/util.h"

static struct policy_budget budget;

static void policy_on_death__first_in_service__at_once(void **state UNUSED)
{
    struct policy p = {0};

    policy_budget_init(&budget, 1);
    policy_on_death(&p, &budget, 5000, true, 7);
    assert_int_equal(p.not_before_ms, 5000);
    assert_int_equal(budget.left, budget.full);
}

static void policy_on_death__again_in_service__once_a_second(void **state UNUSED)
{
    const uint32_t jitters[] = {0, UINT32_MAX};
    const uint64_t intervals_ms[] = {POLICY_SERVICE_INTERVAL_MS,
                                     POLICY_SERVICE_INTERVAL_MS + POLICY_SERVICE_JITTER_MS - 1};

    for (size_t j = 0; j < ARRAY_SIZE(jitters); j++) {
        struct policy p = {0};
        uint64_t now_ms = 5000;

        policy_budget_init(&budget, 1);
        policy_on_death(&p, &budget, now_ms, true, jitters[j]);
        for (unsigned i = 1; i < 100; i++) {
            now_ms = p.not_before_ms + 3;
            policy_on_death(&p, &budget, now_ms, true, jitters[j]);
            assert_int_equal(p.not_before_ms, 5000 + i * intervals_ms[j]);
        }
        now_ms = p.not_before_ms + intervals_ms[j];
        policy_on_death(&p, &budget, now_ms, true, jitters[j]);
        assert_int_equal(p.not_before_ms, now_ms);
    }
}

/* In the long run still one a second, and a few more. */
static void policy_hasten__a_few_times__then_the_interval_again(void **state UNUSED)
{
    struct policy p = {0};
    uint64_t now_ms = 5000;
    unsigned n_at_once = 0;

    policy_budget_init(&budget, 1);
    for (unsigned i = 0; i < 20; i++) {
        policy_on_death(&p, &budget, now_ms, true, 0);
        policy_hasten(&p, now_ms);
        n_at_once += p.not_before_ms == now_ms;
        now_ms = p.not_before_ms + 1;
        policy_on_commit(&p);
    }
    assert_int_equal(n_at_once, 1 + POLICY_HASTE_MAX);
    assert_true(now_ms >= 5000 + (20 - n_at_once) * POLICY_SERVICE_INTERVAL_MS);
    policy_on_good_service(&p, &budget);
    policy_on_death(&p, &budget, 50000, true, 0);
    policy_on_death(&p, &budget, 50001, true, 0);
    policy_hasten(&p, 50001);
    assert_int_equal(p.not_before_ms, 50001);
}

static void policy_hasten__dies_before_ready__backs_off_all_the_same(void **state UNUSED)
{
    struct policy p = {0};

    policy_budget_init(&budget, 1);
    policy_on_death(&p, &budget, 5000, false, 0);
    policy_hasten(&p, 5000);
    assert_int_equal(p.not_before_ms, 5000 + POLICY_BACKOFF_MIN_MS);
}

static void policy_on_good_service__all_is_forgiven(void **state UNUSED)
{
    struct policy p = {0};

    policy_budget_init(&budget, 1);
    policy_on_death(&p, &budget, 5000, true, 7);
    policy_on_death(&p, &budget, 6500, false, 7);
    policy_on_good_service(&p, &budget);
    assert_int_equal(budget.left, budget.full);
    policy_on_death(&p, &budget, 6600, true, 7);
    assert_int_equal(p.not_before_ms, 6600);
    policy_on_good_service(&p, &budget);
    policy_on_death(&p, &budget, 6700, false, 0);
    assert_int_equal(p.not_before_ms, 6700 + POLICY_BACKOFF_MIN_MS);
}

static void policy_on_death__in_service_at_time_zero__remembered(void **state UNUSED)
{
    struct policy p = {0};

    policy_budget_init(&budget, 1);
    policy_on_death(&p, &budget, 0, true, 7);
    policy_on_death(&p, &budget, 10, true, 7);
    assert_true(p.not_before_ms >= POLICY_SERVICE_INTERVAL_MS);
}

/* Each delay doubles within its bounds, whatever the jitter, and never leaves 100 ms .. 30 s. */
static void policy_on_death__before_ready__doubles_between_bounds(void **state UNUSED)
{
    const uint32_t jitters[] = {0, 1, 0x7fffffff, UINT32_MAX};

    for (size_t j = 0; j < ARRAY_SIZE(jitters); j++) {
        struct policy p = {0};
        uint64_t half_ms = POLICY_BACKOFF_MIN_MS;

        policy_budget_init(&budget, 100);
        for (unsigned i = 0; i < 80; i++) {
            policy_on_death(&p, &budget, 1000, false, jitters[j]);
            assert_in_range(p.not_before_ms - 1000, half_ms, 2 * half_ms);
            half_ms = MIN(2 * half_ms, (uint64_t)POLICY_BACKOFF_MAX_MS / 2);
        }
        assert_in_range(p.not_before_ms - 1000, POLICY_BACKOFF_MAX_MS / 2, POLICY_BACKOFF_MAX_MS);
    }
}

static void policy_on_death__before_ready__jitter_spreads(void **state UNUSED)
{
    struct policy low = {0}, high = {0};

    policy_budget_init(&budget, 1);
    for (unsigned i = 0; i < 20; i++) {
        policy_on_death(&low, &budget, 1000, false, 0);
        policy_on_death(&high, &budget, 1000, false, UINT32_MAX);
        assert_true(high.not_before_ms - low.not_before_ms >= POLICY_BACKOFF_MIN_MS - 1);
    }
}

static void policy_on_death__one_that_was_ready__breaks_the_row(void **state UNUSED)
{
    struct policy p = {0};

    policy_budget_init(&budget, 1);
    for (unsigned i = 0; i < 6; i++)
        policy_on_death(&p, &budget, 1000, false, UINT32_MAX);
    policy_on_death(&p, &budget, 20000, true, 7);
    assert_int_equal(p.not_before_ms, 20000);
    assert_int_equal(budget.left, budget.full);
    policy_on_death(&p, &budget, 30000, false, 0);
    assert_int_equal(p.not_before_ms, 30000 + POLICY_BACKOFF_MIN_MS);
}

/* A slot that falls over before and after ready in turns is held to a restart a second too. */
static void policy_on_death__early_after_service__keeps_the_interval(void **state UNUSED)
{
    struct policy p = {0};

    policy_budget_init(&budget, 1);
    policy_on_death(&p, &budget, 5000, true, 0);
    policy_on_death(&p, &budget, 5010, false, 0);
    assert_int_equal(p.not_before_ms, 5000 + POLICY_SERVICE_INTERVAL_MS);
    policy_on_death(&p, &budget, 6020, true, 0);
    assert_int_equal(p.not_before_ms, 5000 + 2 * POLICY_SERVICE_INTERVAL_MS);
}

static void policy_budget__early_deaths__spent_and_given_back(void **state UNUSED)
{
    struct policy p = {0};

    policy_budget_init(&budget, 1);
    assert_int_equal(budget.left, POLICY_BUDGET_MIN);
    policy_budget_init(&budget, 100);
    assert_int_equal(budget.left, 100 * POLICY_BUDGET_PER_SLOT);
    policy_budget_init(&budget, 1);
    for (unsigned i = 1; i <= POLICY_BUDGET_MIN; i++) {
        policy_on_death(&p, &budget, 1000, false, 7);
        assert_int_equal(budget.left, POLICY_BUDGET_MIN - i);
    }
    policy_on_death(&p, &budget, 1000, false, 7);
    assert_int_equal(budget.left, 0);
    policy_on_good_service(&p, &budget);
    assert_int_equal(budget.left, POLICY_BUDGET_MIN);
    assert_int_equal(p.early_deaths, 0);
}

static void policy_on_fork_failure__backs_off__spends_no_budget(void **state UNUSED)
{
    struct policy p = {0};

    policy_budget_init(&budget, 1);
    for (unsigned i = 0; i < 40; i++) {
        policy_on_fork_failure(&p, 1000, 0);
        assert_true(p.not_before_ms >= 1000 + POLICY_BACKOFF_MIN_MS);
    }
    assert_int_equal(p.not_before_ms, 1000 + POLICY_BACKOFF_MAX_MS / 2);
    assert_int_equal(budget.left, budget.full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(policy_on_death__first_in_service__at_once),
        cmocka_unit_test(policy_on_death__again_in_service__once_a_second),
        cmocka_unit_test(policy_hasten__a_few_times__then_the_interval_again),
        cmocka_unit_test(policy_hasten__dies_before_ready__backs_off_all_the_same),
        cmocka_unit_test(policy_on_good_service__all_is_forgiven),
        cmocka_unit_test(policy_on_death__in_service_at_time_zero__remembered),
        cmocka_unit_test(policy_on_death__before_ready__doubles_between_bounds),
        cmocka_unit_test(policy_on_death__before_ready__jitter_spreads),
        cmocka_unit_test(policy_on_death__one_that_was_ready__breaks_the_row),
        cmocka_unit_test(policy_on_death__early_after_service__keeps_the_interval),
        cmocka_unit_test(policy_budget__early_deaths__spent_and_given_back),
        cmocka_unit_test(policy_on_fork_failure__backs_off__spends_no_budget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
