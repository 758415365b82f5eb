/*
 * The arbiter's loop: signals and children's ends go in as events, the engine's actions come out.
 * All waiting is libev's; nothing here blocks.
 */
#include "arbiter/arbiter_impl.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <unistd.h>

#include "actor/command.h"
#include "base/clock.h"
#include "base/signals.h"
#include "base/title.h"
#include "base/util.h"

static void sig_reload(struct arbiter *a)
{
    change_request(a, CHANGE_RELOAD);
}

static void sig_upgrade(struct arbiter *a)
{
    change_request(a, CHANGE_UPGRADE);
}

/* How often the counts of repeated log lines are closed. */
static const double housekeeping_s = 5.;

enum { SETTLE_ROUNDS_MAX = 64 };

void arbiter_set_state(struct arbiter *a, enum actor_state state)
{
    if (a->state == state)
        return;
    assert(actor_state_may_follow(a->state, state));
    log_info(a->log, "state", F_STR("from", actor_state_name(a->state)),
             F_STR("to", actor_state_name(state)));
    a->state = state;
    title_set("arbiter", actor_state_name(state));
    notify_look(a);
}

static void begin_stop(struct arbiter *a, bool is_quick, const char *cause)
{
    if (!a->is_stopping)
        a->end_ms = clock_mono_ms() + a->live->config->exit_timeout_ms + STOP_END_MS;
    revision_vacate_all(a, is_quick); /* whoever reads that it stops may start another at once */
    log_info(a->log, is_quick || a->is_stopping ? "stopping at once" : "stopping",
             F_STR("cause", cause));
    a->is_leaving = a->is_stopping = true;
    a->leave_ms = 0;
    ev_timer_stop(a->loop, &a->leave);
    arbiter_set_state(a, ACTOR_STOPPING);
    change_cancel(a);
    move_look(a);
    engine_post(a, &(struct tr_event){.kind = TR_EV_STOP, .is_quick = is_quick});
}

static void on_leave(struct ev_loop *loop, ev_timer *timer UNUSED, int revents UNUSED)
{
    begin_stop(ev_userdata(loop), false, "arbiter.stop_delay is over");
}

static void tell_stopping(struct arbiter *a, enum answer_wait wait)
{
    answers_give(&a->answers, wait, command_error("stopping", "the arbiter stops"));
}

/* Those who send clients here get time to see that it is not ready. Until the delay is over all
 * goes on but changes, of which none begins; one whose workers start already comes to its end. */
static void begin_leaving(struct arbiter *a, const char *cause)
{
    const uint64_t delay_ms = a->live->config->stop_delay_ms;

    log_info(a->log, "not ready any more: it stops after arbiter.stop_delay", F_STR("cause", cause),
             F_UINT("delay_ms", delay_ms));
    a->is_leaving = true;
    a->leave_ms = clock_mono_ms() + delay_ms;
    ev_timer_set(&a->leave, (double)delay_ms / 1e3, 0.);
    ev_now_update(a->loop);
    ev_timer_start(a->loop, &a->leave);
    arbiter_set_state(a, ACTOR_STOPPING);
    change_cancel(a);
    tell_stopping(a, ANSWER_NEXT_RELOAD);
    if (!a->next)
        tell_stopping(a, ANSWER_RELOAD);
    if (a->upgrade.phase == UPGRADE_NONE)
        tell_stopping(a, ANSWER_UPGRADE);
}

/* One that has not served yet has nobody to serve on for. */
void arbiter_stop(struct arbiter *a, bool is_quick, const char *cause)
{
    if (!is_quick && !a->is_leaving && a->state == ACTOR_RUN && a->live->config->stop_delay_ms > 0)
        begin_leaving(a, cause);
    else
        begin_stop(a, is_quick || a->leave_ms, cause);
}

static void sig_term(struct arbiter *a)
{
    arbiter_stop(a, false, "SIGTERM");
}

static void sig_int(struct arbiter *a)
{
    arbiter_stop(a, true, "SIGINT");
}

static void sig_quit(struct arbiter *a)
{
    arbiter_stop(a, true, "SIGQUIT");
}

void arbiter_scale(struct arbiter *a, uint32_t workers)
{
    char what[HISTORY_WHAT_LEN];

    if (a->is_leaving || workers < 1 || workers > TR_SLOTS_MAX)
        return;
    log_info(a->log, "scaling", F_UINT("workers", workers));
    snprintf(what, sizeof(what), "%u workers are wanted instead of %u", workers,
             transition_wanted(a->engine));
    history_note(a->history, "scale", true, 0, what);
    engine_post(a, &(struct tr_event){.kind = TR_EV_SCALE, .workers = workers});
}

static void sig_more(struct arbiter *a)
{
    arbiter_scale(a, transition_wanted(a->engine) + 1);
}

static void sig_fewer(struct arbiter *a)
{
    arbiter_scale(a, transition_wanted(a->engine) - 1);
}

void arbiter_reopen_logs(struct arbiter *a)
{
    sinks_reopen(&a->sinks);
}

/* A failure stands where the writer has said it: here it would go into the file that is no longer
 * wanted. */
void arbiter_on_reopened(struct sinks *sinks, struct sink *s)
{
    struct arbiter *a = container_of(sinks, struct arbiter, sinks);
    json_t *body;

    if (s != a->live->sink)
        return;
    if (s->error == 0) {
        log_info(a->log, "log reopened");
        body = command_result(json_pack("{s:b,s:o}", "reopened", *s->path != '\0', "to",
                                        command_text(sinks_name(s))));
    } else {
        char why[CONFIG_WHY_LEN];

        snprintf(why, sizeof(why), "%s: %s", s->path, s->why);
        body = command_error("not_opened", why);
    }
    answers_give_up_to(&a->answers, ANSWER_LOG, s->answered, body);
}

/* What the arbiter does with a signal; what nobody sends on purpose has no help, and comes last. */
static const struct {
    int signo;
    void (*handle)(struct arbiter *a);
    bool is_change; /* none begins once a stop has been asked for */
    const char *help;
} signal_table[] = {
    {SIGHUP, sig_reload, true,
     "Reload the configuration; a bad file or a worker that does not start changes nothing"},
    {SIGTERM, sig_term, false,
     "Stop gracefully, after arbiter.stop_delay, within arbiter.exit_timeout; a second TERM, INT "
     "or QUIT stops at once"},
    {SIGINT, sig_int, false, "Stop at once"},
    {SIGQUIT, sig_quit, false, "Stop at once"},
    {SIGTTIN, sig_more, true, "One worker more, until the next reload"},
    {SIGTTOU, sig_fewer, true, "One worker fewer, never below one, until the next reload"},
    {SIGUSR1, arbiter_reopen_logs, false, "Reopen the log file"},
    {SIGUSR2, sig_upgrade, true,
     "Execute the program at its path anew, in place; a program that cannot go on changes nothing"},
    {SIGCHLD, children_reap, false, NULL},
};

const char *arbiter_signal_help(size_t i, int *ret_signo)
{
    if (i >= ARRAY_SIZE(signal_table))
        return NULL;
    *ret_signo = signal_table[i].signo;
    return signal_table[i].help;
}

/*
 * A terminal sends TTIN and TTOU to all of a process group when one of it reads or writes in the
 * background, and HUP when it is gone. Only what somebody has sent is meant as a command; libev
 * does not tell, so these three have a handler of their own in front of it.
 */
static void on_job_control(int signo, siginfo_t *info, void *context UNUSED)
{
    if (info->si_code <= 0) /* positive: from the kernel */
        ev_feed_signal(signo);
}

static void heed_senders(void)
{
    static const int signals[] = {SIGHUP, SIGTTIN, SIGTTOU};
    struct sigaction sa = {.sa_sigaction = on_job_control, .sa_flags = SA_SIGINFO | SA_RESTART};

    sigfillset(&sa.sa_mask);
    for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
        sigaction(signals[i], &sa, NULL);
}

static void on_signal(struct ev_loop *loop, ev_signal *w, int revents UNUSED)
{
    struct arbiter *a = ev_userdata(loop);

    for (size_t i = 0; i < ARRAY_SIZE(signal_table); i++) {
        if (signal_table[i].signo != w->signum)
            continue;
        if (signal_table[i].is_change && a->is_leaving)
            log_info(a->log, "refused: the arbiter stops",
                     F_STR("signal", sigabbrev_np(w->signum)));
        else
            signal_table[i].handle(a);
    }
}

void arbiter_detach_signals(struct arbiter *a)
{
    for (size_t i = 0; a->signals && i < ARRAY_SIZE(signal_table); i++)
        ev_signal_stop(a->loop, &a->signals[i]);
}

static void log_exit(struct arbiter *a, const struct child *c, int status, bool is_expected)
{
    static const char *const exit_texts[2][2] = {{"actor died", "actor ended"},
                                                 {"worker died", "worker ended"}};
    uint64_t now_ms = clock_mono_ms();
    bool is_signal = WIFSIGNALED(status);
    const char *name = is_signal ? sigabbrev_np(WTERMSIG(status)) : NULL;
    enum log_level level = is_expected ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING;

    LOG_AT_(a->log, level, log_emit_limited, exit_texts[child_is_worker(c)][is_expected],
            F_CHILD(c), F_UINT("slot", tr_slot_number(c->slot)),
            F_UINT("incarnation", c->incarnation), F_STR("kind", is_signal ? "signal" : "exit"),
            F_CAUSE_STR(is_signal ? "signal" : "", name),
            F_CAUSE_INT("code", is_signal ? WTERMSIG(status) : WEXITSTATUS(status)),
            F_UINT("uptime_ms", now_ms - c->forked_ms),
            F_STR("was", c->ready_ms ? "ready" : "booting"));
}

/* Its handler names the signal that it dies of, unless it was ended because it got stuck. What
 * names another one was not written by the handler. */
static bool has_crash_record(const struct child *c, int signo)
{
    const uint64_t written = c->score->crash.signo;

    return written == (uint64_t)signo || (written == SIGABRT && c->watch.aborted_ns) ||
           (signo == SIGALRM && written < NSIG);
}

void arbiter_on_exit(struct arbiter *a, struct child *c, int status)
{
    const bool is_planned = transition_is_planned(a->engine, c->proc);
    const bool was_killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && !c->is_killed;

    log_exit(a, c, status, is_planned && !was_killed);
    crashes_rescued(a->crashes, c->id, 0); /* a death before this one is settled */
    if (was_killed && oom_has_killed(&a->oom))
        crashes_note_oom(a->crashes, a->log, c->id, tr_slot_number(c->slot), c->incarnation, c->pid,
                         clock_mono_ms() - c->forked_ms, c->score);
    if (WIFSIGNALED(status) && has_crash_record(c, WTERMSIG(status)))
        crashes_note(a->crashes, a->log, c->id, tr_slot_number(c->slot), c->incarnation, c->pid,
                     !c->is_inherited, &c->score->crash, &a->sandbox);
    a->restarts += !is_planned;
    stats_on_exit(a, c);
    answers_on_exit(&a->answers, c->pid, c->is_killed);
    answers_forget(&a->answers, &c->asker);
    sequencer_leave(a, c);
    engine_post(a, &(struct tr_event){
                       .kind = TR_EV_EXITED,
                       .proc = c->proc,
                       .was_killed = was_killed,
                       .is_missed = keepers_is_keeping(c),
                   });
    keepers_on_exit(a, c);
    move_look(a);
}

void arbiter_on_other_exit(struct arbiter *a, pid_t pid, int status)
{
    if (sinks_on_exit(&a->sinks, pid, status) || change_on_exit(a, pid, status))
        return;
    a->upgrade.has_guard = false; /* or a child of whoever called this program: no matter */
    log_debug(a->log, "reaped a stranger", F_INT("stranger_pid", pid));
}

/* Every worker of the first set runs: say so to whoever waits. */
static void on_serving(struct arbiter *a)
{
    char addresses[4096];

    arbiter_set_state(a, ACTOR_RUN);
    revision_addresses(a->live, addresses, sizeof(addresses));
    log_info(a->log, "serving", F_STR("addresses", addresses), F_UINT("workers", a->live->workers),
             F_STR("workers_why", a->live->workers_why),
             F_STR("version", a->options->program->version));
    revision_say_status(a->live);
    if (a->options->on_serving)
        a->options->on_serving(addresses, a->options->userdata);
}

static void kill_child(struct arbiter *a, struct child *c, enum tr_kill_reason why)
{
    /* One that is no longer wanted and not ready yet has nothing to drain: no cause for alarm. */
    static const struct {
        enum log_level level;
        const char *text;
    } reasons[] = {
        [TR_KILL_BOOT_TIMEOUT] = {LOG_LEVEL_WARNING, "not ready within arbiter.boot_timeout"},
        [TR_KILL_EXIT_TIMEOUT] = {LOG_LEVEL_WARNING, "not gone within arbiter.exit_timeout"},
        [TR_KILL_ROLLBACK] = {LOG_LEVEL_INFO, "the reload is taken back"},
        [TR_KILL_STOP] = {LOG_LEVEL_INFO, "no longer wanted"},
    };
    const bool is_brief = why == TR_KILL_EXIT_TIMEOUT && child_is_status(c);

    if (why == TR_KILL_EXIT_TIMEOUT && !a->is_stopping && watch_abort(a, c))
        return;
    children_kill(c, reasons[why].level, is_brief ? "not gone in time" : reasons[why].text);
}

static void spawn(struct arbiter *a, struct child *c, const struct tr_action *action)
{
    const bool is_worker = action->slot <= TR_SLOTS_MAX;
    const int rc = children_spawn(a, action);

    if (rc == 0) {
        watch_begin(c, children_revision(a, c)->config->timeout_ms);
        keepers_look(a);
        return;
    }
    log_error_limited(a->log, is_worker ? "worker cannot be forked" : "actor cannot be forked",
                      F_STR("kind", kinds_name(&a->kinds, action->slot)),
                      F_UINT("slot", tr_slot_number(action->slot)), F_ERR(rc));
    engine_post(a, &(struct tr_event){.kind = TR_EV_FORK_FAILED, .proc = action->proc});
}

static void give_up(struct arbiter *a)
{
    const char *cause = "no worker serves";

    for_each_worker (a, c)
        if (transition_phase(a->engine, c->proc) == TR_RUNNING)
            cause = "an actor does not start";
    log_error(a->log, "giving up: new processes keep dying", F_STR("cause", cause),
              F_STR("hint", "the lines above say how they died"));
    a->exit_code = EX_SOFTWARE;
    arbiter_stop(a, true, cause);
}

static void roll_back(struct arbiter *a, const struct tr_action *action)
{
    const char *what = transition_failure_text(action->failure);
    char why[128];

    snprintf(why, sizeof(why), "a new %s %s", kinds_name(&a->kinds, action->slot), what);
    a->change.active->on_rollback(a, action->failure,
                                  action->failure == TR_FAILURE_STOPPED ? what : why);
}

static void act(struct arbiter *a, const struct tr_action *action)
{
    struct child *c = &a->children[action->proc]; /* of the actions that are about one */
    int rc;

    switch (action->kind) {
    case TR_SPAWN:
        spawn(a, c, action);
        break;
    case TR_RUN:
        rc = children_send(c, "run", 0, NULL);
        if (rc < 0) /* -EPIPE: it is dead already */
            children_kill(c, rc == -EPIPE ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
                          "it cannot be told to run");
        keepers_look(a);
        move_soon(a);
        move_want(a);
        break;
    case TR_DRAIN:
        move_want(a);
        keepers_look(a);
        if (child_is_keeper(c))
            keepers_drain(a, c, action->is_quick);
        else if (action->is_quick)
            children_send(c, "stop", 0, json_pack("{s:b}", "graceful", 0));
        else
            move_drain(a, c);
        break;
    case TR_KILL:
        kill_child(a, c, action->why);
        break;
    case TR_COMMIT:
        a->change.active->on_commit(a);
        keepers_look(a);
        break;
    case TR_ROLLBACK:
        roll_back(a, action);
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

static void on_alarm(struct ev_loop *loop, ev_timer *timer UNUSED, int revents UNUSED)
{
    engine_post(ev_userdata(loop), &(struct tr_event){.kind = TR_EV_TICK});
}

/* Settle again at the engine's next deadline, or at once if @is_due. */
static void set_alarm(struct arbiter *a, bool is_due)
{
    const uint64_t deadline_ms = transition_deadline(a->engine), now_ms = clock_mono_ms();
    double after_s = 0.;

    ev_timer_stop(a->loop, &a->alarm);
    if (!is_due && deadline_ms == UINT64_MAX)
        return;
    if (!is_due)
        after_s = deadline_ms > now_ms ? (double)(deadline_ms - now_ms) / 1e3 : 0.001;
    ev_timer_init(&a->alarm, on_alarm, after_s, 0.);
    ev_now_update(a->loop);
    ev_timer_start(a->loop, &a->alarm);
}

static bool runs(const void *engine, uint32_t slot)
{
    return transition_is_slot_running(engine, slot);
}

/*
 * All that has changed in this turn of the loop, in the one order that there is. Who waits for
 * connections gets them before anybody is told to leave, and whoever has an answer finds the line
 * in the log.
 */
static void settle(struct arbiter *a)
{
    struct tr_action action;
    int n_rounds = 0;

    do {
        ev_clear_pending(a->loop, &a->settle);
        while ((action = transition_next(a->engine, clock_mono_ms())).kind != TR_NOTHING)
            act(a, &action);
        sequencer_settle(a);
        keepers_settle(a);
        move_settle(a);
        if (!transition_is_due(a->engine)) /* an upgrade begins with what is settled */
            change_settle(a);
    } while (ev_is_pending(&a->settle) && ++n_rounds < SETTLE_ROUNDS_MAX);
    move_log(a);
    if (transition_is_settled(a->engine))
        answers_on_scaled(&a->answers, transition_wanted(a->engine));
    answers_on_spawned(&a->answers, runs, a->engine);
    notify_look(a);
    set_alarm(a, ev_clear_pending(a->loop, &a->settle) != 0);
}

static void on_settle(struct ev_loop *loop, ev_check *w UNUSED, int revents UNUSED)
{
    settle(ev_userdata(loop));
}

static void on_housekeeping(struct ev_loop *loop, ev_timer *timer UNUSED, int revents UNUSED)
{
    struct arbiter *a = ev_userdata(loop);

    log_flush_causes(a->log, clock_mono_ms());
    oom_forget(&a->oom);
    notify_look(a);
}

int arbiter_attach(struct arbiter *a)
{
    a->signals = calloc(ARRAY_SIZE(signal_table), sizeof(*a->signals));
    if (!a->signals)
        return -ENOMEM;
    ev_init(&a->settle, on_settle);
    ev_set_priority(&a->settle, EV_MINPRI);
    ev_init(&a->leave, on_leave);
    ev_timer_init(&a->housekeeping, on_housekeeping, housekeeping_s, housekeeping_s);
    ev_timer_start(a->loop, &a->housekeeping);
    move_start(a);
    watch_start(a);
    notify_attach(a);
    for (size_t i = 0; i < ARRAY_SIZE(signal_table); i++) {
        ev_signal_init(&a->signals[i], on_signal, signal_table[i].signo);
        ev_signal_start(a->loop, &a->signals[i]);
    }
    heed_senders();
    signals_ignore_strays(); /* after the others, of which some may be pending over an exec */
    return 0;
}
