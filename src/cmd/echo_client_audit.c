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
#include "base/escape.h"
#include "base/hash.h"
#include "base/util.h"
#include "measure/audit_text.h"
#include "client/human.h"
#include "client/outcome.h"
#include "cmd/echo_client.h"
#include "cmd/echo_client_live.h"

/* A limit was broken. */
enum { EXIT_BROKEN = 1 };

enum {
    SHOWN_EVERY = 4, /* looks */
    NOTABLE_WAIT_MS = 250, /* without --max-stall: longer than this is an outage */
    MAX_SIZE = 1 << 30,
};

struct auditing {
    struct tool *tool;
    struct audit_options options;
    struct audit_limits limits;
    uint64_t rate; /* messages per second in all; 0 = by the pauses */
    struct quantity_range size, think; /* think.max UINT64_MAX = not given */
    uint64_t max_stall_ms; /* 0 = not given */
    uint64_t reconnect_ms; /* UINT64_MAX = not given */
    unsigned churn_messages; /* 0 = not given */
    bool has_lanes, is_staying_away, is_waiting;
    struct audit *audit;
    struct timeline timeline;
    struct live live;
    unsigned n_looks;
};

/* ---- while it runs ---- */

/* By the time or by the messages, whichever is further. */
static double audit_share(const struct auditing *a, const struct audit_result *r)
{
    const struct audit_options *o = &a->options;
    const double by_time =
        o->duration_ms ? (double)r->duration_ns / 1e6 / (double)o->duration_ms : 0;
    const double by_count =
        o->messages ? (double)r->total.counts.echoed / ((double)o->messages * o->lanes) : 0;

    return MAX(by_time, by_count);
}

static void audit_show(struct auditing *a, const struct audit_result *r)
{
    const struct audit_counts *c = &r->total.counts;
    double seconds = (double)r->duration_ns / 1e9;
    char sent[HUMAN_LEN], lost[HUMAN_LEN], stall[HUMAN_LEN], rate[HUMAN_LEN], now[HUMAN_LEN],
        left[LIVE_LEFT_LEN];

    live_show(&a->live, "%s%s  %s of %s lost  longest stall %s  %s/s  %u connected",
              live_left(audit_share(a, r), seconds, left), human_duration(seconds, now),
              human_grouped(timeline_lost(c), lost), human_grouped(c->sent, sent),
              r->total.stall.ns ? human_duration((double)r->total.stall.ns / 1e9, stall) : "-",
              human_rate((double)c->echoed / (seconds > 0 ? seconds : 1), rate),
              audit_talking(a->audit));
}

/* Returns whether there is anything to audit. */
static bool look(struct auditing *a)
{
    struct audit_result r = audit_result(a->audit);
    uint64_t now_ns = clock_mono_ns(), since_ns = 0;
    uint64_t notable_ns = MIN(a->limits.max_stall_ns, NOTABLE_WAIT_MS * UINT64_C(1000000));
    unsigned waiting = audit_waiting(a->audit, now_ns - notable_ns, &since_ns);

    timeline_look(&a->timeline, &r.total.counts, waiting, since_ns, now_ns);
    if (a->live.is_on && a->n_looks++ % SHOWN_EVERY == 0)
        audit_show(a, &r);
    return !audit_is_hopeless(a->audit, &r.total.counts);
}

/* ---- the end ---- */

/* Returns 0 or an exit code. */
static int audit_print(struct auditing *a, const struct audit_result *r)
{
    json_t *o = audit_json(r, &a->timeline, &a->limits);
    char length[HUMAN_LEN];
    FILE *f;

    if (a->tool->is_json) {
        json_object_set_new(o, "address", json_string(a->tool->address_text));
        json_object_set_new(o, "seed", json_integer((json_int_t)a->options.seed));
        return out_json(o);
    }
    if ((f = out_begin())) {
        fprintf(f, "%s: %u connection%s, %s, seed %" PRIu64 "\n", a->tool->address_text,
                a->options.lanes, a->options.lanes == 1 ? "" : "s",
                human_duration((double)r->duration_ns / 1e9, length), a->options.seed);
        audit_text_write(f, o, a->has_lanes);
    }
    json_decref(o);
    return out_end(f, true);
}

/* That says nothing about the traffic. */
static int fail_hopeless(struct auditing *a, const struct audit_result *r)
{
    const struct audit_counts *c = &r->total.counts;
    char first[4 * AUDIT_FIRST_BYTES + 1], what[sizeof(first) + 64];

    if (c->connected == 0)
        return fail_outcome(a->tool, NULL, c->refused > 0 ? ARB_REFUSED : ARB_UNREACHABLE);
    snprintf(what, sizeof(what), "not an echo server, it says \"%s\"",
             escape_bytes(r->first, r->first_len, first));
    return fail_outcome(a->tool, what, ARB_MISMATCH);
}

static int audit_finish(struct auditing *a)
{
    struct audit_result r;
    int rc;

    look(a);
    live_clear(&a->live);
    r = audit_result(a->audit);
    if (audit_is_hopeless(a->audit, &r.total.counts))
        return stop_exit(fail_hopeless(a, &r));
    rc = audit_print(a, &r);
    if (rc)
        return rc;
    rc = audit_judge(&r.total, &a->limits).is_delivered ? 0 : EXIT_BROKEN;
    return stop_exit(rc);
}

static int audit_all(struct auditing *a)
{
    struct flow *f;
    uint64_t look_ns = 0;
    int rc = audit_start(NULL, &a->options, &a->audit);

    if (rc)
        return fail_outcome(a->tool, NULL, rc);
    f = audit_flow(a->audit);
    stop_watch();
    for (unsigned n_stops = 0; !audit_is_done(a->audit) && n_stops < 2;) {
        flow_turn(f, look_ns);
        if (f->reactor.now_ns < look_ns)
            continue;
        look_ns = f->reactor.now_ns + LOOK_MS * UINT64_C(1000000);
        if (!look(a))
            break;
        n_stops = stop_count();
        if (n_stops > 0)
            audit_stop(a->audit);
    }
    rc = audit_finish(a);
    audit_free(a->audit);
    return rc;
}

/* ---- the command line ---- */

static const struct own_option audit_options_own[] = {
    {"connections", 'c', "N", "connections at once, 1 to 20000; default 16", OPTION_NUMBER,
     OPTION_AT(struct auditing, options.lanes), 1, AUDIT_LANES_MAX},
    {"depth", 'd', "N", "messages under way on each, 1 to 1024; default 4", OPTION_NUMBER,
     OPTION_AT(struct auditing, options.depth), 1, AUDIT_DEPTH_MAX},
    {"size", 's', "MIN-MAX", "bytes of a message, 55 at least; default 55-32KiB", OPTION_SIZE_RANGE,
     OPTION_AT(struct auditing, size), AUDIT_HEADER_BYTES, MAX_SIZE},
    {"time", 't', "TIME", "end after so long, like 30, 90s or 10m; default: no end", OPTION_MS,
     OPTION_AT(struct auditing, options.duration_ms), 1, TOOL_MS_MAX},
    {"count", 'n', "N", "end after so many messages on each connection", OPTION_NUMBER,
     OPTION_AT(struct auditing, options.messages), 1, UINT32_MAX},
    {"think", 0, "MIN-MAX",
     "pause between messages of a connection; default 10ms-50ms, 0 = as fast as replies come",
     OPTION_MS_RANGE, OPTION_AT(struct auditing, think), 0, TOOL_MS_MAX},
    {"rate", 0, "N", "messages per second in all, instead of --think", OPTION_NUMBER,
     OPTION_AT(struct auditing, rate), 1, 10000000},
    {"churn", 0, "N", "so many of the connections come and go; default 0", OPTION_NUMBER,
     OPTION_AT(struct auditing, options.churn_lanes), 0, AUDIT_LANES_MAX},
    {"churn-messages", 0, "N", "... after so many messages; default 10", OPTION_NUMBER,
     OPTION_AT(struct auditing, churn_messages), 1, UINT32_MAX / 2},
    {"slow", 0, "N", "so many are always in the middle of a message of 1 MiB", OPTION_NUMBER,
     OPTION_AT(struct auditing, options.slow_lanes), 0, AUDIT_LANES_MAX},
    {"max-loss", 0, "N|P%", "exit with 1 if more messages are lost; default 0", OPTION_SHARE,
     OPTION_AT(struct auditing, limits.max_loss), 0, 0},
    {"max-stall", 0, "TIME", "exit with 1 if a reply or a connection is later, like 200ms",
     OPTION_MS, OPTION_AT(struct auditing, max_stall_ms), 1, TOOL_MS_MAX},
    {"max-cut", 0, "N|P%", "exit with 1 if more connections end before we end them; default 0",
     OPTION_SHARE, OPTION_AT(struct auditing, limits.max_cut), 0, 0},
    {"reconnect", 0, "TIME", "pause after a failure; default 10ms", OPTION_MS,
     OPTION_AT(struct auditing, reconnect_ms), 0, TOOL_MS_MAX},
    {"no-reconnect", 0, NULL, "a connection that failed stays away", OPTION_SET,
     OPTION_AT(struct auditing, is_staying_away), 0, 0},
    {"no-half-close", 0, NULL, "wait for all replies before ending a connection", OPTION_SET,
     OPTION_AT(struct auditing, is_waiting), 0, 0},
    {"seed", 0, "N", "the same sizes, payloads and pauses again", OPTION_NUMBER,
     OPTION_AT(struct auditing, options.seed), 0, UINT64_MAX},
    {"verbose", 'v', NULL, "a line for each connection, not only for those with a flaw", OPTION_SET,
     OPTION_AT(struct auditing, has_lanes), 0, 0},
    {0},
};

/* A rate is pauses of that mean length. */
static void take_pace(struct auditing *a)
{
    struct audit_options *o = &a->options;
    const uint64_t mean_ms = a->rate > 0 ? o->lanes * UINT64_C(1000) / a->rate : 0;

    if (a->rate > 0 && a->think.max != UINT64_MAX)
        usage_error("--rate %" PRIu64 ": --think says how fast, too: give one of them", a->rate);
    if (a->rate > 0 && (mean_ms == 0 || mean_ms > TOOL_MS_MAX))
        usage_error("--rate %" PRIu64 ": that needs %s connections (-c)", a->rate,
                    mean_ms ? "fewer" : "more");
    if (a->rate > 0)
        a->think = (struct quantity_range){mean_ms / 2, 2 * mean_ms - mean_ms / 2};
    if (a->think.max != UINT64_MAX) {
        o->think_min_ms = (unsigned)a->think.min;
        o->think_max_ms = (unsigned)a->think.max;
    }
}

static void complete_options(struct auditing *a)
{
    struct audit_options *o = &a->options;
    const struct tool *t = a->tool;

    take_pace(a);
    if (a->churn_messages && o->churn_lanes == 0)
        usage_error("--churn-messages %u: of the connections of --churn, and there are none",
                    a->churn_messages);
    if (a->churn_messages)
        o->churn_messages = a->churn_messages;
    if (a->has_lanes && t->is_json)
        usage_error("--verbose: --json has every connection");
    if (o->churn_lanes + o->slow_lanes > o->lanes)
        usage_error("--churn %u and --slow %u: of the connections, -c, and these are %u",
                    o->churn_lanes, o->slow_lanes, o->lanes);
    if (!audit_separator_is_fit(t->separator, t->separator_len))
        usage_error("--separator: an audit needs one, and not of its messages' own characters "
                    "(0-9 a-f . ~) alone");
    if (a->max_stall_ms)
        a->limits.max_stall_ns = a->max_stall_ms * 1000000;
    o->size_min = a->size.min;
    o->size_max = a->size.max;
    if (a->is_staying_away && a->reconnect_ms != UINT64_MAX)
        usage_error("--reconnect and --no-reconnect: give one of them");
    if (a->reconnect_ms != UINT64_MAX)
        o->reconnect_ms = (unsigned)a->reconnect_ms;
    o->is_reconnecting = !a->is_staying_away;
    o->is_half_closing = !a->is_waiting;
    o->address = t->address_text;
    memcpy(o->separator, t->separator, t->separator_len);
    o->separator_len = t->separator_len;
    o->connect_timeout_ms = t->timeout_ms ? (unsigned)t->timeout_ms : UINT32_MAX;
    o->reply_timeout_ms = o->connect_timeout_ms;
}

int audit_run(struct tool *t)
{
    struct auditing a = {.tool = t,
                         .size = {AUDIT_HEADER_BYTES, 32768},
                         .think.max = UINT64_MAX,
                         .reconnect_ms = UINT64_MAX,
                         .limits.max_stall_ns = UINT64_MAX};
    uint64_t now = wall_time_ns();
    int rc;

    audit_options_init(&a.options, NULL);
    a.options.seed = random_next(&now) >> 32;
    a.options.run = (uint32_t)random_next(&now);
    tool_parse(t, audit_options_own, &a);
    complete_options(&a);
    rc = files_allow("audit", a.options.lanes);
    if (rc)
        return rc;
    live_init(&a.live);
    return audit_all(&a);
}
