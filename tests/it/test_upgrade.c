/*
 * Upgrade in place: the program is replaced while it serves. Good ones take over and nobody is
 * refused, bad ones change nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/util.h"
#include "support/load.h"
#include "support/server.h"
#include "support/tool.h"

#define UPGRADED "msg=\"upgraded\""
#define REFUSED  "upgrade refused"

/* ---- programs ---- */

/* By renaming, as a package manager does: a program that runs cannot be written to. */
static void put(struct it *it, const char *name)
{
    MUST(chmod(it_path(it, "new"), 0755) == 0 && rename(it_path(it, "new"), it_path(it, name)) == 0,
         "%s: %s", name, strerror(errno));
}

/* Its first @len bytes; 0 = all. */
static void install(struct it *it, const char *from, size_t len)
{
    it_copy(it, from, "new", len);
    put(it, "echo-arbiter");
}

static void install_text(struct it *it, const char *text)
{
    it_write(it, "new", text);
    put(it, "echo-arbiter");
}

/* A script that waits for a line from the FIFO "gate" if its first argument begins with @option,
 * and then becomes the real program. */
static void install_gate(struct it *it, const char *option)
{
    char text[1024];
    const char *gate = it_path(it, "gate");
    MUST(mkfifo(gate, 0600) == 0 || errno == EEXIST, "mkfifo: %s", strerror(errno));
    snprintf(text, sizeof(text),
             "#!/bin/sh\ncase $1 in %s*) read line <'%s';; esac\nexec '%s' \"$@\"\n", option, gate,
             it_build_path(it, "echo-arbiter"));
    install_text(it, text);
}

/* Waits until the script is at the gate. */
static void open_gate(struct it *it)
{
    int fd = -1;
    MUST_COME((fd = open(it_path(it, "gate"), O_WRONLY | O_NONBLOCK | O_CLOEXEC)) >= 0,
              "nobody waits at the gate");
    MUST(write(fd, "go\n", 3) == 3, "gate: %s", strerror(errno));
    close(fd);
}

/* ---- servers ---- */

static struct server *start(struct it *it, const char *conf)
{
    install(it, it_build_path(it, "echo-arbiter"), 0);
    return server_start(it, .conf = conf, .binary = it_path(it, "echo-arbiter"));
}

/* @program below the build directory. New workers of the test build do what the file "hook" says.
 */
static struct server *start_with_hook(struct it *it, const char *program, const char *conf)
{
    size_t size = strlen(it_path(it, "hook")) + 32;
    char *env = peer_alloc(size);
    snprintf(env, size, "ECHO_TEST_HOOK=%s", it_path(it, "hook"));
    install(it, it_build_path(it, program), 0);
    return server_start(it, .conf = conf, .env = {env}, .binary = it_path(it, "echo-arbiter"));
}

static char *control_of(struct server *s)
{
    size_t size = strlen(s->run) + sizeof("/control");
    char *path = peer_alloc(size);
    snprintf(path, size, "%s/control", s->run);
    return path;
}

static struct tool_run ask(struct server *s, const char *command)
{
    return RUN(s->it, NO_INPUT, "-C", control_of(s), "--json", command);
}

static json_t *result_of(struct server *s, const char *command)
{
    struct tool_run r = ask(s, command);
    json_t *o = json_loads(r.out, 0, NULL);
    MUST(r.code == 0 && o, "%s: exit code %d: %s%s", command, r.code, r.err, r.out);
    return o;
}

static json_int_t number(json_t *o, const char *part, const char *key)
{
    json_t *value = json_object_get(json_object_get(o, part), key);
    MUST(json_is_integer(value), "no number %s.%s", part, key);
    return json_integer_value(value);
}

/* Upgrade and wait until the old workers are gone. */
static void upgrade(struct server *s, size_t workers)
{
    json_t *result = result_of(s, "upgrade");
    MUST(json_is_string(json_object_get(result, "version")), "no version");
    json_decref(result);
    server_wait_workers(s, workers);
}

static void must_be_refused(struct server *s, int code, const char *text)
{
    struct tool_run r = ask(s, "upgrade");
    MUST(r.code == code && strstr(r.err, text), "exit code %d, expected %d and '%s': %s", r.code,
         code, text, r.err);
}

/* ---- good ones ---- */

static void upgrade__good_program__the_server_goes_on(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, "arbiter: { pid_file = \"echo.pid\"; };"
                                 "server: { bind = [\"127.0.0.1:0\", \"unix:echo.sock\"]; };");
    char unix_addr[128];
    json_t *before, *after;
    snprintf(unix_addr, sizeof(unix_addr), "%s", s->addr[1]);
    server_must_be_well(s, 2);
    before = result_of(s, "info");
    upgrade(s, 2);
    after = result_of(s, "info");
    MUST(number(after, "arbiter", "pid") == s->pid, "another pid");
    MUST(number(after, "arbiter", "revision") == number(before, "arbiter", "revision") + 1,
         "revision");
    MUST(number(after, "arbiter", "upgrades") == 1 && number(after, "arbiter", "restarts") == 0 &&
             number(after, "arbiter", "reloads") == 0,
         "upgrades, restarts or reloads");
    MUST(number(after, "totals", "requests") >= number(before, "totals", "requests") &&
             number(after, "totals", "accepted") >= number(before, "totals", "accepted"),
         "the totals have not gone on");
    MUST(json_integer_value(json_object_get(json_object_get(after, "arbiter"), "uptime_ms")) >=
             json_integer_value(json_object_get(json_object_get(before, "arbiter"), "uptime_ms")),
         "the uptime has not gone on");
    MUST(json_equal(json_object_get(json_object_get(before, "arbiter"), "binds"),
                    json_object_get(json_object_get(after, "arbiter"), "binds")),
         "other addresses");
    json_decref(before);
    json_decref(after);
    server_must_be_well(s, 2);
    MUST(peer_is_served(unix_addr, WAIT_MS), "the unix socket is gone");
}

/* A release with a program of its own. */
static void install_release(struct it *it, const char *name)
{
    char path[32];
    snprintf(path, sizeof(path), "%s/echo-arbiter", name);
    MUST(mkdir(it_path(it, name), 0755) == 0, "%s: %s", name, strerror(errno));
    install(it, it_build_path(it, "echo-arbiter"), 0);
    MUST(rename(it_path(it, "echo-arbiter"), it_path(it, path)) == 0, "%s", path);
}

static void turn_link(struct it *it, const char *target)
{
    MUST(symlink(target, it_path(it, "link")) == 0 &&
             rename(it_path(it, "link"), it_path(it, "current")) == 0,
         "current: %s", strerror(errno));
}

static void must_be_told(const json_t *answer, const char *key, const char *end)
{
    const char *value = json_string_value(json_object_get(answer, key));
    MUST(value && strlen(value) >= strlen(end) &&
             strcmp(value + strlen(value) - strlen(end), end) == 0,
         "%s is %s, expected ...%s", key, value ? value : "missing", end);
}

/* Started as `cd current && ./echo-arbiter`: the link is what the operator means. */
static void upgrade__started_in_a_linked_directory__new_release_is_executed(void **state)
{
    struct it *it = *state;
    char script[256];
    struct server *s;
    json_t *answer;
    install_release(it, "r1");
    install_release(it, "r2");
    turn_link(it, "r1");
    snprintf(script, sizeof(script), "cd '%s/current' && shift && exec ./echo-arbiter \"$@\"",
             it->dir);
    s = server_start(it, .wrapper = {"/bin/sh", "-c", script, "sh"}, .conf = "");
    for (int i = 0; i < 2; i++) {
        turn_link(it, i ? "r1" : "r2");
        answer = result_of(s, "upgrade");
        must_be_told(answer, "program", i ? "/r1/echo-arbiter" : "/r2/echo-arbiter");
        must_be_told(answer, "old_program", i ? "/r2/echo-arbiter" : "/r1/echo-arbiter");
        must_be_told(answer, "old_version", json_string_value(json_object_get(answer, "version")));
        json_decref(answer);
        server_wait_workers(s, 2);
    }
    server_wait_log(s, UPGRADED " version=.* program=.*/r1/echo-arbiter .*old_program=.*/r2/", 1);
}

static void upgrade__by_signal__as_by_command(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, "");
    pid_t worker = server_worker(s, 0);
    server_signal(s, SIGUSR2);
    server_wait_log(s, UPGRADED, 1);
    server_wait_workers(s, 2);
    MUST(server_worker(s, 0) != worker && server_worker(s, 1) != worker, "the workers are the old");
    server_must_be_well(s, 2);
}

static void upgrade__twenty_under_load__nothing_refused_nothing_broken(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, "");
    struct load *l = load_new(&(struct load_options){
        .addr = s->addr[0], .clients = 16, .messages = 20, .max_payload = 5000, .seed = it_seed()});
    for (size_t i = 1; i <= 20; i++) {
        server_signal(s, SIGUSR2);
        for (int turns = 0; server_log_count(s, UPGRADED) < i; turns++) {
            MUST(turns < 1000, "not upgraded");
            load_run(l, 20);
        }
    }
    load_finish(l);
    load_print(l, "upgrade");
    const struct load_report *r = load_report(l);
    MUST(r->refused == 0 && r->reset == 0 && r->ended_inside == 0 && r->ended == 0, "see above");
    load_free(l);
    server_must_be_well(s, 2);
}

/* Idle ones, and one in the middle of a message. */
static void upgrade__open_connections__live_on(void **state)
{
    enum { IDLE = 100, ROUNDS = 5 };
    struct it *it = *state;
    struct server *s = start(it, "");
    int idle[IDLE], half = peer_connect(s->addr[0]);
    for (size_t i = 0; i < IDLE; i++)
        peer_echo(idle[i] = peer_connect(s->addr[0]), "before");
    peer_send_text(half, "one\r\n\r\ntwo");
    peer_expect_text(half, "one\r\n\r\n");
    for (int round = 0; round < ROUNDS; round++) {
        upgrade(s, 2);
        for (size_t i = 0; i < IDLE; i++)
            peer_echo(idle[i], "after");
        peer_send_text(half, "and");
    }
    peer_send_text(half, "three\r\n\r\n");
    peer_expect_text(half, "twoandandandandandthree\r\n\r\n");
    MUST(server_gauge(s, connections) == IDLE + 1, "connections are counted wrongly");
}

/* The teardown compares with the first image; here it is image by image, control clients included.
 */
static void upgrade__again_and_again__no_descriptor_is_left(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, "arbiter: { pid_file = \"echo.pid\"; };");
    upgrade(s, 2);
    MUST_COME(proc_count_fds(s->pid) == s->arbiter_fds, "the arbiter has %zu descriptors, had %zu",
              proc_count_fds(s->pid), s->arbiter_fds);
    for (int i = 0; i < 4; i++)
        upgrade(s, 2);
    MUST_COME(proc_count_fds(s->pid) == s->arbiter_fds, "the arbiter has %zu descriptors, had %zu",
              proc_count_fds(s->pid), s->arbiter_fds);
    MUST_COME(proc_count_fds(server_worker(s, 0)) == s->worker_fds,
              "a worker has %zu descriptors, had %zu", proc_count_fds(server_worker(s, 0)),
              s->worker_fds);
}

static void upgrade__scaled_and_on_the_command_line__both_hold(void **state)
{
    struct it *it = *state;
    struct server *s;
    install(it, it_build_path(it, "echo-arbiter"), 0);
    s = server_start(it, .conf = "arbiter: { workers = 5; };", .args = {"-w", "2"},
                     .binary = it_path(it, "echo-arbiter"));
    server_signal(s, SIGTTIN);
    server_wait_workers(s, 3);
    upgrade(s, 3);
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    server_wait_workers(s, 2);
    upgrade(s, 2);
}

/* The arbiter may use the first @n CPUs of @all, and those that it forks after it. */
static void give_cpus(struct server *s, const cpu_set_t *all, int n)
{
    cpu_set_t some;

    CPU_ZERO(&some);
    for (size_t cpu = 0; CPU_COUNT(&some) < n; cpu++)
        if (CPU_ISSET(cpu, all))
            CPU_SET(cpu, &some);
    MUST(sched_setaffinity(s->pid, sizeof(some), &some) == 0, "%s", strerror(errno));
}

static void upgrade__other_cpus__counted_anew_unless_scaled(void **state)
{
    struct server *s;
    cpu_set_t all;

    MUST(sched_getaffinity(0, sizeof(all), &all) == 0, "%s", strerror(errno));
    if (CPU_COUNT(&all) < 2) {
        printf("# skipped: needs two CPUs\n");
        skip();
    }
    s = start(*state, "arbiter: { workers = 0; };");
    give_cpus(s, &all, 1);
    upgrade(s, 1);
    MUST(RUN(s->it, NO_INPUT, "-C", control_of(s), "scale", "3").code == 0, "scale");
    give_cpus(s, &all, 2);
    upgrade(s, 3);
    upgrade(s, 3);
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    server_wait_workers(s, 2);
}

static void upgrade__control_client_and_notes__go_on(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, "");
    char addr[128], *text = peer_alloc(65536);
    int fd, half;
    snprintf(addr, sizeof(addr), "unix:%s", control_of(s));
    fd = peer_connect(addr);
    half = peer_connect(addr);
    peer_send_text(fd, "{\"command\":\"notify\",\"args\":{\"info\":{\"colour\":\"blue\"}}}\n");
    peer_expect_text(fd, "{\"id\":null,\"result\":{\"noted\":\"arbiter\"}}\n");
    peer_send_text(half, "{\"command\":\"in");
    upgrade(s, 2);
    peer_expect_eof(half); /* of half a request nothing would be known */
    peer_send_text(fd, "{\"command\":\"info\",\"id\":7}\n");
    MUST_COME(peer_peek(fd, text, 65535) > 0 && memchr(text, '\n', 65535), "no answer");
    MUST(strstr(text, "\"id\":7") && strstr(text, "\"blue\"") && strstr(text, "\"upgrades\":1"),
         "answer: %s", text);
    peer_close(fd);
    peer_close(half);
}

/* Whose answer would come from a worker: it is told by the new image, since the exec may fail. */
static void upgrade__client_waits_for_a_worker__told_to_ask_again(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, "");
    pid_t worker = server_worker(s, 0);
    char addr[128];
    int fd;
    snprintf(addr, sizeof(addr), "unix:%s", control_of(s));
    fd = peer_connect(addr);
    kill(worker, SIGSTOP);
    MUST_COME(proc_state(worker) == 'T', "the worker is not stopped");
    peer_send_text(fd, "{\"command\":\"ping\",\"target\":\"worker.1\",\"id\":1}\n"
                       "{\"command\":\"ping\",\"target\":\"worker.2\",\"id\":2}\n");
    peer_expect_text(fd, "{\"id\":2,\"result\":\"pong\"}\n");
    peer_send_text(fd, "{\"command\":\"upgrade\",\"id\":3}\n");
    peer_expect_text(fd, "{\"id\":1,\"error\":{\"code\":\"busy\",\"message\":\"an upgrade came in "
                         "between: ask again\"}}\n"
                         "{\"id\":3,\"result\":{\"version\":");
    kill(worker, SIGCONT);
    peer_close(fd);
    server_wait_workers(s, 2);
}

static size_t count_crashes(struct server *s)
{
    struct tool_run r =
        RUN(s->it, NO_INPUT, "-C", control_of(s), "--json", "call", "arbiter", "crashes");
    json_t *crashes = json_loads(r.out, 0, NULL);
    size_t n = json_array_size(crashes);
    MUST(json_is_array(crashes), "crashes: %s%s", r.err, r.out);
    json_decref(crashes);
    return n;
}

/* The new image knows nothing of crashes before it, but takes out what they have left. */
static void upgrade__crashes_before_and_after__rescued(void **state)
{
    enum { IDLE = 20 };
    struct it *it = *state;
    struct server *s = start(it, "arbiter: { workers = 1; };");
    int idle[IDLE];
    server_expect(s, "crash|worker died|caught|signal|backtrace|stack");
    for (size_t i = 0; i < IDLE; i++)
        peer_echo(idle[i] = peer_connect(s->addr[0]), "before");
    for (size_t n = 1; n <= 2; n++) {
        server_must_idle(s); /* the worker has seen that its replies are out */
        kill(server_worker(s, 0), SIGSEGV);
        server_wait_log(s, "worker died.*signal=SEGV", n);
        server_wait_workers(s, 1);
        for (size_t i = 0; i < IDLE; i++)
            peer_echo(idle[i], "after a crash");
        server_wait_log(s, "msg=\"crash\".*signal=SEGV rescued=20", n);
        MUST(count_crashes(s) == 1, "%zu crashes", count_crashes(s));
        upgrade(s, 1);
        MUST(count_crashes(s) == 0, "%zu crashes", count_crashes(s));
        for (size_t i = 0; i < IDLE; i++)
            peer_echo(idle[i], "after an upgrade");
    }
}

/* What is said of the workers, by somebody who can read their records. */
static void must_have_counted(struct server *s, size_t workers, json_int_t requests)
{
    json_t *info = result_of(s, "info");
    MUST(json_array_size(json_object_get(info, "workers")) >= workers, "too few workers");
    MUST(number(info, "totals", "requests") >= requests, "%lld requests, there were %lld",
         (long long)number(info, "totals", "requests"), (long long)requests);
    json_decref(info);
}

/* The test build says that its records are others. There and back, and half there and back. */
static void upgrade__records_of_another_layout__connections_and_totals_go_on(void **state)
{
    enum { IDLE = 20, ROUNDS = 3 };
    struct it *it = *state;
    struct server *s = start_with_hook(it, "echo-arbiter", "arbiter: { boot_timeout = 2; };");
    int idle[IDLE];
    json_int_t requests = 0;
    server_expect(s, REFUSED);
    server_expect(s, "back to the old program|worker (killed|died)|crash|backtrace");
    for (size_t i = 0; i < IDLE; i++)
        idle[i] = peer_connect(s->addr[0]);
    for (int round = 0; round < ROUNDS; round++) {
        install(it, it_build_path(it, "test/echo-arbiter"), 0);
        it_write(it, "hook", "crash 0");
        must_be_refused(s, 78, "a new worker");
        unlink(it_path(it, "hook"));
        for (size_t i = 0; i < IDLE; i++, requests++)
            peer_echo(idle[i], "after half of one");
        must_have_counted(s, 2, requests - IDLE);
        json_decref(result_of(s, "upgrade"));
        must_have_counted(s, 2, requests);
        for (size_t i = 0; i < IDLE; i++)
            peer_echo(idle[i], "there");
        install(it, it_build_path(it, "echo-arbiter"), 0);
        json_decref(result_of(s, "upgrade"));
        must_have_counted(s, 2, requests);
        for (size_t i = 0; i < IDLE; i++)
            peer_echo(idle[i], "and back");
    }
    scoreboard_close(&s->board); /* the harness has looked at the first one until now */
    server_wait_workers(s, 2);
}

/* ---- bad ones ---- */

static void upgrade__bad_program__nothing_changes(void **state)
{
    static const struct {
        const char *title, *from, *text, *what;
        size_t len;
        mode_t mode;
    } table[] = {
        {"it fails", "/bin/false", NULL, "exit code 1", 0, 0755},
        {"it succeeds", "/bin/true", NULL, "is it echo-arbiter?", 0, 0755},
        {"another program", "/bin/cat", NULL, "exit code 1", 0, 0755},
        {"cut off", NULL, NULL, "the dry run was ended by signal|exit code 127", 20000, 0755},
        {"a script without permission", NULL, "#!/bin/sh\n", "Permission denied", 0, 0644},
        {"another architecture", NULL,
         "\x7f"
         "ELF\x02\x01\x01",
         "Exec format error", 0, 0755},
        {"no interpreter", NULL, "#!/nowhere/sh\n", "No such file", 0, 0755},
        {"it dies", NULL, "#!/bin/sh\nkill -SEGV $$\n", "signal 11", 0, 0755},
        {"it would write another state", NULL,
         "#!/bin/sh\necho 'echo-arbiter can go on: version 9'\necho 'state 2'\n", "no way back", 0,
         0755},
        {"it is another server", NULL,
         "#!/bin/sh\necho 'shout can go on: version 9'\necho 'state 3'\n",
         "it is shout, this server is echo-arbiter: only a program of the same name", 0, 0755},
        {"it talks", NULL, "#!/bin/sh\nwhile echo nonsense; do :; done\n", "longer than", 0, 0755},
    };
    struct it *it = *state;
    struct server *s = start(it, "");
    int fd = peer_connect(s->addr[0]);
    pid_t worker = server_worker(s, 0);
    server_expect(s, REFUSED);
    peer_echo(fd, "before");
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        printf("# %s\n", table[i].title);
        if (table[i].text)
            install_text(it, table[i].text);
        else
            install(it, table[i].from ? table[i].from : it_build_path(it, "echo-arbiter"),
                    table[i].len);
        MUST(chmod(it_path(it, "echo-arbiter"), table[i].mode) == 0, "chmod");
        must_be_refused(s, 78, "everything is as it was before");
        server_wait_log(s, table[i].what, 1);
        MUST(server_log_count(s, REFUSED) == i + 1, "not refused once");
    }
    unlink(it_path(it, "echo-arbiter"));
    must_be_refused(s, 78, "No such file");
    peer_echo(fd, "after");
    MUST(server_worker(s, 0) == worker && server_log_count(s, UPGRADED) == 0, "changed");
    install(it, it_build_path(it, "echo-arbiter"), 0);
    peer_close(fd);
    upgrade(s, 2);
}

/* The new image serves nobody, so it makes way for the old one. */
static void upgrade__new_workers_fail__back_to_the_old_program(void **state)
{
    static const char *const hooks[] = {"crash 0", "exit 2", "hang 1"};
    struct it *it = *state;
    struct server *s = start_with_hook(it, "test/echo-arbiter", "arbiter: { boot_timeout = 1; };");
    int fd = peer_connect(s->addr[0]);
    pid_t worker = server_worker(s, 0);
    server_expect(s, REFUSED);
    server_expect(s, "back to the old program");
    server_expect(s, "worker (killed|died)");
    server_expect(s, "signal=SEGV|level=- .*crash|msg=\"crash");
    for (size_t i = 0; i < ARRAY_SIZE(hooks); i++) {
        struct stat st;
        char exe[64], comm[32] = "";
        printf("# %s\n", hooks[i]);
        peer_echo(fd, "before");
        it_write(it, "hook", hooks[i]);
        must_be_refused(s, 78, "a new worker");
        MUST(server_log_count(s, REFUSED) == i + 1 && server_log_count(s, UPGRADED) == 0, "log");
        peer_echo(fd, "after");
        MUST(server_worker(s, 0) == worker, "the old workers are gone");
        unlink(it_path(it, "hook"));
        snprintf(exe, sizeof(exe), "/proc/%d/comm", (int)s->pid);
        FILE *f = fopen(exe, "re");
        MUST(f && fgets(comm, sizeof(comm), f) && fclose(f) == 0, "%s", exe);
        MUST(strcmp(comm, "echo-arbiter\n") == 0, "it is called %s", comm);
        MUST(stat(exe, &st) == 0, "%s", exe);
        server_must_be_well(s, 2);
    }
    peer_close(fd);
    upgrade(s, 2);
}

/* The dry run was successful, but then memory runs out: the old one finds all as it was. */
static void upgrade__new_program_cannot_begin__back_to_the_old_one(void **state)
{
    struct it *it = *state;
    struct server *s;
    int fd;
    it_need_strace(it);
    s = start(it, "");
    fd = peer_connect(s->addr[0]);
    peer_echo(fd, "before");
    server_expect(s, REFUSED);
    server_expect(s, "cannot go on");
    pid_t tracer = it_inject(it, s->pid, "epoll_create1", "epoll_create1:error=ENOMEM:when=1");
    must_be_refused(s, 78, "out of memory");
    it_tool_stop(it, tracer);
    peer_echo(fd, "after");
    peer_close(fd);
    server_must_be_well(s, 2);
    upgrade(s, 2);
}

/* It is as if nobody had asked: who waits for a worker's answer gets it. */
static void upgrade__exec_fails__nothing_has_changed(void **state)
{
    struct it *it = *state;
    struct server *s;
    char addr[128];
    pid_t worker, tracer;
    int fd;
    it_need_strace(it);
    s = start(it, "");
    worker = server_worker(s, 0);
    server_expect(s, REFUSED);
    snprintf(addr, sizeof(addr), "unix:%s", control_of(s));
    fd = peer_connect(addr);
    kill(worker, SIGSTOP);
    peer_send_text(fd, "{\"command\":\"ping\",\"target\":\"worker.1\",\"id\":1}\n");
    tracer = it_inject(it, s->pid, "execve", "execve:error=ENOMEM:when=1");
    must_be_refused(s, 78, "Cannot allocate memory");
    it_tool_stop(it, tracer);
    kill(worker, SIGCONT);
    peer_expect_text(fd, "{\"id\":1,\"result\":\"pong\"}\n");
    peer_close(fd);
    server_must_be_well(s, 2);
    upgrade(s, 2);
}

/* It has passed the dry run. */
static void upgrade__new_program_hangs_before_it_begins__back_to_the_old_one(void **state)
{
    struct it *it = *state;
    struct server *s = start_with_hook(it, "test/echo-arbiter", "");
    int fd = peer_connect(s->addr[0]);
    server_expect(s, REFUSED);
    peer_echo(fd, "before");
    it_write(it, "hook", "inherit");
    must_be_refused(s, 78, "hangs before it can go on");
    peer_echo(fd, "after");
    server_must_be_well(s, 2);
    peer_close(fd);
    upgrade(s, 2);
}

/* Any program may say in the dry run that it could. With all signals blocked it is deaf to TERM. */
static void upgrade__another_program_hangs__killed_and_the_workers_drain(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, "");
    char text[512];
    int fd = peer_connect(s->addr[0]);
    peer_echo(fd, "before");
    snprintf(text, sizeof(text),
             "#!/bin/sh\ncase $1 in --inherit-check=*) exec '%s' \"$@\";; esac\nexec sleep 600\n",
             it_build_path(it, "echo-arbiter"));
    install_text(it, text);
    server_expect(s, "does not begin, and is deaf|the arbiter is gone");
    server_signal(s, SIGUSR2);
    server_wait_log(s, "executing the program", 1);
    server_signal(s, SIGTERM);
    MUST(server_wait_exit(s, 2 * WAIT_MS) == 128 + SIGKILL, "it is not killed");
    MUST(server_log_count(s, "actor=guard.*does not begin, and is deaf") == 1, "the log");
    peer_expect_eof(fd);
    peer_close(fd);
    it_wait_orphans(it);
}

/* ---- in between ---- */

/* Between the old program's last instruction and the new one's first. */
static void upgrade__signals_and_deaths_in_the_window__not_lost(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, "");
    char command[256];
    pid_t victim = server_worker(s, 0);
    server_expect(s, "worker died");
    install_gate(it, "--inherit=");
    server_signal(s, SIGUSR2);
    MUST_COME((proc_command(s->pid, command, sizeof(command)), strstr(command, "sh ")),
              "the script does not run");
    MUST(peer_is_served(s->addr[0], WAIT_MS), "nobody serves in the window");
    server_signal(s, SIGHUP);
    server_signal(s, SIGUSR1);
    server_signal(s, SIGTTIN);
    kill(victim, SIGKILL);
    MUST_COME(proc_state(victim) == 'Z', "the worker does not die");
    MUST(proc_is_alive(server_worker(s, 0)), "nobody is left");
    open_gate(it);
    server_wait_log(s, UPGRADED, 1);
    server_wait_log(s, "msg=\"log reopened\"", 1);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    server_wait_log(s, "worker died.*signal=KILL", 1);
    MUST_COME(proc_state(victim) == 0, "a zombie is left");
    install(it, it_build_path(it, "echo-arbiter"), 0);
    server_must_be_well(s, 2); /* the reload has taken the third back */
}

static void upgrade__stop_in_the_window__is_obeyed(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, "");
    char command[256];
    install_gate(it, "--inherit=");
    server_signal(s, SIGUSR2);
    MUST_COME((proc_command(s->pid, command, sizeof(command)), strstr(command, "sh ")),
              "the script does not run");
    server_signal(s, SIGTERM);
    open_gate(it);
    s->arbiter_fds = 0;
    MUST(server_wait_exit(s, WAIT_MS) == 0, "not stopped");
    MUST(!*server_problems(s), "%s", server_problems(s));
}

static void upgrade__stop_in_the_dry_run__is_obeyed(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, "");
    install_gate(it, "--inherit-check=");
    server_signal(s, SIGUSR2);
    server_wait_log(s, "dry run", 1);
    server_signal(s, SIGTERM);
    MUST(server_wait_exit(s, WAIT_MS) == 0, "not stopped");
    it_wait_orphans(it);
    MUST(!*server_problems(s), "%s", server_problems(s));
}

static void upgrade__asked_for_twice__busy_or_once_more(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, "");
    install_gate(it, "--inherit-check=");
    server_signal(s, SIGUSR2);
    server_wait_log(s, "dry run", 1);
    must_be_refused(s, 75, "under way");
    server_signal(s, SIGUSR2);
    server_signal(s, SIGUSR2);
    open_gate(it);
    server_wait_log(s, UPGRADED, 1);
    open_gate(it);
    server_wait_log(s, UPGRADED, 2);
    install(it, it_build_path(it, "echo-arbiter"), 0);
    server_must_be_well(s, 2);
}

/* It waits for the upgrade, and the new program carries it out as it was asked for. */
static void upgrade__forced_reload_in_the_dry_run__is_forced_afterwards(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, "arbiter: { workers = 2; };");
    char addr[128];
    int fd;
    snprintf(addr, sizeof(addr), "unix:%s", control_of(s));
    fd = peer_connect(addr);
    install_gate(it, "--inherit-check=");
    server_signal(s, SIGUSR2);
    server_wait_log(s, "dry run", 1);
    server_configure(s, "log: { level = \"info\"; };"); /* no group of before is left */
    peer_send_text(fd, "{\"command\":\"reload\",\"args\":{\"force\":true},\"id\":1}\n"
                       "{\"command\":\"ping\",\"id\":2}\n");
    peer_expect_text(fd, "{\"id\":2,\"result\":\"pong\"}\n");
    open_gate(it);
    peer_expect_text(fd, "{\"id\":1,\"result\":");
    peer_close(fd);
}

static void upgrade__stop_at_any_moment__ends_in_order(void **state)
{
    struct it *it = *state;
    uint64_t rng = it_seed();
    int rounds = it_is_soak() ? 200 : 12;
    for (int i = 0; i < rounds; i++) {
        struct server *s = start(it, "");
        struct timespec pause = {.tv_nsec = (long)rng_below(&rng, 40000000)};
        server_signal(s, SIGUSR2);
        nanosleep(&pause, NULL); /* the moment that the case is about, not a wait */
        server_signal(s, SIGTERM);
        MUST(server_wait_exit(s, WAIT_MS) == 0, "round %d: not stopped", i);
        it_wait_orphans(it);
        MUST(!*server_problems(s), "round %d: %s", i, server_problems(s));
    }
}

/* Both images' workers notice the death of an arbiter that was executed anew. */
static void upgrade__arbiter_killed_afterwards__workers_end(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, "");
    server_expect(s, "the arbiter is gone");
    upgrade(s, 2);
    s->arbiter_fds = 0;
    kill(s->pid, SIGKILL);
    MUST(server_wait_exit(s, WAIT_MS) == 128 + SIGKILL, "not killed");
    it_wait_orphans(it);
    MUST(peer_try_connect(s->addr[0], 0) < 0, "somebody listens");
}

static void upgrade__daemon__goes_on(void **state)
{
    struct it *it = *state;
    char conf[256];
    struct server *s;
    install(it, it_build_path(it, "echo-arbiter"), 0);
    snprintf(conf, sizeof(conf), "log: { file = \"%s\"; };", it_path(it, "own.log"));
    s = server_start(it, .conf = conf, .binary = it_path(it, "echo-arbiter"));
    upgrade(s, 2);
    MUST_COME(it_file_has(it_path(it, "own.log"), UPGRADED), "not in the log");
    server_must_be_well(s, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(upgrade__good_program__the_server_goes_on),
        IT(upgrade__started_in_a_linked_directory__new_release_is_executed),
        IT(upgrade__by_signal__as_by_command),
        IT(upgrade__twenty_under_load__nothing_refused_nothing_broken),
        IT(upgrade__open_connections__live_on),
        IT(upgrade__again_and_again__no_descriptor_is_left),
        IT(upgrade__scaled_and_on_the_command_line__both_hold),
        IT(upgrade__other_cpus__counted_anew_unless_scaled),
        IT(upgrade__control_client_and_notes__go_on),
        IT(upgrade__client_waits_for_a_worker__told_to_ask_again),
        IT(upgrade__crashes_before_and_after__rescued),
        IT(upgrade__records_of_another_layout__connections_and_totals_go_on),
        IT(upgrade__bad_program__nothing_changes),
        IT(upgrade__new_workers_fail__back_to_the_old_program),
        IT(upgrade__new_program_cannot_begin__back_to_the_old_one),
        IT(upgrade__exec_fails__nothing_has_changed),
        IT(upgrade__new_program_hangs_before_it_begins__back_to_the_old_one),
        IT(upgrade__another_program_hangs__killed_and_the_workers_drain),
        IT(upgrade__signals_and_deaths_in_the_window__not_lost),
        IT(upgrade__stop_in_the_window__is_obeyed),
        IT(upgrade__stop_in_the_dry_run__is_obeyed),
        IT(upgrade__asked_for_twice__busy_or_once_more),
        IT(upgrade__forced_reload_in_the_dry_run__is_forced_afterwards),
        IT(upgrade__stop_at_any_moment__ends_in_order),
        IT(upgrade__arbiter_killed_afterwards__workers_end),
        IT(upgrade__daemon__goes_on),
    };

    return it_run(tests);
}
