/*
 * The transition engine, one scenario a table: what happens at what time, and which actions must
 * follow, exactly. The model of tests/support checks the promises that hold everywhere.
 * An action reads spawn:RECORD@SLOT, run:RECORD, drain:RECORD, quit:RECORD (quick),
 * kill:RECORD/WHY, commit:REVISION, rollback:REVISION/WHY.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/util.h"
#include "support/tr_model.h"

/* The clock goes to at_ms, with a tick at each deadline on the way; then the event happens. */
struct step {
    uint64_t at_ms;
    const char *event; /* a word and perhaps a number; "" = only time passes */
    const char *actions; /* those of the way included */
};

static struct tr_model model;

static void feed(struct tr_model *m, const char *text)
{
    static const struct {
        const char *word;
        struct tr_event event;
    } words[] = {
        {"ready", {.kind = TR_EV_READY}},
        {"exit", {.kind = TR_EV_EXITED}},
        {"draining", {.kind = TR_EV_DRAINS}},
        {"told", {.kind = TR_EV_TOLD}},
        {"missed", {.kind = TR_EV_EXITED, .is_missed = true}},
        {"recycle", {.kind = TR_EV_WANTS_HEIR}},
        {"fork-fails", {.kind = TR_EV_FORK_FAILED}},
        {"scale", {.kind = TR_EV_SCALE}},
        {"more", {.kind = TR_EV_ONE_MORE}},
        {"reload", {.kind = TR_EV_RELOAD}},
        {"stop", {.kind = TR_EV_STOP}},
        {"tick", {.kind = TR_EV_TICK}},
        {"quick", {.kind = TR_EV_STOP, .is_quick = true}},
    };
    size_t len = strcspn(text, " ");
    uint32_t n = (uint32_t)strtoul(text + len, NULL, 10);

    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        struct tr_event ev = words[i].event;

        if (strncmp(words[i].word, text, len) || words[i].word[len])
            continue;
        if (ev.kind == TR_EV_SCALE)
            ev.workers = n;
        else if (ev.kind == TR_EV_ONE_MORE)
            ev.other = n;
        else if (ev.kind == TR_EV_RELOAD)
            ev.set = tr_model_set(m, n);
        else
            ev.proc = n;
        tr_model_event(m, &ev);
        return;
    }
    fail_msg("no such event: %s", text);
}

static void take_step(struct tr_model *m, const struct step *s)
{
    m->trace_len = 0;
    m->trace[0] = '\0';
    tr_model_advance(m, s->at_ms);
    if (s->event[0])
        feed(m, s->event);
    if (m->broken[0])
        fail_msg("%s: %s", s->event, m->broken);
    if (strcmp(m->trace, s->actions))
        fail_msg("at %llu ms, after '%s': '%s', not '%s'", (unsigned long long)s->at_ms, s->event,
                 m->trace, s->actions);
}

static void play(const struct step *steps, size_t n)
{
    for (size_t i = 0; i < n; i++)
        take_step(&model, &steps[i]);
}

#define PLAY(...)                                                                                  \
    do {                                                                                           \
        static const struct step steps_[] = {__VA_ARGS__};                                         \
        play(steps_, ARRAY_SIZE(steps_));                                                          \
    } while (0)

static void begin(uint32_t workers, uint32_t n_procs)
{
    tr_model_init(&model, workers, n_procs, 1, NULL, NULL);
    assert_string_equal(model.broken, "");
}

/* Two workers in eight records, both running since 10 ms. */
static void begin_serving(void)
{
    begin(2, 8);
    assert_string_equal(model.trace, "spawn:0@1 spawn:1@2");
    PLAY({10, "ready 0", "run:0"}, {10, "ready 1", "run:1 serving"});
}

/* ---- start ---- */

static void transition__first_set__serves_once_when_all_run(void **state UNUSED)
{
    begin(3, 8);
    assert_string_equal(model.trace, "spawn:0@1 spawn:1@2 spawn:2@3");
    PLAY({5, "ready 2", "run:2"}, {6, "ready 0", "run:0"});
    assert_false(transition_is_degraded(&model.engine));
    PLAY({7, "ready 1", "run:1 serving"}, {8, "exit 1", "spawn:1@2"}, {9, "ready 1", "run:1"});
    assert_int_equal(model.n[TR_SERVING], 1);
}

static void transition__never_ready__killed_at_boot_timeout_and_backed_off(void **state UNUSED)
{
    begin(1, 8);
    assert_int_equal(transition_deadline(&model.engine), 1000);
    PLAY({999, "", ""}, {1000, "", "kill:0/boot"});
    assert_false(transition_is_planned(&model.engine, 0));
    assert_true(transition_is_degraded(&model.engine));
    PLAY({1099, "exit 0", ""}, {1200, "", "spawn:0@1"}, {1210, "ready 0", "run:0 serving"});
}

static void transition__boot_timeout_not_reaped_yet__slot_uses_another_record(void **state UNUSED)
{
    begin(1, 8);
    PLAY({1000, "", "kill:0/boot"}, {1200, "", "spawn:1@1"}, {1300, "ready 1", "run:1 serving"},
         {1301, "exit 0", ""}, {1302, "ready 0", ""});
}

static void transition__death_before_ready__backs_off(void **state UNUSED)
{
    begin(2, 8);
    PLAY({5, "ready 1", "run:1"}, {10, "exit 0", ""}, {109, "", ""}, {210, "", "spawn:0@1"},
         {220, "exit 0", ""}, {419, "", ""}, {620, "", "spawn:0@1"},
         {630, "ready 0", "run:0 serving"});
}

static void transition__fork_fails__retried_without_budget(void **state UNUSED)
{
    begin(1, 8);
    for (uint32_t i = 1; i <= 50; i++) {
        assert_int_equal(model.n[TR_SPAWN], i);
        tr_model_kind(&model, TR_EV_FORK_FAILED, 0);
        assert_true(transition_is_degraded(&model.engine));
        tr_model_advance(&model, transition_deadline(&model.engine));
    }
    assert_int_equal(model.engine.budget.left, model.engine.budget.full);
    tr_model_kind(&model, TR_EV_READY, 0);
    assert_false(transition_is_degraded(&model.engine));
    assert_int_equal(model.n[TR_SERVING], 1);
    assert_string_equal(model.broken, "");
}

static void transition__all_die_before_ready__gives_up_and_stops(void **state UNUSED)
{
    begin(2, 8);
    while (!model.is_given_up && !model.broken[0]) {
        for (uint32_t i = 0; i < 2; i++)
            if (model.procs[i].phase == TR_STARTING)
                tr_model_kind(&model, TR_EV_EXITED, i);
        tr_model_advance(&model, model.now_ms + 10);
    }
    assert_string_equal(model.broken, "");
    assert_true(model.is_stopped);
    assert_in_range(model.n[TR_SPAWN], POLICY_BUDGET_MIN, POLICY_BUDGET_MIN + 1);
    assert_int_equal(transition_deadline(&model.engine), UINT64_MAX);
}

/* Boot timeouts: the killed ones are still to be reaped when it gives up. */
static void transition__none_is_ever_ready__gives_up_then_reaps(void **state UNUSED)
{
    begin(1, 64);
    for (unsigned i = 0; i < 400 && !model.is_given_up; i++)
        tr_model_advance(&model, model.now_ms + 1000);
    assert_true(model.is_given_up && !model.is_stopped);
    assert_int_equal(model.n[TR_SPAWN], POLICY_BUDGET_MIN);
    for (uint32_t i = 0; i < POLICY_BUDGET_MIN; i++)
        tr_model_kind(&model, TR_EV_EXITED, i);
    assert_string_equal(model.broken, "");
    assert_true(model.is_stopped);
}

static void transition__budget_spent_but_one_serves__goes_on_degraded(void **state UNUSED)
{
    begin(2, 8);
    PLAY({5, "ready 1", "run:1"});
    for (unsigned i = 0; i < 3 * POLICY_BUDGET_MIN; i++) {
        while (model.procs[0].phase != TR_STARTING)
            tr_model_advance(&model, model.now_ms + 100);
        tr_model_kind(&model, TR_EV_EXITED, 0);
        assert_true(transition_is_degraded(&model.engine));
    }
    /* The survivor is killed, twice at once: it has not failed to start, so there is hope. */
    tr_model_kind(&model, TR_EV_EXITED, 1);
    assert_int_equal(model.n[TR_GIVE_UP], 0);
    tr_model_kind(&model, TR_EV_READY, 0);
    tr_model_kind(&model, TR_EV_EXITED, 0);
    assert_int_equal(model.n[TR_GIVE_UP], 0);
    assert_string_equal(model.broken, "");
}

/* ---- in service ---- */

static void transition__deaths_in_service__at_once_then_one_a_second(void **state UNUSED)
{
    begin_serving();
    PLAY({500, "exit 0", "spawn:0@1"}, {510, "ready 0", "run:0"}, {520, "exit 0", ""},
         {1499, "", ""}, {1750, "", "spawn:0@1"}, {1755, "ready 0", "run:0"}, {1760, "exit 0", ""},
         {2499, "", ""}, {3000, "", "spawn:0@1"}, {3010, "ready 0", "run:0"},
         {5000, "exit 0", "spawn:0@1"}, {5001, "ready 0", "run:0"});
    assert_false(transition_is_degraded(&model.engine));
}

static void transition__ten_seconds_in_service__forgiven_with_one_wake(void **state UNUSED)
{
    begin_serving();
    PLAY({500, "exit 0", "spawn:0@1"}, {510, "ready 0", "run:0"});
    assert_int_equal(transition_deadline(&model.engine), 10 + POLICY_GOOD_SERVICE_MS);
    PLAY({510 + POLICY_GOOD_SERVICE_MS, "", ""});
    assert_int_equal(transition_deadline(&model.engine), UINT64_MAX);
    PLAY({10600, "exit 0", "spawn:0@1"}, {10601, "ready 0", "run:0"}, {10700, "exit 0", ""},
         {11599, "", ""}, {11850, "", "spawn:0@1"});
}

static void transition__drains_of_its_own_accord__replaced_at_once_unpunished(void **state UNUSED)
{
    begin_serving();
    PLAY({20, "draining 0", "spawn:2@1"});
    assert_true(transition_is_planned(&model.engine, 0));
    assert_false(transition_is_degraded(&model.engine));
    PLAY({21, "draining 0", ""}, {22, "ready 2", "run:2"}, {23, "draining 2", "spawn:3@1"},
         {24, "exit 0", ""}, {25, "ready 3", "run:3"}, {26, "exit 3", "spawn:0@1"},
         {27, "ready 0", "run:0"}, {3522, "", ""}, {3523, "", "kill:2/exit"}, {3600, "exit 2", ""});
}

static void transition__recycle__heir_serves_before_the_old_one_drains(void **state UNUSED)
{
    begin_serving(); /* records 0 and 1 run since 10 and 11 ms at the latest */
    PLAY({2000, "recycle 0", "spawn:2@1"});
    assert_false(transition_is_degraded(&model.engine));
    assert_false(transition_is_planned(&model.engine, 0));
    assert_true(transition_is_ending(&model.engine, 0) && !transition_is_ending(&model.engine, 1));
    PLAY({2001, "ready 2", "run:2 drain:0"});
    assert_true(transition_is_ending(&model.engine, 0));
    assert_true(transition_is_planned(&model.engine, 0));
    PLAY({2002, "exit 0", ""}, {2003, "recycle 0", ""}, {2004, "recycle 9", ""});
}

static void transition__drains_and_is_told_later__has_its_time_from_then_on(void **state UNUSED)
{
    begin_serving();
    PLAY({100, "scale 1", "drain:1"}, {2000, "told 0", ""}, {2100, "told 1", ""});
    assert_int_equal(transition_deadline(&model.engine), 2100 + 3000 + TR_KILL_GRACE_MS);
    PLAY({5599, "", ""}, {5600, "", "kill:1/exit"}, {5600, "told 1", ""}, {5700, "exit 1", ""});
    /* A stop's own deadline is nobody's to move. */
    PLAY({6000, "stop", "drain:0"}, {7000, "told 0", ""}, {9499, "", ""},
         {9500, "", "kill:0/exit"});
}

/* Connections that only its successor can serve. */
static void transition__missed__replaced_at_once_a_few_times(void **state UNUSED)
{
    begin(1, 8);
    PLAY({10, "ready 0", "run:0 serving"}, {500, "missed 0", "spawn:0@1"},
         {510, "ready 0", "run:0"});
    PLAY({600, "missed 0", "spawn:0@1"}, {610, "ready 0", "run:0"});
    PLAY({700, "missed 0", "spawn:0@1"}, {710, "ready 0", "run:0"});
    PLAY({800, "missed 0", "spawn:0@1"}, {810, "ready 0", "run:0"});
    PLAY({1000, "missed 0", ""}, {1799, "", ""});
    assert_in_range(transition_deadline(&model.engine), 1800, 1800 + POLICY_SERVICE_JITTER_MS);
    PLAY({2100, "", "spawn:0@1"}, {2101, "missed 0", ""}); /* it was not ready */
}

static void transition__recycle_of_all__one_heir_at_a_time(void **state UNUSED)
{
    begin_serving();
    PLAY({2000, "recycle 0", "spawn:2@1"}, {2001, "recycle 1", ""},
         {2005, "ready 2", "run:2 drain:0"}, {2020, "exit 0", "spawn:0@2"},
         {2021, "ready 0", "run:0 drain:1"});
}

static void transition__recycle_after_a_moment__waits_for_a_second_of_service(void **state UNUSED)
{
    begin(1, 8);
    PLAY({10, "ready 0", "run:0 serving"}, {20, "recycle 0", ""}, {1009, "", ""},
         {1010, "", "spawn:1@1"});
}

static void transition__old_one_dies_before_its_heir_serves__heir_has_the_slot(void **state UNUSED)
{
    begin_serving();
    PLAY({2000, "recycle 0", "spawn:2@1"}, {2001, "exit 0", ""}, {2002, "ready 2", "run:2"});
    assert_int_equal(transition_count(&model.engine, TR_RUNNING), 2);
}

static void transition__heir_dies__old_one_serves_on_and_another_is_tried_later(void **state UNUSED)
{
    begin_serving();
    PLAY({2000, "recycle 0", "spawn:2@1"}, {2001, "exit 2", ""});
    assert_int_equal(transition_count(&model.engine, TR_RUNNING), 2);
    PLAY({2300, "", "spawn:2@1"}, {2301, "ready 2", "run:2 drain:0"});
}

static void transition__heir_hangs__killed_and_old_one_serves_on(void **state UNUSED)
{
    begin_serving();
    PLAY({2000, "recycle 0", "spawn:2@1"}, {2999, "", ""}, {3000, "", "kill:2/boot"},
         {3001, "exit 2", ""});
    assert_int_equal(transition_count(&model.engine, TR_RUNNING), 2);
}

static void transition__reload_or_fewer_workers__heir_is_not_wanted(void **state UNUSED)
{
    begin_serving();
    PLAY({2000, "recycle 1", "spawn:2@2"}, {2001, "scale 1", "drain:1 kill:2/stop"});
    begin_serving();
    PLAY({2000, "recycle 0", "spawn:2@1"}, {2001, "reload 2", "spawn:3@1 spawn:4@2"},
         {2002, "ready 3", ""},
         {2003, "ready 4", "run:3 run:4 commit:2 drain:0 drain:1 kill:2/stop"});
}

static void transition__recycle_during_a_reload__left_to_the_reload(void **state UNUSED)
{
    begin_serving();
    PLAY({2000, "reload 2", "spawn:2@1 spawn:3@2"}, {2001, "recycle 0", ""},
         {2002, "exit 2", "kill:3/rollback rollback:2/died spawn:2@1"});
}

static void transition__drains_before_ready__backs_off(void **state UNUSED)
{
    begin(1, 8);
    PLAY({20, "draining 0", ""}, {119, "", ""}, {220, "exit 0", "spawn:1@1"});
    assert_int_equal(model.engine.budget.left, model.engine.budget.full);
}

static void transition__no_free_record__waits_for_an_end(void **state UNUSED)
{
    begin(2, 3);
    PLAY({10, "ready 0", "run:0"}, {10, "ready 1", "run:1 serving"},
         {20, "draining 0", "spawn:2@1"}, {30, "ready 2", "run:2"}, {40, "draining 2", ""});
    assert_int_equal(transition_deadline(&model.engine), 20 + 3000 + TR_KILL_GRACE_MS);
    assert_true(transition_is_degraded(&model.engine));
    PLAY({50, "exit 0", "spawn:0@1"});
}

/* An out-of-memory killer or an operator, not a worker that cannot start. */
static void transition__killed_before_ready__as_a_death_in_service(void **state UNUSED)
{
    const struct tr_event killed = {.kind = TR_EV_EXITED, .was_killed = true};

    begin(1, 8);
    for (unsigned i = 0; i < 10 * POLICY_BUDGET_MIN; i++) {
        tr_model_event(&model, &killed);
        if (tr_model_count(&model, TR_STARTING) == 0)
            tr_model_advance(&model, transition_deadline(&model.engine));
        assert_int_equal(tr_model_count(&model, TR_STARTING), 1);
    }
    assert_in_range(model.now_ms, (10 * POLICY_BUDGET_MIN - 1) * POLICY_SERVICE_INTERVAL_MS,
                    10 * POLICY_BUDGET_MIN *
                        (POLICY_SERVICE_INTERVAL_MS + POLICY_SERVICE_JITTER_MS));
    assert_int_equal(model.n[TR_GIVE_UP], 0);
    assert_string_equal(model.broken, "");
}

/* ---- scale ---- */

static void transition__scale__up_spawns_down_drains_the_highest(void **state UNUSED)
{
    begin_serving();
    PLAY({20, "scale 4", "spawn:2@3 spawn:3@4"});
    assert_false(transition_is_degraded(&model.engine));
    PLAY({21, "ready 2", "run:2"}, {22, "scale 1", "drain:1 drain:2 kill:3/stop"},
         {23, "scale 0", ""}, {24, "scale 1", ""}, {25, "exit 3", ""}, {26, "exit 1", ""},
         {3522, "", "kill:2/exit"}, {3523, "exit 2", ""});
}

static void transition__scale_beyond_the_records__as_many_as_fit(void **state UNUSED)
{
    begin_serving();
    PLAY({20, "scale 500", "spawn:2@3 spawn:3@4 spawn:4@5 spawn:5@6 spawn:6@7 spawn:7@8"});
    assert_false(transition_can_reload(&model.engine, 1));
}

static void transition__slot_comes_back__without_history(void **state UNUSED)
{
    begin_serving();
    PLAY({20, "exit 1", "spawn:1@2"}, {21, "exit 1", ""}, {22, "scale 1", ""},
         {23, "scale 2", "spawn:1@2"}, {24, "ready 1", "run:1"}, {25, "exit 1", "spawn:1@2"});
}

/* ---- reload ---- */

static void transition__reload__all_ready_run_commit_drain(void **state UNUSED)
{
    begin_serving();
    PLAY({100, "reload 3", "spawn:2@1 spawn:3@2 spawn:4@3"}, {101, "reload 2", ""},
         {110, "ready 3", ""}, {120, "ready 2", ""});
    assert_false(transition_can_reload(&model.engine, 1));
    assert_false(transition_is_degraded(&model.engine));
    PLAY({130, "ready 4", "run:2 run:3 run:4 commit:2 drain:0 drain:1"}, {140, "exit 0", ""},
         {3629, "", ""}, {3630, "", "kill:1/exit"}, {3631, "exit 1", ""},
         {3632, "exit 4", "spawn:0@3"});
    assert_int_equal(model.n[TR_SERVING], 1);
}

static void transition__reload_to_fewer__surplus_slots_drain(void **state UNUSED)
{
    begin_serving();
    PLAY({100, "reload 1", "spawn:2@1"}, {110, "ready 2", "run:2 commit:2 drain:0 drain:1"},
         {111, "exit 0", ""}, {112, "exit 1", ""}, {113, "scale 2", "spawn:0@2"});
}

/* Whatever fails before the last of `next` is ready: `live` and its history are as they were. */
static void check_rollback(const char *event, uint64_t at_ms, const char *actions)
{
    struct policy slots[3];
    struct step failure = {at_ms, event, actions};

    begin_serving();
    PLAY({20, "exit 1", "spawn:1@2"}, {21, "ready 1", "run:1"});
    memcpy(slots, model.engine.slots, sizeof(slots));
    PLAY({100, "reload 3", "spawn:2@1 spawn:3@2 spawn:4@3"}, {110, "ready 3", ""},
         {120, "ready 2", ""});
    take_step(&model, &failure);
    assert_memory_equal(slots, model.engine.slots, sizeof(slots));
    assert_int_equal(model.engine.live.revision, 1);
    assert_int_equal(transition_count(&model.engine, TR_RUNNING), 2);
    assert_int_equal(model.engine.budget.left, model.engine.budget.full);
    assert_int_equal(model.n[TR_DRAIN], 0);
    assert_true(transition_can_reload(&model.engine, 2));
}

static void transition__reload__death_before_ready__rollback(void **state UNUSED)
{
    check_rollback("exit 4", 200, "kill:2/rollback kill:3/rollback rollback:2/died");
}

static void transition__reload__death_of_a_ready_one__rollback(void **state UNUSED)
{
    check_rollback("exit 2", 200, "kill:3/rollback kill:4/rollback rollback:2/died");
}

static void transition__reload__boot_timeout__rollback(void **state UNUSED)
{
    check_rollback("", 1100, "kill:4/boot kill:2/rollback kill:3/rollback rollback:2/boot");
}

static void transition__reload__fork_failure__rollback(void **state UNUSED)
{
    check_rollback("fork-fails 4", 200, "kill:2/rollback kill:3/rollback rollback:2/fork");
}

static void transition__reload__drains_before_ready__rollback(void **state UNUSED)
{
    check_rollback("draining 4", 200, "kill:2/rollback kill:3/rollback rollback:2/died");
}

static void transition__reload__death_just_after_commit__ordinary_death(void **state UNUSED)
{
    begin_serving();
    PLAY({100, "reload 2", "spawn:2@1 spawn:3@2"}, {110, "ready 2", ""},
         {120, "ready 3", "run:2 run:3 commit:2 drain:0 drain:1"}, {121, "exit 2", "spawn:2@1"},
         {122, "ready 2", "run:2"});
    assert_int_equal(model.n[TR_ROLLBACK], 0);
}

/* The engine may be fed between two of its actions: the way is forward, the slot is refilled. */
static void transition__reload__death_between_run_and_commit__commits(void **state UNUSED)
{
    const struct tr_event ready = {.kind = TR_EV_READY, .proc = 3};
    struct tr_event died = {.kind = TR_EV_EXITED};
    struct transition *t = &model.engine;

    begin_serving();
    PLAY({90, "exit 0", "spawn:0@1"}, {91, "ready 0", "run:0"},
         {100, "reload 2", "spawn:2@1 spawn:3@2"}, {110, "ready 2", ""});
    transition_event(t, 120, &ready);
    for (died.proc = 2; died.proc <= 3; died.proc++) {
        assert_int_equal(transition_next(t, 120).kind, TR_RUN);
        transition_event(t, 120, &died);
    }
    assert_int_equal(transition_next(t, 120).kind, TR_COMMIT);
    assert_int_equal(transition_next(t, 120).kind, TR_DRAIN);
    assert_int_equal(transition_next(t, 120).kind, TR_DRAIN);
    assert_int_equal(transition_next(t, 120).slot, 2); /* slot 1 has used its second up */
    assert_int_equal(transition_next(t, 120).kind, TR_NOTHING);
    assert_in_range(transition_deadline(t), 1090, 1090 + POLICY_SERVICE_JITTER_MS);
}

static void transition__reload__two_failures_at_once__first_is_named(void **state UNUSED)
{
    const struct tr_event fork = {.kind = TR_EV_FORK_FAILED, .proc = 3};
    const struct tr_event died = {.kind = TR_EV_EXITED, .proc = 2};
    struct tr_action a;

    begin_serving();
    PLAY({100, "reload 2", "spawn:2@1 spawn:3@2"});
    transition_event(&model.engine, 120, &fork);
    transition_event(&model.engine, 120, &died);
    a = transition_next(&model.engine, 120);
    assert_int_equal(a.kind, TR_ROLLBACK);
    assert_int_equal(a.failure, TR_FAILURE_FORK);
    assert_int_equal(a.proc, 3);
    assert_int_equal(a.slot, 2);
}

/* A new configuration begins anew, but for the second between two restarts. */
static void transition__reload__commits__history_ends_but_for_the_interval(void **state UNUSED)
{
    begin(3, 12);
    PLAY({5, "ready 0", "run:0"}, {6, "ready 2", "run:2"}, {10, "exit 1", ""},
         {20, "exit 0", "spawn:0@1"}, {21, "exit 2", "spawn:1@3"}, {22, "ready 0", "run:0"},
         {23, "ready 1", "run:1"}, {24, "exit 1", ""}, {25, "reload 2", "spawn:1@1 spawn:2@2"},
         {30, "ready 1", ""}, {31, "ready 2", "run:1 run:2 commit:2 drain:0 serving"});
    assert_int_equal(model.engine.slots[2].early_deaths, 0);
    assert_int_equal(model.engine.budget.full, MAX(2 * POLICY_BUDGET_PER_SLOT, POLICY_BUDGET_MIN));
    assert_int_equal(model.engine.budget.left, model.engine.budget.full);
    PLAY({40, "scale 3", "spawn:3@3"}, {41, "ready 3", "run:3"}, {50, "exit 2", "spawn:2@2"},
         {51, "ready 2", "run:2"}, {60, "exit 1", ""}, {1019, "", ""}, {1270, "", "spawn:1@1"});
}

static void transition__reload__live_death__refilled_in_live_then_replaced(void **state UNUSED)
{
    begin_serving();
    PLAY({100, "reload 2", "spawn:2@1 spawn:3@2"}, {110, "exit 0", "spawn:0@1"});
    assert_int_equal(model.procs[0].revision, 1);
    PLAY({120, "ready 2", ""}, {130, "ready 3", "run:2 run:3 commit:2 kill:0/stop drain:1"});
}

static void transition__reload__slot_in_back_off__filled_by_commit(void **state UNUSED)
{
    begin_serving();
    PLAY({100, "exit 0", "spawn:0@1"}, {110, "exit 0", ""},
         {120, "reload 2", "spawn:0@1 spawn:2@2"}, {130, "ready 0", ""},
         {140, "ready 2", "run:0 run:2 commit:2 drain:1"}, {3000, "", ""});
}

static void transition__reload_during_a_start_that_fails__possible_in_back_off(void **state UNUSED)
{
    begin(2, 8);
    assert_false(transition_can_reload(&model.engine, 2));
    PLAY({5, "ready 1", "run:1"});
    assert_false(transition_can_reload(&model.engine, 2));
    PLAY({10, "exit 0", ""});
    assert_true(transition_can_reload(&model.engine, 2));
    PLAY({20, "reload 1", "spawn:0@1"}, {30, "ready 0", "run:0 commit:2 drain:1 serving"});
}

static void transition__reload_without_room__ignored(void **state UNUSED)
{
    begin(2, 4);
    PLAY({10, "ready 0", "run:0"}, {10, "ready 1", "run:1 serving"});
    assert_true(transition_can_reload(&model.engine, 2));
    assert_false(transition_can_reload(&model.engine, 3));
    PLAY({20, "reload 3", ""}, {30, "draining 0", "spawn:2@1"}, {31, "reload 2", ""});
    assert_false(transition_can_reload(&model.engine, 2));
    PLAY({40, "exit 0", ""}, {50, "exit 2", ""});
    assert_false(transition_can_reload(&model.engine, 3)); /* one of the three free is slot 1's */
    PLAY({60, "reload 2", "spawn:0@1 spawn:2@2"});
}

/* Nobody has to send a tick for time to count. */
static void transition_next__time_passes_between_actions__counts(void **state UNUSED)
{
    struct tr_action a;

    begin(2, 8);
    assert_int_equal(transition_next(&model.engine, 999).kind, TR_NOTHING);
    a = transition_next(&model.engine, 1000);
    assert_int_equal(a.kind, TR_KILL);
    assert_int_equal(transition_next(&model.engine, 5000).kind, TR_KILL);
    assert_int_equal(transition_next(&model.engine, 5000).kind, TR_SPAWN);
    assert_int_equal(transition_next(&model.engine, 5000).kind, TR_NOTHING);
    assert_true(transition_deadline(&model.engine) > 5000);
}

static void transition__scale_during_reload__of_next(void **state UNUSED)
{
    begin_serving();
    PLAY({100, "reload 2", "spawn:2@1 spawn:3@2"}, {110, "scale 3", "spawn:4@3"},
         {120, "ready 2", ""}, {121, "ready 3", ""},
         {122, "scale 2",
          "kill:4/stop run:2 run:3 "
          "commit:2 drain:0 drain:1"},
         {130, "exit 4", ""});
}

static void transition__scale_during_reload__leaves_room_for_live(void **state UNUSED)
{
    begin(2, 6);
    PLAY({10, "ready 0", "run:0"}, {10, "ready 1", "run:1 serving"},
         {20, "reload 2", "spawn:2@1 spawn:3@2"}, {30, "scale 9", "spawn:4@3 spawn:5@4"},
         {40, "ready 2", ""}, {40, "ready 3", ""}, {40, "ready 4", ""},
         {40, "ready 5", "run:2 run:3 run:4 run:5 commit:2 drain:0 drain:1"});
}

/* ---- actors of other kinds ---- */

/* A worker and an actor of the first other kind, whose slots begin at 1025, in eight records. */
static void begin_with_other(void)
{
    tr_model_init_kinds(&model, 1, 1, 0, 8, 1, NULL, NULL);
    assert_string_equal(model.broken, "");
    assert_string_equal(model.trace, "spawn:0@1 spawn:1@1025");
}

static void transition__other_kind__serves_when_it_runs_too(void **state UNUSED)
{
    begin_with_other();
    PLAY({5, "ready 0", "run:0"}, {9, "ready 1", "run:1 serving"}, {20, "exit 1", "spawn:1@1025"},
         {25, "ready 1", "run:1"}, {30, "exit 1", ""}, {1019, "", ""}, {1270, "", "spawn:1@1025"});
    assert_true(transition_is_settled(&model.engine)); /* as far as workers are concerned */
    assert_true(transition_is_degraded(&model.engine));
}

static void transition__other_kind__reload_replaces_it(void **state UNUSED)
{
    begin_with_other();
    PLAY({5, "ready 0", "run:0"}, {9, "ready 1", "run:1 serving"},
         {20, "reload 1", "spawn:2@1 spawn:3@1025"}, {21, "ready 2", ""},
         {22, "ready 3", "run:2 run:3 commit:2 drain:0 drain:1"}, {23, "exit 1", ""});
}

static void transition__other_kind__its_failure_rolls_a_reload_back(void **state UNUSED)
{
    begin_with_other();
    PLAY({5, "ready 0", "run:0"}, {9, "ready 1", "run:1 serving"},
         {20, "reload 1", "spawn:2@1 spawn:3@1025"}, {21, "ready 2", ""},
         {22, "exit 3", "kill:2/rollback rollback:2/died"}, {23, "exit 2", ""});
}

static void transition__other_kind__is_not_scaled(void **state UNUSED)
{
    begin_with_other();
    PLAY({5, "ready 0", "run:0"}, {9, "ready 1", "run:1 serving"}, {10, "scale 2", "spawn:2@2"},
         {11, "ready 2", "run:2"}, {12, "scale 1", "drain:2"}, {13, "exit 2", ""},
         {14, "scale 9", "spawn:2@2 spawn:3@3 spawn:4@4 spawn:5@5 spawn:6@6 spawn:7@7"});
}

/* One worker with one companion, of kind 0, both of revision 2. */
static void begin_with_companion(uint32_t n_procs)
{
    begin(1, n_procs);
    PLAY({5, "ready 0", "run:0 serving"});
    model.companions = 1;
    PLAY({20, "reload 1", "spawn:1@1 spawn:2@1025"}, {21, "ready 1", ""},
         {22, "ready 2", "run:1 run:2 commit:2 drain:0"}, {23, "exit 0", ""});
}

static void transition__companions__scaled_with_the_workers(void **state UNUSED)
{
    begin_with_companion(10);
    PLAY({30, "scale 3", "spawn:0@2 spawn:3@3 spawn:4@1026 spawn:5@1027"}, {31, "ready 0", "run:0"},
         {32, "ready 3", "run:3"}, {33, "ready 4", "run:4"}, {34, "ready 5", "run:5"},
         {40, "scale 2", "drain:3 drain:5"}, {41, "exit 5", ""}, {42, "exit 3", ""},
         {50, "exit 4", "spawn:3@1026"});
}

/* They are there when a worker has been killed, and for what it has left. */
static void transition__companions__outlive_a_worker_that_hangs(void **state UNUSED)
{
    begin_with_companion(10);
    PLAY({30, "reload 1", "spawn:0@1 spawn:3@1025"}, {31, "ready 0", ""},
         {40, "ready 3", "run:0 run:3 commit:3 drain:1 drain:2"},
         {40 + TR_MODEL_EXIT_MS + TR_KILL_GRACE_MS, "", "kill:1/exit"},
         {40 + TR_MODEL_EXIT_MS + TR_KILL_GRACE_MS + TR_COMPANION_MS - 1, "", ""},
         {40 + TR_MODEL_EXIT_MS + TR_KILL_GRACE_MS + TR_COMPANION_MS, "", "kill:2/exit"});
}

/* One worker with one actor of a kind that has nothing to give away. */
static void transition__brief__not_waited_for(void **state UNUSED)
{
    const uint64_t end = 40 + TR_BRIEF_MS + TR_KILL_GRACE_MS;

    begin_with_other();
    PLAY({5, "ready 0", "run:0"}, {9, "ready 1", "run:1 serving"});
    model.brief = 1;
    PLAY({20, "reload 1", "spawn:2@1 spawn:3@1025"}, {21, "ready 2", ""},
         {22, "ready 3", "run:2 run:3 commit:2 drain:0 drain:1"}, {23, "exit 0", ""},
         {24, "exit 1", ""}, {30, "reload 1", "spawn:0@1 spawn:1@1025"}, {31, "ready 0", ""},
         {40, "ready 1", "run:0 run:1 commit:3 drain:2 drain:3"}, {end - 1, "", ""},
         {end, "", "kill:3/exit"});
}

static void transition__companions__leave_room_for_each_other(void **state UNUSED)
{
    begin_with_companion(7);
    PLAY({30, "scale 9", "spawn:0@2 spawn:3@3 spawn:4@1026 spawn:5@1027"});
    assert_int_equal(transition_workers(&model.engine), 3);
    assert_int_equal(transition_others(&model.engine, 0), 3);
}

static void transition__companions_of_many__as_many_as_a_kind_has_slots(void **state UNUSED)
{
    begin_with_companion(300);
    tr_model_event(&model, &(struct tr_event){.kind = TR_EV_SCALE, .workers = 1000});
    assert_string_equal(model.broken, "");
    assert_int_equal(transition_workers(&model.engine), 300 - TR_KIND_SLOTS_MAX);
    assert_int_equal(transition_others(&model.engine, 0), TR_KIND_SLOTS_MAX);
}

static void transition__companions_scaled_during_a_reload__of_next(void **state UNUSED)
{
    begin_with_companion(10);
    PLAY({30, "reload 1", "spawn:0@1 spawn:3@1025"}, {31, "scale 2", "spawn:4@2 spawn:5@1026"},
         {32, "ready 0", ""}, {33, "ready 3", ""},
         {34, "scale 1", "kill:4/stop kill:5/stop run:0 run:3 commit:3 drain:1 drain:2"});
}

static void transition__one_more__is_wanted_from_then_on(void **state UNUSED)
{
    begin_with_other();
    PLAY({5, "ready 0", "run:0"}, {9, "ready 1", "run:1 serving"}, {10, "more 0", "spawn:2@1026"},
         {11, "more 2", "spawn:3@1153"}, {12, "ready 2", "run:2"}, {13, "exit 2", "spawn:2@1026"},
         {14, "more 16", ""});
    assert_int_equal(transition_others(&model.engine, 0), 2);
    assert_true(transition_is_slot_running(&model.engine, tr_slot(0, 1)));
    assert_false(transition_is_slot_running(&model.engine, tr_slot(0, 2)));
}

static void transition__one_more_during_a_reload__outlives_its_rollback(void **state UNUSED)
{
    begin_with_other();
    PLAY({5, "ready 0", "run:0"}, {9, "ready 1", "run:1 serving"},
         {20, "reload 1", "spawn:2@1 spawn:3@1025"}, {21, "more 0", "spawn:4@1026 spawn:5@1026"},
         {22, "ready 4", "run:4"},
         {23, "exit 5", "kill:2/rollback kill:3/rollback rollback:2/died"}, {24, "exit 2", ""});
    assert_int_equal(transition_others(&model.engine, 0), 2);
}

/* The program has said that it needs this actor: its start has failed. */
static void transition__other_kind_never_ready__start_gives_up(void **state UNUSED)
{
    begin_with_other();
    PLAY({5, "ready 0", "run:0"});
    while (!model.is_given_up && !model.broken[0] && model.now_ms < 600000) {
        if (model.procs[1].phase == TR_STARTING)
            tr_model_kind(&model, TR_EV_EXITED, 1);
        tr_model_advance(&model, model.now_ms + 10);
    }
    assert_string_equal(model.broken, "");
    assert_true(model.is_given_up);
    assert_int_equal(model.n[TR_SPAWN], 1 + POLICY_BUDGET_MIN);
    tr_model_kind(&model, TR_EV_EXITED, 0);
    assert_true(model.is_stopped);
}

/* Another one that runs well is no hope for it. */
static void transition__one_of_two_kinds_never_ready__start_gives_up_as_soon(void **state UNUSED)
{
    tr_model_init_kinds(&model, 1, 1, 1, 8, 1, NULL, NULL);
    PLAY({5, "ready 0", "run:0"}, {6, "ready 2", "run:2"});
    while (!model.is_given_up && !model.broken[0] && model.now_ms < 600000) {
        if (model.procs[1].phase == TR_STARTING)
            tr_model_kind(&model, TR_EV_EXITED, 1);
        tr_model_advance(&model, model.now_ms + 10);
    }
    assert_string_equal(model.broken, "");
    assert_true(model.is_given_up);
    assert_true(model.now_ms > POLICY_GOOD_SERVICE_MS); /* the other one was forgiven */
    assert_int_equal(model.n[TR_SPAWN], 2 + POLICY_BUDGET_MIN);
}

/* What serves already goes on without it. */
static void transition__other_kind_dies_later__server_goes_on(void **state UNUSED)
{
    begin_with_other();
    PLAY({5, "ready 0", "run:0"}, {9, "ready 1", "run:1 serving"}, {10, "exit 1", "spawn:1@1025"});
    while (model.n[TR_SPAWN] < 5 * POLICY_BUDGET_MIN && !model.broken[0]) {
        if (model.procs[1].phase == TR_STARTING)
            tr_model_kind(&model, TR_EV_EXITED, 1);
        tr_model_advance(&model, model.now_ms + 100);
    }
    assert_string_equal(model.broken, "");
    assert_int_equal(model.n[TR_GIVE_UP], 0);
    assert_true(transition_is_degraded(&model.engine));
}

/* An actor that runs is no hope for clients. */
static void transition__no_worker_starts__another_kind_does_not_hold_the_end_up(void **state UNUSED)
{
    begin_with_other();
    PLAY({5, "ready 1", "run:1"});
    while (!model.is_given_up && !model.broken[0] && model.now_ms < 600000) {
        if (model.procs[0].phase == TR_STARTING)
            tr_model_kind(&model, TR_EV_EXITED, 0);
        tr_model_advance(&model, model.now_ms + 10);
    }
    assert_string_equal(model.broken, "");
    assert_true(model.is_given_up);
}

/* ---- stop ---- */

static void transition__stop__drains_then_kills_then_stopped(void **state UNUSED)
{
    begin_serving();
    PLAY({100, "stop", "drain:0 drain:1"}, {110, "exit 0", ""}, {3599, "", ""},
         {3600, "", "kill:1/exit"}, {3610, "exit 1", "stopped"}, {9000, "stop", ""});
    assert_int_equal(transition_deadline(&model.engine), UINT64_MAX);
}

static void transition__second_stop__quick(void **state UNUSED)
{
    begin_serving();
    PLAY({100, "stop", "drain:0 drain:1"}, {110, "stop", "quit:0 quit:1"}, {120, "quick", ""},
         {125, "exit 0", ""}, {259, "", ""}, {260, "", "kill:1/stop"}, {261, "exit 1", "stopped"});
}

static void transition__quick_stop__kills_after_the_grace(void **state UNUSED)
{
    begin_serving();
    PLAY({100, "quick", "quit:0 quit:1"}, {101, "exit 0", ""}, {102, "exit 1", "stopped"});
    begin_serving();
    PLAY({100, "quick", "quit:0 quit:1"}, {250, "", "kill:0/stop kill:1/stop"}, {251, "exit 0", ""},
         {251, "exit 1", "stopped"});
}

static void transition__stop_before_ready__killed(void **state UNUSED)
{
    begin(2, 8);
    PLAY({5, "ready 0", "run:0"}, {10, "stop", "drain:0 kill:1/stop"}, {11, "ready 1", ""},
         {12, "exit 1", ""}, {13, "exit 0", "stopped"});
    assert_int_equal(model.n[TR_SERVING], 0);
}

static void transition__stop_in_back_off__ends_at_once(void **state UNUSED)
{
    begin(1, 8);
    PLAY({5, "exit 0", ""}, {10, "stop", "stopped"}, {60000, "", ""});
}

static void transition__stop_during_reload__rolls_back_and_ends(void **state UNUSED)
{
    begin_serving();
    PLAY({100, "reload 2", "spawn:2@1 spawn:3@2"}, {110, "ready 2", ""},
         {120, "stop", "drain:0 drain:1 kill:2/stop kill:3/stop rollback:2/stopped"},
         {130, "exit 2", ""}, {130, "exit 3", ""}, {131, "exit 0", ""}, {132, "exit 1", "stopped"});
}

static void transition__stop_with_an_old_revision__nearer_deadline_counts(void **state UNUSED)
{
    begin_serving();
    PLAY({100, "reload 1", "spawn:2@1"}, {110, "ready 2", "run:2 commit:2 drain:0 drain:1"},
         {1000, "stop", "drain:2"}, {3610, "", "kill:0/exit kill:1/exit"},
         {4500, "", "kill:2/exit"}, {4501, "exit 0", ""}, {4502, "exit 1", ""},
         {4503, "exit 2", "stopped"});
    begin_serving();
    PLAY({100, "reload 1", "spawn:2@1"}, {110, "ready 2", "run:2 commit:2 drain:0 drain:1"},
         {1000, "quick", "quit:0 quit:1 quit:2"},
         {1150, "", "kill:0/stop kill:1/stop kill:2/stop"});
}

/* The one of the old configuration may drain for an hour, but not when the new one has to stop. */
static void transition__stop_after_reload_to_a_shorter_timeout__shorter_counts(void **state UNUSED)
{
    struct tr_event ev = {.kind = TR_EV_RELOAD};

    begin_serving();
    model.now_ms = 50;
    ev.set = tr_model_set(&model, 1);
    ev.set.exit_timeout_ms = 100;
    tr_model_event(&model, &ev);
    PLAY({110, "ready 2", "run:2 commit:2 drain:0 drain:1"}, {1000, "stop", "drain:2"},
         {1599, "", ""}, {1600, "", "kill:0/exit kill:1/exit kill:2/exit"});
}

static void transition__after_stop__nothing_starts(void **state UNUSED)
{
    begin_serving();
    PLAY({100, "stop", "drain:0 drain:1"}, {101, "reload 2", ""}, {102, "scale 5", ""},
         {103, "draining 0", ""}, {104, "exit 0", ""}, {105, "exit 1", "stopped"},
         {106, "scale 2", ""}, {107, "reload 2", ""});
    assert_false(transition_can_reload(&model.engine, 1));
}

static void transition_event__nonsense__ignored(void **state UNUSED)
{
    begin_serving();
    PLAY({20, "ready 0", ""}, {20, "ready 7", ""}, {20, "exit 7", ""}, {20, "fork-fails 0", ""},
         {20, "draining 5", ""}, {20, "exit 8", ""}, {20, "ready 4000000000", ""},
         {20, "tick", ""});
    tr_model_event(&model, &(struct tr_event){.kind = TR_EV_ONE_MORE, .other = TR_KINDS_MAX});
    tr_model_event(&model, &(struct tr_event){.kind = (enum tr_event_kind)99});
    tr_model_event(&model, &(struct tr_event){.kind = TR_EV_RELOAD});
    tr_model_event(&model, &(struct tr_event){.kind = TR_EV_RELOAD, .set = model.live});
    assert_string_equal(model.broken, "");
    assert_int_equal(model.next.revision, 0);
}

/* Every slot and every proc in use: start, reload, and all of it stops. */
static void transition__full_size__comes_to_rest(void **state UNUSED)
{
    static struct transition t;
    enum { N = TR_SLOTS_MAX + 2 * TR_KIND_SLOTS_MAX };
    struct tr_set set = {1,
                         TR_SLOTS_MAX,
                         1000,
                         3000,
                         {[0] = TR_KIND_SLOTS_MAX, [TR_KINDS_MAX - 1] = TR_KIND_SLOTS_MAX},
                         0,
                         0};
    uint32_t n[TR_GIVE_UP + 1] = {0};
    struct tr_action a;

    transition_init(&t, &set, TR_RECORDS_MAX, 1);
    for (uint32_t revision = 1; revision <= 3; revision++) {
        while ((a = transition_next(&t, revision)).kind != TR_NOTHING)
            n[a.kind]++;
        for (uint32_t i = 0; i < TR_RECORDS_MAX; i++) {
            transition_event(&t, revision, &(struct tr_event){.kind = TR_EV_READY, .proc = i});
            while ((a = transition_next(&t, revision)).kind != TR_NOTHING)
                n[a.kind]++;
        }
        assert_int_equal(transition_count(&t, TR_RUNNING), N);
        assert_int_equal(transition_count(&t, TR_DRAINING), (revision - 1) * N);
        set.revision = revision + 1;
        transition_event(&t, revision, &(struct tr_event){.kind = TR_EV_RELOAD, .set = set});
    }
    assert_int_equal(n[TR_SPAWN], 3 * N);
    assert_int_equal(n[TR_COMMIT], 2);
    transition_event(&t, 4, &(struct tr_event){.kind = TR_EV_STOP, .is_quick = true});
    while ((a = transition_next(&t, 4)).kind != TR_NOTHING)
        n[a.kind]++;
    for (uint32_t i = 0; i < TR_RECORDS_MAX; i++)
        transition_event(&t, 5, &(struct tr_event){.kind = TR_EV_EXITED, .proc = i});
    assert_int_equal(transition_next(&t, 5).kind, TR_STOPPED);
    assert_int_equal(transition_next(&t, 5).kind, TR_NOTHING);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transition__first_set__serves_once_when_all_run),
        cmocka_unit_test(transition__never_ready__killed_at_boot_timeout_and_backed_off),
        cmocka_unit_test(transition__boot_timeout_not_reaped_yet__slot_uses_another_record),
        cmocka_unit_test(transition__death_before_ready__backs_off),
        cmocka_unit_test(transition__fork_fails__retried_without_budget),
        cmocka_unit_test(transition__all_die_before_ready__gives_up_and_stops),
        cmocka_unit_test(transition__none_is_ever_ready__gives_up_then_reaps),
        cmocka_unit_test(transition__budget_spent_but_one_serves__goes_on_degraded),
        cmocka_unit_test(transition__deaths_in_service__at_once_then_one_a_second),
        cmocka_unit_test(transition__ten_seconds_in_service__forgiven_with_one_wake),
        cmocka_unit_test(transition__drains_of_its_own_accord__replaced_at_once_unpunished),
        cmocka_unit_test(transition__recycle__heir_serves_before_the_old_one_drains),
        cmocka_unit_test(transition__drains_and_is_told_later__has_its_time_from_then_on),
        cmocka_unit_test(transition__missed__replaced_at_once_a_few_times),
        cmocka_unit_test(transition__recycle_of_all__one_heir_at_a_time),
        cmocka_unit_test(transition__recycle_after_a_moment__waits_for_a_second_of_service),
        cmocka_unit_test(transition__old_one_dies_before_its_heir_serves__heir_has_the_slot),
        cmocka_unit_test(transition__heir_dies__old_one_serves_on_and_another_is_tried_later),
        cmocka_unit_test(transition__heir_hangs__killed_and_old_one_serves_on),
        cmocka_unit_test(transition__reload_or_fewer_workers__heir_is_not_wanted),
        cmocka_unit_test(transition__recycle_during_a_reload__left_to_the_reload),
        cmocka_unit_test(transition__drains_before_ready__backs_off),
        cmocka_unit_test(transition__no_free_record__waits_for_an_end),
        cmocka_unit_test(transition__killed_before_ready__as_a_death_in_service),
        cmocka_unit_test(transition__scale__up_spawns_down_drains_the_highest),
        cmocka_unit_test(transition__scale_beyond_the_records__as_many_as_fit),
        cmocka_unit_test(transition__slot_comes_back__without_history),
        cmocka_unit_test(transition__reload__all_ready_run_commit_drain),
        cmocka_unit_test(transition__reload_to_fewer__surplus_slots_drain),
        cmocka_unit_test(transition__reload__death_before_ready__rollback),
        cmocka_unit_test(transition__reload__death_of_a_ready_one__rollback),
        cmocka_unit_test(transition__reload__boot_timeout__rollback),
        cmocka_unit_test(transition__reload__fork_failure__rollback),
        cmocka_unit_test(transition__reload__drains_before_ready__rollback),
        cmocka_unit_test(transition__reload__death_just_after_commit__ordinary_death),
        cmocka_unit_test(transition__reload__death_between_run_and_commit__commits),
        cmocka_unit_test(transition__reload__two_failures_at_once__first_is_named),
        cmocka_unit_test(transition__reload__commits__history_ends_but_for_the_interval),
        cmocka_unit_test(transition__reload__live_death__refilled_in_live_then_replaced),
        cmocka_unit_test(transition__reload__slot_in_back_off__filled_by_commit),
        cmocka_unit_test(transition__reload_during_a_start_that_fails__possible_in_back_off),
        cmocka_unit_test(transition__reload_without_room__ignored),
        cmocka_unit_test(transition_next__time_passes_between_actions__counts),
        cmocka_unit_test(transition__scale_during_reload__of_next),
        cmocka_unit_test(transition__scale_during_reload__leaves_room_for_live),
        cmocka_unit_test(transition__other_kind__serves_when_it_runs_too),
        cmocka_unit_test(transition__other_kind__reload_replaces_it),
        cmocka_unit_test(transition__other_kind__its_failure_rolls_a_reload_back),
        cmocka_unit_test(transition__other_kind__is_not_scaled),
        cmocka_unit_test(transition__companions__scaled_with_the_workers),
        cmocka_unit_test(transition__companions__outlive_a_worker_that_hangs),
        cmocka_unit_test(transition__brief__not_waited_for),
        cmocka_unit_test(transition__companions__leave_room_for_each_other),
        cmocka_unit_test(transition__companions_of_many__as_many_as_a_kind_has_slots),
        cmocka_unit_test(transition__companions_scaled_during_a_reload__of_next),
        cmocka_unit_test(transition__one_more__is_wanted_from_then_on),
        cmocka_unit_test(transition__one_more_during_a_reload__outlives_its_rollback),
        cmocka_unit_test(transition__other_kind_never_ready__start_gives_up),
        cmocka_unit_test(transition__one_of_two_kinds_never_ready__start_gives_up_as_soon),
        cmocka_unit_test(transition__other_kind_dies_later__server_goes_on),
        cmocka_unit_test(transition__no_worker_starts__another_kind_does_not_hold_the_end_up),
        cmocka_unit_test(transition__stop__drains_then_kills_then_stopped),
        cmocka_unit_test(transition__second_stop__quick),
        cmocka_unit_test(transition__quick_stop__kills_after_the_grace),
        cmocka_unit_test(transition__stop_before_ready__killed),
        cmocka_unit_test(transition__stop_in_back_off__ends_at_once),
        cmocka_unit_test(transition__stop_during_reload__rolls_back_and_ends),
        cmocka_unit_test(transition__stop_with_an_old_revision__nearer_deadline_counts),
        cmocka_unit_test(transition__stop_after_reload_to_a_shorter_timeout__shorter_counts),
        cmocka_unit_test(transition__after_stop__nothing_starts),
        cmocka_unit_test(transition_event__nonsense__ignored),
        cmocka_unit_test(transition__full_size__comes_to_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
