/*
 * Who keeps for whom: what the arbiter says to workers and keepers when they begin and end. Both
 * are mailboxes here, whose other ends this test reads.
 */
#include "arbiter/arbiter_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/fdpass.h"
#include "base/util.h"
#include "support/schema.h"

enum { PROCS = 16, FIRST_PID = 1000 };

struct fixture {
    struct arbiter a;
    struct revision live;
    struct transition engine;
    struct crashes crashes;
    struct child children[TR_RECORDS_MAX];
    int ends[PROCS]; /* of mailboxes */
    uint64_t now_ms;
    char heard[256];
};

static struct log no_log = {.fd = -1, .level = LOG_LEVEL_ERROR};
static const struct actor_kind any_kind = {.name = "any"};
static const struct arbiter_options options = {.worker = &any_kind, .keeper = &any_kind};

static void on_message(struct mailbox *mb UNUSED, struct message *m UNUSED, int *fds UNUSED,
                       size_t n_fds UNUSED)
{
}

static void on_close(struct mailbox *mb UNUSED, int error UNUSED)
{
}

static void begin_child(struct fixture *f, const struct tr_action *action)
{
    static pid_t last = FIRST_PID;
    struct child *c = &f->children[action->proc];
    int ends[2];

    assert_int_equal(mailbox_pair(ends), 0);
    *c = (struct child){
        .arbiter = &f->a,
        .pid = ++last,
        .proc = action->proc,
        .score = scoreboard_record(&f->a.scoreboard, action->proc),
        .slot = action->slot,
        .revision = action->revision,
        .table_fd = action->slot <= TR_SLOTS_MAX ? open("/dev/null", O_RDONLY | O_CLOEXEC) : -1};
    kinds_id(&f->a.kinds, c->slot, c->id);
    f->a.n_children_used = MAX(f->a.n_children_used, c->proc + 1);
    mailbox_start(&c->mailbox, f->a.loop, ends[0], on_message, on_close);
    f->ends[c->proc] = ends[1];
}

/* What the arbiter would do. */
static void act_all(struct fixture *f)
{
    struct tr_action action;

    while ((action = transition_next(&f->engine, f->now_ms)).kind != TR_NOTHING) {
        if (action.kind == TR_SPAWN)
            begin_child(f, &action);
        else if (action.kind == TR_DRAIN && child_is_keeper(&f->children[action.proc]))
            keepers_drain(&f->a, &f->children[action.proc], action.is_quick);
    }
    keepers_look(&f->a);
    keepers_settle(&f->a);
}

static void post(struct fixture *f, struct tr_event ev)
{
    transition_event(&f->engine, ++f->now_ms, &ev);
    act_all(f);
}

static struct child *find(struct fixture *f, const char *id)
{
    struct child *found = NULL;

    for_each_child (&f->a, c)
        if (strcmp(c->id, id) == 0)
            found = c;
    assert_non_null(found);
    return found;
}

static void ready(struct fixture *f, const char *id)
{
    post(f, (struct tr_event){.kind = TR_EV_READY, .proc = find(f, id)->proc});
}

static void die(struct fixture *f, const char *id)
{
    struct child *c = find(f, id);

    mailbox_stop(&c->mailbox);
    fds_close(&c->table_fd);
    fds_close(&f->ends[c->proc]);
    keepers_on_exit(&f->a, c);
    c->pid = 0;
    post(f, (struct tr_event){.kind = TR_EV_EXITED, .proc = c->proc});
}

/* "COMMAND NAME+FDS" for each message that has come to @id since the last time. */
static const char *heard(struct fixture *f, const char *id)
{
    const struct child *c = find(f, id);
    char data[MESSAGE_MAX_BYTES];
    struct fdpass got;
    size_t len = 0;

    f->heard[0] = '\0';
    while (fdpass_receive(f->ends[c->proc], &(struct iovec){data, sizeof(data)}, 1, &got) == 0 &&
           got.len > 0) {
        json_t *m = json_loadb(data, got.len, 0, NULL);
        json_t *args = json_object_get(m, "args");
        const char *whom = json_string_value(json_object_get(args, "id"));
        const json_t *graceful = json_object_get(args, "graceful");

        len += (size_t)snprintf(f->heard + len, sizeof(f->heard) - len, "%s%s %s+%zu",
                                len ? " " : "", json_string_value(json_object_get(m, "command")),
                                whom                      ? whom
                                : json_is_false(graceful) ? "quick"
                                                          : "graceful",
                                got.n_fds);
        for (size_t i = 0; i < got.n_fds; i++)
            fds_close(&got.fds[i]);
        json_decref(m);
    }
    return f->heard;
}

#define assert_heard(f, id, text) assert_string_equal(heard(f, id), text)

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    struct tr_set set = {
        .revision = 1, .workers = 2, .boot_timeout_ms = 100, .exit_timeout_ms = 100};

    f->live = (struct revision){.number = 1, .config = config_new(schema_of_echo())};
    f->a = (struct arbiter){
        .options = &options,
        .loop = ev_loop_new(0),
        .log = &no_log,
        .live = &f->live,
        .children = f->children,
        .engine = &f->engine,
        .crashes = &f->crashes,
        .scoreboard = {.fd = -1},
    };
    assert_int_equal(scoreboard_open(&f->a.scoreboard, PROCS), 0);
    for (size_t i = 0; i < PROCS; i++)
        f->ends[i] = -1;
    ev_set_userdata(f->a.loop, &f->a);
    kinds_init(&f->a.kinds, NULL, KINDS_KEEPERS);
    kinds_want(&f->a.kinds, &set, KINDS_KEEPERS);
    transition_init(&f->engine, &set, PROCS, 1);
    act_all(f);
    *state = f;
    return 0;
}

static int setup_serving(void **state)
{
    static const char *const ids[] = {"worker.1", "worker.2", "keeper.1", "keeper.2"};
    struct fixture *f;

    setup(state);
    f = *state;
    for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
        ready(f, ids[i]);
        heard(f, ids[i]);
    }
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    for_each_child (&f->a, c) {
        mailbox_stop(&c->mailbox);
        fds_close(&c->table_fd);
        fds_close(&f->ends[c->proc]);
    }
    scoreboard_close(&f->a.scoreboard);
    ev_loop_destroy(f->a.loop);
    config_free(f->live.config);
    free(f);
    return 0;
}

static void leave(struct fixture *f, const char *keeper, json_int_t kept)
{
    json_t *args = json_pack("{s:s,s:I,s:i}", "of", "worker.1", "kept", kept, "closed", 1);

    keepers_on_left(&f->a, find(f, keeper), args);
    json_decref(args);
    keepers_settle(&f->a);
}

static void pass_on(struct fixture *f, const char *keeper, json_int_t kept)
{
    json_t *args = json_pack("{s:s,s:I,s:I,s:i}", "of", "worker.1", "kept", kept, "passed",
                             kept - 1, "closed", 1);

    keepers_on_passed(&f->a, find(f, keeper), args);
    json_decref(args);
    keepers_settle(&f->a);
}

static void keepers_settle__a_set_begins__each_worker_gets_the_keeper_of_its_slot(void **state)
{
    struct fixture *f = *state;

    assert_heard(f, "keeper.1", "ward worker.1+2");
    assert_heard(f, "keeper.2", "ward worker.2+2");
    assert_heard(f, "worker.1", "keeper keeper.1+1");
    assert_heard(f, "worker.2", "keeper keeper.2+1");
    keepers_look(&f->a);
    keepers_settle(&f->a);
    assert_heard(f, "keeper.1", "");
}

static void keepers_settle__keeper_dies__worker_gets_its_heir(void **state)
{
    struct fixture *f = *state;

    die(f, "keeper.2");
    assert_heard(f, "keeper.2", "ward worker.2+2");
    assert_heard(f, "worker.2", "keeper keeper.2+1");
    assert_heard(f, "worker.1", "");
}

static void keepers_settle__worker_dies__its_heir_is_a_ward_of_the_same_keeper(void **state)
{
    struct fixture *f = *state;
    const pid_t keeper = find(f, "keeper.1")->pid;

    die(f, "worker.1");
    assert_int_equal(find(f, "worker.1")->keeper, keeper);
    assert_heard(f, "keeper.1", "ward worker.1+2");
    leave(f, "keeper.1", 7);
    assert_heard(f, "keeper.1", "");
    assert_heard(f, "worker.2", "");
}

/* The keeper sees the end before the arbiter does. */
static void keepers_on_left__worker_not_reaped_yet__its_heir_is_waited_for(void **state)
{
    struct fixture *f = *state;
    struct child *c = find(f, "worker.1");

    c->mailbox.is_closed = true;
    c->disconnected_ms = clock_mono_ms();
    leave(f, "keeper.1", 7);
    assert_heard(f, "worker.2", "");
    c->disconnected_ms = 1; /* it lives on, and nobody can tell it anything */
    keepers_look(&f->a);
    keepers_settle(&f->a);
    assert_heard(f, "worker.2", "keeper keeper.1+1");
}

/* A second death in a moment: the slot waits. */
static void keepers_settle__nobody_fills_the_slot__another_worker_takes_what_is_left(void **state)
{
    struct fixture *f = *state;

    die(f, "worker.1");
    die(f, "worker.1");
    heard(f, "keeper.1");
    leave(f, "keeper.1", 7);
    assert_heard(f, "keeper.1", "ward worker.2+2");
    assert_heard(f, "worker.2", "keeper keeper.1+1");
    leave(f, "keeper.1", 1);
    assert_heard(f, "keeper.1", ""); /* one helps at a time */
    die(f, "worker.2");
    assert_heard(f, "worker.2", "keeper keeper.2+1"); /* it starts: not yet */
    assert_heard(f, "keeper.2", "ward worker.2+2");
    ready(f, "worker.2");
    assert_heard(f, "keeper.1", "ward worker.2+2");
    assert_heard(f, "worker.2", "keeper keeper.1+1");
    pass_on(f, "keeper.1", 8);
    assert_heard(f, "worker.2", "keeper keeper.2+1"); /* back to its own */
    assert_heard(f, "keeper.2", "ward worker.2+2");
}

static void keepers_on_passed__all__nobody_is_asked_to_help(void **state)
{
    struct fixture *f = *state;

    leave(f, "keeper.1", 7);
    pass_on(f, "keeper.1", 7);
    die(f, "worker.1");
    die(f, "worker.1");
    heard(f, "keeper.1");
    keepers_look(&f->a);
    keepers_settle(&f->a);
    assert_heard(f, "keeper.1", "");
}

static void note_oom(struct fixture *f, const char *id)
{
    const struct score_record empty = {0};

    crashes_note_oom(&f->crashes, &no_log, id, 1, 1, FIRST_PID, 5, &empty);
}

/* Who is killed so cannot write down what is rescued of it. */
static void keepers_on_passed__of_one_killed_by_oom__its_crash_tells_of_it(void **state)
{
    struct fixture *f = *state;

    note_oom(f, "worker.1");
    note_oom(f, "worker.2");
    leave(f, "keeper.1", 7);
    pass_on(f, "keeper.1", 7);
    assert_int_equal(f->crashes.last[0].record.rescued, 6);
    assert_int_equal(f->crashes.last[1].record.rescued, 0);
    leave(f, "keeper.1", 4); /* of a later death, which is no crash */
    pass_on(f, "keeper.1", 4);
    assert_int_equal(f->crashes.last[0].record.rescued, 6);
}

static void keepers_settle__fewer_workers__keeper_ends_with_its_last_ward(void **state)
{
    struct fixture *f = *state;

    post(f, (struct tr_event){.kind = TR_EV_SCALE, .workers = 1});
    assert_heard(f, "keeper.2", "stop graceful+0");
    assert_int_equal(find(f, "worker.2")->keeper, find(f, "keeper.2")->pid);
    die(f, "worker.2");
    leave(f, "keeper.2", 3);
    assert_heard(f, "keeper.2", "ward worker.1+2");
}

static void keepers_settle__another_set__has_keepers_of_its_own(void **state)
{
    struct fixture *f = *state;
    struct tr_event ev = {.kind = TR_EV_RELOAD,
                          .set = {.revision = 2, .workers = 2, .exit_timeout_ms = 100}};
    const pid_t old = find(f, "keeper.1")->pid;
    struct child *worker = find(f, "worker.1");

    kinds_want(&f->a.kinds, &ev.set, KINDS_KEEPERS);
    ev.set.boot_timeout_ms = 100;
    post(f, ev);
    assert_int_not_equal(find(f, "keeper.1")->pid, old);
    assert_int_equal(find(f, "worker.1")->keeper, find(f, "keeper.1")->pid);
    assert_int_equal(worker->keeper, old);
    for (unsigned n = 1; n <= 2; n++) {
        char id[16];

        snprintf(id, sizeof(id), "worker.%u", n);
        ready(f, id);
        snprintf(id, sizeof(id), "keeper.%u", n);
        ready(f, id);
    }
    assert_int_equal(transition_phase(&f->engine, worker->proc), TR_DRAINING);
    assert_int_equal(worker->keeper, old);
}

static void keepers_drain__server_stops__told_when_the_last_worker_is_gone(void **state)
{
    struct fixture *f = *state;

    f->a.is_stopping = true;
    post(f, (struct tr_event){.kind = TR_EV_STOP});
    die(f, "worker.1");
    assert_heard(f, "keeper.1", "");
    die(f, "worker.2");
    assert_heard(f, "keeper.1", "stop quick+0");
    assert_heard(f, "keeper.2", "stop quick+0");
    keepers_look(&f->a);
    keepers_settle(&f->a);
    assert_heard(f, "keeper.1", "");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup_serving, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            keepers_settle__a_set_begins__each_worker_gets_the_keeper_of_its_slot, setup, teardown),
        TEST(keepers_settle__keeper_dies__worker_gets_its_heir),
        TEST(keepers_settle__worker_dies__its_heir_is_a_ward_of_the_same_keeper),
        TEST(keepers_on_left__worker_not_reaped_yet__its_heir_is_waited_for),
        TEST(keepers_settle__nobody_fills_the_slot__another_worker_takes_what_is_left),
        TEST(keepers_on_passed__all__nobody_is_asked_to_help),
        TEST(keepers_on_passed__of_one_killed_by_oom__its_crash_tells_of_it),
        TEST(keepers_settle__fewer_workers__keeper_ends_with_its_last_ward),
        TEST(keepers_settle__another_set__has_keepers_of_its_own),
        TEST(keepers_drain__server_stops__told_when_the_last_worker_is_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
