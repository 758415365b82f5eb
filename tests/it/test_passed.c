/*
 * Descriptors that somebody passes to a server that wants none. One of them is a socket whose close
 * waits for ten minutes: whoever closes it waits as long, and so do all its clients.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/fdpass.h"
#include "base/passed.h"
#include "base/util.h"
#include "support/lingering.h"
#include "support/server.h"

#define CONF                                                                                       \
    "arbiter: { workers = 1; timeout = 3600; sandbox = \"%s\"; };"                                 \
    "server: { bind = [\"127.0.0.1:0\", \"unix:%s/s\"]; };"

static const char request[] = "{\"command\":\"ping\"}\n";
static const char pong[] = "{\"id\":null,\"result\":\"pong\"}\n";

static struct server *start(struct it *it, const char *binary, const char *env, const char *sandbox)
{
    char conf[512];

    snprintf(conf, sizeof(conf), CONF, sandbox, it->dir);
    return server_start(it, .conf = conf, .binary = binary, .env = {env});
}

/* A server of the test build, for which this kernel is an older one. */
static struct server *start_on_old_kernel(struct it *it)
{
    return start(it, it_build_path(it, "test/echo-arbiter"), "ECHO_TEST_PASSED=1", "auto");
}

static int connect_control(struct server *s)
{
    char addr[160];

    snprintf(addr, sizeof(addr), "unix:%s/control", s->run);
    return peer_connect(addr);
}

/* While @reader stands still nothing of ours may be the last to close the socket. */
static void pass_lingering(pid_t reader, int to, struct bytes data)
{
    int end, fd = lingering_socket(&end);

    kill(reader, SIGSTOP);
    MUST_COME(proc_state(reader) == 'T', "it does not stop");
    const int rc = fdpass_send(to, data.data, data.len, &fd, 1);
    MUST(rc == 0, "passing failed: %s", strerror(-rc));
    close(fd);
    kill(reader, SIGCONT); /* `end` stays open for as long as the socket lingers */
}

/* --- where the kernel refuses them --- */

static void must_refuse(int to, const char *what)
{
    int end, fd = lingering_socket(&end);

    MUST(fdpass_send(to, "x", 1, &fd, 1) == -EPERM, "%s takes descriptors", what);
    peer_reset(fd);
    close(end);
}

static bool can_refuse(void)
{
    int pair[2];
    bool can;

    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
    can = setsockopt(pair[0], SOL_SOCKET, SO_PASSRIGHTS, &(int){0}, sizeof(int)) == 0;
    close(pair[0]);
    close(pair[1]);
    return can;
}

static void passed__to_listener_and_control__refused_by_the_kernel(void **state)
{
    struct it *it = *state;
    struct server *s;
    int served, control;

    if (!can_refuse()) {
        printf("# skipped: this kernel has no SO_PASSRIGHTS\n");
        skip();
    }
    s = start(it, NULL, NULL, "auto");
    served = peer_connect(s->addr[1]);
    control = connect_control(s);
    peer_echo(served, "before");
    must_refuse(served, "a served connection");
    must_refuse(control, "the control socket");
    for (size_t i = 1; i <= 2; i++) { /* what has moved refuses as well */
        server_signal(s, i == 1 ? SIGHUP : SIGUSR2);
        server_wait_log(s, i == 1 ? "msg=\"reloaded\"" : "msg=\"upgraded\"", 1);
        server_wait_log(s, "worker ended\"", i);
        must_refuse(served, "a moved connection");
        must_refuse(control, "the control socket");
        peer_echo(served, "after");
    }
    peer_send_text(control, request);
    peer_expect_text(control, pong);
}

/* --- where it does not --- */

static void passed__lingering_to_a_worker__closed_elsewhere(void **state)
{
    struct it *it = *state;
    struct server *s = start_on_old_kernel(it);
    const pid_t worker = server_worker(s, 0);
    int hostile = peer_connect(s->addr[1]), honest = peer_connect(s->addr[0]);
    int half = peer_connect(s->addr[1]);

    peer_echo(hostile, "before");
    peer_echo(honest, "before");
    peer_send_text(half, "the first half");
    for (int i = 0; i < 5; i++) {
        pass_lingering(worker, hostile, BYTES("with a socket\r\n\r\n"));
        peer_expect_text(hostile, "with a socket\r\n\r\n");
        peer_echo(honest, "others are served");
    }
    pass_lingering(worker, half, BYTES(" and the second"));
    peer_send_text(half, "\r\n\r\n");
    peer_expect_text(half, "the first half and the second\r\n\r\n");
    server_must_idle(s);
}

/* The lingering socket lies unread in a unix socket, and goes with it. */
static void passed__lingering_inside_another__only_the_thread_waits(void **state)
{
    struct it *it = *state;
    struct server *s = start_on_old_kernel(it);
    const pid_t worker = server_worker(s, 0);
    int hostile = peer_connect(s->addr[1]), pair[2], end, fd = lingering_socket(&end);

    MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
    kill(worker, SIGSTOP);
    MUST_COME(proc_state(worker) == 'T', "it does not stop");
    MUST(fdpass_send(pair[0], "x", 1, &fd, 1) == 0, "sendmsg");
    close(fd);
    MUST(fdpass_send(hostile, "x\r\n\r\n", 5, &pair[1], 1) == 0, "sendmsg");
    close(pair[1]);
    close(pair[0]);
    kill(worker, SIGCONT);
    peer_expect_text(hostile, "x\r\n\r\n");
    peer_echo(peer_connect(s->addr[0]), "others are served");
    server_stop_and_check(s, SIGTERM, 0); /* nor does its end wait */
}

static void passed__lingering_to_the_control_socket__arbiter_goes_on(void **state)
{
    struct it *it = *state;
    struct server *s = start_on_old_kernel(it);
    int hostile = connect_control(s), honest = connect_control(s);

    peer_send_text(honest, request);
    peer_expect_text(honest, pong);
    pass_lingering(s->pid, hostile, (struct bytes){request, strlen(request)});
    peer_expect_text(hostile, pong);
    peer_send_text(honest, request);
    peer_expect_text(honest, pong);
}

static void passed__lingering_to_the_arbiter_by_a_worker__arbiter_goes_on(void **state)
{
    struct it *it = *state;
    struct server *s = start(it, it_build_path(it, "test/echo-arbiter"), "ECHO_TEST_PASSED=1",
                             "off"); /* the worker makes that socket */
    int honest = connect_control(s), mad = peer_connect(s->addr[0]);
    size_t fds;

    peer_echo(mad, "before");
    peer_send_text(honest, request);
    peer_expect_text(honest, pong);
    fds = proc_count_fds(s->pid);
    kill(s->pid, SIGSTOP);
    MUST_COME(proc_state(s->pid) == 'T', "it does not stop");
    peer_echo(mad, "\x01"
                   "crash linger");
    kill(s->pid, SIGCONT);
    peer_send_text(honest, request);
    peer_expect_text(honest, pong);
    MUST_COME(proc_count_fds(s->pid) == fds, "the arbiter keeps what was passed");
    s->arbiter_fds = 0; /* the worker has kept the other end */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(passed__to_listener_and_control__refused_by_the_kernel),
        IT(passed__lingering_to_a_worker__closed_elsewhere),
        IT(passed__lingering_inside_another__only_the_thread_waits),
        IT(passed__lingering_to_the_control_socket__arbiter_goes_on),
        IT(passed__lingering_to_the_arbiter_by_a_worker__arbiter_goes_on),
    };

    return it_run(tests);
}
