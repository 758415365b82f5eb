/*
 * Reload: a transaction. A good file changes what it says, a bad one nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cpus.h"
#include "base/util.h"
#include "support/load.h"
#include "support/server.h"

#define RELOADED "msg=\"reloaded\""
#define REFUSED  "reload refused"

/* HUP, and wait until the reload is done and the old revision is gone. */
static void reload(struct server *s, size_t workers)
{
    size_t before = server_log_count(s, RELOADED);
    server_signal(s, SIGHUP);
    server_wait_log(s, RELOADED, before + 1);
    server_wait_workers(s, workers);
}

static void reload__under_load__nothing_refused_nothing_broken(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    struct load *l = load_new(&(struct load_options){
        .addr = s->addr[0], .clients = 16, .messages = 20, .max_payload = 5000, .seed = it_seed()});
    int rounds = it_is_soak() ? 50 : 10;
    for (int i = 0; i < rounds; i++) {
        size_t before = server_log_count(s, RELOADED);
        server_signal(s, SIGHUP);
        for (int turns = 0; server_log_count(s, RELOADED) == before; turns++) {
            MUST(turns < 1000, "not reloaded");
            load_run(l, 20);
        }
        load_run(l, 50);
    }
    load_finish(l);
    load_print(l, "reload");
    const struct load_report *r = load_report(l);
    MUST(r->refused + r->reset + r->ended + r->ended_inside == 0, "see above");
    load_free(l);
    server_must_be_well(s, 2);
}

static void reload__number_of_workers__follows_the_file(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { workers = 2; };");
    server_configure(s, "arbiter: { workers = 4; };");
    reload(s, 4);
    MUST(server_log_count(s, "key=arbiter.workers old=2 new=4") == 1, "the change is not logged");
    server_configure(s, "arbiter: { workers = 1; };");
    reload(s, 1);
    server_must_be_well(s, 1);
}

static void reload__new_limit__holds_for_new_connections(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server: { max_message = \"1KiB\"; };");
    server_configure(s, "server: { max_message = \"64\"; separator = \"\\n\"; };");
    reload(s, 2);
    int fd = peer_connect(s->addr[0]);
    peer_send_text(fd, "short\n");
    peer_expect_text(fd, "short\n");
    char *big = peer_alloc(100);
    memset(big, 'x', 100);
    peer_send(fd, big, 100);
    MUST(peer_drain(fd, WAIT_MS, NULL) != PEER_SILENT, "the old limit holds");
}

static void reload__key_of_the_command_line__wins_again(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server: { separator = \"x\"; };",
                                    .args = {"-o", "server.separator=\\n"});
    server_configure(s, "server: { separator = \"y\"; keep_alive = 60; };");
    reload(s, 2);
    int fd = peer_connect(s->addr[0]);
    peer_send_text(fd, "xy\n");
    peer_expect_text(fd, "xy\n");
    MUST(server_log_count(s, "configuration changes") == 1, "the separator changes");
}

static void reload__open_connections__live_on_in_new_workers(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    int half = peer_connect(s->addr[0]), idle = peer_connect(s->addr[0]);
    peer_send_text(half, "a\r\n\r\nhalf\r\n");
    peer_expect_text(half, "a\r\n\r\n");
    peer_echo(idle, "idle");
    pid_t old[] = {server_worker(s, 0), server_worker(s, 1)};
    for (int i = 0; i < 3; i++) {
        reload(s, 2);
        server_wait_log(
            s, "level=info .*msg=\"connections changed hands\" count=2 took_ms=", (size_t)i + 1);
        MUST(!proc_is_alive(old[0]) && !proc_is_alive(old[1]), "an old worker lives");
        peer_echo(idle, "still connected");
    }
    peer_send_text(half, "\r\n");
    peer_expect_text(half, "half\r\n\r\n");
    peer_echo(half, "and in step");
    MUST(server_gauge(s, connections) == 2, "connections");
}

/* They drain a few at a time: nobody may be forgotten. */
static void reload__more_workers_than_processors__all_move(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { workers = 16; };");
    int fds[160];

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        peer_echo(fds[i] = peer_connect(s->addr[0]), "before");
    for (int round = 0; round < 2; round++) {
        reload(s, 16);
        for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
            peer_echo(fds[i], "after");
        MUST(server_gauge(s, connections) == ARRAY_SIZE(fds), "connections");
    }
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
    server_must_be_well(s, 16);
}

static void make_bad_file(const char *path, const char *kind)
{
    unlink(path);
    if (!strcmp(kind, "directory"))
        MUST(mkdir(path, 0700) == 0, "mkdir: %s", strerror(errno));
    else if (!strcmp(kind, "fifo"))
        MUST(mkfifo(path, 0600) == 0, "mkfifo: %s", strerror(errno));
    else if (!strcmp(kind, "huge"))
        MUST(close(open(path, O_CREAT | O_WRONLY, 0600)) == 0 && truncate(path, 100 << 20) == 0,
             "truncate: %s", strerror(errno));
    else if (!strcmp(kind, "unreadable"))
        MUST(close(open(path, O_CREAT | O_WRONLY, 0)) == 0, "open: %s", strerror(errno));
}

static void reload__bad_file__changes_nothing(void **state)
{
    /* A text, or a kind of file; and what the log must name. */
    static const char *const table[][2] = {
        {"server: { backlog = ; };", "echo0.conf:1"},
        {"arbiter: { workers = 4294967304; };", "echo0.conf:1: arbiter.workers"},
        {"\n\nserver: { keep_alive = 1e999; };", "echo0.conf:3: server.keep_alive"},
        {"server: { backlog = \"many\"; };", "server.backlog"},
        {"server: { colour = 1; };", "server.colour"},
        {"server: { backlog = 1; backlog = 2; };", "backlog"},
        {"@include \"/etc\"", "include"},
        {"server: { bind = [\"not an address\"]; };", "server.bind"},
        {"missing", "echo0.conf"},
        {"directory", "echo0.conf"},
        {"fifo", "echo0.conf"},
        {"huge", "echo0.conf"},
        {"unreadable", "echo0.conf"},
    };
    struct it *it = *state;
    struct server *s = server_start(it, .in_child = it_obey_permissions);
    pid_t before[SERVER_WORKERS_MAX], after[SERVER_WORKERS_MAX];
    size_t n = server_worker_pids(s, before);
    int fd = peer_connect(s->addr[0]);
    server_expect(s, REFUSED);
    server_expect(s, "level=error .*msg=\"configuration\"");
    for (size_t i = 0, refused = 0; i < ARRAY_SIZE(table); i++) {
        bool is_text = strpbrk(table[i][0], " ") != NULL;
        make_bad_file(s->conf, table[i][0]);
        if (is_text)
            server_configure(s, table[i][0]);
        server_signal(s, SIGHUP);
        server_wait_log(s, REFUSED, ++refused);
        MUST(server_log_count(s, table[i][1]) > 0, "%s: no line names %s", table[i][0],
             table[i][1]);
        peer_echo(fd, table[i][0]);
        if (rmdir(s->conf) < 0)
            unlink(s->conf);
    }
    MUST(server_worker_pids(s, after) == n && !memcmp(before, after, n * sizeof(*before)),
         "the workers have changed");
    server_configure(s, "");
    reload(s, 2);
}

static void reload__empty_or_gutted_file__refused_unless_forced(void **state)
{
    static const char *const empty[] = {"", "\n", "# nothing but a word\n",
                                        "arbiter = {}; server = {};\n"};
    static const char gutted[] = "log: { level = \"info\"; };";
    struct it *it = *state;
    struct server *s =
        server_start(it, .conf = "arbiter: { workers = 2; };\nserver: { backlog = 99; };");
    char control[128];
    server_expect(s, REFUSED "|msg=\"configuration\"");
    for (size_t i = 0; i < ARRAY_SIZE(empty); i++) {
        it_write(it, "echo0.conf", empty[i]);
        server_signal(s, SIGHUP);
        server_wait_log(s, "echo0.conf: holds no key: it is empty or was cut off", i + 1);
        server_wait_log(s, REFUSED, i + 1);
    }
    server_refuses(it, 78, "holds no key", .is_bare = true, .args = {"-t", "-c", s->conf});
    server_refuses(it, 78, "holds no key", .is_bare = true, .args = {"-c", s->conf});
    server_configure(s, gutted);
    server_signal(s, SIGHUP);
    server_wait_log(s, REFUSED ".*no group that the configuration had is in the file", 1);
    MUST(server_log_count(s, RELOADED) == 0, "a gutted file is taken");
    /* One group of the two is enough to look meant. */
    server_configure(s, "arbiter: { workers = 1; };");
    reload(s, 1);
    server_configure(s, gutted);
    snprintf(control, sizeof(control), "%s/control", s->run);
    const char *client = it_build_path(it, "echo-client");
    const char *const ask[] = {client, "-C", control, "reload", NULL};
    const char *const force[] = {client, "-C", control, "reload", "--force", NULL};
    MUST(it_tool_run(it, "client.log", ask) == 78, "a gutted file is taken");
    MUST_COME(it_file_has(it_path(it, "client.log"), "echo-client reload --force"), "no hint");
    MUST(it_tool_run(it, "client.log", force) == 0, "a forced reload is refused");
    MUST(server_log_count(s, RELOADED) == 2, "not reloaded");
}

static void reload__key_that_needs_a_start__is_refused(void **state)
{
    struct it *it = *state;
    static const char *const names[] = {"other.pid", "other\xe9.pid"}; /* no UTF-8, but a path */
    char conf[256];
    struct server *s = server_start(it, .conf = "");
    pid_t worker = server_worker(s, 0);
    server_expect(
        s, "\"configuration\" error=.*echo0.conf:1: arbiter.pid_file: .*other.*pid.* instead of "
           ".* needs a new start");
    server_expect(s, REFUSED ".*needs a new start");
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        snprintf(conf, sizeof(conf), "arbiter: { pid_file = \"%s/%s\"; };", it->dir, names[i]);
        server_configure(s, conf);
        server_signal(s, SIGHUP);
        server_wait_log(s, REFUSED, i + 1);
        MUST(server_log_count(s, s->expected[0]) == i + 1, "%s: it does not say where", names[i]);
    }
    MUST(server_worker(s, 0) == worker, "the workers have changed");
}

static void reload__storm__is_coalesced(void **state)
{
    enum { STORM = 100 };
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    struct load *l =
        load_new(&(struct load_options){.addr = s->addr[0], .clients = 4, .messages = 3});
    for (int i = 0; i < STORM; i++) {
        server_signal(s, SIGHUP);
        load_run(l, i % 10 == 0 ? 10 : 0);
    }
    load_finish(l);
    load_print(l, "storm");
    const struct load_report *r = load_report(l);
    MUST(r->refused + r->reset + r->ended + r->ended_inside == 0, "see above");
    load_free(l);
    server_wait_log(s, RELOADED, 1);
    server_must_be_well(s, 2);
    printf("# %zu reloads of %d\n", server_log_count(s, RELOADED), STORM);
    MUST(server_log_count(s, RELOADED) < STORM / 2, "not coalesced");
}

/* The server has taken the signal's default action away: from here on it is handled. */
static bool catches(pid_t pid, int signo)
{
    return proc_status(pid, "SigCgt", 16) & (UINT64_C(1) << (signo - 1));
}

static void reload__during_start__comes_after_it(void **state)
{
    struct it *it = *state;
    char env[256];
    snprintf(env, sizeof(env), "ECHO_TEST_HOOK=%s", it_path(it, "hook"));
    it_write(it, "hook", "hang 2\n");
    struct server *s = server_spawn(it, .conf = "arbiter: { workers = 2; boot_timeout = 0.5; };",
                                    .binary = "test/echo-arbiter", .env = {env});
    server_expect(s, "worker (killed|died)\" ");
    MUST_COME(catches(s->pid, SIGHUP), "HUP is never handled");
    server_signal(s, SIGHUP);
    unlink(it_path(it, "hook"));
    MUST(server_is_ready_or_ended(s), "it does not become ready");
    server_wait_log(s, RELOADED, 1);
    server_must_be_well(s, 2);
}

static void reload__during_stop__is_ignored(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { exit_timeout = 15; };");
    int half = peer_connect(s->addr[0]);
    peer_send_text(half, "a\r\n\r\nhalf");
    peer_expect_text(half, "a\r\n\r\n");
    server_signal(s, SIGTERM);
    server_wait_log(s, "msg=\"stopping\"", 1);
    server_signal(s, SIGHUP);
    peer_send_text(half, "-done\r\n\r\n");
    peer_expect_text(half, "half-done\r\n\r\n");
    peer_expect_eof(half);
    peer_close(half);
    MUST(server_wait_exit(s, WAIT_MS) == 0, "it does not end");
    MUST(server_log_count(s, RELOADED) == 0, "it reloaded");
    const char *problems = server_problems(s);
    MUST(!*problems, "%s", problems);
}

static void reload__listeners_change__others_never_refuse(void **state)
{
    struct it *it = *state;
    char with[512], without[256];
    snprintf(without, sizeof(without), "server: { bind = [\"127.0.0.1:0\"]; };");
    snprintf(with, sizeof(with), "server: { bind = [\"127.0.0.1:0\", \"unix:%s/sock\"]; };",
             it->dir);
    struct server *s = server_start(it, .conf = without);
    char unix_addr[128];
    snprintf(unix_addr, sizeof(unix_addr), "unix:%s/sock", it->dir);
    struct load *l =
        load_new(&(struct load_options){.addr = s->addr[0], .clients = 8, .messages = 2});
    for (int i = 0; i < 4; i++) {
        server_configure(s, i % 2 ? without : with);
        server_signal(s, SIGHUP);
        for (int t = 0; server_log_count(s, RELOADED) <= (size_t)i; t++) {
            MUST(t < 1000, "not reloaded");
            load_run(l, 20);
        }
        MUST(peer_is_served(unix_addr, WAIT_MS) == !(i % 2), "reload %d: the unix socket", i);
        MUST((access(unix_addr + 5, F_OK) == 0) == !(i % 2), "reload %d: the socket file", i);
    }
    load_finish(l);
    load_print(l, "listeners");
    const struct load_report *r = load_report(l);
    MUST(r->refused + r->reset + r->ended + r->ended_inside == 0, "see above");
    load_free(l);
    server_wait_workers(s, 2);
}

static void reload__address_taken__rolls_back(void **state)
{
    struct it *it = *state;
    char conf[512];
    struct server *other = server_start(it, .conf = "");
    struct server *s = server_start(it, .conf = "server: { bind = [\"127.0.0.1:0\"]; };");
    pid_t worker = server_worker(s, 0);
    snprintf(conf, sizeof(conf), "server: { bind = [\"127.0.0.1:0\", \"unix:%s/new\", \"%s\"]; };",
             it->dir, other->addr[0]);
    server_configure(s, conf);
    server_expect(s, REFUSED);
    server_signal(s, SIGHUP);
    server_wait_log(s, REFUSED ".*already in use|" REFUSED ".*in use", 1);
    MUST(access(it_path(it, "new"), F_OK) < 0, "the new unix socket is left");
    MUST(server_worker(s, 0) == worker, "the workers have changed");
    MUST(peer_is_served(s->addr[0], WAIT_MS), "not served");
}

static void reload__new_workers_crash__rolls_back(void **state)
{
    struct it *it = *state;
    char env[256], conf[256];
    snprintf(env, sizeof(env), "ECHO_TEST_HOOK=%s", it_path(it, "hook"));
    struct server *s = server_start(it, .conf = "server: { bind = [\"127.0.0.1:0\"]; };",
                                    .binary = "test/echo-arbiter", .env = {env});
    pid_t before[SERVER_WORKERS_MAX], after[SERVER_WORKERS_MAX];
    size_t n = server_worker_pids(s, before);
    int fd = peer_connect(s->addr[0]);
    it_write(it, "hook", "crash 2\n");
    snprintf(conf, sizeof(conf), "server: { bind = [\"127.0.0.1:0\", \"unix:%s/new\"]; };",
             it->dir);
    server_configure(s, conf);
    server_expect(s, "worker (died|killed)\" ");
    server_expect(s, "reload .*died before it was ready");
    server_signal(s, SIGHUP);
    server_wait_log(s, "reload .*died before it was ready", 1);
    server_wait_workers(s, n);
    MUST(server_worker_pids(s, after) == n && !memcmp(before, after, n * sizeof(*before)),
         "the old workers have changed");
    MUST(access(it_path(it, "new"), F_OK) < 0, "the new unix socket is left");
    peer_echo(fd, "still connected");
    unlink(it_path(it, "hook"));
    reload(s, n);
    s->arbiter_fds = 0; /* one listener more */
}

static void reload__check_of_the_file_meanwhile__no_effect(void **state)
{
    struct it *it = *state;
    char conf[512];
    struct server *s = server_start(it, .conf = "");
    snprintf(conf, sizeof(conf), "server: { bind = [\"%s\"]; };", s->addr[0]);
    it_write(it, "check.conf", conf);
    const char *check[] = {it_build_path(it, "echo-arbiter"), "-t", "-c", it_path(it, "check.conf"),
                           NULL};
    struct load *l =
        load_new(&(struct load_options){.addr = s->addr[0], .clients = 8, .messages = 1});
    for (int i = 0; i < (it_is_soak() ? 60 : 10); i++) {
        load_run(l, 10);
        MUST(it_tool_run(it, "check.log", check) == 0, "-t refuses a good file");
    }
    load_finish(l);
    const struct load_report *r = load_report(l);
    load_print(l, "-t");
    MUST(r->refused + r->reset + r->ended + r->ended_inside == 0, "see above");
    load_free(l);
}

/* Worker @i must be on CPU @cpu alone. */
static void must_be_pinned(struct server *s, uint32_t slot, int cpu)
{
    cpu_set_t cpus;

    MUST(sched_getaffinity(server_slot_pid(s, slot), sizeof(cpus), &cpus) == 0, "getaffinity: %s",
         strerror(errno));
    MUST(CPU_COUNT(&cpus) == 1 && CPU_ISSET((size_t)cpu, &cpus), "worker.%u is not on CPU %d", slot,
         cpu);
}

static void reload__cpu_affinity__workers_are_pinned_and_let_go(void **state)
{
    struct it *it = *state;
    char conf[128];
    cpu_set_t allowed, cpus;

    MUST(cpus_allowed(&allowed) == 0, "getaffinity");
    struct server *s =
        server_start(it, .conf = "arbiter: { workers = 3; cpu_affinity = \"auto\"; };");
    for (uint32_t slot = 1; slot <= 3; slot++)
        must_be_pinned(s, slot, cpus_nth(&allowed, slot - 1));
    const int last = cpus_nth(&allowed, (unsigned)CPU_COUNT(&allowed) - 1);
    snprintf(conf, sizeof(conf), "arbiter: { workers = 2; cpu_affinity = \"%d\"; };", last);
    server_configure(s, conf);
    reload(s, 2);
    must_be_pinned(s, 1, last);
    must_be_pinned(s, 2, last);
    server_configure(s, "arbiter: { cpu_affinity = \"1023\"; };");
    if (!CPU_ISSET(1023, &allowed)) {
        server_expect(s, REFUSED);
        server_expect(s, "level=error .*msg=\"configuration\"");
        server_signal(s, SIGHUP);
        server_wait_log(s, "arbiter.cpu_affinity: CPU 1023 is none that the server may use", 1);
        server_wait_log(s, REFUSED, 1);
        must_be_pinned(s, 2, last);
    }
    server_configure(s, "arbiter: { workers = 1; };");
    reload(s, 1);
    MUST(sched_getaffinity(server_slot_pid(s, 1), sizeof(cpus), &cpus) == 0, "getaffinity");
    MUST(CPU_EQUAL(&cpus, &allowed), "still pinned");
    server_must_be_well(s, 1);
}

/* By its name the serving process is meant, not the one that is to replace it. */
static void reload__worker_stopped_meanwhile__the_serving_one_and_the_reload_is_taken(void **state)
{
    struct it *it = *state;
    char *hook = it_path(it, "hook"), env[160], control[160], answer[64] = "";
    struct server *s;
    pid_t old, seen[SERVER_WORKERS_MAX];
    int asker;

    snprintf(env, sizeof(env), "ECHO_TEST_HOOK=%s", hook);
    s = server_start(it, .conf = "", .binary = it_build_path(it, "test/echo-arbiter"),
                     .env = {env});
    snprintf(control, sizeof(control), "unix:%s/control", s->run);
    asker = peer_connect(control);
    old = server_slot_pid(s, 1);
    for (size_t round = 1; round <= 3; round++) {
        it_write(it, "hook", "wait 0");
        server_signal(s, SIGHUP);
        MUST_COME(server_worker_pids(s, seen) == 4, "nobody starts");
        peer_send_text(asker, round == 2
                                  ? "{\"command\":\"info\",\"target\":\"worker.1\",\"id\":1}\n"
                                  : "{\"command\":\"stop\",\"target\":\"worker.1\",\"id\":1}\n");
        if (round == 2) {
            MUST_COME(peer_peek(asker, answer, 10) == 10, "no answer");
            MUST(strncmp(answer, "{\"id\":1,\"r", 10) == 0, "the one that starts was asked");
            asker = peer_connect(control);
        } else {
            peer_expect_text(asker, "{\"id\":1,\"result\":{\"stopping\":true}}\n");
        }
        unlink(hook);
        server_wait_log(s, RELOADED, round);
        server_wait_workers(s, 2);
        MUST(server_slot_pid(s, 1) != old, "the old one is still there");
        old = server_slot_pid(s, 1);
    }
    MUST(server_log_count(s, "reload refused|reload failed|rolled back") == 0,
         "a reload was refused");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(reload__worker_stopped_meanwhile__the_serving_one_and_the_reload_is_taken),
        IT(reload__under_load__nothing_refused_nothing_broken),
        IT(reload__number_of_workers__follows_the_file),
        IT(reload__new_limit__holds_for_new_connections),
        IT(reload__key_of_the_command_line__wins_again),
        IT(reload__open_connections__live_on_in_new_workers),
        IT(reload__more_workers_than_processors__all_move),
        IT(reload__bad_file__changes_nothing),
        IT(reload__empty_or_gutted_file__refused_unless_forced),
        IT(reload__key_that_needs_a_start__is_refused),
        IT(reload__storm__is_coalesced),
        IT(reload__during_start__comes_after_it),
        IT(reload__during_stop__is_ignored),
        IT(reload__listeners_change__others_never_refuse),
        IT(reload__address_taken__rolls_back),
        IT(reload__new_workers_crash__rolls_back),
        IT(reload__check_of_the_file_meanwhile__no_effect),
        IT(reload__cpu_affinity__workers_are_pinned_and_let_go),
    };
    return it_run(tests);
}
