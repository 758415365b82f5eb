/*
 * Clients behind a proxy: who they are is what its header says, wherever their connections go, and
 * whoever may not say so is not believed.
 */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

#define REQUIRED                                                                                   \
    "server: { bind = ( { address = \"127.0.0.1:0\"; proxy = \"require\";"                         \
    " proxy_from = [\"127.0.0.1\", \"127.0.1.0/24\"]; } ); max_per_source = 3; };"
#define PATIENT    "arbiter: { exit_timeout = 600; timeout = 600; };"
#define HAS_ENOUGH "a source has all the connections that it may have"
#define WRONG      "a connection is ended because of its PROXY header"
#define UNBELIEVED "its peer is not in proxy_from"

enum { CLIENTS = 3 };

static char *control_of(const struct server *s)
{
    char *path = peer_alloc(sizeof(s->run) + sizeof("/control"));

    sprintf(path, "%s/control", s->run);
    return path;
}

static json_t *ask(struct server *s, const char *command, const char *argument)
{
    struct tool_run r =
        RUN(s->it, NO_INPUT, "-C", control_of(s), "--json", command, argument, NULL);
    json_t *o = json_loads(r.out, 0, NULL);

    MUST(r.code == 0, "%s: exit code %d: %s", command, r.code, r.err);
    MUST(o, "%s: no JSON: %s", command, r.out);
    return o;
}

static void must_do(struct server *s, const char *command, const char *argument)
{
    json_decref(ask(s, command, argument));
}

/* How many connections have that peer now. */
static size_t count_peer(struct server *s, const char *peer)
{
    json_t *o = ask(s, "connections", NULL), *row;
    size_t i, n = 0;

    json_array_foreach(json_object_get(o, "connections"), i, row) n +=
        strcmp(json_string_value(json_object_get(row, "peer")), peer) == 0;
    json_decref(o);
    return n;
}

static void must_come_from(struct server *s, const char *peer)
{
    size_t n = 0;

    MUST_COME((n = count_peer(s, peer)) == 1, "%s is listed %zu times", peer, n);
}

/* A header of version 2 for a client 203.0.113.@host:@port. */
static void send_v2(int fd, uint8_t host, uint16_t port)
{
    uint8_t header[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xcb\0\x71?\x7f\0\0\1??\0\x50";

    header[19] = host;
    header[24] = (uint8_t)(port >> 8);
    header[25] = (uint8_t)port;
    peer_send(fd, header, sizeof(header) - 1);
}

static void send_v1(int fd, unsigned host, unsigned port)
{
    char header[128];

    snprintf(header, sizeof(header), "PROXY TCP4 203.0.113.%u 127.0.0.1 %u 80\r\n", host, port);
    peer_send_text(fd, header);
}

/* Is one more of 203.0.113.@host let in? It then ends. */
static bool has_enough(struct server *s, uint8_t host)
{
    char got[8];
    int fd = peer_connect(s->addr[0]);
    bool is_refused;

    send_v2(fd, host, 1);
    peer_try_send(fd, "x\r\n\r\n", 5);
    MUST_COME(peer_peek(fd, got, 5) == 5 || peer_has_ended(fd), "neither served nor ended");
    is_refused = peer_has_ended(fd);
    peer_close(fd);
    return is_refused;
}

static void must_have_enough(struct server *s, uint8_t host)
{
    MUST_COME(has_enough(s, host), "one more of 203.0.113.%u is let in", host);
}

static void clients__reload_scale_upgrade_and_kills__who_they_are_stays(void **state)
{
    static const struct {
        const char *command, *argument;
    } changes[] = {{"reload", NULL}, {"scale", "1"}, {"upgrade", NULL}, {"scale", "3"}};
    struct server *s = server_start(*state, .conf = "arbiter: { keep_after = 0; };" REQUIRED);
    int fds[CLIENTS], half = peer_connect(s->addr[0]);
    pid_t workers[3];
    char peer[64];

    server_expect(s, HAS_ENOUGH "\" server.max_per_source=3 peer=203.0.113.7:1|signal=KILL");
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = peer_connect(s->addr[0]);
        if (i % 2)
            send_v1(fds[i], 7, 1000 + (unsigned)i);
        else
            send_v2(fds[i], 7, (uint16_t)(1000 + i));
        peer_echo(fds[i], "Hello!");
    }
    peer_send_text(half, "PROXY TCP4 203.0.113.9 127."); /* goes on behind all the changes */
    for (size_t k = 0; k <= ARRAY_SIZE(changes); k++) {
        for (int i = 0; i < CLIENTS; i++) {
            snprintf(peer, sizeof(peer), "203.0.113.7:%d", 1000 + i);
            must_come_from(s, peer);
            peer_echo(fds[i], "still there");
        }
        must_have_enough(s, 7);
        MUST(!has_enough(s, 8), "a client pays for others");
        if (k < ARRAY_SIZE(changes))
            must_do(s, changes[k].command, changes[k].argument);
    }
    peer_send_text(half, "0.0.1 2000 80\r\n");
    peer_echo(half, "the header is whole");
    must_come_from(s, "203.0.113.9:2000");

    MUST_COME(server_gauge(s, kept) == CLIENTS + 1, "kept"); /* once a second a worker says so */
    for (size_t i = 0; i < ARRAY_SIZE(workers); i++)
        workers[i] = server_worker(s, i);
    for (size_t i = 0; i < ARRAY_SIZE(workers); i++)
        kill(workers[i], SIGKILL);
    for (int i = 0; i < CLIENTS; i++) {
        peer_echo(fds[i], "rescued");
        snprintf(peer, sizeof(peer), "203.0.113.7:%d", 1000 + i);
        must_come_from(s, peer);
    }
    must_have_enough(s, 7);
    peer_close(fds[0]);
    MUST_COME(!has_enough(s, 7), "it counts although it is closed");
}

static void headers__of_whom_nobody_believes__reset_or_taken_for_data(void **state)
{
    static const char conf[] =
        "server: { bind = ( { address = \"127.0.0.1:0\"; proxy = \"require\";"
        " proxy_from = [\"127.0.0.1\"]; }, { address = \"127.0.0.4:0\"; proxy = \"accept\";"
        " proxy_from = [\"127.0.0.1\"]; }, { address = \"127.0.0.2:0\"; } ); };";
    struct server *s = server_start(*state, .conf = conf);
    int fd;

    server_expect(s, UNBELIEVED "|" WRONG "\" reason=\"it begins with something else\"|taken for "
                                "data\" hint=\".*proxy_from\" peer=127.0.0.[0-9]:");
    fd = peer_try_connect_from("127.0.0.3:0", s->addr[0]);
    MUST(fd < 0 || peer_drain(fd, WAIT_MS, NULL) == PEER_RESET, "who is not believed is served");
    server_wait_log(s, UNBELIEVED "\" hint=\".*\" peer=127.0.0.3:[0-9]*$", 1);
    fd = peer_connect(s->addr[0]);
    peer_send_text(fd, "Hello!\r\n\r\n");
    peer_expect_eof(fd);
    MUST_COME(server_counter(s, closed_proxy) == 2, "closed_proxy");

    fd = peer_try_connect_from("127.0.0.3:0", s->addr[1]);
    send_v1(fd, 1, 1);
    peer_send_text(fd, "\r\n");
    peer_expect_text(fd, "PROXY TCP4 203.0.113.1 127.0.0.1 1 80\r\n\r\n");
    server_wait_log(s, "taken for data\" hint=\".*\" peer=127.0.0.3:", 1);
    fd = peer_connect(s->addr[1]);
    peer_echo(fd, "no header is fine here");
    fd = peer_connect(s->addr[1]);
    send_v2(fd, 1, 1);
    peer_echo(fd, "Hello!");
    must_come_from(s, "203.0.113.1:1");

    fd = peer_connect(s->addr[2]);
    send_v2(fd, 1, 2);
    peer_expect_text(fd, "\r\n\r\n"); /* its signature begins with an empty message */
    MUST(count_peer(s, "203.0.113.1:2") == 0, "a header that nobody asks for is believed");
    MUST(server_counter(s, proxied) == 1, "proxied");
}

/* Each of them is another peer, and none of them needs a right to connect. */
static void headers__of_many_whom_nobody_believes__few_lines(void **state)
{
    static const char conf[] =
        "server: { bind = ( { address = \"127.0.0.1:0\"; proxy = \"require\";"
        " proxy_from = [\"127.0.0.9\"]; }, { address = \"127.0.0.2:0\"; } ); };";
    static const char unasked[] = "taken for data";
    struct server *s = server_start(*state, .conf = conf);
    enum { PEERS = 40, LINES_MAX = 4 }; /* of 2 workers, one now and one with what was held back */

    server_expect(s, UNBELIEVED "|taken for data");
    for (int i = 0; i < PEERS; i++) {
        int fd = peer_try_connect_from("127.0.0.3:0", s->addr[0]);

        MUST(fd < 0 || peer_drain(fd, WAIT_MS, NULL) == PEER_RESET, "served");
        fd = peer_connect(s->addr[1]);
        peer_send_text(fd, "PROXY UNKNOWN\r\n\r\n");
        peer_expect_text(fd, "PROXY UNKNOWN\r\n\r\n");
        peer_close(fd);
    }
    MUST_COME(server_counter(s, closed_proxy) == PEERS, "not all are refused");
    MUST(server_log_count(s, UNBELIEVED) <= LINES_MAX, "each that is refused has a line");
    MUST(server_log_count(s, unasked) >= 1, "nothing is said of a header that nobody expects");
    MUST(server_log_count(s, unasked) <= LINES_MAX, "each that nobody expects has a line");
}

/* They are accepted by the arbiter, and go to workers that do not have that listener. */
static void header__waits_at_a_removed_address__believed(void **state)
{
    struct server *s = server_start(*state, .conf = PATIENT REQUIRED);
    const pid_t old[] = {server_worker(s, 0), server_worker(s, 1)};
    int fds[CLIENTS], fd;
    char peer[64];

    server_expect(s, UNBELIEVED);
    for (size_t i = 0; i < ARRAY_SIZE(old); i++) {
        kill(old[i], SIGSTOP);
        MUST_COME(proc_state(old[i]) == 'T', "a worker does not stand still");
    }
    for (int i = 0; i < CLIENTS; i++) {
        fds[i] = peer_connect(s->addr[0]);
        send_v1(fds[i], 7, 1000 + (unsigned)i);
        peer_send_text(fds[i], "Hello!\r\n\r\n");
    }
    fd = peer_try_connect_from("127.0.0.3:0", s->addr[0]);
    server_configure(s, PATIENT "server: { bind = \"127.0.0.9:0\"; };");
    must_do(s, "reload", NULL);
    for (int i = 0; i < CLIENTS; i++) {
        peer_expect_text(fds[i], "Hello!\r\n\r\n");
    }
    MUST(peer_drain(fd, WAIT_MS, NULL) == PEER_RESET, "who is not believed is served");
    for (size_t i = 0; i < ARRAY_SIZE(old); i++) {
        kill(old[i], SIGCONT);
        MUST_COME(!proc_is_alive(old[i]), "an old worker lives");
    }
    for (int i = 0; i < CLIENTS; i++) {
        snprintf(peer, sizeof(peer), "203.0.113.7:%d", 1000 + i);
        must_come_from(s, peer);
    }
    s->arbiter_fds = s->worker_fds = 0; /* of another listener */
}

/* Who may write to its file is believed. */
static void unix_socket__header_required__peer_is_the_client(void **state)
{
    struct it *it = *state;
    char *conf = peer_alloc(512);
    struct server *s;
    int fd;

    sprintf(conf,
            "server: { bind = ( { address = \"unix:%s/s\"; proxy = \"require\"; mode = \"0600\"; } "
            "); max_per_source = 1; };",
            it->dir);
    s = server_start(it, .conf = conf);
    server_expect(s, HAS_ENOUGH);
    fd = peer_connect(s->addr[0]);
    send_v2(fd, 7, 1000);
    peer_echo(fd, "Hello!");
    must_come_from(s, "203.0.113.7:1000");
    must_have_enough(s, 7);
    MUST(!has_enough(s, 8), "a client pays for others");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(clients__reload_scale_upgrade_and_kills__who_they_are_stays),
        IT(headers__of_whom_nobody_believes__reset_or_taken_for_data),
        IT(headers__of_many_whom_nobody_believes__few_lines),
        IT(header__waits_at_a_removed_address__believed),
        IT(unix_socket__header_required__peer_is_the_client),
    };

    return it_run(tests);
}
