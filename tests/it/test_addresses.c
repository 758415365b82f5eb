/*
 * Addresses: when they are free again, who may have them, and what becomes of those who wait there.
 */
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "support/load.h"
#include "support/server.h"
#include "support/tool.h"

#define RELOADED "msg=\"reloaded\""
#define PASSED   "connections that waited at a closed address go to the workers\" "

static char *__attribute__((format(printf, 1, 2))) print_text(const char *format, ...)
{
    enum { SIZE = 512 };
    char *text = peer_alloc(SIZE);
    va_list args;

    va_start(args, format);
    vsnprintf(text, SIZE, format, args);
    va_end(args);
    return text;
}

/* Nobody listens there; at a unix path, there is nothing at all. */
static void must_refuse(const char *addr)
{
    const int expected = strncmp(addr, "unix:", 5) == 0 ? -ENOENT : -ECONNREFUSED;
    int fd = peer_try_connect(addr, 0);

    MUST(fd == expected, "%s: connect returns %d (%s)", addr, fd, fd < 0 ? strerror(-fd) : "open");
}

static struct server *successor(struct it *it, const char *addr)
{
    char conf[256];

    snprintf(conf, sizeof(conf), "server: { bind = [\"%s\"]; };", addr);
    struct server *s = server_start(it, .conf = conf);
    MUST(peer_is_served(addr, WAIT_MS), "%s: the successor does not serve", addr);
    return s;
}

/* A stopped one does nothing any more when this returns. */
static void signal_workers(const pid_t *pids, size_t n, int signo)
{
    for (size_t i = 0; i < n; i++)
        kill(pids[i], signo);
    for (size_t i = 0; signo == SIGSTOP && i < n; i++)
        MUST_COME(proc_state(pids[i]) == 'T', "%d is not stopped", (int)pids[i]);
}

/* Two addresses, one of each family. */
static struct server *start_both(struct it *it, const char *more)
{
    char conf[512];

    snprintf(conf, sizeof(conf), "server: { bind = [\"127.0.0.1:0\", \"unix:%s/u\"]; };\n%s",
             it->dir, more);
    return server_start(it, .conf = conf);
}

static void must_end(struct server *s)
{
    int code = server_wait_exit(s, WAIT_MS);

    MUST(code == 0, "exit code %d", code);
    const char *problems = server_problems(s);
    MUST(!*problems, "%s", problems);
}

static void stop__busy_client__refuses_others_and_frees_the_address(void **state)
{
    struct it *it = *state;
    struct server *s = start_both(it, "arbiter: { exit_timeout = 600; };");
    int fds[2];
    for (size_t i = 0; i < 2; i++) {
        fds[i] = peer_connect(s->addr[i]);
        peer_send_text(fds[i], "a\r\n\r\nhalf");
        peer_expect_text(fds[i], "a\r\n\r\n");
    }
    server_signal(s, SIGTERM);
    server_wait_log(s, "msg=\"stopping\"", 1);
    for (size_t i = 0; i < 2; i++) {
        must_refuse(s->addr[i]);
        successor(it, s->addr[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        peer_send_text(fds[i], "-done\r\n\r\n");
        peer_expect_text(fds[i], "half-done\r\n\r\n");
        peer_expect_eof(fds[i]);
        peer_close(fds[i]);
    }
    must_end(s);
    MUST(access(s->addr[1] + strlen("unix:"), F_OK) == 0, "the successor's socket is gone");
}

/* Also while no worker can do anything. */
static void stop__workers_hang__frees_the_address(void **state)
{
    struct it *it = *state;
    struct server *s = start_both(it, "arbiter: { exit_timeout = 600; timeout = 600; };");
    pid_t workers[] = {server_worker(s, 0), server_worker(s, 1)};
    signal_workers(workers, 2, SIGSTOP);
    server_signal(s, SIGTERM);
    server_wait_log(s, "msg=\"stopping\"", 1);
    for (size_t i = 0; i < 2; i++) {
        must_refuse(s->addr[i]);
        successor(it, s->addr[i]);
    }
    signal_workers(workers, 2, SIGCONT);
    must_end(s);
}

enum { WAITING = 40 }; /* at each address: half of them have sent something */

/* They connect, and nobody accepts them: all workers are stopped. */
static void connect_waiting(const char *addr, int *fds)
{
    for (int i = 0; i < WAITING; i++) {
        fds[i] = peer_connect(addr);
        if (i % 2)
            peer_send_text(fds[i], "waiting\r\n\r\n");
    }
}

/* At both addresses, while both workers are stopped. */
static void let_wait(struct server *s, pid_t workers[2], int fds[2][WAITING])
{
    for (size_t i = 0; i < 2; i++)
        workers[i] = server_worker(s, i);
    signal_workers(workers, 2, SIGSTOP);
    for (size_t i = 0; i < 2; i++)
        connect_waiting(s->addr[i], fds[i]);
}

static void expect_served_and_ended(int fds[2][WAITING])
{
    for (size_t i = 0; i < 2; i++) {
        for (int k = 0; k < WAITING; k++) {
            if (k % 2)
                peer_expect_text(fds[i][k], "waiting\r\n\r\n");
            peer_expect_eof(fds[i][k]);
            peer_close(fds[i][k]);
        }
    }
}

static void stop__clients_wait_to_be_accepted__served_and_ended(void **state)
{
    struct it *it = *state;
    struct server *s = start_both(it, "arbiter: { exit_timeout = 600; timeout = 600; };");
    pid_t workers[2];
    int fds[2][WAITING];
    let_wait(s, workers, fds);
    server_signal(s, SIGTERM);
    server_wait_log(s, PASSED "count=80", 1);
    signal_workers(workers, 2, SIGCONT);
    expect_served_and_ended(fds);
    must_end(s);
    MUST(server_log_count(s, "msg=\"stopped\" .*accepted=80 requests=40") == 1, "the counters");
}

/* More wait than a socket pair holds. */
static void stop__more_wait_than_a_pair_holds__all_are_served(void **state)
{
    struct it *it = *state;
    it_need_strace(it);
    struct server *s = start_both(it, "arbiter: { exit_timeout = 600; timeout = 600; };");
    pid_t workers[2];
    int fds[2][WAITING];
    let_wait(s, workers, fds);
    pid_t tracer = it_inject(it, s->pid, "sendmsg", "sendmsg:error=EAGAIN:when=3");
    server_signal(s, SIGTERM);
    server_wait_log(s, PASSED "count=80", 1);
    it_tool_stop(it, tracer);
    signal_workers(workers, 2, SIGCONT);
    expect_served_and_ended(fds);
    must_end(s);
}

/* Why they are ended is said. */
static void stop__waiting_cannot_be_passed_on__logged_with_the_cause(void **state)
{
    struct it *it = *state;
    it_need_strace(it);
    struct server *s = start_both(it, "");
    pid_t workers[2];
    int fds[2][WAITING];
    let_wait(s, workers, fds);
    server_expect(s, "connections that waited at a closed address are ended");
    pid_t tracer = it_inject(it, s->pid, "sendmsg", "sendmsg:error=ETOOMANYREFS:when=1..5");
    server_signal(s, SIGTERM);
    server_wait_log(s, "closed address are ended\" count=80 reason=\"Too many references", 1);
    it_tool_stop(it, tracer);
    signal_workers(workers, 2, SIGCONT);
    for (size_t i = 0; i < 2; i++)
        for (int k = 0; k < WAITING; k++)
            peer_close(fds[i][k]);
    must_end(s);
}

static void stop__at_once_while_clients_wait__they_hear_of_it(void **state)
{
    struct it *it = *state;
    struct server *s = start_both(it, "");
    pid_t workers[2];
    int fds[2][WAITING];
    let_wait(s, workers, fds);
    server_signal(s, SIGQUIT);
    signal_workers(workers, 2, SIGCONT);
    for (size_t i = 0; i < 2; i++)
        for (int k = 0; k < WAITING; k++)
            MUST(peer_drain(fds[i][k], WAIT_MS, NULL) != PEER_SILENT, "silence");
    must_end(s);
}

/* The old workers can do nothing all the while. */
static void reload__address_removed__free_at_once_and_nobody_reset(void **state)
{
    struct it *it = *state;
    char conf[512];
    snprintf(conf, sizeof(conf),
             "server: { bind = [\"127.0.0.2:0\", \"unix:%s/u\", \"127.0.0.1:0\"]; };\n"
             "arbiter: { exit_timeout = 600; timeout = 600; };",
             it->dir);
    struct server *s = server_start(it, .conf = conf);
    pid_t old[] = {server_worker(s, 0), server_worker(s, 1)};
    int fds[2][WAITING];
    signal_workers(old, 2, SIGSTOP);
    for (size_t i = 0; i < 2; i++)
        connect_waiting(s->addr[i], fds[i]);
    server_configure(s, "server: { bind = [\"127.0.0.1:0\"]; };\n"
                        "arbiter: { exit_timeout = 600; timeout = 600; };");
    server_signal(s, SIGHUP);
    server_wait_log(s, RELOADED, 1);
    MUST(server_log_count(s, PASSED "count=80") == 1, "it does not say so");
    for (size_t i = 0; i < 2; i++) {
        must_refuse(s->addr[i]);
        successor(it, s->addr[i]);
        for (int k = 0; k < WAITING; k++) {
            if (k % 2)
                peer_expect_text(fds[i][k], "waiting\r\n\r\n");
            peer_echo(fds[i][k], "served by a new worker");
            peer_close(fds[i][k]);
        }
    }
    signal_workers(old, 2, SIGCONT);
    MUST_COME(!proc_is_alive(old[0]) && !proc_is_alive(old[1]), "an old worker lives");
    s->arbiter_fds = s->worker_fds = 0; /* two listeners fewer */
    server_must_be_well(s, 2);
    MUST(server_counter(s, rescued) == 0, "they are counted as rescued");
}

/* A kill of the arbiter leaves orphans, who close the addresses themselves. */
static void arbiter_killed__clients_wait_to_be_accepted__served_and_ended(void **state)
{
    struct it *it = *state;
    struct server *s = start_both(it, "arbiter: { exit_timeout = 600; timeout = 600; };");
    pid_t workers[2];
    int fds[2][WAITING];
    let_wait(s, workers, fds);
    server_expect(s, "the arbiter is gone");
    kill(s->pid, SIGKILL);
    server_wait_exit(s, WAIT_MS);
    signal_workers(workers, 2, SIGCONT);
    for (size_t i = 0; i < 2; i++) {
        for (int k = 0; k < WAITING; k++) {
            if (k % 2)
                peer_expect_text(fds[i][k], "waiting\r\n\r\n");
            peer_expect_eof(fds[i][k]);
            peer_close(fds[i][k]);
        }
    }
    it_wait_orphans(it);
}

/* One that nobody has on any address: below those that connections get, of which the machine may be
 * full. */
static unsigned free_port(void)
{
    enum { FIRST = 10000, COUNT = 20000 };

    for (unsigned i = 0; i < COUNT; i++) {
        const unsigned port = FIRST + ((unsigned)getpid() * 31 + i) % COUNT;
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const bool is_free = bind(fd, (struct sockaddr *)&any, sizeof(any)) == 0;

        close(fd);
        if (is_free)
            return port;
    }
    MUST(false, "no port is free");
    return 0;
}

/* At one port of these hosts; "" = all addresses of both families. */
static void configure_hosts(struct server *s, const char *const hosts[2], unsigned port)
{
    const char *more = hosts[1] ? print_text(", \"%s:%u\"", hosts[1], port) : "";

    server_configure(s, print_text("server: { bind = [\"%s:%u\"%s]; };", hosts[0], port, more));
}

static const char *const moves[][2] = {
    {"0.0.0.0"},   {"127.0.0.1"}, {""},          {"127.0.0.1"},
    {""},          {"0.0.0.0"},   {""},          {"127.0.0.1", "127.0.0.2"},
    {"localhost"}, {"0.0.0.0"},   {"127.0.0.1"},
};

static void reload__address_of_the_same_port__moves_without_a_refusal(void **state)
{
    struct it *it = *state;
    const unsigned port = free_port();
    char *addr = print_text("127.0.0.1:%u", port);
    struct server *s = server_start(it, .conf = print_text("server: { bind = [\"%s\"]; };", addr));
    struct load *l = load_new(&(struct load_options){.addr = addr, .clients = 8, .messages = 2});
    for (size_t i = 0; i < ARRAY_SIZE(moves); i++) {
        configure_hosts(s, moves[i], port);
        server_signal(s, SIGHUP);
        for (int t = 0; server_log_count(s, RELOADED) <= i; t++) {
            MUST(t < 1000, "%s: not reloaded", moves[i][0]);
            load_run(l, 20);
        }
        load_run(l, 20);
        /* Nobody else may have it, now as before; one of each kind will do, it takes its time. */
        if (i < 3)
            server_refuses(it, 69, "Address already in use", .args = {"-b", addr});
    }
    load_finish(l);
    load_print(l, "moves");
    const struct load_report *r = load_report(l);
    MUST(r->refused + r->reset + r->ended + r->ended_inside == 0, "see above");
    load_free(l);
    s->arbiter_fds = s->worker_fds = 0; /* one family or another */
    server_must_be_well(s, 2);
}

/* The first to hear of a new address are its old owners, and they are to have it back. */
static void reload__moves_and_fails__the_old_address_serves(void **state)
{
    struct it *it = *state;
    char env[256], conf[256];
    snprintf(env, sizeof(env), "ECHO_TEST_HOOK=%s", it_path(it, "hook"));
    const unsigned port = free_port();
    char *local = print_text("server: { bind = [\"127.0.0.1:%u\"]; };", port);
    struct server *s = server_start(it, .conf = local, .binary = "test/echo-arbiter", .env = {env});
    struct server *other = server_start(it, .conf = "");
    server_expect(s, "reload refused|worker (died|killed)|reload .*died before it was ready");
    it_write(it, "hook", "crash 2\n");
    configure_hosts(s, moves[0], port);
    server_signal(s, SIGHUP);
    server_wait_log(s, "died before it was ready", 1);
    unlink(it_path(it, "hook"));
    must_refuse(print_text("127.0.0.2:%u", port));
    MUST(peer_is_served(s->addr[0], WAIT_MS), "not served");
    snprintf(conf, sizeof(conf), "server: { bind = [\"0.0.0.0:%u\", \"%s\"]; };", port,
             other->addr[0]);
    server_configure(s, conf);
    server_signal(s, SIGHUP);
    server_wait_log(s, "reload refused.*Address already in use; another server listens there", 1);
    must_refuse(print_text("127.0.0.2:%u", port));
    server_must_be_well(s, 2);
}

/* Others only see that the file is there again. */
static void must_be_reachable_again(struct it *it, struct server *s,
                                    void (*change)(struct server *))
{
    const char *path = s->addr[0] + strlen("unix:"), *control = print_text("%s/control", s->run);
    int fd = peer_connect(s->addr[0]);

    peer_echo(fd, "before");
    MUST(unlink(path) == 0 && unlink(control) == 0, "unlink: %s", strerror(errno));
    change(s);
    MUST(peer_is_served(s->addr[0], WAIT_MS), "%s is not served", path);
    peer_echo(fd, "as ever");
    struct tool_run r = RUN(it, NO_INPUT, "-C", control, "info");
    MUST(r.code == 0, "the control socket: %s", r.err);
}

static void change_by_reload(struct server *s)
{
    size_t before = server_log_count(s, RELOADED);

    server_signal(s, SIGHUP);
    server_wait_log(s, RELOADED, before + 1);
}

static void change_by_upgrade(struct server *s)
{
    size_t before = server_log_count(s, "msg=\"upgraded\"");

    server_signal(s, SIGUSR2);
    server_wait_log(s, "msg=\"upgraded\"", before + 1);
}

static void unix_path_removed__reload_or_upgrade__made_again(void **state)
{
    struct it *it = *state;
    struct server *s =
        server_start(it, .conf = print_text("server: { bind = [\"unix:%s/u\"]; };", it->dir));

    must_be_reachable_again(it, s, change_by_reload);
    must_be_reachable_again(it, s, change_by_upgrade);
    must_be_reachable_again(it, s, change_by_reload);
    server_stop_and_check(s, SIGTERM, 0);
    MUST(access(it_path(it, "u"), F_OK) < 0, "the socket file is left");
}

/* Its signal waits: it cannot hear of the arbiter's death. */
static void arbiter_killed__workers_stopped__a_new_server_has_the_address(void **state)
{
    struct it *it = *state;
    struct server *s = start_both(it, "");
    pid_t workers[] = {server_worker(s, 0), server_worker(s, 1)};
    int waiting = peer_connect(s->addr[0]);
    peer_send_text(waiting, "waiting\r\n\r\n");
    signal_workers(workers, 2, SIGSTOP);
    server_expect(s, "the arbiter is gone");
    kill(s->pid, SIGKILL);
    server_wait_exit(s, WAIT_MS);
    for (size_t i = 0; i < 2; i++) {
        char *conf = print_text("server: { bind = [\"%s\"]; };", s->addr[i]);
        struct server *next = server_spawn(it, .conf = conf);
        server_expect(next, "whose arbiter was killed");
        server_wait_ready(next);
        MUST(peer_is_served(s->addr[i], WAIT_MS), "%s is not served", s->addr[i]);
        MUST(server_log_count(next, "whose arbiter was killed.*continued") == (i ? 0 : 2),
             "the log");
    }
    peer_expect_text(waiting, "waiting\r\n\r\n");
    peer_expect_eof(waiting);
    peer_close(waiting);
    it_wait_orphans(it);
}

/* Returns a worker of it that is stopped and stays so. The other one has freed the address. */
static pid_t leave_stopped_worker(struct server *s)
{
    pid_t worker = server_worker(s, 0);

    signal_workers(&worker, 1, SIGSTOP);
    server_expect(s, "the arbiter is gone");
    kill(s->pid, SIGKILL);
    server_wait_exit(s, WAIT_MS);
    MUST_COME(peer_try_connect(s->addr[0], 0) == -ECONNREFUSED, "the address is taken");
    MUST(proc_state(worker) == 'T', "it is not stopped any more");
    return worker;
}

/* The same server once more: with the same file. */
static struct server *spawn_again(struct it *it, const struct server *s, const char *address)
{
    return server_spawn(it, .is_bare = true,
                        .args = {"-c", s->conf, "--ready-fd", "3", "-b", address});
}

/* Nothing is in the way of a new server, which helps all the same; another server does not. */
static void must_be_continued(struct it *it, struct server *s)
{
    int fds[4];
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = peer_connect(s->addr[0]);
        peer_echo(fds[i], "served");
    }
    pid_t worker = leave_stopped_worker(s);
    server_start(it, .conf = "");
    MUST(proc_state(worker) == 'T', "another server has continued it");
    struct server *next = spawn_again(it, s, s->addr[0]);
    server_expect(next, "whose arbiter was killed");
    server_wait_ready(next);
    MUST(server_log_count(next, "whose arbiter was killed: continued") == 1, "the log");
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        peer_expect_eof(fds[i]);
        peer_close(fds[i]);
    }
    it_wait_orphans(it);
}

static void arbiter_killed__one_worker_stopped__continued_by_a_new_server(void **state)
{
    must_be_continued(*state, server_start(*state, .conf = ""));
}

static void upgraded_and_killed__one_worker_stopped__continued_by_a_new_server(void **state)
{
    struct server *s = server_start(*state, .conf = "");

    change_by_upgrade(s);
    server_wait_workers(s, 2); /* those of before have gone */
    must_be_continued(*state, s);
}

/* One that executes another file may be anything: it is named and let alone. */
static void arbiter_killed__stopped_worker_of_another_file__named_and_let_alone(void **state)
{
    struct it *it = *state;
    const char *const copy[] = {"cp", it_build_path(it, "echo-arbiter"), it_path(it, "other"),
                                NULL};
    MUST(it_tool_run(it, "cp.log", copy) == 0, "cp");
    struct server *s = server_start(it, .conf = "", .binary = it_path(it, "other"));
    pid_t worker = leave_stopped_worker(s);
    struct server *next = spawn_again(it, s, "127.0.0.1:0");
    server_expect(next, "whose arbiter was killed");
    server_wait_ready(next);
    MUST(server_log_count(next, print_text("killed is let alone.*process=%d", (int)worker)) == 1,
         "it is not named");
    MUST(proc_state(worker) == 'T', "it has been continued");
    kill(worker, SIGCONT);
    it_wait_orphans(it);
}

/* It does not hear anything any more. */
static void arbiter_killed__worker_hangs__a_new_server_kills_it(void **state)
{
    struct it *it = *state;
    char *conf = print_text("server: { bind = [\"unix:%s/u\"]; };", it->dir);
    char *env = print_text("ECHO_TEST_HOOK=%s", it_path(it, "hook"));
    pid_t pids[SERVER_WORKERS_MAX];
    it_write(it, "hook", "hang 0\n");
    struct server *s = server_spawn(it, .conf = conf, .binary = "test/echo-arbiter", .env = {env});
    MUST_COME(server_worker_pids(s, pids) == 2, "no workers");
    for (size_t i = 0; i < 2; i++) /* by then it has closed what it must not have */
        MUST_COME(proc_state(pids[i]) == 'S' && proc_count_fds(pids[i]) < proc_count_fds(s->pid),
                  "worker %zu does not hang", i);
    kill(s->pid, SIGKILL);
    server_wait_exit(s, WAIT_MS);
    struct server *next = server_spawn(it, .conf = conf, .binary = "test/echo-arbiter");
    server_expect(next, "whose arbiter was killed");
    server_wait_ready(next);
    MUST(server_log_count(next, "whose arbiter was killed has the address: killed") == 2,
         "the log");
    it_wait_orphans(it);
}

/* Stopped as well, but its arbiter lives: it is let alone, and named. */
static void address_taken__by_a_stopped_server__named_and_let_alone(void **state)
{
    struct it *it = *state;
    struct server *s = start_both(it, "arbiter: { timeout = 600; };");
    pid_t workers[] = {server_worker(s, 0), server_worker(s, 1)};
    signal_workers(workers, 2, SIGSTOP);
    signal_workers(workers, 2, SIGTERM);
    kill(s->pid, SIGSTOP);
    for (size_t i = 0; i < 2; i++)
        server_refuses(it, 69, print_text("process .*%d \\(echo-arbiter\\)", (int)s->pid),
                       .args = {"-b", s->addr[i]});
    MUST(proc_status(workers[0], "ShdPnd", 16) != 0, "it has been continued");
    kill(s->pid, SIGCONT);
    signal_workers(workers, 2, SIGCONT);
    server_expect(s, "asks to be replaced");
    MUST_COME(!proc_is_alive(workers[0]) && !proc_is_alive(workers[1]), "SIGTERM is lost");
    server_must_be_well(s, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(stop__busy_client__refuses_others_and_frees_the_address),
        IT(stop__workers_hang__frees_the_address),
        IT(stop__clients_wait_to_be_accepted__served_and_ended),
        IT(stop__more_wait_than_a_pair_holds__all_are_served),
        IT(stop__waiting_cannot_be_passed_on__logged_with_the_cause),
        IT(stop__at_once_while_clients_wait__they_hear_of_it),
        IT(reload__address_removed__free_at_once_and_nobody_reset),
        IT(arbiter_killed__workers_stopped__a_new_server_has_the_address),
        IT(arbiter_killed__one_worker_stopped__continued_by_a_new_server),
        IT(upgraded_and_killed__one_worker_stopped__continued_by_a_new_server),
        IT(arbiter_killed__stopped_worker_of_another_file__named_and_let_alone),
        IT(arbiter_killed__worker_hangs__a_new_server_kills_it),
        IT(address_taken__by_a_stopped_server__named_and_let_alone),
        IT(reload__address_of_the_same_port__moves_without_a_refusal),
        IT(reload__moves_and_fails__the_old_address_serves),
        IT(unix_path_removed__reload_or_upgrade__made_again),
        IT(arbiter_killed__clients_wait_to_be_accepted__served_and_ended),
    };
    return it_run(tests);
}
