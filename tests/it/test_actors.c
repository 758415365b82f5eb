/*
 * Actors of other kinds than workers, seen from outside: a program with a clock, which runs in the
 * framework's loop, and a looper, which has a loop of its own.
 */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* What the program does from now on: see tests/tools/kinds_server.c. */
static void tell(struct it *it, const char *word)
{
    FILE *f = fopen(it_path(it, "told"), "we");

    MUST(f, "%s", strerror(errno));
    fprintf(f, "%s\n", word);
    fclose(f);
}

static struct server *start(struct it *it, const char *conf)
{
    static char env[128];

    tell(it, "nothing");
    snprintf(env, sizeof(env), "KINDS_TEST=%s", it_path(it, "told"));
    install(it, "tests/kinds_server");
    return server_start(it, .conf = conf, .binary = it_path(it, "server"), .env = {env});
}

static char *control_of(struct server *s)
{
    const size_t size = strlen(s->run) + sizeof("/control");
    char *path = peer_alloc(size);

    snprintf(path, size, "%s/control", s->run);
    return path;
}

#define ASK(s, ...) RUN((s)->it, NO_INPUT, "-C", control_of(s), "--json", __VA_ARGS__)

static void must_say(const struct tool_run *r, const char *expected)
{
    MUST(r->code == 0 && strstr(r->out, expected), "%d: '%s%s', expected '%s'", r->code, r->err,
         r->out, expected);
}

#define MUST_SAY(s, expected, ...)                                                                 \
    do {                                                                                           \
        struct tool_run r_ = ASK(s, __VA_ARGS__);                                                  \
        must_say(&r_, expected);                                                                   \
    } while (0)

static void must_refuse(const struct tool_run *r, const char *expected)
{
    MUST(r->code != 0 && strstr(r->err, expected), "%d: '%s%s', expected '%s'", r->code, r->err,
         r->out, expected);
}

#define MUST_REFUSE(s, expected, ...)                                                              \
    do {                                                                                           \
        struct tool_run r_ = ASK(s, __VA_ARGS__);                                                  \
        must_refuse(&r_, expected);                                                                \
    } while (0)

/* The process that runs as @id; 0 = there is none. */
static pid_t actor_pid(struct server *s, const char *id)
{
    struct tool_run r = ASK(s, "actors");
    json_t *all = json_loads(r.out, 0, NULL), *row;
    pid_t pid = 0;
    size_t i;

    MUST(json_is_array(all), "%s%s", r.err, r.out);
    json_array_foreach(all, i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "id")), id) == 0 &&
            strcmp(json_string_value(json_object_get(row, "state")), "run") == 0)
            pid = (pid_t)json_integer_value(json_object_get(row, "pid"));
    }
    json_decref(all);
    return pid;
}

static pid_t must_run(struct server *s, const char *id)
{
    pid_t pid = 0;

    MUST_COME((pid = actor_pid(s, id)) != 0, "no %s runs", id);
    return pid;
}

/* Another process than @old. */
static pid_t must_run_anew(struct server *s, const char *id, pid_t old)
{
    pid_t pid = 0;

    MUST_COME((pid = actor_pid(s, id)) != 0 && pid != old, "no other %s runs", id);
    return pid;
}

static void actors__started__listed_and_commanded(void **state)
{
    struct server *s = start(*state, NULL);
    struct tool_run r;

    must_run(s, "clock.1");
    must_run(s, "looper.1");
    assert_int_equal(actor_pid(s, "extra.1"), 0);
    MUST_SAY(s, "\"id\":\"clock.1\",\"kind\":\"clock\",\"slot\":1,\"incarnation\":1", "info");
    MUST_SAY(s, "\"pong\"", "call", "clock.1", "ping");
    MUST_SAY(s, "\"kind\":\"looper\"", "call", "looper.1", "info");
    MUST_SAY(s, "", "call", "clock.1", "clock.ticks");
    MUST_SAY(s, "\"name\":\"clock.ticks\"", "commands");
    MUST_REFUSE(s, "there is no actor 'clock.2'", "call", "clock.2", "ping");
    MUST_REFUSE(s, "clock.1 to 1, looper.1 to 1", "call", "clock.2", "ping");
    MUST_REFUSE(s, "clock.ticks is a command of clock", "call", "worker.1", "clock.ticks");
    MUST_REFUSE(s, "reload is a command of the arbiter", "call", "clock.1", "reload");
    MUST_SAY(s, "\"noted\":\"clock.1\"", "call", "arbiter", "notify", "actor=clock.1",
             "info={\"a\":1}");
    r = RUN(*state, NO_INPUT, "-C", control_of(s), "info");
    MUST(r.code == 0 && strstr(r.out, "clock.1"), "%s%s", r.err, r.out);
    server_must_be_well(s, 2);
}

static void actors__killed__restarted(void **state)
{
    struct server *s = start(*state, NULL);
    pid_t pid = must_run(s, "clock.1");

    server_expect(s, "actor died\" id=clock.1");
    kill(pid, SIGKILL);
    pid = must_run_anew(s, "clock.1", pid);
    server_wait_log(s, "actor died\" id=clock.1 .*kind=signal signal=KILL", 1);
    kill(pid, SIGKILL);
    must_run_anew(s, "clock.1", pid);
    MUST_SAY(s, "\"id\":\"clock.1\",\"kind\":\"clock\",\"slot\":1,\"incarnation\":3", "info");
    MUST_SAY(s, "\"restarts\":2", "info");
    server_must_be_well(s, 2);
}

static void actors__told_to_stop__replaced(void **state)
{
    struct server *s = start(*state, NULL);
    const pid_t clock = must_run(s, "clock.1"), looper = must_run(s, "looper.1");

    MUST_SAY(s, "\"killed\":false", "call", "arbiter", "kill_actor", "actor=looper.1");
    server_wait_log(s, "actor=looper.1 .*msg=\"the looper ends\" turns=[0-9]+$", 1);
    must_run_anew(s, "looper.1", looper);
    kill(clock, SIGTERM);
    must_run_anew(s, "clock.1", clock);
    server_wait_log(s, "actor asks to be replaced\" id=clock.1 .*reason=SIGTERM", 1);
    server_wait_log(s, "actor=clock.1 .*msg=\"the clock stops\"", 1);
    server_must_be_well(s, 2);
}

static void actors__spawned__kept_and_replaced_by_a_reload(void **state)
{
    struct server *s = start(*state, NULL);
    int fd = peer_connect(s->addr[0]);
    pid_t first, second, third;

    MUST_SAY(s, "\"clock.2\"", "call", "arbiter", "spawn", "kind=clock");
    peer_send_text(fd, "spawn clock\n");
    peer_expect_text(fd, "clock.3\n");
    peer_send_text(fd, "spawn nothing\nspawn worker\n");
    peer_expect_text(fd, "error 2\nerror 2\n");
    peer_close(fd);
    MUST_SAY(s, "0", "call", "arbiter", "arbiter.extra");
    must_run(s, "extra.1");
    MUST_REFUSE(s, "there is no kind 'nothing' of actors", "call", "arbiter", "spawn",
                "kind=nothing");
    first = must_run(s, "clock.1");
    second = must_run(s, "clock.2");
    third = must_run(s, "clock.3");
    MUST_SAY(s, "\"revision\":2", "reload");
    must_run_anew(s, "clock.1", first);
    must_run_anew(s, "clock.2", second);
    must_run_anew(s, "clock.3", third);
    server_wait_log(s, "msg=\"the clock stops\"", 3);
    MUST_SAY(s, "\"workers\":3", "scale", "3");
    server_wait_workers(s, 3);
    assert_int_equal(actor_pid(s, "clock.4"), 0);
    MUST_SAY(s, "\"workers\":2", "scale", "2");
    server_must_be_well(s, 2);
    must_run(s, "clock.3");
}

static void actors__as_many_as_there_can_be__the_next_is_refused(void **state)
{
    struct server *s = start(*state, NULL);
    int fd = peer_connect(s->addr[0]);

    for (unsigned i = 1; i <= 64; i++) {
        char expected[32];

        snprintf(expected, sizeof(expected), "extra.%u\n", i);
        peer_send_text(fd, "spawn extra\n");
        peer_expect_text(fd, expected);
    }
    peer_send_text(fd, "spawn extra\n");
    peer_expect_text(fd, "error 28\n");
    peer_close(fd);
    MUST_REFUSE(s, "there are 64 actors of kind extra, allowed: at most 64", "call", "arbiter",
                "spawn", "kind=extra");
    must_run(s, "extra.64");
    server_must_be_well(s, 2);
}

static void actors__start_fails_in_a_reload__taken_back(void **state)
{
    struct server *s = start(*state, NULL);
    const pid_t pid = must_run(s, "clock.1");

    server_expect(s, "actor cannot start|actor died|reload refused|actor killed|worker killed");
    tell(*state, "fail-start");
    MUST_REFUSE(s, "a new clock died before it was ready", "reload");
    assert_int_equal(must_run(s, "clock.1"), pid);
    MUST_SAY(s, "\"revision\":1", "info");
    tell(*state, "nothing");
    MUST_SAY(s, "\"revision\":3", "reload");
    must_run_anew(s, "clock.1", pid);
    server_must_be_well(s, 2);
}

/* The second version does not know the kind `extra`. */
static void actors__upgrade__replaced_or_ended_by_name(void **state)
{
    struct server *s = start(*state, NULL);
    const pid_t clock = must_run(s, "clock.1"), looper = must_run(s, "looper.1");
    pid_t second;

    MUST_SAY(s, "\"clock.2\"", "call", "arbiter", "spawn", "kind=clock");
    MUST_SAY(s, "\"extra.1\"", "call", "arbiter", "spawn", "kind=extra");
    second = must_run(s, "clock.2");
    install(*state, "tests/kinds_server_second");
    MUST_SAY(s, "\"old_version\"", "upgrade");
    must_run_anew(s, "clock.1", clock);
    must_run_anew(s, "clock.2", second);
    must_run_anew(s, "looper.1", looper);
    server_wait_log(s, "actor ended\" id=extra.1", 1);
    server_wait_log(s, "actor=arbiter .*msg=\"init\"", 2);
    MUST_REFUSE(s, "there is no kind 'extra' of actors", "call", "arbiter", "spawn", "kind=extra");
    server_must_be_well(s, 2);
    /* And back: what was spawned is wanted again. */
    install(*state, "tests/kinds_server");
    MUST_SAY(s, "\"old_version\"", "upgrade");
    must_run(s, "clock.2");
    must_run(s, "extra.1");
    server_must_be_well(s, 2);
}

static void actors__start_or_init_fails_in_an_upgrade__taken_back(void **state)
{
    static const char *const words[] = {"fail-start", "fail-init"};
    static const char *const reasons[] = {"a new clock died before it was ready",
                                          "kinds-server cannot begin in the arbiter: "};
    struct server *s = start(*state, NULL);
    pid_t clock, extra;

    server_expect(s, "actor cannot start|actor died|upgrade|actor killed|worker killed");
    server_expect(s, "the program is without what it has in the arbiter");
    MUST_SAY(s, "\"extra.1\"", "call", "arbiter", "spawn", "kind=extra");
    clock = must_run(s, "clock.1");
    extra = must_run(s, "extra.1");
    for (size_t i = 0; i < ARRAY_SIZE(words); i++) {
        install(*state, "tests/kinds_server_second");
        tell(*state, words[i]);
        MUST_REFUSE(s, reasons[i], "upgrade");
        tell(*state, "nothing");
        assert_int_equal(must_run(s, "clock.1"), clock);
        assert_int_equal(must_run(s, "extra.1"), extra);
    }
    MUST_SAY(s, "\"extra.2\"", "call", "arbiter", "spawn", "kind=extra");
    server_must_be_well(s, 2);
}

static void actors__init_fails__no_start(void **state)
{
    static char env[128];

    tell(*state, "fail-init");
    snprintf(env, sizeof(env), "KINDS_TEST=%s", it_path(*state, "told"));
    server_refuses(*state, 71,
                   "kinds-server cannot begin in the arbiter: ", .binary = "tests/kinds_server",
                   .env = {env});
}

/* From a worker to the clock, from there to the looper, from there to the arbiter. */
static void actors__messages__heard_in_every_kind_of_process(void **state)
{
    struct server *s = start(*state, NULL);
    int fd = peer_connect(s->addr[0]);

    must_run(s, "clock.1");
    must_run(s, "looper.1");
    peer_send_text(fd, "tell clock.1\n");
    peer_expect_text(fd, "0\n");
    peer_close(fd);
    server_wait_log(s, "actor=clock.1 .*msg=\"heard\" from=worker\\.[12] topic=tell", 1);
    server_wait_log(s, "actor=looper.1 .*msg=\"heard\" from=clock.1 topic=told", 1);
    server_wait_log(s, "actor=arbiter .*msg=\"heard\" from=looper.1 topic=\"told too\"", 1);
    server_must_be_well(s, 2);
}

static void actors__hangs__aborted_and_replaced(void **state)
{
    struct server *s = start(*state, "arbiter = { timeout = 1; };");
    const pid_t clock = must_run(s, "clock.1"), looper = must_run(s, "looper.1");

    server_expect(s, "actor hangs: aborting it\" id=clock.1");
    server_expect(s, "msg=\"(actor crashes|backtrace)\" signal=ABRT ");
    server_expect(s, "actor died\" id=clock.1 .*signal=ABRT");
    server_expect(s, "msg=\"crash\" .*signal=ABRT .*id=clock.1");
    MUST_SAY(s, "true", "call", "clock.1", "clock.spin");
    must_run_anew(s, "clock.1", clock);
    server_wait_log(s, "msg=\"crash\" .*id=clock.1", 1);
    MUST_SAY(s, "\"id\":\"clock.1\",\"slot\":1", "crashes");
    /* The looper has beaten all the time: it waits in arb_actor_wait. */
    assert_int_equal(must_run(s, "looper.1"), looper);
    server_must_be_well(s, 2);
}

static uint64_t beat_of(struct server *s, pid_t pid)
{
    const struct score_record *r = server_record(s, pid);

    return r ? counter_get(&r->heartbeat_ns) : 0;
}

/* What it hears of in that time is that it runs, and that it is to end; and perhaps how far the
 * messages between actors have come. A turn for each heartbeat would be three more. */
static void actors__waits_long__beats_and_is_not_disturbed(void **state)
{
    struct server *s = start(*state, "arbiter = { timeout = 1; };");
    pid_t looper = must_run(s, "looper.1");

    tell(*state, "sleepy");
    MUST_SAY(s, "\"revision\":2", "reload");
    looper = must_run_anew(s, "looper.1", looper);
    for (int i = 0; i < 3; i++) {
        const uint64_t beat = beat_of(s, looper);

        MUST_COME(beat_of(s, looper) != beat, "no heartbeat");
    }
    MUST_SAY(s, "\"killed\":false", "call", "arbiter", "kill_actor", "actor=looper.1");
    server_wait_log(s, "actor=looper.1 pid=[0-9]+ msg=\"the looper ends\" turns=[12]$", 1);
    must_run_anew(s, "looper.1", looper);
}

/* One that takes no notice has exit_timeout, with an arbiter and without. */
static void actors__stubborn__killed_or_ended_by_an_alarm(void **state)
{
    struct server *s = start(*state, "arbiter = { exit_timeout = 0.3; };");
    const pid_t looper = must_run(s, "looper.1");

    tell(*state, "stubborn");
    server_expect(s, "actor killed\" id=looper.1 .*not gone within arbiter.exit_timeout");
    MUST_SAY(s, "\"revision\":2", "reload");
    must_run_anew(s, "looper.1", looper);
    server_wait_log(s, "actor killed\" id=looper.1 ", 1);
    server_expect(s, "the arbiter is gone");
    server_signal(s, SIGKILL);
    MUST(server_wait_exit(s, WAIT_MS) == 128 + SIGKILL, "it was not killed");
    it_wait_orphans(*state);
    assert_int_equal(server_log_count(s, "the looper ends"), 0);
}

/* Connections go to workers, and to nobody else. */
static void actors__with_connections__all_kept(void **state)
{
    enum { N = 40 };
    struct server *s = start(*state, "log = { level = \"debug\"; };");
    int fds[N];

    MUST_SAY(s, "\"clock.2\"", "call", "arbiter", "spawn", "kind=clock");
    for (int i = 0; i < N; i++) {
        fds[i] = peer_connect(s->addr[0]);
        peer_send_text(fds[i], "first\n");
        peer_expect_text(fds[i], "first\n");
    }
    for (int round = 0; round < 3; round++) {
        if (round == 0)
            MUST_SAY(s, "\"revision\":2", "reload");
        else if (round == 1)
            MUST_SAY(s, "\"workers\":1", "scale", "1");
        else
            MUST_SAY(s, "\"old_version\"", "upgrade");
        server_wait_workers(s, round == 0 ? 2 : 1);
        for (int i = 0; i < N; i++) {
            peer_send_text(fds[i], "again\n");
            peer_expect_text(fds[i], "again\n");
        }
    }
    for (int i = 0; i < N; i++)
        peer_close(fds[i]);
    must_run(s, "clock.2");
    MUST(server_log_count(s, "actor=worker.[12] .*msg=\"message\" .*command=take ") > 0, "no take");
    assert_int_equal(server_log_count(s, "actor=clock.[12] .*command=(take|give|collect) "), 0);
    MUST_SAY(s, "\"workers\":2", "scale", "2");
    server_must_be_well(s, 2);
}

static void actors__arbiter_killed__end_themselves(void **state)
{
    struct server *s = start(*state, NULL);

    server_expect(s, "the arbiter is gone");
    must_run(s, "clock.1");
    must_run(s, "looper.1");
    server_signal(s, SIGKILL);
    MUST(server_wait_exit(s, WAIT_MS) == 128 + SIGKILL, "it was not killed");
    it_wait_orphans(*state);
    server_wait_log(s, "actor=clock.1 .*msg=\"the clock stops\"", 1);
    server_wait_log(s, "actor=looper.1 .*msg=\"the looper ends\"", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(actors__started__listed_and_commanded),
        IT(actors__killed__restarted),
        IT(actors__told_to_stop__replaced),
        IT(actors__spawned__kept_and_replaced_by_a_reload),
        IT(actors__as_many_as_there_can_be__the_next_is_refused),
        IT(actors__start_fails_in_a_reload__taken_back),
        IT(actors__upgrade__replaced_or_ended_by_name),
        IT(actors__start_or_init_fails_in_an_upgrade__taken_back),
        IT(actors__init_fails__no_start),
        IT(actors__messages__heard_in_every_kind_of_process),
        IT(actors__hangs__aborted_and_replaced),
        IT(actors__waits_long__beats_and_is_not_disturbed),
        IT(actors__stubborn__killed_or_ended_by_an_alarm),
        IT(actors__with_connections__all_kept),
        IT(actors__arbiter_killed__end_themselves),
    };

    return it_run(tests);
}
