/*
 * echo-client ping: against the server, a stopped one, and nobody.
 */
#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

static void ping__count__a_line_each_and_the_summary(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r =
        RUN(it, NO_INPUT, "-a", s->addr[0], "ping", "-c", "3", "-i", "0", "-s", "1000");

    MUST(r.code == 0 && r.err[0] == '\0', "exit code %d: %s", r.code, r.err);
    MUST(strstr(r.out, "1000 bytes from ") == r.out, "says: %s", r.out);
    MUST(strstr(r.out, ": seq=3 time="), "says: %s", r.out);
    MUST(!strstr(r.out, ": seq=4"), "says: %s", r.out);
    MUST(strstr(r.out, "3 messages sent, 3 echoed, 0% lost, 1 connection, time "), "says: %s",
         r.out);
    MUST(strstr(r.out, "\nconnect min/avg/max/mdev = "), "says: %s", r.out);
    MUST(strstr(r.out, "\nround trip min/avg/max/mdev = "), "says: %s", r.out);
}

static void ping__json__an_object_a_line(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r = RUN(it, NO_INPUT, "-a", s->addr[0], "--json", "ping", "-c", "2", "-i", "0");
    size_t n = 0;

    MUST(r.code == 0, "exit code %d: %s", r.code, r.err);
    for (char *line = strtok(r.out, "\n"); line; line = strtok(NULL, "\n"), n++) {
        json_t *o = json_loads(line, 0, NULL), *summary;

        MUST(o, "no JSON: %s", line);
        summary = json_object_get(o, "summary");
        if (n < 2)
            MUST(json_integer_value(json_object_get(o, "seq")) == (json_int_t)n + 1 &&
                     json_integer_value(json_object_get(o, "bytes")) == 64 &&
                     json_is_real(json_object_get(o, "time_ms")),
                 "says: %s", line);
        else
            MUST(json_integer_value(json_object_get(summary, "sent")) == 2 &&
                     json_integer_value(json_object_get(summary, "echoed")) == 2 &&
                     json_is_real(
                         json_object_get(json_object_get(summary, "round_trip_ms"), "mdev")),
                 "says: %s", line);
        json_decref(o);
    }
    MUST(n == 3, "%zu lines", n);
}

/* The worker of our connection dies between two messages, or with one: it goes on. */
static void ping__worker_killed__a_new_connection(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter = { workers = 1; };");
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    uint64_t before = server_counter(s, requests);
    pid_t pid = tool_start(it, io, ARGS("-a", s->addr[0], "ping", "-i", "10ms"));
    char *out;
    int code;

    server_expect(s, "worker died.*kind=signal");
    MUST_COME(server_counter(s, requests) > before + 3, "no messages");
    kill(server_worker(s, 0), SIGKILL);
    server_wait_log(s, "worker died.*kind=signal", 1);
    server_wait_workers(s, 1);
    before = server_counter(s, requests);
    MUST_COME(server_counter(s, requests) > before + 3, "no more messages");
    kill(pid, SIGINT);
    code = tool_wait(pid);
    out = tool_read_back(io.out, NULL);
    close(io.err);
    MUST(code == 130, "exit code %d", code);
    MUST(strstr(out, " 2 connections, time "), "says: %s", out);
}

static int listen_anywhere(char ret_addr[64])
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    MUST(bind(fd, (struct sockaddr *)&sa, len) == 0 && listen(fd, 1) == 0 &&
             getsockname(fd, (struct sockaddr *)&sa, &len) == 0,
         "listening: %s", strerror(errno));
    snprintf(ret_addr, 64, "127.0.0.1:%d", ntohs(sa.sin_port));
    return fd;
}

/* Waiting for a reply must not make it deaf to Ctrl-C; the message that is out has not come back.
 */
static void ping__silent_server__interrupted_at_once(void **state)
{
    struct it *it = *state;
    char addr[64], message[8], *out;
    int listener = listen_anywhere(addr), conn, code;
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    pid_t pid = tool_start(it, io, ARGS("-a", addr, "--timeout", "0", "ping"));

    conn = accept(listener, NULL, NULL);
    MUST(conn >= 0 && read(conn, message, sizeof(message)) > 0, "sends nothing");
    kill(pid, SIGINT);
    code = tool_wait(pid);
    out = tool_read_back(io.out, NULL);
    close(io.err);
    close(conn);
    close(listener);
    MUST(code == 130, "exit code %d", code);
    MUST(strstr(out, "1 message sent, 0 echoed, 100% lost"), "says: %s", out);
}

static void ping__too_late__lost_and_said(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter = { workers = 1; };");
    pid_t worker = server_worker(s, 0);
    struct tool_run r;

    kill(worker, SIGSTOP);
    r = RUN(it, NO_INPUT, "-a", s->addr[0], "--timeout", "0.1", "ping", "-c", "2", "-i", "0");
    kill(worker, SIGCONT);
    MUST(r.code == 75, "exit code %d", r.code);
    MUST(strstr(r.out, "seq=1 timed out\n"), "says: %s", r.out);
    MUST(strstr(r.out, "2 messages sent, 0 echoed, 100% lost"), "says: %s", r.out);
}

/* A listener on @addr's port of 127.0.0.1 whose queue is full: the kernel drops what comes. Returns
 * the descriptors; 0 = another test has that port. */
static size_t silence_v4(const char *addr, int *fds, size_t max)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int one = 1;
    size_t n = 1;

    sa.sin_port = htons((uint16_t)atoi(strrchr(addr, ':') + 1));
    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* A connection of another test that has just ended may still hold the port. */
    setsockopt(fds[0], SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (bind(fds[0], (struct sockaddr *)&sa, sizeof(sa)) < 0 || listen(fds[0], 0) < 0) {
        MUST(errno == EADDRINUSE, "127.0.0.1%s: %s", strrchr(addr, ':'), strerror(errno));
        close(fds[0]);
        return 0;
    }
    for (; n < max; n++) {
        fds[n] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)!connect(fds[n], (struct sockaddr *)&sa, sizeof(sa));
    }
    return n;
}

/* :PORT is 127.0.0.1 and [::1]; who is silent on the one is not waited for. */
static void every_command__first_address_silent__the_next(void **state)
{
    struct it *it = *state;
    int fds[8], probe = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = in6addr_loopback};
    bool has_v6 = probe >= 0 && bind(probe, (struct sockaddr *)&sa, sizeof(sa)) == 0;
    struct tool_run r;
    struct server *s = NULL;
    size_t n = 0;

    close(probe);
    if (!has_v6) {
        print_message("skipped: there is no IPv6 here\n");
        skip();
    }
    for (int tries = 0; n == 0; tries++) {
        MUST(tries < 10, "no port is free for both families");
        s = server_start(it, .conf = "server = { bind = \"[::1]:0\"; };");
        n = silence_v4(s->addr[0], fds, ARRAY_SIZE(fds));
    }
    r = RUN(it, NO_INPUT, "-a", strrchr(s->addr[0], ':'), "ping", "-c", "3", "-i", "0");
    MUST(r.code == 0, "exit code %d: %s%s", r.code, r.out, r.err);
    MUST(strstr(r.out, "3 messages sent, 3 echoed, 0% lost, 1 connection,"), "says: %s", r.out);
    r = RUN(it, NO_INPUT, "-a", strrchr(s->addr[0], ':'), "hold", "-c", "3", "-t", "100ms");
    MUST(r.code == 0, "exit code %d: %s%s", r.code, r.out, r.err);
    r = RUN(it, NO_INPUT, "-a", strrchr(s->addr[0], ':'), "bench", "-c", "3", "-n", "30");
    MUST(r.code == 0, "exit code %d: %s%s", r.code, r.out, r.err);
    r = RUN(it, NO_INPUT, "-a", strrchr(s->addr[0], ':'), "audit", "-c", "3", "-n", "3");
    MUST(r.code == 0, "exit code %d: %s%s", r.code, r.out, r.err);
    r = RUN(it, NO_INPUT, "-a", strrchr(s->addr[0], ':'), "Hello!");
    tool_must_print(&r, "Hello!\n", 7);
    while (n > 0)
        close(fds[--n]);
}

static void ping__nobody__refused(void **state)
{
    struct tool_run r = RUN(*state, NO_INPUT, "-a", "127.0.0.1:1", "ping", "-c", "2", "-i", "1ms");

    MUST(r.code == 69, "exit code %d", r.code);
    MUST(strstr(r.out, "seq=2 connection refused\n"), "says: %s", r.out);
}

static void ping__wrong_words__usage(void **state)
{
    static const char *const bad[][2] = {
        {"-n", "0"}, {"-n", "x"}, {"-i", "-1"}, {"-s", "15"}, {"word", NULL}};

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct tool_run r = RUN(*state, NO_INPUT, "ping", bad[i][0], bad[i][1]);

        MUST(r.code == 64 && r.err[0], "%s: exit code %d", bad[i][0], r.code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(ping__count__a_line_each_and_the_summary),
        IT(ping__json__an_object_a_line),
        IT(ping__worker_killed__a_new_connection),
        IT(ping__silent_server__interrupted_at_once),
        IT(ping__too_late__lost_and_said),
        IT(every_command__first_address_silent__the_next),
        IT(ping__nobody__refused),
        IT(ping__wrong_words__usage),
    };

    return it_run(tests);
}
