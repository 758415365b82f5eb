/*
 * The status actor, seen from outside: what it shows, what becomes of clients that ask for more
 * than they should, and that it is there through everything that happens to a server.
 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arbiter/transition.h"
#include "base/util.h"
#include "support/http.h"
#include "support/server.h"
#include "support/server_internal.h"
#include "support/tool.h"

#define SERVED "server: { bind = \"127.0.0.1:0\"; };\n"
#define SHOWN  "status: { bind = \"127.0.0.1:0\"; };\n"

/* ---- who is asked ---- */

static char *control_of(struct server *s)
{
    char *path = peer_alloc(sizeof(s->run) + 16);

    snprintf(path, sizeof(s->run) + 16, "%s/control", s->run);
    return path;
}

/* Behind that of the keepers. */
static pid_t status_pid(struct server *s)
{
    return server_slot_pid(s, tr_slot(1, 1));
}

static pid_t must_have_another_status(struct server *s, pid_t old)
{
    pid_t pid = 0;

    MUST_COME((pid = status_pid(s)) != 0 && pid != old, "no other status.1");
    return pid;
}

static void reload(struct server *s, const char *conf, size_t n)
{
    server_configure(s, conf);
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", n);
}

/* ---- HTTP ---- */

static void must_get(const char *addr, const char *path, unsigned code, const char *body)
{
    const struct http_reply r = http_get(addr, path);

    MUST(r.code == code && strstr(r.body, body), "%s: not %u with \"%s\":\n%s", path, code, body,
         r.head);
}

static void must_have(const struct http_reply *r, const char *text)
{
    MUST(strcasestr(r->head, text), "no \"%s\" in:\n%.1000s", text, r->head);
}

/* Listening or not, nobody answers there. */
static bool is_refused(const char *addr)
{
    const int fd = peer_try_connect(addr, 0);

    if (fd >= 0)
        peer_close(fd);
    return fd < 0;
}

static bool has_mapped(pid_t pid, const char *what)
{
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    return it_file_has(path, what);
}

/* ---- tests ---- */

static void status__routes__as_the_table_says(void **state)
{
    struct server *s = server_start(*state, .conf = SERVED SHOWN);
    const char *addr = http_address(s);
    struct http_reply r;
    json_t *info;

    must_get(addr, "/health/live", 200, "live");
    must_get(addr, "/health/ready", 200, "ready\n");
    must_get(addr, "/nothing", 404, "/api/info");
    must_get(addr, "/api/info/", 404, "/api/info");
    r = http_get(addr, "/api/info?x=1");
    MUST(r.code == 200, "%s", r.head);
    must_have(&r, "\r\nContent-Type: application/json\r\n");
    must_have(&r, "\r\nCache-Control: no-store\r\n");
    must_have(&r, "\r\nContent-Security-Policy: default-src 'none'");
    must_have(&r, "\r\nConnection: close\r\n");
    info = json_loads(r.body, 0, NULL);
    MUST(json_array_size(json_object_get(info, "workers")) == 2, "%s", r.body);
    json_decref(info);
    r = http_read(http_ask(addr, "HEAD", "/api/info", ""));
    MUST(r.code == 200 && !*r.body, "HEAD: %s", r.head);
    static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"};
    for (size_t i = 0; i < ARRAY_SIZE(methods); i++) {
        r = http_read(http_ask(addr, methods[i], "/api/info", ""));
        MUST(r.code == 405, "%s: %s", methods[i], r.head);
        must_have(&r, "\r\nAllow: GET, HEAD\r\n");
    }
    MUST(has_mapped(status_pid(s), "libmicrohttpd"), "it does not speak by the library");
    MUST(!has_mapped(server_worker(s, 0), "libmicrohttpd"), "workers have the library");
    MUST(!has_mapped(s->pid, "libmicrohttpd"), "the arbiter has the library");
    MUST(getuid() != 0 || proc_status(status_pid(s), "Uid", 10) != 0, "it is root");
    MUST(getpriority(PRIO_PROCESS, (id_t)status_pid(s)) >
             getpriority(PRIO_PROCESS, (id_t)server_worker(s, 0)),
         "it is as important as a worker");
    server_must_idle(s);
}

static void status__in_info_top_and_commands__as_other_actors(void **state)
{
    struct server *s = server_start(*state, .conf = SERVED SHOWN);
    char title[256];
    struct tool_run r;

    r = RUN(*state, NO_INPUT, "-C", control_of(s), "info");
    MUST(strstr(r.out, "status.1"), "info: %s", r.out);
    r = RUN(*state, NO_INPUT, "-C", control_of(s), "call", "status.1", "info");
    MUST(r.code == 0 && strstr(r.out, "answered"), "%s%s", r.out, r.err);
    server_expect(s, "a command is refused.*command=snapshot");
    r = RUN(*state, NO_INPUT, "-C", control_of(s), "call", "status.1", "snapshot");
    MUST(r.code != 0, "an operator may not say that: %s", r.out);
    proc_command(status_pid(s), title, sizeof(title));
    MUST(strstr(title, ": status.1 run"), "title: %s", title);
}

/* While it is not told anything it has nothing to show, and says so in time. */
static void status__arbiter_stands_still__unavailable_in_time(void **state)
{
    struct server *s = server_start(*state, .conf = SERVED SHOWN);
    const char *addr = http_address(s);
    struct http_reply r;

    must_get(addr, "/health/ready", 200, "ready");
    kill(s->pid, SIGSTOP);
    MUST_COME(proc_state(s->pid) == 'T', "it does not stop");
    MUST_COME((r = http_get(addr, "/health/live")).code != 200, "what is old is shown for ever");
    kill(s->pid, SIGCONT);
    MUST(r.code == 503 && strstr(r.body, "has not answered"), "%s", r.head);
    must_get(addr, "/health/live", 200, "live");
}

static size_t count_ended(const int *fds, size_t n)
{
    size_t n_ended = 0;

    for (size_t i = 0; i < n; i++)
        n_ended += peer_has_ended(fds[i]);
    return n_ended;
}

static void status__hostile_clients__others_are_served(void **state)
{
    static char large[64 << 10];
    struct server *s = server_start(*state, .conf = SERVED SHOWN);
    const char *addr = http_address(s);
    const int silent = peer_try_connect_from("127.0.0.2:0", addr);
    const int slow = peer_try_connect_from("127.0.0.2:0", addr);
    int many[40], deaf[8];
    struct http_reply r;

    peer_send_text(slow, "GET /api/info HTTP/1.1\r\nHost: ");
    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        many[i] = peer_try_connect_from("127.0.0.3:0", addr);
    MUST_COME(count_ended(many, ARRAY_SIZE(many)) == ARRAY_SIZE(many) - 16,
              "%zu of %zu of one source are refused", count_ended(many, ARRAY_SIZE(many)),
              ARRAY_SIZE(many));
    for (size_t i = 0; i < ARRAY_SIZE(deaf); i++) {
        deaf[i] = peer_connect_rcvbuf(addr, 1);
        peer_send_text(deaf[i], "GET /api/info HTTP/1.1\r\nHost: x\r\n\r\n");
    }
    memset(large, 'x', sizeof(large) - 1);
    const int huge = peer_connect(addr);
    peer_send_text(huge, "GET /health/live HTTP/1.1\r\nX: ");
    peer_send_until_end(huge, (struct bytes){large, sizeof(large) - 1});
    r = http_read(huge);
    MUST(r.code == 0 || r.code == 431 || r.code == 413, "%s", r.head);
    const int body = peer_connect(addr);
    peer_send_text(body, "POST /api/info HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n");
    peer_send_until_end(body, (struct bytes){large, sizeof(large) - 1});
    r = http_read(body);
    MUST(r.code == 0 || r.code == 405, "%s", r.head);
    static const char *const garbage[] = {"\r\n\r\n", "GET\r\n\r\n", "\x16\x03\x01\r\n\r\n",
                                          "GET /health/live HTTP/9.9\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_SIZE(garbage); i++) {
        const int fd = peer_try_connect_from("127.0.0.4:0", addr);

        peer_send_text(fd, garbage[i]);
        peer_half_close(fd);
        r = http_read(fd);
        MUST(r.code == 0 || r.code >= 400, "%s", r.head);
    }
    must_get(addr, "/health/ready", 200, "ready");
    server_must_be_well(s, 2);
    server_must_idle(s);
    MUST(peer_drain(silent, WAIT_MS, NULL) != PEER_SILENT, "who says nothing stays");
    MUST(peer_drain(slow, WAIT_MS, NULL) != PEER_SILENT, "who is slow stays");
    must_get(addr, "/health/ready", 200, "ready");
    for (size_t i = 0; i < ARRAY_SIZE(many); i++)
        peer_close(many[i]);
}

/* Connections of four sources that never say anything. */
static void status__silent_clients__the_oldest_make_room(void **state)
{
    struct server *s = server_start(*state, .conf = SERVED SHOWN);
    const char *addr = http_address(s);
    char from[32];
    int fds[60];

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        snprintf(from, sizeof(from), "127.0.0.%zu:0", 2 + i / 15);
        fds[i] = peer_try_connect_from(from, addr);
    }
    MUST_COME(count_ended(fds, ARRAY_SIZE(fds)) == ARRAY_SIZE(fds) - 48, "%zu have ended",
              count_ended(fds, ARRAY_SIZE(fds)));
    MUST(count_ended(fds, ARRAY_SIZE(fds) - 48) == ARRAY_SIZE(fds) - 48, "not the oldest");
    must_get(addr, "/health/ready", 200, "ready");
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        peer_close(fds[i]);
}

static void status__killed__another_at_the_same_address(void **state)
{
    struct server *s = server_start(*state, .conf = SERVED SHOWN);
    const char *addr = http_address(s);
    const int fd = peer_connect(s->addr[0]);
    pid_t pid = status_pid(s);

    server_expect(s, "actor died\" id=status.1");
    for (int round = 0; round < 2; round++) {
        kill(pid, SIGKILL);
        pid = must_have_another_status(s, pid);
        must_get(addr, "/health/ready", 200, "ready");
        peer_echo(fd, "undisturbed");
    }
    MUST(server_log_count(s, "worker died") == 0, "a worker has died of it");
}

static void status__reload__adds_keeps_moves_and_removes(void **state)
{
    struct server *s = server_start(*state, .conf = SERVED);
    const int fd = peer_connect(s->addr[0]);
    const char *first, *second;
    pid_t pid;

    MUST(!*http_address(s) && !status_pid(s), "there is one already");
    reload(s, SERVED SHOWN, 1);
    server_wait_log(s, "status over HTTP\" address=127.0.0.1:[0-9]*$", 1);
    pid = must_have_another_status(s, 0);
    first = http_address(s);
    must_get(first, "/health/ready", 200, "ready");
    reload(s, SERVED SHOWN "arbiter: { keep_after = 2; };", 2);
    pid = must_have_another_status(s, pid);
    MUST(strcmp(http_address(s), first) == 0, "it has moved");
    must_get(first, "/health/ready", 200, "ready");
    reload(s, SERVED "status: { bind = \"127.0.0.2:0\"; };", 3);
    must_have_another_status(s, pid);
    second = http_address(s);
    must_get(second, "/health/ready", 200, "ready");
    MUST_COME(is_refused(first), "its old address answers");
    reload(s, SERVED, 4);
    MUST_COME(!status_pid(s) && is_refused(second), "it is still there");
    peer_echo(fd, "undisturbed");
    server_expect(s, "reload refused: nothing has changed");
    server_configure(s, SERVED "status: { bind = \"192.0.2.1:80\"; };");
    server_signal(s, SIGHUP);
    server_wait_log(s, "reload refused: .*:2: status.bind: .*192.0.2.1:80", 1);
    MUST(!*http_address(s), "something has changed");
}

static void status__upgrade__serves_on(void **state)
{
    struct server *s = server_start(*state, .conf = SERVED SHOWN);
    const char *addr = http_address(s);
    pid_t pid = status_pid(s);

    for (size_t round = 1; round <= 2; round++) {
        server_signal(s, SIGUSR2);
        server_wait_log(s, "msg=\"upgraded\"", round);
        pid = must_have_another_status(s, pid);
        MUST(strcmp(http_address(s), addr) == 0, "it has moved");
        must_get(addr, "/health/ready", 200, "ready");
    }
}

/* While it serves on it says that it is not ready; once it drains the address is free. */
static void status__stop_with_delay__not_ready_then_gone(void **state)
{
    struct server *s = server_start(*state, .conf = SERVED SHOWN "arbiter: { stop_delay = 60; };");
    const char *addr = http_address(s);

    must_get(addr, "/health/ready", 200, "ready");
    server_signal(s, SIGTERM);
    MUST_COME(http_get(addr, "/health/ready").code == 503, "it is ready");
    must_get(addr, "/health/ready", 503, "not ready: it stops");
    must_get(addr, "/health/live", 200, "live");
    server_signal(s, SIGTERM);
    MUST(server_wait_exit(s, WAIT_MS) == 0, "it does not stop");
    MUST(is_refused(addr), "it still answers");
}

/* A program that looks for a library which nobody has. */
static char *program_without_library(struct it *it)
{
    static const char script[] = "sed 's/libmicrohttpd\\.so\\.12/libmicrohttpx.so.12/g' <\"$0\" "
                                 ">\"$1\" && chmod 755 \"$1\"";
    char *path = it_path(it, "bare-arbiter");

    MUST(it_tool_run(it, "sed",
                     ARGS("sh", "-c", script, it_build_path(it, "echo-arbiter"), path)) == 0,
         "sed");
    return path;
}

static void status__no_library__refused_with_the_package(void **state)
{
    struct it *it = *state;
    const char *binary = program_without_library(it);
    struct server *s;

    server_refuses(it, 78, ":2: status.bind: .*libmicrohttpx.so.12.*the package libmicrohttpd12",
                   .binary = binary, .conf = SERVED SHOWN);
    s = server_start(it, .binary = binary, .conf = SERVED);
    server_expect(s, "configuration.*status.bind|reload refused: nothing has changed");
    server_configure(s, SERVED SHOWN);
    server_signal(s, SIGHUP);
    server_wait_log(s, "configuration\" error=.*:2: status.bind: .*the package libmicrohttpd12", 1);
    server_wait_log(s, "reload refused", 1);
    MUST(!*http_address(s), "something has changed");
    server_must_be_well(s, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(status__routes__as_the_table_says),
        IT(status__in_info_top_and_commands__as_other_actors),
        IT(status__arbiter_stands_still__unavailable_in_time),
        IT(status__hostile_clients__others_are_served),
        IT(status__silent_clients__the_oldest_make_room),
        IT(status__killed__another_at_the_same_address),
        IT(status__reload__adds_keeps_moves_and_removes),
        IT(status__upgrade__serves_on),
        IT(status__stop_with_delay__not_ready_then_gone),
        IT(status__no_library__refused_with_the_package),
    };

    return it_run(tests);
}
