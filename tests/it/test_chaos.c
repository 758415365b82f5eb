/*
 * Chaos: 400 clients in the middle of a message at nearly any time, and a server that is
 * changed at random all the while. No change costs a connection, a message or a byte; a crash costs
 * connections that were in the middle of a message in the worker that crashed; what the server
 * counts is what the clients count. ECHO_SEED repeats the same choices; ECHO_CHAOS_SECONDS is the
 * length of each case.
 */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"
#include "support/chaos.h"

enum { CHECK_EVERY = 6 /* changes */ };

/* ---- crashes ---- */

/* The worker that has the server's end of each client's port; 0 = nobody knows. */
struct owners {
    pid_t of_port[65536];
};

static const struct owners *list_owners(struct chaos *c)
{
    enum { LIST = 1 << 16, ESTABLISHED = 1 };
    pid_t pids[SERVER_WORKERS_MAX];
    const size_t n = server_worker_pids(c->server, pids);
    static struct owners owners;
    static char lists[SERVER_WORKERS_MAX][LIST];
    char line[512];
    const unsigned port = (unsigned)atoi(strrchr(c->server->addr[0], ':') + 1);
    FILE *f = fopen("/proc/net/tcp", "re");

    MUST(f, "/proc/net/tcp");
    memset(&owners, 0, sizeof(owners));
    for (size_t i = 0; i < n; i++)
        proc_list_fds(pids[i], lists[i], LIST);
    while (fgets(line, sizeof(line), f)) {
        unsigned local, remote, state;
        unsigned long inode;
        char link[64];

        if (sscanf(line, " %*u: %*x:%x %*x:%x %x %*s %*s %*s %*s %*s %lu", &local, &remote, &state,
                   &inode) != 4 ||
            local != port || state != ESTABLISHED)
            continue;
        snprintf(link, sizeof(link), "socket:[%lu]\n", inode);
        for (size_t i = 0; i < n; i++)
            if (strstr(lists[i], link))
                owners.of_port[remote & 0xffff] = pids[i];
    }
    fclose(f);
    return &owners;
}

/* New workers that nobody is going to replace, and no connection that is about to move. */
static void calm_down(struct chaos *c)
{
    server_configure(c->server, chaos_random_configuration(c, false));
    json_decref(chaos_must_succeed(c, "reload", ""));
    chaos_await_staff(c);
    AWAIT(c, chaos_is_balanced(c), "connections are not spread evenly");
}

static uint64_t moves(struct chaos *c)
{
    json_t *info = chaos_must_succeed(c, "info", "");
    const uint64_t n =
        chaos_number(info, "totals", "moved_in") + chaos_number(info, "totals", "moved_out");

    json_decref(info);
    return n;
}

/* Every worker's loop has turned since. */
static void await_turn_of_workers(struct chaos *c)
{
    json_decref(chaos_ask_all(c, "{\"id\":1,\"command\":\"ping\",\"target\":\"workers\"}\n"));
}

/* The last one that `crashes` names, which counts from the last upgrade on. */
static bool has_crashed(struct chaos *c, pid_t pid)
{
    json_t *list = chaos_must_succeed(c, "crashes", "");
    const size_t n = json_array_size(list);
    const json_t *last = n > 0 ? json_array_get(list, n - 1) : NULL;
    const bool is = last && json_integer_value(json_object_get(last, "pid")) == pid;

    MUST(!is || json_integer_value(json_object_get(last, "number")) <= c->n_crashes + 1,
         "another crash besides");
    json_decref(list);
    return is;
}

static void crash(struct chaos *c, pid_t pid, bool may_end_itself)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE};

    kill(pid, signals[rng_below(&c->rng, ARRAY_SIZE(signals))]);
    AWAIT(c, !proc_is_alive(pid), "worker %d survives", (int)pid);
    chaos_await_staff(c);
    const bool is_crash = has_crashed(c, pid);
    MUST(is_crash || may_end_itself, "worker %d has crashed, and nothing says so", (int)pid);
    c->n_crashes += is_crash;
}

/* Everybody is silent, some in the middle of a message that the server has begun to read. Exactly
 * those end whose worker crashes. */
static void crash_while_silent(struct chaos *c)
{
    const uint64_t lost = talkers_counts(c->talkers)->lost;
    uint64_t n_hit = 0, before[CHAOS_TALKERS];
    pid_t victim = 0;
    bool is_hit[CHAOS_TALKERS];

    for (unsigned i = 0; i < CHAOS_TALKERS; i++)
        talkers_set_mode(c->talkers, i, rng_below(&c->rng, 2) ? TALKER_RESTS : TALKER_STOPS_INSIDE);
    chaos_await_settled(c);
    calm_down(c);
    chaos_await_read(c);
    await_turn_of_workers(c);
    AWAIT(c, (victim = chaos_random_worker(c, SIGSEGV)), "no worker can crash");
    const struct owners *owners = list_owners(c);
    for (unsigned i = 0; i < CHAOS_TALKERS; i++) {
        const pid_t owner = owners->of_port[talkers_port(c->talkers, i)];

        MUST(owner, "nobody has connection %" PRIu64, talkers_connection(c->talkers, i));
        is_hit[i] = owner == victim && talkers_mode(c->talkers, i) == TALKER_STOPS_INSIDE;
        before[i] = talkers_connection(c->talkers, i);
        n_hit += is_hit[i];
        if (is_hit[i])
            talkers_permit_end(c->talkers, i);
    }
    crash(c, victim, false);
    AWAIT(c, talkers_counts(c->talkers)->lost == lost + n_hit,
          "%" PRIu64 " connections were in the middle of a message, %" PRIu64 " have ended", n_hit,
          talkers_counts(c->talkers)->lost - lost);
    for (unsigned i = 0; i < CHAOS_TALKERS; i++)
        MUST(is_hit[i] != (talkers_connection(c->talkers, i) == before[i]), "connection %" PRIu64,
             before[i]);
    chaos_set_all(c, TALKER_TALKS);
}

static uint64_t planned_ends(const struct chaos *c)
{
    const struct talkers_counts *n = talkers_counts(c->talkers);

    return n->closed + n->half_closed + n->quit + n->broken_off;
}

/* A third are idle, and stay; of the others, those may end that the crashing worker has. With
 * @is_amid_change nobody can say who has whom. */
static void crash_amid_traffic(struct chaos *c, bool is_amid_change)
{
    static const int signals[] = {SIGHUP, SIGTTIN, SIGTTOU};
    pid_t victim = 0;

    for (unsigned i = 0; i < CHAOS_TALKERS; i++)
        if (rng_below(&c->rng, 3) == 0)
            talkers_set_mode(c->talkers, i, TALKER_RESTS);
    chaos_await_settled(c);
    calm_down(c);
    const uint64_t ended = planned_ends(c);
    await_turn_of_workers(c);
    const uint64_t moved = moves(c);
    if (is_amid_change) {
        server_configure(c->server, chaos_random_configuration(c, true));
        server_signal(c->server, signals[rng_below(&c->rng, ARRAY_SIZE(signals))]);
        chaos_run(c, rng_below(&c->rng, 12));
    }
    AWAIT(c, (victim = chaos_random_worker(c, SIGSEGV)), "no worker can crash");
    const struct owners *owners = list_owners(c);
    const bool is_known = !is_amid_change && moves(c) == moved;
    for (unsigned i = 0; i < CHAOS_TALKERS; i++) {
        const pid_t owner = owners->of_port[talkers_port(c->talkers, i)];

        if (talkers_mode(c->talkers, i) == TALKER_TALKS && (!is_known || !owner || owner == victim))
            talkers_permit_end(c->talkers, i);
    }
    c->is_exact = false;
    crash(c, victim, is_amid_change);
    c->uncounted += planned_ends(c) - ended;
    chaos_set_all(c, TALKER_TALKS);
}

static void crash_amid_serving(struct chaos *c)
{
    crash_amid_traffic(c, false);
}

static void crash_amid_change(struct chaos *c)
{
    crash_amid_traffic(c, true);
}

/* ---- the cases ---- */

static const struct chaos_row crashes[] = {
    {2, crash_while_silent, "while silent"},
    {1, crash_amid_serving, "amid traffic"},
    {1, crash_amid_change, "amid a change"},
};

static void chaos__changes_at_random__nothing_is_lost_and_counters_are_equal(void **state)
{
    struct chaos c = chaos_begin(*state);
    unsigned made[CHAOS_CHANGES] = {0};

    for (unsigned n = 1; !chaos_is_over(&c, made, CHAOS_CHANGES); n++) {
        chaos_make_one(&c, chaos_changes, CHAOS_CHANGES, made);
        if (n % CHECK_EVERY == 0)
            chaos_check_all(&c);
    }
    chaos_print_made("changes", chaos_changes, CHAOS_CHANGES, made);
    chaos_end(&c);
}

static void chaos__crashes_at_random__only_busy_ones_of_that_worker_end(void **state)
{
    struct chaos c = chaos_begin(*state);
    unsigned made[CHAOS_CHANGES] = {0}, crashed[ARRAY_SIZE(crashes)] = {0};

    server_expect(c.server, "worker crashes|backtrace|msg=\"crash\"|worker died");
    while (!chaos_is_over(&c, crashed, ARRAY_SIZE(crashes))) {
        for (uint64_t n = rng_below(&c.rng, 3); n > 0; n--)
            chaos_make_one(&c, chaos_changes, CHAOS_CHANGES, made);
        chaos_make_one(&c, crashes, ARRAY_SIZE(crashes), crashed);
        chaos_check_all(&c);
    }
    chaos_print_made("changes", chaos_changes, CHAOS_CHANGES, made);
    chaos_print_made("crashes", crashes, ARRAY_SIZE(crashes), crashed);
    chaos_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(chaos__changes_at_random__nothing_is_lost_and_counters_are_equal),
        IT(chaos__crashes_at_random__only_busy_ones_of_that_worker_end),
    };

    return it_run(tests);
}
