/*
 * Connections outlive their workers' deaths: kill, a stop and then a kill, exit, a crash, and
 * deaths of keepers, also amid reloads and upgrades. Idle connections live on, on the same socket;
 * others end visibly; what lives on has each byte of each reply, once. ECHO_PROFILE=soak (`make
 * prove`) does it at full length and prints the table.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "arbiter/transition.h"
#include "base/clock.h"
#include "base/util.h"
#include "support/chaos.h"

enum { WORKERS = 3, TALKING_MAX = 1000, IDLE_MAX = 5000, TEXT_MAX = 64 };

enum death { DEATH_KILL, DEATH_STOP, DEATH_EXIT, DEATH_SEGV, DEATH_KEEPER, DEATHS };
enum amid { AMID_TRAFFIC, AMID_RELOAD, AMID_UPGRADE, AMIDS };

static const char *const death_names[DEATHS] = {"kill -9", "STOP, kill -9", "exit", "SEGV",
                                                "keeper killed"};
static const char *const amid_names[AMIDS] = {"traffic", "a reload", "an upgrade"};

struct extent {
    unsigned talking, idle;
    unsigned deaths[DEATHS];
};

static const struct extent in_short = {50, 300, {5, 2, 2, 2, 2}};
static const struct extent at_full_length = {TALKING_MAX, IDLE_MAX, {50, 20, 20, 20, 20}};

/* A row of the table. Of the idle ones: resting talkers too. */
struct row {
    unsigned deaths;
    uint64_t idle, lived; /* together with `ended`: all idle ones */
    uint64_t ended; /* amid a move only */
    uint64_t busy_ended;
};

static struct scene {
    struct chaos c;
    const struct extent *extent;
    struct row rows[DEATHS][AMIDS];
    int idle[IDLE_MAX];
    uint64_t rests_on[TALKING_MAX]; /* its connection; 0 = talks */
    unsigned n_asked; /* rounds of messages on the idle ones */
    uint64_t idle_echoed;
    struct talkers_counts counts; /* when it has ended */
} scene;

/* ---- those that are idle ---- */

static size_t idle_text(const struct scene *s, unsigned i, char text[TEXT_MAX])
{
    return (size_t)snprintf(text, TEXT_MAX, "idle connection %u, message %u\r\n\r\n", i,
                            s->n_asked);
}

static void connect_idle(struct scene *s, unsigned i)
{
    s->idle[i] = peer_connect(s->c.server->addr[0]);
    peer_echo(s->idle[i], "before");
}

/* Returns false if it has ended: visibly, and without a byte. */
static bool has_reply(struct scene *s, unsigned i)
{
    const uint64_t alarm_ms = clock_mono_ms() + CHAOS_ALARM_MS;
    struct pollfd p = {.fd = s->idle[i], .events = POLLIN};
    char want[TEXT_MAX], got[TEXT_MAX];
    const size_t len = idle_text(s, i, want);
    size_t have = 0;

    while (have < len) {
        MUST(clock_mono_ms() < alarm_ms, "idle connection %u is silent", i);
        if (poll(&p, 1, 0) == 0) {
            chaos_turn(&s->c);
            continue;
        }
        const ssize_t n = recv(s->idle[i], got + have, sizeof(got) - have, MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            continue;
        MUST(n > 0 || have == 0, "idle connection %u ends amid a reply", i);
        if (n <= 0)
            return false;
        have += (size_t)n;
        MUST(have <= len, "idle connection %u: %zu bytes too many", i, have - len);
    }
    MUST(memcmp(got, want, len) == 0, "idle connection %u: wrong bytes", i);
    return true;
}

/* Returns how many have ended; others are in their place. */
static unsigned ask_idle(struct scene *s)
{
    char text[TEXT_MAX];
    unsigned ended = 0;

    s->n_asked++;
    for (unsigned i = 0; i < s->extent->idle; i++) {
        const size_t len = idle_text(s, i, text);

        send(s->idle[i], text, len,
             MSG_NOSIGNAL | MSG_DONTWAIT); /* reading says how it has ended */
        if (i % 256 == 0)
            chaos_turn(&s->c);
    }
    for (unsigned i = 0; i < s->extent->idle; i++) {
        if (has_reply(s, i)) {
            s->idle_echoed++;
            continue;
        }
        ended++;
        peer_close(s->idle[i]);
        connect_idle(s, i);
    }
    return ended;
}

/* ---- rest, before each death ---- */

static void set_talkers(struct scene *s, enum talker_mode mode)
{
    for (unsigned i = 0; i < s->extent->talking; i++)
        talkers_set_mode(s->c.talkers, i, mode);
}

/* As the workers say now: what they publish is up to a second old. */
static uint64_t sum_of(const json_t *answer, const char *name)
{
    const json_t *value;
    const char *key;
    uint64_t sum = 0;
    size_t i;

    if (json_is_array(answer))
        json_array_foreach(answer, i, value) sum += sum_of(value, name);
    if (json_is_object(answer) && json_object_get(answer, "kept"))
        return (uint64_t)json_integer_value(json_object_get(answer, name));
    json_object_foreach((json_t *)(uintptr_t)answer, key, value) sum += sum_of(value, name);
    return sum;
}

/* Idle ones whose end has not been seen yet may be missing. */
static bool is_all_kept(struct scene *s)
{
    json_t *answers =
        chaos_ask_all(&s->c, "{\"id\":1,\"command\":\"info\",\"target\":\"workers\"}\n");
    const uint64_t n = sum_of(answers, "connections"), kept = sum_of(answers, "kept");

    json_decref(answers);
    return kept == n && n <= s->extent->idle + talkers_open(s->c.talkers);
}

/* A peer has its reply a moment before its connection is called idle. */
static bool are_workers_asleep(struct server *s)
{
    pid_t pids[SERVER_WORKERS_MAX];
    const size_t n = server_worker_pids(s, pids);

    for (size_t i = 0; i < n; i++)
        if (proc_state(pids[i]) != 'S')
            return false;
    return n == WORKERS;
}

static void come_to_rest(struct scene *s)
{
    struct server *server = s->c.server;

    set_talkers(s, TALKER_RESTS);
    chaos_await_settled(&s->c);
    chaos_await_staff(&s->c);
    AWAIT(&s->c, server_others(server) == WORKERS, "%zu keepers", server_others(server));
    AWAIT(&s->c, chaos_is_balanced(&s->c), "connections are not spread evenly");
    AWAIT(&s->c, is_all_kept(s), "%" PRIu64 " of %" PRIu64 " are kept, and there are %u",
          server_gauge(server, kept), server_gauge(server, connections),
          s->extent->idle + talkers_open(s->c.talkers));
    AWAIT(&s->c, are_workers_asleep(server), "a worker does not sleep");
}

static void must_all_be_there(struct scene *s)
{
    const unsigned n = s->extent->idle + talkers_open(s->c.talkers);

    AWAIT(&s->c, chaos_number_now(&s->c, "totals", "connections") == n,
          "the server has %" PRIu64 " connections, not %u", server_gauge(s->c.server, connections),
          n);
}

/* A third of the talkers stays idle. */
static void begin_traffic(struct scene *s)
{
    for (unsigned i = 0; i < s->extent->talking; i++) {
        const bool rests = rng_below(&s->c.rng, 3) == 0;

        s->rests_on[i] = rests ? talkers_connection(s->c.talkers, i) : 0;
        if (!rests)
            talkers_set_mode(s->c.talkers, i, TALKER_TALKS);
    }
    chaos_run(&s->c, 20 + rng_below(&s->c.rng, 60));
}

/* Who talks, and amid a move who rests, may end from here on. */
static void permit_ends(struct scene *s, bool is_of_all)
{
    for (unsigned i = 0; i < s->extent->talking; i++)
        if (is_of_all || s->rests_on[i] == 0)
            talkers_permit_end(s->c.talkers, i);
}

static unsigned resting_ended(const struct scene *s)
{
    unsigned n = 0;

    for (unsigned i = 0; i < s->extent->talking; i++)
        n += s->rests_on[i] != 0 && talkers_connection(s->c.talkers, i) != s->rests_on[i];
    return n;
}

static unsigned resting(const struct scene *s)
{
    unsigned n = 0;

    for (unsigned i = 0; i < s->extent->talking; i++)
        n += s->rests_on[i] != 0;
    return n;
}

/* ---- deaths ---- */

static const char reload_ends[] = "msg=\"(reloaded|reload refused)",
                  upgrade_ends[] = "msg=\"(upgraded|upgrade (refused|given up)|upgrade: back to)";

static size_t begin_change(struct scene *s, enum amid amid)
{
    struct server *server = s->c.server;
    size_t before = 0;

    if (amid == AMID_TRAFFIC)
        return 0;
    before = server_log_count(server, amid == AMID_RELOAD ? reload_ends : upgrade_ends);
    server_signal(server, amid == AMID_RELOAD ? SIGHUP : SIGUSR2);
    chaos_run(&s->c, rng_below(&s->c.rng, amid == AMID_RELOAD ? 20 : 80));
    return before;
}

static void await_change(struct scene *s, enum amid amid, size_t before)
{
    if (amid == AMID_TRAFFIC)
        return;
    AWAIT(
        &s->c,
        (chaos_run(&s->c, 50),
         server_log_count(s->c.server, amid == AMID_RELOAD ? reload_ends : upgrade_ends) > before),
        "%s does not end", amid_names[amid]);
}

/* Nobody talks from the permission to the death: who begins in between would not have it. */
static void must_die(pid_t pid)
{
    MUST_COME(!proc_is_alive(pid), "%d lives on", (int)pid);
}

static bool has_one_died(const pid_t *pids, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!proc_is_alive(pids[i]))
            return true;
    return false;
}

/* Whoever accepts. One that was about to go, and goes, is no surprise. */
static void let_one_exit(struct scene *s, bool is_of_all)
{
    pid_t pids[SERVER_WORKERS_MAX];
    const int fd = peer_connect(s->c.server->addr[0]);
    const size_t n = server_worker_pids(s->c.server, pids);

    permit_ends(s, is_of_all);
    peer_send_text(fd, "\x01"
                       "crash exit3\r\n\r\n");
    MUST(peer_drain(fd, WAIT_MS, NULL) != PEER_SILENT, "the poisoned connection lives on");
    MUST_COME(has_one_died(pids, n), "no worker exits");
    peer_close(fd);
}

static void kill_one(struct scene *s, enum death death, bool is_of_all)
{
    pid_t victim = 0;

    AWAIT(&s->c, (victim = chaos_random_worker(&s->c, SIGSEGV)), "no worker can die");
    if (death == DEATH_STOP) {
        kill(victim, SIGSTOP);
        chaos_run(&s->c, rng_below(&s->c.rng, 50));
    }
    permit_ends(s, is_of_all);
    kill(victim, death == DEATH_SEGV ? SIGSEGV : SIGKILL);
    must_die(victim);
}

static void kill_a_keeper(struct scene *s)
{
    pid_t victim = 0;

    AWAIT(&s->c,
          (victim = server_slot_pid(s->c.server,
                                    tr_slot(0, 1 + (uint32_t)rng_below(&s->c.rng, WORKERS)))),
          "no keeper");
    kill(victim, SIGKILL);
    must_die(victim);
}

static void let_die(struct scene *s, enum death death, enum amid amid)
{
    struct row *row = &s->rows[death][amid];
    uint64_t lost;
    unsigned ended;
    size_t before;

    printf("# %" PRIu64 " ms: %s amid %s\n", clock_mono_ms() - s->c.begin_ms, death_names[death],
           amid_names[amid]);
    come_to_rest(s);
    must_all_be_there(s);
    begin_traffic(s);
    lost = talkers_counts(s->c.talkers)->lost;
    before = begin_change(s, amid);
    if (death == DEATH_KEEPER)
        kill_a_keeper(s);
    else if (death == DEATH_EXIT)
        let_one_exit(s, amid != AMID_TRAFFIC);
    else
        kill_one(s, death, amid != AMID_TRAFFIC);
    ended = ask_idle(s);
    await_change(s, amid, before);
    come_to_rest(s);
    ended += ask_idle(s);
    ended += resting_ended(s);
    row->deaths++;
    row->idle += s->extent->idle + resting(s);
    row->lived += s->extent->idle + resting(s) - ended;
    row->ended += ended;
    row->busy_ended += talkers_counts(s->c.talkers)->lost - lost - resting_ended(s);
    if (ended)
        printf("# %s amid %s: %u idle connections have ended\n", death_names[death],
               amid_names[amid], ended);
    MUST(ended == 0 || (amid != AMID_TRAFFIC && death != DEATH_KEEPER),
         "%s: %u idle connections have ended", death_names[death], ended);
}

/* Each kind of death at its turn, amid each kind of change. */
static void let_all_die(struct scene *s)
{
    unsigned left[DEATHS], n_left = 0;

    memcpy(left, s->extent->deaths, sizeof(left));
    for (unsigned i = 0; i < DEATHS; i++)
        n_left += left[i];
    for (unsigned n = 0; n_left > 0; n++) {
        unsigned at = (unsigned)rng_below(&s->c.rng, n_left), death = 0;

        while (at >= left[death])
            at -= left[death++];
        left[death]--;
        n_left--;
        /* In turn for each kind: every other one without a change. */
        const unsigned nth = s->extent->deaths[death] - left[death];
        let_die(s, death, nth % 2 ? AMID_TRAFFIC : nth % 4 ? AMID_RELOAD : AMID_UPGRADE);
    }
}

/* ---- the whole ---- */

static void print_messages(const struct scene *s)
{
    printf("#| messages sent %" PRIu64 ", exactly echoed %" PRIu64 ", of connections that ended "
           "%" PRIu64 "; wrong, doubled or lost on living ones: 0\n",
           s->counts.sent + s->idle_echoed, s->counts.echoed + s->idle_echoed, s->counts.failed);
}

static void print_table(const struct scene *s)
{
    struct row sum = {0};

    printf("#|\n#| %u connections that talk, %u idle ones, %d workers: %.0f s\n#|\n",
           s->extent->talking, s->extent->idle, (int)WORKERS,
           (double)(clock_mono_ms() - s->c.begin_ms) / 1e3);
    printf("#| death          amid        deaths  idle ones  lived on  ended amid a move  busy "
           "ones ended\n");
    for (unsigned d = 0; d < DEATHS; d++)
        for (unsigned a = 0; a < AMIDS; a++) {
            const struct row *r = &s->rows[d][a];

            if (r->deaths == 0)
                continue;
            printf("#| %-14s %-11s %6u %10" PRIu64 " %9" PRIu64 " %18" PRIu64 " %16" PRIu64 "\n",
                   death_names[d], amid_names[a], r->deaths, r->idle, r->lived, r->ended,
                   r->busy_ended);
            sum.deaths += r->deaths;
            sum.idle += r->idle;
            sum.lived += r->lived;
            sum.ended += r->ended;
            sum.busy_ended += r->busy_ended;
        }
    printf("#| %-14s %-11s %6u %10" PRIu64 " %9" PRIu64 " %18" PRIu64 " %16" PRIu64 "\n#|\n", "all",
           "", sum.deaths, sum.idle, sum.lived, sum.ended, sum.busy_ended);
    print_messages(s);
}

static void begin_scene(struct scene *s, struct it *it, const struct extent *x, const char *conf)
{
    *s = (struct scene){.c = {.it = it, .rng = it_seed()}, .extent = x};
    /* A sanitizer's own handler would come before the worker's. */
    s->c.server = server_start(it, .conf = conf, .binary = "test/echo-arbiter",
                               .env = {"ASAN_OPTIONS=handle_segv=0:abort_on_error=1",
                                       "UBSAN_OPTIONS=handle_segv=0:halt_on_error=1"});
    server_expect(s->c.server, "worker (died|ended)|actor died|worker crashes|backtrace|"
                               "msg=\"crash\"|reload refused|upgrade");
    s->c.talkers = talkers_new(&(struct talkers_options){.addr = s->c.server->addr[0],
                                                         .n = s->extent->talking,
                                                         .seed = s->c.rng,
                                                         .max_message = 65536,
                                                         .max_under_way = 8 << 20});
    s->c.begin_ms = clock_mono_ms();
    for (unsigned i = 0; i < s->extent->idle; i++)
        connect_idle(s, i);
    chaos_run(&s->c, 300);
}

static void end_scene(struct scene *s)
{
    const struct talkers_counts *n = talkers_counts(s->c.talkers);

    come_to_rest(s);
    MUST(n->sent == n->echoed + n->failed, "%" PRIu64 " messages without an explanation",
         n->sent - n->echoed - n->failed);
    set_talkers(s, TALKER_TALKS);
    talkers_finish(s->c.talkers);
    s->counts = *n;
    for (unsigned i = 0; i < s->extent->idle; i++)
        peer_close(s->idle[i]);
    talkers_free(s->c.talkers);
    server_must_be_well(s->c.server, WORKERS);
}

#define PATIENT                                                                                    \
    "timeout = 120; exit_timeout = 120; };\n"                                                      \
    "server: { message_timeout = 300; write_timeout = 300; max_per_source = 100000; };"
#define AFTER_A_SECOND "arbiter: { workers = 3; " PATIENT
#define AT_ONCE        "arbiter: { workers = 3; keep_after = 0; " PATIENT

static void prove__any_death__idle_connections_live_on(void **state)
{
    struct scene *s = &scene;

    begin_scene(s, *state, it_is_soak() ? &at_full_length : &in_short,
                it_is_soak() ? AFTER_A_SECOND : AT_ONCE);
    let_all_die(s);
    end_scene(s);
    print_table(s);
}

/* ---- at a system call ---- */

/* At the entry it is not made any more. At the exit it has been made, and nothing else. */
enum when { AT_ENTRY, AT_EXIT, WHENS };

/* Of the paths of a message, a registration, a take and a give. In short only the first ones. */
static const char *const calls[] = {
    "sendmsg",        "recvmsg",      "epoll_ctl", "close", "shutdown", "recvfrom",   "sendto",
    "rt_sigprocmask", "memfd_create", "writev",    "mmap",  "munmap",   "getsockopt", "accept4"};

enum { CALLS_IN_SHORT = 7, NTH_MAX = 20, MISSED_IN_A_ROW = 2 };

struct injections {
    unsigned made, missed; /* that one has died there; the call was not made often enough */
    unsigned amid_moves, ended; /* of those made; the idle ones that this has cost */
    unsigned busy_ended;
};

/* The first one gives and takes, beside what comes from the talkers. */
static void make_calls(struct scene *s, unsigned turn)
{
    if (turn == 100)
        server_signal(s->c.server, SIGTTOU);
    else if (turn == 200)
        server_signal(s->c.server, SIGTTIN);
}

/* strace holds it there for longer than anything else does. */
static bool is_held(pid_t pid)
{
    for (int i = 0; i < 20; i++) {
        if (proc_state(pid) != 't')
            return false;
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    }
    return true;
}

/* Returns whether it has died. */
static bool let_die_at(struct scene *s, pid_t victim, pid_t tracer, enum when when)
{
    enum { TURNS = 1000 };

    set_talkers(s, TALKER_TALKS);
    talkers_permit_all(s->c.talkers, true);
    for (unsigned turn = 0; turn < TURNS && proc_is_alive(victim); turn++) {
        make_calls(s, turn);
        chaos_turn(&s->c);
        if (when == AT_EXIT && proc_state(victim) == 't' && is_held(victim)) {
            kill(victim, SIGKILL);
            it_tool_stop(s->c.it, tracer); /* it would hold it at its end as well */
            must_die(victim);
        }
    }
    permit_ends(s, true); /* their end may not have been heard yet */
    talkers_permit_all(s->c.talkers, false);
    return !proc_is_alive(victim);
}

static uint64_t n_moved(struct scene *s)
{
    return chaos_number_now(&s->c, "totals", "moved_in") +
           chaos_number_now(&s->c, "totals", "moved_out");
}

static void inject(struct scene *s, const char *call, unsigned nth, enum when when,
                   struct injections *sum)
{
    struct server *server = s->c.server;
    const uint64_t lost = talkers_counts(s->c.talkers)->lost;
    uint64_t moved;
    unsigned ended;
    char text[96];

    printf("# %" PRIu64 " ms: %s %u, %s\n", clock_mono_ms() - s->c.begin_ms, call, nth,
           when == AT_ENTRY ? "entry" : "exit");
    come_to_rest(s);
    must_all_be_there(s);
    moved = n_moved(s);
    const pid_t victim = server_slot_pid(server, 1);
    snprintf(text, sizeof(text), "%s:%s:when=%u", call,
             when == AT_ENTRY ? "signal=KILL" : "delay_exit=60000000", nth);
    const pid_t tracer = it_inject(s->c.it, victim, call, text);
    const bool has_died = let_die_at(s, victim, tracer, when);
    it_tool_stop(s->c.it, tracer);
    json_decref(chaos_ask(&s->c, "scale", "\"workers\":3"));
    come_to_rest(s);
    const bool is_amid_moves = n_moved(s) != moved;
    ended = ask_idle(s);
    sum->made += has_died;
    sum->missed += !has_died;
    sum->amid_moves += has_died && is_amid_moves;
    sum->ended += ended;
    sum->busy_ended += (unsigned)(talkers_counts(s->c.talkers)->lost - lost);
    MUST(ended == 0 || (is_amid_moves && has_died), "%s, %u: %u idle connections have ended", call,
         nth, ended);
}

/* At full length the first to the twentieth, as far as it is made so often. */
static void inject_all(struct scene *s, const char *call, enum when when, unsigned *made)
{
    struct injections sum = {0};
    unsigned made_before = 0, n_vain = 0;

    for (unsigned n = 1; n <= (it_is_soak() ? NTH_MAX : 1) && n_vain < MISSED_IN_A_ROW; n++) {
        inject(s, call, n, when, &sum);
        n_vain = sum.made == made_before ? n_vain + 1 : 0;
        made_before = sum.made;
    }
    printf("#| %-14s %-6s %5u %7u %11u %16u %16u\n", call, when == AT_ENTRY ? "entry" : "exit",
           sum.made, sum.missed, sum.amid_moves, sum.ended, sum.busy_ended);
    *made += sum.made;
}

static void prove__killed_at_a_system_call__nothing_wrong(void **state)
{
    static const struct extent few = {.talking = 16, .idle = 60};
    struct scene *s = &scene;
    unsigned all = 0;

    it_need_strace(*state);
    begin_scene(s, *state, &few, AT_ONCE);
    printf("#|\n#| killed at              made  missed  amid moves  idle ones ended  busy ones "
           "ended\n");
    for (size_t i = 0; i < (it_is_soak() ? ARRAY_SIZE(calls) : CALLS_IN_SHORT); i++)
        for (enum when when = AT_ENTRY; when < WHENS; when++)
            if (it_is_soak() || when == i % WHENS)
                inject_all(s, calls[i], when, &all);
    MUST(all > 0, "no call was met");
    end_scene(s);
    print_messages(s);
}

/* ---- what the server has ended ---- */

enum { ENDING = 64 };

static void list_all_fds(struct server *s, char *buf, size_t size)
{
    pid_t pids[PROC_CHILDREN_MAX];
    const size_t n = proc_children(s->pid, pids, ARRAY_SIZE(pids));
    size_t len = 0;

    for (size_t i = 0; i < n && len + 64 < size; i++) {
        len += (size_t)snprintf(buf + len, size - len, "%d:\n", (int)pids[i]);
        proc_list_fds(pids[i], buf + len, size - len);
        len += strlen(buf + len);
    }
}

static bool are_fds_golden(struct server *s, const char *golden)
{
    static char now[1 << 18];

    list_all_fds(s, now, sizeof(now));
    return strcmp(now, golden) == 0;
}

static void connect_ending(struct server *s, int *fds)
{
    for (int i = 0; i < ENDING; i++) {
        fds[i] = peer_connect(s->addr[0]);
        peer_echo(fds[i], "before");
    }
    MUST_COME(server_gauge(s, kept) == ENDING, "not all are kept");
}

/* The peers keep their ends open, so the worker lingers; when it has closed, nobody else holds it
 * for longer than a keeper takes to sweep. */
static void must_end(struct server *s, const char *golden, const char *title, const char *text)
{
    uint64_t begin_ms, seen_ms, closed_ms;
    int fds[ENDING];

    connect_ending(s, fds);
    begin_ms = clock_mono_ms();
    for (int i = 0; i < ENDING; i++)
        peer_send_text(fds[i], text);
    for (int i = 0; i < ENDING; i++)
        MUST(peer_drain(fds[i], WAIT_MS, NULL) != PEER_SILENT, "%s: no end", title);
    seen_ms = clock_mono_ms();
    MUST_COME(server_gauge(s, connections) == 0, "%s: the worker does not close them", title);
    closed_ms = clock_mono_ms();
    MUST_COME(are_fds_golden(s, golden), "%s: descriptors are held", title);
    printf("#| %d connections ended %s peers see it after %" PRIu64
           " ms, the worker closes after %" PRIu64 " ms, nobody holds it %" PRIu64 " ms later\n",
           (int)ENDING, title, seen_ms - begin_ms, closed_ms - begin_ms,
           clock_mono_ms() - closed_ms);
    for (int i = 0; i < ENDING; i++)
        peer_close(fds[i]);
}

static void signal_keepers(struct server *s, int signo)
{
    for (uint32_t i = 1; i <= 2; i++) {
        const pid_t pid = server_slot_pid(s, tr_slot(0, i));

        MUST(pid && kill(pid, signo) == 0, "no keeper.%u", i);
        MUST_COME((proc_state(pid) == 'T') == (signo == SIGSTOP), "keeper.%u takes no signal", i);
    }
}

/* Their peers see the end whoever holds them. */
static void must_end_though_keepers_hang(struct server *s, const char *golden)
{
    int fds[ENDING];

    connect_ending(s, fds);
    signal_keepers(s, SIGSTOP);
    for (int i = 0; i < ENDING; i++)
        peer_send_text(fds[i], "QUIT\r\n\r\n");
    for (int i = 0; i < ENDING; i++) {
        MUST(peer_drain(fds[i], WAIT_MS, NULL) != PEER_SILENT, "no end while keepers hang");
        peer_close(fds[i]);
    }
    MUST_COME(server_gauge(s, connections) == 0, "the workers do not close them");
    signal_keepers(s, SIGCONT);
    MUST_COME(are_fds_golden(s, golden), "descriptors are held");
}

static void prove__ended_by_the_server__nobody_holds_it(void **state)
{
    static char golden[1 << 18], large[40000];
    struct server *s = server_start(
        *state, .conf =
                    "arbiter: { keep_after = 0; };\n"
                    "server: { keep_alive = 1; message_timeout = 1; max_message = \"16KiB\"; };");

    memset(large, 'x', sizeof(large) - 1);
    server_must_idle(s);
    list_all_fds(s, golden, sizeof(golden));
    must_end(s, golden, "by QUIT:            ", "QUIT\r\n\r\n");
    must_end(s, golden, "for a large message:", large);
    must_end(s, golden, "by message_timeout: ", "half");
    must_end(s, golden, "by keep_alive:      ", "");
    server_configure(s, "arbiter: { keep_after = 0; };");
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    server_wait_workers(s, 2);
    MUST_COME(server_others(s) == 2, "%zu keepers", server_others(s));
    server_must_idle(s);
    list_all_fds(s, golden, sizeof(golden));
    must_end_though_keepers_hang(s, golden);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(prove__any_death__idle_connections_live_on),
        IT(prove__killed_at_a_system_call__nothing_wrong),
        IT(prove__ended_by_the_server__nobody_holds_it),
    };

    setvbuf(stdout, NULL, _IOLBF, 0);
    return it_run(tests);
}
