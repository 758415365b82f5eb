/*
 * The arbiter's processes with nobody above them: whoever hears of messages and ends is this test.
 */
#include "arbiter/arbiter_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "net/keep_table.h"
#include "support/schema.h"

struct fixture {
    struct arbiter a;
    struct revision live;
    char said[256]; /* "COMMAND of SLOT;" each */
    int outcome; /* of on_message */
    unsigned n_exits, n_other_exits, n_settled;
    int status; /* of the last exit */
    uint32_t slot;
};

static struct fixture *fixture_of(struct arbiter *a)
{
    return container_of(a, struct fixture, a);
}

/* ---- the worker ---- */

static bool was_detached; /* in the child */
static const char *sentence; /* what the worker says before it exits; NULL = nothing */

static void say(const struct actor_boot *boot, const char *text)
{
    if (send(boot->mailbox_fd, text, strlen(text), 0) < 0)
        _exit(3);
}

static int worker_main(const struct actor_boot *boot)
{
    if (sentence)
        say(boot, sentence);
    return was_detached && boot->slot == 2 && strcmp(boot->id, "worker.2") == 0 ? 42 : 1;
}

static int deaf_main(const struct actor_boot *boot UNUSED)
{
    pause();
    return 0;
}

/* It must have no listener; a worker has a table and no keeper is one. */
static int keeper_main(const struct actor_boot *boot)
{
    return strcmp(boot->id, "keeper.3") == 0 && boot->slot == 3 && boot->n_listeners == 0 &&
                   boot->keep_table_fd < 0 && !boot->kind
               ? 43
               : 1;
}

static int ward_main(const struct actor_boot *boot)
{
    struct keep_table t = {0};
    const int fd = boot->keep_table_fd;

    if (fd < 0 || keep_table_map(&t, fd, true) < 0)
        return 1;
    t.serial[7] = 12;
    t.mark[7] = 3;
    return 44;
}

static const struct actor_kind worker = {.name = "worker", .main = worker_main},
                               deaf = {.name = "worker", .main = deaf_main};

/* ---- who hears of it ---- */

static void in_child(struct arbiter *a UNUSED)
{
    was_detached = true;
}

static int on_message(struct arbiter *a, struct child *c, struct message *m)
{
    struct fixture *f = fixture_of(a);
    const size_t len = strlen(f->said);

    snprintf(f->said + len, sizeof(f->said) - len, "%s of %u;", m->command, c->slot);
    return f->outcome;
}

static void on_exit_of(struct arbiter *a, struct child *c, int status)
{
    struct fixture *f = fixture_of(a);

    assert_true(c->pid > 0 && c->mailbox.is_closed);
    f->n_exits++;
    f->status = status;
    f->slot = c->slot;
}

static void on_other_exit(struct arbiter *a, pid_t pid UNUSED, int status)
{
    fixture_of(a)->n_other_exits++;
    fixture_of(a)->status = status;
}

static void on_closed(struct arbiter *a UNUSED, struct child *c UNUSED)
{
}

static const struct children_ops ops = {
    .in_child = in_child,
    .on_message = on_message,
    .on_closed = on_closed,
    .on_exit = on_exit_of,
    .on_other_exit = on_other_exit,
};

static void on_settle(struct ev_loop *loop, ev_check *w UNUSED, int revents UNUSED)
{
    fixture_of(ev_userdata(loop))->n_settled++;
}

/* ---- */

static struct log no_log = {.fd = -1, .level = LOG_LEVEL_ERROR};
static const struct actor_kind keeper = {.name = "keeper", .main = keeper_main},
                               ward = {.name = "worker", .main = ward_main};
static const struct arbiter_options keeper_options = {.worker = &ward, .keeper = &keeper};
static const struct arbiter_options options = {.worker = &worker}, deaf_options = {.worker = &deaf};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->live =
        (struct revision){.number = 1, .config = config_new(schema_of_echo()), .log = {.fd = -1}};
    f->a = (struct arbiter){
        .options = &options,
        .loop = ev_loop_new(0),
        .log = &no_log,
        .live = &f->live,
        .children_ops = &ops,
        .children = calloc(TR_RECORDS_MAX, sizeof(struct child)),
        .scoreboard = {.fd = -1},
    };
    privileges_same(&f->a.privileges);
    assert_int_equal(scoreboard_open(&f->a.scoreboard, 16), 0);
    ev_set_userdata(f->a.loop, &f->a);
    ev_init(&f->a.settle, on_settle);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    scoreboard_close(&f->a.scoreboard);
    ev_loop_destroy(f->a.loop);
    config_free(f->live.config);
    free(f->a.children);
    free(f);
    return 0;
}

static struct child *spawn(struct fixture *f, uint32_t proc)
{
    const struct tr_action action = {.kind = TR_SPAWN, .proc = proc, .slot = 2, .revision = 1};

    assert_int_equal(children_spawn(&f->a, &action), 0);
    assert_true(f->a.children[proc].pid > 0);
    return &f->a.children[proc];
}

/* All that it said is heard, then it is reaped. */
static void await_end(struct fixture *f, struct child *c)
{
    siginfo_t info;

    assert_int_equal(waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOWAIT), 0);
    ev_run(f->a.loop, EVRUN_NOWAIT);
    children_reap(&f->a);
    ev_run(f->a.loop, EVRUN_NOWAIT);
}

static void children_spawn__worker_speaks_and_exits__both_are_reported(void **state)
{
    struct fixture *f = *state;
    struct child *c = spawn(f, 0);

    assert_ptr_equal(children_find(&f->a, c->pid), c);
    await_end(f, c);
    assert_string_equal(f->said, "ready of 2;");
    assert_int_equal(f->n_exits, 1);
    assert_int_equal(f->slot, 2);
    assert_true(WIFEXITED(f->status) && WEXITSTATUS(f->status) == 42);
    assert_int_equal(c->pid, 0);
    assert_true(f->n_settled > 0);
}

static void children_reap__words_not_heard_yet__heard_before_the_end(void **state)
{
    struct fixture *f = *state;
    struct child *c = spawn(f, 0);
    siginfo_t info;

    assert_int_equal(waitid(P_PID, (id_t)c->pid, &info, WEXITED | WNOWAIT), 0);
    children_reap(&f->a);
    assert_string_equal(f->said, "ready of 2;");
    assert_int_equal(f->n_exits, 1);
}

static void children_spawn__again_in_the_slot__next_incarnation(void **state)
{
    struct fixture *f = *state;

    await_end(f, spawn(f, 0));
    assert_int_equal(f->a.children[0].incarnation, 1);
    await_end(f, spawn(f, 3));
    assert_int_equal(f->a.children[3].incarnation, 2);
    assert_int_equal(f->a.n_children_used, 4);
}

static void children_kill__worker_is_deaf__ends_by_sigkill(void **state)
{
    struct fixture *f = *state;
    struct child *c;

    f->a.options = &deaf_options;
    c = spawn(f, 0);
    children_kill(c, LOG_LEVEL_DEBUG, "test");
    assert_true(c->is_killed);
    await_end(f, c);
    assert_true(WIFSIGNALED(f->status) && WTERMSIG(f->status) == SIGKILL);
}

static void on_message__in_anothers_name__not_heard_and_killed(void **state)
{
    struct fixture *f = *state;
    struct child *c;

    sentence = "{\"command\":\"ready\",\"id\":0,\"sender\":\"worker.1\",\"target\":\"arbiter\","
               "\"args\":{}}";
    c = spawn(f, 0);
    await_end(f, c);
    assert_string_equal(f->said, "");
    assert_true(c->is_killed);
}

static void on_message__refused_by_the_owner__killed_and_heard_no_more(void **state)
{
    struct fixture *f = *state;
    struct child *c;

    f->outcome = -EBADMSG;
    c = spawn(f, 0);
    await_end(f, c);
    assert_string_equal(f->said, "ready of 2;");
    assert_true(c->is_killed);
}

static void children_reap__child_is_no_worker__reported_as_another(void **state)
{
    struct fixture *f = *state;
    siginfo_t info;
    pid_t pid = fork();

    if (pid == 0)
        _exit(7);
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    children_reap(&f->a);
    assert_int_equal(f->n_exits, 0);
    assert_int_equal(f->n_other_exits, 1);
    assert_int_equal(WEXITSTATUS(f->status), 7);
}

static void children_spawn__keeper__runs_its_own_main_without_listeners(void **state)
{
    struct fixture *f = *state;
    struct tr_action action = {.kind = TR_SPAWN, .proc = 1, .revision = 1};

    f->a.options = &keeper_options;
    kinds_init(&f->a.kinds, NULL, KINDS_KEEPERS);
    action.slot = tr_slot(f->a.kinds.keeper - 1, 3);
    assert_int_equal(children_spawn(&f->a, &action), 0);
    assert_string_equal(f->a.children[1].id, "keeper.3");
    await_end(f, &f->a.children[1]);
    assert_true(WIFEXITED(f->status) && WEXITSTATUS(f->status) == 43);
}

/* What it has stored is still there when it is gone, for as long as the arbiter has the file. */
static void children_spawn__program_has_keepers__worker_has_a_table(void **state)
{
    struct fixture *f = *state;
    struct keep_table t = {0};
    struct child *c;

    f->a.options = &keeper_options;
    kinds_init(&f->a.kinds, NULL, KINDS_KEEPERS);
    c = spawn(f, 0);
    assert_int_equal(keep_table_map(&t, c->table_fd, false), 0);
    await_end(f, c);
    assert_true(WIFEXITED(f->status) && WEXITSTATUS(f->status) == 44);
    assert_int_equal(t.serial[7], 12);
    assert_int_equal(t.mark[7], 3);
    assert_int_equal(c->table_fd, -1);
    keep_table_unmap(&t);
    f->live.config->has_keepers = false;
    c = spawn(f, 0);
    assert_int_equal(c->table_fd, -1);
    await_end(f, c);
    assert_int_equal(WEXITSTATUS(f->status), 1);
}

static void children_spawn__kind_of_nobody__refused(void **state)
{
    struct fixture *f = *state;
    const struct tr_action action = {.kind = TR_SPAWN, .slot = TR_SLOTS_MAX + 1, .revision = 1};

    assert_int_equal(children_spawn(&f->a, &action), -ENOENT);
}

static void children_send__process_is_gone__refused(void **state)
{
    struct fixture *f = *state;

    await_end(f, spawn(f, 0));
    assert_int_equal(children_send(&f->a.children[0], "run", 0, NULL), -EPIPE);
}

static int setup_ready(void **state)
{
    sentence = "{\"command\":\"ready\",\"id\":0,\"sender\":\"worker.2\",\"target\":\"arbiter\","
               "\"args\":{}}";
    return setup(state);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup_ready, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(children_spawn__worker_speaks_and_exits__both_are_reported),
        TEST(children_reap__words_not_heard_yet__heard_before_the_end),
        TEST(children_spawn__again_in_the_slot__next_incarnation),
        TEST(children_kill__worker_is_deaf__ends_by_sigkill),
        TEST(on_message__in_anothers_name__not_heard_and_killed),
        TEST(on_message__refused_by_the_owner__killed_and_heard_no_more),
        TEST(children_reap__child_is_no_worker__reported_as_another),
        TEST(children_spawn__keeper__runs_its_own_main_without_listeners),
        TEST(children_spawn__program_has_keepers__worker_has_a_table),
        TEST(children_spawn__kind_of_nobody__refused),
        TEST(children_send__process_is_gone__refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
