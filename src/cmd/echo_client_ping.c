/*
 * echo-client ping: a message every so often over one connection, a line for each reply, and what
 * ping(8) sums up at the end. A lost connection is a lost message; the next one has a new one.
 */
#include <argp.h>
#include <errno.h>
#include <ev.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/num.h"
#include "base/util.h"
#include "client/outcome.h"
#include "measure/hist.h"
#include "cmd/echo_client.h"
#include "cmd/echo_client_live.h"

enum { EXIT_LOST = 1, MIN_SIZE = 16 };

struct pinging {
    struct tool *tool;
    uint64_t count; /* 0 = no end */
    uint64_t interval_ms;
    uint64_t size;
    struct ev_loop *loop; /* owned */
    struct arb_client *client; /* owned */
    struct arb_call *call; /* borrowed; the message under way */
    char *message; /* owned, size bytes */
    struct stopper stopper;
    ev_timer next; /* the next message */
    uint64_t next_ns; /* when it is due */
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
    rc = out_print("\n--- %s echo statistics ---\n%" PRIu64 " messages sent, %" PRIu64
                   " echoed, %.6g%% lost, %" PRIu64 " connection%s, time %.0f ms",
                   p->tool->address_text, p->n_sent, p->n_echoed, lost, p->n_connects,
                   p->n_connects == 1 ? "" : "s", ms);
    if (rc == 0)
        rc = print_times("connect", &p->connect_times);
    return rc ? rc : print_times("round trip", &p->round_trips);
}

/* ---- messages ---- */

static void on_connected(const struct arb_event *event, void *userdata)
{
    struct pinging *p = userdata;

    (void)event;
    p->n_connects++;
    times_add(&p->connect_times, clock_mono_ns() - p->begun_ns);
}

static void on_posted(const struct arb_event *event, void *userdata)
{
    struct pinging *p = userdata;

    (void)event;
    p->posted_ns = clock_mono_ns();
}

static void see_outcome(struct pinging *p, int outcome)
{
    uint64_t now_ns = clock_mono_ns(), ns = now_ns - p->posted_ns;

    if (outcome == 0) {
        p->n_echoed++;
        times_add(&p->round_trips, ns);
        p->rc = print_reply(p, ns);
    } else {
        p->last_outcome = outcome;
        p->rc = print_loss(p, outcome);
    }
    if (p->rc || p->n_sent == p->count) {
        ev_break(p->loop, EVBREAK_ALL);
        return;
    }
    p->next_ns = MAX(p->next_ns + p->interval_ms * 1000000, now_ns);
    ev_now_update(p->loop);
    ev_timer_set(&p->next, (double)(p->next_ns - now_ns) / 1e9, 0.);
    ev_timer_start(p->loop, &p->next);
}

static void on_echoed(struct arb_call *call, int status, void *userdata)
{
    struct pinging *p = userdata;

    (void)call;
    p->call = NULL;
    if (!p->stopper.signo)
        see_outcome(p, status);
}

static void send_next(struct pinging *p)
{
    int rc;

    p->n_sent++;
    /* A number that no earlier reply has. */
    snprintf(p->message, MIN_SIZE, "%0*" PRIu64, MIN_SIZE - 1, p->n_sent);
    p->message[MIN_SIZE - 1] = 'x'; /* where its NUL is */
    p->posted_ns = 0;
    p->begun_ns = clock_mono_ns();
    rc = arb_call_start(p->client, p->message, p->size, NULL, on_echoed, p, &p->call);
    if (rc)
        see_outcome(p, rc);
}

static void on_next(struct ev_loop *loop, ev_timer *w, int revents)
{
    (void)loop;
    (void)revents;
    send_next(container_of(w, struct pinging, next));
}

/* What is out counts as lost, as in ping(8). */
static void on_stop(struct stopper *s, bool is_second)
{
    struct pinging *p = container_of(s, struct pinging, stopper);

    p->n_sent -= !is_second && p->call && !p->posted_ns;
    ev_break(p->loop, EVBREAK_ALL);
}

/* ---- all of it ---- */

/* Nothing ever came back: then why not is the more useful code. */
static int exit_code(const struct pinging *p)
{
    if (p->stopper.signo)
        return 128 + p->stopper.signo;
    if (p->n_echoed == p->n_sent)
        return 0;
    return p->n_echoed > 0 ? EXIT_LOST : outcome_exit(p->last_outcome);
}

static int ping(struct pinging *p)
{
    int rc = arb_client_bind(p->client, ARB_CONNECTION_MADE, on_connected, p);

    if (rc == 0)
        rc = arb_client_bind(p->client, ARB_PRE_REQUEST, on_posted, p);
    if (rc == 0)
        rc = arb_message_check(p->client, p->message, p->size);
    if (rc)
        return fail_outcome(p->tool, NULL, rc);
    stopper_start(&p->stopper, p->loop, on_stop);
    ev_timer_init(&p->next, on_next, 0., 0.);
    p->started_ns = p->next_ns = clock_mono_ns();
    send_next(p);
    ev_run(p->loop, 0);
    stopper_stop(&p->stopper, p->loop);
    if (p->rc == 0)
        p->rc = print_summary(p);
    return p->rc ? p->rc : exit_code(p);
}

static int run(struct pinging *p)
{
    int rc = -ENOMEM;

    p->message = malloc(p->size);
    p->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (p->message && p->loop) {
        memset(p->message, 'x', p->size);
        memset(p->message, '0', MIN_SIZE);
        rc = tool_client(p->tool, p->loop, 1, &p->client);
    }
    rc = rc ? fail_outcome(p->tool, NULL, rc) : ping(p);
    arb_client_free(p->client);
    if (p->loop)
        ev_loop_destroy(p->loop);
    free(p->message);
    return rc;
}

/* ---- the command line ---- */

const struct argp_option ping_argp_options[] = {
    {"count", 'n', "COUNT", 0, "end after so many messages; default: no end", 0},
    {"interval", 'i', "TIME", 0, "from one message to the next, like 200ms; default 1s", 0},
    {"size", 's', "SIZE", 0, "bytes of a message, 16 at least; default 64", 0},
    {0},
};

static error_t parse_ping(int key, char *arg, struct argp_state *state)
{
    struct pinging *p = state->input;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = p->tool;
        return 0;
    case 'n':
        p->count = option_number("-n", arg, 1, UINT32_MAX, state);
        return 0;
    case 'i':
        p->interval_ms = option_ms("-i", arg, 0, state);
        return 0;
    case 's':
        if (num_parse_size(arg, MIN_SIZE, TOOL_MESSAGE_MAX, &p->size))
            argp_error(state, "-s %s: bytes from %d on, like 1000 or 64KiB", arg, MIN_SIZE);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state,
                   "ping takes no words: %s; an address goes behind -a; as a message: echo-client "
                   "send ping %s",
                   arg, arg);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int ping_run(struct tool *t, int argc, char **argv)
{
    static const struct argp argp = {
        .options = ping_argp_options,
        .parser = parse_ping,
        .args_doc = "ping",
        .doc = "Send a message every so often and print how long its echo took; at the end, or on "
               "Ctrl-C, what was lost and the least, mean and greatest time. Exit status 1: "
               "messages were lost.",
    };
    struct pinging p = {.tool = t, .interval_ms = 1000, .size = 64};

    tool_parse(&argp, argc, argv, &p);
    return run(&p);
}
