/*
 * Clients that hold as much of a worker's memory as they can, for as long as they like, and come
 * back when they are ended: honest clients are served all the same. The proportions are those of
 * the default configuration.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

enum {
    HOGS = 24, /* sixteen would do */
    HONEST = 400,
    GROUP = 20, /* honest clients at a time */
    PART = 3000, /* half of an honest message: it has to be kept until the other half is there */
    LARGE = 200000, /* half of a larger one, of which there are a few */
    LARGE_EVERY = 5, /* groups */
};

#define CONF                                                                                       \
    "arbiter: { workers = 1; }; server: { bind = [\"127.0.0.1:0\", \"unix:%s\"];"                  \
    " max_message = \"%uMiB\"; max_buffered = \"%uMiB\"; };"

enum kind { SENDERS, NON_READERS, SLOW_READERS };

struct attack {
    struct it *it;
    struct server *s;
    const char *addr;
    enum kind kind;
    size_t held; /* bytes that each of them sends, before the separator */
    int fd[HOGS];
    uint64_t n_returns;
    char *data; /* as much as anybody sends */
};

/* A slow reader takes a little at each look. */
static bool has_ended(const struct attack *a, int fd)
{
    char bytes[100];
    const ssize_t n = a->kind == SLOW_READERS ? recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)
                                              : recv(fd, bytes, 1, MSG_DONTWAIT | MSG_PEEK);

    return n == 0 || (n < 0 && errno != EAGAIN);
}

static void grab(struct attack *a, int i)
{
    a->fd[i] = peer_connect_rcvbuf(a->addr, 4096);
    peer_send_until_end(a->fd[i], (struct bytes){a->data, a->held + (a->kind == SENDERS ? 0 : 4)});
}

/* Those that were ended come back at once. */
static void press(struct attack *a)
{
    for (int i = 0; i < HOGS; i++) {
        if (!has_ended(a, a->fd[i]))
            continue;
        peer_close(a->fd[i]);
        grab(a, i);
        a->n_returns++;
    }
}

/* Honest clients, each of which sends half a message, and later the rest. */
static void serve_group(struct attack *a, size_t half)
{
    int fd[GROUP], other = peer_connect(a->addr);

    for (int i = 0; i < GROUP; i++) {
        fd[i] = peer_connect(a->s->addr[i % 2]);
        peer_send(fd[i], a->data, half);
    }
    peer_echo(other, "the halves have been read");
    press(a);
    for (int i = 0; i < GROUP; i++)
        peer_send_text(fd[i], "\r\n\r\n");
    for (int i = 0; i < GROUP; i++) {
        peer_expect(fd[i], a->data, half);
        peer_expect_text(fd[i], "\r\n\r\n");
        peer_close(fd[i]);
    }
    peer_close(other);
}

/* It is ended visibly, counted, and said why; but not in a line each. */
static void must_be_known(struct attack *a, uint64_t took_ms)
{
    struct server *s = a->s;
    const size_t lines = server_log_count(s, "server.max_buffered is spent: .* reason=");
    char *control = peer_alloc(strlen(s->run) + sizeof("/control"));
    struct tool_run r;

    printf("# %llu came back in %llu ms; %llu evicted, %llu refused; %zu lines\n",
           (unsigned long long)a->n_returns, (unsigned long long)took_ms,
           (unsigned long long)server_counter(s, closed_evicted),
           (unsigned long long)server_counter(s, closed_buffered), lines);
    MUST(server_counter(s, closed_evicted) > 0, "nobody made way");
    MUST(lines > 0 && lines <= 2 * (2 + took_ms / LOG_WINDOW_MS), "%zu lines", lines);
    sprintf(control, "%s/control", s->run);
    r = RUN(a->it, NO_INPUT, "-C", control, "info");
    MUST(r.code == 0 && strstr(r.out, "evicted"), "info does not show it: %s", r.out);
}

/* The kernel takes a reply of some megabytes over TCP, so what is more has to be left over. */
static void survive(struct it *it, enum kind kind, int which)
{
    const unsigned mib = kind != SENDERS && which == 0 ? 8 : 1;
    const size_t held = (mib << 20) - 65536;
    struct attack a = {.it = it, .kind = kind, .held = held, .data = peer_alloc(held + 4)};
    char conf[512];
    uint64_t start;

    snprintf(conf, sizeof(conf), CONF, it_path(it, "socket"), mib, 16 * mib);
    a.s = server_start(it, .conf = conf);
    server_expect(a.s, "server.max_buffered is spent");
    a.addr = a.s->addr[which];
    memset(a.data, 'x', held);
    memcpy(a.data + held, "\r\n\r\n", 4);
    start = clock_mono_ms();
    for (int i = 0; i < HOGS; i++)
        grab(&a, i);
    for (int i = 0; i < HONEST / GROUP; i++) {
        press(&a);
        serve_group(&a, PART);
        if (i % LARGE_EVERY == 0)
            serve_group(&a, LARGE);
    }
    must_be_known(&a, clock_mono_ms() - start);
}

static void hogs__send_without_an_end_over_tcp__honest_clients_are_served(void **state)
{
    survive(*state, SENDERS, 0);
}

static void hogs__send_without_an_end_over_unix__honest_clients_are_served(void **state)
{
    survive(*state, SENDERS, 1);
}

static void hogs__never_read_over_tcp__honest_clients_are_served(void **state)
{
    survive(*state, NON_READERS, 0);
}

static void hogs__never_read_over_unix__honest_clients_are_served(void **state)
{
    survive(*state, NON_READERS, 1);
}

static void hogs__read_slowly_over_tcp__honest_clients_are_served(void **state)
{
    survive(*state, SLOW_READERS, 0);
}

static void hogs__read_slowly_over_unix__honest_clients_are_served(void **state)
{
    survive(*state, SLOW_READERS, 1);
}

/* What grows at the same time leaves no holes that the worker would grow by. */
static void hogs__grow_together__worker_grows_to_max_buffered_only(void **state)
{
    enum { CHUNK = 256 << 10, ROUNDS = 64 };
    const uint64_t limit_kib = 64 << 10;
    struct it *it = *state;
    char conf[512], *data = peer_alloc(CHUNK);
    struct server *s;
    uint64_t peak_kib;
    int fd[HOGS], other;

    snprintf(conf, sizeof(conf), CONF, it_path(it, "socket"), 16u, 64u);
    s = server_start(it, .conf = conf);
    other = peer_connect(s->addr[0]);
    server_expect(s, "server.max_buffered is spent");
    memset(data, 'x', CHUNK);
    for (int i = 0; i < HOGS; i++)
        fd[i] = peer_connect(s->addr[0]);
    for (int n = 0; n < ROUNDS * HOGS; n++) {
        int *one = &fd[n % HOGS];

        if (peer_has_ended(*one)) {
            peer_close(*one);
            *one = peer_connect(s->addr[0]);
        }
        peer_try_send(*one, data, CHUNK);
        peer_echo(other, "it has been read");
    }
    peak_kib = proc_status(server_worker(s, 0), "VmHWM", 10);
    printf("# %llu KiB at most, of %llu\n", (unsigned long long)peak_kib,
           (unsigned long long)limit_kib);
    MUST(it_is_sanitized() || peak_kib < limit_kib + limit_kib / 8, "it grew too much");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(hogs__send_without_an_end_over_tcp__honest_clients_are_served),
        IT(hogs__send_without_an_end_over_unix__honest_clients_are_served),
        IT(hogs__never_read_over_tcp__honest_clients_are_served),
        IT(hogs__never_read_over_unix__honest_clients_are_served),
        IT(hogs__read_slowly_over_tcp__honest_clients_are_served),
        IT(hogs__read_slowly_over_unix__honest_clients_are_served),
        IT(hogs__grow_together__worker_grows_to_max_buffered_only),
    };
    return it_run(tests);
}
