/*
 * Supervision: whatever becomes of a worker or of the arbiter, the service comes back.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "support/load.h"
#include "support/server.h"

static uint64_t connections_of(struct server *s, pid_t pid)
{
    const struct score_record *r = server_record(s, pid);
    MUST(r, "no record of process %d", (int)pid);
    return counter_get(&r->connections);
}

static void supervise__worker_killed__replaced_and_others_untouched(void **state)
{
    enum { N = 20 };
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    int fd[N], ended = 0;
    for (int i = 0; i < N; i++) {
        fd[i] = peer_connect(s->addr[0]);
        peer_echo(fd[i], "before");
    }
    pid_t victim = server_worker(s, 0);
    uint64_t theirs = connections_of(s, victim), start = clock_mono_ms();
    MUST(theirs > 0 && theirs < N, "one worker has %llu of %d", (unsigned long long)theirs, N);
    server_expect(s, "worker died\" .*(signal=KILL|repeated=)");
    kill(victim, SIGKILL);
    server_wait_log(s, "worker died\" .*kind=signal signal=KILL code=9 .*was=ready", 1);
    server_wait_workers(s, 2);
    printf("# restart after %llu ms\n", (unsigned long long)(clock_mono_ms() - start));
    for (int i = 0; i < N; i++) {
        if (peer_has_ended(fd[i]))
            ended++;
        else
            peer_echo(fd[i], "after");
    }
    MUST(ended == (int)theirs, "%d connections ended, the dead worker had %d", ended, (int)theirs);
    server_must_be_well(s, 2);
}

static void supervise__kill_storm__service_stays(void **state)
{
    struct it *it = *state;
    uint64_t rng = it_seed(), first_ms = 0;
    struct server *s = server_start(it, .conf = "");
    uint64_t rss = proc_status(s->pid, "VmRSS", 10);
    struct load *l = load_new(&(struct load_options){
        .addr = s->addr[0], .clients = 20, .messages = 1, .max_payload = 2000, .seed = rng});
    server_expect(s, "worker died\" .*(signal=KILL|repeated=)");
    for (int kills = 0; kills < (it_is_soak() ? 120 : 32); kills++) {
        pid_t pids[SERVER_WORKERS_MAX];
        size_t n = server_worker_pids(s, pids);
        if (n)
            kill(pids[rng_below(&rng, n)], SIGKILL);
        uint64_t start = clock_mono_ms();
        if (kills == 0) {
            while (proc_is_alive(pids[0]) && proc_is_alive(pids[1]))
                load_run(l, 1);
            while (server_accepting(s) < 2 && clock_mono_ms() < start + WAIT_MS)
                load_run(l, 1);
            first_ms = clock_mono_ms() - start;
        }
        load_run(l, 250);
    }
    load_finish(l);
    uint64_t start = clock_mono_ms();
    server_wait_workers(s, 2);
    printf("# first restart after %llu ms; all ready %llu ms after the storm\n",
           (unsigned long long)first_ms, (unsigned long long)(clock_mono_ms() - start));
    load_print(l, "kill storm");
    MUST(load_report(l)->refused == 0, "connections were refused");
    MUST(load_report(l)->echoed > 0, "nothing was served");
    load_free(l);
    server_must_be_well(s, 2);
    MUST(proc_status(s->pid, "VmRSS", 10) < rss + 4096, "the arbiter grew from %llu to %llu KiB",
         (unsigned long long)rss, (unsigned long long)proc_status(s->pid, "VmRSS", 10));
}

static void supervise__all_killed_at_once__connects_are_not_refused(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { workers = 4; };");
    pid_t pids[SERVER_WORKERS_MAX];
    size_t n = server_worker_pids(s, pids);
    server_expect(s, "worker died\" .*(signal=KILL|repeated=)");
    for (size_t i = 0; i < n; i++)
        kill(pids[i], SIGKILL);
    for (int i = 0; i < 50; i++)
        MUST(peer_is_served(s->addr[0], WAIT_MS), "connection %d is not served", i);
    server_wait_log(s, "worker died\" ", 4);
    server_must_be_well(s, 4);
}

static void supervise__worker_fails__is_classified(void **state)
{
    static const struct {
        const char *kind, *pattern;
    } table[] = {
        {"segv", "kind=signal signal=SEGV code=11 uptime_ms=[0-9]+ was=ready"},
        {"abrt", "kind=signal signal=ABRT code=6 "},
        {"fpe", "kind=signal signal=FPE code=8 "},
        {"exit3", "kind=exit code=3 "},
        {"exit0", "kind=exit code=0 "}, /* nobody has asked for it: a failure too */
    };
    struct it *it = *state;
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        char text[64];
        struct server *s = server_start(it, .binary = "test/echo-arbiter");
        server_expect(
            s, "worker died\" worker=worker\\.[12] worker_pid=[0-9]+ slot=[12] incarnation=1 ");
        server_expect(s, "msg=\"(worker crashes|backtrace)\" signal=(SEGV|ABRT|FPE) ");
        server_expect(
            s, "msg=\"crash\" slot=[12] worker_pid=[0-9]+ number=1 .*signal=(SEGV|ABRT|FPE) ");
        int fd = peer_connect(s->addr[0]);
        snprintf(text, sizeof(text), "%ccrash %s\r\n\r\n", 1, table[i].kind);
        peer_send_text(fd, text);
        MUST(peer_drain(fd, WAIT_MS, NULL) != PEER_SILENT, "%s: silence", table[i].kind);
        server_wait_log(s, table[i].pattern, 1);
        server_must_be_well(s, 2);
        server_stop_and_check(s, SIGTERM, 0);
    }
}

static void kill_slot(struct server *s, uint32_t slot, int signo)
{
    const pid_t pid = server_slot_pid(s, slot);

    MUST(pid > 0 && kill(pid, signo) == 0, "slot %u is not filled", slot);
    MUST_COME(server_slot_pid(s, slot) != pid, "process %d does not end", (int)pid);
    server_wait_workers(s, 2);
}

/* Within the 5 seconds in which a cause is logged once. Each way to die is a cause of its own. */
static void supervise__slot_dies_again_at_once__each_reason_is_logged(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");

    server_expect(s, "worker died\" .*(signal=(KILL|SEGV|ABRT) |repeated=)");
    server_expect(s, "msg=\"(worker crashes|backtrace|crash)\" ");
    kill_slot(s, 1, SIGKILL);
    kill_slot(s, 1, SIGSEGV);
    kill_slot(s, 1, SIGABRT);
    kill_slot(s, 1, SIGKILL);
    server_wait_log(s, "worker died\" worker=worker.1 .* signal=SEGV code=11 uptime_ms=", 1);
    server_wait_log(s, "worker died\" worker=worker.1 .* signal=ABRT code=6 uptime_ms=", 1);
    server_wait_log(s, "crash\" slot=1 .*signal=SEGV ", 1);
    server_wait_log(s, "crash\" slot=1 .*signal=ABRT ", 1);
    /* The second KILL is counted, and the line says of what. */
    server_stop_and_check(s, SIGTERM, 0);
    MUST(server_log_count(s, "died\" worker=worker.1 signal=KILL code=9 repeated=1") == 1 ||
             server_log_count(s, "died\" worker=worker.1 .*signal=KILL code=9 uptime_ms=") == 2,
         "the last death has no reason");
}

/* A message that a worker may not send ends that worker, and nothing else. */
static void supervise__worker_lies__is_ended_alone(void **state)
{
    static const char *const reasons[] = {
        "its mailbox broke",       "it said what it may not", "it spoke in another's name",
        "it said what it may not", "it said what it may not",
    };
    struct it *it = *state;

    for (size_t i = 0; i < ARRAY_SIZE(reasons); i++) {
        struct server *s = server_start(it, .binary = "test/echo-arbiter");
        int fd = peer_connect(s->addr[0]);
        char text[64];

        server_expect(s, "worker killed\" .*why=\"(it said|it spoke|its mailbox)");
        server_expect(s, "mailbox: a worker says what it may not");
        server_expect(s, "worker died\" .*signal=KILL");
        snprintf(text, sizeof(text), "%ccrash lie%zu\r\n\r\n", 1, i);
        peer_send_text(fd, text);
        server_wait_log(s, reasons[i], 1);
        server_wait_log(s, "worker died\" ", 1);
        server_must_be_well(s, 2);
        MUST(server_log_count(s, "worker killed\" ") == 1, "more than one was ended");
        server_stop_and_check(s, SIGTERM, 0);
    }
}

static void supervise__crash_loop_of_one_slot__backs_off_and_heals(void **state)
{
    struct it *it = *state;
    char env[256];
    char *hook = it_path(it, "hook");
    snprintf(env, sizeof(env), "ECHO_TEST_HOOK=%s", hook);
    struct server *s = server_start(it, .binary = "test/echo-arbiter", .env = {env});
    pid_t victim = server_slot_pid(s, 2);
    server_expect(s, "worker died\" ");
    it_write(it, "hook", "crash 2\n");
    kill(victim, SIGKILL);
    struct load *l =
        load_new(&(struct load_options){.addr = s->addr[0], .clients = 2, .messages = 5});
    uint64_t cpu = proc_cpu_ms(s->pid);
    load_run(l, it_is_soak() ? 30000 : 5000);
    load_finish(l);
    MUST(load_report(l)->refused == 0 && load_report(l)->reset == 0, "the other slot failed");
    load_free(l);
    printf("# arbiter: %llu ms of CPU\n", (unsigned long long)(proc_cpu_ms(s->pid) - cpu));
    unlink(hook);
    server_wait_workers(s, 2);
    uint64_t forks = counter_get(&server_identity(s, server_slot_pid(s, 2))->incarnation) - 1;
    printf("# %llu forks of the slot\n", (unsigned long long)forks);
    MUST(forks >= 3, "only %llu forks: was there a loop?", (unsigned long long)forks);
    MUST(forks <= 14, "%llu forks", (unsigned long long)forks);
    server_must_be_well(s, 2);
}

static void supervise__nothing_ever_ready__gives_up(void **state)
{
    struct it *it = *state;
    char env[256];
    snprintf(env, sizeof(env), "ECHO_TEST_HOOK=%s", it_path(it, "hook"));
    it_write(it, "hook", "exit 0\n");
    server_refuses(it, 70, "giving up", .binary = "test/echo-arbiter", .env = {env});
}

static void supervise__worker_hangs_before_ready__boot_timeout(void **state)
{
    struct it *it = *state;
    char env[256];
    char *hook = it_path(it, "hook");
    snprintf(env, sizeof(env), "ECHO_TEST_HOOK=%s", hook);
    struct server *s = server_start(it, .conf = "arbiter: { workers = 2; boot_timeout = 0.5; };",
                                    .binary = "test/echo-arbiter", .env = {env});
    server_expect(s, "worker (died|killed)\" ");
    it_write(it, "hook", "hang 1\n");
    kill(server_slot_pid(s, 1), SIGKILL);
    server_wait_log(s, "worker killed\" .*why=\"not ready within arbiter.boot_timeout\"", 1);
    unlink(hook);
    server_must_be_well(s, 2);
}

static void supervise__arbiter_killed__workers_drain_and_port_is_free(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { exit_timeout = 20; };");
    char conf[256];
    int half = peer_connect(s->addr[0]), idle = peer_connect(s->addr[0]);
    peer_send_text(half, "a\r\n\r\nhalf");
    peer_expect_text(half, "a\r\n\r\n");
    peer_echo(idle, "idle");
    server_expect(s, "the arbiter is gone");
    server_signal(s, SIGKILL);
    MUST(server_wait_exit(s, WAIT_MS) == 128 + SIGKILL, "it was not killed");
    server_wait_log(s, "the arbiter is gone", 2);
    /* A new one has the port at once, while the old workers drain. */
    snprintf(conf, sizeof(conf), "server: { bind = [\"%s\"]; };", s->addr[0]);
    struct server *next = server_start(it, .conf = conf);
    MUST(peer_is_served(next->addr[0], WAIT_MS), "the new one does not serve");
    peer_expect_eof(idle);
    peer_close(idle);
    peer_send_text(half, "-done\r\n\r\n");
    peer_expect_text(half, "half-done\r\n\r\n");
    peer_expect_eof(half);
    peer_close(half);
    it_wait_orphans(it);
    const char *problems = server_problems(s);
    MUST(!*problems, "%s", problems);
}

static void supervise__arbiter_killed_with_busy_peer__workers_end(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { exit_timeout = 0.5; };");
    int half = peer_connect(s->addr[0]);
    peer_send_text(half, "never finished");
    MUST_COME(server_counter(s, bytes_in) > 0, "not read");
    server_expect(s, "the arbiter is gone");
    server_signal(s, SIGKILL);
    server_wait_exit(s, WAIT_MS);
    it_wait_orphans(it);
    MUST(peer_drain(half, WAIT_MS, NULL) != PEER_SILENT, "the peer hears nothing");
}

static void supervise__worker_gets_term__drains_and_is_replaced(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");
    pid_t old = server_worker(s, 0);
    kill(old, SIGTERM);
    server_wait_log(s, "worker asks to be replaced\" .*reason=SIGTERM", 1);
    server_wait_log(s, "worker ended\" .*kind=exit .*code=0 ", 1);
    MUST(!proc_is_alive(old), "the old one lives");
    server_must_be_well(s, 2);
}

static bool has_served_for(struct server *s, pid_t pid, uint64_t ns)
{
    const struct score_record *r = server_record(s, pid);
    const struct score_identity *id = server_identity(s, pid);
    return r && id && counter_get(&r->heartbeat_ns) >= counter_get(&id->started_ns) + ns;
}

static void
supervise__max_memory_below_a_fresh_worker__warned_and_not_replaced_each_second(void **state)
{
    struct it *it = *state;
    struct server *s =
        server_start(it, .conf = "arbiter: { workers = 1; max_memory = \"1KiB\"; };");
    pid_t worker = server_worker(s, 0);
    server_expect(s, "arbiter.max_memory leaves a new worker no room");
    server_wait_log(s,
                    "leaves a new worker no room.* max_memory=1024 resident=[0-9]+ at_least=", 1);
    MUST_COME(has_served_for(s, worker, UINT64_C(3500000000)), "it does not serve on");
    MUST(server_log_count(s, "asks to be replaced") == 0, "it is replaced all the same");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(supervise__max_memory_below_a_fresh_worker__warned_and_not_replaced_each_second),
        IT(supervise__worker_killed__replaced_and_others_untouched),
        IT(supervise__kill_storm__service_stays),
        IT(supervise__all_killed_at_once__connects_are_not_refused),
        IT(supervise__worker_fails__is_classified),
        IT(supervise__slot_dies_again_at_once__each_reason_is_logged),
        IT(supervise__worker_lies__is_ended_alone),
        IT(supervise__crash_loop_of_one_slot__backs_off_and_heals),
        IT(supervise__nothing_ever_ready__gives_up),
        IT(supervise__worker_hangs_before_ready__boot_timeout),
        IT(supervise__arbiter_killed__workers_drain_and_port_is_free),
        IT(supervise__arbiter_killed_with_busy_peer__workers_end),
        IT(supervise__worker_gets_term__drains_and_is_replaced),
    };
    return it_run(tests);
}
