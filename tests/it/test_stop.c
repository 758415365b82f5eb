/*
 * Stopping: it always ends, and what it ends, it ends visibly.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/util.h"
#include "support/load.h"
#include "support/server.h"
#include "support/tool.h"

/* The server has been told to end: it does, with @code and nothing left. Prints how long it took.
 */
static void must_end(struct server *s, int code, const char *what)
{
    uint64_t start = clock_mono_ms();
    int got = server_wait_exit(s, WAIT_MS);
    MUST(got == code, "%s: exit code %d, expected %d", what, got, code);
    printf("# %s: %llu ms\n", what, (unsigned long long)(clock_mono_ms() - start));
    const char *problems = server_problems(s);
    MUST(!*problems, "%s", problems);
}

/* A connection that is in the middle of a message. */
static int busy_peer(struct server *s)
{
    int fd = peer_connect(s->addr[0]);
    peer_send_text(fd, "a\r\n\r\nhalf");
    peer_expect_text(fd, "a\r\n\r\n");
    return fd;
}

static void stop__term_under_load__ends_between_messages(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { exit_timeout = 15; };");
    struct load *l = load_new(&(struct load_options){
        .addr = s->addr[0], .clients = 32, .depth = 8, .max_payload = 3000, .seed = it_seed()});
    load_run(l, 300);
    server_signal(s, SIGTERM);
    load_until_ended(l);
    load_print(l, "term");
    const struct load_report *r = load_report(l);
    MUST(r->echoed > 0 && r->ended == 32, "not every connection saw a clean end");
    MUST(r->reset == 0 && r->ended_inside == 0, "see above");
    load_free(l);
    must_end(s, 0, "TERM under load");
}

static void many_descriptors(void)
{
    struct rlimit rl;
    getrlimit(RLIMIT_NOFILE, &rl);
    rl.rlim_cur = rl.rlim_max;
    setrlimit(RLIMIT_NOFILE, &rl);
}

static void stop__term_with_idle_connections__half_closes_them(void **state)
{
    enum { N = 1000 };
    struct it *it = *state;
    int fd[N];
    many_descriptors();
    struct server *s = server_start(it, .conf = "");
    for (int i = 0; i < N; i++) {
        fd[i] = peer_connect(s->addr[0]);
        if (i % 2)
            peer_echo(fd[i], "then idle");
    }
    /* Also what is still in the backlog is accepted, or hears of it. */
    MUST_COME(server_gauge(s, connections) == N, "%llu connections",
              (unsigned long long)server_gauge(s, connections));
    server_signal(s, SIGTERM);
    for (int i = 0; i < N; i++) {
        peer_expect_eof(fd[i]);
        peer_close(fd[i]);
    }
    must_end(s, 0, "1000 idle connections, the peers close");
}

static void stop__peers_do_not_close__lingers_and_ends(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    for (int i = 0; i < 100; i++)
        peer_echo(peer_connect(s->addr[0]), "then idle for ever");
    server_signal(s, SIGTERM);
    must_end(s, 0, "100 idle connections, the peers do not close");
}

static void stop__peer_never_reads__is_cut(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { exit_timeout = 1; };");
    char *frames = peer_alloc(16 << 20);
    memset(frames, 'x', 16 << 20);
    for (size_t i = 4096; i <= 16 << 20; i += 4096)
        memcpy(frames + i - 4, "\r\n\r\n", 4);
    int fd = peer_connect_rcvbuf(s->addr[0], 4096);
    peer_send_until_full(fd, (struct bytes){frames, 16 << 20});
    busy_peer(s);
    server_signal(s, SIGTERM);
    server_wait_log(s, "time is up, connections are cut", 1);
    must_end(s, 0, "exit_timeout = 1, a peer that never reads, one in the middle of a message");
    MUST(peer_drain(fd, WAIT_MS, NULL) != PEER_SILENT, "the peer hears nothing");
}

static void stop__second_signal__ends_at_once(void **state)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGQUIT};
    struct it *it = *state;
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        struct server *s = server_start(it, .conf = "arbiter: { exit_timeout = 600; };");
        int fd = busy_peer(s);
        server_signal(s, SIGTERM);
        server_wait_log(s, "msg=\"stopping\"", 1);
        server_signal(s, signals[i]);
        must_end(s, 0, strsignal(signals[i]));
        MUST(peer_drain(fd, WAIT_MS, NULL) != PEER_SILENT, "the peer hears nothing");
        peer_release_all();
    }
}

static void stop__int_or_quit__ends_at_once(void **state)
{
    static const int signals[] = {SIGINT, SIGQUIT};
    struct it *it = *state;
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        struct server *s = server_start(it, .conf = "arbiter: { exit_timeout = 600; };");
        int fd = busy_peer(s);
        server_signal(s, signals[i]);
        must_end(s, 0, strsignal(signals[i]));
        MUST(peer_drain(fd, WAIT_MS, NULL) != PEER_SILENT, "the peer hears nothing");
        peer_release_all();
    }
}

/* At a moment that a seed chooses: before main, before the handlers, during the fork, after. */
static void stop__term_at_any_moment_of_the_start__ends(void **state)
{
    struct it *it = *state;
    uint64_t rng = it_seed();
    for (int i = 0; i < (it_is_soak() ? 1000 : 20); i++) {
        uint64_t us = rng_below(&rng, 30000);
        struct server *s = server_spawn(it, .conf = "arbiter: { workers = 4; };");
        nanosleep(&(struct timespec){.tv_nsec = (long)us * 1000}, NULL); /* the stimulus itself */
        server_signal(s, SIGTERM);
        int code = server_wait_exit(s, WAIT_MS);
        MUST(code == 0 || code == 128 + SIGTERM, "TERM after %llu us: exit code %d",
             (unsigned long long)us, code);
        it_wait_orphans(it);
        const char *problems = server_problems(s);
        MUST(!*problems, "TERM after %llu us: %s", (unsigned long long)us, problems);
    }
}

static void stop__term_before_ready__ends(void **state)
{
    struct it *it = *state;
    char env[256];
    snprintf(env, sizeof(env), "ECHO_TEST_HOOK=%s", it_path(it, "hook"));
    it_write(it, "hook", "hang 2\n");
    struct server *s = server_spawn(it, .binary = "test/echo-arbiter", .env = {env});
    pid_t pids[SERVER_WORKERS_MAX];
    MUST_COME(server_worker_pids(s, pids) == 2, "no workers");
    server_expect(s, "worker killed\" ");
    server_signal(s, SIGTERM);
    must_end(s, 0, "TERM while a worker hangs before ready");
}

static void stop__term_during_reload__ends(void **state)
{
    struct it *it = *state;
    uint64_t rng = it_seed();
    for (int i = 0; i < (it_is_soak() ? 1000 : 20); i++) {
        uint64_t us = rng_below(&rng, 20000);
        struct server *s =
            server_start(it, .conf = i % 2 ? "arbiter: { stop_delay = 0.02; };" : "");
        int fd = busy_peer(s);
        server_signal(s, SIGHUP);
        nanosleep(&(struct timespec){.tv_nsec = (long)us * 1000}, NULL); /* the stimulus itself */
        server_signal(s, SIGTERM);
        peer_close(fd);
        int code = server_wait_exit(s, WAIT_MS);
        MUST(code == 0, "TERM %llu us after HUP: exit code %d", (unsigned long long)us, code);
        const char *problems = server_problems(s);
        MUST(!*problems, "TERM %llu us after HUP: %s", (unsigned long long)us, problems);
    }
}

static void stop__worker_hangs__is_killed_after_exit_timeout(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { exit_timeout = 0.5; };");
    kill(server_worker(s, 0), SIGSTOP);
    server_expect(s, "worker killed\" .*not gone within arbiter.exit_timeout");
    server_signal(s, SIGTERM);
    must_end(s, 0, "exit_timeout = 0.5, a stopped worker");
}

/* ---- arbiter.stop_delay ---- */

static char *control_of(struct server *s)
{
    char *path = peer_alloc(sizeof(s->run) + sizeof("/control"));
    sprintf(path, "%s/control", s->run);
    return path;
}

static void must_refuse(struct server *s, const char *command, const char *word)
{
    struct tool_run r = RUN(s->it, NO_INPUT, "-C", control_of(s), command, word);
    tool_must_fail(&r, 69, "the arbiter stops");
}

static void stop_delay__term__not_ready_but_serves_on(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { stop_delay = 600; workers = 2; };");
    int old = busy_peer(s);
    struct tool_run r = RUN(it, NO_INPUT, "-C", control_of(s), "ready");
    tool_must_print(&r, "ready\n", 6);
    server_signal(s, SIGTERM);
    server_wait_log(s, "not ready any more: it stops after arbiter.stop_delay", 1);
    r = RUN(it, NO_INPUT, "-C", control_of(s), "ready");
    MUST(r.code == 1, "exit code %d", r.code);
    MUST(strstr(r.out, "not ready: it stops: arbiter.stop_delay lets it serve for another "), "%s",
         r.out);
    peer_send_text(old, "\r\n\r\n");
    peer_expect_text(old, "half\r\n\r\n");
    peer_close(old);
    must_refuse(s, "reload", NULL);
    must_refuse(s, "upgrade", NULL);
    must_refuse(s, "scale", "3");
    server_signal(s, SIGHUP);
    server_signal(s, SIGUSR2);
    server_signal(s, SIGTTIN);
    server_signal(s, SIGTTOU);
    server_wait_log(s, "refused: the arbiter stops\" signal=HUP", 1);
    server_wait_log(s, "refused: the arbiter stops\" signal=USR2", 1);
    server_wait_log(s, "refused: the arbiter stops\" signal=TTIN", 1);
    server_wait_log(s, "refused: the arbiter stops\" signal=TTOU", 1);
    pid_t killed = server_worker(s, 0);
    server_expect(s, "worker died");
    kill(killed, SIGKILL);
    MUST_COME(!proc_is_alive(killed) && server_accepting(s) == 2, "the worker is not replaced");
    server_must_be_well(s, 2);
    MUST(server_log_count(s, "reloading|upgrading|scaling") == 0, "a change has begun");
    server_signal(s, SIGTERM);
    must_end(s, 0, "a second TERM during stop_delay = 600");
}

static void stop_delay__a_quick_stop__does_not_wait(void **state)
{
    static const int signals[] = {SIGINT, SIGQUIT};
    struct it *it = *state;
    for (size_t i = 0; i < 4; i++) {
        const bool is_first = i % 2;
        struct server *s = server_start(
            it, .conf = "arbiter: { stop_delay = 600; exit_timeout = 600; workers = 1; };");
        busy_peer(s);
        if (!is_first)
            server_signal(s, SIGTERM);
        server_signal(s, signals[i / 2]);
        must_end(s, 0, strsignal(signals[i / 2]));
        peer_release_all();
    }
}

static void stop_delay__is_over__drains_within_exit_timeout(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { stop_delay = 0.2; workers = 1; };");
    int fd = busy_peer(s);
    server_signal(s, SIGTERM);
    server_wait_log(s, "msg=\"stopping\" .*cause=\"arbiter.stop_delay is over\"", 1);
    peer_send_text(fd, "\r\n\r\n");
    peer_expect_text(fd, "half\r\n\r\n");
    peer_expect_eof(fd);
    peer_close(fd);
    must_end(s, 0, "stop_delay = 0.2, then a drain");
}

/* Nobody can have been sent to it. */
static void stop_delay__term_before_ready__does_not_wait(void **state)
{
    struct it *it = *state;
    char env[256];
    snprintf(env, sizeof(env), "ECHO_TEST_HOOK=%s", it_path(it, "hook"));
    it_write(it, "hook", "hang 2\n");
    struct server *s = server_spawn(it, .conf = "arbiter: { stop_delay = 600; workers = 2; };",
                                    .binary = "test/echo-arbiter", .env = {env});
    struct tool_run r = {.code = 69};
    MUST_COME((r = RUN(it, NO_INPUT, "-C", control_of(s), "ready")).code != 69, "no server");
    MUST(r.code == 1 && strstr(r.out, "not ready: it starts: "), "%d: %s", r.code, r.out);
    server_expect(s, "worker killed\" ");
    server_signal(s, SIGTERM);
    must_end(s, 0, "TERM while a worker hangs before ready, stop_delay = 600");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(stop__term_under_load__ends_between_messages),
        IT(stop__term_with_idle_connections__half_closes_them),
        IT(stop__peers_do_not_close__lingers_and_ends),
        IT(stop__peer_never_reads__is_cut),
        IT(stop__second_signal__ends_at_once),
        IT(stop__int_or_quit__ends_at_once),
        IT(stop__term_at_any_moment_of_the_start__ends),
        IT(stop__term_before_ready__ends),
        IT(stop__term_during_reload__ends),
        IT(stop__worker_hangs__is_killed_after_exit_timeout),
        IT(stop_delay__term__not_ready_but_serves_on),
        IT(stop_delay__a_quick_stop__does_not_wait),
        IT(stop_delay__is_over__drains_within_exit_timeout),
        IT(stop_delay__term_before_ready__does_not_wait),
    };
    return it_run(tests);
}
