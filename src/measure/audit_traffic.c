/*
 * The lanes of an audit: queue messages at their pace, hand all that comes back to the checker, end
 * as planned or by accident, begin again.
 */
#include "measure/audit_traffic.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/util.h"

enum { QUEUE_BYTES = 65536 }; /* queue no more messages above so many unsent bytes */

static void push(struct audit_lane *l);

static struct audit_lane *audit_lane_of(struct lane *l)
{
    return container_of(l, struct audit_lane, lane);
}

static uint64_t random_between(uint64_t *state, uint64_t min, uint64_t max)
{
    return min + random_next(state) % (max - min + 1);
}

static bool is_pacing(const struct audit_lane *l)
{
    return l->kind != AUDIT_LANE_SLOW && l->audit->options.think_max_ms > 0;
}

bool audit_lane_is_there(const struct audit_lane *l)
{
    return l->state == AUDIT_LANE_TALKING || l->state == AUDIT_LANE_ENDING;
}

uint64_t audit_lane_waiting_ns(const struct audit_lane *l)
{
    return audit_lane_is_there(l) ? l->check.waiting_ns : l->down_ns;
}

/* ---- connections come and go ---- */

static void disconnect(struct audit_lane *l)
{
    lane_close(&l->lane);
    buffer_free(&l->in, &l->audit->pool);
    buffer_free(&l->out, &l->audit->pool);
    audit_check_fini(&l->check);
}

/* Whether it is back or no longer wanted: the time without a connection is over. */
static void end_outage(struct audit_lane *l)
{
    audit_stall_add(&l->tally->stall, l->down_ns, clock_mono_ns());
    l->down_ns = 0;
}

static void set_done(struct audit_lane *l)
{
    if (l->state == AUDIT_LANE_DONE)
        return;
    end_outage(l);
    l->state = AUDIT_LANE_DONE;
    l->audit->on_lane_done(l->audit);
}

/* How long until this lane's next connection is due; late ones are not made up for. */
static unsigned until_due_ms(struct audit_lane *l)
{
    const uint64_t now_ns = clock_mono_ns(),
                   every_ns = l->audit->options.churn_every_ms * UINT64_C(1000000);

    if (l->kind != AUDIT_LANE_CHURNING || every_ns == 0)
        return 0;
    l->due_ns = MAX(l->due_ns + every_ns, now_ns);
    return (unsigned)((l->due_ns - now_ns) / 1000000);
}

/* What follows a connection, or the failure to get one. */
static void go_on(struct audit_lane *l, bool is_failure)
{
    const struct audit_options *o = &l->audit->options;

    disconnect(l);
    if (l->audit->is_stopping || l->n_left == 0 || (is_failure && !o->is_reconnecting))
        set_done(l);
    else
        audit_lane_start(l, is_failure ? o->reconnect_ms : until_due_ms(l));
}

/* The connection is over, one way or the other: every message meets its fate. */
static void end_connection(struct audit_lane *l, enum audit_end how)
{
    struct audit_counts *counts = &l->tally->counts;
    uint64_t now_ns = clock_mono_ns(), since_ns = l->check.waiting_ns;
    bool is_ours = l->lane.is_shut && how == AUDIT_END_CLOSED &&
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

static void on_connected(struct lane *lane)
{
    struct audit_lane *l = audit_lane_of(lane);
    struct audit *a = l->audit;
    uint32_t depth = l->kind == AUDIT_LANE_SLOW ? 1 : a->options.depth;
    /* Unlike any other's, and the same in each run, whoever is connected first. */
    uint32_t number = (uint32_t)l->tally->counts.connected * a->options.lanes + l->index + 1;

    l->check = (struct audit_check){
        .id = {a->options.seed, a->options.run, number},
        .rule = &a->rule,
        .counts = &l->tally->counts,
        .stall = &l->tally->stall,
        .incidents = &a->incidents,
        .on_echoed = a->on_lane_echoed,
        .on_echoed_data = a,
        .lane = l->index,
        .port = own_port(l->lane.io.fd),
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
    l->state = a->is_stopping ? AUDIT_LANE_ENDING : AUDIT_LANE_TALKING;
    l->n_left_here = l->kind == AUDIT_LANE_CHURNING ? a->options.churn_messages : UINT32_MAX / 2;
    l->is_due = false;
    l->resume = 0;
    if (is_pacing(l) && l->state == AUDIT_LANE_TALKING)
        lane_wake_in(&l->lane, random_between(&l->pauses, 0, a->options.think_max_ms));
    push(l);
}

static void on_unconnected(struct lane *lane, int outcome)
{
    struct audit_lane *l = audit_lane_of(lane);

    if (outcome == ARB_REFUSED)
        l->tally->counts.refused++;
    else
        l->tally->counts.unconnected++;
    go_on(l, true);
}

static void connect_now(struct audit_lane *l)
{
    if (l->down_ns == 0)
        l->down_ns = clock_mono_ns();
    l->state = AUDIT_LANE_CONNECTING;
    lane_connect(&l->lane);
}

static void on_over(struct lane *lane, bool is_reset)
{
    end_connection(audit_lane_of(lane), is_reset ? AUDIT_END_RESET : AUDIT_END_CLOSED);
}

static void on_silent(struct lane *lane)
{
    struct audit_lane *l = audit_lane_of(lane);

    if (l->state == AUDIT_LANE_ENDING || audit_check_has_outstanding(&l->check))
        end_connection(l, AUDIT_END_TIMEOUT);
}

/* ---- messages out ---- */

/* Each doubling of the size is as likely as any other. */
static size_t random_size(struct audit_lane *l)
{
    const struct audit_options *o = &l->audit->options;
    unsigned doublings = 0;
    size_t low;

    if (l->kind == AUDIT_LANE_SLOW)
        return o->slow_size;
    while (o->size_min << doublings < o->size_max / 2)
        doublings++;
    low = o->size_min << random_between(&l->sizes, 0, doublings);
    return random_between(&l->sizes, low, MIN(low * 2, o->size_max));
}

/* Which messages, pieces and pauses this connection has is decided here and nowhere else. */
static bool wants_message(const struct audit_lane *l)
{
    return l->state == AUDIT_LANE_TALKING && l->n_left > 0 && l->n_left_here > 0 &&
           (!is_pacing(l) || l->is_due) && audit_check_room(&l->check) > 0 &&
           buffer_len(&l->out) < QUEUE_BYTES;
}

static int queue_message(struct audit_lane *l)
{
    struct audit *a = l->audit;
    size_t size = random_size(l);
    uint32_t sequence;
    int rc = buffer_reserve(&l->out, &a->pool, size + a->rule.separator_len);

    if (rc)
        return rc;
    sequence = audit_check_queued(&l->check, size);
    audit_message_write(&l->check.id, &a->rule, sequence, buffer_end(&l->out), size);
    memcpy(buffer_end(&l->out) + size, a->rule.separator, a->rule.separator_len);
    buffer_commit(&l->out, size + a->rule.separator_len);
    l->n_left--;
    l->n_left_here--;
    l->is_due = false;
    if (l->kind == AUDIT_LANE_SLOW)
        l->may_write = MAX(size / a->options.slow_pieces, (size_t)1);
    return 0;
}

/* Write what is queued, on a slow lane at most the piece whose turn it is. Returns 0 or -errno. */
static int write_some(struct audit_lane *l)
{
    const struct audit_options *o = &l->audit->options;
    bool is_slow = l->kind == AUDIT_LANE_SLOW;

    while (buffer_len(&l->out) > 0 && (!is_slow || l->may_write > 0)) {
        size_t len = is_slow ? MIN(buffer_len(&l->out), l->may_write) : buffer_len(&l->out);
        ssize_t n = lane_send(&l->lane, buffer_data(&l->out), len);

        if (n < 0)
            return (int)n;
        if (n == 0) {
            if (!l->lane.is_deaf)
                audit_check_blocked(&l->check, clock_mono_ns());
            return 0;
        }
        audit_check_written(&l->check, (size_t)n, l->lane.moved_ns);
        buffer_consume(&l->out, &l->audit->pool, (size_t)n);
        if (!is_slow)
            continue;
        l->may_write -= (size_t)n;
        if (l->may_write == 0 && buffer_len(&l->out) > 0)
            lane_wake_in(&l->lane,
                         random_between(&l->pauses, o->slow_gap_min_ms, o->slow_gap_max_ms));
    }
    return 0;
}

static void shut_if_finished(struct audit_lane *l)
{
    bool is_ready = l->audit->options.is_half_closing || !audit_check_has_outstanding(&l->check);

    if (l->lane.is_shut || l->lane.is_deaf || buffer_len(&l->out) > 0 || !is_ready)
        return;
    if (l->state != AUDIT_LANE_ENDING && l->n_left > 0 && l->n_left_here > 0)
        return;
    l->state = AUDIT_LANE_ENDING;
    lane_shut(&l->lane);
}

/* Send all that may be sent now, and wait for the right events. */
static void push(struct audit_lane *l)
{
    bool wants_write;
    int rc = 0;

    do {
        while (rc == 0 && wants_message(l))
            rc = queue_message(l);
        if (rc == 0)
            rc = write_some(l);
    } while (rc == 0 && !l->lane.is_deaf && buffer_len(&l->out) == 0 && wants_message(l));
    if (rc) {
        end_connection(l, AUDIT_END_RESET);
        return;
    }
    shut_if_finished(l);
    wants_write = !l->lane.is_deaf && buffer_len(&l->out) > 0 &&
                  (l->kind != AUDIT_LANE_SLOW || l->may_write > 0);
    lane_want_room(&l->lane, wants_write);
}

static void on_room(struct lane *lane)
{
    push(audit_lane_of(lane));
}

/* A lane has one thing at a time to wait for. */
static void on_due(struct lane *lane)
{
    struct audit_lane *l = audit_lane_of(lane);
    const struct audit_options *o = &l->audit->options;

    if (l->state == AUDIT_LANE_PAUSING) {
        connect_now(l);
        return;
    }
    if (l->kind == AUDIT_LANE_SLOW) {
        l->may_write = MAX(o->slow_size / o->slow_pieces, (size_t)1);
    } else if (l->state == AUDIT_LANE_TALKING) {
        if (audit_check_room(&l->check) == 0)
            l->tally->counts.skipped++;
        else
            l->is_due = true;
        lane_wake_in(lane, random_between(&l->pauses, o->think_min_ms, o->think_max_ms));
    }
    push(l);
}

/* ---- replies in ---- */

/* Hand whole replies to the checker. Returns 0, or 1 for a reply that never ends. */
static int check_replies(struct audit_lane *l, uint64_t now_ns)
{
    const struct frame_rule *r = &l->audit->rule;
    const uint8_t *data = buffer_data(&l->in), *end;
    size_t len = buffer_len(&l->in);
    struct frame_result f = frame_scan(r, data, len, l->resume);
    size_t at = 0;

    while (at < f.complete) {
        end = memmem(data + at, f.complete - at, r->separator, r->separator_len);
        assert(end != NULL);
        audit_check_frame(&l->check, data + at, (size_t)(end - data) - at, now_ns);
        at = (size_t)(end - data) + r->separator_len;
    }
    l->resume = f.resume;
    buffer_consume(&l->in, &l->audit->pool, at);
    return f.outcome == FRAME_TOO_BIG;
}

static void on_data(struct lane *lane, const uint8_t *data, size_t len)
{
    struct audit_lane *l = audit_lane_of(lane);

    audit_check_received(&l->check, len, lane->moved_ns);
    if (buffer_append(&l->in, &l->audit->pool, data, len) || check_replies(l, lane->moved_ns))
        end_connection(l, AUDIT_END_TIMEOUT);
}

const struct flow_ops audit_flow_ops = {
    .on_due = on_due,
    .on_connected = on_connected,
    .on_unconnected = on_unconnected,
    .on_data = on_data,
    .on_room = on_room,
    .on_silent = on_silent,
    .on_over = on_over,
};

/* ---- the life of a lane ---- */

void audit_lane_init(struct audit_lane *l, struct audit *a, unsigned index)
{
    const struct audit_options *o = &a->options;

    *l = (struct audit_lane){.audit = a, .index = index, .state = AUDIT_LANE_PAUSING};
    lane_init(&l->lane, &a->flow);
    lane_set_patience(&l->lane, o->reply_timeout_ms);
    l->tally = &a->tallies[index];
    l->kind = index < o->churn_lanes                   ? AUDIT_LANE_CHURNING
              : index < o->churn_lanes + o->slow_lanes ? AUDIT_LANE_SLOW
                                                       : AUDIT_LANE_LONG;
    l->sizes = o->seed ^ (uint64_t)index << 32;
    l->pauses = ~l->sizes;
    l->n_left = o->messages ? o->messages : UINT64_MAX;
    l->due_ns = a->started_ns;
    if (o->churn_lanes > 0) /* evenly over the time of one round */
        l->due_ns += index * (o->churn_every_ms * UINT64_C(1000000) / o->churn_lanes);
}

void audit_lane_start(struct audit_lane *l, unsigned pause_ms)
{
    l->state = AUDIT_LANE_PAUSING;
    lane_wake_in(&l->lane, pause_ms);
}

void audit_lane_end(struct audit_lane *l)
{
    l->tally->counts.abandoned += l->state == AUDIT_LANE_CONNECTING;
    if (l->state == AUDIT_LANE_PAUSING || l->state == AUDIT_LANE_CONNECTING) {
        disconnect(l);
        set_done(l);
    } else if (l->state == AUDIT_LANE_TALKING) {
        l->state = AUDIT_LANE_ENDING;
        if (l->kind != AUDIT_LANE_SLOW)
            lane_rest(&l->lane);
        push(l);
    }
}

void audit_lane_fini(struct audit_lane *l)
{
    disconnect(l);
}
