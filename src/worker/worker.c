/*
 * The worker process: a libev loop with a mailbox to the arbiter, listeners to accept on and a set
 * of connections. It knows no configuration file and forks nothing.
 */
#include "worker/worker.h"

#include <assert.h>
#include <errno.h>
#include <ev.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/cpus.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/title.h"
#include "base/util.h"
#include "conf/config.h"
#include "net/listener.h"
#include "worker/fatal.h"
#include "worker/internal.h"
#include "worker/recycle.h"

static void on_waiting(int fd, void *userdata)
{
    struct worker *w = userdata;

    if (conn_set_add(&w->conns, fd) == 0)
        counter_add(&w->record->counters.accepted, 1);
}

static const double hope_again_s = 1.;

/* The arbiter is gone. Shutting the listeners down frees the port for a new arbiter while we drain.
 */
static void become_orphan(struct worker *w)
{
    if (!w->is_draining)
        log_warning(w->boot->log, "the arbiter is gone: draining",
                    F_UINT("connections", w->conns.n_open));
    for (size_t i = 0; i < w->boot->n_listeners; i++)
        listener_shut(w->boot->listeners[i], on_waiting, w);
    worker_drain(w);
}

static bool is_orphan(const struct worker *w)
{
    return getppid() != w->boot->arbiter_pid;
}

static void on_beat(struct heartbeat *h)
{
    struct worker *w = container_of(h, struct worker, heartbeat);

    if (w->is_cut_off && is_orphan(w))
        become_orphan(w);
    if (w->has_been_termed)
        worker_ask_to_retire(w, "SIGTERM");
    if (counter_get(&w->record->counters.requests) >= w->max_requests)
        worker_ask_to_retire(w, "max_requests");
    transfers_tell(w);
}

/*
 * The scoreboard is writable for every worker. What this one says there about itself is said again
 * each second, so that a sibling that has written over it does not speak for this one for long.
 */
static void restate(struct worker *w)
{
    const struct actor_boot *boot = w->boot;

    if (scoreboard_restate(w->record, boot->slot, boot->incarnation, w->state)) {
        log_warning_limited(boot->log, "the scoreboard was written over by somebody else",
                            F_UINT("record", boot->record));
        acceptor_distrust(&w->acceptor);
    }
    acceptor_publish(&w->acceptor);
}

static void on_second(struct heartbeat *h)
{
    struct worker *w = container_of(h, struct worker, heartbeat);

    restate(w);
    log_flush_causes(w->boot->log, clock_mono_ms());
    if (w->boot->config->max_memory && clock_mono_ms() >= w->memory_from_ms &&
        recycle_resident_bytes() >= w->boot->config->max_memory)
        worker_ask_to_retire(w, "max_memory");
}

int worker_tell(struct worker *w, const char *command, uint64_t id, json_t *args)
{
    struct message m = {.id = id, .target = "arbiter", .args = args};
    int rc;

    snprintf(m.command, sizeof(m.command), "%s", command);
    snprintf(m.sender, sizeof(m.sender), "%s", w->boot->id);
    log_debug(w->boot->log, "message", F_STR("to", m.target), F_STR("command", command),
              F_UINT("id", id));
    rc = mailbox_send(&w->mailbox, &m, NULL, 0);
    if (rc < 0 && rc != -EPIPE)
        log_warning_limited(w->boot->log, "mailbox: not sent", F_STR("command", command),
                            F_ERR(rc));
    message_fini(&m);
    return rc;
}

void worker_set_state(struct worker *w, enum actor_state state)
{
    const enum actor_state from = w->state;

    if (from == state)
        return;
    assert(actor_state_may_follow(from, state));
    log_debug(w->boot->log, "state", F_STR("from", actor_state_name(from)),
              F_STR("to", actor_state_name(state)));
    w->state = state;
    counter_set(&w->record->state, state);
    title_set(w->boot->id, actor_state_name(state));
}

static void leave_if_drained(struct worker *w)
{
    if (w->is_draining && w->conns.n_open == 0)
        ev_break(w->loop, EVBREAK_ALL);
}

static void on_conn_closed(struct conn_set *set)
{
    struct worker *w = container_of(set, struct worker, conns);

    acceptor_on_closed(&w->acceptor);
    leave_if_drained(w);
}

static void on_memory_spent(struct conn_set *set, const char *reason, int fd, size_t held_bytes)
{
    struct worker *w = container_of(set, struct worker, conns);
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    char text[ADDR_TEXT_LEN] = "";

    if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0)
        addr_format((struct sockaddr *)&peer, len, text);
    log_warning_limited(w->boot->log, "server.max_buffered is spent: a connection is ended",
                        F_STR("reason", reason), F_STR("peer", text),
                        F_UINT("held_bytes", held_bytes),
                        F_UINT("buffered_bytes", set->pool.used_bytes));
}

static void on_patience_ends(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    struct worker *w = container_of(timer, struct worker, patience);

    log_info(w->boot->log, "drain: time is up, connections are cut",
             F_UINT("connections", w->conns.n_open));
    conn_set_cut(&w->conns);
    ev_break(w->loop, EVBREAK_ALL);
}

/* What nobody takes. */
static void drain_rest(struct worker *w)
{
    ev_timer_stop(w->loop, &w->hope);
    acceptor_fini(&w->acceptor);
    conn_set_drain(&w->conns);
    leave_if_drained(w);
}

/* Half of the time is over, or another second of it: nobody waits longer for what does not move. */
static void on_hope_ends(struct ev_loop *loop, ev_timer *timer, int revents UNUSED)
{
    struct worker *w = container_of(timer, struct worker, hope);

    if (w->conns.n_open < w->hoped_for) {
        w->hoped_for = w->conns.n_open;
        ev_timer_set(timer, hope_again_s, 0.);
        ev_timer_start(loop, timer);
        return;
    }
    log_warning(w->boot->log, "connections could not be handed over in time: they are drained",
                F_UINT("connections", w->conns.n_open));
    drain_rest(w);
}

static void begin_to_leave(struct worker *w)
{
    w->is_draining = true;
    worker_set_state(w, ACTOR_STOPPING);
    acceptor_stop(&w->acceptor);
    rescue_stop(&w->rescue);
    rescue_finish(&w->foreign);
    transfers_close(w);
    ev_timer_set(&w->patience, (double)w->boot->config->exit_timeout_ms / 1e3, 0.);
    ev_timer_start(w->loop, &w->patience);
}

void worker_drain(struct worker *w)
{
    if (!w->is_draining)
        begin_to_leave(w);
    drain_rest(w);
}

void worker_hand_over(struct worker *w, int *fds, size_t n_fds)
{
    if (!w->is_draining) {
        begin_to_leave(w);
        w->hoped_for = w->conns.n_open;
        ev_timer_set(&w->hope, (double)w->boot->config->exit_timeout_ms / 2e3, 0.);
        ev_timer_start(w->loop, &w->hope);
    }
    transfers_give(w, fds, n_fds, SIZE_MAX);
    worker_on_moved(w);
}

void worker_on_moved(struct worker *w)
{
    acceptor_on_moved(&w->acceptor);
    if (w->is_draining && !transfers_is_giving(w))
        acceptor_fini(&w->acceptor);
    leave_if_drained(w);
}

void worker_ask_to_retire(struct worker *w, const char *reason)
{
    if (w->has_asked || w->is_draining)
        return;
    /* If it cannot be said now, the next heartbeat says it. */
    w->has_asked = worker_tell(w, "retiring", 0, json_pack("{s:s}", "reason", reason)) == 0;
    if (!w->has_asked)
        return;
    /* Not told to run yet: nobody would miss it, and nobody will tell it to stop. */
    if (w->state != ACTOR_RUN)
        worker_drain(w);
}

static void on_term(struct ev_loop *loop, ev_signal *signal UNUSED, int revents UNUSED)
{
    struct worker *w = container_of(signal, struct worker, term);

    if (is_orphan(w)) {
        become_orphan(w);
    } else if (w->has_been_termed) {
        ev_break(loop, EVBREAK_ALL);
    } else {
        w->has_been_termed = true;
        worker_ask_to_retire(w, "SIGTERM");
    }
}

void worker_run(struct worker *w)
{
    if (w->is_draining)
        return;
    worker_set_state(w, ACTOR_RUN);
    rescue_start(&w->rescue, w->boot->rescue_recv_fd, &w->acceptor, false);
    acceptor_run(&w->acceptor);
}

void worker_quit(struct worker *w)
{
    ev_break(w->loop, EVBREAK_ALL);
}

static void on_message(struct mailbox *mb, struct message *m, int *fds, size_t n_fds)
{
    struct worker *w = container_of(mb, struct worker, mailbox);

    log_debug(w->boot->log, "message", F_STR("from", m->sender), F_STR("command", m->command),
              F_UINT("id", m->id));
    worker_command(w, m, fds, n_fds);
}

/*
 * A process that ends closes its descriptors before its children have another parent: SIGTERM
 * follows, or the next heartbeat sees it. Else it is this one alone that is cut off, and the
 * listeners are not its to shut down: it serves what it has until the arbiter ends it, so that
 * its connections are rescued.
 */
static void on_mailbox_close(struct mailbox *mb, int error UNUSED)
{
    struct worker *w = container_of(mb, struct worker, mailbox);

    w->is_cut_off = true;
    acceptor_stop(&w->acceptor);
    if (is_orphan(w))
        become_orphan(w);
}

/* Before memory is touched, so that it is near that CPU. */
static void pin(const struct actor_boot *boot)
{
    cpu_set_t cpus;
    int cpu = -1, rc;

    if (boot->config->cpu_affinity == AFFINITY_OFF)
        return;
    rc = cpus_allowed(&cpus);
    if (rc == 0) {
        cpu = config_cpu(boot->config, &cpus, boot->slot);
        CPU_ZERO(&cpus);
        CPU_SET((size_t)cpu, &cpus);
        rc = sched_setaffinity(0, sizeof(cpus), &cpus) < 0 ? -errno : 0;
    }
    /* The list was right when it was read; it serves all the same. */
    if (rc < 0)
        log_warning(boot->log, "arbiter.cpu_affinity: not pinned", F_INT("cpu", cpu), F_ERR(rc));
}

static int worker_prepare(struct worker *w, struct protocol_binding binding)
{
    const struct config *c = w->boot->config;
    const struct conn_limits limits = {
        .keep_alive_ms = c->keep_alive_ms,
        .message_timeout_ms = c->message_timeout_ms,
        .write_timeout_ms = c->write_timeout_ms,
        .max_buffered = c->max_buffered,
    };
    int rc;

    /* The epoll backend whatever LIBEV_FLAGS says: io_uring's is slower, poll does not scale. */
    errno = ENOMEM;
    w->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (!w->loop)
        return -errno;
    rc = conn_set_init(&w->conns, w->loop, binding, &limits, &w->record->counters, on_conn_closed);
    if (rc < 0)
        return rc;
    w->conns.on_spent = on_memory_spent;
    rc = acceptor_init(&w->acceptor, w->boot, w->loop, &w->conns);
    if (rc < 0)
        return rc;
    ev_timer_init(&w->patience, on_patience_ends, 0., 0.);
    ev_timer_init(&w->hope, on_hope_ends, 0., 0.);
    ev_signal_init(&w->term, on_term, SIGTERM);
    ev_signal_start(w->loop, &w->term);
    transfers_init(w);
    mailbox_start(&w->mailbox, w->loop, w->boot->mailbox_fd, on_message, on_mailbox_close);
    return 0;
}

/* How big a worker is without a client is known for the first time here. */
static void begin_to_measure(struct worker *w)
{
    const uint64_t limit = w->boot->config->max_memory, fresh = recycle_resident_bytes();
    const uint64_t grace_ms = recycle_memory_grace_ms(limit, fresh);

    w->memory_from_ms = clock_mono_ms() + grace_ms;
    if (grace_ms > RECYCLE_GRACE_MS)
        log_warning(w->boot->log,
                    "arbiter.max_memory leaves a new worker no room: it is replaced each minute",
                    F_UINT("max_memory", limit), F_UINT("resident", fresh),
                    F_UINT("at_least", fresh + RECYCLE_ROOM_BYTES));
}

int worker_main(const struct actor_boot *boot, struct protocol_binding binding)
{
    struct worker w = {
        .boot = boot,
        .record = &boot->scoreboard->records[boot->record],
        .state = ACTOR_INACTIVE,
        .heartbeat = {.on_beat = on_beat, .on_second = on_second},
    };
    int rc;

    pin(boot);
    worker_set_state(&w, ACTOR_STARTING);
    counter_set(&w.record->started_ns, clock_mono_ns());
    boot->log->dropped = &w.record->counters.log_dropped;
    signals_ignore_strays();
    rc = fatal_install(boot, &w.conns);
    if (rc == 0)
        rc = worker_prepare(&w, binding);
    if (rc < 0) {
        log_error(boot->log, "worker cannot begin", F_ERR(rc));
        return EX_OSERR;
    }
    w.max_requests =
        recycle_max_requests(boot->config->max_requests, (uint64_t)getpid() ^ clock_mono_ns());
    begin_to_measure(&w);
    heartbeat_start(&w.heartbeat, w.loop, w.record, boot->config->timeout_ms);
    signals_unblock_all();
    worker_tell(&w, "ready", 0, NULL);
    ev_run(w.loop, 0);

    worker_set_state(&w, ACTOR_CLOSE);
    acceptor_fini(&w.acceptor);
    transfers_fini(&w);
    rescue_stop(&w.rescue);
    rescue_stop(&w.foreign);
    conn_set_fini(&w.conns);
    mailbox_stop(&w.mailbox);
    ev_loop_destroy(w.loop);
    return EX_OK;
}
