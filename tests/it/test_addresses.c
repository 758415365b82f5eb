/*
 * Addresses: when they are free again, who may have them, and what becomes of those who wait there.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"

#define RELOADED "msg=\"reloaded\""
#define PASSED   "connections that waited at a closed address go to the workers\" "

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

static void signal_workers(const pid_t *pids, size_t n, int signo)
{
    for (size_t i = 0; i < n; i++)
        kill(pids[i], signo);
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

static void stop__clients_wait_to_be_accepted__served_and_ended(void **state)
{
    struct it *it = *state;
    struct server *s = start_both(it, "arbiter: { exit_timeout = 600; timeout = 600; };");
    pid_t workers[] = {server_worker(s, 0), server_worker(s, 1)};
    int fds[2][WAITING];
    signal_workers(workers, 2, SIGSTOP);
    for (size_t i = 0; i < 2; i++)
        connect_waiting(s->addr[i], fds[i]);
    server_signal(s, SIGTERM);
    server_wait_log(s, PASSED "count=80", 1);
    signal_workers(workers, 2, SIGCONT);
    for (size_t i = 0; i < 2; i++) {
        for (int k = 0; k < WAITING; k++) {
            if (k % 2)
                peer_expect_text(fds[i][k], "waiting\r\n\r\n");
            peer_expect_eof(fds[i][k]);
            peer_close(fds[i][k]);
        }
    }
    must_end(s);
    MUST(server_log_count(s, "msg=\"stopped\" .*accepted=80 requests=40") == 1, "the counters");
}

static void stop__at_once_while_clients_wait__they_hear_of_it(void **state)
{
    struct it *it = *state;
    struct server *s = start_both(it, "");
    pid_t workers[] = {server_worker(s, 0), server_worker(s, 1)};
    int fds[2][WAITING];
    signal_workers(workers, 2, SIGSTOP);
    for (size_t i = 0; i < 2; i++)
        connect_waiting(s->addr[i], fds[i]);
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
    pid_t workers[] = {server_worker(s, 0), server_worker(s, 1)};
    int fds[2][WAITING];
    signal_workers(workers, 2, SIGSTOP);
    for (size_t i = 0; i < 2; i++)
        connect_waiting(s->addr[i], fds[i]);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(stop__busy_client__refuses_others_and_frees_the_address),
        IT(stop__workers_hang__frees_the_address),
        IT(stop__clients_wait_to_be_accepted__served_and_ended),
        IT(stop__at_once_while_clients_wait__they_hear_of_it),
        IT(reload__address_removed__free_at_once_and_nobody_reset),
        IT(arbiter_killed__clients_wait_to_be_accepted__served_and_ended),
    };
    return it_run(tests);
}
