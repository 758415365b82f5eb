/*
 * The transition engine among processes that fail at random, on a virtual clock: whatever happens,
 * the promises of the model hold, forks are bounded, and a stop ends.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "base/util.h"
#include "support/tr_sim.h"

static struct tr_sim sim;

static const struct tr_sim_habits healthy = {.boot_ms = 20, .drain_ms = 50, .reap_ms = 5};

static const struct tr_sim_habits hopeless = {.boot_death = 90, .boot_hang = 90, .boot_ms = 9};

#define assert_unbroken(seed)                                                                      \
    do {                                                                                           \
        if (sim.model.broken[0])                                                                   \
            fail_msg("seed %u: %s", (unsigned)(seed), sim.model.broken);                           \
    } while (0)

/* ---- anything may happen ---- */

static struct tr_sim_habits random_habits(struct tr_sim *s)
{
    return (struct tr_sim_habits){
        .fork_failure = tr_sim_random(s, 3) ? 0 : tr_sim_random(s, 40),
        .boot_death = tr_sim_random(s, 2) ? 0 : tr_sim_random(s, 60),
        .boot_hang = tr_sim_random(s, 3) ? 0 : tr_sim_random(s, 30),
        .boot_ms = 1 + tr_sim_random(s, 1200),
        .service_ms = tr_sim_random(s, 2) ? 0 : 1 + tr_sim_random(s, 30000),
        .own_accord = tr_sim_random(s, 100),
        .recycle = tr_sim_random(s, 100),
        .drain_hang = tr_sim_random(s, 50),
        .drain_ms = 1 + tr_sim_random(s, 4000),
        .reap_ms = tr_sim_random(s, 50),
    };
}

static void random_request(struct tr_sim *s)
{
    struct tr_model *m = &s->model;

    switch (tr_sim_random(s, 9)) {
    case 8: /* one that is not wanted in the next set any more is one actor fewer */
        m->others[0] = (uint8_t)tr_sim_random(s, 3);
        tr_model_event(m, &(struct tr_event){.kind = TR_EV_ONE_MORE,
                                             .other = tr_sim_random(s, 2) * (TR_KINDS_MAX - 1)});
        break;
    case 0:
    case 1:
        tr_model_reload(m, 1 + tr_sim_random(s, m->n_procs / 2));
        break;
    case 2:
        tr_model_event(
            m, &(struct tr_event){.kind = TR_EV_SCALE, .workers = tr_sim_random(s, m->n_procs)});
        break;
    case 3:
        tr_sim_kill(s);
        break;
    case 4:
        s->habits = random_habits(s);
        break;
    case 5: /* an event that makes no sense */
        tr_model_kind(m, (enum tr_event_kind)tr_sim_random(s, TR_EV_STOP),
                      tr_sim_random(s, m->n_procs));
        break;
    case 6:
        tr_model_upgrade(m);
        break;
    default:
        break;
    }
}

/* Everybody who has been killed is reaped within reap_ms. */
static void stop_and_check(unsigned seed)
{
    struct tr_model *m = &sim.model;
    const uint64_t quick_ms = (m->companions ? 2 : 1) * TR_QUICK_GRACE_MS + 50;
    uint64_t bound_ms = m->now_ms + m->live.exit_timeout_ms + 1000;

    tr_model_event(m, &(struct tr_event){.kind = TR_EV_STOP, .is_quick = seed % 3 == 0});
    if (seed % 3 == 1) {
        tr_sim_run(&sim, m->now_ms + tr_sim_random(&sim, 3000));
        tr_model_kind(m, TR_EV_STOP, 0);
        bound_ms = MIN(bound_ms, m->now_ms + quick_ms);
    } else if (seed % 3 == 0) {
        bound_ms = m->now_ms + quick_ms;
    }
    tr_sim_run(&sim, bound_ms);
    assert_unbroken(seed);
    if (!m->is_stopped)
        fail_msg("seed %u: not stopped in time", seed);
    assert_int_equal(transition_deadline(&m->engine), UINT64_MAX);
}

static void transition__random_life__promises_hold_and_stop_ends(void **state UNUSED)
{
    uint32_t n[TR_GIVE_UP + 1] = {0};

    for (unsigned seed = 1; seed <= 400; seed++) {
        tr_sim_init_kinds(&sim, 1 + seed % 6, seed % 4, seed % 3, 2 + seed % 29, seed,
                          seed % 9 ? &healthy : &hopeless);
        sim.model.companions = seed % 2 ? 6 : 0;
        sim.model.brief = seed % 5 ? 0 : 1;
        for (unsigned step = 0; step < 100 && !sim.model.is_given_up; step++) {
            random_request(&sim);
            tr_sim_run(&sim, sim.model.now_ms + tr_sim_random(&sim, step % 10 ? 300 : 15000));
            assert_unbroken(seed);
        }
        stop_and_check(seed);
        for (size_t i = 0; i < ARRAY_SIZE(n); i++)
            n[i] += sim.model.n[i];
    }
    /* The test has been everywhere. */
    for (size_t i = TR_SPAWN; i < ARRAY_SIZE(n); i++)
        assert_true(n[i] > 10);
}

/* ---- storms ---- */

enum { SLOTS = 8 };

static struct {
    uint64_t spawned_ms[SLOTS + 1];
    uint64_t run_ms[SLOTS + 1]; /* of the slot's last process; 0 = it has not run */
    bool has_died_in_service[SLOTS + 1];
    uint32_t n_forks[SLOTS + 1];
    uint64_t least_gap_ms; /* between two restarts of a slot, the first of them after service */
} storm;

static void watch_forks(struct tr_sim *s, const struct tr_action *a)
{
    uint64_t now_ms = s->model.now_ms;

    if (a->kind == TR_RUN)
        storm.run_ms[a->slot] = now_ms;
    if (a->kind != TR_SPAWN)
        return;
    storm.n_forks[a->slot]++;
    if (storm.run_ms[a->slot] && now_ms - storm.run_ms[a->slot] >= POLICY_GOOD_SERVICE_MS)
        storm.has_died_in_service[a->slot] = false;
    if (storm.has_died_in_service[a->slot])
        storm.least_gap_ms = MIN(storm.least_gap_ms, now_ms - storm.spawned_ms[a->slot]);
    storm.has_died_in_service[a->slot] |= storm.run_ms[a->slot] != 0;
    storm.run_ms[a->slot] = 0;
    storm.spawned_ms[a->slot] = now_ms;
}

static void storm_init(uint32_t workers, uint64_t seed, const struct tr_sim_habits *habits)
{
    memset(&storm, 0, sizeof(storm));
    storm.least_gap_ms = UINT64_MAX;
    tr_sim_init(&sim, workers, 4 * workers, seed, habits);
    sim.on_action = watch_forks;
}

/* A random process every 50 ms for a minute. */
static void transition__kill_storm__one_restart_a_second_and_soon_well(void **state UNUSED)
{
    for (unsigned seed = 1; seed <= 300; seed++) {
        const uint32_t workers = 1 + seed % SLOTS;

        storm_init(workers, seed, &healthy);
        tr_sim_run(&sim, 1000);
        for (uint64_t ms = 1000; ms < 61000; ms += 50) {
            tr_sim_run(&sim, ms);
            tr_sim_kill(&sim);
        }
        tr_sim_run(&sim, 63000);
        assert_unbroken(seed);
        assert_int_equal(tr_model_count(&sim.model, TR_RUNNING), workers);
        assert_int_equal(sim.model.n[TR_GIVE_UP], 0);
        assert_true(storm.least_gap_ms >= POLICY_SERVICE_INTERVAL_MS);
        for (uint32_t slot = 1; slot <= workers; slot++)
            assert_in_range(storm.n_forks[slot], 2, 63);
    }
}

/* One slot never gets ready, the others serve. */
static void crash_before_ready(struct tr_sim *s, const struct tr_action *a)
{
    struct tr_model_proc *p = &s->model.procs[a->proc];

    watch_forks(s, a);
    if (a->kind == TR_SPAWN) {
        p->event = a->slot == 2 ? TR_EV_EXITED : TR_EV_READY;
        p->event_ms = s->model.now_ms + 1;
    }
}

static void transition__crash_loop_of_one_slot__few_forks_and_survivors_serve(void **state UNUSED)
{
    for (unsigned seed = 1; seed <= 100; seed++) {
        storm_init(3, seed, &healthy);
        sim.on_action = crash_before_ready;
        for (uint32_t i = 0; i < 3; i++)
            sim.model.procs[i].event = i == 1 ? TR_EV_EXITED : TR_EV_READY;
        tr_sim_run(&sim, 30000);
        assert_unbroken(seed);
        assert_in_range(storm.n_forks[2], 6, 11); /* and the one before anybody watched */
        assert_int_equal(tr_model_count(&sim.model, TR_RUNNING), 2);
        assert_true(transition_is_degraded(&sim.model.engine));
        tr_sim_run(&sim, 600000);
        assert_int_equal(sim.model.n[TR_GIVE_UP], 0);
        assert_in_range(storm.n_forks[2], 25, 50);
    }
}

/* Alone, the same slot is given up, but not before its budget is spent. */
static void transition__crash_loop_of_all__gives_up_within_the_budget(void **state UNUSED)
{
    const struct tr_sim_habits never_ready = {.boot_death = 100, .boot_ms = 2};

    for (unsigned seed = 1; seed <= 100; seed++) {
        const uint32_t workers = 1 + seed % SLOTS;

        storm_init(workers, seed, &never_ready);
        tr_sim_run(&sim, 60000);
        assert_unbroken(seed);
        assert_true(sim.model.is_given_up && sim.model.is_stopped);
        assert_in_range(sim.model.n[TR_SPAWN], sim.model.engine.budget.full,
                        sim.model.engine.budget.full + workers);
    }
}

/* All at once. */
static void transition__all_killed_at_once__all_run_within_a_second(void **state UNUSED)
{
    storm_init(SLOTS, 1, &healthy);
    tr_sim_run(&sim, 1000);
    for (uint32_t i = 0; i < SLOTS; i++)
        tr_model_kind(&sim.model, TR_EV_EXITED, i);
    tr_sim_run(&sim, 1100);
    assert_unbroken(1);
    assert_int_equal(tr_model_count(&sim.model, TR_RUNNING), SLOTS);
}

/* A hundred requests a second; the shell keeps one in mind at a time. */
static void transition__reload_storm__coalesces_and_loses_nobody(void **state UNUSED)
{
    bool is_wanted = false;

    storm_init(4, 1, &healthy);
    for (uint64_t ms = 0; ms < 20000; ms += 10) {
        tr_sim_run(&sim, ms);
        is_wanted = true;
        if (is_wanted && transition_can_reload(&sim.model.engine, 4)) {
            tr_model_reload(&sim.model, 4);
            is_wanted = false;
        }
        if (sim.model.is_serving)
            assert_true(tr_model_count(&sim.model, TR_RUNNING) >= 4);
        assert_in_range(tr_model_count(&sim.model, TR_FREE), 0, 12);
    }
    tr_sim_run(&sim, 21000);
    assert_unbroken(1);
    assert_int_equal(sim.model.n[TR_ROLLBACK], 0);
    assert_true(sim.model.n[TR_COMMIT] > 100 && sim.model.n[TR_COMMIT] <= 2000);
    assert_int_equal(tr_model_count(&sim.model, TR_RUNNING), 4);
    assert_int_equal(tr_model_count(&sim.model, TR_FREE), 12);
}

/* Workers that drain all the time are replaced, and nothing is held against them. */
static void transition__recycling_all_the_time__never_counts(void **state UNUSED)
{
    struct tr_sim_habits recycling = healthy;

    recycling.service_ms = 400;
    recycling.own_accord = 100;
    storm_init(4, 1, &recycling);
    tr_sim_run(&sim, 60000);
    assert_unbroken(1);
    assert_true(sim.model.n[TR_SPAWN] > 500);
    for (uint32_t slot = 1; slot <= 4; slot++) {
        assert_int_equal(sim.model.engine.slots[slot].last_restart_ms, 0);
        assert_int_equal(sim.model.engine.slots[slot].early_deaths, 0);
    }
    assert_int_equal(sim.model.engine.budget.left, sim.model.engine.budget.full);
}

/* An idle arbiter sleeps: after the start there is one wake a process, and then none. */
static void transition__idle__one_wake_then_none(void **state UNUSED)
{
    storm_init(SLOTS, 1, &(struct tr_sim_habits){.boot_ms = 0});
    tr_sim_run(&sim, POLICY_GOOD_SERVICE_MS - 1);
    assert_int_equal(transition_deadline(&sim.model.engine), POLICY_GOOD_SERVICE_MS);
    tr_sim_run(&sim, POLICY_GOOD_SERVICE_MS);
    assert_unbroken(1);
    assert_int_equal(transition_deadline(&sim.model.engine), UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transition__random_life__promises_hold_and_stop_ends),
        cmocka_unit_test(transition__kill_storm__one_restart_a_second_and_soon_well),
        cmocka_unit_test(transition__crash_loop_of_one_slot__few_forks_and_survivors_serve),
        cmocka_unit_test(transition__crash_loop_of_all__gives_up_within_the_budget),
        cmocka_unit_test(transition__all_killed_at_once__all_run_within_a_second),
        cmocka_unit_test(transition__reload_storm__coalesces_and_loses_nobody),
        cmocka_unit_test(transition__recycling_all_the_time__never_counts),
        cmocka_unit_test(transition__idle__one_wake_then_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
