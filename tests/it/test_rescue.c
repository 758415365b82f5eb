/*
 * The rescue: a worker that crashes costs the connection that it was serving, not those that were
 * idle.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/addr.h"
#include "base/util.h"
#include "support/server.h"

enum { PEERS_MAX = 5000 };

static int fds[PEERS_MAX];

static int n_peers(void)
{
    return it_is_soak() ? PEERS_MAX : 1000;
}

static struct server *start_crashing(struct it *it, const char *conf)
{
    /* A sanitizer's own handler would come before the worker's. */
    struct server *s = server_start(
        it, .conf = conf, .binary = "test/echo-arbiter",
        .env = {"ASAN_OPTIONS=handle_segv=0:handle_abort=0:handle_sigfpe=0:handle_sigbus=0:"
                "handle_sigill=0:handle_sigtrap=0:abort_on_error=1",
                "UBSAN_OPTIONS=handle_segv=0:handle_abort=0:handle_sigfpe=0:handle_sigbus=0:"
                "handle_sigill=0:handle_sigtrap=0"});

    server_expect(s, "worker crashes|backtrace|msg=\"crash\"|worker died");
    return s;
}

static void connect_all(struct server *s)
{
    for (int i = 0; i < n_peers(); i++)
        fds[i] = peer_connect(s->addr[0]);
    for (int i = 0; i < n_peers(); i++)
        peer_echo(fds[i], "before");
}

/* Every peer that was idle is served by whoever has it now; prints how long that took. */
static void must_all_be_served(const char *title)
{
    uint64_t begin = clock_mono_ms();

    for (int i = 0; i < n_peers(); i++)
        peer_echo(fds[i], "after");
    printf("#| %s: %d connections served again %llu ms later\n", title, n_peers(),
           (unsigned long long)(clock_mono_ms() - begin));
}

static void poison(struct server *s, const char *kind)
{
    char text[64];
    int fd = peer_connect(s->addr[0]);

    snprintf(text, sizeof(text),
             "\x01"
             "crash %s\r\n\r\n",
             kind);
    peer_send_text(fd, text);
    MUST(peer_drain(fd, WAIT_MS, NULL) != PEER_SILENT, "the poisoned connection lives on");
}

static void rescue__poison_message__costs_its_own_connection_only(void **state)
{
    static const char *const kinds[] = {"segv", "abrt", "fpe"};
    struct it *it = *state;
    struct server *s = start_crashing(it, "arbiter: { workers = 1; };");

    connect_all(s);
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        poison(s, kinds[i]);
        must_all_be_served(kinds[i]);
    }
    MUST(server_counter(s, rescued) >= (uint64_t)n_peers(), "the connections were not rescued");
    MUST(server_log_count(s, "msg=\"crash\" .*rescued=[0-9]+") >= 1, "the crash is not logged");
}

static void rescue__killed_by_signal_from_outside__idle_ones_live_on(void **state)
{
    struct it *it = *state;
    struct server *s = start_crashing(it, "");

    connect_all(s);
    server_must_idle(s); /* the last reply is out before the worker calls itself idle */
    kill(server_worker(s, 0), SIGSEGV);
    server_wait_log(s, "worker died", 1);
    must_all_be_served("SIGSEGV");
}

static void rescue__busy_ones__end_visibly(void **state)
{
    struct it *it = *state;
    struct server *s = start_crashing(it, "arbiter: { workers = 1; };");
    int busy = peer_connect(s->addr[0]), idle = peer_connect(s->addr[0]);

    peer_echo(idle, "before");
    const uint64_t read = server_counter(s, bytes_in);
    peer_send_text(busy, "half a message");
    MUST(WAIT_UNTIL(server_counter(s, bytes_in) == read + 14, WAIT_MS), "the half is not read");
    server_must_idle(s);
    kill(server_worker(s, 0), SIGABRT);
    MUST(peer_drain(busy, WAIT_MS, NULL) != PEER_SILENT, "a busy connection is silent");
    peer_echo(idle, "after");
}

static void rescue__slot_is_removed_while_it_crashes__another_collects(void **state)
{
    struct it *it = *state;
    struct server *s = start_crashing(it, "");

    connect_all(s);
    server_must_idle(s);
    /* Stopped, it cannot give; then it dies with its slot gone. */
    pid_t last = server_slot_pid(s, 2);
    kill(last, SIGSTOP);
    server_signal(s, SIGTTOU);
    server_wait_log(s, "msg=\"scaling\" workers=1", 1);
    kill(last, SIGABRT);
    kill(last, SIGCONT);
    must_all_be_served("slot removed");
    server_signal(s, SIGTTIN); /* as many descriptors as before */
    server_wait_workers(s, 2);
}

/* The arbiter hears of these crashes, and of one worker fewer, all at once. */
static void crash_and_remove_a_slot(struct server *s, const pid_t *pids, size_t n,
                                    const char *title)
{
    connect_all(s);
    server_must_idle(s);
    kill(s->pid, SIGSTOP);
    for (size_t i = 0; i < n; i++) {
        kill(pids[i], SIGSEGV);
        MUST(WAIT_UNTIL(!proc_is_alive(pids[i]), WAIT_MS), "it survives SIGSEGV");
    }
    kill(s->pid, SIGCONT);
    kill(s->pid, SIGTTOU); /* SIGCONT would have discarded it */
    server_wait_log(s, "msg=\"scaling\" workers=1", 1);
    must_all_be_served(title);
    server_signal(s, SIGTTIN); /* as many descriptors as before */
    server_wait_workers(s, 2);
}

/* Whoever was forked to fill the slot is told to go before it has taken anything. */
static void rescue__heir_ends_before_it_takes__another_collects(void **state)
{
    struct it *it = *state;
    struct server *s = start_crashing(it, "");
    pid_t last = server_slot_pid(s, 2);

    crash_and_remove_a_slot(s, &last, 1, "heir ends");
}

/* Nobody is there to collect what the removed slot has left: it waits for the first that serves. */
static void rescue__all_crash_and_a_slot_is_removed__first_to_serve_collects(void **state)
{
    struct it *it = *state;
    struct server *s = start_crashing(it, "");
    pid_t pids[] = {server_slot_pid(s, 1), server_slot_pid(s, 2)};

    crash_and_remove_a_slot(s, pids, 2, "all crash, one slot removed");
}

/* Both ways to what they have left reach the last one before it has taken anything from either. */
static void rescue__two_slots_are_removed_while_they_crash__one_collects_both(void **state)
{
    struct it *it = *state;
    struct server *s = start_crashing(it, "arbiter: { workers = 3; };");
    pid_t pids[] = {server_slot_pid(s, 1), server_slot_pid(s, 2), server_slot_pid(s, 3)};

    connect_all(s);
    server_must_idle(s);
    for (size_t i = 0; i < 3; i++)
        kill(pids[i], SIGSTOP);
    server_signal(s, SIGTTOU);
    server_wait_log(s, "msg=\"scaling\" workers=2", 1);
    server_signal(s, SIGTTOU);
    server_wait_log(s, "msg=\"scaling\" workers=1", 1);
    for (size_t i = 1; i < 3; i++) {
        kill(pids[i], SIGABRT);
        kill(pids[i], SIGCONT);
    }
    server_wait_log(s, "msg=\"crash\" ", 2);
    kill(pids[0], SIGCONT);
    must_all_be_served("two slots removed");
    server_signal(s, SIGTTIN); /* as many descriptors as before */
    server_wait_workers(s, 2);
    server_signal(s, SIGTTIN);
    server_wait_workers(s, 3);
}

/* Every signal that a program's own fault brings, and a breakpoint, behind which it would go on. */
static void rescue__any_fatal_signal__costs_its_own_connection_only(void **state)
{
    /* A sanitizer would speak up about null first. */
    const char *const kinds[] = {it_is_sanitized() ? "segv" : "null",
                                 "bus",
                                 "ill",
                                 "fpe",
                                 "abrt",
                                 "trap",
                                 "sys",
                                 "breakpoint"};
    struct it *it = *state;

    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct server *s = start_crashing(it, "arbiter: { workers = 1; };");
        int idle = peer_connect(s->addr[0]);

        peer_echo(idle, "before");
        poison(s, kinds[i]);
        peer_echo(idle, "after");
        MUST(server_counter(s, rescued) == 1, "%s: not rescued", kinds[i]);
        MUST(server_log_count(s, "msg=\"crash\" .*rescued=1") == 1, "%s: not logged", kinds[i]);
        peer_close(idle);
        server_stop_and_check(s, SIGTERM, 0);
    }
}

static void must_all_live_on_in_another(struct server *s, pid_t victim, const char *title)
{
    uint64_t begin = clock_mono_ms();

    server_wait_log(s, "msg=\"crash\" ", 1);
    printf("# %s: aborted after %llu ms\n", title, (unsigned long long)(clock_mono_ms() - begin));
    must_all_be_served(title);
    MUST(!proc_is_alive(victim), "it lives on");
    MUST(server_counter(s, rescued) > 0, "nothing was rescued");
}

static void rescue__endless_loop__costs_its_own_connection_only(void **state)
{
    struct it *it = *state;
    struct server *s = start_crashing(it, "arbiter: { workers = 1; timeout = 1; };");
    pid_t victim = server_worker(s, 0);

    server_expect(s, "worker hangs");
    connect_all(s);
    int fd = peer_connect(s->addr[0]);
    peer_send_text(fd, "\x01"
                       "crash spin\r\n\r\n");
    must_all_live_on_in_another(s, victim, "spin");
    MUST(peer_drain(fd, WAIT_MS, NULL) != PEER_SILENT, "the poisoned connection lives on");
}

static void rescue__stopped__none_is_lost(void **state)
{
    struct it *it = *state;
    struct server *s = start_crashing(it, "arbiter: { workers = 1; timeout = 1; };");
    pid_t victim = server_worker(s, 0);

    server_expect(s, "worker hangs");
    connect_all(s);
    server_must_idle(s);
    kill(victim, SIGSTOP);
    must_all_live_on_in_another(s, victim, "SIGSTOP");
}

/* Its time to go ends before anybody would have called it hung. */
static void rescue__draining_one_hangs__none_is_lost(void **state)
{
    struct it *it = *state;
    struct server *s =
        start_crashing(it, "arbiter: { workers = 1; timeout = 60; exit_timeout = 4; };");
    pid_t victim = server_worker(s, 0);

    server_expect(s, "worker hangs");
    connect_all(s);
    server_must_idle(s);
    kill(victim, SIGSTOP);
    server_signal(s, SIGHUP);
    must_all_live_on_in_another(s, victim, "hung while it drains");
}

/* Nobody can tell it to give any more, and the listener is not its own to shut down. */
static void rescue__mailbox_closed__aborted_and_none_is_lost(void **state)
{
    struct it *it = *state;
    struct server *s = start_crashing(it, "arbiter: { timeout = 2; };");
    int fd = peer_connect(s->addr[0]), other = peer_connect(s->addr[0]);

    server_expect(s, "worker has closed its mailbox and lives on: aborting it");
    peer_echo(other, "before");
    peer_echo(fd, "\x01"
                  "crash disconnect");
    MUST(peer_is_served(s->addr[0], WAIT_MS), "nobody accepts");
    peer_echo(fd, "it serves on");
    server_wait_log(s, "worker died\" .*signal=ABRT", 1);
    peer_echo(fd, "after");
    peer_echo(other, "after");
    server_must_be_well(s, 2);
}

/* One that has no handler yet has no connections either. */
static void crash(pid_t pid, int signo)
{
    if (proc_is_alive(pid) && (proc_status(pid, "SigCgt", 16) >> (signo - 1) & 1))
        kill(pid, signo);
}

static void crash_someone(struct server *s, uint64_t *rng)
{
    static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT};
    pid_t pids[SERVER_WORKERS_MAX];
    const size_t n = server_worker_pids(s, pids);

    if (n > 0)
        crash(pids[rng_below(rng, n)], crashes[rng_below(rng, ARRAY_SIZE(crashes))]);
}

static void do_something(struct server *s, uint64_t *rng, bool is_crash)
{
    static const int changes[] = {SIGHUP, SIGTTIN, SIGTTOU};

    if (is_crash)
        crash_someone(s, rng);
    else
        server_signal(s, changes[rng_below(rng, ARRAY_SIZE(changes))]);
    /* The stimulus itself: the next one comes amid what this one has begun. */
    nanosleep(&(struct timespec){.tv_nsec = (long)(1000000 * rng_below(rng, 12))}, NULL);
}

/*
 * Whoever crashes: one that collects, takes, gives, has just begun, or is about to go. Only one at
 * a time: the first to crash does not wait for long for what the second one may still take over.
 */
static void rescue__crashes_at_random_amid_changes__no_idle_one_is_lost(void **state)
{
    struct it *it = *state;
    uint64_t rng = it_seed();
    struct server *s = start_crashing(it, "arbiter: { workers = 3; };");
    enum { PEERS = 300 };
    size_t reloads;

    server_expect(s, "reload refused");
    for (int i = 0; i < PEERS; i++)
        fds[i] = peer_connect(s->addr[0]);
    for (int round = 0; round < (it_is_soak() ? 300 : 6); round++) {
        for (int i = 0; i < PEERS; i++)
            peer_echo(fds[i], "still here");
        server_must_idle(s);
        const uint64_t n = 1 + rng_below(&rng, 8), crash_at = rng_below(&rng, n);
        for (uint64_t i = 0; i < n; i++)
            do_something(s, &rng, i == crash_at);
    }
    for (int i = 0; i < PEERS; i++)
        peer_echo(fds[i], "at last");
    reloads = server_log_count(s, "msg=\"reload(ed| refused)");
    server_signal(s, SIGHUP); /* as many workers as before */
    server_wait_log(s, "msg=\"reload(ed| refused)", reloads + 1);
    server_wait_workers(s, 3);
}

/* The address of this end: the peer of the server's. */
static void peer_pattern(int fd, char *buf, size_t size)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);
    char text[ADDR_TEXT_LEN];

    MUST(getsockname(fd, (struct sockaddr *)&sa, &len) == 0, "getsockname");
    snprintf(buf, size, "msg=\"crash\" .* peer=%s ",
             addr_format((struct sockaddr *)&sa, len, text));
}

#define SECRET "\x1b[31m \"quoted\" back\\slash \xff s3cret"

static void crash_with_secret(struct server *s)
{
    char text[512] = "\x01"
                     "crash segv " SECRET " ";
    char pattern[ADDR_TEXT_LEN + 64];
    size_t len = strlen(text);
    int fd = peer_connect(s->addr[0]);

    memset(text + len, 'A', 256 - len);
    memset(text + 256, 'B', 200);
    snprintf(text + 456, sizeof(text) - 456, "\r\n\r\n");
    peer_send(fd, text, 460);
    peer_pattern(fd, pattern, sizeof(pattern));
    MUST(peer_drain(fd, WAIT_MS, NULL) != PEER_SILENT, "the connection lives on");
    server_wait_log(s, pattern, 1);
}

static void rescue__crash_payload_wanted__its_first_256_bytes_escaped(void **state)
{
    struct it *it = *state;
    struct server *s = start_crashing(it, "log: { crash_payload = true; };");

    crash_with_secret(s);
    /* What is escaped in the record is escaped once more as a value of the log. */
    MUST(server_log_count(s, "msg=\"crash\" .*payload=\"(\\\\)+x01crash segv (\\\\)+x1b\\[31m "
                             ".*quoted.* back(\\\\)+slash (\\\\)+xff s3cret A+\"") == 1,
         "the payload is not in the log as it should be");
    server_must_be_well(s, 2);
}

static void rescue__crash_payload_not_wanted__appears_nowhere(void **state)
{
    struct it *it = *state;
    struct server *s = start_crashing(it, "log: { level = \"debug\"; };");

    crash_with_secret(s);
    server_must_be_well(s, 2);
    MUST(server_log_count(s, "s3cret|AAAA") == 0, "the payload is in the log");
    MUST(server_log_count(s, "msg=\"crash\" .*payload=\"\"") == 1, "there is a payload");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(rescue__all_crash_and_a_slot_is_removed__first_to_serve_collects),
        IT(rescue__crashes_at_random_amid_changes__no_idle_one_is_lost),
        IT(rescue__two_slots_are_removed_while_they_crash__one_collects_both),
        IT(rescue__any_fatal_signal__costs_its_own_connection_only),
        IT(rescue__endless_loop__costs_its_own_connection_only),
        IT(rescue__stopped__none_is_lost),
        IT(rescue__heir_ends_before_it_takes__another_collects),
        IT(rescue__draining_one_hangs__none_is_lost),
        IT(rescue__mailbox_closed__aborted_and_none_is_lost),
        IT(rescue__crash_payload_wanted__its_first_256_bytes_escaped),
        IT(rescue__crash_payload_not_wanted__appears_nowhere),
        IT(rescue__poison_message__costs_its_own_connection_only),
        IT(rescue__killed_by_signal_from_outside__idle_ones_live_on),
        IT(rescue__busy_ones__end_visibly),
        IT(rescue__slot_is_removed_while_it_crashes__another_collects),
    };

    return it_run(tests);
}
