/*
 * echo-client audit: drive traffic that describes itself, watch what becomes of each message, and
 * say so: a line while it runs, a summary at its end, the exit code for scripts.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/util.h"
#include "measure/audit_text.h"
#include "client/human.h"
#include "client/outcome.h"
#include "cmd/echo_client.h"
#include "cmd/echo_client_live.h"

/* Broken: what is asked of a server was not kept. */
enum { EXIT_BROKEN = 1 };

enum {
    SHOWN_EVERY = 4, /* looks */
    NOTABLE_WAIT_MS = 250, /* without --max-stall: longer than this is an outage */
    MAX_MS = 1000000000,
    MAX_SIZE = 1 << 30,
};

struct auditing {
    struct tool *tool;
    struct audit_options options;
    struct audit_limits limits;
    uint64_t rate; /* messages per second in all; 0 = by the pauses */
    bool has_lanes;
    bool has_think;
    struct audit *audit;
    struct timeline timeline;
    struct live live;
    unsigned n_looks;
};

/* ---- while it runs ---- */

static void show(struct auditing *a, const struct audit_result *r)
{
    const struct audit_counts *c = &r->total.counts;
    double seconds = (double)r->duration_ns / 1e9;
    char sent[HUMAN_LEN], lost[HUMAN_LEN], stall[HUMAN_LEN], rate[HUMAN_LEN], now[HUMAN_LEN];

    live_show(&a->live, "%s  %s of %s lost  longest stall %s  %s/s  %u connected",
              human_duration(seconds, now), human_grouped(timeline_lost(c), lost),
              human_grouped(c->sent, sent),
              r->total.stall.ns ? human_duration((double)r->total.stall.ns / 1e9, stall) : "-",
              human_rate((double)c->echoed / (seconds > 0 ? seconds : 1), rate),
              audit_talking(a->audit));
}

static void look(struct auditing *a)
{
    struct audit_result r = audit_result(a->audit);
    uint64_t now_ns = clock_mono_ns(), since_ns = 0;
    uint64_t notable_ns = MIN(a->limits.max_stall_ns, NOTABLE_WAIT_MS * UINT64_C(1000000));
    unsigned waiting = audit_waiting(a->audit, now_ns - notable_ns, &since_ns);

    timeline_look(&a->timeline, &r.total.counts, waiting, since_ns, now_ns);
    if (a->live.is_on && a->n_looks++ % SHOWN_EVERY == 0)
        show(a, &r);
}

/* ---- the end ---- */

/* Returns 0 or an exit code. */
static int print(struct auditing *a, const struct audit_result *r)
{
    json_t *o = audit_json(r, &a->timeline, &a->limits);
    char *text = NULL, length[HUMAN_LEN];
    size_t len;
    FILE *f;
    int rc;

    if (a->tool->is_json) {
        json_object_set_new(o, "address", json_string(a->tool->address_text));
        json_object_set_new(o, "seed", json_integer((json_int_t)a->options.seed));
        return out_json(o);
    }
    if ((f = open_memstream(&text, &len))) {
        fprintf(f, "%s: %u connection%s, %s, seed %" PRIu64 "\n", a->tool->address_text,
                a->options.lanes, a->options.lanes == 1 ? "" : "s",
                human_duration((double)r->duration_ns / 1e9, length), a->options.seed);
        audit_text_write(f, o, a->has_lanes);
        fclose(f);
    }
    rc = text && len > 0 ? out_line(text, len - 1) : EX_OSERR;
    free(text);
    json_decref(o);
    return rc;
}

/* Nobody was there from beginning to end: that is no verdict on the traffic. */
static int fail_unconnected(const struct auditing *a, const struct audit_counts *c)
{
    return fail_outcome(a->tool, NULL, c->refused > 0 ? ARB_REFUSED : ARB_UNREACHABLE);
}

static int audit_finish(struct auditing *a)
{
    struct audit_result r;
    int rc;

    look(a);
    live_clear(&a->live);
    r = audit_result(a->audit);
    if (r.total.counts.connected == 0 && r.total.counts.refused + r.total.counts.unconnected > 0)
        return stop_exit(fail_unconnected(a, &r.total.counts));
    rc = print(a, &r);
    if (rc)
        return rc;
    rc = audit_judge(&r.total, &a->limits).is_delivered ? 0 : EXIT_BROKEN;
    return stop_exit(rc);
}

static int audit_all(struct auditing *a)
{
    struct flow *f;
    uint64_t look_ns = 0;
    int rc = audit_start(&a->options, &a->audit);

    if (rc)
        return fail_outcome(a->tool, NULL, rc);
    f = audit_flow(a->audit);
    stop_watch();
    for (unsigned n_stops = 0; !audit_is_done(a->audit) && n_stops < 2;) {
        flow_turn(f, look_ns);
        if (f->now_ns < look_ns)
            continue;
        look_ns = f->now_ns + LOOK_MS * UINT64_C(1000000);
        look(a);
        n_stops = stop_count();
        if (n_stops > 0)
            audit_stop(a->audit);
    }
    rc = audit_finish(a);
    audit_free(a->audit);
    return rc;
}

/* ---- the command line ---- */

enum {
    OPT_CHURN = 1000,
    OPT_CHURN_MESSAGES,
    OPT_SLOW,
    OPT_THINK,
    OPT_RATE,
    OPT_SEED,
    OPT_MAX_LOSS,
    OPT_MAX_STALL,
    OPT_MAX_CUT,
    OPT_RECONNECT,
    OPT_NO_RECONNECT,
    OPT_NO_HALF_CLOSE,
};

const struct argp_option audit_argp_options[] = {
    {"connections", 'c', "N", 0, "connections at once, 1 to 20000; default 16", 0},
    {"depth", 'd', "N", 0, "messages under way on each, 1 to 1024; default 4", 0},
    {"size", 's', "MIN-MAX", 0, "bytes of a message, 55 at least; default 55-32KiB", 0},
    {"time", 't', "TIME", 0, "end after so long, like 30, 90s or 10m; default: no end", 0},
    {"count", 'n', "N", 0, "end after so many messages on each connection", 0},
    {"think", OPT_THINK, "MIN-MAX", 0,
     "pause between messages of a connection; default 10ms-50ms, 0 = as fast as replies come", 0},
    {"rate", OPT_RATE, "N", 0, "messages per second in all, instead of --think", 0},
    {"churn", OPT_CHURN, "N", 0, "so many of the connections come and go; default 0", 0},
    {"churn-messages", OPT_CHURN_MESSAGES, "N", 0, "... after so many messages; default 10", 0},
    {"slow", OPT_SLOW, "N", 0, "so many are always in the middle of a message of 1 MiB", 0},
    {"max-loss", OPT_MAX_LOSS, "N|P%", 0, "exit with 1 if more messages are lost; default 0", 0},
    {"max-stall", OPT_MAX_STALL, "TIME", 0,
     "exit with 1 if a reply or a connection is later, like 200ms", 0},
    {"max-cut", OPT_MAX_CUT, "N|P%", 0,
     "exit with 1 if more connections end before we end them; default 0", 0},
    {"reconnect", OPT_RECONNECT, "TIME", 0, "pause after a failure; default 10ms", 0},
    {"no-reconnect", OPT_NO_RECONNECT, NULL, 0, "a connection that failed stays away", 0},
    {"no-half-close", OPT_NO_HALF_CLOSE, NULL, 0, "wait for all replies before ending a connection",
     0},
    {"seed", OPT_SEED, "N", 0, "the same sizes, payloads and pauses again", 0},
    {"verbose", 'v', NULL, 0, "a line for each connection, not only for those with a flaw", 0},
    {0},
};

static void set_size(struct auditing *a, const char *arg, struct argp_state *state)
{
    struct quantity_range range = {AUDIT_HEADER_BYTES, AUDIT_HEADER_BYTES};

    if (quantity_size_range(arg, AUDIT_HEADER_BYTES, MAX_SIZE, &range))
        argp_error(state,
                   "-s %s: sizes like 64 or 64-16KiB, at least %d: what a message says of "
                   "itself takes so much",
                   arg, AUDIT_HEADER_BYTES);
    a->options.size_min = range.min;
    a->options.size_max = range.max;
}

static void set_think(struct auditing *a, const char *arg, struct argp_state *state)
{
    struct quantity_range range = {0, 0};

    if (quantity_ms_range(arg, 0, MAX_MS, &range))
        argp_error(state, "--think %s: a time or two like 0, 20ms or 10ms-1s", arg);
    a->has_think = true;
    a->options.think_min_ms = (unsigned)range.min;
    a->options.think_max_ms = (unsigned)range.max;
}

/* A rate is pauses of that mean length. */
static void check(struct auditing *a, struct argp_state *state)
{
    struct audit_options *o = &a->options;

    if (o->churn_lanes + o->slow_lanes > o->lanes)
        argp_error(state, "--churn and --slow are of the %u connections (-c)", o->lanes);
    if (a->rate > 0 && a->has_think)
        argp_error(state, "--rate and --think: one of them");
    if (a->rate > 0) {
        uint64_t mean_ms = o->lanes * UINT64_C(1000) / a->rate;

        if (mean_ms == 0 || mean_ms > MAX_MS)
            argp_error(state, "--rate %" PRIu64 ": that needs %s connections (-c)", a->rate,
                       mean_ms ? "fewer" : "more");
        o->think_min_ms = (unsigned)(mean_ms / 2);
        o->think_max_ms = (unsigned)(2 * mean_ms - mean_ms / 2);
    }
    if (!audit_separator_is_fit(a->tool->separator, a->tool->separator_len))
        argp_error(state, "--separator: an audit needs one, and not of its messages' own "
                          "characters (0-9 a-f . ~) alone");
}

static error_t parse_audit(int key, char *arg, struct argp_state *state)
{
    struct auditing *a = state->input;
    struct audit_options *o = &a->options;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = a->tool;
        return 0;
    case 'c':
        o->lanes = (unsigned)option_number("-c", arg, 1, AUDIT_LANES_MAX, state);
        return 0;
    case 'd':
        o->depth = (unsigned)option_number("-d", arg, 1, AUDIT_DEPTH_MAX, state);
        return 0;
    case 's':
        set_size(a, arg, state);
        return 0;
    case 't':
        o->duration_ms = option_ms("-t", arg, 1, state);
        return 0;
    case 'n':
        o->messages = (unsigned)option_number("-n", arg, 1, UINT32_MAX, state);
        return 0;
    case OPT_THINK:
        set_think(a, arg, state);
        return 0;
    case OPT_RATE:
        a->rate = option_number("--rate", arg, 1, 10000000, state);
        return 0;
    case OPT_CHURN:
        o->churn_lanes = (unsigned)option_number("--churn", arg, 0, AUDIT_LANES_MAX, state);
        return 0;
    case OPT_CHURN_MESSAGES:
        o->churn_messages =
            (unsigned)option_number("--churn-messages", arg, 1, UINT32_MAX / 2, state);
        return 0;
    case OPT_SLOW:
        o->slow_lanes = (unsigned)option_number("--slow", arg, 0, AUDIT_LANES_MAX, state);
        return 0;
    case OPT_MAX_LOSS:
        if (quantity_share(arg, &a->limits.max_loss))
            argp_error(state,
                       "--max-loss %s: a number of messages, or a share up to 100%% like 0.1%%",
                       arg);
        return 0;
    case OPT_MAX_STALL:
        a->limits.max_stall_ns = option_ms("--max-stall", arg, 1, state) * 1000000;
        return 0;
    case OPT_MAX_CUT:
        if (quantity_share(arg, &a->limits.max_cut))
            argp_error(state, "--max-cut %s: a number of connections or a share like 0.1%%", arg);
        return 0;
    case OPT_RECONNECT:
        o->reconnect_ms = (unsigned)option_ms("--reconnect", arg, 0, state);
        return 0;
    case OPT_NO_RECONNECT:
        o->is_reconnecting = false;
        return 0;
    case OPT_NO_HALF_CLOSE:
        o->is_half_closing = false;
        return 0;
    case OPT_SEED:
        o->seed = option_number("--seed", arg, 0, UINT64_MAX, state);
        return 0;
    case 'v':
        a->has_lanes = true;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "audit takes no words: %s; an address goes behind -a", arg);
        return 0;
    case ARGP_KEY_END:
        check(a, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const struct argp audit_argp = {
    .options = audit_argp_options,
    .parser = parse_audit,
    .args_doc = "audit",
    .doc = "Send messages that describe themselves over many connections and prove what became of "
           "each: echoed, lost, changed, doubled or out of order. Goes on through outages; Ctrl-C "
           "ends it with the summary. Exit status 1: the limits were broken.",
};

int audit_run(struct tool *t, int argc, char **argv)
{
    struct auditing a = {.tool = t, .limits = {.max_stall_ns = UINT64_MAX}};
    uint64_t now = wall_time_ns();
    int rc;

    audit_options_init(&a.options, t->address_text);
    a.options.seed = random_next(&now) >> 32;
    a.options.run = (uint32_t)random_next(&now);
    tool_parse(&audit_argp, argc, argv, &a);
    a.options.address = t->address_text;
    memcpy(a.options.separator, t->separator, t->separator_len);
    a.options.separator_len = t->separator_len;
    a.options.connect_timeout_ms = t->timeout_ms ? (unsigned)t->timeout_ms : UINT32_MAX;
    a.options.reply_timeout_ms = a.options.connect_timeout_ms;
    rc = files_allow("audit", a.options.lanes);
    if (rc)
        return rc;
    live_init(&a.live);
    return audit_all(&a);
}
