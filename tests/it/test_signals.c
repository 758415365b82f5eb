/*
 * Signals: each does what the manual says, in any order and number.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "support/load.h"
#include "support/server.h"

static void signals__ttin_ttou__scale_between_one_and_more(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { workers = 1; };");
    int fd = peer_connect(s->addr[0]);
    peer_echo(fd, "before");
    server_signal(s, SIGTTIN);
    server_wait_workers(s, 2);
    server_signal(s, SIGTTIN);
    server_wait_workers(s, 3);
    peer_echo(fd, "untouched");
    for (size_t n = 2; n >= 1; n--) {
        server_signal(s, SIGTTOU);
        server_wait_workers(s, n);
        peer_echo(fd, "moved, if need be");
    }
    server_signal(s, SIGTTOU);
    peer_echo(fd, "the first is still here");
    server_signal(s, SIGHUP); /* once that is done, the signal before it has had its effect */
    server_wait_log(s, "msg=\"reloaded\"", 1);
    server_wait_workers(s, 1);
    server_signal(s, SIGTTIN);
    server_wait_workers(s, 2);
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 2);
    server_wait_workers(s, 1); /* as the file says */
}

static void signals__winch_pipe_and_strays__are_ignored(void **state)
{
    static const int strays[] = {SIGWINCH, SIGPIPE, SIGURG,    SIGALRM,
                                 SIGIO,    SIGPROF, SIGVTALRM, SIGCONT};
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    pid_t worker = server_worker(s, 0);
    for (size_t i = 0; i < ARRAY_SIZE(strays); i++) {
        server_signal(s, strays[i]);
        kill(worker, strays[i]);
    }
    kill(s->pid, SIGRTMIN + 3);
    kill(worker, SIGRTMIN + 3);
    server_must_be_well(s, 2);
    MUST(server_worker(s, 0) == worker, "a worker was replaced");
}

static void signals__hup_int_quit_to_workers__are_ignored(void **state)
{
    static const int ignored[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGUSR1,
                                  SIGUSR2, SIGTTIN, SIGTTOU, SIGWINCH};
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    int fd = peer_connect(s->addr[0]);
    for (size_t i = 0; i < 2; i++) {
        for (size_t k = 0; k < ARRAY_SIZE(ignored); k++)
            kill(server_worker(s, i), ignored[k]);
    }
    peer_echo(fd, "still here");
    server_must_be_well(s, 2);
    MUST(server_log_count(s, "worker (died|ended|drains)") == 0, "a worker has ended");
}

static void signals__storm_in_random_order__nothing_dies(void **state)
{
    static const int to_all[] = {SIGHUP,  SIGUSR1, SIGUSR2, SIGTTIN, SIGTTOU, SIGWINCH, SIGCHLD,
                                 SIGALRM, SIGPIPE, SIGURG,  SIGCONT, SIGIO,   SIGPROF,  SIGVTALRM};
    static const int to_workers[] = {SIGINT, SIGQUIT, SIGTSTP};
    struct it *it = *state;
    uint64_t rng = it_seed();
    struct server *s = server_start(it, .conf = "");
    struct load *l =
        load_new(&(struct load_options){.addr = s->addr[0], .clients = 4, .messages = 5});
    pid_t pids[SERVER_WORKERS_MAX];
    for (int i = 0; i < (it_is_soak() ? 10000 : 1000); i++) {
        size_t n = server_worker_pids(s, pids);
        uint64_t what = rng_below(&rng, ARRAY_SIZE(to_all) + ARRAY_SIZE(to_workers) + 1);
        int signo = what < ARRAY_SIZE(to_all)    ? to_all[what]
                    : what == ARRAY_SIZE(to_all) ? SIGRTMIN + 3
                                                 : to_workers[what - ARRAY_SIZE(to_all) - 1];
        bool is_for_arbiter = what <= ARRAY_SIZE(to_all) && rng_below(&rng, 2);
        if (is_for_arbiter)
            server_signal(s, signo);
        else if (n)
            kill(pids[rng_below(&rng, n)], signo);
        load_run(l, i % 20 == 0 ? 2 : 0);
        /* A worker that TSTP has stopped goes on. */
        for (size_t k = 0; i % 50 == 49 && k < n; k++)
            kill(pids[k], SIGCONT);
    }
    size_t n = server_worker_pids(s, pids);
    for (size_t k = 0; k < n; k++)
        kill(pids[k], SIGCONT);
    load_finish(l);
    load_print(l, "signal storm");
    const struct load_report *r = load_report(l);
    MUST(r->refused + r->reset + r->ended_inside + r->ended == 0, "see above");
    load_free(l);
    size_t reloads = server_log_count(s, "msg=\"reloaded\"");
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", reloads + 1);
    server_must_be_well(s, 2);
    MUST(server_log_count(s, "worker died") == 0, "a worker has died");
}

static void signals__many_children_die_at_once__all_are_reaped(void **state)
{
    struct it *it = *state;
    /* The shell's child becomes the arbiter's: one that it has not made. */
    struct server *s = server_start(it, .conf = "arbiter: { workers = 8; };",
                                    .wrapper = {"sh", "-c", "sleep 0.2 & exec \"$0\" \"$@\""});
    server_expect(s, "worker died\" .*(signal=KILL|repeated=)");
    pid_t pids[SERVER_WORKERS_MAX];
    size_t n = server_worker_pids(s, pids);
    MUST(n == 8, "%zu workers", n);
    for (size_t i = 0; i < n; i++)
        kill(pids[i], SIGKILL);
    server_wait_log(s, "worker died\" ", 8);
    server_must_be_well(s, 8);
    size_t children = proc_children(s->pid, pids, SERVER_WORKERS_MAX);
    /* And the keepers, and the log's writer. */
    MUST_COME((children = proc_children(s->pid, pids, SERVER_WORKERS_MAX)) == 17, "%zu children",
              children);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(signals__ttin_ttou__scale_between_one_and_more),
        IT(signals__winch_pipe_and_strays__are_ignored),
        IT(signals__hup_int_quit_to_workers__are_ignored),
        IT(signals__storm_in_random_order__nothing_dies),
        IT(signals__many_children_die_at_once__all_are_reaped),
    };
    return it_run(tests);
}
