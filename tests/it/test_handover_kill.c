/*
 * SIGKILL of either side at every step of a hand-over, over real processes: who was sent lives on,
 * who was not acknowledged stays, and nobody else is lost than the connections of the one that was
 * killed.
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
    const char *name; /* see tests/hooks/transfer_kill.c */
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

static void handover__giver_killed_at_any_step__what_was_sent_lives_on(void **state)
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

/* What the taker has acknowledged is its own, and dies with it. */
static void handover__taker_killed_at_any_step__what_was_not_acknowledged_stays(void **state)
{
    static const struct step steps[] = {
        {"answered", 0, 0},         {"got", 1, 0},
        {"answered", 1, BATCH},     {"got", 2, BATCH},
        {"answered", 2, 2 * BATCH}, {"got", 3, 2 * BATCH},
        {"answered", 3, PEERS},
    };

    for (size_t i = 0; i < ARRAY_SIZE(steps); i++)
        kill_at(*state, &steps[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(handover__giver_killed_at_any_step__what_was_sent_lives_on),
        IT(handover__taker_killed_at_any_step__what_was_not_acknowledged_stays),
    };

    return it_run(tests);
}
