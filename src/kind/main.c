/*
 * The process of an actor of another kind. Either the framework's loop runs and the kind has
 * callbacks, or the kind has a loop of its own and calls arb_actor_wait.
 */
#include "kind/kind.h"

#include <ev.h>
#include <signal.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "actor/fatal.h"
#include "actor/own.h"
#include "actor/process.h"
#include "actor/process_command.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "conf/config.h"

struct kind_process {
    struct process process;
    struct arb_actor hold;
    const struct arb_kind *kind; /* borrowed */
    bool is_ready; /* with `main`: it has waited */
    bool is_told_to_end;
    bool has_happened; /* with `main`: something that ends a wait */
    ev_timer timeout; /* the same: of a wait */
};

/* There is one in a process. arb_actor_wait is for its hold alone. */
static struct kind_process this_kind;

static struct kind_process *kind_of(struct process *p)
{
    return container_of(p, struct kind_process, process);
}

/* ---- its end ---- */

static void end_soon(struct kind_process *k)
{
    if (k->process.state == ACTOR_STARTING || k->process.state == ACTOR_RUN)
        process_set_state(&k->process, ACTOR_STOPPING);
    k->is_told_to_end = true;
    ev_break(k->process.loop, EVBREAK_ALL);
}

/* Without an arbiter nobody kills an actor that does not end by itself: the alarm does. */
static void end_at_the_latest(const struct kind_process *k)
{
    sigset_t one;

    signal(SIGALRM, SIG_DFL);
    sigemptyset(&one);
    sigaddset(&one, SIGALRM);
    sigprocmask(SIG_UNBLOCK, &one, NULL);
    alarm((unsigned)(k->process.boot->config->exit_timeout_ms / 1000) + 1);
}

static void kind_on_orphaned(struct process *p)
{
    struct kind_process *k = kind_of(p);

    if (k->is_told_to_end)
        return;
    log_warning(p->boot->log, "the arbiter is gone: ending");
    end_at_the_latest(k);
    end_soon(k);
}

static void kind_on_unwanted(struct process *p)
{
    end_soon(kind_of(p));
}

/* ---- commands ---- */

static json_t *kind_do_info(struct process *p, const struct process_request *r UNUSED)
{
    json_t *o = process_info(p);

    json_object_set_new(o, "kind", json_string(p->boot->kind->name));
    return o;
}

static json_t *kind_do_run(struct process *p, const struct process_request *r UNUSED)
{
    struct kind_process *k = kind_of(p);

    if (p->state != ACTOR_STARTING)
        return NULL;
    process_set_state(p, ACTOR_RUN);
    if (k->kind->run && k->kind->start)
        k->kind->run(k->hold.data);
    return NULL;
}

static json_t *kind_do_stop(struct process *p, const struct process_request *r UNUSED)
{
    end_soon(kind_of(p));
    return NULL;
}

static void run_own(struct process *p, uint64_t id, const json_t *args)
{
    process_call(p, &kind_of(p)->hold, 1, id, args);
}

/* clang-format off */
static const struct process_command kind_table[] = {
    PROCESS_PING,
    PROCESS_ECHO,
    {{"info", PROCESS_BY_BOTH | COMMAND_ASKS, NULL, "Identity, state, times and counters"}, kind_do_info, NULL},
    {{"stop", PROCESS_BY_BOTH,
      COMMAND_ARGS({"graceful", COMMAND_BOOL, false, 0, 0, "false: at once (default true)"},
                   {"to", COMMAND_NAMES, false, 0, 0, "nobody: there are no connections"}),
      "End within exit_timeout, or at once"}, kind_do_stop, NULL},
    PROCESS_LOG_LEVEL,
    PROCESS_CALL(run_own),
    {{"run", COMMAND_BY_ARBITER, NULL, "All of the set are ready"}, kind_do_run, NULL},
};
/* clang-format on */

static const struct command_set kind_commands = COMMAND_SET(kind_table);

static void kind_on_message(struct process *p, struct message *m, int *fds, size_t n_fds)
{
    process_command(p, &kind_commands, m, fds, n_fds);
}

static void kind_on_relayed(struct process *p, const struct arb_message *m, bool is_for_all UNUSED)
{
    struct kind_process *k = kind_of(p);

    if (k->kind->on_message)
        k->kind->on_message(k->hold.data, m);
}

static void kind_on_can_send(struct process *p)
{
    struct kind_process *k = kind_of(p);

    if (!k->hold.wants_to_send)
        return;
    k->hold.wants_to_send = false;
    if (k->kind->on_can_send)
        k->kind->on_can_send(k->hold.data);
}

static const struct process_ops kind_ops = {
    .on_message = kind_on_message,
    .on_relayed = kind_on_relayed,
    .on_can_send = kind_on_can_send,
    .on_orphaned = kind_on_orphaned,
    .on_unwanted = kind_on_unwanted,
};

/* ---- a loop of its own ---- */

static void kind_on_timeout(struct ev_loop *loop UNUSED, ev_timer *timer UNUSED, int revents UNUSED)
{
}

/* Before the callbacks of a turn: what is to be called, beside the heartbeat? */
static void on_pending(struct ev_loop *loop)
{
    struct kind_process *k = ev_userdata(loop);
    unsigned own = 0;

    own += ev_is_pending(&k->process.heartbeat.timer) != 0;
    k->has_happened |= ev_pending_count(loop) > own;
    ev_invoke_pending(loop);
}

int arb_actor_wait(struct arb_actor *self, uint32_t timeout_ms)
{
    struct kind_process *k = &this_kind;
    struct ev_loop *loop = k->process.loop;

    if (self != &k->hold || !k->kind->main)
        return ARB_ENDS;
    if (!k->is_ready) {
        k->is_ready = true;
        process_ready(&k->process);
    }
    k->has_happened = false;
    ev_now_update(loop);
    ev_timer_set(&k->timeout, timeout_ms / 1e3, 0.);
    ev_timer_start(loop, &k->timeout);
    do
        ev_run(loop, timeout_ms ? EVRUN_ONCE : EVRUN_NOWAIT);
    while (timeout_ms && !k->has_happened);
    ev_timer_stop(loop, &k->timeout);
    k->is_told_to_end |= k->process.is_over;
    return k->is_told_to_end ? ARB_ENDS : 0;
}

void arb_actor_set_data(struct arb_actor *self, void *data)
{
    self->data = data;
}

static int run_main(struct kind_process *k)
{
    struct ev_loop *loop = k->process.loop;

    ev_init(&k->timeout, kind_on_timeout);
    ev_set_userdata(loop, k);
    ev_set_invoke_pending_cb(loop, on_pending);
    return k->kind->main(&k->hold, (const void *const *)k->process.boot->config->own);
}

/* ---- the framework's loop ---- */

static int run_loop(struct kind_process *k)
{
    const int rc =
        k->kind->start(&k->hold, (const void *const *)k->process.boot->config->own, &k->hold.data);

    if (rc < 0) {
        log_error(k->process.boot->log, "actor cannot start", F_ERR(rc));
        if (k->hold.data && k->kind->stop)
            k->kind->stop(k->hold.data);
        return EX_OSERR;
    }
    process_ready(&k->process);
    ev_run(k->process.loop, 0);
    if (k->kind->stop)
        k->kind->stop(k->hold.data);
    return EX_OK;
}

/* ---- the process ---- */

static int kind_main(const struct actor_boot *boot)
{
    struct kind_process *k = &this_kind;
    int rc;

    k->kind = boot->kind;
    process_begin(&k->process, boot, &kind_ops);
    rc = fatal_install(boot, NULL);
    if (rc == 0)
        rc = process_prepare(&k->process);
    if (rc < 0) {
        log_error(boot->log, "actor cannot begin", F_ERR(rc));
        return EX_OSERR;
    }
    own_hold(boot->own, k->kind->name, &k->process.shared, &k->hold);
    rc = k->kind->main ? run_main(k) : run_loop(k);
    process_set_state(&k->process, ACTOR_CLOSE);
    actor_fini(&k->hold);
    process_fini(&k->process);
    return rc;
}

const struct actor_kind kind_actor = {"actor", kind_main, &kind_commands};
