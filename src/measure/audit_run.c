/*
 * An audit as a whole: its options, its lanes, its clock, its end.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/util.h"
#include "measure/audit_traffic.h"

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

static bool is_valid(const struct audit_options *o)
{
    return o->address && o->lanes >= 1 && o->lanes <= AUDIT_LANES_MAX &&
           o->churn_lanes <= o->lanes && o->slow_lanes <= o->lanes - o->churn_lanes &&
           o->churn_messages >= 1 && o->slow_pieces >= 1 && o->slow_size >= AUDIT_HEADER_BYTES &&
           o->slow_size <= UINT32_MAX / 2 && o->depth >= 1 && o->depth <= AUDIT_DEPTH_MAX &&
           o->think_min_ms <= o->think_max_ms && o->slow_gap_min_ms <= o->slow_gap_max_ms &&
           o->size_min >= AUDIT_HEADER_BYTES && o->size_min <= o->size_max &&
           o->size_max <= UINT32_MAX / 2 && o->separator_len <= sizeof(o->separator) &&
           audit_separator_is_fit(o->separator, o->separator_len);
}

static int find_addresses(struct audit *a, struct addresses *ret)
{
    struct addr addr;
    const char *why;

    if (addr_parse(a->options.address, &addr, &why))
        return -EINVAL;
    return addresses_find(&addr, NULL, NULL, deadline_after_ms(a->options.connect_timeout_ms), ret);
}

static void on_end(struct deadline *d)
{
    audit_stop(container_of(d, struct audit, end));
}

static void on_lane_done(struct audit *a)
{
    a->n_done++;
    if (!audit_is_done(a))
        return;
    a->ended_ns = clock_mono_ns();
    deadlines_unset(&a->flow.reactor.deadlines, &a->end);
    if (a->on_done)
        a->on_done(a, a->userdata);
}

static void on_lane_echoed(void *audit, uint64_t written_ns, uint64_t now_ns)
{
    struct audit *a = audit;

    hist_add(&a->echoed, now_ns - written_ns, 1);
    if (a->options.on_echoed)
        a->options.on_echoed(a->options.on_echoed_data, written_ns, now_ns);
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

int audit_start(struct ev_loop *loop, const struct audit_options *o, audit_on_done *on_done,
                void *userdata, struct audit **ret)
{
    struct addresses to;
    struct audit *a;
    struct timespec wall;
    int rc;

    if (!is_valid(o))
        return -EINVAL;
    a = calloc(1, sizeof(*a));
    if (!a)
        return -ENOMEM;
    a->options = *o;
    a->on_done = on_done;
    a->userdata = userdata;
    a->on_lane_done = on_lane_done;
    a->on_lane_echoed = on_lane_echoed;
    rc = find_addresses(a, &to);
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
    clock_gettime(CLOCK_REALTIME, &wall);
    a->started_wall_ns = (uint64_t)wall.tv_sec * 1000000000u + (uint64_t)wall.tv_nsec;
    a->started_ns = clock_mono_ns();
    flow_enter(&a->flow);
    a->end.on_due = on_end;
    deadlines_set(&a->flow.reactor.deadlines, &a->end, deadline_after_ms(o->duration_ms));
    for (unsigned i = 0; i < o->lanes; i++) {
        audit_lane_init(&a->lanes[i], a, i);
        audit_lane_start(&a->lanes[i], 0);
    }
    flow_leave(&a->flow);
    *ret = a;
    return 0;
}

void audit_stop(struct audit *a)
{
    if (a->is_stopping)
        return;
    a->is_stopping = true;
    flow_enter(&a->flow);
    for (unsigned i = 0; i < a->options.lanes; i++)
        audit_lane_end(&a->lanes[i]);
    flow_leave(&a->flow);
}

bool audit_is_done(const struct audit *a)
{
    return a->n_done == a->options.lanes;
}

void audit_free(struct audit *a)
{
    if (!a)
        return;
    for (unsigned i = 0; a->started_ns && i < a->options.lanes; i++)
        audit_lane_fini(&a->lanes[i]);
    flow_fini(&a->flow); /* when it is done the loop may be gone: nothing of it is watched then */
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
    };

    for (size_t i = 0; i < r.n_lanes; i++) {
        audit_counts_add(&r.total.counts, &r.lanes[i].counts);
        if (r.lanes[i].stall.ns > r.total.stall.ns)
            r.total.stall = r.lanes[i].stall;
        audit_stall_add(&r.total.stall, audit_lane_waiting_ns(&a->lanes[i]), now_ns);
    }
    return r;
}

unsigned audit_waiting(const struct audit *a, uint64_t before_ns, uint64_t *ret_since_ns)
{
    uint64_t since = UINT64_MAX;
    unsigned n = 0;

    for (unsigned i = 0; i < a->options.lanes; i++) {
        uint64_t waiting_ns = audit_lane_waiting_ns(&a->lanes[i]);

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
        n += audit_lane_is_there(&a->lanes[i]);
    return n;
}

unsigned audit_inside(const struct audit *a)
{
    unsigned n = 0;

    for (unsigned i = 0; i < a->options.lanes; i++)
        n += audit_lane_is_there(&a->lanes[i]) &&
             a->lanes[i].check.n_begun > a->lanes[i].check.n_written;
    return n;
}

int audit_run_blocking(const struct audit_options *o, struct audit **ret)
{
    struct ev_loop *loop;
    struct audit *a;
    int rc;

    if (o->messages == 0 && o->duration_ms == 0)
        return -EINVAL;
    loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (!loop)
        return -ENOMEM;
    rc = audit_start(loop, o, NULL, NULL, &a);
    if (rc == 0) {
        while (!audit_is_done(a))
            ev_run(loop, EVRUN_ONCE);
        *ret = a;
    }
    ev_loop_destroy(loop);
    return rc;
}
