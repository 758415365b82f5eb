/*
 * An engine that begins with processes that run already: it goes on with what makes sense, and
 * refuses what no engine could have left. That it then keeps all promises is tried by the storms.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
#include "arbiter/transition.h"
#include "base/util.h"

enum { RECORDS = 8 };

static struct transition engine;
static const struct tr_set live = {
    .revision = 5, .workers = 2, .boot_timeout_ms = 1000, .exit_timeout_ms = 3000};

static struct tr_inherited process(uint32_t proc, uint32_t slot, enum tr_phase phase,
                                   enum tr_role role)
{
    struct tr_inherited a = {.index = proc, .role = role};

    a.proc = (struct tr_proc){.phase = phase, .slot = slot, .revision = 5, .exit_timeout_ms = 3000};
    if (phase == TR_STARTING || phase == TR_DRAINING)
        a.proc.deadline_ms = 1500;
    return a;
}

static int inherit(const struct tr_inherited *procs, size_t n)
{
    return transition_inherit(&engine, &live, RECORDS, 1, procs, n);
}

static struct tr_action next(uint64_t now_ms)
{
    return transition_next(&engine, now_ms);
}

static void transition_inherit__all_run__nothing_to_do_and_has_served(void **state UNUSED)
{
    const struct tr_inherited procs[] = {process(0, 1, TR_RUNNING, TR_LIVE),
                                         process(5, 2, TR_RUNNING, TR_LIVE)};
    struct tr_inherited back;

    assert_int_equal(inherit(procs, 2), 0);
    assert_int_equal(next(100).kind, TR_NOTHING);
    assert_int_equal(transition_count(&engine, TR_RUNNING), 2);
    assert_int_equal(transition_count(&engine, TR_FREE), RECORDS - 2);
    assert_true(transition_can_reload(&engine, 2));
    assert_false(transition_is_degraded(&engine));
    transition_describe(&engine, 5, &back);
    assert_int_equal(back.role, TR_LIVE);
    assert_int_equal(back.proc.phase, TR_RUNNING);
    assert_int_equal(back.proc.slot, 2);
    assert_int_equal(back.proc.exit_timeout_ms, 3000);
    transition_describe(&engine, 1, &back);
    assert_int_equal(back.proc.phase, TR_FREE);
}

static void transition_inherit__reload_follows__new_ones_in_free_records(void **state UNUSED)
{
    const struct tr_inherited procs[] = {process(0, 1, TR_RUNNING, TR_LIVE),
                                         process(2, 2, TR_RUNNING, TR_LIVE)};
    const struct tr_event reload = {
        .kind = TR_EV_RELOAD,
        .set = {.revision = 6, .workers = 2, .boot_timeout_ms = 1000, .exit_timeout_ms = 3000}};
    static const struct {
        enum tr_action_kind kind;
        uint32_t proc;
    } expected[] = {{TR_RUN, 1}, {TR_RUN, 3}, {TR_COMMIT, 0}, {TR_DRAIN, 0}, {TR_DRAIN, 2}};

    assert_int_equal(inherit(procs, 2), 0);
    transition_event(&engine, 100, &reload);
    for (uint32_t slot = 1; slot <= 2; slot++) {
        const struct tr_action a = next(100);

        assert_int_equal(a.kind, TR_SPAWN);
        assert_int_equal(a.proc, 2 * slot - 1);
        assert_int_equal(a.slot, slot);
        assert_int_equal(a.revision, 6);
    }
    assert_int_equal(next(100).kind, TR_NOTHING);
    for (uint32_t proc = 1; proc <= 3; proc += 2)
        transition_event(&engine, 110, &(struct tr_event){.kind = TR_EV_READY, .proc = proc});
    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        const struct tr_action a = next(110);

        assert_int_equal(a.kind, expected[i].kind);
        if (a.kind != TR_COMMIT)
            assert_int_equal(a.proc, expected[i].proc);
    }
    assert_int_equal(next(110).kind, TR_NOTHING);
}

static void transition_inherit__slot_is_empty__filled_at_once(void **state UNUSED)
{
    const struct tr_inherited procs[] = {process(1, 2, TR_RUNNING, TR_LIVE)};
    struct tr_action a;

    assert_int_equal(inherit(procs, 1), 0);
    a = next(100);
    assert_int_equal(a.kind, TR_SPAWN);
    assert_int_equal(a.slot, 1);
    assert_int_equal(a.proc, 0);
}

static void transition_inherit__others_deadlines__are_kept(void **state UNUSED)
{
    const struct tr_inherited procs[] = {
        process(0, 1, TR_RUNNING, TR_LIVE),
        process(1, 2, TR_STARTING, TR_LIVE),
        process(2, 7, TR_DRAINING, TR_NO_ROLE),
        process(3, 7, TR_KILLED, TR_NO_ROLE),
    };
    struct tr_action a;

    assert_int_equal(inherit(procs, ARRAY_SIZE(procs)), 0);
    assert_int_equal(next(1499).kind, TR_NOTHING);
    assert_int_equal(transition_deadline(&engine), 1500);
    a = next(1500);
    assert_int_equal(a.kind, TR_KILL);
    assert_int_equal(a.why, TR_KILL_BOOT_TIMEOUT);
    a = next(1500);
    assert_int_equal(a.kind, TR_KILL);
    assert_int_equal(a.proc, 2);
    assert_int_equal(a.why, TR_KILL_EXIT_TIMEOUT);
}

/* A set that was being prepared, or an heir nobody wants any more. */
static void transition_inherit__without_a_role__ended(void **state UNUSED)
{
    const struct tr_inherited procs[] = {
        process(0, 1, TR_RUNNING, TR_LIVE), process(1, 2, TR_RUNNING, TR_LIVE),
        process(2, 1, TR_STARTING, TR_NO_ROLE), process(3, 2, TR_RUNNING, TR_NO_ROLE)};
    struct tr_action a;

    assert_int_equal(inherit(procs, ARRAY_SIZE(procs)), 0);
    a = next(100);
    assert_int_equal(a.kind, TR_KILL);
    assert_int_equal(a.proc, 2);
    a = next(100);
    assert_int_equal(a.kind, TR_DRAIN);
    assert_int_equal(a.proc, 3);
    assert_int_equal(next(100).kind, TR_NOTHING);
}

static void transition_inherit__heir__takes_over_when_ready(void **state UNUSED)
{
    struct tr_inherited procs[] = {process(0, 1, TR_RUNNING, TR_LIVE),
                                   process(1, 2, TR_RUNNING, TR_LIVE),
                                   process(2, 2, TR_STARTING, TR_HEIR)};
    struct tr_action a;

    procs[1].proc.wants_heir = true;
    assert_int_equal(inherit(procs, ARRAY_SIZE(procs)), 0);
    assert_int_equal(next(100).kind, TR_NOTHING);
    transition_event(&engine, 110, &(struct tr_event){.kind = TR_EV_READY, .proc = 2});
    a = next(110);
    assert_int_equal(a.kind, TR_RUN);
    assert_int_equal(a.proc, 2);
    a = next(110);
    assert_int_equal(a.kind, TR_DRAIN);
    assert_int_equal(a.proc, 1);
}

static void transition_inherit__impossible__refused(void **state UNUSED)
{
    /* Each is wrong in one thing, or goes badly with the first. */
    struct tr_inherited cases[] = {
        process(RECORDS, 2, TR_RUNNING, TR_LIVE), /* no such proc */
        process(0, 2, TR_RUNNING, TR_LIVE), /* two processes in one */
        process(1, 1, TR_RUNNING, TR_LIVE), /* two in one slot */
        process(1, 0, TR_RUNNING, TR_NO_ROLE),
        process(1, TR_ALL_SLOTS_MAX + 1, TR_RUNNING, TR_NO_ROLE),
        process(1, tr_slot(0, 1), TR_RUNNING, TR_LIVE), /* no actor of another kind is wanted */
        process(1, 3, TR_RUNNING, TR_LIVE), /* nobody wants slot 3 */
        process(1, 2, TR_FREE, TR_NO_ROLE),
        process(1, 2, TR_PHASES, TR_NO_ROLE),
        process(1, 2, TR_DRAINING, TR_LIVE), /* who leaves holds nothing */
        process(1, 2, TR_KILLED, TR_LIVE),
        process(1, 2, TR_READY, TR_NEXT), /* no reload is under way */
        process(1, 2, TR_RUNNING, TR_HEIR),
        process(1, 2, TR_STARTING, TR_HEIR), /* of nobody */
        process(1, 2, TR_STARTING, TR_LIVE), /* without a deadline, below */
        process(1, 2, TR_DRAINING, TR_NO_ROLE), /* without a deadline, below */
        process(1, 2, TR_READY, TR_LIVE), /* with one, below */
        process(1, 2, TR_KILLED, TR_NO_ROLE), /* with one, below */
        process(1, 2, TR_RUNNING, TR_LIVE), /* of no revision, below */
        process(1, 2, TR_STARTING, TR_LIVE), /* wants an heir, below */
    };
    const size_t n = ARRAY_SIZE(cases);

    cases[n - 6].proc.deadline_ms = cases[n - 5].proc.deadline_ms = 0;
    cases[n - 4].proc.deadline_ms = cases[n - 3].proc.deadline_ms = 9;
    cases[n - 2].proc.revision = 0;
    cases[n - 1].proc.wants_heir = true;
    for (size_t i = 0; i < n; i++) {
        const struct tr_inherited procs[] = {process(0, 1, TR_RUNNING, TR_LIVE), cases[i]};

        if (inherit(procs, 2) != -EINVAL)
            fail_msg("case %zu", i);
    }
}

static void transition_inherit__set_that_cannot_be__refused(void **state UNUSED)
{
    const struct tr_set cases[] = {
        {.revision = 0, .workers = 1},
        {.revision = 1, .workers = 0},
        {.revision = 1, .workers = RECORDS + 1},
        {.revision = 1, .workers = TR_SLOTS_MAX + 1},
        {.revision = 1, .workers = 1, .others = {TR_KIND_SLOTS_MAX + 1}},
        {.revision = 1, .workers = 1, .others = {[3] = RECORDS}},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        if (transition_inherit(&engine, &cases[i], RECORDS, 1, NULL, 0) != -EINVAL)
            fail_msg("case %zu", i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(transition_inherit__all_run__nothing_to_do_and_has_served),
        cmocka_unit_test(transition_inherit__reload_follows__new_ones_in_free_records),
        cmocka_unit_test(transition_inherit__slot_is_empty__filled_at_once),
        cmocka_unit_test(transition_inherit__others_deadlines__are_kept),
        cmocka_unit_test(transition_inherit__without_a_role__ended),
        cmocka_unit_test(transition_inherit__heir__takes_over_when_ready),
        cmocka_unit_test(transition_inherit__impossible__refused),
        cmocka_unit_test(transition_inherit__set_that_cannot_be__refused),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
