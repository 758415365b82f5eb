/*
 * Held connections: connecting, idle, tried.
 */
#include "measure/hold.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"
#include "measure/local_addresses.h"

enum { CONNECTING_MAX = 128 }; /* at once: below any sensible accept queue */

struct held {
    struct lane lane;
    struct hold *hold;
    unsigned index;
    uint64_t since_ns; /* connecting, then open */
    bool is_open, is_probed;
    size_t n_echoed; /* bytes of the probe's echo */
};

static const struct {
    const char *name, *text;
} rows[] = {
#define X(id, name, text) {name, text},
    HOLD_ENDS(X)
#undef X
};

const char *hold_end_name(enum hold_end e)
{
    return rows[e].name;
}

const char *hold_end_text(enum hold_end e)
{
    return rows[e].text;
}

uint64_t hold_report_cut(const struct hold_report *r)
{
    uint64_t n = 0;

    for (int i = 0; i < HOLD_ENDS_N; i++)
        n += i == HOLD_REFUSED ? 0 : r->ends[i].n;
    return n;
}

uint64_t hold_probe_ms(uint64_t min, uint64_t max, unsigned i, unsigned n)
{
    return n > 1 ? min + (max - min) * i / (n - 1) : max;
}

bool hold_limit(const struct hold_report *r, uint64_t *ret_survived_ns, uint64_t *ret_cut_ns)
{
    uint64_t cut = UINT64_MAX;

    for (int i = 0; i < HOLD_ENDS_N; i++)
        if (i != HOLD_REFUSED && r->ends[i].n > 0)
            cut = MIN(cut, r->ends[i].min_ns);
    if (r->survived.n == 0 || cut == UINT64_MAX || cut <= r->survived.max_ns)
        return false;
    *ret_survived_ns = r->survived.max_ns;
    *ret_cut_ns = cut;
    return true;
}

/* ---- on a loop ---- */

static struct held *held_of(struct lane *l)
{
    return container_of(l, struct held, lane);
}

/* No recursion: a connection that ends at once would begin the next one, and so on. */
static void begin_more(struct hold *h)
{
    if (h->is_beginning)
        return;
    h->is_beginning = true;
    while (h->n_begun < h->options.n && h->n_connecting < CONNECTING_MAX && !h->is_stopped) {
        struct held *k = &h->held[h->n_begun];

        *k = (struct held){.hold = h, .index = h->n_begun++, .since_ns = clock_mono_ns()};
        lane_init(&k->lane, &h->flow);
        h->n_connecting++;
        lane_connect(&k->lane);
    }
    h->is_beginning = false;
}

static void close_held(struct held *k)
{
    struct hold *h = k->hold;

    lane_close(&k->lane);
    h->n_connecting -= !k->is_open;
    h->report.n_open -= k->is_open;
    k->is_open = false;
    h->n_over++;
    begin_more(h);
}

static void end_held(struct held *k, enum hold_end how)
{
    struct hold *h = k->hold;
    uint64_t age_ns = clock_mono_ns() - k->since_ns;

    times_add(&h->report.ends[how], age_ns);
    if (how != HOLD_REFUSED && !h->is_stopped)
        h->on_end(h, k->index, k->lane.io.fd, how, age_ns);
    close_held(k);
}

static void on_unconnected(struct lane *l, int outcome)
{
    held_of(l)->hold->last_failure = outcome;
    end_held(held_of(l), HOLD_REFUSED);
}

static void on_connected(struct lane *l)
{
    struct held *k = held_of(l);
    struct hold *h = k->hold;
    const struct hold_options *o = &h->options;

    k->is_open = true;
    k->since_ns = clock_mono_ns();
    h->n_connecting--;
    h->report.n_opened++;
    h->report.n_open++;
    if (o->probe.max > 0)
        lane_wake_in(l, hold_probe_ms(o->probe.min, o->probe.max, k->index, o->n));
    begin_more(h);
}

static void on_due(struct lane *l)
{
    const struct hold_options *o = &held_of(l)->hold->options;

    held_of(l)->is_probed = true;
    lane_set_patience(l, o->timeout_ms);
    /* A few bytes always fit into an idle socket. Reading tells if the connection is broken. */
    (void)!lane_send(l, o->message, o->message_len);
}

static void on_data(struct lane *l, const uint8_t *data, size_t len)
{
    struct held *k = held_of(l);
    const struct hold_options *o = &k->hold->options;

    if (!k->is_probed || k->n_echoed + len > o->message_len ||
        memcmp(data, o->message + k->n_echoed, len) != 0) {
        end_held(k, HOLD_WRONG);
        return;
    }
    k->n_echoed += len;
    if (k->n_echoed == o->message_len) {
        times_add(&k->hold->report.survived, clock_mono_ns() - k->since_ns);
        close_held(k);
    }
}

static void on_room(struct lane *l)
{
    (void)l;
}

static void on_silent(struct lane *l)
{
    end_held(held_of(l), HOLD_SILENT);
}

static void on_over(struct lane *l, bool is_reset)
{
    end_held(held_of(l), is_reset ? HOLD_RESET : HOLD_CLOSED);
}

static const struct flow_ops hold_flow_ops = {
    .on_due = on_due,
    .on_connected = on_connected,
    .on_unconnected = on_unconnected,
    .on_data = on_data,
    .on_room = on_room,
    .on_silent = on_silent,
    .on_over = on_over,
};

int hold_init(struct hold *h, const struct hold_options *options)
{
    int rc;

    *h = (struct hold){.options = *options};
    rc = flow_init(&h->flow, NULL, &hold_flow_ops, &options->to, options->timeout_ms);
    if (rc)
        return rc;
    h->flow.from = &h->local;
    local_addresses_find(&options->to.all[0], &h->local);
    h->held = calloc(options->n, sizeof(*h->held));
    if (h->held)
        return 0;
    flow_fini(&h->flow);
    return -ENOMEM;
}

void hold_fini(struct hold *h)
{
    for (unsigned i = 0; i < h->n_begun; i++)
        lane_close(&h->held[i].lane);
    flow_fini(&h->flow);
    free(h->held);
    h->held = NULL;
}

void hold_start(struct hold *h)
{
    begin_more(h);
}

bool hold_is_over(const struct hold *h)
{
    return h->n_over == h->options.n || h->is_stopped;
}

void hold_stop(struct hold *h)
{
    h->is_stopped = true;
}
