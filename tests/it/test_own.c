/*
 * A program's own counters, commands and log lines, seen from outside; and what becomes of a worker
 * whose callback never returns.
 */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

static void install(struct it *it, const char *name)
{
    MUST(it_tool_run(it, "cp", ARGS("cp", it_build_path(it, name), it_path(it, "new"))) == 0 &&
             rename(it_path(it, "new"), it_path(it, "server")) == 0,
         "%s: %s", name, strerror(errno));
}

static struct server *start(struct it *it, const char *conf)
{
    install(it, "tests/own_server");
    return server_start(it, .conf = conf, .binary = it_path(it, "server"));
}

static char *control_of(struct server *s)
{
    const size_t size = strlen(s->run) + sizeof("/control");
    char *path = peer_alloc(size);

    snprintf(path, size, "%s/control", s->run);
    return path;
}

static int connect_control(struct server *s)
{
    char path[160];

    snprintf(path, sizeof(path), "unix:%s", control_of(s));
    return peer_connect(path);
}

#define ASK(s, ...) RUN((s)->it, NO_INPUT, "-C", control_of(s), "--json", __VA_ARGS__)

/* Owned by the caller. */
static json_t *json_of(const struct tool_run *r)
{
    json_t *o = json_loads(r->out, JSON_DECODE_ANY, NULL);

    MUST(r->code == 0 && o, "exit code %d: %s%s", r->code, r->err, r->out);
    return o;
}

/* Of the totals. */
static json_int_t counter_now(struct server *s, const char *name)
{
    struct tool_run r = ASK(s, "info");
    json_t *info = json_of(&r);
    const json_t *own = json_object_get(json_object_get(info, "totals"), "own");
    const json_t *value = json_object_get(json_object_get(own, "own"), name);
    const json_int_t n = json_integer_value(value);

    MUST(json_is_integer(value), "no counter %s: %s", name, r.out);
    json_decref(info);
    return n;
}

static void must_answer(struct server *s, const char *const *args, const char *expected)
{
    struct tool_run r = tool_run(s->it, NO_INPUT, args);
    json_t *o = json_of(&r), *wanted = json_loads(expected, JSON_DECODE_ANY, NULL);

    MUST(wanted && json_equal(o, wanted), "%s, expected %s", r.out, expected);
    json_decref(o);
    json_decref(wanted);
}

#define MUST_ANSWER(s, expected, ...)                                                              \
    must_answer(s, ARGS("-C", control_of(s), "--json", "call", __VA_ARGS__), expected)

/* ---- counters ---- */

static void counters__counted_in_two_workers__summed_and_explained(void **state)
{
    struct server *s = start(*state, NULL);
    struct tool_run r;
    json_t *info, *help;

    MUST_ANSWER(s, "3", "worker.1", "own.count", "n=3");
    MUST_ANSWER(s, "4", "worker.2", "own.count", "n=4");
    MUST_ANSWER(s, "5", "worker.2", "own.count", "n=5", "other=true");
    assert_int_equal(counter_now(s, "counted"), 7);
    assert_int_equal(counter_now(s, "other"), 5);
    r = ASK(s, "info");
    info = json_of(&r);
    help = json_object_get(info, "own_counters");
    assert_int_equal(json_array_size(help), 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(help, 0), "owner")),
                        "own");
    assert_string_equal(json_string_value(json_object_get(json_array_get(help, 0), "help")),
                        "what has been counted");
    json_decref(info);
}

static void counters__a_worker_dies__what_it_counted_stays(void **state)
{
    struct server *s = start(*state, NULL);
    const pid_t victim = server_slot_pid(s, 1);

    server_expect(s, "worker died");
    MUST_ANSWER(s, "30", "worker.1", "own.count", "n=30");
    MUST(kill(victim, SIGKILL) == 0, "kill: %s", strerror(errno));
    server_wait_log(s, "worker died", 1);
    server_wait_workers(s, 2);
    assert_int_equal(counter_now(s, "counted"), 30);
    MUST_ANSWER(s, "12", "worker.1", "own.count", "n=12");
    assert_int_equal(counter_now(s, "counted"), 42);
}

static void counters__reload__go_on(void **state)
{
    struct server *s = start(*state, NULL);
    struct tool_run r;

    MUST_ANSWER(s, "30", "worker.1", "own.count", "n=30");
    r = ASK(s, "reload");
    MUST(r.code == 0, "reload: %s", r.err);
    server_wait_workers(s, 2);
    MUST_ANSWER(s, "12", "worker.1", "own.count", "n=12");
    assert_int_equal(counter_now(s, "counted"), 42);
    assert_int_equal(counter_now(s, "gone"), 4); /* one for each start of a worker */
}

/* The second version has the same counters at other places, and one less; then the first again. */
static void counters__upgrade_and_back__by_name(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, NULL);
    struct tool_run r;

    MUST_ANSWER(s, "30", "worker.1", "own.count", "n=30");
    MUST_ANSWER(s, "7", "worker.2", "own.count", "n=7", "other=true");
    install(it, "tests/own_server_second");
    r = ASK(s, "upgrade");
    MUST(r.code == 0, "upgrade: %s", r.err);
    server_wait_log(s, "a counter of the earlier program is kept.* counter=own.gone value=", 1);
    server_wait_log(s, "worker ended", 2);
    assert_int_equal(counter_now(s, "counted"), 30);
    assert_int_equal(counter_now(s, "other"), 7);
    MUST_ANSWER(s, "12", "worker.1", "own.count", "n=12");

    install(it, "tests/own_server");
    r = ASK(s, "upgrade");
    MUST(r.code == 0, "upgrade: %s", r.err);
    server_wait_log(s, "worker ended", 4);
    assert_int_equal(counter_now(s, "counted"), 42);
    assert_int_equal(counter_now(s, "other"), 7);
    assert_int_equal(counter_now(s, "gone"), 4); /* those of the first pair of workers, too */
    scoreboard_close(&s->board); /* the harness has looked at the first one until now */
    server_wait_workers(s, 2);
}

static void counters__stop__in_the_log(void **state)
{
    struct server *s = start(*state, NULL);

    MUST_ANSWER(s, "30", "worker.1", "own.count", "n=30");
    server_stop_and_check(s, SIGTERM, 0);
    MUST(server_log_count(s, "msg=\"counted\" own.counted=30 own.other=0 own.gone=2$") == 1,
         "no such line");
}

/* ---- commands ---- */

static void commands__now_and_later__answered(void **state)
{
    struct server *s = start(*state, NULL);

    MUST_ANSWER(s, "{\"id\":\"worker.2\",\"slot\":2}", "worker.2", "own.who");
    MUST_ANSWER(s, "\"later\"", "worker.1", "own.later");
    MUST_ANSWER(s, "{\"worker.1\":\"later\",\"worker.2\":\"later\"}", "workers", "own.later");
    MUST_ANSWER(s, "\"17\"", "arbiter", "arbiter.hello", "name=17");
}

static void commands__never_or_too_long__an_error(void **state)
{
    struct server *s = start(*state, NULL);
    const int fd = connect_control(s);
    struct tool_run r;

    peer_send_text(fd, "{\"id\":1,\"command\":\"arbiter.never\"}\n");
    server_expect(s, "mailbox: not sent\" .*command=reply error=\"Message too long\"");
    r = ASK(s, "call", "worker.1", "own.long");
    MUST(r.code != 0 && strstr(r.err, "its answer is longer than a message may be"), "%s", r.err);
    r = ASK(s, "call", "worker.1", "own.never");
    MUST(r.code == 75 && strstr(r.err, "no reply from the worker"), "%d: %s", r.code, r.err);
    peer_expect_text(fd, "{\"id\":1,\"error\":{\"code\":\"timeout\",\"message\":\"no answer from "
                         "the command\"}}\n");
    server_must_be_well(s, 2);
}

static void commands__wrong__refused_with_what_is_right(void **state)
{
    struct server *s = start(*state, NULL);
    static const struct {
        const char *words[4], *why;
    } rows[] = {
        {{"worker.1", "own.count"}, "own.count needs n, a whole number from 1 to 1000: how many"},
        {{"worker.1", "own.count", "n=1001"}, "n must be a whole number from 1 to 1000"},
        {{"worker.1", "own.count", "n=1", "m=1"}, "own.count has no argument 'm'"},
        {{"worker.1", "own.log", "text=1", "warning=1"}, "warning must be true or false"},
        {{"worker.1", "own.nothing"}, "there is no command 'own.nothing'"},
        {{"worker.1", "other.count"}, "there is no command 'other.count'"},
        {{"arbiter", "own.who"}, "own.who is a command of workers"},
        {{"workers", "arbiter.hello"}, "arbiter.hello is a command of the arbiter"},
        {{"worker.9", "own.who"}, "there is no actor 'worker.9'"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *const *w = rows[i].words;
        struct tool_run r = ASK(s, "call", w[0], w[1], w[2], w[3]);

        MUST(r.code == 64 && strstr(r.err, rows[i].why), "%s %s: %d: %s", w[0], w[1], r.code,
             r.err);
    }
}

static void commands__listed__with_arguments_and_help(void **state)
{
    struct server *s = start(*state, NULL);
    struct tool_run r = RUN(*state, NO_INPUT, "-C", control_of(s), "commands");

    MUST(r.code == 0 && strstr(r.out, "own.count ") && strstr(r.out, "Count something") &&
             strstr(r.out, "a whole number from 1 to 1000") && strstr(r.out, "arbiter.hello"),
         "%s%s", r.out, r.err);
}

/* The asker goes before the answer comes: nobody is told, and nothing is amiss. */
static void commands__asker_is_gone__answer_for_nobody(void **state)
{
    struct server *s = start(*state, NULL);
    const int fd = connect_control(s);
    static const char request[] = "{\"id\":1,\"command\":\"own.later\",\"target\":\"worker.1\"}\n"
                                  "{\"id\":2,\"command\":\"arbiter.never\"}\n";

    peer_send_text(fd, request);
    peer_close(fd);
    MUST_ANSWER(s, "{\"id\":\"worker.1\",\"slot\":1}", "worker.1", "own.who");
    server_must_be_well(s, 2);
}

#define INTERRUPTED                                                                                \
    "\"error\":{\"code\":\"busy\",\"message\":\"an upgrade came in between: ask again\"}}\n"

/* In the arbiter the command is gone with its image; in a worker it goes on for nobody. */
static void commands__upgrade_in_between__said(void **state)
{
    struct server *s = start(*state, "log = { level = \"debug\"; };");
    const int fd = connect_control(s);
    struct tool_run r;

    peer_send_text(fd, "{\"id\":1,\"command\":\"arbiter.never\"}\n"
                       "{\"id\":2,\"command\":\"own.never\",\"target\":\"worker.1\"}\n");
    server_wait_log(s, "actor=arbiter .*msg=\"message\" to=worker\\.1 command=call", 1);
    r = ASK(s, "upgrade");
    MUST(r.code == 0, "upgrade: %s", r.err);
    peer_expect_text(fd, "{\"id\":2," INTERRUPTED "{\"id\":1," INTERRUPTED);
    MUST_ANSWER(s, "{\"id\":\"worker.1\",\"slot\":1}", "worker.1", "own.who");
}

/* ---- the log ---- */

static void log__line_with_fields__protocol_and_escapes(void **state)
{
    struct server *s = start(*state, NULL);

    server_expect(s, "msg=\"as told\" protocol=own");
    MUST_ANSWER(s, "null", "worker.2", "own.log", "text=a b\n\"c\"");
    server_wait_log(s,
                    "level=info actor=worker\\.2 .*msg=\"as told\" protocol=own "
                    "text=\"a b\\\\n\\\\\"c\\\\\"\" len=7$",
                    1);
    for (int i = 0; i < 3; i++)
        MUST_ANSWER(s, "null", "worker.1", "own.log", "text=x", "warning=true");
    server_wait_log(s, "level=warning actor=worker\\.1 .*msg=\"as told\" protocol=own", 1);
    server_wait_log(s, "level=warning actor=worker\\.1 .*protocol=own .*repeated=2", 1);
}

/* ---- callbacks that never return ---- */

static void expect_hang(struct server *s)
{
    server_expect(s, "worker hangs: aborting it\" ");
    server_expect(s, "msg=\"(worker crashes|backtrace)\" signal=ABRT ");
    server_expect(s, "worker died\" .*(signal=ABRT|repeated=)");
    server_expect(s, "msg=\"crash\" .*signal=ABRT ");
}

static void spin__in_a_timer__that_worker_is_aborted_and_replaced(void **state)
{
    struct server *s = start(*state, "arbiter = { timeout = 1; };");

    expect_hang(s);
    MUST_ANSWER(s, "true", "worker.1", "own.spin");
    while (server_log_count(s, "worker died\" ") == 0)
        MUST_ANSWER(s, "{\"id\":\"worker.2\",\"slot\":2}", "worker.2", "own.who");
    server_wait_workers(s, 2);
    MUST_ANSWER(s, "{\"id\":\"worker.1\",\"slot\":1}", "worker.1", "own.who");
}

static void spin__in_on_data__that_worker_is_aborted_and_replaced(void **state)
{
    struct server *s = start(*state, "arbiter = { timeout = 1; };");
    int fd = peer_connect(s->addr[0]);

    expect_hang(s);
    peer_echo(fd, "hello");
    peer_send_text(fd, "spin");
    while (server_log_count(s, "worker died\" ") == 0)
        MUST(peer_is_served(s->addr[0], WAIT_MS), "nobody else is served");
    MUST(peer_drain(fd, WAIT_MS, NULL) != PEER_SILENT, "its own connection is still open");
    server_wait_workers(s, 2);
    server_must_be_well(s, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(counters__counted_in_two_workers__summed_and_explained),
        IT(counters__a_worker_dies__what_it_counted_stays),
        IT(counters__reload__go_on),
        IT(counters__upgrade_and_back__by_name),
        IT(counters__stop__in_the_log),
        IT(commands__now_and_later__answered),
        IT(commands__never_or_too_long__an_error),
        IT(commands__wrong__refused_with_what_is_right),
        IT(commands__listed__with_arguments_and_help),
        IT(commands__asker_is_gone__answer_for_nobody),
        IT(commands__upgrade_in_between__said),
        IT(log__line_with_fields__protocol_and_escapes),
        IT(spin__in_a_timer__that_worker_is_aborted_and_replaced),
        IT(spin__in_on_data__that_worker_is_aborted_and_replaced),
    };

    return it_run(tests);
}
