/*
 * Connections of a real server, listed and ended by echo-client: over all workers, through what
 * changes these, and by every slip.
 */
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

static char *control_of(const struct server *s)
{
    char *path = peer_alloc(sizeof(s->run) + sizeof("/control"));

    sprintf(path, "%s/control", s->run);
    return path;
}

/* The address of this end: the peer of the server's. */
static char *address_of(int fd)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    char *text = peer_alloc(ADDR_TEXT_LEN);

    MUST(getsockname(fd, (struct sockaddr *)&sa, &len) == 0, "getsockname");
    return addr_format((struct sockaddr *)&sa, len, text);
}

static json_t *read_json(const struct tool_run *r)
{
    json_t *o = json_loads(r->out, 0, NULL);

    MUST(o, "no JSON: %s%s", r->out, r->err);
    return o;
}

/* What connections with this filter says. Owned by the caller. */
static json_t *list(struct server *s, const char *filter)
{
    const char *const args[] = {"-C", control_of(s), "--json", "connections", filter, NULL};
    struct tool_run r = tool_run(s->it, NO_INPUT, args);

    MUST(r.code == 0, "connections %s: %d: %s", filter ? filter : "", r.code, r.err);
    return read_json(&r);
}

/* The same when @n are listed: one that moves at that moment is perhaps met nowhere, or twice. */
static json_t *list_of(struct server *s, size_t n)
{
    json_t *o = NULL;
    bool are_all = false;

    MUST_COME((json_decref(o), o = list(s, NULL),
               are_all = json_array_size(json_object_get(o, "connections")) == n),
              "not %zu are listed", n);
    MUST(are_all, "not %zu are listed", n);
    return o;
}

static size_t count(struct server *s, const char *filter)
{
    json_t *o = list(s, filter);
    const size_t n = json_array_size(json_object_get(o, "connections"));

    MUST(json_integer_value(json_object_get(o, "matched")) == (json_int_t)n, "not all are listed");
    json_decref(o);
    return n;
}

/* What is listed of the connection whose other end is @fd. Borrowed from @listed. */
static json_t *row_of(json_t *listed, int fd)
{
    const char *peer = address_of(fd);
    json_t *row;
    size_t i;

    json_array_foreach(json_object_get(listed, "connections"), i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "peer")), peer) == 0)
            return row;
    }
    MUST(false, "%s is not listed", peer);
    return NULL;
}

static json_int_t number(const json_t *row, const char *key)
{
    MUST(json_is_integer(json_object_get(row, key)), "no %s", key);
    return json_integer_value(json_object_get(row, key));
}

static json_int_t total_of(struct server *s, const char *name)
{
    struct tool_run r = RUN(s->it, NO_INPUT, "-C", control_of(s), "--json", "info");
    json_t *info = read_json(&r);
    const json_int_t n = json_integer_value(json_object_get(json_object_get(info, "totals"), name));

    json_decref(info);
    return n;
}

/* ---- what is listed ---- */

enum { PEERS = 20 };

static void connections__through_changes__same_numbers_and_counts(void **state)
{
    static const char *const changes[] = {"reload", "upgrade"};
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { keep_after = 0; };");
    json_int_t ids[PEERS], ages[PEERS];
    int fds[PEERS];
    json_t *listed;

    for (int i = 0; i < PEERS; i++) {
        fds[i] = peer_connect(s->addr[0]);
        for (int k = 0; k <= i; k++)
            peer_echo(fds[i], "message");
        peer_send_text(fds[i], "half");
    }
    MUST_COME(count(s, "state=reading") == PEERS, "not all are in the middle of a message");
    listed = list_of(s, PEERS);
    for (int i = 0; i < PEERS; i++) {
        json_t *row = row_of(listed, fds[i]);

        ids[i] = number(row, "id");
        ages[i] = number(row, "age_ms");
        MUST(number(row, "messages") == i + 1 && number(row, "bytes_in") == 11 * (i + 1) + 4 &&
                 number(row, "bytes_out") == 11 * (i + 1),
             "counts: %s", json_dumps(row, 0));
        for (int k = 0; k < i; k++)
            MUST(ids[k] != ids[i], "twice the number %lld", (long long)ids[i]);
    }
    json_decref(listed);
    for (size_t c = 0; c < ARRAY_SIZE(changes); c++) {
        MUST(RUN(it, NO_INPUT, "-C", control_of(s), changes[c]).code == 0, "%s", changes[c]);
        listed = list_of(s, PEERS);
        for (int i = 0; i < PEERS; i++) {
            json_t *row = row_of(listed, fds[i]);

            MUST(number(row, "id") == ids[i], "another number after %s", changes[c]);
            MUST(number(row, "bytes_in") == 11 * (i + 1) + 4 &&
                     number(row, "bytes_out") == 11 * (i + 1) && number(row, "messages") == i + 1 &&
                     number(row, "age_ms") >= ages[i],
                 "after %s: %s", changes[c], json_dumps(row, 0));
        }
        json_decref(listed);
    }
    for (int i = 0; i < PEERS; i++) {
        peer_send_text(fds[i], "\r\n\r\n");
        peer_expect_text(fds[i], "half\r\n\r\n");
    }
    /* A keeper's duplicate is the same connection, too. */
    MUST_COME(count(s, "kept=yes") == PEERS, "not all are kept");
    server_expect(s, "worker died|connections of a dead worker");
    kill(server_worker(s, 0), SIGKILL);
    MUST_COME(count(s, "kept=yes") == PEERS, "some are missing after a kill");
    listed = list_of(s, PEERS);
    for (int i = 0; i < PEERS; i++) {
        json_t *row = row_of(listed, fds[i]);

        MUST(number(row, "id") == ids[i] && number(row, "bytes_out") == 11 * (i + 1) + 8,
             "after a kill: %s", json_dumps(row, 0));
    }
    json_decref(listed);
}

static void connections__more_than_the_limit__says_how_many(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { workers = 1; };");
    struct tool_run r;
    json_t *o;

    for (int i = 0; i < 300; i++)
        peer_connect(s->addr[0]);
    MUST_COME(server_gauge(s, connections) == 300, "not all are served");
    json_decref(list_of(s, 300));
    r = RUN(it, NO_INPUT, "-C", control_of(s), "--json", "connections", "--limit", "7");
    o = read_json(&r);
    MUST(json_array_size(json_object_get(o, "connections")) == 7 && number(o, "matched") == 300 &&
             number(o, "left_out") == 293,
         "%s", r.out);
    json_decref(o);
    r = RUN(it, NO_INPUT, "-C", control_of(s), "connections", "--limit", "7");
    MUST(r.code == 0 && strstr(r.out, "\n7 of 300 connections: ") && strstr(r.out, "WORKER") &&
             strstr(r.out, "worker.1"),
         "%s", r.out);
    r = RUN(it, NO_INPUT, "-C", control_of(s), "connections", "idle>1h");
    tool_must_print(&r, "0 connections\n", 14);
    MUST(count(s, "worker=1") == 300, "by worker");
}

static void connections__of_every_family__named_and_found(void **state)
{
    struct it *it = *state;
    char conf[256];
    struct server *s;
    json_t *listed;
    char process[64];
    int v4, v6, local;

    snprintf(conf, sizeof(conf), "server: { bind = [\":0\", \"unix:%s\"]; };", it_path(it, "sock"));
    s = server_start(it, .conf = conf);
    v6 = peer_connect(s->addr[0]);
    local = peer_connect(s->addr[1]);
    snprintf(conf, sizeof(conf), "127.0.0.1%s", strrchr(s->addr[0], ':'));
    v4 = peer_connect(conf);
    peer_echo(v4, "x");
    peer_echo(v6, "x");
    peer_echo(local, "x");
    MUST(count(s, NULL) == 3, "not three");
    MUST(count(s, "peer=127.0.0.0/8") == 1 && count(s, "peer=127.0.0.1") == 1 &&
             count(s, "peer=::1") == 1 && count(s, "peer=unix") == 1,
         "by address");
    snprintf(conf, sizeof(conf), "peer=%s", address_of(v4));
    MUST(count(s, conf) == 1, "by %s", conf);
    snprintf(conf, sizeof(conf), "peer=%s", address_of(v6));
    MUST(count(s, conf) == 1, "by %s", conf);
    snprintf(process, sizeof(process), "unix:uid=%u,pid=%d", geteuid(), getpid());
    listed = list(s, "peer=unix");
    MUST(strcmp(json_string_value(json_object_get(
                    json_array_get(json_object_get(listed, "connections"), 0), "peer")),
                process) == 0,
         "%s: %s", process, json_dumps(listed, 0));
    json_decref(listed);
}

/* ---- what is ended ---- */

static void kill__by_number_and_by_peer__those_alone(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    int fds[PEERS];
    char id[32], expected[256];
    struct tool_run r;
    json_t *listed;

    for (int i = 0; i < PEERS; i++) {
        fds[i] = peer_connect(s->addr[0]);
        peer_echo(fds[i], "here");
    }
    listed = list_of(s, PEERS);
    snprintf(id, sizeof(id), "%lld", (long long)number(row_of(listed, fds[0]), "id"));
    r = RUN(it, NO_INPUT, "-C", control_of(s), "kill", id);
    snprintf(expected, sizeof(expected), "ended %s, %s, of %s\n", id, address_of(fds[0]),
             json_string_value(json_object_get(row_of(listed, fds[0]), "worker")));
    json_decref(listed);
    tool_must_print(&r, expected, strlen(expected));
    peer_expect_eof(fds[0]);
    r = RUN(it, NO_INPUT, "-C", control_of(s), "--json", "kill", address_of(fds[1]), id,
            address_of(fds[2]));
    MUST(r.code == 1 && strstr(r.out, address_of(fds[1])) && strstr(r.out, address_of(fds[2])) &&
             strstr(r.err, "no connection has that number or peer"),
         "%d: %s%s", r.code, r.out, r.err);
    peer_expect_eof(fds[1]);
    peer_expect_eof(fds[2]);
    for (int i = 3; i < PEERS; i++)
        peer_echo(fds[i], "still");
    MUST_COME(total_of(s, "closed_killed") == 3, "not counted");
    r = RUN(it, NO_INPUT, "-C", control_of(s), "kill", "127.0.0.1");
    MUST(r.code == 0, "%s", r.err);
    for (int i = 3; i < PEERS; i++)
        peer_expect_eof(fds[i]);
    MUST(count(s, NULL) == 0, "some are left");
}

/* What a worker that drains is left with is what somebody may want to be rid of. */
static void kill__of_a_worker_that_drains__ended(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .binary = "tests/clerk",
                                    .conf = "arbiter: { workers = 1; exit_timeout = 60; };");
    const int owed = peer_connect(s->addr[0]);
    struct tool_run r;

    peer_send_text(owed, "never\n");
    peer_expect_text(owed, "ok\n");
    MUST(RUN(it, NO_INPUT, "-C", control_of(s), "reload").code == 0, "reload");
    MUST(count(s, "state=owing") == 1, "it is not listed");
    r = RUN(it, NO_INPUT, "-C", control_of(s), "connections");
    MUST(strstr(r.out, "1 connection\nworkers come and go"), "%s%s", r.out, r.err);
    r = RUN(it, NO_INPUT, "-C", control_of(s), "kill", address_of(owed));
    MUST(r.code == 0, "%s", r.err);
    peer_expect_eof(owed);
    server_wait_workers(s, 1);
    r = RUN(it, NO_INPUT, "-C", control_of(s), "connections");
    tool_must_print(&r, "0 connections\n", strlen("0 connections\n"));
}

/* ---- the log ---- */

static void log_connections__reloaded__from_then_on(void **state)
{
    static const char line[] = "connection ended.*reason=%s peer=%s id=[0-9]+ protocol=echo "
                               "messages=%d bytes_in=%d bytes_out=%d age_ms=[0-9]+$";
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "server: { max_message = \"100\"; };");
    char conf[256], pattern[256], big[200];
    int fd = peer_connect(s->addr[0]);

    peer_echo(fd, "before");
    peer_close(fd);
    /* What is cut is said in any case. */
    memset(big, 'x', sizeof(big));
    fd = peer_connect(s->addr[0]);
    snprintf(pattern, sizeof(pattern), line, "too_big", address_of(fd), 0, (int)sizeof(big), 0);
    peer_send(fd, big, sizeof(big));
    peer_expect_eof(fd);
    peer_close(fd);
    server_wait_log(s, pattern, 1);
    MUST(server_log_count(s, "connection ended") == 1, "more lines than that of the one cut");
    snprintf(conf, sizeof(conf),
             "server: { bind = \"%s\"; max_message = \"100\"; }; log: { connections = \"all\"; };",
             s->addr[0]);
    server_configure(s, conf);
    MUST(RUN(it, NO_INPUT, "-C", control_of(s), "reload").code == 0, "reload");
    fd = peer_connect(s->addr[0]);
    snprintf(pattern, sizeof(pattern), line, "peer", address_of(fd), 1, 9, 9);
    peer_echo(fd, "after");
    peer_close(fd);
    server_wait_log(s, pattern, 1);
}

/* ---- slips ---- */

static void connections__wrong_words__what_is_allowed(void **state)
{
    static const struct {
        const char *command, *word;
        int code;
        const char *says;
    } cases[] = {
        {"connections", "peer", 64, "a filter is NAME=VALUE"},
        {"connections", "pier=1.2.3.4", 64, "with a name of: peer, id, worker"},
        {"connections", "peer=1.2.3", 64, "allowed: ADDRESS:PORT"},
        {"connections", "peer=", 64, "peer is ADDRESS:PORT"},
        {"connections", "peer=\xff", 64, "peer is ADDRESS:PORT"},
        {"connections", "peer>1.2.3.4", 64, "write peer=VALUE"},
        {"connections", "id=x", 64, "id is a number"},
        {"connections", "id=0", 64, "id is a number"},
        {"connections", "worker=worker.x", 64, "worker is a worker or its number"},
        {"connections", "worker=worker.99", 64, "there is no worker.99"},
        {"connections", "worker=99", 64, "there is no worker.99"},
        {"connections", "state=asleep", 64, "allowed: header, idle, reading"},
        {"connections", "kept=maybe", 64, "kept is yes or no"},
        {"connections", "idle>soon", 64, "idle is a time like"},
        {"connections", "age<", 64, "age is a time like"},
        {"connections", "bytes_in<0", 64, "nothing is less than 0"},
        {"connections", "messages=-1", 64, "messages is a number"},
        {"connections", "--limit=0", 64, "--limit 0"},
        {"kill", "127.0.0.1:99999", 64, "peer: '127.0.0.1:99999' is not a peer"},
        {"kill", "everybody", 64, "peer: 'everybody' is not a peer"},
        {"kill", "192.0.2.1:80", 1, "192.0.2.1:80: no connection has that number or peer"},
        {"kill", "4294967296", 1, "no connection has that number"},
        {"kill", "[fe80::1%lo]:80", 1, "no connection has that number"},
        {"kill", "", 64, "kill: peer must be a string of 1 to"},
    };
    struct it *it = *state;
    struct server *s = server_start(it);
    struct tool_run r;

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        r = RUN(it, NO_INPUT, "-C", control_of(s), cases[i].command, cases[i].word);
        MUST(r.code == cases[i].code && strstr(r.err, cases[i].says) && r.out_len == 0,
             "%s %s: %d: %s%s", cases[i].command, cases[i].word, r.code, r.err, r.out);
    }
    r = RUN(it, NO_INPUT, "-C", control_of(s), "kill");
    MUST(r.code == 64 && strstr(r.err, "kill takes more words"), "%d: %s", r.code, r.err);
}

static void call__a_process_of_a_worker__only_that(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    char target[64];
    struct tool_run r;

    snprintf(target, sizeof(target), "worker.1@%d", (int)server_slot_pid(s, 1));
    r = RUN(it, NO_INPUT, "-C", control_of(s), "call", target, "ping");
    tool_must_print(&r, "pong\n", 5);
    snprintf(target, sizeof(target), "worker.2@%d", (int)server_slot_pid(s, 1));
    r = RUN(it, NO_INPUT, "-C", control_of(s), "call", target, "ping");
    tool_must_fail(&r, 64, "there is no actor");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(connections__through_changes__same_numbers_and_counts),
        IT(connections__more_than_the_limit__says_how_many),
        IT(connections__of_every_family__named_and_found),
        IT(kill__by_number_and_by_peer__those_alone),
        IT(kill__of_a_worker_that_drains__ended),
        IT(log_connections__reloaded__from_then_on),
        IT(connections__wrong_words__what_is_allowed),
        IT(call__a_process_of_a_worker__only_that),
    };

    return it_run(tests);
}
