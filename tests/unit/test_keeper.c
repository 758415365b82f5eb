/*
 * The process of a keeper, with the arbiter and a worker played by this test.
 */
#include "keeper/keeper.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "actor/mailbox.h"
#include "actor/own.h"
#include "actor/scoreboard.h"
#include "base/fdpass.h"
#include "base/fds.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/util.h"
#include "net/conn_marks.h"
#include "net/keep_table.h"
#include "support/schema.h"
#include "wire/keep.h"
#include "wire/message.h"

enum { PATIENCE_MS = 20000 };

static struct log no_log = {.fd = -1, .level = LOG_LEVEL_ERROR};

static struct {
    struct scoreboard scoreboard;
    struct config *config;
    struct own own;
    pid_t pid;
    int fd; /* the arbiter's end of its mailbox */
} t;

static void __attribute__((noreturn)) be_keeper(int mailbox_fd)
{
    struct actor_boot boot = {.id = "keeper.1",
                              .slot = 1,
                              .incarnation = 1,
                              .arbiter_pid = getppid(),
                              .mailbox_fd = mailbox_fd,
                              .own = &t.own,
                              .config = t.config,
                              .scoreboard = &t.scoreboard,
                              .keep_table_fd = -1,
                              .log = &no_log};
    int keep[] = {mailbox_fd, t.scoreboard.fd};

    signals_default_all();
    fds_close_all_except(keep, ARRAY_SIZE(keep));
    _exit(keeper_actor.main(&boot));
}

static int setup(void **state UNUSED)
{
    char why[256];
    sigset_t mask;
    int ends[2];

    assert_int_equal(scoreboard_open(&t.scoreboard, 4), 0);
    assert_int_equal(scoreboard_assign(&t.scoreboard, 0, 1, 1), 0);
    t.config = config_new(schema_of_echo());
    assert_int_equal(own_init(&t.own, NULL, why, sizeof(why)), 0);
    assert_int_equal(mailbox_pair(ends), 0);
    signals_block_all(&mask);
    t.pid = fork();
    if (t.pid == 0)
        be_keeper(ends[1]);
    signals_restore(&mask);
    assert_true(t.pid > 0);
    fds_close(&ends[1]);
    t.fd = ends[0];
    return 0;
}

static int teardown(void **state UNUSED)
{
    if (t.pid > 0) {
        kill(t.pid, SIGKILL);
        waitpid(t.pid, NULL, 0);
    }
    fds_close(&t.fd);
    own_fini(&t.own);
    config_free(t.config);
    scoreboard_close(&t.scoreboard);
    return 0;
}

/* ---- the arbiter ---- */

static void tell(const char *command, uint64_t id, json_t *args, const int *fds, size_t n_fds)
{
    struct message m = {.sender = "arbiter", .target = "keeper.1", .id = id, .args = args};
    char data[MESSAGE_MAX_BYTES];
    size_t len;

    snprintf(m.command, sizeof(m.command), "%s", command);
    assert_int_equal(message_encode(&m, data, sizeof(data), &len), 0);
    assert_int_equal(fdpass_send(t.fd, data, len, fds, n_fds), 0);
    message_fini(&m);
}

static void await(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};

    assert_int_equal(poll(&p, 1, PATIENCE_MS), 1);
}

/* The arguments of the next message, which has to be @command. */
static json_t *hear(const char *command)
{
    char data[MESSAGE_MAX_BYTES];
    struct message m;
    struct fdpass got;

    await(t.fd);
    assert_int_equal(fdpass_receive(t.fd, &(struct iovec){data, sizeof(data)}, 1, &got), 0);
    assert_int_equal(message_decode(data, got.len, &m), 0);
    assert_string_equal(m.command, command);
    return m.args;
}

static void hear_counts(const char *command, const char *of, const char *const *names,
                        const json_int_t *counts)
{
    json_t *args = hear(command);

    assert_string_equal(json_string_value(json_object_get(args, "of")), of);
    for (size_t i = 0; names[i]; i++)
        assert_int_equal(json_integer_value(json_object_get(args, names[i])), counts[i]);
    json_decref(args);
}

static json_int_t ask(const char *member)
{
    json_t *reply;
    json_int_t n;

    tell("info", 9, NULL, NULL, 0);
    reply = hear("reply");
    n = json_integer_value(json_object_get(json_object_get(reply, "result"), member));
    json_decref(reply);
    return n;
}

static void begin_keeper(void)
{
    json_decref(hear("ready"));
    tell("run", 0, NULL, NULL, 0);
}

static int await_exit(void)
{
    int status;

    assert_int_equal(waitpid(t.pid, &status, 0), t.pid);
    t.pid = 0;
    return status;
}

static unsigned count_fds(void)
{
    unsigned n = 0;
    char path[64];
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)t.pid);
    dir = opendir(path);
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* ---- a worker ---- */

struct fake {
    int fd;
    struct keep_table table;
};

static struct fake fake_new(const char *id)
{
    struct fake f = {.fd = -1};
    int ends[2], table_fd = keep_table_make(0);

    assert_int_equal(keep_table_map(&f.table, table_fd, true), 0);
    assert_int_equal(mailbox_pair(ends), 0);
    tell("ward", 0, json_pack("{s:s,s:i}", "id", id, "proc", 3), (int[]){ends[0], table_fd}, 2);
    fds_close(&ends[0]);
    fds_close(&table_fd);
    f.fd = ends[1];
    return f;
}

static void fake_free(struct fake *f)
{
    fds_close(&f->fd);
    keep_table_unmap(&f->table);
}

static void say(const struct fake *f, const struct keep_message *m, const int *fds, size_t n_fds)
{
    uint8_t data[KEEP_MESSAGE_MAX];

    assert_int_equal(fdpass_send(f->fd, data, keep_put(m, data), fds, n_fds), 0);
}

static void fake_register(struct fake *f, uint32_t number, enum conn_mark mark, int *fd)
{
    const struct keep_message m = {
        KEEP_REGISTER, 0, 1, {{.number = number, .serial = number, .origin = {0, 7}}}};

    f->table.mark[number] = (uint8_t)mark;
    f->table.serial[number] = number;
    say(f, &m, fd, 1);
    fds_close(fd);
}

/* Takes the one connection that is offered. */
static int fake_take(struct fake *f, uint32_t number)
{
    const struct keep_message m = {KEEP_TAKEN, 1, 1, {{.number = number, .serial = number}}};
    uint8_t data[KEEP_MESSAGE_MAX];
    struct fdpass got;

    await(f->fd);
    assert_int_equal(fdpass_receive(f->fd, &(struct iovec){data, sizeof(data)}, 1, &got), 0);
    assert_int_equal(got.n_fds, 1);
    f->table.mark[number] = CONN_MARK_IDLE;
    f->table.serial[number] = number;
    say(f, &m, NULL, 0);
    return got.fds[0];
}

static void make_conn(int ret[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ret), 0);
}

static void expect_end(int *peer)
{
    char c;

    await(*peer);
    assert_int_equal(recv(*peer, &c, 1, 0), 0);
    fds_close(peer);
}

/* ---- tests ---- */

static const char *const of_left[] = {"kept", "closed", NULL};
static const char *const of_moving[] = {"kept", "closed", "moving", NULL};
static const char *const of_passed[] = {"kept", "passed", "closed", NULL};

/* What another worker may have is not called closed. */
static void keeper__ward_dies_amid_a_move__moving_ones_are_told_apart(void **state UNUSED)
{
    struct fake giver;
    int busy[2], moving[2], flying[2];

    begin_keeper();
    giver = fake_new("worker.1");
    make_conn(busy);
    make_conn(moving);
    make_conn(flying);
    fake_register(&giver, 20, CONN_MARK_BUSY, &busy[1]);
    fake_register(&giver, 21, CONN_MARK_MOVING, &moving[1]);
    fake_register(&giver, 22, CONN_MARK_FLIGHT + 1, &flying[1]);
    fake_free(&giver);
    hear_counts("left", "worker.1", of_moving, (json_int_t[]){0, 1, 2});
    expect_end(&busy[0]);
    expect_end(&moving[0]);
    expect_end(&flying[0]);
}

static void keeper__ward_dies_and_an_heir_comes__the_arbiter_hears_of_both(void **state UNUSED)
{
    struct fake first, heir;
    int idle[2], busy[2], fd;
    unsigned n_fds;
    char c;

    begin_keeper();
    n_fds = count_fds();
    first = fake_new("worker.1");
    make_conn(idle);
    make_conn(busy);
    fake_register(&first, 20, CONN_MARK_IDLE, &idle[1]);
    fake_register(&first, 21, CONN_MARK_BUSY, &busy[1]);
    fake_free(&first);
    hear_counts("left", "worker.1", of_left, (json_int_t[]){1, 1});
    expect_end(&busy[0]);
    assert_int_equal(ask("wards"), 0);
    assert_int_equal(ask("kept"), 1);
    assert_int_equal(ask("pending"), 1);
    assert_true(ask("kept_bytes") > 0);
    assert_int_equal(counter_get(&scoreboard_record(&t.scoreboard, 0)->kept), 1);
    heir = fake_new("worker.1");
    fd = fake_take(&heir, 33);
    hear_counts("passed", "worker.1", of_passed, (json_int_t[]){1, 1, 1});
    assert_int_equal(write(fd, "x", 1), 1);
    assert_int_equal(recv(idle[0], &c, 1, 0), 1);
    fds_close(&fd);
    heir.table.mark[33] = CONN_MARK_FREE; /* it ends */
    fake_free(&heir);
    hear_counts("left", "worker.1", of_left, (json_int_t[]){0, 1});
    expect_end(&idle[0]);
    assert_int_equal(ask("kept"), 0);
    assert_int_equal(count_fds(), n_fds);
}

static void keeper__told_to_stop__ends_with_its_last_ward(void **state UNUSED)
{
    struct fake first, second;
    int conn[2];

    begin_keeper();
    first = fake_new("worker.1");
    second = fake_new("worker.65");
    tell("stop", 0, NULL, NULL, 0);
    fake_free(&first);
    make_conn(conn);
    fake_register(&second, 5, CONN_MARK_BUSY, &conn[1]);
    while (ask("wards") > 1) /* an end and a message may come in any order */
        ;
    assert_int_equal(ask("wards"), 1);
    fake_free(&second);
    hear_counts("left", "worker.65", of_left, (json_int_t[]){0, 1});
    expect_end(&conn[0]);
    assert_int_equal(await_exit(), 0);
}

static void keeper__stops_with_something_pending__waits_for_who_takes_it(void **state UNUSED)
{
    struct fake first, helper;
    int conn[2], fd;

    begin_keeper();
    tell("stop", 0, json_pack("{s:b}", "graceful", 1), NULL, 0);
    assert_int_equal(await_exit(), 0); /* there is nobody */
    teardown(NULL);
    setup(NULL);

    begin_keeper();
    first = fake_new("worker.1");
    make_conn(conn);
    fake_register(&first, 5, CONN_MARK_IDLE, &conn[1]);
    tell("stop", 0, json_pack("{s:b}", "graceful", 1), NULL, 0);
    fake_free(&first);
    hear_counts("left", "worker.1", of_left, (json_int_t[]){1, 0});
    helper = fake_new("worker.2");
    fd = fake_take(&helper, 8);
    hear_counts("passed", "worker.1", of_passed, (json_int_t[]){1, 1, 0});
    assert_int_equal(ask("wards"), 1);
    helper.table.serial[8] = 0; /* it has another keeper */
    fake_free(&helper);
    assert_int_equal(await_exit(), 0);
    fds_close(&fd);
    expect_end(&conn[0]);
}

static void keeper__told_to_stop_at_once__closes_what_is_pending(void **state UNUSED)
{
    struct fake first;
    int conn[2];

    begin_keeper();
    first = fake_new("worker.1");
    make_conn(conn);
    fake_register(&first, 5, CONN_MARK_IDLE, &conn[1]);
    fake_free(&first);
    hear_counts("left", "worker.1", of_left, (json_int_t[]){1, 0});
    tell("stop", 0, json_pack("{s:b}", "graceful", 0), NULL, 0);
    hear_counts("passed", "worker.1", of_passed, (json_int_t[]){1, 0, 1});
    assert_int_equal(await_exit(), 0);
    expect_end(&conn[0]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(keeper__ward_dies_and_an_heir_comes__the_arbiter_hears_of_both),
        TEST(keeper__ward_dies_amid_a_move__moving_ones_are_told_apart),
        TEST(keeper__told_to_stop__ends_with_its_last_ward),
        TEST(keeper__stops_with_something_pending__waits_for_who_takes_it),
        TEST(keeper__told_to_stop_at_once__closes_what_is_pending),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
