/*
 * The death of either side at every step of a move, over real processes. After SIGKILL, who
 * was sent lives on, who was not acknowledged stays, and nobody else is lost than the connections
 * of the one that was killed. After crashes of both sides, who was idle lives on.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "support/server.h"

enum { PEERS = 600, BATCH = 252 };

static int fds[PEERS];

struct step {
    const char *name; /* see tests/hooks/move_kill.c */
    unsigned n;
    int lost; /* connections that only the killed process had */
};

static bool is_served(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    char buf[16];

    peer_try_send(fd, "ping\r\n\r\n", 8); /* a peer that has ended may say so here */
    MUST(poll(&p, 1, (int)WAIT_MS) == 1, "a connection is silent");
    if (peer_has_ended(fd))
        return false;
    MUST(peer_peek(fd, buf, sizeof(buf)) > 0, "neither served nor ended");
    peer_expect_text(fd, "ping\r\n\r\n");
    return true;
}

static void kill_at(struct it *it, const struct step *step)
{
    char env[256], line[32];
    char *hook = it_path(it, "hook");
    int lost = 0;

    snprintf(env, sizeof(env), "ECHO_TEST_HOOK=%s", hook);
    struct server *s = server_start(it, .conf = "arbiter: { workers = 1; };",
                                    .binary = "test/echo-arbiter", .env = {env});
    server_expect(s, "worker died\" .*signal=KILL ");
    for (int i = 0; i < PEERS; i++)
        fds[i] = peer_connect(s->addr[0]);
    for (int i = 0; i < PEERS; i++)
        peer_echo(fds[i], "before");
    snprintf(line, sizeof(line), "%s %u kill\n", step->name, step->n);
    it_write(it, "hook", line);
    server_signal(s, SIGHUP);
    server_wait_log(s, "worker (died|ended)\" .*signal=KILL ", 1);
    MUST(access(hook, F_OK) < 0, "%s %u: nobody came there", step->name, step->n);
    server_wait_workers(s, 1);
    for (int i = 0; i < PEERS; i++)
        lost += !is_served(fds[i]);
    MUST(lost == step->lost, "%s %u: %d connections lost, not %d", step->name, step->n, lost,
         step->lost);
    for (int i = 0; i < PEERS; i++)
        peer_close(fds[i]);
    server_stop_and_check(s, SIGTERM, 0);
}

static void moved__giver_killed_at_any_step__what_was_sent_lives_on(void **state)
{
    static const struct step steps[] = {
        {"heard", 0, PEERS},
        {"give", 1, PEERS},
        {"given", 1, PEERS - BATCH},
        {"give", 2, PEERS - BATCH},
        {"given", 2, PEERS - 2 * BATCH},
        {"give", 3, PEERS - 2 * BATCH},
        {"given", 3, 0},
        {"heard", 1, 0},
        {"heard", 2, 0},
        {"heard", 3, 0},
    };

    for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
        kill_at(*state, &steps[i]);
}

/* What the taker has acknowledged is its own, and its keeper has that, but for the batch between
 * the answer and the marks. */
static void moved__taker_killed_at_any_step__at_most_one_batch_is_lost(void **state)
{
    static const struct step steps[] = {
        {"answered", 0, 0},
        {"got", 1, 0},
        {"answered", 1, BATCH},
        {"got", 2, 0},
        {"answered", 2, BATCH},
        {"got", 3, 0},
        {"answered", 3, PEERS - 2 * BATCH},
    };

    for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
        kill_at(*state, &steps[i]);
}

/* A sanitizer's own handler would come before the worker's. */
static struct server *start_crashing(struct it *it, const char *conf, const char *hook)
{
    char env[256];
    struct server *s;

    snprintf(env, sizeof(env), "ECHO_TEST_HOOK=%s", hook);
    s = server_start(it, .conf = conf, .binary = "test/echo-arbiter",
                     .env = {env, "ASAN_OPTIONS=handle_segv=0:handle_abort=0:abort_on_error=1",
                             "UBSAN_OPTIONS=handle_segv=0:handle_abort=0"});
    server_expect(s, "worker crashes|backtrace|msg=\"crash\"|worker died|reload refused");
    for (int i = 0; i < PEERS; i++)
        fds[i] = peer_connect(s->addr[0]);
    for (int i = 0; i < PEERS; i++)
        peer_echo(fds[i], "before");
    server_must_idle(s); /* the last reply is out before the worker calls itself idle */
    return s;
}

/* Returns how many of the peers are not served, none of the others twice. */
static int end_crashing(struct server *s)
{
    int lost = 0;

    for (int i = 0; i < PEERS; i++)
        lost += !is_served(fds[i]);
    MUST(WAIT_UNTIL(server_gauge(s, connections) == (uint64_t)(PEERS - lost), WAIT_MS),
         "%llu connections are served, not %d", (unsigned long long)server_gauge(s, connections),
         PEERS - lost);
    for (int i = 0; i < PEERS; i++)
        peer_close(fds[i]);
    server_stop_and_check(s, SIGTERM, 0);
    return lost;
}

static void await_stop(pid_t pid)
{
    MUST(WAIT_UNTIL(proc_state(pid) == 'T', WAIT_MS), "it does not stop");
}

static void go_on_and_die(pid_t pid)
{
    kill(pid, SIGCONT);
    MUST(WAIT_UNTIL(!proc_is_alive(pid), WAIT_MS), "it survives");
}

static pid_t await_taker(struct server *s, pid_t giver)
{
    pid_t pids[SERVER_WORKERS_MAX];
    size_t n = 0;

    MUST(WAIT_UNTIL((n = server_worker_pids(s, pids)) == 2, WAIT_MS), "there is no heir");
    return pids[pids[0] == giver];
}

/* Where the taker stops, with all batches on their way; both crash, the taker first. */
static void moved__both_crash_at_any_step__no_idle_one_is_lost(void **state)
{
    static const char *const steps[] = {
        "answered 0 stop\ngiven 3 stop\n", "got 1 stop\ngiven 3 stop\n",
        "answered 1 stop\ngiven 3 stop\n", "got 2 stop\ngiven 3 stop\n",
        "answered 3 stop\ngiven 3 stop\n",
    };
    struct it *it = *state;
    char *hook = it_path(it, "hook");

    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        struct server *s = start_crashing(it, "arbiter: { workers = 1; };", hook);
        const pid_t giver = server_worker(s, 0);
        int lost;

        it_write(it, "hook", steps[i]);
        server_signal(s, SIGHUP);
        const pid_t taker = await_taker(s, giver);
        await_stop(giver);
        await_stop(taker);
        unlink(hook);
        kill(giver, SIGSEGV);
        kill(taker, SIGSEGV);
        go_on_and_die(taker);
        go_on_and_die(giver);
        server_wait_workers(s, 1);
        lost = end_crashing(s);
        MUST(lost == 0, "%.10s: %d connections lost", steps[i], lost);
    }
}

/* The taker lives, and says nothing for as long as the giver waits. */
static void moved__giver_crashes_with_all_unanswered__the_taker_has_them(void **state)
{
    struct it *it = *state;
    char *hook = it_path(it, "hook");
    struct server *s = start_crashing(it, "arbiter: { workers = 1; };", hook);
    const pid_t giver = server_worker(s, 0);

    it_write(it, "hook", "answered 0 stop\ngiven 3 stop\n");
    server_signal(s, SIGHUP);
    const pid_t taker = await_taker(s, giver);
    await_stop(giver);
    await_stop(taker);
    unlink(hook);
    kill(giver, SIGSEGV);
    go_on_and_die(giver);
    kill(taker, SIGCONT);
    MUST(end_crashing(s) == 0, "connections lost");
}

/* One that has no handler yet has no connections either. */
static bool has_handler(pid_t pid)
{
    return proc_is_alive(pid) && (proc_status(pid, "SigCgt", 16) >> (SIGSEGV - 1) & 1);
}

/*
 * All workers crash amid a reload, some ms after it has begun: only the count is of interest here,
 * what is left depends on who runs when.
 */
static void moved__all_crash_at_once_amid_a_reload__whoever_is_left_is_served(void **state)
{
    struct it *it = *state;
    uint64_t rng = it_seed();
    const int rounds = it_is_soak() ? 200 : 3;
    int lost = 0, n_with_loss = 0;

    for (int round = 0; round < rounds; round++) {
        struct server *s = start_crashing(it, "arbiter: { workers = 3; };", "");
        pid_t pids[SERVER_WORKERS_MAX];

        server_signal(s, SIGHUP);
        /* The stimulus itself: amid what the reload has begun. */
        nanosleep(&(struct timespec){.tv_nsec = (long)(100000 * rng_below(&rng, 120))}, NULL);
        const size_t n = server_worker_pids(s, pids);
        for (size_t i = 0; i < n; i++)
            if (has_handler(pids[i]))
                kill(pids[i], SIGSEGV);
        server_wait_workers(s, 3);
        const int more = end_crashing(s);
        lost += more;
        n_with_loss += more > 0;
    }
    printf("#| all crash: %d of %d connections lost, in %d of %d rounds\n", lost, rounds * PEERS,
           n_with_loss, rounds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(moved__giver_killed_at_any_step__what_was_sent_lives_on),
        IT(moved__taker_killed_at_any_step__at_most_one_batch_is_lost),
        IT(moved__both_crash_at_any_step__no_idle_one_is_lost),
        IT(moved__giver_crashes_with_all_unanswered__the_taker_has_them),
        IT(moved__all_crash_at_once_amid_a_reload__whoever_is_left_is_served),
    };

    return it_run(tests);
}
