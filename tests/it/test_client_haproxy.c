/*
 * The audit through a real middlebox: HAProxy in TCP mode before a server that reloads all the
 * time. It cannot be seen from outside: not a message is lost, not a connection is cut.
 */
#include <errno.h>
#include <signal.h>
#include <jansson.h>
#include <netinet/in.h>
#include <stdio.h>

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

static pid_t haproxy_start(struct it *it, const char *backend, char *addr, size_t size)
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
             "    server echo %s\n",
             front, backend);
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

/* In the soak for 30 s, a reload a second; in check a little of it, one after the other. */
static void audit__through_haproxy_while_reloading__nothing_lost(void **state)
{
    struct it *it = *state;
    struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
    size_t rounds = it_is_soak() ? 30 : 5;
    char front[64], *out, *err;
    struct server *s;
    pid_t proxy, audit;
    int code;

    if (it_tool_run(it, "which.log", ARGS("sh", "-c", "command -v haproxy")) != 0) {
        print_message("skipped: there is no haproxy here; apt-get install haproxy\n");
        skip();
    }
    s = server_start(it);
    proxy = haproxy_start(it, s->addr[0], front, sizeof(front));
    audit = tool_start(
        it, io, ARGS("-a", front, "--json", "audit", "-c", "100", "--churn", "20", "--slow", "10"));
    MUST_COME(server_counter(s, requests) > 100, "nothing comes through");
    for (size_t i = 1; i <= rounds; i++) {
        server_signal(s, SIGHUP);
        server_wait_log(s, RELOADED, i);
        MUST_COME(server_counter(s, requests) > 100, "nothing comes through any more");
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(audit__through_haproxy_while_reloading__nothing_lost),
    };

    return it_run(tests);
}
