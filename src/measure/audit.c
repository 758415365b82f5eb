/*
 * An audit: lanes that queue messages at their pace, hand all that comes back to the checker, end
 * as planned or by accident, and begin again.
 */
#include "measure/audit.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/buffer.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/util.h"
#include "client/human.h"
#include "measure/flow.h"

enum {
    QUEUE_BYTES = 65536, /* queue no more messages above so many unsent bytes */
    FOREIGN_ENOUGH = 4, /* replies that are no echo, and not one that is: no echo server */
};

enum audit_lane_state {
    AUDIT_LANE_PAUSING, /* no connection; the next one begins when it is due */
    AUDIT_LANE_CONNECTING,
    AUDIT_LANE_TALKING, /* sends and receives */
    AUDIT_LANE_ENDING, /* sends what is queued, half-closes, reads to end of file */
    AUDIT_LANE_DONE,
};

enum audit_lane_kind { AUDIT_LANE_CHURNING, AUDIT_LANE_SLOW, AUDIT_LANE_LONG };

struct audit_lane {
    struct lane lane;
    struct audit *audit; /* owner */
    struct audit_tally *tally;
    enum audit_lane_state state;
    enum audit_lane_kind kind;
    unsigned index;
    struct audit_check check;
    struct buffer out;
    struct buffer in;
    size_t resume; /* of the search for the separator in `in` */
    size_t may_write; /* slow lanes: bytes of the piece that is under way */
    uint64_t n_left; /* messages to send in this lane */
    uint64_t n_left_here; /* … on this connection */
    uint64_t sizes, pauses; /* of the random numbers: what came late must not change the sizes */
    uint64_t down_ns; /* since when there is no connection although there should be; 0 = there is */
    uint64_t due_ns; /* churning at a rate: when the next connection is due */
    bool is_due; /* a message's time has come (with pauses between messages) */
};

struct audit {
    struct audit_options options;
    struct flow flow;
    struct frame_rule rule;
    struct buffer_pool pool;
    struct audit_lane *lanes; /* owned, options.lanes of them */
    struct audit_tally *tallies; /* owned, one per lane */
    struct audit_incidents incidents;
    struct hist echoed;
    uint8_t *expected; /* for the checkers, one message at a time */
    size_t largest; /* message with its separator */
    uint8_t first[AUDIT_FIRST_BYTES]; /* that ever came */
    size_t n_first;
    unsigned n_done; /* lanes */
    uint64_t started_ns, started_wall_ns, ended_ns;
    bool is_stopping;
    struct deadline end; /* duration_ms */
};

static void lane_push(struct audit_lane *l);

bool audit_is_done(const struct audit *a)
{
    return a->n_done == a->options.lanes;
}

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

static bool lane_is_there(const struct audit_lane *l)
{
    return l->state == AUDIT_LANE_TALKING || l->state == AUDIT_LANE_ENDING;
}

static uint64_t lane_waiting_ns(const struct audit_lane *l)
{
    return lane_is_there(l) ? l->check.waiting_ns : l->down_ns;
}

/* ---- connections come and go ---- */

static void lane_disconnect(struct audit_lane *l)
{
    lane_close(&l->lane);
    buffer_free(&l->in, &l->audit->pool);
    buffer_free(&l->out, &l->audit->pool);
    audit_check_fini(&l->check);
}

/* Ends the time without a connection: there is one again, or none is wanted any more. */
static void end_outage(struct audit_lane *l)
{
    audit_stall_add(&l->tally->stall, l->down_ns, clock_mono_ns());
    l->down_ns = 0;
}

static void lane_set_done(struct audit_lane *l)
{
    if (l->state == AUDIT_LANE_DONE)
        return;
    end_outage(l);
    l->state = AUDIT_LANE_DONE;
    l->audit->n_done++;
    if (audit_is_done(l->audit))
        l->audit->ended_ns = clock_mono_ns();
}

/* The time until this lane's next connection is due. Late connections are not made up for. */
static unsigned until_due_ms(struct audit_lane *l)
{
    const uint64_t now_ns = clock_mono_ns(),
                   every_ns = l->audit->options.churn_every_ms * UINT64_C(1000000);

    if (l->kind != AUDIT_LANE_CHURNING || every_ns == 0)
        return 0;
    l->due_ns = MAX(l->due_ns + every_ns, now_ns);
    return (unsigned)((l->due_ns - now_ns) / 1000000);
}

static void audit_lane_start(struct audit_lane *l, unsigned pause_ms)
{
    l->state = AUDIT_LANE_PAUSING;
    lane_wake_in(&l->lane, pause_ms);
}

/* Decides what follows a connection, or a connect that failed. */
static void lane_go_on(struct audit_lane *l, bool is_failure)
{
    const struct audit_options *o = &l->audit->options;

    lane_disconnect(l);
    if (l->audit->is_stopping || l->n_left == 0 || (is_failure && !o->is_reconnecting))
        lane_set_done(l);
    else
        audit_lane_start(l, is_failure ? o->reconnect_ms : until_due_ms(l));
}

/* The connection is over, one way or the other: every message gets its outcome. */
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
    lane_go_on(l, !is_ours);
}

static void on_echoed(void *audit, uint64_t written_ns, uint64_t now_ns)
{
    struct audit *a = audit;

    hist_add(&a->echoed, now_ns - written_ns, 1);
    if (a->options.on_echoed)
        a->options.on_echoed(a->options.on_echoed_data, written_ns, now_ns);
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
    /* The number is unique, and the same in each run, in whatever order lanes connect. */
    uint32_t number = (uint32_t)l->tally->counts.connected * a->options.lanes + l->index + 1;

    l->check = (struct audit_check){
        .id = {a->options.seed, a->options.run, number},
        .rule = &a->rule,
        .counts = &l->tally->counts,
        .stall = &l->tally->stall,
        .incidents = &a->incidents,
        .on_echoed = on_echoed,
        .on_echoed_data = a,
        .lane = l->index,
        .port = own_port(l->lane.io.fd),
        .expected = a->expected,
        .expected_size = a->largest,
    };
    l->tally->counts.connected++;
    if (audit_check_init(&l->check, depth)) {
        l->tally->counts.given_up++;
        lane_go_on(l, true);
        return;
    }
    end_outage(l);
    l->state = a->is_stopping ? AUDIT_LANE_ENDING : AUDIT_LANE_TALKING;
    l->n_left_here = l->kind == AUDIT_LANE_CHURNING ? a->options.churn_messages : UINT32_MAX / 2;
    l->is_due = false;
    l->resume = 0;
    if (is_pacing(l) && l->state == AUDIT_LANE_TALKING)
        lane_wake_in(&l->lane, random_between(&l->pauses, 0, a->options.think_max_ms));
    lane_push(l);
}

static void on_unconnected(struct lane *lane, int outcome)
{
    struct audit_lane *l = audit_lane_of(lane);

    if (outcome == ARB_REFUSED)
        l->tally->counts.refused++;
    else
        l->tally->counts.unconnected++;
    lane_go_on(l, true);
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
        audit_check_written(&l->check, (size_t)n, clock_mono_ns());
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
static void lane_push(struct audit_lane *l)
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
    lane_push(audit_lane_of(lane));
}

/* A lane waits for one thing at a time, so its state says what is due. */
static void on_due(struct lane *lane)
{
    struct audit_lane *l = audit_lane_of(lane);
    const struct audit_options *o = &l->audit->options;

    if (l->state == AUDIT_LANE_PAUSING) {
        l->down_ns = l->down_ns ? l->down_ns : clock_mono_ns();
        l->state = AUDIT_LANE_CONNECTING;
        lane_connect(lane);
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
    lane_push(l);
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

    if (l->audit->n_first == 0) {
        l->audit->n_first = MIN(len, (size_t)AUDIT_FIRST_BYTES);
        memcpy(l->audit->first, data, l->audit->n_first);
    }
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

/* ---- a lane from its beginning to its end ---- */

static void audit_lane_init(struct audit_lane *l, struct audit *a, unsigned index)
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

static void audit_lane_end(struct audit_lane *l)
{
    l->tally->counts.abandoned += l->state == AUDIT_LANE_CONNECTING;
    if (l->state == AUDIT_LANE_PAUSING || l->state == AUDIT_LANE_CONNECTING) {
        lane_disconnect(l);
        lane_set_done(l);
    } else if (l->state == AUDIT_LANE_TALKING) {
        l->state = AUDIT_LANE_ENDING;
        if (l->kind != AUDIT_LANE_SLOW)
            lane_rest(&l->lane);
        lane_push(l);
    }
}

/* ---- all of them ---- */

void audit_options_init(struct audit_options *o, const char *address)
{
    *o = (struct audit_options){
        .address = address,
        .seed = 1,
        .run = 1,
        .lanes = 16,
        .churn_messages = 10,
        .slow_size = 1 << 20,
        .slow_pieces = 64,
        .slow_gap_min_ms = 20,
        .slow_gap_max_ms = 20,
        .depth = 4,
        .think_min_ms = 10,
        .think_max_ms = 50,
        .size_min = AUDIT_HEADER_BYTES,
        .size_max = 32768,
        .connect_timeout_ms = 5000,
        .reply_timeout_ms = 10000,
        .reconnect_ms = 10,
        .is_reconnecting = true,
        .is_half_closing = true,
        .separator = "\r\n\r\n",
        .separator_len = 4,
    };
}

static void on_end(struct deadline *d)
{
    audit_stop(container_of(d, struct audit, end));
}

static int alloc_parts(struct audit *a)
{
    const struct audit_options *o = &a->options;
    size_t largest = MAX(o->size_max, o->slow_lanes ? o->slow_size : 0);

    a->largest = largest + o->separator_len;
    a->expected = malloc(a->largest);
    a->lanes = calloc(o->lanes, sizeof(*a->lanes));
    a->tallies = calloc(o->lanes, sizeof(*a->tallies));
    /* The bound for one lane: a message and the queue one way, a reply and a read the other, and
     * blocks are powers of two. */
    buffer_pool_init(&a->pool, o->lanes * (4 * a->largest + ((size_t)1 << 19)));
    return a->expected && a->lanes && a->tallies ? hist_init(&a->echoed) : -ENOMEM;
}

int audit_start(struct ev_loop *loop, const struct audit_options *o, struct audit **ret)
{
    struct addresses to;
    struct addr addr;
    struct audit *a;
    const char *why;
    int rc;

    a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    a->options = *o;
    rc = addr_parse(o->address, &addr, &why) ? -EINVAL
                                             : flow_find(&addr, o->connect_timeout_ms, &to);
    if (rc == 0)
        rc = flow_init(&a->flow, loop, &audit_flow_ops, &to, o->connect_timeout_ms);
    if (rc == 0)
        rc = alloc_parts(a);
    if (rc == 0)
        rc = frame_rule_init(&a->rule, o->separator, o->separator_len,
                             a->largest - o->separator_len, NULL, 0);
    if (rc) {
        audit_free(a);
        return rc;
    }
    a->options.address = NULL;
    a->started_wall_ns = wall_time_ns();
    a->started_ns = a->flow.reactor.now_ns = clock_mono_ns();
    reactor_enter(&a->flow.reactor);
    a->end.on_due = on_end;
    deadlines_set(&a->flow.reactor.deadlines, &a->end, deadline_after_ms(o->duration_ms));
    for (unsigned i = 0; i < o->lanes; i++) {
        audit_lane_init(&a->lanes[i], a, i);
        audit_lane_start(&a->lanes[i], 0);
    }
    reactor_leave(&a->flow.reactor);
    *ret = a;
    return 0;
}

void audit_stop(struct audit *a)
{
    if (a->is_stopping)
        return;
    a->is_stopping = true;
    a->flow.reactor.now_ns = clock_mono_ns();
    reactor_enter(&a->flow.reactor);
    for (unsigned i = 0; i < a->options.lanes; i++)
        audit_lane_end(&a->lanes[i]);
    reactor_leave(&a->flow.reactor);
}

struct flow *audit_flow(struct audit *a)
{
    return &a->flow;
}

void audit_free(struct audit *a)
{
    if (!a)
        return;
    for (unsigned i = 0; a->started_ns && i < a->options.lanes; i++)
        lane_disconnect(&a->lanes[i]);
    flow_fini(&a->flow);
    buffer_pool_fini(&a->pool);
    hist_fini(&a->echoed);
    free(a->expected);
    free(a->lanes);
    free(a->tallies);
    free(a);
}

struct audit_result audit_result(const struct audit *a)
{
    uint64_t now_ns = clock_mono_ns();
    struct audit_result r = {
        .lanes = a->tallies,
        .n_lanes = a->options.lanes,
        .incidents = &a->incidents,
        .echoed = &a->echoed,
        .started_ns = a->started_ns,
        .started_wall_ns = a->started_wall_ns,
        .duration_ns = (a->ended_ns ? a->ended_ns : now_ns) - a->started_ns,
        .first = a->first,
        .first_len = a->n_first,
    };

    for (size_t i = 0; i < r.n_lanes; i++) {
        audit_counts_add(&r.total.counts, &r.lanes[i].counts);
        if (r.lanes[i].stall.ns > r.total.stall.ns)
            r.total.stall = r.lanes[i].stall;
        audit_stall_add(&r.total.stall, lane_waiting_ns(&a->lanes[i]), now_ns);
    }
    return r;
}

bool audit_is_hopeless(const struct audit *a, const struct audit_counts *c)
{
    if (c->connected == 0)
        return c->refused + c->unconnected >= a->options.lanes;
    return c->echoed + c->reordered + c->truncated == 0 &&
           c->corrupted + c->foreign >= FOREIGN_ENOUGH;
}

unsigned audit_waiting(const struct audit *a, uint64_t before_ns, uint64_t *ret_since_ns)
{
    uint64_t since = UINT64_MAX;
    unsigned n = 0;

    for (unsigned i = 0; i < a->options.lanes; i++) {
        uint64_t waiting_ns = lane_waiting_ns(&a->lanes[i]);

        if (waiting_ns == 0 || waiting_ns >= before_ns)
            continue;
        since = MIN(since, waiting_ns);
        n++;
    }
    if (n > 0 && ret_since_ns)
        *ret_since_ns = since;
    return n;
}

unsigned audit_talking(const struct audit *a)
{
    unsigned n = 0;

    for (unsigned i = 0; i < a->options.lanes; i++)
        n += lane_is_there(&a->lanes[i]);
    return n;
}

unsigned audit_inside(const struct audit *a)
{
    unsigned n = 0;

    for (unsigned i = 0; i < a->options.lanes; i++)
        n += lane_is_there(&a->lanes[i]) && a->lanes[i].check.n_begun > a->lanes[i].check.n_written;
    return n;
}
