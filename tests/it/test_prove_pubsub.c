/*
 * Messages between actors outlive processes: at the publish/subscribe example, through reloads,
 * upgrades, scaling, recycling, refused batches and a stopped taker, each subscriber gets each
 * message exactly once and in order, and late replies come. ECHO_PROFILE=soak (`make prove`) does
 * it at full length and prints the table.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "client/human.h"
#include "support/crowd.h"
#include "support/server.h"
#include "support/tool.h"

enum { WORKERS = 4 };

struct extent {
    unsigned subscribers, channels, publishers, rate, sleepers;
    const char *sleep;
    unsigned reloads, upgrades, scalings, recycles, refusals, stops, pauses;
    unsigned pause_ms;
};

static const struct extent in_short = {60, 10, 8, 400, 2, "0.5", 3, 2, 2, 2, 1, 1, 3, 50};
static const struct extent at_full_length = {300, 20, 20, 2200, 4, "5", 20,
                                             10,  20, 8,  3,    3, 20,  200};

struct scene {
    const struct extent *x;
    struct server *server;
    struct crowd *crowd;
    uint64_t began_ms;
    unsigned n_changes;
};

static struct server *start(struct it *it, bool has_fence)
{
    return server_start(it, .conf = "arbiter: { workers = 4; exit_timeout = 60; };",
                        .args = {"-w", "4"}, .binary = "test/pubsub",
                        .env = {has_fence ? NULL : "ARB_TEST_NO_FENCE=1"});
}

static void ask(struct scene *s, const char *command, const char *argument)
{
    char control[128];
    struct tool_run r;
    const uint64_t alarm_ms = clock_mono_ms() + 3 * (uint64_t)WAIT_MS;

    snprintf(control, sizeof(control), "%s/control", s->server->run);
    do {
        r = argument ? RUN(s->server->it, NO_INPUT, "-C", control, command, argument)
                     : RUN(s->server->it, NO_INPUT, "-C", control, command);
        MUST(r.code == 0 || clock_mono_ms() < alarm_ms, "%s: %d: %s", command, r.code, r.err);
    } while (r.code != 0 && (usleep(20000), true));
    s->n_changes++;
    usleep(s->x->pause_ms * 1000);
}

static struct scene begin(struct server *server, const struct extent *x)
{
    struct scene s = {.x = x, .server = server, .began_ms = clock_mono_ms()};
    const struct crowd_options o = {
        .addr = server->addr[0],
        .subscribers = x->subscribers,
        .channels = x->channels,
        .publishers = x->publishers,
        .rate = x->rate,
        .sleepers = x->sleepers,
        .sleep = x->sleep,
    };

    s.crowd = crowd_start(&o);
    MUST_COME(crowd_peek(s.crowd).published > x->rate / 2, "nothing is published: %s",
              crowd_peek(s.crowd).why);
    return s;
}

static void print_table(const struct scene *s, const char *title, const struct crowd_counts *c)
{
    const struct extent *x = s->x;
    char n[2][HUMAN_LEN];

    printf("#|\n#| %s: %.0f s, %u changes\n", title, (double)(clock_mono_ms() - s->began_ms) / 1e3,
           s->n_changes);
    printf("#| %u subscribers on %u channels, %u publishers, %u connections that are owed a late "
           "reply of %s s\n#|\n",
           x->subscribers, x->channels, x->publishers, x->sleepers, x->sleep);
    printf("#| messages published %15s   %s per second in the poorest second\n",
           human_grouped(c->published, n[0]), human_grouped(c->least_per_s, n[1]));
    printf("#| messages delivered %15s   longest way %" PRIu64 " ms, longest PUBLISH %" PRIu64
           " ms\n",
           human_grouped(c->delivered, n[0]), c->longest_ms, c->busiest_ms);
    printf("#| late replies       %15s\n", human_grouped(c->slept, n[0]));
    printf("#| lost %" PRIu64 ", doubled %" PRIu64 ", out of order %" PRIu64 ", wrong %" PRIu64
           ", cut %" PRIu64 "%s%s\n#|\n",
           c->lost, c->doubled, c->disordered, c->wrong, c->cut, c->why[0] ? ": " : "", c->why);
}

/* Why connections ended, as the server has counted it. */
static void print_ends(const struct scene *s)
{
    char control[128];

    snprintf(control, sizeof(control), "%s/control", s->server->run);
    printf("%s\n", RUN(s->server->it, NO_INPUT, "-C", control, "info").out);
}

static bool is_perfect(const struct crowd_counts *c)
{
    return c->lost + c->doubled + c->disordered + c->wrong + c->cut == 0;
}

static bool is_accepting(struct server *s, pid_t pid)
{
    const struct score_record *r = proc_is_alive(pid) ? server_record(s, pid) : NULL;

    return r && counter_get(&r->is_accepting);
}

/* Who serves in that slot. One that drains and still owes a reply has it, too. */
static pid_t serving_pid(struct server *s, uint32_t slot)
{
    pid_t pids[SERVER_WORKERS_MAX];
    const size_t n = server_worker_pids(s, pids);

    for (size_t i = 0; i < n; i++)
        if (is_accepting(s, pids[i]) && counter_get(&server_identity(s, pids[i])->slot) == slot)
            return pids[i];
    MUST(false, "nobody serves in slot %u", slot);
    return 0;
}

/* A worker that is told twice would end at once, so the first time has to have its effect. */
static void replace_worker(struct scene *s, uint32_t slot, unsigned pause_ms, pid_t taker)
{
    const pid_t pid = serving_pid(s->server, slot);

    if (taker)
        kill(taker, SIGSTOP);
    kill(pid, SIGTERM);
    usleep(pause_ms * 1000);
    if (taker)
        kill(taker, SIGCONT);
    MUST_COME(!is_accepting(s->server, pid), "worker %d is not replaced", (int)pid);
    server_wait_workers(s->server, WORKERS);
    s->n_changes++;
}

static void recycle(struct scene *s)
{
    replace_worker(s, 1 + s->n_changes % WORKERS, s->x->pause_ms, 0);
}

/* No worker has room for what another gives it: batches are refused, and offered again later. */
static void refuse(struct scene *s)
{
    const unsigned all = s->x->subscribers + s->x->publishers + s->x->sleepers;
    char conf[160];

    snprintf(conf, sizeof(conf),
             "arbiter: { workers = 4; exit_timeout = 60; };\nserver: { max_connections = %u; };",
             all / WORKERS + all / 16 + 8);
    server_configure(s->server, conf);
    ask(s, "reload", NULL);
    server_configure(s->server, "arbiter: { workers = 4; exit_timeout = 60; };");
    ask(s, "reload", NULL);
}

/* A worker that takes connections stands still while others are given to it. */
static void stop_taker(struct scene *s)
{
    replace_worker(s, 2, 300, serving_pid(s->server, 1));
}

/* A reload under an arbiter that stands still again and again: what several workers have sent waits
 * for it together, and is read in any order. */
static void reload_with_pauses(struct scene *s)
{
    const size_t n = server_log_count(s->server, "msg=\"reloaded\"");

    server_signal(s->server, SIGHUP);
    for (int i = 0; i < 40; i++) {
        server_signal(s->server, SIGSTOP);
        usleep(6000);
        server_signal(s->server, SIGCONT);
        usleep(1000);
    }
    server_wait_log(s->server, "msg=\"reloaded\"", n + 1);
    server_wait_workers(s->server, WORKERS);
    s->n_changes++;
}

static void make_changes(struct scene *s)
{
    const struct extent *x = s->x;

    for (unsigned i = 0; i < x->reloads; i++)
        ask(s, "reload", NULL);
    for (unsigned i = 0; i < x->upgrades; i++)
        ask(s, "upgrade", NULL);
    for (unsigned i = 0; i < x->scalings; i++)
        ask(s, "scale", i % 2 ? "4" : (i % 4 ? "2" : "6"));
    server_wait_workers(s->server, WORKERS);
    for (unsigned i = 0; i < x->recycles; i++)
        recycle(s);
    for (unsigned i = 0; i < x->refusals; i++)
        refuse(s);
    for (unsigned i = 0; i < x->stops; i++)
        stop_taker(s);
    for (unsigned i = 0; i < x->pauses; i++)
        reload_with_pauses(s);
}

static void prove__all_changes__each_message_exactly_once_and_in_order(void **state)
{
    const struct extent *x = it_is_soak() ? &at_full_length : &in_short;
    struct scene s = begin(start(*state, true), x);
    struct crowd_counts c;

    make_changes(&s);
    c = crowd_stop(s.crowd);
    print_table(&s, "messages through reload, upgrade, scale, recycle, refusal and a stopped taker",
                &c);
    if (!is_perfect(&c))
        print_ends(&s);
    MUST(is_perfect(&c), "%s", c.why);
    MUST(c.published > 0 && c.slept > 0, "nothing was proved");
    MUST(!it_is_soak() || c.least_per_s * 10 >= x->rate * 5, "too few messages per second");
}

/* The checker itself: without the rule that a connection waits for its last message to be numbered
 * before it moves, messages overtake each other or are lost, and the table says so. */
static void prove__without_the_fence__the_table_is_red(void **state)
{
    struct extent x = in_short;
    struct crowd_counts c = {0};

    /* Few who hear, and many messages. */
    x.subscribers = x.channels;
    x.rate = 4000;
    x.sleepers = 0;
    /* One round may be lucky. */
    for (int round = 0; round < 10 && is_perfect(&c); round++) {
        struct server *server = start(*state, false);
        struct scene s = begin(server, &x);

        for (int i = 0; i < 10; i++)
            reload_with_pauses(&s);
        c = crowd_stop(s.crowd);
        server_stop_and_check(server, SIGTERM, 0);
    }
    MUST(!is_perfect(&c),
         "without the fence all is well: the fence, or the checker, is for nothing");
    printf("# without the fence: %s\n", c.why);
}

static void prove__worker_crashes__only_its_own_connections_end(void **state)
{
    struct scene s = begin(start(*state, true), &in_short);
    const pid_t victim = server_worker(s.server, 1);
    struct crowd_counts c;
    const unsigned all = in_short.subscribers + in_short.publishers + in_short.sleepers;

    server_expect(s.server, "crash|signal|SIGSEGV|worker");
    crowd_permit_cuts(s.crowd);
    kill(victim, SIGSEGV);
    MUST_COME(!proc_is_alive(victim), "it lives on");
    server_wait_workers(s.server, WORKERS);
    usleep(500000);
    c = crowd_stop(s.crowd);
    print_table(&s, "a worker crashes by SIGSEGV", &c);
    MUST(c.lost + c.doubled + c.disordered + c.wrong == 0, "%s", c.why);
    MUST(c.cut > 0 && c.cut < all, "%" PRIu64 " of %u connections were cut", c.cut, all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(prove__all_changes__each_message_exactly_once_and_in_order),
        IT(prove__without_the_fence__the_table_is_red),
        IT(prove__worker_crashes__only_its_own_connections_end),
    };

    return it_run(tests);
}
