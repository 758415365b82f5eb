/*
 * The arbiter's loop: signals and children's ends go in as events, the engine's actions come out.
 * All waiting is libev's; nothing here blocks.
 */
#include "arbiter/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/signals.h"
#include "base/util.h"

static void sig_reload(struct arbiter *a)
{
    reload_request(a);
}

static void stop(struct arbiter *a, bool is_quick, const char *name)
{
    log_info(a->log, is_quick || a->is_stopping ? "stopping at once" : "stopping",
             F_STR("signal", name));
    a->is_stopping = true;
    reload_cancel(a);
    arbiter_event(a, &(struct tr_event){.kind = TR_EV_STOP, .is_quick = is_quick});
}

static void sig_term(struct arbiter *a)
{
    stop(a, false, "TERM");
}

static void sig_int(struct arbiter *a)
{
    stop(a, true, "INT");
}

static void sig_quit(struct arbiter *a)
{
    stop(a, true, "QUIT");
}

static uint32_t wanted_workers(const struct arbiter *a)
{
    return a->engine->next.epoch ? a->engine->next.workers : a->engine->live.workers;
}

static void scale(struct arbiter *a, int by)
{
    uint32_t workers = wanted_workers(a);

    if (a->is_stopping || (by < 0 && workers == 1) || (by > 0 && workers == TR_SLOTS_MAX))
        return;
    workers = (uint32_t)((int)workers + by);
    log_info(a->log, "scaling", F_UINT("workers", workers));
    arbiter_event(a, &(struct tr_event){.kind = TR_EV_SCALE, .workers = workers});
}

static void sig_more(struct arbiter *a)
{
    scale(a, 1);
}

static void sig_fewer(struct arbiter *a)
{
    scale(a, -1);
}

static void sig_reopen(struct arbiter *a)
{
    int rc = log_reopen(a->log);

    if (rc < 0)
        log_error(a->log, "log: cannot be reopened", F_ERR(rc));
    else
        log_info(a->log, "log reopened");
    children_tell_all(a, "reopen_logs");
}

/* What the arbiter does with a signal. */
static const struct {
    int signo;
    void (*handle)(struct arbiter *a);
} signal_table[] = {
    {SIGHUP, sig_reload}, {SIGTERM, sig_term},  {SIGINT, sig_int},     {SIGQUIT, sig_quit},
    {SIGTTIN, sig_more},  {SIGTTOU, sig_fewer}, {SIGUSR1, sig_reopen}, {SIGCHLD, children_reap},
};

static void on_signal(struct ev_loop *loop, ev_signal *w, int revents UNUSED)
{
    struct arbiter *a = ev_userdata(loop);

    for (size_t i = 0; i < ARRAY_SIZE(signal_table); i++)
        if (signal_table[i].signo == w->signum)
            signal_table[i].handle(a);
}

static int attach_signals(struct arbiter *a)
{
    a->signals = calloc(ARRAY_SIZE(signal_table), sizeof(*a->signals));
    if (!a->signals)
        return -ENOMEM;
    signals_ignore_strays();
    for (size_t i = 0; i < ARRAY_SIZE(signal_table); i++) {
        ev_signal_init(&a->signals[i], on_signal, signal_table[i].signo);
        ev_signal_start(a->loop, &a->signals[i]);
    }
    return 0;
}

void arbiter_detach_signals(struct arbiter *a)
{
    for (size_t i = 0; a->signals && i < ARRAY_SIZE(signal_table); i++)
        ev_signal_stop(a->loop, &a->signals[i]);
}

/* Every worker of the first set runs: say so to whoever waits. */
static void on_serving(struct arbiter *a)
{
    char addresses[4096];

    generation_addresses(a->live, addresses, sizeof(addresses));
    log_info(a->log, "serving", F_STR("addresses", addresses), F_UINT("workers", a->live->workers),
             F_STR("version", ECHO_VERSION));
    if (a->options->on_serving)
        a->options->on_serving(addresses, a->options->userdata);
}

static void kill_worker(struct arbiter *a, const struct tr_action *action)
{
    /* A worker that is no longer wanted and not ready yet has nothing to drain: no cause for alarm.
     */
    static const struct {
        enum log_level level;
        const char *text;
    } reasons[] = {
        [TR_KILL_BOOT_TIMEOUT] = {LOG_LEVEL_WARNING, "not ready within arbiter.boot_timeout"},
        [TR_KILL_EXIT_TIMEOUT] = {LOG_LEVEL_WARNING, "not gone within arbiter.exit_timeout"},
        [TR_KILL_ROLLBACK] = {LOG_LEVEL_INFO, "the reload is taken back"},
        [TR_KILL_STOP] = {LOG_LEVEL_INFO, "no longer wanted"},
    };
    children_kill(a, action->record, reasons[action->why].level, reasons[action->why].text);
}

static void spawn(struct arbiter *a, const struct tr_action *action)
{
    int rc = children_spawn(a, action);

    if (rc == 0)
        return;
    log_error_limited(a->log, "worker cannot be forked", F_UINT("slot", action->slot), F_ERR(rc));
    transition_event(a->engine, clock_mono_ms(),
                     &(struct tr_event){.kind = TR_EV_FORK_FAILED, .record = action->record});
}

static void give_up(struct arbiter *a)
{
    log_error(a->log, "giving up: no worker serves and the new ones keep dying",
              F_STR("hint", "the lines above say how they died"));
    a->exit_code = EX_SOFTWARE;
    a->is_stopping = true;
    reload_cancel(a);
    transition_event(a->engine, clock_mono_ms(),
                     &(struct tr_event){.kind = TR_EV_STOP, .is_quick = true});
}

static void act(struct arbiter *a, const struct tr_action *action)
{
    const bool is_graceful = !action->is_quick;

    switch (action->kind) {
    case TR_SPAWN:
        spawn(a, action);
        break;
    case TR_RUN:
        children_tell(a, action->record, "run", NULL);
        break;
    case TR_RETIRE:
        children_tell(a, action->record, "stop", &is_graceful);
        break;
    case TR_KILL:
        kill_worker(a, action);
        break;
    case TR_COMMIT:
        reload_on_commit(a);
        break;
    case TR_ROLLBACK:
        reload_on_rollback(a, action);
        break;
    case TR_SERVING:
        on_serving(a);
        break;
    case TR_GIVE_UP:
        give_up(a);
        break;
    case TR_STOPPED:
        ev_break(a->loop, EVBREAK_ALL);
        break;
    case TR_NOTHING:
        break;
    }
}

static void pump(struct arbiter *a)
{
    uint64_t now_ms = clock_mono_ms();
    uint64_t deadline_ms;
    struct tr_action action;

    while ((action = transition_next(a->engine, now_ms)).kind != TR_NOTHING) {
        act(a, &action);
        now_ms = clock_mono_ms();
    }
    reload_retry(a); /* what a request waits for is always something that the engine was told */
    ev_timer_stop(a->loop, &a->alarm);
    deadline_ms = transition_deadline(a->engine);
    if (deadline_ms == UINT64_MAX)
        return;
    ev_now_update(a->loop);
    ev_timer_set(&a->alarm, deadline_ms > now_ms ? (double)(deadline_ms - now_ms) / 1e3 : 0.001,
                 0.);
    ev_timer_start(a->loop, &a->alarm);
}

void arbiter_event(struct arbiter *a, const struct tr_event *ev)
{
    transition_event(a->engine, clock_mono_ms(), ev);
    pump(a);
}

static void on_alarm(struct ev_loop *loop, ev_timer *timer UNUSED, int revents UNUSED)
{
    arbiter_event(ev_userdata(loop), &(struct tr_event){.kind = TR_EV_TICK});
}

static void on_housekeeping(struct ev_loop *loop, ev_timer *timer UNUSED, int revents UNUSED)
{
    struct arbiter *a = ev_userdata(loop);

    log_flush_causes(a->log, clock_mono_ms());
}

/* As many descriptors as this user may have: each connection is one. */
static void raise_descriptor_limit(void)
{
    struct rlimit rl;

    if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
}

static int exit_code_of(int rc)
{
    switch (-rc) {
    case EADDRINUSE:
    case EADDRNOTAVAIL:
        return EX_UNAVAILABLE;
    case EACCES:
    case EPERM:
        return EX_NOPERM;
    case EBUSY:
        return EX_TEMPFAIL;
    case EEXIST:
    case ENOENT:
    case ENOTDIR:
    case EROFS:
    case ENOSPC:
    case ELOOP:
    case EISDIR:
        return EX_CANTCREAT;
    default:
        return EX_OSERR;
    }
}

static int refuse_start(struct arbiter *a, int rc, const char *why)
{
    log_error(a->log, "cannot start", F_STR("reason", why));
    return exit_code_of(rc);
}

/* Returns 0 or the exit code; what was made so far is undone by fini. */
static int prepare(struct arbiter *a, struct config *config)
{
    struct tr_set first;
    char why[512];
    int rc;

    a->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    a->engine = calloc(1, sizeof(*a->engine));
    a->children = calloc(TR_RECORDS_MAX, sizeof(*a->children));
    if (!a->loop || !a->engine || !a->children) {
        config_free(config);
        return refuse_start(a, -ENOMEM, "out of memory");
    }
    ev_set_userdata(a->loop, a);
    raise_descriptor_limit();
    /* First the pid file: it tells "already running" from "the address is taken". */
    rc = pidfile_open(&a->pidfile, config->pid_file, why, sizeof(why));
    if (rc == 0)
        rc = generation_new(config, ++a->last_epoch, NULL, &a->live, why, sizeof(why));
    if (rc < 0) {
        config_free(config);
        return refuse_start(a, rc, why);
    }
    a->log = &a->live->log;
    rc = scoreboard_open(&a->scoreboard, TR_RECORDS_MAX);
    if (rc < 0)
        return refuse_start(a, rc, "scoreboard");
    ev_timer_init(&a->alarm, on_alarm, 0., 0.);
    ev_timer_init(&a->housekeeping, on_housekeeping, 5., 5.);
    ev_timer_start(a->loop, &a->housekeeping);
    rc = attach_signals(a);
    if (rc < 0)
        return refuse_start(a, rc, "out of memory");
    first = (struct tr_set){
        .epoch = a->live->epoch,
        .workers = a->live->workers,
        .boot_timeout_ms = config->boot_timeout_ms,
        .exit_timeout_ms = config->exit_timeout_ms,
    };
    transition_init(a->engine, &first, TR_RECORDS_MAX, (uint32_t)clock_mono_ns());
    return 0;
}

static void fini(struct arbiter *a)
{
    if (a->loop) {
        reload_cancel(a);
        arbiter_detach_signals(a);
        ev_loop_destroy(a->loop);
    }
    generation_free(a->next);
    pidfile_remove(&a->pidfile);
    scoreboard_close(&a->scoreboard);
    free(a->signals);
    free(a->children);
    free(a->engine);
}

int arbiter_run(struct config *config, struct log *log, const struct arbiter_options *options)
{
    struct arbiter a = {
        .options = options,
        .log = log,
        .started_ms = clock_mono_ms(),
        .pidfile = {.fd = -1},
        .reload = {.fd = -1},
        .scoreboard = {.fd = -1},
    };
    int rc = prepare(&a, config);

    if (rc == 0) {
        signals_unblock_all();
        pump(&a);
        ev_run(a.loop, 0);
        rc = a.exit_code;
        log_info(a.log, "stopped", F_UINT("uptime_ms", clock_mono_ms() - a.started_ms),
                 F_UINT("accepted", counter_get(&a.totals.accepted)),
                 F_UINT("requests", counter_get(&a.totals.requests)), F_INT("exit", rc));
    }
    fini(&a);
    generation_free(a.live);
    return rc;
}
