/*
 * Connections outlive processes: reload, scaling, recycling and a worker's retirement under the
 * audit lose no connection, no message and no byte. ECHO_PROFILE=soak (`make prove`) does it at
 * full length.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/util.h"
#include "support/audit_thread.h"
#include "support/server.h"

#define RELOADED "msg=\"reloaded\""

/* Long-lived connections, half of them always in the middle of a larger message, and churning ones.
 */
static struct audit_options traffic(struct server *s)
{
    struct audit_options o;
    unsigned lanes = it_is_soak() ? 1000 : 120;

    audit_options_init(&o, s->addr[0]);
    o.seed = it_seed();
    o.lanes = lanes + lanes / 10;
    o.churn_lanes = lanes / 10;
    o.churn_messages = 2;
    o.slow_lanes = lanes / 2;
    o.slow_size = 100000;
    o.slow_pieces = 20;
    o.slow_gap_min_ms = o.slow_gap_max_ms = 10;
    o.think_min_ms = 10;
    o.think_max_ms = 50;
    return o;
}

/* What the audit of a planned change must say. */
static void must_have_lost_nothing(const struct audit_tally *t)
{
    const struct audit_counts *c = &t->counts;

    MUST(audit_counts_is_o1(c), "O1: wrong bytes");
    MUST(audit_counts_is_o2(c), "O2: messages without an explanation");
    MUST(audit_counts_failed(c) == 0, "%llu messages failed",
         (unsigned long long)audit_counts_failed(c));
    MUST(c->closed == 0 && c->reset == 0 && c->given_up == 0, "%llu connections were dropped",
         (unsigned long long)(c->closed + c->reset + c->given_up));
    MUST(c->refused == 0 && c->unconnected == 0, "%llu connects failed",
         (unsigned long long)(c->refused + c->unconnected));
}

static void handover__reloads__nothing_lost(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    struct audit_options o = traffic(s);
    struct audit_thread *t = audit_thread_start(&o);
    const size_t rounds = it_is_soak() ? 50 : 10;

    audit_thread_wait_echoed(t, 500);
    for (size_t i = 1; i <= rounds; i++) {
        server_signal(s, SIGHUP);
        server_wait_log(s, RELOADED, i);
        audit_thread_wait_echoed(t, 300);
    }
    struct audit_tally tally = audit_thread_stop(t, "reloads");
    must_have_lost_nothing(&tally);
}

static void scale(struct server *s, size_t from, size_t to)
{
    for (size_t n = from; n != to;) {
        server_signal(s, from < to ? SIGTTIN : SIGTTOU);
        n = from < to ? n + 1 : n - 1;
        server_wait_workers(s, n);
    }
}

static void handover__scaling__nothing_lost(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    struct audit_options o = traffic(s);
    struct audit_thread *t = audit_thread_start(&o);

    audit_thread_wait_echoed(t, 500);
    for (int i = 0; i < (it_is_soak() ? 20 : 2); i++) {
        scale(s, 2, 8);
        audit_thread_wait_echoed(t, 300);
        scale(s, 8, 1);
        audit_thread_wait_echoed(t, 300);
        scale(s, 1, 2);
        audit_thread_wait_echoed(t, 300);
    }
    struct audit_tally tally = audit_thread_stop(t, "scaling");
    must_have_lost_nothing(&tally);
}

static void handover__recycling__nothing_lost_and_no_crash_counted(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { max_requests = 2000; };");
    struct audit_options o = traffic(s);
    struct audit_thread *t = audit_thread_start(&o);

    /* One at a time, each after a second of service at least. */
    for (size_t n = 1; n <= (it_is_soak() ? 30 : 3); n++)
        server_wait_log(s, "asks to be replaced\" .*reason=max_requests", n);
    server_wait_log(s, "worker ended\"", 2);
    audit_thread_wait_echoed(t, 300);
    struct audit_tally tally = audit_thread_stop(t, "recycling");
    must_have_lost_nothing(&tally);
    MUST(server_log_count(s, "worker died") == 0, "a planned end counts as a crash");
}

static void handover__worker_gets_term__nothing_lost(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    struct audit_options o = traffic(s);
    struct audit_thread *t = audit_thread_start(&o);

    audit_thread_wait_echoed(t, 500);
    for (size_t i = 1; i <= 3; i++) {
        kill(server_worker(s, 0), SIGTERM);
        server_wait_log(s, "asks to be replaced\" .*reason=SIGTERM", i);
        server_wait_log(s, "worker ended\"|msg=\"worker ended\" .*repeated", 1);
        audit_thread_wait_echoed(t, 500);
        server_wait_workers(s, 2);
    }
    struct audit_tally tally = audit_thread_stop(t, "TERM to a worker");
    must_have_lost_nothing(&tally);
}

/* Peers that neither read nor send hold up a drain for ever, but not a hand-over. */
static void
handover__peers_that_do_nothing__old_generation_is_gone_and_bytes_are_exact(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { exit_timeout = 60; };");
    enum { PEERS = 40, SIZE = 300000 };
    struct bytes out = {peer_alloc(SIZE), SIZE};
    pid_t old = server_worker(s, 0);
    int reading[PEERS], idle[PEERS], half[PEERS];

    memset((void *)out.data, 'x', SIZE);
    memcpy((char *)out.data + SIZE - 4, "\r\n\r\n", 4);
    for (int i = 0; i < PEERS; i++) {
        reading[i] = peer_connect_rcvbuf(s->addr[0], 4096);
        peer_send(reading[i], out.data, SIZE); /* the reply does not fit: output is unsent */
        idle[i] = peer_connect(s->addr[0]);
        peer_echo(idle[i], "before");
        half[i] = peer_connect(s->addr[0]);
        peer_send_text(half[i], "the first half, ");
        peer_pause_until_acked(half[i]);
    }
    server_signal(s, SIGHUP);
    server_wait_log(s, RELOADED, 1);
    server_wait_log(s, "worker ended\" .*slot=1 generation=1", 1);
    MUST(!proc_is_alive(old), "the old generation lives on");
    for (int i = 0; i < PEERS; i++) {
        peer_expect(reading[i], out.data, SIZE);
        peer_echo(idle[i], "after");
        peer_send_text(half[i], "the second\r\n\r\n");
        peer_expect_text(half[i], "the first half, the second\r\n\r\n");
    }
}

/* One change after the other, without waiting for what the one before moves. */
static void handover__changes_overtake_each_other__nothing_lost(void **state)
{
    static const int storm[] = {SIGHUP,  SIGTTOU, SIGTTIN, SIGHUP, SIGHUP,
                                SIGTTIN, SIGTTOU, SIGTTOU, SIGTTIN};
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    enum { PEERS = 50 };
    int fds[PEERS];

    for (int i = 0; i < PEERS; i++)
        fds[i] = peer_connect(s->addr[0]);
    for (int round = 0; round < (it_is_soak() ? 50 : 8); round++) {
        for (size_t i = 0; i < ARRAY_SIZE(storm); i++) {
            server_signal(s, storm[i]);
            peer_echo(fds[i], "between two changes");
        }
        for (int i = 0; i < PEERS; i++)
            peer_echo(fds[i], "still here");
    }
    server_configure(s, "");
    server_signal(s, SIGHUP);
    server_wait_workers(s, 2);
}

struct shares {
    uint64_t least, most;
};

static struct shares shares_of(struct server *s)
{
    struct shares sh = {UINT64_MAX, 0};
    pid_t pids[SERVER_WORKERS_MAX];
    size_t n = server_worker_pids(s, pids);

    for (size_t i = 0; i < n; i++) {
        struct score_record *r = server_record(s, pids[i]);
        uint64_t open = r ? counter_get(&r->connections) : 0;

        sh.least = MIN(sh.least, open);
        sh.most = MAX(sh.most, open);
    }
    return sh;
}

static bool is_even(struct server *s, double ratio)
{
    struct shares sh = shares_of(s);

    return sh.least > 0 && (double)sh.most <= ratio * (double)sh.least;
}

static void must_become_even(struct server *s, double ratio)
{
    const struct timespec tick = {.tv_nsec = 20000000};

    for (int turns = 0; !is_even(s, ratio); turns++) {
        struct shares sh = shares_of(s);

        MUST(turns < (int)WAIT_MS / 20, "shares stay uneven: %llu to %llu",
             (unsigned long long)sh.least, (unsigned long long)sh.most);
        nanosleep(&tick, NULL);
    }
}

static void handover__grown_from_two_to_four__shares_become_even(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    enum { PEERS = 800 };
    int fds[PEERS];

    for (int i = 0; i < PEERS; i++)
        fds[i] = peer_connect(s->addr[0]);
    for (int i = 0; i < PEERS; i++)
        peer_echo(fds[i], "before");
    scale(s, 2, 4);
    must_become_even(s, 1.05);
    for (int i = 0; i < PEERS; i++)
        peer_echo(fds[i], "after");
    MUST(server_counter(s, handed_in) >= PEERS / 2 - PEERS / 10, "too few were moved");
    MUST(server_gauge(s, connections) == PEERS, "connections are miscounted");
    scale(s, 4, 2); /* as many descriptors as before */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(handover__reloads__nothing_lost),
        IT(handover__scaling__nothing_lost),
        IT(handover__recycling__nothing_lost_and_no_crash_counted),
        IT(handover__worker_gets_term__nothing_lost),
        IT(handover__peers_that_do_nothing__old_generation_is_gone_and_bytes_are_exact),
        IT(handover__changes_overtake_each_other__nothing_lost),
        IT(handover__grown_from_two_to_four__shares_become_even),
    };

    return it_run(tests);
}
