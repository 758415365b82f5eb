/*
 * The arbiter's regular look at its workers: what they have counted, and whether they still turn.
 * One that does not is aborted, so that its own handler says where it is, and killed if that takes
 * too long. Its end is then an end like any other.
 */
#include "arbiter/arbiter_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"

/* ---- evidence ----
 *
 * Nothing here waits for the process: none of these files is made under a lock that a hung process
 * can hold for long, as cmdline and maps are. */

static const char *state_name(char letter)
{
    switch (letter) {
    case 'R':
        return "R (running)";
    case 'S':
        return "S (sleeping)";
    case 'D':
        return "D (disk sleep)";
    case 'T':
        return "T (stopped)";
    case 't':
        return "t (traced)";
    case 'Z':
        return "Z (zombie)";
    default:
        return "";
    }
}

void watch_read_stat(struct evidence *e, const char *text, long ticks_a_second)
{
    const char *p = strrchr(text, ')'); /* the name before it may hold anything */
    unsigned long user, system;
    char letter;

    if (!p || sscanf(p + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &letter, &user,
                     &system) != 3)
        return;
    snprintf(e->state, sizeof(e->state), "%s", state_name(letter));
    e->cpu_ms = (uint64_t)(user + system) * 1000 / (uint64_t)ticks_a_second;
}

/* The first line; wchan says "0" for nothing. */
void watch_read_line(char *ret, size_t size, const char *text)
{
    const size_t len = strcspn(text, "\n");

    if (len == 1 && text[0] == '0')
        return;
    snprintf(ret, size, "%.*s", (int)MIN(len, size - 1), text);
}

/* Lines of "[<0>] do_signal_stop+0x1a3/0x210". */
void watch_read_stack(struct evidence *e, const char *text)
{
    size_t used = 0;

    while (*text) {
        const size_t line = strcspn(text, "\n");
        const char *name = memchr(text, ']', line);
        const char *from = name && name[1] == ' ' ? name + 2 : text;
        const size_t len = strcspn(from, "+/\n");

        if (used + len + 2 > sizeof(e->stack))
            break;
        used += (size_t)snprintf(e->stack + used, sizeof(e->stack) - used, "%s%.*s",
                                 used ? " " : "", (int)len, from);
        text += line + (text[line] == '\n');
    }
}

/* A file that is empty says that there is nothing; one that cannot be read has to be named. */
static void note_unread(struct evidence *e, const char *name, int error)
{
    const size_t used = strlen(e->unread);

    snprintf(e->unread + used, sizeof(e->unread) - used, "%s%s: %s", used ? ", " : "", name,
             strerror(error));
}

/* Returns whether there was anything to read. */
static bool read_evidence(struct evidence *e, pid_t pid, const char *name, char *buf, size_t size)
{
    char path[64];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, buf, size - 1);
    if (n < 0)
        note_unread(e, name, errno);
    fds_close(&fd);
    buf[MAX(n, 0)] = '\0';
    return n > 0;
}

void watch_evidence(struct evidence *e, pid_t pid)
{
    char text[4096];

    *e = (struct evidence){.cpu_ms = 0};
    if (read_evidence(e, pid, "stat", text, sizeof(text)))
        watch_read_stat(e, text, sysconf(_SC_CLK_TCK));
    if (read_evidence(e, pid, "wchan", text, sizeof(text)))
        watch_read_line(e->wchan, sizeof(e->wchan), text);
    if (read_evidence(e, pid, "syscall", text, sizeof(text)))
        watch_read_line(e->syscall, sizeof(e->syscall), text);
    if (read_evidence(e, pid, "stack", text, sizeof(text)))
        watch_read_stack(e, text);
}

/* ---- the look ---- */

enum { DISCONNECTED_GRACE_MS = 5000, HEARTBEAT_LATE_MS = 3000 };

static uint64_t boot_clock_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_BOOTTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* SIGCONT after SIGABRT: a stopped process handles nothing. */
static void abort_child(struct arbiter *a, const struct child *c, const char *why)
{
    struct evidence e;

    watch_evidence(&e, c->pid);
    log_warning(a->log, why, F_CHILD(c), F_UINT("slot", tr_slot_number(c->slot)),
                F_UINT("incarnation", c->incarnation),
                F_UINT("silent_ms", watch_silence_ns(&a->watchdog, &c->watch) / 1000000),
                F_STR("state", e.state), F_UINT("cpu_ms", e.cpu_ms), F_STR("syscall", e.syscall),
                F_STR("wchan", e.wchan), F_STR("stack", e.stack), F_STR("unread", e.unread),
                F_UINT("connections", scoreboard_connections(c->score)),
                F_UINT("requests", counter_get(&c->tally.sum.requests)));
    kill(c->pid, SIGABRT);
    kill(c->pid, SIGCONT);
}

/* A worker that starts has boot_timeout instead, and a killed one is about to be reaped. */
static bool must_be_checked(const struct arbiter *a, const struct child *c)
{
    const enum tr_phase phase = transition_phase(a->engine, c->proc);

    return c->must_abort || phase == TR_READY || phase == TR_RUNNING || phase == TR_DRAINING;
}

/* Nobody can tell it anything any more. Aborted, it leaves its connections to be rescued. */
static bool is_long_disconnected(const struct child *c)
{
    return c->disconnected_ms && clock_mono_ms() - c->disconnected_ms >= DISCONNECTED_GRACE_MS;
}

static void check_child(struct arbiter *a, struct child *c)
{
    static const char *const abort_texts[2][2] = {
        {"actor hangs: aborting it", "actor has closed its mailbox and lives on: aborting it"},
        {"worker hangs: aborting it", "worker has closed its mailbox and lives on: aborting it"}};

    switch (c->must_abort || is_long_disconnected(c)
                ? watchdog_abort(&a->watchdog, &c->watch)
                : watchdog_check(&a->watchdog, &c->watch, counter_get(&c->score->heartbeat_ns))) {
    case WATCHDOG_ABORT:
        abort_child(a, c, abort_texts[child_is_worker(c)][is_long_disconnected(c)]);
        break;
    case WATCHDOG_KILL:
        children_kill(c, LOG_LEVEL_WARNING, "it hangs, and was not gone after SIGABRT");
        break;
    case WATCHDOG_FINE:
    case WATCHDOG_SUSPECT:
    case WATCHDOG_ABORTED:
        break;
    }
}

static void look(struct arbiter *a)
{
    const uint64_t now_ns = clock_mono_ns();
    const uint64_t idle_ms = a->live->config->timeout_ms / WATCHDOG_LOOKS_A_TIMEOUT;

    watchdog_look(&a->watchdog, now_ns, boot_clock_ns(), idle_ms);
    stats_count(a);
    for_each_child (a, c)
        if (must_be_checked(a, c))
            check_child(a, c);
}

static void on_look(struct ev_loop *loop, ev_timer *timer, int revents UNUSED)
{
    struct arbiter *a = ev_userdata(loop);

    look(a);
    ev_now_update(loop);
    ev_timer_set(timer, (double)watchdog_plan(&a->watchdog) / 1e9, 0.);
    ev_timer_start(loop, timer);
}

bool watch_abort(struct arbiter *a, struct child *c)
{
    const uint64_t now_ns = clock_mono_ns(), beat_ns = counter_get(&c->score->heartbeat_ns);

    if (now_ns - MIN(beat_ns, now_ns) < HEARTBEAT_LATE_MS * (uint64_t)1000000)
        return false;
    c->must_abort = true;
    ev_timer_stop(a->loop, &a->watch);
    on_look(a->loop, &a->watch, 0);
    return true;
}

void watch_start(struct arbiter *a)
{
    ev_timer_init(&a->watch, on_look, 0., 0.);
    on_look(a->loop, &a->watch, 0);
}

void watch_begin(struct child *c, uint64_t timeout_ms)
{
    tally_init(&c->tally, c->forked_ms * 1000000);
    watch_init(&c->watch, timeout_ms, clock_mono_ns());
}
