/*
 * echo-client ping: a message every so often over one connection, a line for each reply, and what
 * ping(8) sums up at the end. A lost connection is a lost message; the next one has a new one.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/util.h"
#include "client/outcome.h"
#include "measure/flow.h"
#include "base/hist.h"
#include "cmd/echo_client.h"
#include "cmd/echo_client_live.h"

enum { EXIT_LOST = 1, MIN_SIZE = 16 };

struct pinging {
    struct tool *tool;
    uint64_t count; /* 0 = no end */
    uint64_t interval_ms;
    uint64_t size;
    struct flow flow;
    struct lane lane;
    char *message; /* owned, `len` bytes: with its separator */
    size_t len, n_out, n_in; /* sent of it, and come back */
    bool is_awaited; /* a message is under way */
    bool is_over;
    uint64_t next_ns; /* when the next message is due */
    uint64_t begun_ns; /* the message under way */
    uint64_t posted_ns; /* … when it had its connection; 0 = it has none yet */
    uint64_t n_sent, n_echoed, n_connects;
    int last_outcome; /* of a message that was lost */
    uint64_t started_ns;
    int rc; /* of printing */
    struct times connect_times, round_trips;
};

/* ---- what is printed ---- */

static int print_reply(const struct pinging *p, uint64_t ns)
{
    int rc;

    if (p->tool->is_json)
        rc = out_json(json_pack("{s:I, s:I, s:f}", "seq", (json_int_t)p->n_sent, "bytes",
                                (json_int_t)p->size, "time_ms", (double)ns / 1e6));
    else
        rc = out_print("%" PRIu64 " bytes from %s: seq=%" PRIu64 " time=%.3f ms", p->size,
                       p->tool->address_text, p->n_sent, (double)ns / 1e6);
    return rc ? rc : out_flush();
}

static int print_loss(const struct pinging *p, int outcome)
{
    const char *text = arb_strerror(outcome);
    int rc;

    if (p->tool->is_json)
        rc = out_json(json_pack("{s:I, s:{s:s, s:s}}", "seq", (json_int_t)p->n_sent, "error",
                                "code", arb_status_name(outcome), "message", text));
    else
        rc = out_print("from %s: seq=%" PRIu64 " %s", p->tool->address_text, p->n_sent, text);
    return rc ? rc : out_flush();
}

static json_t *times_json(const struct times *t)
{
    return json_pack("{s:f, s:f, s:f, s:f}", "min", (double)t->min_ns / 1e6, "avg",
                     t->mean_ns / 1e6, "max", (double)t->max_ns / 1e6, "mdev",
                     times_deviation(t) / 1e6);
}

static int print_times(const char *title, const struct times *t)
{
    if (t->n == 0)
        return 0;
    return out_print("%s min/avg/max/mdev = %.3f/%.3f/%.3f/%.3f ms", title, (double)t->min_ns / 1e6,
                     t->mean_ns / 1e6, (double)t->max_ns / 1e6, times_deviation(t) / 1e6);
}

static int print_summary(const struct pinging *p)
{
    double ms = (double)(clock_mono_ns() - p->started_ns) / 1e6;
    double lost = p->n_sent ? 100. * (double)(p->n_sent - p->n_echoed) / (double)p->n_sent : 0;
    int rc;

    if (p->tool->is_json)
        return out_json(json_pack(
            "{s:{s:I, s:I, s:f, s:f, s:I, s:o, s:o}}", "summary", "sent", (json_int_t)p->n_sent,
            "echoed", (json_int_t)p->n_echoed, "lost_percent", lost, "duration_ms", ms,
            "connections", (json_int_t)p->n_connects, "connect_ms", times_json(&p->connect_times),
            "round_trip_ms", times_json(&p->round_trips)));
    rc = out_print("\n--- %s echo statistics ---\n%" PRIu64 " message%s sent, %" PRIu64
                   " echoed, %.6g%% lost, %" PRIu64 " connection%s, time %.0f ms",
                   p->tool->address_text, p->n_sent, p->n_sent == 1 ? "" : "s", p->n_echoed, lost,
                   p->n_connects, p->n_connects == 1 ? "" : "s", ms);
    if (rc == 0)
        rc = print_times("connect", &p->connect_times);
    return rc ? rc : print_times("round trip", &p->round_trips);
}

/* ---- messages ---- */

static struct pinging *pinging_of(struct lane *l)
{
    return container_of(l, struct pinging, lane);
}

/* A connection that has failed is not used again. */
static void see_outcome(struct pinging *p, int outcome)
{
    uint64_t now_ns = clock_mono_ns(), ns = now_ns - p->posted_ns;

    p->is_awaited = false;
    if (outcome == 0) {
        p->n_echoed++;
        times_add(&p->round_trips, ns);
        p->rc = print_reply(p, ns);
    } else {
        lane_close(&p->lane);
        p->last_outcome = outcome;
        p->rc = print_loss(p, outcome);
    }
    p->is_over = p->rc || p->n_sent == p->count;
    p->next_ns = MAX(p->next_ns + p->interval_ms * 1000000, now_ns);
    if (!p->is_over)
        lane_wake_at(&p->lane, p->next_ns);
}

static void on_room(struct lane *l)
{
    struct pinging *p = pinging_of(l);
    ssize_t n = p->is_awaited ? 1 : 0;

    while (n > 0 && p->n_out < p->len) {
        n = lane_send(l, p->message + p->n_out, p->len - p->n_out);
        p->n_out += n > 0 ? (size_t)n : 0;
    }
    lane_want_room(l, p->n_out < p->len && !l->is_deaf);
}

static void post(struct pinging *p)
{
    p->posted_ns = clock_mono_ns();
    p->n_out = p->n_in = 0;
    lane_set_patience(&p->lane, p->tool->timeout_ms);
    on_room(&p->lane);
}

static void on_connected(struct lane *l)
{
    struct pinging *p = pinging_of(l);

    p->n_connects++;
    times_add(&p->connect_times, clock_mono_ns() - p->begun_ns);
    post(p);
}

static void on_unconnected(struct lane *l, int outcome)
{
    see_outcome(pinging_of(l), outcome);
}

static void on_due(struct lane *l)
{
    struct pinging *p = pinging_of(l);

    p->n_sent++;
    /* A number that no earlier reply has. */
    snprintf(p->message, MIN_SIZE, "%0*" PRIu64, MIN_SIZE - 1, p->n_sent);
    p->message[MIN_SIZE - 1] = 'x'; /* where its NUL is */
    p->is_awaited = true;
    p->posted_ns = 0;
    p->begun_ns = clock_mono_ns();
    if (lane_is_open(l))
        post(p);
    else
        lane_connect(l);
}

/* A connection that ends between two messages is no loss: the next message has a new one. */
static void drop_idle(struct pinging *p)
{
    lane_close(&p->lane);
    lane_wake_at(&p->lane, p->next_ns);
}

static void on_data(struct lane *l, const uint8_t *data, size_t len)
{
    struct pinging *p = pinging_of(l);

    if (!p->is_awaited) {
        drop_idle(p);
    } else if (len > p->n_out - p->n_in) {
        see_outcome(p, ARB_UNEXPECTED);
    } else if (memcmp(p->message + p->n_in, data, len) != 0) {
        see_outcome(p, ARB_MISMATCH);
    } else {
        p->n_in += len;
        if (p->n_in == p->len)
            see_outcome(p, 0);
    }
}

static void on_silent(struct lane *l)
{
    if (pinging_of(l)->is_awaited)
        see_outcome(pinging_of(l), ARB_TIMEOUT);
}

static void on_over(struct lane *l, bool is_reset)
{
    struct pinging *p = pinging_of(l);

    if (p->is_awaited)
        see_outcome(p, is_reset ? ARB_RESET : ARB_CLOSED);
    else
        drop_idle(p);
}

static const struct flow_ops ping_flow_ops = {
    .on_due = on_due,
    .on_connected = on_connected,
    .on_unconnected = on_unconnected,
    .on_data = on_data,
    .on_room = on_room,
    .on_silent = on_silent,
    .on_over = on_over,
};

/* ---- all of it ---- */

/* If no message came back, the exit code says why. */
static int ping_exit(const struct pinging *p)
{
    if (p->n_echoed == p->n_sent)
        return stop_exit(0);
    return stop_exit(p->n_echoed > 0 ? EXIT_LOST : outcome_exit(p->last_outcome));
}

static int ping_all(struct pinging *p)
{
    stop_watch();
    p->started_ns = p->next_ns = clock_mono_ns();
    lane_wake_at(&p->lane, p->next_ns);
    while (!p->is_over && stop_count() == 0)
        flow_turn(&p->flow, p->flow.reactor.now_ns + LOOK_MS * UINT64_C(1000000));
    /* A message that is under way counts as lost, as in ping(8). */
    p->n_sent -= !p->is_over && p->is_awaited && !p->posted_ns;
    if (p->rc == 0)
        p->rc = print_summary(p);
    return p->rc ? p->rc : ping_exit(p);
}

/* A separator inside would end the message early. */
static int make_message(struct pinging *p)
{
    const struct tool *t = p->tool;
    struct frame_rule rule;
    int rc;

    p->len = p->size + t->separator_len;
    p->message = malloc(p->len);
    if (!p->message)
        return -ENOMEM;
    memset(p->message, 'x', p->size);
    memset(p->message, '0', MIN_SIZE - 1);
    memcpy(p->message + p->size, t->separator, t->separator_len);
    rc = frame_rule_init(&rule, t->separator, t->separator_len, TOOL_MESSAGE_MAX, NULL, 0);
    return rc || frame_is_one(&rule, (const uint8_t *)p->message, p->size) ? rc : ARB_SEPARATOR;
}

static int ping(struct pinging *p)
{
    struct addresses to;
    int rc = make_message(p);

    if (rc == 0)
        rc = flow_find(&p->tool->address, p->tool->timeout_ms, &to);
    if (rc == 0)
        rc = flow_init(&p->flow, NULL, &ping_flow_ops, &to, p->tool->timeout_ms);
    if (rc == 0) {
        lane_init(&p->lane, &p->flow);
        rc = ping_all(p);
        lane_close(&p->lane);
        flow_fini(&p->flow);
    } else {
        rc = fail_outcome(p->tool, NULL, rc);
    }
    free(p->message);
    return rc;
}

/* ---- the command line ---- */

static const struct own_option ping_options[] = {
    {"count", 'c', "COUNT", "end after so many messages; default: no end", OPTION_NUMBER,
     OPTION_AT(struct pinging, count), 1, UINT32_MAX},
    {"interval", 'i', "TIME", "from one message to the next, like 200ms; default 1s", OPTION_MS,
     OPTION_AT(struct pinging, interval_ms), 0, TOOL_MS_MAX},
    {"size", 's', "SIZE", "bytes of a message, 16 at least; default 64", OPTION_SIZE,
     OPTION_AT(struct pinging, size), MIN_SIZE, TOOL_MESSAGE_MAX},
    {0},
};

int ping_run(struct tool *t)
{
    struct pinging p = {.tool = t, .interval_ms = 1000, .size = 64};

    tool_parse(t, ping_options, &p);
    return ping(&p);
}
