/*
 * One lane: connect, talk (audit_traffic.c), end as planned or by accident, begin again. Runs in
 * the loop of the audit.
 */
#include "measure/audit_lane.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"
#include "client/connect.h"

enum { LANE_BUSY_RETRY_MS = 10 }; /* a unix socket whose accept queue is full */

uint64_t lane_random(uint64_t *state, uint64_t min, uint64_t max)
{
    return min + audit_random(state) % (max - min + 1);
}

bool lane_is_pacing(const struct lane *l)
{
    return l->kind != LANE_SLOW && l->audit->options.think_max_ms > 0;
}

void lane_set_timer(struct lane *l, uint64_t ms)
{
    ev_timer_stop(l->audit->loop, &l->timer);
    ev_timer_set(&l->timer, (double)ms / 1e3, 0.);
    ev_timer_start(l->audit->loop, &l->timer);
}

void lane_set_events(struct lane *l, int events)
{
    if (ev_is_active(&l->io) && (l->io.events & (EV_READ | EV_WRITE)) == events)
        return;
    ev_io_stop(l->audit->loop, &l->io);
    ev_io_set(&l->io, l->fd, events);
    ev_io_start(l->audit->loop, &l->io);
}

static void disconnect(struct lane *l)
{
    ev_io_stop(l->audit->loop, &l->io);
    ev_timer_stop(l->audit->loop, &l->timer);
    fds_close(&l->fd);
    buffer_free(&l->in, &l->audit->pool);
    buffer_free(&l->out, &l->audit->pool);
    audit_check_fini(&l->check);
}

/* Whether it is back or no longer wanted: the time without a connection is over. */
static void end_outage(struct lane *l)
{
    audit_stall_add(&l->tally->stall, l->down_ns, clock_mono_ns());
    l->down_ns = 0;
}

uint64_t lane_waiting_ns(const struct lane *l)
{
    bool is_there = l->state == LANE_TALKING || l->state == LANE_ENDING;

    return is_there ? l->check.waiting_ns : l->down_ns;
}

static void set_done(struct lane *l)
{
    if (l->state == LANE_DONE)
        return;
    end_outage(l);
    l->state = LANE_DONE;
    audit_lane_done(l->audit);
}

/* How long until this lane's next connection is due; late ones are not made up for. */
static unsigned until_due_ms(struct lane *l)
{
    const uint64_t now_ns = clock_mono_ns(),
                   every_ns = l->audit->options.churn_every_ms * UINT64_C(1000000);

    if (l->kind != LANE_CHURNING || every_ns == 0)
        return 0;
    l->due_ns = MAX(l->due_ns + every_ns, now_ns);
    return (unsigned)((l->due_ns - now_ns) / 1000000);
}

/* What follows a connection, or the failure to get one. */
static void go_on(struct lane *l, bool is_failure)
{
    const struct audit_options *o = &l->audit->options;

    disconnect(l);
    if (l->audit->is_stopping || l->n_left == 0 || (is_failure && !o->is_reconnecting))
        set_done(l);
    else
        lane_start(l, is_failure ? o->reconnect_ms : until_due_ms(l));
}

void lane_over(struct lane *l, enum audit_end how)
{
    struct audit_counts *counts = &l->tally->counts;
    uint64_t now_ns = clock_mono_ns(), since_ns = l->check.waiting_ns;
    bool is_ours = l->is_shut && how == AUDIT_END_CLOSED &&
                   !audit_check_has_outstanding(&l->check) && buffer_len(&l->in) == 0;

    audit_check_end(&l->check, how, buffer_data(&l->in), buffer_len(&l->in), now_ns);
    if (!is_ours)
        l->down_ns = since_ns ? since_ns : now_ns;
    if (is_ours)
        counts->finished++;
    else if (how == AUDIT_END_CLOSED)
        counts->closed++;
    else if (how == AUDIT_END_RESET)
        counts->reset++;
    else
        counts->given_up++;
    go_on(l, !is_ours);
}

static uint16_t own_port(int fd)
{
    struct sockaddr_storage sa;
    socklen_t len = sizeof(sa);

    if (getsockname(fd, (struct sockaddr *)&sa, &len) < 0)
        return 0;
    if (sa.ss_family == AF_INET)
        return ntohs(((const struct sockaddr_in *)(const void *)&sa)->sin_port);
    if (sa.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)(const void *)&sa)->sin6_port);
    return 0;
}

static void connected(struct lane *l)
{
    struct audit *a = l->audit;
    uint32_t depth = l->kind == LANE_SLOW ? 1 : a->options.depth;
    /* Unlike any other's, and the same in each run, whoever is connected first. */
    uint32_t number = (uint32_t)l->tally->counts.connected * a->options.lanes + l->index + 1;

    l->check = (struct audit_check){
        .id = {a->options.seed, a->options.run, number},
        .rule = &a->rule,
        .counts = &l->tally->counts,
        .stall = &l->tally->stall,
        .incidents = &a->incidents,
        .on_echoed = audit_lane_echoed,
        .on_echoed_data = a,
        .lane = l->index,
        .port = own_port(l->fd),
        .expected = a->expected,
        .expected_size = a->largest,
    };
    l->tally->counts.connected++;
    if (audit_check_init(&l->check, depth)) {
        l->tally->counts.given_up++;
        go_on(l, true);
        return;
    }
    end_outage(l);
    l->state = a->is_stopping ? LANE_ENDING : LANE_TALKING;
    l->n_left_here = l->kind == LANE_CHURNING ? a->options.churn_messages : UINT32_MAX / 2;
    l->is_shut = l->is_deaf = l->is_reset = l->is_due = false;
    l->resume = 0;
    l->moved_ns = clock_mono_ns();
    if (lane_is_pacing(l) && l->state == LANE_TALKING)
        lane_set_timer(l, lane_random(&l->pauses, 0, a->options.think_max_ms));
    lane_push(l);
}

static void not_connected(struct lane *l, int outcome)
{
    if (outcome == -EAGAIN) { /* only unix sockets: the accept queue is full */
        disconnect(l);
        if (l->audit->is_stopping)
            set_done(l);
        else
            lane_start(l, LANE_BUSY_RETRY_MS);
        return;
    }
    if (outcome == CALL_REFUSED)
        l->tally->counts.refused++;
    else
        l->tally->counts.unconnected++;
    l->address = (l->address + 1) % (unsigned)l->audit->addresses.n;
    go_on(l, true);
}

static void connect_now(struct lane *l)
{
    int rc;

    l->moved_ns = clock_mono_ns();
    if (l->down_ns == 0)
        l->down_ns = l->moved_ns;
    rc = connect_begin(&l->audit->addresses.all[l->address], NULL, &l->fd);
    if (rc == 0) {
        connected(l);
    } else if (rc == CALL_PENDING) {
        l->state = LANE_CONNECTING;
        lane_set_events(l, EV_WRITE);
    } else {
        not_connected(l, rc);
    }
}

static void on_connecting(struct lane *l)
{
    int rc = connect_finish(l->fd);

    if (rc)
        not_connected(l, rc);
    else
        connected(l);
}

static void on_io(struct ev_loop *loop, ev_io *w, int revents)
{
    struct lane *l = container_of(w, struct lane, io);

    (void)loop;
    if (l->state == LANE_CONNECTING) {
        on_connecting(l);
        return;
    }
    if ((revents & EV_READ) && !lane_read(l))
        return;
    lane_push(l);
}

/* A lane has one thing at a time to wait for. */
static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct lane *l = container_of(w, struct lane, timer);
    const struct audit_options *o = &l->audit->options;

    (void)loop;
    (void)revents;
    if (l->state == LANE_PAUSING) {
        connect_now(l);
        return;
    }
    if (l->kind == LANE_SLOW) {
        l->may_write = MAX(o->slow_size / o->slow_pieces, (size_t)1);
    } else if (l->state == LANE_TALKING) {
        if (audit_check_room(&l->check) == 0)
            l->tally->counts.skipped++;
        else
            l->is_due = true;
        lane_set_timer(l, lane_random(&l->pauses, o->think_min_ms, o->think_max_ms));
    }
    lane_push(l);
}

void lane_init(struct lane *l, struct audit *a, unsigned index)
{
    const struct audit_options *o = &a->options;

    *l = (struct lane){.audit = a, .index = index, .fd = -1, .state = LANE_PAUSING};
    l->tally = &a->tallies[index];
    l->kind = index < o->churn_lanes                   ? LANE_CHURNING
              : index < o->churn_lanes + o->slow_lanes ? LANE_SLOW
                                                       : LANE_LONG;
    l->sizes = o->seed ^ (uint64_t)index << 32;
    l->pauses = ~l->sizes;
    l->n_left = o->messages ? o->messages : UINT64_MAX;
    l->due_ns = a->started_ns;
    if (o->churn_lanes > 0) /* evenly over the time of one round */
        l->due_ns += index * (o->churn_every_ms * UINT64_C(1000000) / o->churn_lanes);
    ev_init(&l->io, on_io);
    ev_init(&l->timer, on_timer);
}

void lane_start(struct lane *l, unsigned pause_ms)
{
    l->state = LANE_PAUSING;
    lane_set_timer(l, pause_ms);
}

void lane_end(struct lane *l)
{
    l->tally->counts.abandoned += l->state == LANE_CONNECTING;
    if (l->state == LANE_PAUSING || l->state == LANE_CONNECTING) {
        disconnect(l);
        set_done(l);
    } else if (l->state == LANE_TALKING) {
        l->state = LANE_ENDING;
        if (l->kind != LANE_SLOW)
            ev_timer_stop(l->audit->loop, &l->timer);
        lane_push(l);
    }
}

void lane_sweep(struct lane *l, uint64_t now_ns)
{
    const struct audit_options *o = &l->audit->options;
    uint64_t still_ms = (now_ns - MIN(l->moved_ns, now_ns)) / 1000000;

    if (l->state == LANE_CONNECTING && still_ms >= o->connect_timeout_ms)
        not_connected(l, CALL_TIMEOUT);
    else if ((l->state == LANE_TALKING && audit_check_has_outstanding(&l->check) &&
              still_ms >= o->reply_timeout_ms) ||
             (l->state == LANE_ENDING && still_ms >= o->reply_timeout_ms))
        lane_over(l, AUDIT_END_TIMEOUT);
}

void lane_fini(struct lane *l)
{
    disconnect(l);
}
