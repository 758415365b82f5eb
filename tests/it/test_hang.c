/*
 * Workers that hang, and what looks as if they did. What a process does that is stopped or starved
 * takes the time it takes; nothing here measures it.
 */
#include <glob.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "support/load.h"
#include "support/server.h"

#define SHORT_TIMEOUT "arbiter = { timeout = 1; };"

enum { PEERS = 12 };

/* Time itself is the fault. */
static void let_pass(unsigned ms)
{
    nanosleep(&(struct timespec){ms / 1000, (ms % 1000) * 1000000L}, NULL);
}

static uint64_t connections_of(struct server *s, pid_t pid)
{
    struct score_record *r = server_record(s, pid);

    return r ? counter_get(&r->connections) : 0;
}

struct peers {
    int on_victim[PEERS], on_others[PEERS];
    size_t n_on_victim, n_on_others;
};

/* Connections, by who serves them. */
static void connect_peers(struct server *s, pid_t victim, struct peers *p)
{
    *p = (struct peers){.n_on_victim = 0};
    for (int i = 0; i < PEERS; i++) {
        uint64_t before = connections_of(s, victim);
        int fd = peer_connect(s->addr[0]);

        peer_echo(fd, "hello");
        if (connections_of(s, victim) > before)
            p->on_victim[p->n_on_victim++] = fd;
        else
            p->on_others[p->n_on_others++] = fd;
    }
    MUST(p->n_on_victim && p->n_on_others, "%zu on the victim, %zu elsewhere", p->n_on_victim,
         p->n_on_others);
}

static void expect_hang(struct server *s)
{
    server_expect(s, "worker hangs: aborting it\" ");
    server_expect(s, "msg=\"(worker crashes|backtrace)\" signal=ABRT ");
    server_expect(s, "worker died\" .*(signal=ABRT|repeated=)");
    server_expect(s, "msg=\"crash\" .*signal=ABRT ");
}

/* Serve the clients of the others, old and new ones, until the log says that the victim is gone. */
static void serve_others_until_died(struct server *s, const struct peers *p)
{
    const uint64_t begin = clock_mono_ms(), end = begin + WAIT_MS;

    while (server_log_count(s, "worker (died|ended)\" ") == 0) {
        MUST(clock_mono_ms() < end, "the victim is still there");
        for (size_t i = 0; i < p->n_on_others; i++)
            peer_echo(p->on_others[i], "still here");
        MUST(peer_is_served(s->addr[0], WAIT_MS), "a new client is not served");
    }
    printf("# gone after %llu ms (timeout 1000)\n", (unsigned long long)(clock_mono_ms() - begin));
}

static void must_have_evidence(struct server *s, pid_t victim, const char *doing)
{
    static char pattern[512];

    snprintf(pattern, sizeof(pattern),
             "level=warning actor=arbiter .*worker hangs: aborting it\" worker=worker\\.[12] "
             "worker_pid=%d slot=[12] incarnation=1 silent_ms=[1-9][0-9]{3,} state=\"%s\" "
             "cpu_ms=[0-9]+ syscall=.* wchan=.* stack=.* unread=.* connections=[1-9][0-9]* "
             "requests=[0-9]+$",
             (int)victim, doing);
    server_wait_log(s, pattern, 1);
    snprintf(pattern, sizeof(pattern),
             "level=error actor=worker\\.[12] pid=%d msg=\"worker crashes\" signal=ABRT "
             "sent_by_pid=%d pc=0x",
             (int)victim, (int)s->pid);
    server_wait_log(s, pattern, 1);
    snprintf(pattern, sizeof(pattern),
             "actor=worker\\.[12] pid=%d msg=\"backtrace\" signal=ABRT frames=\".*ev_run.*"
             "echo-arbiter\\+0x[0-9a-f]+",
             (int)victim);
    server_wait_log(s, pattern, 1);
}

static void hang__stopped__replaced_with_evidence_others_see_nothing(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = SHORT_TIMEOUT);
    pid_t victim = server_worker(s, 0);
    struct peers p;

    expect_hang(s);
    connect_peers(s, victim, &p);
    kill(victim, SIGSTOP);
    serve_others_until_died(s, &p);
    must_have_evidence(s, victim, "T \\(stopped\\)");
    server_wait_workers(s, 2);
    for (size_t i = 0; i < p.n_on_others; i++)
        peer_echo(p.on_others[i], "and after it");
    MUST(server_log_count(s, "hangs") == 1, "more than one was said to hang");
    server_must_be_well(s, 2);
}

static void hang__endless_loop__replaced_with_evidence_others_see_nothing(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = SHORT_TIMEOUT, .binary = "test/echo-arbiter");
    pid_t victim = server_worker(s, 0);
    struct peers p;

    expect_hang(s);
    connect_peers(s, victim, &p);
    peer_send_text(p.on_victim[0], "\x01"
                                   "crash spin\r\n\r\n");
    serve_others_until_died(s, &p);
    must_have_evidence(s, victim, "R \\(running\\)");
    server_wait_log(s, "cpu_ms=[1-9][0-9]+ syscall=running ", 1);
    server_must_be_well(s, 2);
}

/* SIGABRT is not heard: SIGKILL after the grace. */
static void hang__deaf_to_the_abort__killed(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = SHORT_TIMEOUT, .binary = "test/echo-arbiter");
    pid_t victim = server_worker(s, 0);
    struct peers p;

    server_expect(s, "worker hangs: aborting it\" ");
    server_expect(s, "worker killed\" .*it hangs, and was not gone after SIGABRT");
    server_expect(s, "worker died\" .*(signal=KILL|repeated=)");
    connect_peers(s, victim, &p);
    peer_send_text(p.on_victim[0], "\x01"
                                   "crash deaf\r\n\r\n");
    serve_others_until_died(s, &p);
    MUST(server_log_count(s, "it hangs, and was not gone") == 1, "not killed, but gone");
    server_must_be_well(s, 2);
}

/* One that hangs while it should drain is not waited for as long as one that drains. */
static void hang__draining__aborted_before_exit_timeout(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = SHORT_TIMEOUT, .binary = "test/echo-arbiter");
    pid_t victim = server_worker(s, 0);
    struct peers p;

    server_expect(s, "worker hangs: aborting it\" ");
    server_expect(s, "msg=\"(worker crashes|backtrace|crash)\" .*signal=ABRT ");
    connect_peers(s, victim, &p);
    peer_send_text(p.on_victim[0], "\x01"
                                   "crash spin\r\n\r\n");
    server_signal(s, SIGHUP);
    server_wait_log(s, "reloaded\" revision=2", 1);
    server_wait_log(s, "worker ended\" .*signal=ABRT", 1);
    MUST(server_log_count(s, "exit_timeout") == 0, "it was waited for");
    server_must_be_well(s, 2);
}

/* Its end was wanted, but not like this. */
static void hang__draining__killed_by_a_stranger__a_warning(void **state)
{
    struct server *s = server_start(*state, .binary = "test/echo-arbiter");
    const pid_t victim = server_worker(s, 0);
    struct peers p;

    server_expect(s, "worker died\" .*signal=KILL");
    connect_peers(s, victim, &p);
    peer_send_text(p.on_victim[0], "\x01"
                                   "crash spin\r\n\r\n");
    server_signal(s, SIGHUP);
    server_wait_log(s, "reloaded\" revision=2", 1);
    kill(victim, SIGKILL);
    server_wait_log(s, "level=warning .*worker died\" .*signal=KILL", 1);
    server_must_be_well(s, 2);
}

/* The arbiter and its workers, by @signo; the arbiter comes last, or first. */
static void signal_all(struct server *s, int signo, bool is_arbiter_first)
{
    pid_t pids[SERVER_WORKERS_MAX];
    size_t n = server_worker_pids(s, pids);

    if (is_arbiter_first)
        server_signal(s, signo);
    for (size_t i = 0; i < n; i++)
        kill(pids[i], signo);
    if (!is_arbiter_first)
        server_signal(s, signo);
}

/* As a machine that is suspended, or a container that is frozen. */
static void hang__all_stopped_and_continued__nobody_aborted(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = SHORT_TIMEOUT);
    struct load *l = load_new(&(struct load_options){.addr = s->addr[0], .clients = 8});
    int rounds = it_is_soak() ? 20 : 2;

    for (int i = 0; i < rounds; i++) {
        load_run(l, 300);
        signal_all(s, SIGSTOP, i % 2);
        let_pass(3000);
        signal_all(s, SIGCONT, true);
        load_run(l, 2000);
    }
    load_finish(l);
    MUST(load_report(l)->reset == 0 && load_report(l)->ended == 0, "connections were lost");
    load_free(l);
    MUST(server_log_count(s, "hangs|died|killed") == 0, "somebody was aborted");
    server_must_be_well(s, 2);
}

/* The last of our processors: one is starved, the tests beside this one have the others. */
static void use_one_cpu(void)
{
    cpu_set_t all, one;
    size_t last = 0;

    CPU_ZERO(&one);
    sched_getaffinity(0, sizeof(all), &all);
    for (size_t i = 0; i < CPU_SETSIZE; i++)
        last = CPU_ISSET(i, &all) ? i : last;
    CPU_SET(last, &one);
    sched_setaffinity(0, sizeof(one), &one);
}

static void __attribute__((noreturn)) burn(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    use_one_cpu();
    for (volatile unsigned turns = 0;; turns++)
        ;
}

static void hang__starved_of_cpu__nobody_aborted(void **state)
{
    enum { BURNERS = 8 };
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter = { timeout = 1; workers = 2; };",
                                    .in_child = use_one_cpu);
    struct load *l = load_new(&(struct load_options){.addr = s->addr[0], .clients = 4});
    pid_t burners[BURNERS];

    for (int i = 0; i < BURNERS; i++)
        if ((burners[i] = fork()) == 0)
            burn();
    load_run(l, it_is_soak() ? 60000 : 4000);
    for (int i = 0; i < BURNERS; i++)
        kill(burners[i], SIGKILL);
    for (int i = 0; i < BURNERS; i++)
        waitpid(burners[i], NULL, 0);
    load_finish(l);
    load_print(l, "starved");
    load_free(l);
    MUST(server_log_count(s, "hangs|died|killed") == 0, "somebody was aborted");
}

/* --- the wall clock --- */

static const char *faketime_library(struct it *it)
{
    glob_t found;
    char *setting = NULL;

    if (glob("/usr/lib*/*/faketime/libfaketime.so.1", 0, NULL, &found) == 0 ||
        glob("/usr/lib*/faketime/libfaketime.so.1", 0, NULL, &found) == 0) {
        setting = peer_alloc(strlen(found.gl_pathv[0]) + sizeof("LD_PRELOAD="));
        sprintf(setting, "LD_PRELOAD=%s", found.gl_pathv[0]);
    }
    globfree(&found);
    (void)it;
    return setting;
}

static void set_wall_clock(struct it *it, const char *text)
{
    char *path = it_path(it, "faketime");
    char *next = it_path(it, "faketime.next");

    it_write(it, "faketime.next", text);
    MUST(rename(next, path) == 0, "rename");
}

/* Jumps of the wall clock move nothing but the time in the log. */
static void hang__wall_clock_jumps__only_the_log_follows(void **state)
{
    static const struct {
        const char *offset, *pattern;
    } jumps[] = {
        {"+7200s", NULL},
        {"-7200s", NULL},
        {"@2040-02-29 12:00:00", "ts=2040-02-29T"},
        {"@1999-12-31 23:59:59", "ts=(1999-12-31|2000-01-01)T"},
        {"+0", NULL},
    };
    struct it *it = *state;
    const char *preload = faketime_library(it);
    char file[128];

    if (!preload || it_is_sanitized()) {
        printf("# skipped: %s\n",
               preload ? "no second preload beside a sanitizer's" : "libfaketime is not installed");
        skip();
    }
    set_wall_clock(it, "+0");
    snprintf(file, sizeof(file), "FAKETIME_TIMESTAMP_FILE=%s", it_path(it, "faketime"));
    struct server *s =
        server_start(it,
                     .conf = "arbiter = { timeout = 1; sandbox = \"off\"; }; " /* it opens a file */
                             "server = { keep_alive = 600; };",
                     .env = {preload, file, "DONT_FAKE_MONOTONIC=1",
                             "FAKETIME_DONT_FAKE_MONOTONIC=1", "FAKETIME_NO_CACHE=1", "TZ=UTC"});
    struct load *l = load_new(&(struct load_options){.addr = s->addr[0], .clients = 8});

    for (size_t i = 0; i < ARRAY_SIZE(jumps); i++) {
        load_run(l, 200);
        set_wall_clock(it, jumps[i].offset);
        load_run(l, 1800);
        size_t reopened = server_log_count(s, "log reopened");
        server_signal(s, SIGUSR1);
        server_wait_log(s, "log reopened", reopened + 1);
        MUST(!jumps[i].pattern || server_log_count(s, jumps[i].pattern), "the log does not say %s",
             jumps[i].pattern);
    }
    load_finish(l);
    MUST(load_report(l)->reset == 0 && load_report(l)->ended == 0, "connections were lost");
    load_free(l);
    MUST(server_log_count(s, "hangs|died|killed|=-[0-9]") == 0, "something was moved by the clock");
    server_must_be_well(s, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(hang__stopped__replaced_with_evidence_others_see_nothing),
        IT(hang__endless_loop__replaced_with_evidence_others_see_nothing),
        IT(hang__deaf_to_the_abort__killed),
        IT(hang__draining__aborted_before_exit_timeout),
        IT(hang__draining__killed_by_a_stranger__a_warning),
        IT(hang__all_stopped_and_continued__nobody_aborted),
        IT(hang__starved_of_cpu__nobody_aborted),
        IT(hang__wall_clock_jumps__only_the_log_follows),
    };

    return it_run(tests);
}
