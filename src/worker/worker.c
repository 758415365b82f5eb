/*
 * The states of a worker: it runs, asks to be replaced, hands over, drains and leaves. Each step is
 * called by whoever has the reason for it: the worker's main or a command.
 */
#include "worker/worker_impl.h"

#include <errno.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "conf/config.h"
#include "net/listener.h"

static void on_waiting(const struct listener *l, int fd, void *userdata)
{
    struct worker *w = userdata;

    acceptor_admit(&w->acceptor, fd, l->protocol, listener_wish(l, fd, NULL), NULL, true);
}

static const double move_again_s = 1., late_s = 0.1;

/* The arbiter is gone. Shutting the listeners down frees the port for a new arbiter while we drain.
 */
void worker_become_orphan(struct worker *w)
{
    if (!w->is_draining)
        log_warning(w->boot->log, "the arbiter is gone: draining",
                    F_UINT("connections", w->conns.n_open));
    listener_shut(w->boot->listeners, w->boot->n_listeners, on_waiting, w);
    worker_drain(w);
}

static void leave_if_drained(struct worker *w)
{
    if (w->is_draining && w->conns.n_open == 0)
        ev_break(w->process.loop, EVBREAK_ALL);
}

void worker_on_closed(struct worker *w)
{
    acceptor_on_closed(&w->acceptor);
    leave_if_drained(w);
}

static void on_drain_deadline(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    struct worker *w = container_of(timer, struct worker, drain_deadline);

    log_info(w->boot->log, "drain: time is up, connections are cut",
             F_UINT("connections", w->conns.n_open));
    conn_set_cut(&w->conns);
    ev_break(w->process.loop, EVBREAK_ALL);
}

/* Connections that nobody takes end here, each after the message that it is in, or after what it
 * owes. */
static void drain_rest(struct worker *w)
{
    acceptor_fini(&w->acceptor);
    conn_set_drain(&w->conns);
    leave_if_drained(w);
}

/* What owes a reply is waited for until the end, and then has a moment to be moved. */
static bool is_stuck(struct worker *w)
{
    const uint64_t n_gone = counter_get(&w->process.record->counters.moved_out) + w->conns.n_closes;
    const bool has_moved_on = n_gone != w->n_gone;

    w->n_gone = n_gone;
    return !has_moved_on && w->conns.n_open > w->conns.n_owing && w->n_late == 0 &&
           clock_mono_ms() - w->asked_ms >= (uint64_t)(move_again_s * 1e3);
}

/* Half of the time is over, or another second of it: nobody waits longer for what does not move. */
static void on_move_deadline(struct ev_loop *loop, ev_timer *timer, int revents UNUSED)
{
    struct worker *w = container_of(timer, struct worker, move_deadline);

    ev_timer_set(timer, move_again_s, 0.);
    ev_timer_start(loop, timer);
    if (!is_stuck(w))
        return;
    if (!w->conns.is_draining)
        log_warning(w->boot->log, "connections could not be handed over in time: they are drained",
                    F_UINT("connections", w->conns.n_open - w->conns.n_owing));
    drain_rest(w);
}

/* Kept until it is said; without an arbiter nobody could say who takes them. */
static void on_late(struct ev_loop *loop, ev_timer *timer, int revents UNUSED)
{
    struct worker *w = container_of(timer, struct worker, late);
    json_t *args = json_pack("{s:I}", "count", (json_int_t)w->n_late);
    const int rc = process_tell(&w->process, "answered", 0, args);

    if (rc < 0 && rc != -EPIPE) {
        ev_timer_start(loop, timer);
        return;
    }
    w->n_late = 0;
    w->asked_ms = clock_mono_ms();
    if (rc < 0)
        drain_rest(w);
}

bool worker_on_answered(struct worker *w)
{
    if (!w->is_draining || w->process.is_cut_off)
        return false;
    w->n_late++;
    ev_timer_start(w->process.loop, &w->late);
    return true;
}

static void begin_to_leave(struct worker *w)
{
    w->is_draining = true;
    process_set_state(&w->process, ACTOR_STOPPING);
    acceptor_stop(&w->acceptor);
    keep_close(&w->keep);
    collect_finish(&w->collect);
    moves_close(&w->moves);
    ev_timer_init(&w->drain_deadline, on_drain_deadline,
                  (double)w->boot->config->exit_timeout_ms / 1e3, 0.);
    ev_timer_start(w->process.loop, &w->drain_deadline);
    w->n_gone = counter_get(&w->process.record->counters.moved_out) + w->conns.n_closes;
    ev_timer_init(&w->move_deadline, on_move_deadline,
                  (double)w->boot->config->exit_timeout_ms / 2e3, 0.);
    ev_timer_start(w->process.loop, &w->move_deadline);
    ev_timer_init(&w->late, on_late, late_s, 0.);
}

void worker_drain(struct worker *w)
{
    if (!w->is_draining)
        begin_to_leave(w);
    drain_rest(w);
}

void worker_move_all(struct worker *w, int *fds, size_t n_fds)
{
    if (!w->is_draining)
        begin_to_leave(w);
    moves_give(&w->moves, fds, n_fds, SIZE_MAX);
    worker_on_moved(w);
}

void worker_on_moved(struct worker *w)
{
    acceptor_on_moved(&w->acceptor);
    if (w->is_draining && !moves_is_giving(&w->moves))
        acceptor_fini(&w->acceptor);
    /* Nobody is asked again to take what never moves. */
    if (w->is_draining && !moves_is_giving(&w->moves) && !w->conns.is_draining &&
        w->conns.n_open > 0 && conn_set_rooted(&w->conns) == w->conns.n_open)
        drain_rest(w);
    leave_if_drained(w);
}

void worker_run(struct worker *w)
{
    if (w->is_draining)
        return;
    process_set_state(&w->process, ACTOR_RUN);
    protocols_run(&w->protocols);
    keep_open(&w->keep);
    acceptor_run(&w->acceptor);
}
