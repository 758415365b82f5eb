/*
 * Connections of a protocol that keeps a state, replies late, and sets timeouts of its own
 * (tests/tools/clerk.c): they live through every change, with all of that.
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

#define CLERK .binary = "tests/clerk"

/* The next line, without its end; lives until the end of the test. */
static char *read_line(int fd)
{
    char *line = peer_alloc(256);
    const char *end = NULL;

    MUST_COME((end = memchr(line, '\n', peer_peek(fd, line, 255))), "no line comes");
    peer_expect(fd, line, (size_t)(end - line) + 1);
    line[end - line] = '\0';
    return line;
}

static char *ask(int fd, const char *request)
{
    peer_send_text(fd, request);
    peer_send_text(fd, "\n");
    return read_line(fd);
}

static void must_say(int fd, const char *request, const char *expected)
{
    const char *reply = ask(fd, request);

    MUST(strcmp(reply, expected) == 0, "%s: %s, expected %s", request, reply, expected);
}

static pid_t pid_of(int fd)
{
    return (pid_t)strtol(ask(fd, "pid"), NULL, 10);
}

static bool is_elsewhere(int fd, pid_t from)
{
    return pid_of(fd) != from;
}

static void must_end(int fd)
{
    MUST(peer_drain(fd, WAIT_MS, NULL) != PEER_SILENT, "nobody ends it");
}

/* Returns what a command over the control socket has printed: it succeeds. */
static char *command(struct server *s, const char *const *args)
{
    char *control = peer_alloc(sizeof(s->run) + sizeof("/control"));
    const char *all[8] = {"-C", control, "--json"};
    struct tool_run r;
    size_t n = 3;

    sprintf(control, "%s/control", s->run);
    while (*args)
        all[n++] = *args++;
    r = tool_run(s->it, NO_INPUT, all);
    MUST(r.code == 0, "%s: exit code %d: %s%s", all[3], r.code, r.out, r.err);
    return r.out;
}
#define COMMAND(s, ...) command(s, ARGS(__VA_ARGS__))

/* A counter of all processes, also of those that have ended. */
static json_int_t total_of(struct server *s, const char *name)
{
    json_t *info = json_loads(COMMAND(s, "info"), 0, NULL);
    const json_int_t n = json_integer_value(json_object_get(json_object_get(info, "totals"), name));

    json_decref(info);
    return n;
}

static const struct change {
    const char *name;
    const char *const *args;
} changes[] = {
    {"reload", ARGS("reload")},   {"upgrade", ARGS("upgrade")},     {"fewer", ARGS("scale", "1")},
    {"more", ARGS("scale", "3")}, {"reload again", ARGS("reload")},
};

enum { PEERS = 30 };

static void state__any_change__kept(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, CLERK);
    char text[64], *ids[PEERS];
    int fds[PEERS];

    for (int i = 0; i < PEERS; i++) {
        fds[i] = peer_connect(s->addr[0]);
        snprintf(text, sizeof(text), "set number %d", i);
        must_say(fds[i], text, "ok");
        snprintf(text, sizeof(text), "fill %d", i % 5 == 4 ? 900000 : 1000 * i);
        must_say(fds[i], text, "ok");
        ids[i] = ask(fds[i], "id");
        for (int k = 0; k < i; k++)
            MUST(strcmp(ids[i], ids[k]) != 0, "%s twice", ids[i]);
        peer_send_text(fds[i], "ge"); /* in the middle of the next */
    }
    for (size_t c = 0; c < ARRAY_SIZE(changes); c++) {
        command(s, changes[c].args);
        for (int i = 0; i < PEERS; i++) {
            snprintf(text, sizeof(text), "number %d", i);
            must_say(fds[i], "t", text);
            must_say(fds[i], "id", ids[i]);
            snprintf(text, sizeof(text), "%d", i % 5 == 4 ? 900000 : 1000 * i);
            must_say(fds[i], "size", text);
            peer_send_text(fds[i], "ge");
        }
    }
    MUST_COME(server_counter(s, moved_in) >= PEERS, "nobody has moved");
}

static void late_reply__owed_at_each_change__given_on_the_same_connection(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, CLERK, .conf = "arbiter: { exit_timeout = 60; };");
    int fds[PEERS];
    pid_t pids[PEERS];

    for (int i = 0; i < PEERS; i++)
        fds[i] = peer_connect(s->addr[0]);
    for (size_t c = 0; c < ARRAY_SIZE(changes); c++) {
        for (int i = 0; i < PEERS; i++) {
            pids[i] = pid_of(fds[i]);
            peer_send_text(fds[i], i % 2 ? "late 700 first\nget\n" : "later 700 first\nget\n");
        }
        command(s, changes[c].args);
        for (int i = 0; i < PEERS; i++) {
            peer_expect_text(fds[i], i % 2 ? "first\n\n" : "\nfirst\n");
            if (strcmp(changes[c].name, "fewer") != 0 && strcmp(changes[c].name, "more") != 0)
                MUST_COME(is_elsewhere(fds[i], pids[i]), "%s: still at the old worker",
                          changes[c].name);
        }
    }
    /* None is left where it was: each of them ends, and nobody is asked to wait for it. */
    server_wait_log(s, "worker ended", 2);
}

/* What stays because it owes does not keep the others. */
static void late_reply__never_given__others_move_and_it_ends_with_the_time(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, CLERK, .conf = "arbiter: { exit_timeout = 2; };");
    const int owed = peer_connect(s->addr[0]);
    int fds[PEERS];
    pid_t pids[PEERS];

    server_expect(s, "could not be handed over");
    for (int i = 0; i < PEERS; i++) {
        fds[i] = peer_connect(s->addr[0]);
        pids[i] = pid_of(fds[i]);
    }
    must_say(owed, "never", "ok");
    COMMAND(s, "reload");
    for (int i = 0; i < PEERS; i++)
        MUST_COME(is_elsewhere(fds[i], pids[i]), "still at the old worker");
    must_end(owed);
    for (int i = 0; i < PEERS; i++)
        must_say(fds[i], "get", "");
    MUST_COME(total_of(s, "closed_owing") == 1, "not counted");
}

static void restore__refuses__giver_keeps_it(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, CLERK, .conf = "arbiter: { exit_timeout = 60; };");
    const int kept = peer_connect(s->addr[0]), other = peer_connect(s->addr[0]);
    const pid_t pid = pid_of(kept), other_pid = pid_of(other);

    server_expect(s, "connections refused|cannot be moved|could not be handed over");
    must_say(kept, "set me", "ok");
    must_say(kept, "refuse", "ok");
    COMMAND(s, "reload");
    MUST_COME(is_elsewhere(other, other_pid), "still at the old worker");
    must_say(kept, "get", "me");
    MUST(pid_of(kept) == pid, "restored although that failed");
}

static void timeout__moved_meanwhile__comes_from_the_new_worker(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, CLERK);
    const int fd = peer_connect(s->addr[0]);
    const pid_t pid = pid_of(fd);

    must_say(fd, "wake 1500", "ok");
    COMMAND(s, "reload");
    peer_expect_text(fd, "woken\n");
    MUST(is_elsewhere(fd, pid), "it has not moved");
}

/* A reload is done before all that drain have heard of it. */
static bool is_served_by_another(struct server *s, pid_t *last, int *ret_fd)
{
    const pid_t before = *last;

    *ret_fd = peer_connect(s->addr[0]);
    *last = pid_of(*ret_fd);
    if (*last == before)
        peer_close(*ret_fd);
    return *last != before;
}

/* As many processes drain as can be borne; what is asked for meanwhile is done once. */
static void too_many_drain__any_change__waits_until_they_end(void **state)
{
    struct it *it = *state;
    const bool is_upgrade = it->data != NULL;
    struct server *s = server_start(
        it, CLERK, .conf = "arbiter: { workers = 1; exit_timeout = 60; };", .args = {"-w", "1"});
    pid_t last = 0;
    int fds[4];

    for (size_t i = 0; i < 3; i++) {
        MUST_COME(is_served_by_another(s, &last, &fds[i]), "the old worker serves on");
        must_say(fds[i], "never", "ok");
        server_signal(s, SIGHUP);
        server_wait_log(s, "msg=\"reloaded\"", i + 1);
    }
    for (int i = 0; i < 3; i++)
        server_signal(s, is_upgrade ? SIGUSR2 : SIGHUP);
    server_wait_log(s, "waits\" reason=\"more than two sets", 1);
    fds[3] = peer_connect(s->addr[0]);
    must_say(fds[3], "set x", "ok");
    for (size_t i = 0; i < 3; i++)
        peer_reset(fds[i]); /* nobody waits for what is owed any more */
    server_wait_log(s, is_upgrade ? "msg=\"upgraded\"" : "msg=\"reloaded\"", is_upgrade ? 1 : 4);
    must_say(fds[3], "get", "x");
    MUST(server_log_count(s, "msg=\"(reloaded|upgraded)\"") == 4, "done more than once");
}

static void stop__reply_is_owed__given_before_the_end(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, CLERK, .conf = "arbiter: { exit_timeout = 60; };");
    const int waits = peer_connect(s->addr[0]), reads_on = peer_connect(s->addr[0]);

    peer_send_text(waits, "late 700 done\n");
    peer_send_text(reads_on, "later 700 done\n");
    peer_pause_until_acked(waits);
    peer_pause_until_acked(reads_on);
    server_signal(s, SIGTERM);
    peer_expect_text(waits, "done\n");
    peer_expect_eof(waits);
    peer_expect_text(reads_on, "done\n");
    peer_expect_eof(reads_on);
    peer_close(waits);
    peer_close(reads_on);
    MUST(server_wait_exit(s, WAIT_MS) == 0, "it ended otherwise");
}

/* Each comes back to what it speaks. */
static void crash__two_protocols__each_lives_on_with_its_own(void **state)
{
    struct it *it = *state;
    struct server *s =
        server_start(it, CLERK,
                     .conf = "server: { bind = ( \"127.0.0.1:0\", { address = \"127.0.0.2:0\"; "
                             "protocol = \"crier\"; } ); }; arbiter: { workers = 1; };");
    const int keeps = peer_connect(s->addr[0]), guilty = peer_connect(s->addr[0]);
    const int cries = peer_connect(s->addr[1]);
    const pid_t pid = pid_of(keeps);

    server_expect(s, "crash|backtrace|worker died|connections rescued");
    must_say(cries, "one", "! one");
    must_say(keeps, "blank", "ok");
    peer_send_text(guilty, "crash\n");
    must_end(guilty);
    must_say(cries, "two", "! two");
    MUST(is_elsewhere(keeps, pid), "it did not crash");
    MUST(server_counter(s, rescued) == 2, "not rescued");
    COMMAND(s, "reload");
    must_say(cries, "three", "! three");
    must_say(keeps, "get", "");
}

/* Who waits there has been accepted by nobody yet, but at an address of its protocol. */
static void reload__addresses_removed_where_clients_wait__each_served_by_its_protocol(void **state)
{
    static const char rest[] = "arbiter: { exit_timeout = 600; timeout = 600; };";
    struct it *it = *state;
    char conf[512];
    int fds[2][20];

    snprintf(conf, sizeof(conf),
             "server: { bind = ( \"127.0.0.3:0\", { address = \"127.0.0.2:0\"; protocol = "
             "\"crier\"; }, \"127.0.0.1:0\" ); };\n%s",
             rest);
    struct server *s = server_start(it, CLERK, .conf = conf);
    const pid_t old[] = {server_worker(s, 0), server_worker(s, 1)};

    for (size_t i = 0; i < 2; i++)
        kill(old[i], SIGSTOP);
    for (int k = 0; k < 20; k++)
        for (size_t i = 0; i < 2; i++) {
            fds[i][k] = peer_connect(s->addr[i]);
            peer_send_text(fds[i][k], "id\n");
        }
    snprintf(conf, sizeof(conf), "server: { bind = \"127.0.0.1:0\"; };\n%s", rest);
    server_configure(s, conf);
    server_signal(s, SIGHUP);
    for (int k = 0; k < 20; k++) {
        MUST(strtoull(read_line(fds[0][k]), NULL, 10) > 0, "no keeper");
        MUST(strcmp(read_line(fds[1][k]), "! id") == 0, "no crier");
    }
    for (size_t i = 0; i < 2; i++)
        kill(old[i], SIGCONT);
    s->arbiter_fds = s->worker_fds = 0; /* two listeners fewer */
}

/* Whoever is blank and idle lives on; what only that worker knew is gone with it. */
static void crash__some_are_blank__only_they_live_on(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, CLERK, .conf = "arbiter: { workers = 1; };");
    const int blank = peer_connect(s->addr[0]), full = peer_connect(s->addr[0]);
    const int owed = peer_connect(s->addr[0]), guilty = peer_connect(s->addr[0]);
    const pid_t pid = pid_of(blank);

    server_expect(s, "crash|backtrace|worker died|connections rescued");
    must_say(blank, "set something", "ok");
    must_say(blank, "blank", "ok");
    must_say(full, "set something", "ok");
    must_say(owed, "blank", "ok");
    must_say(owed, "never", "ok");
    must_say(full, "get", "something");
    peer_send_text(guilty, "crash\n");
    must_end(full);
    must_end(owed);
    must_end(guilty);
    MUST(is_elsewhere(blank, pid), "it did not crash");
    must_say(blank, "get", "");
    MUST(server_counter(s, rescued) == 1, "not rescued");
}

static json_int_t count_of(const json_t *own, const char *name)
{
    return json_integer_value(json_object_get(own, name));
}

static bool are_paired(struct server *s)
{
    json_t *info = json_loads(COMMAND(s, "info"), 0, NULL);
    const json_t *own =
        json_object_get(json_object_get(json_object_get(info, "totals"), "own"), "clerk");
    const json_int_t n_opens = count_of(own, "opened") + count_of(own, "moved_in");
    const json_int_t n_closes = count_of(own, "closed") + count_of(own, "moved_away");

    json_decref(info);
    return n_opens >= PEERS && n_opens == n_closes;
}

/* Each on_open has its on_close, wherever the connection was. */
static void on_open__after_changes__as_many_on_close(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, CLERK);
    int fds[PEERS];

    for (int i = 0; i < PEERS; i++) {
        fds[i] = peer_connect(s->addr[0]);
        must_say(fds[i], i % 3 ? "get" : "set x", i % 3 ? "" : "ok");
    }
    for (size_t c = 0; c < ARRAY_SIZE(changes); c++)
        command(s, changes[c].args);
    for (int i = 0; i < PEERS; i++)
        peer_close(fds[i]);
    MUST_COME(are_paired(s), "on_open and on_close do not match");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(state__any_change__kept),
        IT(late_reply__owed_at_each_change__given_on_the_same_connection),
        IT(late_reply__never_given__others_move_and_it_ends_with_the_time),
        IT(restore__refuses__giver_keeps_it),
        IT(timeout__moved_meanwhile__comes_from_the_new_worker),
        IT(stop__reply_is_owed__given_before_the_end),
        {"too_many_drain__a_reload__waits_until_they_end",
         too_many_drain__any_change__waits_until_they_end, it_setup, it_teardown, NULL},
        {"too_many_drain__an_upgrade__waits_until_they_end",
         too_many_drain__any_change__waits_until_they_end, it_setup, it_teardown,
         (void *)(uintptr_t)changes},
        IT(crash__some_are_blank__only_they_live_on),
        IT(crash__two_protocols__each_lives_on_with_its_own),
        IT(reload__addresses_removed_where_clients_wait__each_served_by_its_protocol),
        IT(on_open__after_changes__as_many_on_close),
    };

    return it_run(tests);
}
