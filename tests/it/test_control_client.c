/*
 * echo-client over the control socket, as operators and scripts use it: a real server, or one that
 * says what a case wants.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <utmp.h>

#include "base/counters.h"
#include "base/fds.h"
#include "base/util.h"
#include "client/columns.h"
#include "support/server.h"
#include "support/tool.h"

/* Where the harness lets a server put its control socket. */
static char *control_of(struct server *s)
{
    size_t size = strlen(s->run) + sizeof("/control");
    char *path = peer_alloc(size);

    snprintf(path, size, "%s/control", s->run);
    return path;
}

static void must_have(const char *text, const char *part)
{
    MUST(strstr(text, part), "has no '%s': %s", part, text);
}

static size_t count_lines(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += *text == '\n';
    return n;
}

/* The JSON that a successful run has printed, one line. */
static json_t *printed_json(const struct tool_run *r)
{
    json_t *o;

    MUST(r->code == 0 && r->err[0] == '\0', "exit code %d: %s", r->code, r->err);
    MUST(count_lines(r->out) == 1, "not one line: %s", r->out);
    o = json_loads(r->out, JSON_DECODE_ANY, NULL);
    MUST(o, "no JSON: %s", r->out);
    return o;
}

/* ---- asking ---- */

static void info__json__all_fields_and_exact_sums(void **state)
{
    static const char *const arbiter_fields[] = {"pid",      "version", "state",    "uptime_ms",
                                                 "revision", "reloads", "restarts", "binds"};
    static const char *const worker_fields[] = {"id",          "slot",
                                                "incarnation", "pid",
                                                "state",       "uptime_ms",
                                                "connections", "accepted",
                                                "requests",    "bytes_in",
                                                "bytes_out",   "moved_in",
                                                "moved_out",   "heartbeat_age_ms"};
    static const char *const counters[] = {
#define X(field, help) #field,
        COUNTERS(X)
#undef X
    };
    struct it *it = *state;
    struct server *s = server_start(it);
    json_t *info, *arbiter, *workers, *totals;
    struct tool_run r;

    for (int i = 0; i < 10; i++) {
        r = RUN(it, NO_INPUT, "-a", s->addr[0], "one", "two");
        tool_must_print(&r, "one\ntwo\n", 8);
    }
    MUST_COME(server_gauge(s, connections) == 0, "connections stay");
    r = RUN(it, NO_INPUT, "-C", control_of(s), "info", "--json");
    info = printed_json(&r);
    arbiter = json_object_get(info, "arbiter");
    workers = json_object_get(info, "workers");
    totals = json_object_get(info, "totals");
    for (size_t i = 0; i < ARRAY_SIZE(arbiter_fields); i++)
        MUST(json_object_get(arbiter, arbiter_fields[i]), "arbiter: no %s", arbiter_fields[i]);
    assert_int_equal(json_array_size(workers), 2);
    for (size_t i = 0; i < ARRAY_SIZE(worker_fields); i++)
        MUST(json_object_get(json_array_get(workers, 1), worker_fields[i]), "worker: no %s",
             worker_fields[i]);
    for (size_t i = 0; i < ARRAY_SIZE(counters); i++)
        MUST(json_object_get(totals, counters[i]), "totals: no %s", counters[i]);
    assert_int_equal(json_integer_value(json_object_get(arbiter, "pid")), s->pid);
    assert_int_equal(json_integer_value(json_object_get(totals, "accepted")), 10);
    assert_int_equal(json_integer_value(json_object_get(totals, "requests")), 20);
    assert_int_equal(json_integer_value(json_object_get(totals, "bytes_in")), 10 * 14);
    assert_int_equal(json_integer_value(json_object_get(totals, "bytes_out")), 10 * 14);
    json_decref(info);
}

static void info__for_people__a_table_without_escape_sequences(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r = RUN(it, NO_INPUT, "info", "-C", control_of(s));

    assert_int_equal(r.code, 0);
    must_have(r.out, "VERSION ");
    must_have(r.out, "\n" ECHO_VERSION " ");
    must_have(r.out, s->addr[0]);
    must_have(r.out, s->conf);
    must_have(r.out, "WORKER ");
    must_have(r.out, "\nworker.1 ");
    must_have(r.out, "\nworker.2 ");
    must_have(r.out, "\ntotal ");
    MUST(!strchr(r.out, '\033'), "escape sequences: %s", r.out);
}

static void ready__of_a_server_and_of_none__says_so_and_exits(void **state)
{
    struct it *it = *state;
    char env[256];

    snprintf(env, sizeof(env), "ECHO_TEST_HOOK=%s", it_path(it, "hook"));
    struct server *s = server_start(it, .conf = "arbiter: { keepers = false; workers = 2; };",
                                    .binary = "test/echo-arbiter", .env = {env});
    char *control = control_of(s);
    struct tool_run r = RUN(it, NO_INPUT, "-C", control, "ready");

    tool_must_print(&r, "ready\n", 6);
    r = RUN(it, NO_INPUT, "-C", control, "--json", "ready");
    tool_must_print(&r, "{\"ready\":true}\n", 15);
    /* One that hangs is no reason to send all clients elsewhere. Of two, nobody is left. */
    it_write(it, "hook", "hang 0\n");
    server_expect(s, "worker died");
    server_expect(s, "worker killed");
    kill(server_slot_pid(s, 1), SIGKILL);
    server_wait_log(s, "worker died.*slot=1", 1);
    r = RUN(it, NO_INPUT, "-C", control, "ready");
    tool_must_print(&r, "ready\n", 6);
    kill(server_slot_pid(s, 2), SIGKILL);
    server_wait_log(s, "worker died.*slot=2", 1);
    r = RUN(it, NO_INPUT, "-C", control, "ready");
    MUST(r.code == 1, "exit code %d: %s", r.code, r.err);
    tool_must_print(&(struct tool_run){.out = r.out, .err = r.err, .out_len = r.out_len},
                    "not ready: no worker runs\n", 26);
    server_signal(s, SIGTERM);
    assert_int_equal(server_wait_exit(s, WAIT_MS), 0);
    r = RUN(it, NO_INPUT, "-C", control, "ready");
    tool_must_fail(&r, 69, "no server there");
}

static void call__each_kind_of_actor__answers(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    char *control = control_of(s);
    struct tool_run r = RUN(it, NO_INPUT, "-C", control, "call", "workers", "ping");
    json_t *o;

    tool_must_print(&r, "worker.1: pong\nworker.2: pong\n", 30);
    r = RUN(it, NO_INPUT, "-C", control, "call", "arbiter", "ping");
    tool_must_print(&r, "pong\n", 5);
    r = RUN(it, NO_INPUT, "-C", control, "--json", "call", "worker.1", "info");
    o = printed_json(&r);
    assert_string_equal(json_string_value(json_object_get(o, "id")), "worker.1");
    json_decref(o);
    r = RUN(it, NO_INPUT, "-C", control, "--json", "call", "workers", "ping");
    o = printed_json(&r);
    assert_int_equal(json_object_size(o), 2);
    json_decref(o);
}

static void call__arguments__of_the_types_that_the_command_wants(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    char *control = control_of(s);
    struct tool_run r = RUN(it, NO_INPUT, "-C", control, "call", "worker.2", "echo", "message=12");

    tool_must_print(&r, "12\n", 3);
    r = RUN(it, NO_INPUT, "-C", control, "call", "arbiter", "echo", "message=a\033[2J");
    tool_must_print(&r, "\"a\\u001B[2J\"\n", 13);
    r = RUN(it, NO_INPUT, "-C", control, "--json", "call", "arbiter", "echo", "message=true");
    tool_must_print(&r, "\"true\"\n", 7);
    r = RUN(it, NO_INPUT, "-C", control, "call", "arbiter", "notify", "info={\"by\":\"me\"}",
            "actor=worker.1");
    assert_int_equal(r.code, 0);
    r = RUN(it, NO_INPUT, "-C", control, "info");
    must_have(r.out, "\nNOTE OF ");
    must_have(r.out, "\nworker.1 ");
    must_have(r.out, "{\"by\":\"me\"}");
}

static void call__refused__code_and_a_way_on(void **state)
{
    static const struct {
        const char *words[4];
        const char *text;
    } rows[] = {
        {{"worker.99", "ping"}, "list them with: echo-client actors"},
        {{"nobody", "ping"}, "list them with: echo-client actors"},
        {{"arbiter", "jump"}, "there is no command 'jump': list them with: echo-client commands"},
        {{"worker.1", "scale", "workers=2"}, "scale"},
        {{"arbiter", "scale", "workers=0"}, "a whole number from 1 to 1024"},
        {{"arbiter", "scale", "workers=many"}, "a whole number from 1 to 1024"},
        {{"arbiter", "scale"}, "scale needs workers"},
        {{"arbiter", "config", "key=keep_alive"},
         "there is no key 'keep_alive': write server.keep_alive: "},
        {{"arbiter", "config", "key=server.foo"}, "'server.foo': server has bind, "},
        {{"arbiter", "config", "key=zz"}, "'zz': the groups are arbiter, "},
        {{"worker.1", "log_level", "level=loud"},
         "level must be debug, info, warning or error, not \"loud\""},
        {{"arbiter", "kill_actor", "actor=arbiter"}, "kill_actor ends one worker, worker.N"},
        {{"arbiter", "kill_actor", "actor=worker.1", "timeout=-1"}, ", not -1"},
        {{"arbiter", "kill_actor", "actor=workers"}, "stop ends the arbiter and all"},
        {{"arbiter", "kill_actor", "actor=worker.99"}, "name here: worker.1 to worker.2"},
        {{"worker.1", "stop", "to=[\"worker.77\"]"}, "stop has no argument 'to'"},
        {{"arbiter", "ping", "force=true"}, "ping has no argument 'force'"},
        {{"arbiter", "echo", "message"}, "KEY=VALUE"},
        {{"arbiter", "echo", "message=1", "message=2"}, "given twice"},
        {{"arbiter", "\xff"}, "not UTF-8"},
    };
    struct it *it = *state;
    struct server *s = server_start(it);
    char *control = control_of(s);

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *const *w = rows[i].words;
        struct tool_run r =
            RUN(it, NO_INPUT, "-C", control, "call", w[0], w[1], w[2], w[2] ? w[3] : NULL);

        tool_must_fail(&r, 64, rows[i].text);
        MUST(r.out_len == 0, "row %zu printed: %s", i, r.out);
    }
    MUST(server_accepting(s) == 2, "something has changed");
}

/* Two bytes each: the most that a line of the control socket holds, there and back. */
static void call__text_beyond_ascii__as_it_was_to_every_actor(void **state)
{
    enum { N = 30000 };
    struct it *it = *state;
    char *control = control_of(server_start(it)), *word = peer_alloc(2 * N + 16);
    static const char *const actors[] = {"arbiter", "worker.1"};

    memcpy(word, "message=", 9);
    for (char *p = word + 8; p < word + 8 + 2 * N;)
        p = stpcpy(p, "\xc3\xbc");
    for (size_t i = 0; i < ARRAY_SIZE(actors); i++) {
        struct tool_run r = RUN(it, NO_INPUT, "-C", control, "call", actors[i], "echo", word);

        assert_int_equal(r.code, 0);
        assert_int_equal(r.out_len, 2 * N + 1);
        assert_memory_equal(r.out, word + 8, 2 * N);
    }
}

/* A line that the socket takes, and that names and number of the sender make too long. */
static void call__longer_than_a_worker_takes__refused_for_good(void **state)
{
    enum { N = 65461 };
    struct it *it = *state;
    struct server *s = server_start(it);
    char *control = control_of(s), *word = peer_alloc(N + 16);
    struct tool_run r;

    snprintf(word, N + 16, "message=%0*d", N, 0);
    server_expect(s, "mailbox: not sent");
    r = RUN(it, NO_INPUT, "-C", control, "call", "arbiter", "echo", word);
    assert_int_equal(r.code, 0);
    r = RUN(it, NO_INPUT, "-C", control, "call", "worker.1", "echo", word);
    tool_must_fail(&r, 64, "too long for a worker: a message to one has at most 65536 bytes");
    r = RUN(it, NO_INPUT, "-C", control, "call", "worker.1", "ping");
    tool_must_print(&r, "pong\n", 5);
}

/* What it would disable is info, and with it top and everything that looks. */
static void call__note_too_deep_or_too_long__refused_and_info_goes_on(void **state)
{
    struct it *it = *state;
    char *control = control_of(server_start(it));
    char deep[2048] = "info=", *p = deep + 5, fill[4200], word[4300];
    struct tool_run r;

    for (int i = 0; i < 300; i++)
        p = stpcpy(p, "{\"a\":");
    p = stpcpy(p, "1");
    for (int i = 0; i < 300; i++)
        *p++ = '}';
    *p = '\0';
    r = RUN(it, NO_INPUT, "-C", control, "call", "arbiter", "notify", deep);
    tool_must_fail(&r, 76, "a request is nested at most 16 deep");
    memset(fill, 'x', sizeof(fill));
    for (int extra = 0; extra <= 1; extra++) {
        snprintf(word, sizeof(word), "info={\"a\":\"%.*s\"}", 4096 - 8 + extra, fill);
        r = RUN(it, NO_INPUT, "-C", control, "call", "arbiter", "notify", word);
        if (extra)
            tool_must_fail(&r, 64, "info must be an object of at most 4096 bytes");
        else
            assert_int_equal(r.code, 0);
    }
    r = RUN(it, NO_INPUT, "-C", control, "info");
    assert_int_equal(r.code, 0);
    must_have(r.out, "\narbiter ");
    must_have(r.out, "xxx...\n");
}

/* Addresses of a process that is gone say nothing: they come with the file and the offset in it. */
static void crashes__a_worker_crashed__places_for_addr2line_and_names(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r;

    server_expect(s, "crash|worker died|caught|signal|backtrace|stack");
    kill(server_worker(s, 0), SIGSEGV);
    server_wait_log(s, "msg=\"?crash\"? ", 1);
    r = RUN(it, NO_INPUT, "-C", control_of(s), "crashes", "show", "1");
    assert_int_equal(r.code, 0);
    must_have(r.out, "\"at\": \"");
    must_have(r.out, " echo-arbiter+0x");
    must_have(r.out, " arb_main_abi+0x"); /* its file has symbols; a library exports some */
    must_have(r.out, " __libc_start_main+0x");
    r = RUN(it, NO_INPUT, "-C", control_of(s), "crashes");
    assert_int_equal(r.code, 0);
    must_have(r.out, " AT\n");
    must_have(r.out, "+0x");
    server_wait_workers(s, 2);
}

static void call__refused_with_json__the_answer_as_it_came(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r =
        RUN(it, NO_INPUT, "-C", control_of(s), "--json", "call", "worker.99", "ping");
    json_t *o = json_loads(r.out, 0, NULL);

    tool_must_fail(&r, 64, "worker.99");
    assert_string_equal(json_string_value(json_object_get(json_object_get(o, "error"), "code")),
                        "unknown_actor");
    json_decref(o);
}

static void actors_and_commands__listed(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    char *control = control_of(s);
    struct tool_run r = RUN(it, NO_INPUT, "-C", control, "actors");

    assert_int_equal(r.code, 0);
    assert_int_equal(count_lines(r.out), 6);
    must_have(r.out, "arbiter ");
    must_have(r.out, "worker.2 ");
    must_have(r.out, "keeper.2 ");
    r = RUN(it, NO_INPUT, "-C", control, "commands");
    assert_int_equal(r.code, 0);
    must_have(r.out, "\nscale ");
    must_have(r.out, "  workers   a whole number from 1 to 1024 ");
}

/* What `call` reads its arguments by. */
static void commands__each_argument__has_a_type(void **state)
{
    static const char *const types[] = {"string", "uint", "bool", "object", "names"};
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r = RUN(it, NO_INPUT, "-C", control_of(s), "--json", "commands");
    json_t *o = printed_json(&r), *row, *arg;
    size_t i, k, n = 0;

    json_array_foreach(o, i, row)
    {
        json_array_foreach(json_object_get(row, "args"), k, arg)
        {
            const char *type = json_string_value(json_object_get(arg, "type"));
            size_t t = 0;

            while (t < ARRAY_SIZE(types) && (!type || strcmp(type, types[t]) != 0))
                t++;
            MUST(t < ARRAY_SIZE(types), "%s: of no type", json_dumps(row, 0));
            n++;
        }
    }
    MUST(n >= 8, "only %zu arguments", n);
    json_decref(o);
}

/* ---- steering ---- */

static void reload__good_file__says_what_has_changed(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r;
    char pid[64];

    server_configure(s, "server: { keep_alive = 15; };");
    r = RUN(it, NO_INPUT, "-C", control_of(s), "reload");
    assert_int_equal(r.code, 0);
    must_have(r.out, "reloaded: revision 2, ");
    must_have(r.out, "\nserver.keep_alive  0       15\n");
    server_wait_workers(s, 2);
    must_have(r.out, "\nworker.1  ");
    snprintf(pid, sizeof(pid), " %d\nworker.2 ", (int)server_worker(s, 0));
    must_have(r.out, pid);
}

static void reload__bad_file__78_with_every_reason_and_nothing_changed(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    pid_t before = server_worker(s, 0);
    struct tool_run r;
    json_t *o, *error;

    server_expect(s, "configuration|reload refused");
    server_configure(s, "server: { backlog = \"many\"; keep_alive = -1; };\nnonsense = 1;\n");
    r = RUN(it, NO_INPUT, "-C", control_of(s), "reload");
    MUST(r.code == 78, "exit code %d: %s", r.code, r.err);
    must_have(r.err, "echo-client: reload: ");
    must_have(r.err, "echo-arbiter -t -c FILE\n");
    must_have(r.err, "backlog");
    must_have(r.err, "keep_alive");
    must_have(r.err, "nonsense");
    MUST(r.out_len == 0, "printed: %s", r.out);
    r = RUN(it, NO_INPUT, "-C", control_of(s), "reload", "--json");
    MUST(r.code == 78, "exit code %d: %s", r.code, r.err);
    o = json_loads(r.out, 0, NULL);
    error = json_object_get(o, "error");
    assert_string_equal(json_string_value(json_object_get(error, "code")), "config");
    assert_int_equal(json_array_size(json_object_get(error, "details")), 3);
    json_decref(o);
    assert_int_equal(server_worker(s, 0), before);
}

static void reload__needs_a_start__says_which_line_and_what_to_do(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r;

    server_expect(s, "configuration|reload refused");
    server_configure(s, "log: { level = \"info\"; };\narbiter: { daemon = true; };\n");
    r = RUN(it, NO_INPUT, "-C", control_of(s), "reload");
    MUST(r.code == 78, "exit code %d: %s", r.code, r.err);
    must_have(r.err, "put back the old value, or stop the server and start it anew\n");
    must_have(r.err,
              "echo0.conf:2: arbiter.daemon: \"true\" instead of \"false\" needs a new start\n");
}

static void reload__started_without_a_file__takes_the_command_line(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .is_bare = true,
                                    .args = {"-b", "127.0.0.1:0", "-w", "2", "--ready-fd", "3"});
    struct tool_run r;

    server_signal(s, SIGTTIN);
    server_wait_workers(s, 3);
    r = RUN(it, NO_INPUT, "-C", control_of(s), "reload");
    MUST(r.code == 0, "exit code %d: %s", r.code, r.err);
    must_have(r.out, "reloaded: revision 2");
    server_wait_workers(s, 2);
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 2);
    server_must_be_well(s, 2);
}

static void reload__list_changes__shown_on_one_line(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server: { bind = [\"127.0.0.1:0\"]; };");
    struct tool_run r;

    server_configure(s, "server: { bind = [\"127.0.0.1:0\", \"[::1]:0\"]; };");
    r = RUN(it, NO_INPUT, "-C", control_of(s), "reload");
    MUST(r.code == 0, "exit code %d: %s", r.code, r.err);
    s->arbiter_fds = 0; /* one more address than at the start */
    must_have(r.out, "\nserver.bind  127.0.0.1:0  127.0.0.1:0 [::1]:0\n");
}

/* Both have the default control socket; the second one's is beside the first one's. */
static void servers__two_of_one_user__found_by_address_and_warned_of(void **state)
{
    struct it *it = *state;
    struct server *first = server_start(it), *second;
    char env[160], text[192];
    struct tool_run r;
    json_t *o;

    snprintf(env, sizeof(env), "RUNTIME_DIRECTORY=%s", first->run);
    second = server_start(it, .env = {env});
    server_expect(second, "another server has the default control socket");
    setenv("RUNTIME_DIRECTORY", first->run, 1);
    r = RUN(it, NO_INPUT, "-a", second->addr[0], "--json", "info");
    o = printed_json(&r);
    assert_int_equal(json_integer_value(columns_value(o, "arbiter/pid")), second->pid);
    json_decref(o);
    r = RUN(it, NO_INPUT, "actors");
    assert_int_equal(r.code, 0);
    must_have(r.err, "warning: another server has its control socket at ");
    must_have(r.err, "/control.2, ");
    must_have(r.err, "-a ADDR or -C PATH");
    r = RUN(it, NO_INPUT, "-a", "127.0.0.1:1", "scale", "1");
    tool_must_fail(&r, 69, "-a 127.0.0.1:1: no server that listens there ");
    r = RUN(it, NO_INPUT, "-a", first->addr[0], "stop");
    snprintf(text, sizeof(text), "echo-arbiter has stopped (pid %d, %s)\n", (int)first->pid,
             first->addr[0]);
    tool_must_print(&r, text, strlen(text));
    assert_int_equal(server_wait_exit(first, WAIT_MS), 0);
    /* The one that is left is meant, without any doubt. */
    r = RUN(it, NO_INPUT, "scale", "1");
    snprintf(text, sizeof(text), "1 worker runs\nserver: pid %d, %s\n", (int)second->pid,
             second->addr[0]);
    tool_must_print(&r, text, strlen(text));
    unsetenv("RUNTIME_DIRECTORY");
    server_wait_workers(second, 1);
}

/* For people as it is written, for programs as values of their types. */
static void config__of_a_scaled_server__values_with_their_origin(void **state)
{
    struct it *it = *state;
    struct server *s =
        server_start(it, .conf = "server = { max_message = \"64k\";\nkeep_alive = \"1m\"; };",
                     .args = {"-o", "server.backlog=7"});
    static const char *const lines[] = {
        "\nserver.max_message      64KiB", "\nserver.backlog          7 ",
        "\nserver.keep_alive       60 ", "\narbiter.workers         3 "};
    char *control = control_of(s), *text;
    struct tool_run r = RUN(it, NO_INPUT, "-C", control, "scale", "3");
    json_t *o;

    assert_int_equal(r.code, 0);
    r = RUN(it, NO_INPUT, "-C", control, "call", "arbiter", "config");
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
        must_have(r.out, lines[i]);
    must_have(r.out, " scaled ");
    must_have(r.out, " command line ");
    r = RUN(it, NO_INPUT, "-C", control, "--json", "call", "arbiter", "config",
            "key=server.max_message");
    o = printed_json(&r);
    text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
    must_have(text, "\"line\":1,\"origin\":\"file\"");
    must_have(text, "\"text\":\"64KiB\",\"value\":65536");
    free(text);
    json_decref(o);
    server_wait_workers(s, 3);
}

static void scale__up_and_down__done_when_it_says_so(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    char *control = control_of(s);
    pid_t pids[SERVER_WORKERS_MAX];
    struct tool_run r = RUN(it, NO_INPUT, "-C", control, "scale", "3");

    char text[192];

    snprintf(text, sizeof(text), "3 workers run\nserver: pid %d, %s\n", (int)s->pid, s->addr[0]);
    tool_must_print(&r, text, strlen(text));
    assert_int_equal(server_worker_pids(s, pids), 3);
    server_wait_workers(s, 3); /* the third has been told to, which may still be on its way */
    r = RUN(it, NO_INPUT, "-C", control, "scale", "1");
    snprintf(text, sizeof(text), "1 worker runs\nserver: pid %d, %s\n", (int)s->pid, s->addr[0]);
    tool_must_print(&r, text, strlen(text));
    server_wait_workers(s, 1);
}

static void log__level_and_file__changed_at_once(void **state)
{
    struct it *it = *state;
    char *log = it_path(it, "own.log"), *moved = it_path(it, "own.log.1"), conf[512];
    struct server *s;
    char *control;
    struct tool_run r;

    snprintf(conf, sizeof(conf), "log: { file = \"%s\"; };", log);
    s = server_start(it, .conf = conf);
    control = control_of(s);
    r = RUN(it, NO_INPUT, "-C", control, "log-level", "debug");
    assert_int_equal(r.code, 0);
    must_have(r.out, "debug");
    MUST(rename(log, moved) == 0 && access(log, F_OK) < 0, "rename");
    r = RUN(it, NO_INPUT, "-C", control, "reopen-logs");
    assert_int_equal(r.code, 0);
    MUST(access(log, F_OK) == 0, "no new log file");
}

/* ---- stop ---- */

static void stop__idle_server__returns_when_it_is_gone(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    char *control = control_of(s);
    struct tool_run r;
    char text[192];

    snprintf(text, sizeof(text), "echo-arbiter has stopped (pid %d, %s)\n", (int)s->pid,
             s->addr[0]);
    r = RUN(it, NO_INPUT, "-C", control, "stop");
    tool_must_print(&r, text, strlen(text));
    MUST(server_wait_exit(s, 0) == 0, "it is not gone, or not cleanly");
    r = RUN(it, NO_INPUT, "-C", control, "stop");
    tool_must_fail(&r, 69, "no server there");
}

/* It is named, which takes a question of its own, and yet stops if it never has answered that. */
static void stop__arbiter_stands_still__carried_out_later(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r;

    MUST(kill(s->pid, SIGSTOP) == 0, "SIGSTOP");
    r = RUN(it, NO_INPUT, "-C", control_of(s), "--timeout", "50ms", "stop");
    kill(s->pid, SIGCONT);
    tool_must_fail(&r, 75, "no answer in time");
    assert_int_equal(server_wait_exit(s, WAIT_MS), 0);
}

static void stop__message_under_way__waits_until_now_cuts_it(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { exit_timeout = 600; };"
                                                "server: { message_timeout = 600; };");
    char *control = control_of(s);
    int peer = peer_connect(s->addr[0]);
    struct tool_run r;

    peer_send_text(peer, "half a mess");
    peer_pause_until_acked(peer);
    MUST_COME(server_counter(s, bytes_in) == 11, "the half message is not there");
    r = RUN(it, NO_INPUT, "-C", control, "stop", "--timeout", "0.2");
    tool_must_fail(&r, 75, "echo-client stop --now");
    r = RUN(it, NO_INPUT, "-C", control, "info");
    must_have(r.out, "  stopping ");
    r = RUN(it, NO_INPUT, "-C", control, "--json", "stop", "--now");
    assert_int_equal(r.code, 0);
    must_have(r.out, "{\"stopped\":true,\"pid\":");
    MUST(server_wait_exit(s, 0) == 0, "it is not gone, or not cleanly");
    peer_close(peer);
}

/* ---- no server, or none of ours ---- */

static void control__default_path__as_the_server_finds_it(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r;

    setenv("RUNTIME_DIRECTORY", s->run, 1);
    r = RUN(it, NO_INPUT, "call", "arbiter", "ping");
    unsetenv("RUNTIME_DIRECTORY");
    tool_must_print(&r, "pong\n", 5);
}

static void control__nobody_there__says_where_and_what_to_do(void **state)
{
    struct it *it = *state;
    char *path = it_path(it, "nothing");
    struct tool_run r = RUN(it, NO_INPUT, "-C", path, "info");

    tool_must_fail(&r, 69, "no server there: is echo-arbiter running?");
    must_have(r.err, path);
    must_have(r.err, "-C");
    r = RUN(it, NO_INPUT, "-C", path, "top");
    tool_must_fail(&r, 69, "no server there");
    r = RUN(it, NO_INPUT, "-C", path, "stop", "--json");
    tool_must_fail(&r, 69, "no server there");
    must_have(r.out, "{\"error\":{\"code\":\"refused\",\"message\":\"");
}

static int listen_at(const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 8) == 0,
         "listen: %s", strerror(errno));
    return fd;
}

static void control__server_misbehaves__each_its_own_code_and_sentence(void **state)
{
    static const struct {
        const char *reply; /* NULL = silence */
        int code;
        const char *text;
    } rows[] = {
        {"", 76, "info: connection closed before the answer"},
        {"{\"id\":1,\"resul", 76, "connection closed before the answer"},
        {"hello\n", 76, "that is no answer to the request"},
        {"{\"id\":1,\"result\":{}}\n", 76, "that is no answer to the request"},
        {"{\"id\":1,\"error\":{\"code\":\"busy\",\"message\":\"too much\"}}\n", 75, "too much"},
        {"{\"id\":1,\"error\":{\"code\":\"odd\",\"message\":\"a\\nb\"}}\n", 70, "info: a?b"},
        {NULL, 75, "no answer in time: allow more time with --timeout"},
    };
    struct it *it = *state;
    char *path = it_path(it, "fake");
    int listener = listen_at(path);

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
        struct tool_run r = {0};
        int conn = -1;

        r.pid =
            tool_start(it, io, ARGS("-C", path, "--timeout", rows[i].reply ? "20" : "0.1", "info"));
        MUST_COME((conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0,
                  "nobody connects");
        peer_expect_text(conn, "{\"command\":\"info\",\"id\":1}\n");
        if (rows[i].reply) {
            peer_send_text(conn, rows[i].reply);
            fds_close(&conn);
        }
        r.code = tool_wait(r.pid);
        r.out = tool_read_back(io.out, &r.out_len);
        r.err = tool_read_back(io.err, NULL);
        tool_must_fail(&r, rows[i].code, rows[i].text);
        MUST(r.out_len == 0, "row %zu printed: %s", i, r.out);
        fds_close(&conn);
    }
    close(listener);
    unlink(path);
}

static void control__bad_command_line__usage(void **state)
{
    static const char *const rows[][6] = {
        {"info", "extra"},
        {"-C", "", "info"},
        {"-C",
         "/a/path/that/is/longer/than/what/fits/into/the/address/of/a/unix/socket/which/is/"
         "108/bytes/long/and/not/one/byte/more",
         "info"},
        {"scale"},
        {"scale", "1", "2"},
        {"call", "arbiter"},
        {"stop", "--later"},
        {"stop", "--no"},
        {"log-level"},
        {"reload", "--now"},
        {"top", "-n", "0"},
        {"top", "-i", "0.01"},
        {"top", "-i", "soon"},
        {"top", "word"},
    };
    struct it *it = *state;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct tool_run r = tool_run(it, NO_INPUT, rows[i]);

        MUST(r.code == 64, "row %zu: exit code %d: %s", i, r.code, r.err);
        must_have(r.err, " --help");
        MUST(r.out_len == 0, "row %zu printed: %s", i, r.out);
    }
}

static void control__output_fails__74_or_silent_for_a_closed_pipe(void **state)
{
    static const char *const commands[] = {"info", "top"};
    struct it *it = *state;
    struct server *s = server_start(it);
    char *control = control_of(s);

    for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
        struct tool_io io = {-1, -1, tool_file(it, "err")};
        int pipe_fds[2];

        MUST(pipe2(pipe_fds, O_CLOEXEC) == 0, "pipe2");
        close(pipe_fds[0]);
        io.out = pipe_fds[1];
        assert_int_equal(tool_wait(tool_start(it, io, ARGS("-C", control, commands[i]))), 141);
        assert_string_equal(tool_read_back(io.err, NULL), "");
        close(pipe_fds[1]);
        io.err = tool_file(it, "err");
        io.out = open("/dev/full", O_WRONLY | O_CLOEXEC);
        assert_int_equal(tool_wait(tool_start(it, io, ARGS("-C", control, commands[i]))), 74);
        close(io.out);
        assert_string_equal(tool_read_back(io.err, NULL),
                            "echo-client: standard output: No space left on device\n");
    }
}

/* ---- top, without a terminal ---- */

static void top__no_terminal__lines_of_each_worker_and_all(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r = RUN(it, NO_INPUT, "-C", control_of(s), "top", "-n", "2", "-i", "0.1");

    MUST(r.code == 0 && r.err[0] == '\0', "exit code %d: %s", r.code, r.err);
    assert_int_equal(count_lines(r.out), 1 + 2 * 3);
    MUST(strncmp(r.out, "TIME ", 5) == 0, "no titles: %s", r.out);
    must_have(r.out, " worker.2 ");
    must_have(r.out, " total ");
    MUST(!strchr(r.out, '\033'), "escape sequences: %s", r.out);
}

static void top__json__an_object_a_view(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r =
        RUN(it, NO_INPUT, "--json", "-C", control_of(s), "top", "-n", "1", "-i", "0.1");
    json_t *o = printed_json(&r), *totals = json_object_get(o, "totals");

    assert_int_equal(json_array_size(json_object_get(o, "workers")), 2);
    assert_true(json_is_real(json_object_get(totals, "requests_per_s")));
    assert_int_equal(json_integer_value(json_object_get(json_object_get(o, "arbiter"), "pid")),
                     s->pid);
    json_decref(o);
}

static struct server *start_at(struct it *it, const char *control)
{
    char conf[256];

    snprintf(conf, sizeof(conf), "arbiter: { control = \"%s\"; };", control);
    return server_start(it, .conf = conf);
}

/* With somebody at its control socket. */
static void stop(struct server *s)
{
    server_signal(s, SIGTERM);
    MUST(server_wait_exit(s, WAIT_MS) == 0, "it does not end, or not cleanly");
}

static void top__server_restarts__waits_and_goes_on(void **state)
{
    struct it *it = *state;
    char *control = it_path(it, "c"), pid_text[32];
    struct server *s = start_at(it, control);
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    pid_t pid = tool_start(it, io, ARGS("-C", control, "--json", "top", "-i", "0.1"));
    const char *err;

    MUST_COME(lseek(io.out, 0, SEEK_END) > 0, "nothing is printed");
    stop(s);
    MUST_COME(lseek(io.err, 0, SEEK_END) > 0, "nothing is said");
    s = start_at(it, control);
    s->arbiter_fds = 0; /* top may be there already when they are counted */
    snprintf(pid_text, sizeof(pid_text), "\"pid\":%d,", (int)s->pid);
    MUST_COME(strstr(tool_read_back(dup(io.out), NULL), pid_text), "it does not come back");
    kill(pid, SIGINT);
    assert_int_equal(tool_wait(pid), 130);
    err = tool_read_back(io.err, NULL);
    must_have(err, "echo-client: waiting for ");
    MUST(count_lines(err) == 1, "said more than once: %s", err);
    close(io.out);
}

/* As a server does with clients that say nothing for long: between two views it is no news. */
static void top__connection_dropped_between_views__connects_again_in_silence(void **state)
{
    struct it *it = *state;
    char *path = it_path(it, "fake"), answer[256];
    int listener = listen_at(path);
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    pid_t pid = tool_start(it, io, ARGS("-C", path, "--json", "top", "-n", "2", "-i", "0.1"));

    for (int i = 1; i <= 3; i++) {
        char request[64];
        int conn = -1;

        /* The request on the dropped connection is lost; the one after it has the next number. */
        int id = i == 1 ? 1 : 2 * i - 1;

        MUST_COME((conn = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0,
                  "nobody connects");
        snprintf(request, sizeof(request), "{\"command\":\"info\",\"id\":%d}\n", id);
        peer_expect_text(conn, request);
        snprintf(answer, sizeof(answer),
                 "{\"id\":%d,\"result\":{\"arbiter\":{\"pid\":1},\"workers\":[],\"totals\":{}}}\n",
                 id);
        peer_send_text(conn, answer);
        close(conn);
    }
    assert_int_equal(tool_wait(pid), 0);
    assert_string_equal(tool_read_back(io.err, NULL), "");
    assert_int_equal(count_lines(tool_read_back(io.out, NULL)), 2);
    close(listener);
    unlink(path);
}

static void top__server_gone_and_a_timeout_given__gives_up(void **state)
{
    struct it *it = *state;
    char *control = it_path(it, "c");
    struct server *s = start_at(it, control);
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    pid_t pid = tool_start(it, io, ARGS("-C", control, "--timeout", "0.2", "top", "-i", "0.1"));

    MUST_COME(lseek(io.out, 0, SEEK_END) > 0, "nothing is printed");
    stop(s);
    assert_int_equal(tool_wait(pid), 69);
    must_have(tool_read_back(io.err, NULL), "no server there");
    close(io.out);
}

/* ---- top, on a terminal ---- */

struct terminal {
    int fd;
    pid_t pid;
    struct termios before;
    char buf[1 << 20];
};

static struct terminal *terminal_start(struct it *it, const char *control, unsigned short columns)
{
    struct terminal *t = peer_alloc(sizeof(*t));
    struct winsize size = {.ws_col = columns, .ws_row = 20};
    char *tool = it_build_path(it, "echo-client");
    int own;

    t->buf[0] = '\0';
    MUST(openpty(&t->fd, &own, NULL, NULL, &size) == 0, "openpty: %s", strerror(errno));
    MUST(tcgetattr(own, &t->before) == 0, "tcgetattr");
    t->pid = fork();
    MUST(t->pid >= 0, "fork: %s", strerror(errno));
    if (t->pid == 0) {
        signal(SIGINT, SIG_DFL);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}); /* SIGQUIT */
        setenv("TERM", "xterm", 1);
        unsetenv("NO_COLOR");
        if (login_tty(own) == 0)
            execl(tool, tool, "-C", control, "top", "-i", "0.1", NULL);
        _exit(127);
    }
    fds_set_cloexec(t->fd, true);
    fcntl(t->fd, F_SETFL, O_NONBLOCK);
    close(own);
    return t;
}

static void terminal_expect(struct terminal *t, const char *text)
{
    tool_terminal_expect(t->fd, t->buf, sizeof(t->buf), text);
}

/* Forget what came so far: what is expected next must be new. */
static void terminal_clear(struct terminal *t)
{
    t->buf[0] = '\0';
}

/* It has ended with @code, and the terminal is as it was. */
static void terminal_must_end(struct terminal *t, int code)
{
    struct termios after;
    const char *last;
    int got;

    terminal_expect(t, "\033[?25h\033[?1049l");
    got = tool_wait(t->pid);
    MUST(got == code, "exit code %d, not %d", got, code);
    MUST(tcgetattr(t->fd, &after) == 0, "tcgetattr: %s", strerror(errno));
    MUST(after.c_lflag == t->before.c_lflag && after.c_iflag == t->before.c_iflag &&
             after.c_oflag == t->before.c_oflag,
         "the terminal's settings are not as before");
    last = strstr(t->buf, "\033[?1049l");
    MUST(last && !strstr(last + 1, "\033[H"), "it draws on the first screen");
    close(t->fd);
}

static void top__terminal__drawn_in_place_until_q(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct terminal *t = terminal_start(it, control_of(s), 100);

    terminal_expect(t, "\033[?1049h\033[?25l\033[H");
    terminal_expect(t, ECHO_VERSION " ");
    terminal_expect(t, "worker.2 ");
    MUST(!strstr(t->buf, "TIME "), "lines on a terminal: %s", t->buf);
    terminal_clear(t);
    terminal_expect(t, " 0 B "); /* the second view has rates */
    MUST(write(t->fd, "xq", 2) == 2, "write");
    terminal_must_end(t, 0);
}

static void top__terminal_and_ctrl_c__ends_cleanly(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct terminal *t = terminal_start(it, control_of(s), 100);

    terminal_expect(t, "worker.2 ");
    MUST(write(t->fd, "\003", 1) == 1, "write");
    terminal_must_end(t, 0);
}

static void top__terminal_and_a_signal__given_back_before_it_dies(void **state)
{
    static const int signals[] = {SIGTERM, SIGHUP, SIGQUIT};
    struct it *it = *state;
    struct server *s = server_start(it);

    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        struct terminal *t = terminal_start(it, control_of(s), 100);

        terminal_expect(t, "worker.2 ");
        kill(t->pid, signals[i]);
        terminal_must_end(t, 128 + signals[i]);
    }
}

static void top__suspended__given_back_and_taken_again(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct terminal *t = terminal_start(it, control_of(s), 100);
    int status;

    terminal_expect(t, "worker.2 ");
    MUST(write(t->fd, "\032", 1) == 1, "write");
    terminal_expect(t, "\033[?25h\033[?1049l");
    MUST_COME(waitpid(t->pid, &status, WNOHANG | WUNTRACED) == t->pid && WIFSTOPPED(status),
              "it does not stop");
    terminal_clear(t);
    kill(t->pid, SIGCONT);
    terminal_expect(t, "\033[?1049h\033[?25l\033[H");
    terminal_expect(t, "worker.2 ");
    MUST(write(t->fd, "q", 1) == 1, "write");
    terminal_must_end(t, 0);
}

static void top__window_changes__drawn_anew(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct terminal *t = terminal_start(it, control_of(s), 100);

    terminal_expect(t, "BEAT");
    MUST(ioctl(t->fd, TIOCSWINSZ, &(struct winsize){.ws_col = 20, .ws_row = 5}) == 0, "winsize");
    terminal_clear(t);
    terminal_expect(t, "and 4 more");
    terminal_clear(t);
    terminal_expect(t, "and 4 more");
    MUST(!strstr(t->buf, "BEAT"), "too wide: %s", t->buf);
    MUST(write(t->fd, "q", 1) == 1, "write");
    terminal_must_end(t, 0);
}

static void top__server_restarts_on_a_terminal__waits_and_goes_on(void **state)
{
    struct it *it = *state;
    char *control = it_path(it, "c"), pid_text[32];
    struct server *s = start_at(it, control);
    struct terminal *t = terminal_start(it, control, 200);

    terminal_expect(t, "worker.2 ");
    stop(s);
    terminal_expect(t, "waiting for ");
    terminal_expect(t, "no server there");
    s = start_at(it, control);
    s->arbiter_fds = 0; /* top may be there already when they are counted */
    snprintf(pid_text, sizeof(pid_text), " %d  run ", (int)s->pid);
    terminal_expect(t, pid_text);
    MUST(write(t->fd, "q", 1) == 1, "write");
    terminal_must_end(t, 0);
}

static void top__server_hangs__says_so_and_still_quits(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct terminal *t = terminal_start(it, control_of(s), 200);

    terminal_expect(t, "worker.2 ");
    server_signal(s, SIGSTOP);
    terminal_expect(t, "waiting for an answer (");
    MUST(write(t->fd, "q", 1) == 1, "write");
    terminal_must_end(t, 0);
    server_signal(s, SIGCONT);
}

static void top__terminal_without_columns__lines(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct terminal *t = terminal_start(it, control_of(s), 0);

    terminal_expect(t, "TIME ");
    terminal_expect(t, " total ");
    MUST(write(t->fd, "\003", 1) == 1, "write");
    assert_int_equal(tool_wait(t->pid), 130);
    MUST(!strchr(t->buf, '\033'), "escape sequences: %s", t->buf);
    close(t->fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(info__json__all_fields_and_exact_sums),
        IT(info__for_people__a_table_without_escape_sequences),
        IT(ready__of_a_server_and_of_none__says_so_and_exits),
        IT(call__each_kind_of_actor__answers),
        IT(call__arguments__of_the_types_that_the_command_wants),
        IT(call__refused__code_and_a_way_on),
        IT(call__text_beyond_ascii__as_it_was_to_every_actor),
        IT(call__longer_than_a_worker_takes__refused_for_good),
        IT(call__note_too_deep_or_too_long__refused_and_info_goes_on),
        IT(crashes__a_worker_crashed__places_for_addr2line_and_names),
        IT(call__refused_with_json__the_answer_as_it_came),
        IT(actors_and_commands__listed),
        IT(commands__each_argument__has_a_type),
        IT(reload__good_file__says_what_has_changed),
        IT(reload__bad_file__78_with_every_reason_and_nothing_changed),
        IT(reload__needs_a_start__says_which_line_and_what_to_do),
        IT(reload__started_without_a_file__takes_the_command_line),
        IT(reload__list_changes__shown_on_one_line),
        IT(servers__two_of_one_user__found_by_address_and_warned_of),
        IT(config__of_a_scaled_server__values_with_their_origin),
        IT(scale__up_and_down__done_when_it_says_so),
        IT(log__level_and_file__changed_at_once),
        IT(stop__idle_server__returns_when_it_is_gone),
        IT(stop__arbiter_stands_still__carried_out_later),
        IT(stop__message_under_way__waits_until_now_cuts_it),
        IT(control__default_path__as_the_server_finds_it),
        IT(control__nobody_there__says_where_and_what_to_do),
        IT(control__server_misbehaves__each_its_own_code_and_sentence),
        IT(control__bad_command_line__usage),
        IT(control__output_fails__74_or_silent_for_a_closed_pipe),
        IT(top__no_terminal__lines_of_each_worker_and_all),
        IT(top__json__an_object_a_view),
        IT(top__server_restarts__waits_and_goes_on),
        IT(top__connection_dropped_between_views__connects_again_in_silence),
        IT(top__server_gone_and_a_timeout_given__gives_up),
        IT(top__terminal__drawn_in_place_until_q),
        IT(top__terminal_and_ctrl_c__ends_cleanly),
        IT(top__terminal_and_a_signal__given_back_before_it_dies),
        IT(top__suspended__given_back_and_taken_again),
        IT(top__window_changes__drawn_anew),
        IT(top__server_restarts_on_a_terminal__waits_and_goes_on),
        IT(top__server_hangs__says_so_and_still_quits),
        IT(top__terminal_without_columns__lines),
    };

    return it_run(tests);
}
