/*
 * Serving: addresses of every kind, separators, counters, the log.
 */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"

static void serve__several_addresses__each_is_served(void **state)
{
    struct it *it = *state;
    char conf[512];
    snprintf(conf, sizeof(conf),
             "server: { bind = [\"127.0.0.1:0\", \"[::1]:0\", \"unix:%s/a\", \"localhost:0\"]; };",
             it->dir);
    struct server *s = server_start(it, .conf = conf);
    MUST(s->n_addr == 4, "%zu addresses in the ready line", s->n_addr);
    MUST(!strncmp(s->addr[1], "[::1]:", 6), "v6 is reported as %s", s->addr[1]);
    for (size_t i = 0; i < s->n_addr; i++)
        MUST(peer_is_served(s->addr[i], WAIT_MS), "%s is not served", s->addr[i]);
}

static void serve__port_alone__both_families(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server: { bind = [\":0\"]; };");
    char addr[64];
    const char *port = strrchr(s->addr[0], ':');
    snprintf(addr, sizeof(addr), "127.0.0.1%s", port);
    MUST(peer_is_served(addr, WAIT_MS), "%s is not served", addr);
    snprintf(addr, sizeof(addr), "[::1]%s", port);
    MUST(peer_is_served(addr, WAIT_MS), "%s is not served", addr);
}

static void serve__raw_separator__every_byte_comes_back(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server: { separator = \"\"; };");
    int fd = peer_connect(s->addr[0]);
    peer_send_text(fd, "no end");
    peer_expect_text(fd, "no end");
    peer_send_text(fd, "QUIT\r\n\r\n");
    peer_expect_text(fd, "QUIT\r\n\r\n");
    struct bytes b = {peer_alloc(3 << 20), 3 << 20};
    memset((void *)(uintptr_t)b.data, '\r', b.len);
    peer_exchange(fd, b, b, 0, NULL);
    peer_half_close(fd);
    peer_expect_eof(fd);
}

static void serve__own_separator__ends_messages(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server: { separator = \"\\n\"; };");
    int fd = peer_connect(s->addr[0]);
    peer_exchange(fd, BYTES("a\r\n\r\nb\n"), BYTES("a\r\n\r\nb\n"), 0, NULL);
    peer_send_text(fd, "pending");
    peer_send_text(fd, "\nQUIT\nrest\n");
    peer_expect_text(fd, "pending\nQUIT\n");
    peer_expect_eof(fd);
}

static void serve__conversation__is_counted(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    int fd = peer_connect(s->addr[0]);
    peer_echo(fd, "0123456789");
    peer_echo(fd, "");
    MUST_COME(server_counter(s, bytes_out) == 18, "bytes_out");
    MUST(server_counter(s, requests) == 2, "requests");
    MUST(server_counter(s, bytes_in) == 18, "bytes_in");
    MUST(server_counter(s, accepted) == 1, "accepted");
    MUST(server_gauge(s, connections) == 1, "connections");
    peer_send_text(fd, "QUIT\r\n\r\n");
    peer_expect_text(fd, "QUIT\r\n\r\n");
    peer_expect_eof(fd);
    peer_close(fd);
    MUST_COME(server_counter(s, closed_quit) == 1, "closed_quit");
    MUST_COME(server_gauge(s, connections) == 0, "connections after QUIT");
    MUST(server_counter(s, linger_expired) == 0, "linger_expired");
}

static void serve__json_log__every_line_parses(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "log: { format = \"json\"; level = \"debug\"; };");
    MUST(peer_is_served(s->addr[0], WAIT_MS), "not served");
    server_signal(s, SIGTTIN);
    server_wait_workers(s, 3);
    server_stop_and_check(s, SIGTERM, 0);
    char line[8192];
    unsigned n = 0;
    FILE *f = fopen(s->log, "re");
    MUST(f, "no log");
    while (fgets(line, sizeof(line), f)) {
        json_error_t e;
        json_t *o = json_loads(line, JSON_REJECT_DUPLICATES, &e);
        MUST(json_is_object(o), "not JSON: %s: %s", e.text, line);
        MUST(json_is_string(json_object_get(o, "level")), "no level: %s", line);
        json_decref(o);
        n++;
    }
    fclose(f);
    MUST(n >= 3, "only %u lines", n);
}

static void serve__log_file_renamed__usr1_opens_it_anew(void **state)
{
    struct it *it = *state;
    char conf[512];
    char *path = it_path(it, "server.log"), *old = it_path(it, "server.log.1");
    snprintf(conf, sizeof(conf), "log: { file = \"%s\"; level = \"debug\"; };", path);
    struct server *s = server_start(it, .conf = conf);
    MUST_COME(it_file_has(path, "level=info.*serving"), "nothing in %s", path);
    MUST(rename(path, old) == 0, "rename: %s", strerror(errno));
    server_signal(s, SIGUSR1);
    MUST_COME(it_file_has(path, "log reopened"), "it was not opened again");
    /* It belongs to its writer alone: nobody else can wait for it. */
    pid_t writer = server_log_writer(s);
    MUST(proc_find_fd(writer, "server.log") >= 0 && proc_find_fd(writer, "server.log.1") < 0,
         "the writer has not the new file alone");
    for (size_t i = 0; i < 2; i++)
        MUST(proc_find_fd(server_worker(s, i), "server.log") < 0, "worker %zu has the file", i);
    MUST(proc_find_fd(s->pid, "server.log") < 0, "the arbiter has the file");
}

/* A socket file that nobody listens on, as a killed server leaves it. */
static void make_stale_socket(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    MUST(bind(fd, (struct sockaddr *)&un, sizeof(un)) == 0, "bind: %s", strerror(errno));
    close(fd);
}

static void serve__stale_unix_socket__is_replaced(void **state)
{
    struct it *it = *state;
    char conf[512];
    char *path = it_path(it, "sock");
    make_stale_socket(path);
    snprintf(conf, sizeof(conf), "server: { bind = [\"unix:%s\"]; };", path);
    struct server *s = server_start(it, .conf = conf);
    MUST(peer_is_served(s->addr[0], WAIT_MS), "not served");
}

static void serve__live_unix_socket__is_refused_and_untouched(void **state)
{
    struct it *it = *state;
    char conf[512];
    snprintf(conf, sizeof(conf), "server: { bind = [\"unix:%s/sock\"]; };", it->dir);
    struct server *s = server_start(it, .conf = conf);
    server_refuses(it, 69, "sock", .conf = conf);
    MUST(peer_is_served(s->addr[0], WAIT_MS), "the first is no longer served");
}

static void serve__unix_path_is_no_socket__is_refused_and_untouched(void **state)
{
    struct it *it = *state;
    char conf[512];
    it_write(it, "precious", "do not touch\n");
    snprintf(conf, sizeof(conf), "server: { bind = [\"unix:%s/precious\"]; };", it->dir);
    server_refuses(it, 73, "precious", .conf = conf);
    MUST_COME(it_file_has(it_path(it, "precious"), "do not touch"), "the file is gone");
}

static void serve__idle__uses_no_cpu(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    int fd = peer_connect(s->addr[0]);
    peer_echo(fd, "then nothing");
    server_must_idle(s);
}

/* The latest first keepalive probe of all connections to @port, in seconds from now. */
static double last_probe_s(const char *port)
{
    char line[256], local[32];
    unsigned long when, most = 0;
    unsigned state, timer;
    FILE *f = fopen("/proc/net/tcp", "r");

    MUST(f, "/proc/net/tcp: %s", strerror(errno));
    snprintf(local, sizeof(local), "0100007F:%04lX", strtoul(port, NULL, 10));
    while (fgets(line, sizeof(line), f)) {
        char address[32];

        /* "N: LOCAL REMOTE STATE QUEUES TIMER:WHEN …": established, keepalive, 1/100 s */
        if (sscanf(line, "%*s %31s %*s %x %*s %x:%lx", address, &state, &timer, &when) == 4 &&
            !strcmp(address, local) && state == 1 && timer == 2 && when > most)
            most = when;
    }
    fclose(f);
    return (double)most / (double)sysconf(_SC_CLK_TCK);
}

/* The first is probed after 60 s, as all were if nothing spaced them. */
static void serve__opened_together__not_probed_together(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { workers = 1; };");
    int fds[500];

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        peer_echo(fds[i] = peer_connect(s->addr[0]), "hello");
    const double last_s = last_probe_s(strrchr(s->addr[0], ':') + 1);
    printf("# the last is probed in %.1f s\n", last_s);
    MUST(last_s > 61 && last_s < 111, "the last is probed in %.1f s", last_s);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        close(fds[i]);
}

static void send_urgent(int fd, const char *text)
{
    MUST(send(fd, text, strlen(text), MSG_OOB | MSG_NOSIGNAL) == (ssize_t)strlen(text),
         "MSG_OOB: %s", strerror(errno));
}

/* Urgent bytes stay where they are in the stream, also when another worker reads them. */
static void serve__urgent_bytes__echoed_in_their_place(void **state)
{
    struct it *it = *state;
    char conf[160];
    struct server *s;

    snprintf(conf, sizeof(conf), "server: { bind = [\"127.0.0.1:0\", \"unix:%s/s\"]; };", it->dir);
    s = server_start(it, .conf = conf);
    for (size_t i = 0; i < s->n_addr; i++) {
        int fd = peer_connect(s->addr[i]);

        peer_send_text(fd, "ab");
        send_urgent(fd, "cd");
        peer_send_text(fd, "ef\r\n\r\n");
        peer_expect_text(fd, "abcdef\r\n\r\n");
        send_urgent(fd, "gh");
        server_signal(s, SIGHUP);
        server_wait_log(s, "msg=\"reloaded\"", i + 1);
        server_wait_log(s, "worker ended\"", 2 * (i + 1));
        send_urgent(fd, "ij\r\n\r\n");
        peer_expect_text(fd, "ghij\r\n\r\n");
        send_urgent(fd, "k");
        send_urgent(fd, "l");
        peer_send_text(fd, "\r\n\r\n");
        peer_expect_text(fd, "kl\r\n\r\n");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(serve__urgent_bytes__echoed_in_their_place),
        IT(serve__several_addresses__each_is_served),
        IT(serve__port_alone__both_families),
        IT(serve__raw_separator__every_byte_comes_back),
        IT(serve__own_separator__ends_messages),
        IT(serve__conversation__is_counted),
        IT(serve__json_log__every_line_parses),
        IT(serve__log_file_renamed__usr1_opens_it_anew),
        IT(serve__stale_unix_socket__is_replaced),
        IT(serve__live_unix_socket__is_refused_and_untouched),
        IT(serve__unix_path_is_no_socket__is_refused_and_untouched),
        IT(serve__idle__uses_no_cpu),
        IT(serve__opened_together__not_probed_together),
    };
    return it_run(tests);
}
