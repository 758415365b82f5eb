/*
 * The worker process: a libev loop with a mailbox to the arbiter, listeners to accept on and a set
 * of connections. It knows no configuration file and forks nothing. The one file of the worker that
 * knows all others: what they report ends here.
 */
#include "worker/worker.h"

#include <errno.h>
#include <ev.h>
#include <malloc.h>
#include <sysexits.h>
#include <unistd.h>

#include "actor/process_command.h"
#include "base/clock.h"
#include "base/cpus.h"
#include "base/fds.h"
#include "base/log.h"
#include "base/util.h"
#include "conf/config.h"
#include "worker/crash.h"
#include "worker/recycle.h"
#include "worker/worker_impl.h"

enum { MMAP_THRESHOLD_BYTES = 128 << 10 }; /* malloc's own, which it raises to 32 MiB otherwise */

static void on_beat(struct process *p)
{
    struct worker *w = container_of(p, struct worker, process);

    if (counter_get(&p->record->counters.requests) >= w->max_requests)
        process_ask_for_heir(p, "max_requests");
    moves_tell(&w->moves);
    conn_sample_next(&w->conns);
    counter_set(&p->record->kept, w->keep.n_kept);
    if (w->n_rescued > 0)
        log_info(w->boot->log, "connections rescued", F_UINT("count", w->n_rescued));
    w->n_rescued = 0;
}

static void on_second(struct process *p)
{
    struct worker *w = container_of(p, struct worker, process);

    listings_sweep(&w->listings, &w->conns, clock_mono_ms());
    if (w->boot->config->max_memory && clock_mono_ms() >= w->memory_from_ms &&
        usage_memory_bytes(&p->usage) >= w->boot->config->max_memory)
        process_ask_for_heir(p, "max_memory");
}

static void on_conn_closed(struct conn_set *set)
{
    worker_on_closed(container_of(set, struct worker, conns));
}

static bool on_answered(struct conn_set *set, struct arb_conn *c UNUSED)
{
    return worker_on_answered(container_of(set, struct worker, conns));
}

static void on_conn_ended(struct conn_set *set, const struct arb_conn *c,
                          const struct conn_ending *e)
{
    conn_log_end(&container_of(set, struct worker, conns)->conn_log, c, e, clock_mono_ms());
}

static void on_memory_spent(struct conn_set *set, const char *reason, const struct arb_conn *c,
                            size_t held_bytes)
{
    struct worker *w = container_of(set, struct worker, conns);
    char text[CONN_PEER_LEN];

    log_warning_limited(w->boot->log, "server.max_buffered is spent: a connection is ended",
                        F_STR("reason", reason), F_STR("peer", conn_peer(c, text)),
                        F_UINT("held_bytes", held_bytes),
                        F_UINT("buffered_bytes", set->pool.used_bytes));
}

static void on_taken(struct keep *k, uint64_t count)
{
    struct worker *w = container_of(k, struct worker, keep);

    w->n_rescued += count;
    acceptor_on_moved(&w->acceptor);
}

static void on_broken_contract(struct conn_set *set, const char *protocol, const char *what)
{
    struct worker *w = container_of(set, struct worker, conns);

    log_error_limited(w->boot->log, "a protocol breaks its contract: the connection is ended",
                      F_STR("protocol", protocol), F_STR("what", what));
}

static void on_header(struct conn_set *set, const struct conn_header_news *news)
{
    acceptor_on_header(&container_of(set, struct worker, conns)->acceptor, news);
}

static void on_moved(struct moves *moves)
{
    worker_on_moved(container_of(moves, struct worker, moves));
}

static void on_message(struct process *p, struct message *m, int *fds, size_t n_fds)
{
    process_command(p, &worker_commands, m, fds, n_fds);
}

static void on_orphaned(struct process *p)
{
    worker_become_orphan(container_of(p, struct worker, process));
}

static void on_unwanted(struct process *p)
{
    worker_drain(container_of(p, struct worker, process));
}

/* The listeners are not its to shut down: it serves what it has until the arbiter ends it, so that
 * its connections are passed on. */
static void on_cut_off(struct process *p)
{
    acceptor_stop(&container_of(p, struct worker, process)->acceptor);
}

/* ---- messages of actors ---- */

static void on_relayed(struct process *p, const struct arb_message *m, bool is_for_all UNUSED)
{
    const struct protocols *all = &container_of(p, struct worker, process)->protocols;

    for (unsigned i = 0; i < all->n; i++)
        if (all->list[i].table->on_message)
            all->list[i].table->on_message(all->list[i].server, NULL, m);
}

static void on_can_send(struct process *p)
{
    struct protocols *all = &container_of(p, struct worker, process)->protocols;

    for (unsigned i = 0; i < all->n; i++) {
        const bool is_owed = all->holds[i].wants_to_send;

        all->holds[i].wants_to_send = false;
        if (is_owed && all->list[i].table->on_can_send)
            all->list[i].table->on_can_send(all->list[i].server);
    }
}

static void on_numbered(struct process *p)
{
    moves_go_on(&container_of(p, struct worker, process)->moves);
}

static int fence(struct process *p UNUSED, struct arb_conn *conn, uint64_t sequence)
{
    return conn_fence(conn, sequence);
}

static const struct process_ops worker_ops = {
    .on_message = on_message,
    .on_orphaned = on_orphaned,
    .on_unwanted = on_unwanted,
    .on_cut_off = on_cut_off,
    .on_relayed = on_relayed,
    .on_can_send = on_can_send,
    .on_numbered = on_numbered,
    .fence = fence,
    .on_beat = on_beat,
    .on_second = on_second,
};

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

/* What it takes from others is counted, too: so this comes before the first connection. */
static int count_sources(struct worker *w)
{
    const struct config *c = w->boot->config;
    int rc;

    if (!w->boot->sources)
        return 0;
    w->sources = (struct conn_sources){
        .table = w->boot->sources,
        .limits = {.connections = c->max_per_source, .accepts = c->accept_rate},
        .trusted = c->trusted,
        .n_trusted = c->n_trusted,
        .in_use = &w->process.record->sources,
        .uncounted = &w->process.record->counters.uncounted,
    };
    rc = conn_sources_init(&w->sources);
    if (rc == 0)
        w->conns.sources = &w->sources;
    return rc;
}

static int worker_prepare(struct worker *w)
{
    const struct config *c = w->boot->config;
    const struct conn_limits limits = {
        .keep_alive_ms = c->keep_alive_ms,
        .message_timeout_ms = c->message_timeout_ms,
        .write_timeout_ms = c->write_timeout_ms,
        .max_buffered = c->max_buffered,
    };
    int rc;

    rc = process_prepare(&w->process);
    if (rc < 0)
        return rc;
    rc = protocols_start(&w->protocols, w->boot, &w->process.shared);
    if (rc < 0)
        return rc;
    rc = conn_set_init(&w->conns, w->process.loop, w->protocols.list, w->protocols.n, &limits,
                       &w->process.record->counters, on_conn_closed);
    if (rc < 0)
        return rc;
    w->conns.relay = &w->process.relay;
    w->conns.on_spent = on_memory_spent;
    conn_log_begin(&w->conn_log, w->boot->log, c->log_connections);
    w->conns.ended_least = conn_log_least(c->log_connections);
    w->conns.on_ended = on_conn_ended;
    w->conns.on_broken = on_broken_contract;
    w->conns.on_header = on_header;
    w->conns.owing = &w->process.record->owing;
    w->conns.sample.times = &w->process.record->times.reply;
    for (unsigned i = 0; i < w->protocols.n; i++)
        w->protocols.holds[i].conns = &w->conns;
    w->conns.on_answered = on_answered;
    w->conns.last_id = conn_id_base(w->boot->slot, w->boot->incarnation);
    rc = keep_init(&w->keep, &w->conns, w->boot->keep_table_fd, w->boot->config->keep_after_ms,
                   on_taken);
    if (rc < 0)
        log_warning(w->boot->log, "connections of this worker are not kept", F_ERR(rc));
    rc = count_sources(w);
    if (rc < 0)
        return rc;
    rc = acceptor_init(&w->acceptor, w->boot, w->process.loop, &w->conns);
    if (rc < 0)
        return rc;
    w->moves.boot = w->boot;
    w->moves.conns = &w->conns;
    w->moves.mailbox = &w->process.mailbox;
    w->moves.on_moved = on_moved;
    moves_init(&w->moves);
    return 0;
}

/* How big a worker is without a client is known for the first time here. */
static void begin_to_measure(struct worker *w)
{
    const uint64_t limit = w->boot->config->max_memory;
    uint64_t fresh, grace_ms;

    if (limit == 0)
        return;
    fresh = usage_memory_bytes(&w->process.usage);
    grace_ms = recycle_memory_grace_ms(limit, fresh);
    w->memory_from_ms = clock_mono_ms() + grace_ms;
    if (grace_ms > RECYCLE_GRACE_MS)
        log_warning(w->boot->log,
                    "arbiter.max_memory leaves a new worker no room: it is replaced each minute",
                    F_UINT("max_memory", limit), F_UINT("resident", fresh),
                    F_UINT("at_least", fresh + RECYCLE_ROOM_BYTES));
}

static void close_worker(struct worker *w)
{
    acceptor_fini(&w->acceptor);
    moves_fini(&w->moves);
    collect_stop(&w->collect);
    listings_stop(&w->listings, &w->conns);
    conn_set_cut(&w->conns);
    protocols_stop(&w->protocols);
    keep_fini(&w->keep);
    conn_set_fini(&w->conns);
    conn_sources_fini(&w->sources);
}

int worker_main(const struct actor_boot *boot)
{
    struct worker w = {.boot = boot};
    int rc;

    pin(boot);
    /* A large block that is freed leaves a hole in the heap, which no larger one fits into: the
     * process would grow to twice what max_buffered allows. A mapping of its own leaves none. */
    mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES);
    process_begin(&w.process, boot, &worker_ops);
    rc = crash_install(boot, &w.conns, &w.keep);
    if (rc == 0)
        rc = worker_prepare(&w);
    if (rc < 0) {
        log_error(boot->log, "worker cannot begin", F_ERR(rc));
        protocols_stop(&w.protocols);
        return EX_OSERR;
    }
    w.max_requests =
        recycle_max_requests(boot->config->max_requests, (uint64_t)getpid() ^ clock_mono_ns());
    begin_to_measure(&w);
    if (process_confine(&w.process, SANDBOX_WORKER) < 0) {
        protocols_stop(&w.protocols);
        return EX_OSERR;
    }
    process_ready(&w.process);
    ev_run(w.process.loop, 0);

    process_set_state(&w.process, ACTOR_CLOSE);
    /* After a second SIGTERM no connection is shut down: the keeper passes on what it has, as after
     * a kill, and the others end with the process. */
    if (!w.process.is_over)
        close_worker(&w);
    process_fini(&w.process);
    return EX_OK;
}
