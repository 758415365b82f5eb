/*
 * echo-client bench: options, a line while it runs, the result, and whether it is good enough.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "measure/bench.h"
#include "measure/flow.h"
#include "client/human.h"
#include "measure/quantity.h"
#include "cmd/echo_client.h"
#include "cmd/echo_client_live.h"

enum {
    EXIT_WORSE = 1,
    SHOWN_MS = 200,
    MAX_SIZE = 1 << 28,
    DEFAULT_MS = 10000,
    DEFAULT_WARMUP_MS = 500,
    DEFAULT_REGRESS = 5, /* percent */
};

struct benching {
    struct tool *tool;
    struct bench_options options;
    struct quantity_range size;
    uint64_t rate; /* 0 = closed loop */
    const char *compare; /* a file; NULL = with nothing */
    struct quantity_share
        max_regress; /* percent, with or without the sign; UINT64_MAX = the default */
    json_t *before; /* owned; NULL = nothing to compare with */
    struct live live;
    struct bench_counts shown; /* last, and when */
    uint64_t started_ns, shown_ns;
};

/* ---- while it runs ---- */

/* By the time or by the messages, whichever is further. */
static double bench_share(const struct bench_options *o, const struct bench_counts *c,
                          double seconds)
{
    const double by_time = o->duration_ms ? seconds * 1e3 / (double)o->duration_ms : 0;
    const double by_count = o->count ? (double)c->messages / (double)o->count : 0;

    return MAX(by_time, by_count);
}

static void bench_show(struct benching *b, const struct bench_counts *c, double seconds)
{
    const struct bench_counts *before = &b->shown;
    char time[HUMAN_LEN], rate[HUMAN_LEN], bytes[HUMAN_LEN], left[LIVE_LEFT_LEN];
    uint64_t broken = c->closed + c->reset + c->timeout + c->wrong + c->refused;

    live_show(&b->live, "%s%s  %s/s  %s/s  %" PRIu64 " failures%s",
              live_left(bench_share(&b->options, c, seconds), seconds, left),
              human_duration(seconds, time),
              human_rate((double)(c->messages - before->messages) * 1000 / SHOWN_MS, rate),
              human_byte_rate((double)(c->bytes - before->bytes) * 1000 / SHOWN_MS, bytes), broken,
              c->late > before->late ? "  THE GENERATOR IS LATE" : "");
    b->shown = *c;
}

static void on_tick(struct bench *bench, void *data)
{
    struct benching *b = data;
    uint64_t now_ns = clock_mono_ns();
    unsigned n_stops = stop_count();

    if (n_stops > 1)
        _exit(stop_exit(0));
    if (n_stops > 0)
        bench_stop(bench);
    if (b->live.is_on && now_ns - b->shown_ns >= SHOWN_MS * UINT64_C(1000000)) {
        struct bench_counts c = bench_counts(bench);

        bench_show(b, &c, (double)(now_ns - b->started_ns) / 1e9);
        b->shown_ns = now_ns;
    }
}

/* ---- the end ---- */

static double allowed_percent(const struct benching *b)
{
    if (b->max_regress.is_percent)
        return b->max_regress.percent;
    return b->max_regress.count == UINT64_MAX ? DEFAULT_REGRESS : (double)b->max_regress.count;
}

/* With --json only JSON goes to the standard output. */
static int bench_print(struct benching *b, const struct bench_result *r, int *ret_worse)
{
    json_t *o = bench_json(&b->options, r);
    FILE *f = b->tool->is_json ? stderr : out_begin();

    if (f && !b->tool->is_json) {
        fprintf(f, "%s:\n", b->tool->address_text);
        bench_text_write(f, o, &r->latency);
    }
    if (f && b->before)
        *ret_worse = bench_compare(f, b->before, o, allowed_percent(b));
    if (b->tool->is_json) {
        json_object_set_new(o, "address", json_string(b->tool->address_text));
        return out_json(o);
    }
    json_decref(o);
    return out_end(f, true);
}

static void warn(const struct benching *b, const struct bench_result *r)
{
    if (bench_has_fallen_behind(&b->options, r))
        fprintf(stderr,
                "echo-client: bench: THE GENERATOR FELL BEHIND: %" PRIu64
                " messages were sent more than 1 ms late through no fault of the server; do not "
                "trust the times: lower --rate, or add --threads\n",
                r->counts.late);
}

static int why_not_all(const struct bench_result *r)
{
    const struct bench_counts *c = &r->counts;

    if (c->wrong)
        return ARB_MISMATCH;
    if (c->closed + c->reset == 0)
        return r->last_failure ? r->last_failure : ARB_TIMEOUT;
    return c->closed >= c->reset ? ARB_CLOSED : ARB_RESET;
}

/* The figures above it are those of what came back. */
static int bench_fail(struct benching *b, const struct bench_result *r)
{
    char what[128];

    if (r->counts.messages == 0)
        return fail_outcome(b->tool, "not one message came back", why_not_all(r));
    snprintf(what, sizeof(what),
             "%" PRIu64 " messages did not come back, no connection for %.0f ms",
             r->counts.unanswered, r->outage_ms);
    return fail_outcome(b->tool, what, why_not_all(r));
}

static int bench_finish(struct benching *b, const struct bench_result *r)
{
    int rc, worse = 0;

    if (r->counts.messages == 0 && r->counts.connected == 0 && r->last_failure)
        return fail_outcome(b->tool, NULL, r->last_failure);
    rc = bench_print(b, r, &worse);
    if (rc == 0)
        rc = out_flush();
    warn(b, r);
    if (rc)
        return rc;
    if (stop_count() > 0)
        return stop_exit(0);
    if (r->counts.unanswered > 0 || r->outage_ms > 0 || (r->counts.messages == 0 && !(r->rate > 0)))
        return bench_fail(b, r);
    return worse ? EXIT_WORSE : 0;
}

static int bench_all(struct benching *b)
{
    struct bench_result result;
    int rc = flow_find(&b->tool->address, b->tool->timeout_ms, &b->options.to);

    stop_watch();
    b->started_ns = b->shown_ns = clock_mono_ns();
    if (rc == 0)
        rc = bench_measure(&b->options, on_tick, b, &result);
    live_clear(&b->live);
    if (rc)
        return fail_outcome(b->tool, NULL, rc);
    rc = bench_finish(b, &result);
    bench_result_fini(&result);
    return rc;
}

/* ---- the command line ---- */

static const struct own_option bench_options[] = {
    {"connections", 'c', "N", "connections at once; default 64", OPTION_NUMBER,
     OPTION_AT(struct benching, options.connections), 1, BENCH_CONNECTIONS_MAX},
    {"depth", 'd', "N", "messages under way on each; default 1, with --rate 64", OPTION_NUMBER,
     OPTION_AT(struct benching, options.depth), 1, BENCH_DEPTH_MAX},
    {"size", 's', "MIN-MAX", "bytes of a message; default 64", OPTION_SIZE_RANGE,
     OPTION_AT(struct benching, size), 0, MAX_SIZE},
    {"time", 't', "TIME", "how long, warm-up included; default 10s", OPTION_MS,
     OPTION_AT(struct benching, options.duration_ms), 10, TOOL_MS_MAX},
    {"count", 'n', "N", "end after so many messages in all", OPTION_NUMBER,
     OPTION_AT(struct benching, options.count), 1, UINT64_C(1) << 50},
    {"rate", 0, "N", "open loop: so many messages per second in all, timed from when they were due",
     OPTION_NUMBER, OPTION_AT(struct benching, rate), 1, 100000000},
    {"churn", 0, "N", "a new connection after every N messages", OPTION_NUMBER,
     OPTION_AT(struct benching, options.churn), 1, UINT32_MAX / 2},
    {"threads", 0, "N", "generator threads; default 1", OPTION_NUMBER,
     OPTION_AT(struct benching, options.threads), 1, BENCH_THREADS_MAX},
    {"warmup", 0, "TIME", "not measured; default 500ms, with -n 0", OPTION_MS,
     OPTION_AT(struct benching, options.warmup_ms), 0, TOOL_MS_MAX},
    {"compare", 0, "FILE", "an earlier output of --json: exit with 1 if worse", OPTION_TEXT,
     OPTION_AT(struct benching, compare), 0, 0},
    {"max-regress", 0, "P%", "how much messages/s, 50 % and 99 % may be worse; default 5%",
     OPTION_SHARE, OPTION_AT(struct benching, max_regress), 0, 0},
    {0},
};

static void load_before(struct benching *b)
{
    const char *other;
    struct stat st;
    json_error_t e;

    if (!b->compare && b->max_regress.count != UINT64_MAX)
        usage_error(
            "--max-regress %g%%: it says how much worse than --compare FILE is allowed: give "
            "that, too",
            allowed_percent(b));
    if (!b->compare)
        return;
    if (stat(b->compare, &st) == 0 && S_ISDIR(st.st_mode))
        usage_error("--compare %s: it is a directory: give a file with an output of: echo-client "
                    "--json bench",
                    b->compare);
    b->before = json_load_file(b->compare, 0, &e);
    if (!b->before)
        usage_error("--compare %s: %s: give a file with an output of: echo-client --json bench",
                    b->compare, e.text);
    if (!json_is_number(json_object_get(b->before, "rate")) ||
        !json_is_number(json_object_get(json_object_get(b->before, "latency_ms"), "p99")))
        usage_error("--compare %s: it is no output of: echo-client --json bench", b->compare);
    other = bench_find_other(b->before, &b->options);
    if (other)
        usage_error("--compare: it was another bench: its %s was %g; give both the same -c, -d, "
                    "-s, --rate and --churn",
                    other, json_number_value(json_object_get(b->before, other)));
}

/* Options that were not given follow from the others. */
static void complete_options(struct benching *b)
{
    struct bench_options *o = &b->options;

    memcpy(o->separator, b->tool->separator, b->tool->separator_len);
    o->separator_len = b->tool->separator_len;
    o->timeout_ms = b->tool->timeout_ms;
    o->rate = (double)b->rate;
    o->size_min = b->size.min;
    o->size_max = b->size.max;
    if (o->depth == 0)
        o->depth = b->rate ? 64 : 1;
    if (o->duration_ms == 0 && o->count == 0)
        o->duration_ms = DEFAULT_MS;
    if (o->warmup_ms == UINT64_MAX)
        o->warmup_ms = o->count ? 0 : MIN(o->duration_ms / 10, (uint64_t)DEFAULT_WARMUP_MS);
    o->threads = MIN(o->threads, o->connections);
    if (o->size_min + o->separator_len == 0)
        usage_error("-s 0: without a separator there is nothing to send");
    if ((o->size_max + o->separator_len) * o->depth > MAX_SIZE * UINT64_C(4))
        usage_error("-s and -d: more than 1 GiB under way on a connection");
    if (o->duration_ms && o->warmup_ms >= o->duration_ms)
        usage_error("--warmup %" PRIu64 "ms: it takes all of the time, which is %" PRIu64 "ms (-t)",
                    o->warmup_ms, o->duration_ms);
}

int bench_run(struct tool *t)
{
    struct benching b = {
        .tool = t,
        .size = {64, 64},
        .max_regress = {.count = UINT64_MAX},
        .options = {.connections = 64, .threads = 1, .warmup_ms = UINT64_MAX},
    };
    int rc;

    tool_parse(t, bench_options, &b);
    complete_options(&b);
    load_before(&b);
    rc = files_allow("bench", b.options.connections);
    live_init(&b.live);
    if (rc == 0)
        rc = bench_all(&b);
    json_decref(b.before);
    return rc;
}
