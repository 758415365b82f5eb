/*
 * The audit through a real middlebox: HAProxy in TCP mode before a server that reloads all the
 * time. It cannot be seen from outside: not a message is lost, not a connection is cut. With the
 * PROXY protocol the server knows each client all the while.
 */
#include <errno.h>
#include <signal.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "support/server.h"
#include "support/tool.h"

#define RELOADED "msg=\"reloaded\""

/* A listener for HAProxy to inherit, so that the kernel chooses the port and nobody races for it.
 */
static int open_front(char *addr, size_t size)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&sa, len) == 0 && listen(fd, 512) == 0 &&
             getsockname(fd, (struct sockaddr *)&sa, &len) == 0,
         "listen: %s", strerror(errno));
    snprintf(addr, size, "127.0.0.1:%u", ntohs(sa.sin_port));
    return fd;
}

/* @how  it speaks to the server: what is behind the address in the line of that */
static pid_t haproxy_start(struct it *it, const char *backend, const char *how, char *addr,
                           size_t size)
{
    int front = open_front(addr, size);
    char *text = peer_alloc(1024);
    pid_t pid;

    snprintf(text, 1024,
             "global\n"
             "    maxconn 2000\n"
             "defaults\n"
             "    mode tcp\n"
             "    timeout connect 10s\n"
             "    timeout client 60s\n"
             "    timeout server 60s\n"
             "frontend front\n"
             "    bind fd@%d\n"
             "    default_backend back\n"
             "backend back\n"
             "    server echo %s %s\n",
             front, backend, how);
    it_write(it, "haproxy.cfg", text);
    pid =
        it_tool(it, "haproxy.log", ARGS("haproxy", "-db", "-q", "-f", it_path(it, "haproxy.cfg")));
    close(front);
    return pid;
}

static json_int_t count_of(const json_t *o, const char *name)
{
    return json_integer_value(json_object_get(o, name));
}

static void must_have_delivered(const char *out, size_t n_reloads)
{
    json_t *o = json_loads(out, 0, NULL), *stall;

    MUST(o, "no JSON: %s", out);
    stall = json_object_get(json_object_get(o, "stall"), "duration_ms");
    print_message("# %zu reloads, %lld messages, %lld lost, %lld connections made, %lld closed, "
                  "%lld reset, longest stall %.0f ms\n",
                  n_reloads, (long long)count_of(o, "sent"),
                  (long long)count_of(o, "messages_lost"), (long long)count_of(o, "connected"),
                  (long long)count_of(o, "closed"), (long long)count_of(o, "reset"),
                  json_number_value(stall));
    MUST(count_of(o, "sent") > 0 && count_of(o, "sent") == count_of(o, "echoed"), "%s", out);
    MUST(count_of(o, "messages_lost") == 0, "%s", out);
    MUST(count_of(o, "closed") == 0 && count_of(o, "reset") == 0, "%s", out);
    json_decref(o);
}

static void need_haproxy(struct it *it)
{
    if (it_tool_run(it, "which.log", ARGS("sh", "-c", "command -v haproxy")) == 0)
        return;
    print_message("skipped: there is no haproxy here; apt-get install haproxy\n");
    skip();
}

/* ---- who the clients are ---- */

/* Marks the local port of each of this machine's connections to @addr, also of those that ended a
 * moment ago: the kernel remembers the side that closed first. */
static void find_clients(const char *addr, bool ret[65536])
{
    const unsigned to = (unsigned)atoi(strrchr(addr, ':') + 1);
    FILE *f = fopen("/proc/net/tcp", "re");
    unsigned local, remote;
    char line[512];

    MUST(f, "/proc/net/tcp: %s", strerror(errno));
    while (fgets(line, sizeof(line), f))
        if (sscanf(line, "%*d: %*x:%x %*x:%x", &local, &remote) == 2 && remote == to)
            ret[local & 65535] = true;
    fclose(f);
}

/* Each connection is said to be from a client of @front. Returns how many are listed. */
static size_t must_know_clients(struct server *s, const char *front)
{
    char *control = peer_alloc(sizeof(s->run) + sizeof("/control"));
    bool *is_client = peer_alloc(65536 * sizeof(*is_client));
    struct tool_run r;
    json_t *o, *row;
    size_t i, n;

    sprintf(control, "%s/control", s->run);
    r = RUN(s->it, NO_INPUT, "-C", control, "--json", "connections", "--limit", "1000");
    if (r.code == 75)
        return 0; /* one of the workers has just ended */
    MUST(r.code == 0, "connections: exit code %d: %s", r.code, r.err);
    memset(is_client, 0, 65536 * sizeof(*is_client));
    find_clients(front, is_client);
    o = json_loads(r.out, 0, NULL);
    MUST(o, "no JSON: %s", r.out);
    json_array_foreach(json_object_get(o, "connections"), i, row)
    {
        const char *peer = json_string_value(json_object_get(row, "peer"));
        const char *doing = json_string_value(json_object_get(row, "state"));

        if (strcmp(doing, "header") == 0)
            continue; /* who it is is on its way */
        MUST(strncmp(peer, "127.0.0.1:", 10) == 0 && is_client[atoi(peer + 10) & 65535],
             "%s is no client of %s", peer, front);
    }
    n = json_array_size(json_object_get(o, "connections"));
    json_decref(o);
    return n;
}

/* ---- the audit ---- */

static void reload_under_audit(struct it *it, const struct server_options *o, const char *how,
                               size_t rounds)
{
    const bool is_named = *how != '\0';
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    char front[64], *out, *err;
    struct server *s;
    pid_t proxy, audit;
    int code;

    need_haproxy(it);
    s = server_start_with(it, o);
    proxy = haproxy_start(it, s->addr[0], how, front, sizeof(front));
    audit = tool_start(
        it, io, ARGS("-a", front, "--json", "audit", "-c", "100", "--churn", "20", "--slow", "10"));
    MUST_COME(server_counter(s, requests) > 100, "nothing comes through");
    for (size_t i = 1; i <= rounds; i++) {
        server_signal(s, SIGHUP);
        server_wait_log(s, RELOADED, i);
        MUST_COME(server_counter(s, requests) > 100, "nothing comes through any more");
        if (is_named)
            MUST_COME(must_know_clients(s, front) > 0, "there are none");
        if (it_is_soak())
            sleep(1);
    }
    kill(audit, SIGINT);
    code = tool_wait(audit);
    out = tool_read_back(io.out, NULL);
    err = tool_read_back(io.err, NULL);
    MUST(code == 130, "exit code %d: %s%s", code, out, err);
    must_have_delivered(out, rounds);
    it_tool_stop(it, proxy);
}

/* In the soak for 30 s, a reload a second; in check a little of it, one after the other. */
static void audit__through_haproxy_while_reloading__nothing_lost(void **state)
{
    reload_under_audit(*state, &(struct server_options){.conf = NULL}, "", it_is_soak() ? 30 : 5);
}

#define REQUIRED                                                                                   \
    "server: { bind = ( { address = \"127.0.0.1:0\"; proxy = \"require\";"                         \
    " proxy_from = \"127.0.0.1\"; } ); };"

/* In the proof and the soak 20 reloads. */
static void audit__with_send_proxy_while_reloading__nothing_lost_and_peers_right(void **state)
{
    const struct server_options o = {.conf = REQUIRED};

    reload_under_audit(*state, &o, "send-proxy", it_is_soak() ? 20 : 2);
}

static void audit__with_send_proxy_v2_while_reloading__nothing_lost_and_peers_right(void **state)
{
    const struct server_options o = {.conf = REQUIRED};

    reload_under_audit(*state, &o, "send-proxy-v2", it_is_soak() ? 20 : 2);
}

/* Those that rest outlive their workers, behind HAProxy as well; its checks, which name nobody and
 * end at once, are no fault. */
static void clients__with_checks_and_workers_killed__peers_right(void **state)
{
    enum { CLIENTS = 30 };
    struct it *it = *state;
    struct server *s;
    char front[64];
    int fds[CLIENTS];
    pid_t proxy;

    need_haproxy(it);
    s = server_start(it, .conf = "arbiter: { keep_after = 0; };" REQUIRED);
    server_expect(s, "worker died.*signal=KILL");
    proxy = haproxy_start(it, s->addr[0],
                          "send-proxy-v2 proxy-v2-options crc32c,unique-id check inter 100ms "
                          "check-send-proxy",
                          front, sizeof(front));
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = peer_connect(front);
        peer_echo(fds[i], "Hello!");
    }
    MUST_COME(server_counter(s, proxied) > CLIENTS + 3, "no check comes");
    for (int round = 0; round < (it_is_soak() ? 20 : 1); round++) {
        const pid_t workers[] = {server_worker(s, 0), server_worker(s, 1)};

        MUST_COME(server_gauge(s, kept) >= CLIENTS, "kept"); /* once a second a worker says so */
        for (int i = 0; i < 2; i++)
            kill(workers[i], SIGKILL);
        for (int i = 0; i < CLIENTS; i++)
            peer_echo(fds[i], "still there");
        MUST_COME(must_know_clients(s, front) >= CLIENTS, "not all are listed");
        server_wait_workers(s, 2);
    }
    MUST(server_counter(s, closed_proxy) == 0, "a header of HAProxy is refused");
    it_tool_stop(it, proxy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(audit__through_haproxy_while_reloading__nothing_lost),
        IT(audit__with_send_proxy_while_reloading__nothing_lost_and_peers_right),
        IT(audit__with_send_proxy_v2_while_reloading__nothing_lost_and_peers_right),
        IT(clients__with_checks_and_workers_killed__peers_right),
    };

    return it_run(tests);
}
