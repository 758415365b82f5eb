/*
 * Connections spread evenly over the workers: when they come, soon after, and when there are more
 * workers; then they stay where they are. What is printed are figures of this machine; asserted is
 * that it becomes even, that no more is moved than has to be, and that it comes to rest.
 */
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

enum { PEERS = 2000, LOOK_MS = 5 };

static const double even = 1.05, right_after = 1.15;

struct shares {
    uint64_t least, most, total;
    uint64_t surplus; /* connections that have to be moved, if all shares are to be the same */
    uint64_t moved; /* so far */
};

static struct shares shares_of(struct server *s)
{
    struct shares sh = {.least = UINT64_MAX};
    pid_t pids[SERVER_WORKERS_MAX];
    size_t n = server_worker_pids(s, pids);

    for (size_t i = 0; i < n; i++) {
        const struct score_record *r = server_record(s, pids[i]);
        const uint64_t open = r ? counter_get(&r->connections) : 0;

        sh.least = MIN(sh.least, open);
        sh.most = MAX(sh.most, open);
        sh.total += open;
        sh.surplus += open > PEERS / n ? open - PEERS / n : 0;
        sh.moved += r ? counter_get(&r->counters.moved_out) : 0;
    }
    return sh;
}

static double ratio_of(const struct shares *sh)
{
    return sh->least ? (double)sh->most / (double)sh->least : 1e9;
}

/* Everybody is somewhere, and nobody on the way. */
static bool is_whole(struct server *s)
{
    return shares_of(s).total == PEERS &&
           server_counter(s, moved_in) == server_counter(s, moved_out);
}

/* Looks until it is even. Returns the milliseconds since @since_ms. */
static uint64_t must_become_even(struct server *s, uint64_t since_ms)
{
    const uint64_t alarm_ms = clock_mono_ms() + WAIT_MS;
    struct shares sh = shares_of(s);

    for (; sh.total != PEERS || ratio_of(&sh) > even; sh = shares_of(s)) {
        MUST(clock_mono_ms() < alarm_ms, "shares stay uneven: %" PRIu64 " to %" PRIu64, sh.least,
             sh.most);
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
    }
    return clock_mono_ms() - since_ms;
}

/* The arbiter looks each two seconds, and at last finds nothing to do. What is moved back and forth
 * is moved more often than @before had to be. */
static void must_come_to_rest(struct server *s, const struct shares *before)
{
    const unsigned rest_ms = it_is_soak() ? 10000 : 2200;
    const uint64_t alarm_ms = clock_mono_ms() + WAIT_MS + rest_ms;
    uint64_t since_ms = clock_mono_ms();
    struct shares last = shares_of(s), now;

    while (clock_mono_ms() < since_ms + rest_ms) {
        nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
        now = shares_of(s);
        if (now.moved != last.moved)
            since_ms = clock_mono_ms();
        last = now;
        MUST(clock_mono_ms() < alarm_ms, "connections are moved for ever");
    }
    printf("#| at rest with %" PRIu64 " to %" PRIu64 ", ratio %.3f; moved: %" PRIu64
           ", above an equal share before: %" PRIu64 "\n",
           last.least, last.most, ratio_of(&last), last.moved - before->moved, before->surplus);
    MUST(ratio_of(&last) <= even, "uneven again");
    MUST(last.moved - before->moved <= before->surplus + PEERS / 50, "moved back and forth");
}

static void print_and_watch(struct server *s, const char *title)
{
    uint64_t since_ms;
    struct shares sh;

    MUST_COME(is_whole(s), "%" PRIu64 " of %d are accepted", shares_of(s).total, PEERS);
    since_ms = clock_mono_ms();
    sh = shares_of(s);
    printf("#| %d %s over 4 workers: %" PRIu64 " to %" PRIu64 ", ratio %.3f (aim %.2f)\n", PEERS,
           title, sh.least, sh.most, ratio_of(&sh), right_after);
    MUST(ratio_of(&sh) < 1.5, "very uneven");
    printf("#| ratio %.2f or less after %" PRIu64 " ms (aim 10000)\n", even,
           must_become_even(s, since_ms));
    must_come_to_rest(s, &sh);
}

static void spread__one_after_another__even(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { workers = 4; };");

    for (int i = 0; i < PEERS; i++)
        peer_echo(peer_connect(s->addr[0]), "one after another");
    print_and_watch(s, "connects one after another");
}

static void spread__burst__even(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { workers = 4; };");

    for (int i = 0; i < PEERS; i++)
        peer_connect(s->addr[0]);
    print_and_watch(s, "connects in a burst");
}

static void scale(struct server *s, const char *workers)
{
    char control[128];
    struct tool_run r;

    snprintf(control, sizeof(control), "%s/control", s->run);
    r = RUN(s->it, NO_INPUT, "-C", control, "scale", workers);
    MUST(r.code == 0, "scale %s: %s", workers, r.err);
}

static void spread__from_two_workers_to_four__even(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    struct shares before = {.surplus = PEERS / 2};
    int fds[PEERS];
    uint64_t since_ms;

    for (int i = 0; i < PEERS; i++)
        peer_echo(fds[i] = peer_connect(s->addr[0]), "before");
    before.moved = shares_of(s).moved;
    since_ms = clock_mono_ms();
    scale(s, "4");
    printf("#| %d connections, from 2 workers to 4: ratio %.2f or less after %" PRIu64
           " ms (aim 2000)\n",
           PEERS, even, must_become_even(s, since_ms));
    must_come_to_rest(s, &before);
    for (int i = 0; i < PEERS; i++)
        peer_echo(fds[i], "after");
    scale(s, "2"); /* as many descriptors as before */
    server_wait_workers(s, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(spread__one_after_another__even),
        IT(spread__burst__even),
        IT(spread__from_two_workers_to_four__even),
    };

    return it_run(tests);
}
