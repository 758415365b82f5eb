/*
 * Limits per source address: counted over all workers, whatever becomes of these, and over once
 * the connections are. 127.0.0.0/8 has all the sources that one may want.
 */
#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

#define HAS_ENOUGH "a source has all the connections that it may have"
#define TOO_FAST   "a source connects faster than it may"

static struct tool_run ask(struct server *s, const char *command, const char *argument)
{
    char *control = peer_alloc(strlen(s->run) + sizeof("/control"));

    sprintf(control, "%s/control", s->run);
    return RUN(s->it, NO_INPUT, "-C", control, "--json", command, argument);
}

static void must_do(struct server *s, const char *command, const char *argument)
{
    struct tool_run r = ask(s, command, argument);

    MUST(r.code == 0, "%s: %s", command, r.err);
}

static uint64_t total(struct server *s, const char *name)
{
    struct tool_run r = ask(s, "info", NULL);
    json_t *info = json_loads(r.out, 0, NULL);
    const json_t *value = json_object_get(json_object_get(info, "totals"), name);
    const uint64_t n = (uint64_t)json_integer_value(value);

    MUST(json_is_integer(value), "total %s: %s", name, r.out);
    json_decref(info);
    return n;
}

/* Returns -ECONNRESET if it has been refused that soon. */
static int from(struct server *s, unsigned source)
{
    char address[32];

    snprintf(address, sizeof(address), "127.0.%u.%u:0", source / 250, source % 250 + 2);
    return peer_try_connect_from(address, s->addr[0]);
}

/* Returns false if it is reset instead. */
static bool is_served(int fd)
{
    static const char text[] = "hello\r\n\r\n";
    char got[sizeof(text)];

    MUST(fd >= 0 || fd == -ECONNRESET, "connect: %s", strerror(-fd));
    if (fd < 0)
        return false;
    peer_try_send(fd, text, strlen(text));
    MUST_COME(peer_peek(fd, got, strlen(text)) == strlen(text) || peer_has_ended(fd),
              "neither served nor ended");
    if (peer_has_ended(fd))
        return false;
    peer_expect_text(fd, text);
    return true;
}

static void must_be_reset(int fd)
{
    MUST(fd == -ECONNRESET || (fd >= 0 && peer_drain(fd, WAIT_MS, NULL) == PEER_RESET),
         "it is not reset");
    if (fd >= 0)
        peer_close(fd);
}

static void must_be_refused(struct server *s, unsigned source)
{
    must_be_reset(from(s, source));
}

/* Returns false if one more is let in, which then ends. */
static bool has_enough(struct server *s, unsigned source)
{
    int fd = from(s, source);
    const bool is = !is_served(fd);

    if (fd >= 0)
        peer_close(fd);
    return is;
}

/* After a change: nobody counts a connection that is on its way to another worker. */
static void must_come_to_be_refused(struct server *s, unsigned source)
{
    MUST_COME(has_enough(s, source), "source %u is let in", source);
}

/* @n connections that are served. */
static void open_some(struct server *s, unsigned source, int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fds[i] = from(s, source);
        MUST(is_served(fds[i]), "connection %zu of source %u is refused", i, source);
    }
}

static void close_some(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (fds[i] >= 0)
            peer_close(fds[i]);
}

static void must_count_nothing(struct server *s)
{
    MUST_COME(server_gauge(s, connections) == 0, "connections are left");
    MUST(total(s, "sources") == 0, "%llu sources are left",
         (unsigned long long)total(s, "sources"));
}

static void sources__max_per_source__over_all_workers(void **state)
{
    enum { SOURCES = 20, MAX = 5 };
    struct server *s =
        server_start(*state, .conf = "arbiter: { workers = 4; }; server: { max_per_source = 5; };");
    int fds[SOURCES][MAX];

    server_expect(s, HAS_ENOUGH "\" server.max_per_source=5 peer=127.0.0.[0-9]*:[0-9]*");
    for (unsigned i = 0; i < SOURCES; i++)
        open_some(s, i, fds[i], MAX);
    for (unsigned i = 0; i < SOURCES; i++)
        must_be_refused(s, i);
    MUST(total(s, "closed_max_per_source") == SOURCES, "closed_max_per_source");
    MUST(total(s, "accepted") == SOURCES * (MAX + 1), "accepted");
    MUST(total(s, "connections") == SOURCES * MAX, "connections");
    MUST_COME(total(s, "sources") >= SOURCES, "sources");
    MUST(server_log_count(s, HAS_ENOUGH) <= 2 * 4, "each refusal has a line");
    /* A place that is free is free for its source alone. */
    peer_close(fds[3][1]);
    MUST_COME(server_gauge(s, connections) == SOURCES * MAX - 1, "connections");
    must_be_refused(s, 4);
    open_some(s, 3, &fds[3][1], 1);
    must_be_refused(s, 3);
    for (unsigned i = 0; i < SOURCES; i++)
        close_some(fds[i], MAX);
    must_count_nothing(s);
}

static void sources__both_families__v6_by_network_and_mapped_as_v4(void **state)
{
    struct server *s =
        server_start(*state, .conf = "server: { bind = \":0\"; max_per_source = 2; };");
    const char *port = strrchr(s->addr[0], ':');
    char v4[32], v6[32];
    int fds[5], probe;

    snprintf(v4, sizeof(v4), "127.0.0.1%s", port);
    snprintf(v6, sizeof(v6), "[::1]%s", port);
    probe = peer_try_connect(v6, 0);
    if (probe < 0) {
        printf("# left out: no IPv6 here: %s\n", strerror(-probe));
        return;
    }
    MUST(is_served(probe), "::1");
    server_expect(s, HAS_ENOUGH);
    for (int i = 0; i < 2; i++) {
        fds[i] = peer_try_connect_from("127.0.0.2:0", v4);
        fds[2 + i] = peer_try_connect_from("127.0.0.3:0", v4);
        MUST(is_served(fds[i]) && is_served(fds[2 + i]), "v4");
    }
    fds[4] = peer_connect(v6);
    MUST(is_served(fds[4]), "::1 counts for another one");
    must_be_reset(peer_try_connect(v6, 0));
    must_be_reset(peer_try_connect_from("127.0.0.2:0", v4));
    MUST(server_counter(s, closed_max_per_source) == 2, "closed_max_per_source");
}

static void sources__accept_rate__one_source_is_slowed_and_no_other(void **state)
{
    enum { RATE = 20 };
    struct server *s =
        server_start(*state, .conf = "arbiter: { workers = 4; }; server: { accept_rate = 20; };");
    const uint64_t begin = clock_mono_ms();
    uint64_t served = 0, refused = 0;

    server_expect(s, TOO_FAST "\" server.accept_rate=20 peer=127.0.0.2:[0-9]*");
    while (refused < 100) {
        int fd = from(s, 0);

        if (is_served(fd))
            served++;
        else
            refused++;
        if (fd >= 0)
            peer_close(fd);
    }
    printf("# %llu served in %llu ms\n", (unsigned long long)served,
           (unsigned long long)(clock_mono_ms() - begin));
    MUST(served >= RATE, "%llu served", (unsigned long long)served);
    /* Two workers that look in the same moment may let in one more. */
    MUST(served <= RATE + 1 + (clock_mono_ms() - begin) * RATE / 1000 * 2, "%llu served",
         (unsigned long long)served);
    MUST(server_counter(s, closed_accept_rate) == refused, "closed_accept_rate");
    for (unsigned i = 1; i < 10; i++) {
        int fd = from(s, i);

        MUST(is_served(fd), "source %u pays for another", i);
        peer_close(fd);
    }
    must_count_nothing(s);
}

static void sources__trusted_and_unix__no_limit(void **state)
{
    struct it *it = *state;
    char *conf = peer_alloc(512);
    struct server *s;
    int fds[20];

    sprintf(
        conf,
        "server: { bind = [\"127.0.0.1:0\", \"unix:%s/s\"]; max_per_source = 1; accept_rate = 1;"
        " trusted = [\"127.0.0.2\", \"127.0.1.0/24\"]; };",
        it->dir);
    s = server_start(it, .conf = conf);
    server_expect(s, HAS_ENOUGH "|" TOO_FAST);
    open_some(s, 0, fds, 5); /* 127.0.0.2 */
    open_some(s, 260, fds + 5, 5); /* 127.0.1.12 */
    for (int i = 10; i < 15; i++) {
        fds[i] = peer_connect(s->addr[1]);
        MUST(is_served(fds[i]), "unix");
    }
    open_some(s, 1, fds + 15, 1);
    must_be_refused(s, 1);
    MUST(total(s, "sources") == 1, "sources");
    must_do(s, "reload", NULL);
    MUST_COME(server_gauge(s, connections) == 16 && total(s, "sources") == 1, "sources");
    close_some(fds, 16);
    must_count_nothing(s);
}

static void sources__reload_scale_recycle_upgrade__still_counted(void **state)
{
    enum { MAX = 6 };
    static const struct {
        const char *command, *argument;
    } changes[] = {{"reload", NULL}, {"scale", "1"},    {"scale", "4"},  {"upgrade", NULL},
                   {"scale", "2"},   {"upgrade", NULL}, {"reload", NULL}};
    struct server *s =
        server_start(*state, .conf = "server: { max_per_source = 6; accept_rate = 1000; };");
    int fds[2][MAX];
    size_t workers = 2;

    server_expect(s, HAS_ENOUGH);
    open_some(s, 0, fds[0], MAX);
    open_some(s, 1, fds[1], MAX - 1);
    for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
        must_do(s, changes[i].command, changes[i].argument);
        workers = changes[i].argument ? (size_t)(changes[i].argument[0] - '0') : workers;
        server_wait_workers(s, workers);
        must_come_to_be_refused(s, 0);
        open_some(s, 1, &fds[1][MAX - 1], 1);
        must_come_to_be_refused(s, 1);
        peer_close(fds[1][MAX - 1]);
        MUST_COME(server_gauge(s, connections) == 2 * MAX - 1, "connections");
    }
    kill(server_worker(s, 0), SIGTERM); /* another one takes its place, and its connections */
    must_come_to_be_refused(s, 0);
    close_some(fds[0], MAX);
    close_some(fds[1], MAX - 1);
    must_count_nothing(s);
}

/* What is passed on counts where it is served; what ends with the worker counts no more. */
static void sources__kill_of_all_workers__only_what_lives_on_is_counted(void **state)
{
    enum { MAX = 4 };
    struct server *s = server_start(
        *state, .conf = "arbiter: { keep_after = 0; }; server: { max_per_source = 4; };");
    int fds[MAX];
    pid_t pids[2];

    server_expect(s, HAS_ENOUGH "|worker died.*signal=KILL");
    open_some(s, 0, fds, MAX);
    peer_send_text(fds[0], "the middle of a message");
    MUST_COME(server_gauge(s, kept) == MAX, "kept"); /* once a second a worker says so */
    for (int i = 0; i < 2; i++)
        pids[i] = server_worker(s, (size_t)i);
    for (int i = 0; i < 2; i++)
        kill(pids[i], SIGKILL);
    MUST(peer_drain(fds[0], WAIT_MS, NULL) != PEER_SILENT, "the busy one lives on");
    for (int i = 1; i < MAX; i++)
        MUST(is_served(fds[i]), "an idle one is lost");
    MUST_COME(server_gauge(s, connections) == MAX - 1, "connections");
    open_some(s, 0, fds, 1);
    must_come_to_be_refused(s, 0);
    close_some(fds, MAX);
    must_count_nothing(s);
    open_some(s, 0, fds, MAX);
    must_come_to_be_refused(s, 0);
    close_some(fds, MAX);
}

static void sources__limits_change_by_reload__for_new_connections(void **state)
{
    struct server *s = server_start(*state, .conf = "");
    int fds[8];

    s->arbiter_fds = 0; /* the memory is made by the first reload, and stays */
    server_expect(s, HAS_ENOUGH);
    open_some(s, 0, fds, 5);
    MUST(total(s, "sources") == 0, "something is counted without need");
    server_configure(s, "server: { max_per_source = 3; };");
    must_do(s, "reload", NULL);
    must_come_to_be_refused(s, 0);
    for (int i = 0; i < 5; i++)
        MUST(is_served(fds[i]), "one of before is ended");
    close_some(fds, 3);
    MUST_COME(server_gauge(s, connections) == 2, "connections");
    open_some(s, 0, fds, 1);
    must_come_to_be_refused(s, 0);
    server_configure(s, "server: { max_per_source = 0; };");
    must_do(s, "reload", NULL);
    server_wait_workers(s, 2); /* those that go still accept, with the old limit */
    open_some(s, 0, fds + 5, 3);
    close_some(fds, 1);
    close_some(fds + 3, 5);
    must_count_nothing(s);
}

/* The memory has the size that the first configuration with limits needs. */
static void sources__no_room_for_all__served_without_limit_and_counted(void **state)
{
    enum { SOURCES = 400 };
    struct server *s = server_start(*state, .conf = "arbiter: { workers = 1; }; server: { "
                                                    "max_connections = 10; max_per_source = 1; };");
    static int fds[SOURCES], more[SOURCES];
    uint64_t uncounted;
    unsigned n_more = 0;

    server_expect(s, HAS_ENOUGH "|no room to count it");
    server_configure(s, "arbiter: { workers = 1; }; server: { bind = \"127.0.0.1:0\"; "
                        "max_connections = 1000; max_per_source = 1; };");
    must_do(s, "reload", NULL);
    for (unsigned i = 0; i < SOURCES; i++)
        open_some(s, i, &fds[i], 1);
    uncounted = server_counter(s, uncounted);
    printf("# %llu of %d without a limit\n", (unsigned long long)uncounted, SOURCES);
    MUST(uncounted >= SOURCES - 256, "more than there is room for are counted");
    MUST(server_gauge(s, sources) == SOURCES - uncounted, "sources");
    MUST(server_log_count(s, "no room to count") > 0, "no line says so");
    for (unsigned i = 0; i < SOURCES; i++) {
        more[i] = from(s, i);
        n_more += is_served(more[i]);
    }
    MUST(n_more == uncounted, "%u of %llu are let in again", n_more, (unsigned long long)uncounted);
    close_some(fds, SOURCES);
    close_some(more, SOURCES);
    must_count_nothing(s);
}

static void few_bytes(void)
{
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){40 << 20, 40 << 20});
}

static void sources__no_memory__start_and_reload_refused_with_the_reason(void **state)
{
    static const char why[] = "server.max_per_source or server.accept_rate: [0-9]* MiB of shared "
                              "memory.*File too large: raise RLIMIT_FSIZE";
    static const char limits[] = "server: { max_connections = 10000; max_per_source = 1; };";
    struct server *s;

    server_refuses(*state, 71, why, .conf = limits, .in_child = few_bytes);
    s = server_start(*state, .conf = "server: { backlog = 100; };", .in_child = few_bytes);
    server_expect(s, "reload refused");
    server_configure(s, limits);
    MUST(ask(s, "reload", NULL).code == 78, "reload");
    MUST(server_log_count(s, why) == 1, "no reason");
    server_must_be_well(s, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(sources__max_per_source__over_all_workers),
        IT(sources__both_families__v6_by_network_and_mapped_as_v4),
        IT(sources__accept_rate__one_source_is_slowed_and_no_other),
        IT(sources__trusted_and_unix__no_limit),
        IT(sources__reload_scale_recycle_upgrade__still_counted),
        IT(sources__kill_of_all_workers__only_what_lives_on_is_counted),
        IT(sources__limits_change_by_reload__for_new_connections),
        IT(sources__no_memory__start_and_reload_refused_with_the_reason),
        IT(sources__no_room_for_all__served_without_limit_and_counted),
    };

    return it_run(tests);
}
