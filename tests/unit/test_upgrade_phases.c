/*
 * The table of phases in src/arbiter/upgrade.md against the code: each cell is one test case, with
 * an arbiter that was built from a state. Run from the top of the tree.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "arbiter/upgrade_state.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"
#include "support/inherited.h"
#include "support/tables.h"

static const char *const phases[] = {
    [UPGRADE_NONE] = "none",         [UPGRADE_CHECKING] = "checking",
    [UPGRADE_DUE] = "due",           [UPGRADE_FINDING] = "finding",
    [UPGRADE_CHANGING] = "changing", [UPGRADE_RETURNING] = "returning",
};

/* The sample with one address, and @bind as a second one; without a control socket. */
static void build(struct arbiter *a, const char *bind)
{
    json_t *o = json_load_file("tests/fuzz/fuzz_upgrade.in/whole", 0, NULL);
    char why[ARBITER_WHY_LEN] = "", both[64], *text;
    struct upgrade_state s;

    snprintf(both, sizeof(both), "127.0.0.1:0%s%s", *bind ? "\n" : "", bind);
    json_array_append_new(
        json_object_get(o, "values"),
        json_pack("{s:s,s:i,s:s}", "key", "arbiter.control", "line", 2, "text", ""));
    text = json_dumps(o, JSON_COMPACT);
    assert_int_equal(
        upgrade_state_decode(text, strlen(text), INHERITED_PROGRAM, INHERITED_PID, &s, why), 0);
    if (inherited_unpack(&s, a, why) != 0)
        fail_msg("%s", why);
    assert_int_equal(config_set(a->live->config, CONFIG_BIND, both,
                                a->live->config->origin[CONFIG_BIND], NULL, 0),
                     0);
    upgrade_state_fini(&s);
    free(text);
    json_decref(o);
}

/* A program at the path, and a dry run of it that has said @output. */
static void check_ends(struct arbiter *a, const char *output)
{
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    assert_true(write(ends[1], output, strlen(output)) >= 0);
    close(ends[1]);
    a->upgrade.checker_fd = ends[0];
    upgrade_ops.on_child_exit(a, 0);
}

/* What the engine says is not done here. */
static void drain_engine(struct arbiter *a)
{
    while (transition_next(a->engine, clock_mono_ms()).kind != TR_NOTHING)
        ;
    assert_false(transition_is_due(a->engine));
}

static void inherit_without_users(struct arbiter *a)
{
    a->privileges.kind = PRIVILEGES_UNKNOWN;
    upgrade_resume(a, NULL);
}

/* What it has said is there, unless it has been killed first. */
static void finder_ends(struct arbiter *a, bool is_killed)
{
    int status;

    if (is_killed) {
        kill(a->upgrade.checker, SIGKILL);
        fds_close(&a->upgrade.checker_fd);
        a->upgrade.checker_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    assert_int_equal(waitpid(a->upgrade.checker, &status, 0), a->upgrade.checker);
    upgrade_ops.on_child_exit(a, status);
}

static void bring_to(struct arbiter *a, const char *phase)
{
    if (strcmp(phase, "none") == 0)
        return;
    if (strcmp(phase, "finding") == 0) {
        inherit_without_users(a);
    } else if (strcmp(phase, "changing") == 0 || strcmp(phase, "returning") == 0) {
        upgrade_resume(a, NULL);
        drain_engine(a);
    } else
        change_begin(a, &upgrade_ops);
    if (strcmp(phase, "returning") == 0)
        a->change.active->on_rollback(a, TR_FAILURE_DIED, "a new worker died before it was ready");
    if (strcmp(phase, "checking") == 0 || strcmp(phase, "due") == 0)
        a->upgrade.phase = UPGRADE_CHECKING;
    if (strcmp(phase, "due") == 0) {
        char good[128];

        snprintf(good, sizeof(good),
                 INHERITED_PROGRAM ARBITER_CAN_INHERIT "1\n" ARBITER_WRITES_STATE "%d\n",
                 STATE_VERSION);
        check_ends(a, good);
    }
    assert_string_equal(phases[a->upgrade.phase], phase);
}

static void happen(struct arbiter *a, const char *event)
{
    char good[128];

    snprintf(good, sizeof(good),
             INHERITED_PROGRAM ARBITER_CAN_INHERIT "1\n" ARBITER_WRITES_STATE "%d\n",
             STATE_VERSION);
    if (strcmp(event, "start") == 0) {
        free(a->upgrade.path);
        a->upgrade.path = strdup("/bin/true");
        upgrade_ops.start(a);
    } else if (strcmp(event, "a good dry run") == 0) {
        check_ends(a, good);
    } else if (strcmp(event, "a bad dry run") == 0) {
        check_ends(a, "nonsense\n");
    } else if (strcmp(event, "the exec fails") == 0) {
        a->upgrade.exec(a, true); /* of no program */
    } else if (strcmp(event, "inherits") == 0 || strcmp(event, "cannot begin workers") == 0) {
        upgrade_resume(a, NULL);
    } else if (strcmp(event, "inherits no users") == 0) {
        inherit_without_users(a);
    } else if (strcmp(event, "users are found") == 0 || strcmp(event, "no users") == 0) {
        finder_ends(a, event[0] == 'n');
    } else if (strcmp(event, "comes back") == 0) {
        upgrade_resume(a, "a new worker died");
    } else if (strcmp(event, "commit") == 0) {
        a->change.active->on_commit(a);
    } else if (strcmp(event, "a worker fails") == 0) {
        a->change.active->on_rollback(a, TR_FAILURE_DIED, "a new worker died before it was ready");
    } else if (strcmp(event, "rollback by a stop") == 0) {
        a->change.active->on_rollback(a, TR_FAILURE_STOPPED, "stopping");
    } else {
        assert_string_equal(event, "stop");
        upgrade_ops.cancel(a);
    }
}

static void upgrade_phases__each_cell__as_the_code(void **state UNUSED)
{
    struct table t;

    table_read("src/arbiter/upgrade.md", "start", &t);
    assert_int_equal(t.n_rows, 1 + ARRAY_SIZE(phases));
    for (size_t row = 1; row < t.n_rows; row++) {
        for (size_t column = 1; column < t.n_columns; column++) {
            const char *phase = t.cells[row][0], *event = t.cells[0][column];
            const char *expected = t.cells[row][column];
            const bool is_hindered = strcmp(event, "cannot begin workers") == 0;
            struct arbiter a;

            if (!expected[0])
                continue; /* cannot happen in this phase */
            build(&a, is_hindered ? "unix:/nonexistent/socket" : "");
            bring_to(&a, phase);
            happen(&a, event);
            if (strcmp(phases[a.upgrade.phase], expected) != 0)
                fail_msg("%s, %s: %s, and not %s", phase, event, phases[a.upgrade.phase], expected);
            assert_true((a.change.active == NULL) == (a.upgrade.phase == UPGRADE_NONE) ||
                        strcmp(event, "start") == 0);
            assert_true((a.upgrade.exec != NULL) ==
                        (a.upgrade.phase == UPGRADE_DUE || a.upgrade.phase == UPGRADE_RETURNING));
            inherited_fini(&a);
        }
    }
}

/* The timer that leaves the loop and a stop come in one turn of it. */
static void upgrade_step__called_off_while_the_loop_is_left__goes_on(void **state UNUSED)
{
    struct arbiter a;

    build(&a, "");
    bring_to(&a, "due");
    happen(&a, "stop");
    assert_true(upgrade_step(&a));
    inherited_fini(&a);
}

/* The old image would know nothing of the stop. */
static void upgrade_rollback__during_stop_delay__new_image_stays(void **state UNUSED)
{
    struct arbiter a;

    build(&a, "");
    bring_to(&a, "changing");
    a.is_leaving = true;
    happen(&a, "a worker fails");
    assert_int_equal(a.upgrade.phase, UPGRADE_NONE);
    assert_null(a.upgrade.exec);
    inherited_fini(&a);
}

/* What is due in the engine does not travel, however long it has been. */
static void upgrade_exec__way_back_and_the_engine_is_due__waits(void **state UNUSED)
{
    struct arbiter a;

    build(&a, "");
    bring_to(&a, "returning");
    engine_post(&a, &(struct tr_event){.kind = TR_EV_TICK});
    assert_true(transition_is_due(a.engine));
    a.upgrade.exec(&a, false);
    assert_int_equal(a.upgrade.phase, UPGRADE_RETURNING);
    assert_non_null(a.upgrade.exec);
    assert_true(ev_is_active(&a.upgrade.timer));
    drain_engine(&a);
    a.upgrade.exec(&a, false); /* of no program */
    assert_int_equal(a.upgrade.phase, UPGRADE_NONE);
    inherited_fini(&a);
}

static char heard[ARBITER_WHY_LEN];

static void hear(struct asker *asker UNUSED, json_t *id UNUSED, json_t *body)
{
    json_t *error = json_object_get(body, "error");

    snprintf(heard, sizeof(heard), "%s", json_string_value(json_object_get(error, "message")));
}

static void exec_and_hear(bool is_engine_due, const char *expected)
{
    struct asker asker = {.give = hear};
    struct arbiter a;

    build(&a, "");
    bring_to(&a, "due");
    if (!is_engine_due)
        drain_engine(&a);
    assert_int_equal(transition_is_due(a.engine), is_engine_due);
    answer_new(&a.answers, &asker, NULL)->wait = ANSWER_UPGRADE;
    a.upgrade.exec(&a, false);
    assert_non_null(strstr(heard, expected));
    assert_int_equal(a.upgrade.phase, UPGRADE_NONE);
    inherited_fini(&a);
}

static void upgrade_exec__not_quiet_for_too_long__refused_with_the_reason(void **state UNUSED)
{
    exec_and_hear(true, "the workers are changing");
    exec_and_hear(false, "a worker does not take its messages");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(upgrade_exec__way_back_and_the_engine_is_due__waits),
        cmocka_unit_test(upgrade_exec__not_quiet_for_too_long__refused_with_the_reason),
        cmocka_unit_test(upgrade_rollback__during_stop_delay__new_image_stays),
        cmocka_unit_test(upgrade_step__called_off_while_the_loop_is_left__goes_on),
        cmocka_unit_test(upgrade_phases__each_cell__as_the_code),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
