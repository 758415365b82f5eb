/*
 * echo-client bench: options, a line while it runs, the result, and whether it is good enough.
 */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
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
};

struct benching {
    struct tool *tool;
    struct bench_options options;
    bool has_depth, has_time, has_warmup, has_regress;
    double max_regress; /* percent */
    json_t *before; /* owned; NULL = nothing to compare with */
    struct live live;
    struct bench_counts shown; /* last, and when */
    uint64_t started_ns, shown_ns;
};

/* ---- while it runs ---- */

static void show(struct benching *b, const struct bench_counts *c, double seconds)
{
    const struct bench_counts *before = &b->shown;
    char time[HUMAN_LEN], rate[HUMAN_LEN], bytes[HUMAN_LEN];
    uint64_t broken = c->closed + c->reset + c->timeout + c->wrong + c->refused;

    live_show(&b->live, "%s  %s/s  %s/s  %" PRIu64 " failures%s", human_duration(seconds, time),
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

        show(b, &c, (double)(now_ns - b->started_ns) / 1e9);
        b->shown_ns = now_ns;
    }
}

/* ---- the end ---- */

/* With --json the standard output has nothing but JSON. */
static int print(struct benching *b, const struct bench_result *r, int *ret_worse)
{
    json_t *o = bench_json(&b->options, r);
    char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    int rc;

    if (!f) {
        json_decref(o);
        return EX_OSERR;
    }
    if (!b->tool->is_json) {
        fprintf(f, "%s:\n", b->tool->address_text);
        bench_text_write(f, o, &r->latency);
    }
    if (b->before)
        *ret_worse = bench_compare(f, b->before, o, b->max_regress);
    fclose(f);
    if (b->tool->is_json) {
        fputs(text, stderr);
        json_object_set_new(o, "address", json_string(b->tool->address_text));
        rc = out_json(o);
    } else {
        rc = out_line(text, len ? len - 1 : 0);
        json_decref(o);
    }
    free(text);
    return rc;
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

static int why_nothing(const struct bench_counts *c)
{
    if (c->wrong)
        return ARB_MISMATCH;
    if (c->closed + c->reset == 0)
        return ARB_TIMEOUT;
    return c->closed >= c->reset ? ARB_CLOSED : ARB_RESET;
}

static int bench_finish(struct benching *b, const struct bench_result *r)
{
    int rc, worse = 0;

    if (r->counts.messages == 0 && r->counts.connected == 0 && r->last_failure)
        return fail_outcome(b->tool, NULL, r->last_failure);
    rc = print(b, r, &worse);
    if (rc == 0)
        rc = out_flush();
    warn(b, r);
    if (rc)
        return rc;
    if (stop_count() > 0)
        return stop_exit(0);
    if (r->counts.messages == 0 && !(r->rate > 0))
        return fail_outcome(b->tool, "not one message came back", why_nothing(&r->counts));
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

enum { OPT_RATE = 1000, OPT_CHURN, OPT_THREADS, OPT_WARMUP, OPT_COMPARE, OPT_MAX_REGRESS };

const struct argp_option bench_argp_options[] = {
    {"connections", 'c', "N", 0, "connections at once; default 64", 0},
    {"depth", 'd', "N", 0, "messages under way on each; default 1, with --rate 64", 0},
    {"size", 's', "MIN-MAX", 0, "bytes of a message; default 64", 0},
    {"time", 't', "TIME", 0, "how long, warm-up included; default 10s", 0},
    {"count", 'n', "N", 0, "end after so many messages in all", 0},
    {"rate", OPT_RATE, "N", 0,
     "open loop: so many messages per second in all, timed from when they were due", 0},
    {"churn", OPT_CHURN, "N", 0, "a new connection after every N messages", 0},
    {"threads", OPT_THREADS, "N", 0, "generator threads; default 1", 0},
    {"warmup", OPT_WARMUP, "TIME", 0, "not measured; default 500ms, with -n 0", 0},
    {"compare", OPT_COMPARE, "FILE", 0, "an earlier output of --json: exit with 1 if worse", 0},
    {"max-regress", OPT_MAX_REGRESS, "P%", 0,
     "how much messages/s, 50 % and 99 % may be worse; default 5%", 0},
    {0},
};

static void set_size(struct benching *b, const char *arg, struct argp_state *state)
{
    struct quantity_range range = {1, 1};

    if (quantity_size_range(arg, 0, MAX_SIZE, &range))
        argp_error(state, "-s %s: sizes like 64 or 64-16KiB", arg);
    b->options.size_min = range.min;
    b->options.size_max = range.max;
}

static void load_before(struct benching *b, const char *path, struct argp_state *state)
{
    json_error_t e;

    json_decref(b->before);
    b->before = json_load_file(path, 0, &e);
    if (!b->before)
        argp_error(state, "--compare %s: %s", path, e.text);
    else if (!json_is_number(json_object_get(b->before, "rate")) ||
             !json_is_number(json_object_get(json_object_get(b->before, "latency_ms"), "99")))
        argp_error(state, "--compare %s: it is no output of: echo-client --json bench", path);
}

static void set_regress(struct benching *b, const char *arg, struct argp_state *state)
{
    struct quantity_share share = {0};

    if (quantity_share(arg, &share))
        argp_error(state, "--max-regress %s: a share up to 100%% like 5%%", arg);
    b->has_regress = true;
    b->max_regress = share.is_percent ? share.percent : (double)share.count;
}

static void check_compare(const struct benching *b, struct argp_state *state)
{
    const char *other = b->before ? bench_find_other(b->before, &b->options) : NULL;

    if (b->has_regress && !b->before)
        argp_error(state, "--max-regress: it says how much worse than --compare FILE is allowed");
    if (other)
        argp_error(state,
                   "--compare: it was another bench: its %s was %g; give both the same -c, "
                   "-d, -s, --rate and --churn",
                   other, json_number_value(json_object_get(b->before, other)));
}

static void check(struct benching *b, struct argp_state *state)
{
    struct bench_options *o = &b->options;

    memcpy(o->separator, b->tool->separator, b->tool->separator_len);
    o->separator_len = b->tool->separator_len;
    o->timeout_ms = b->tool->timeout_ms;
    if (!b->has_depth && o->rate > 0)
        o->depth = 64;
    if (o->size_min + o->separator_len == 0)
        argp_error(state, "-s 0: without a separator there is nothing to send");
    if ((o->size_max + o->separator_len) * o->depth > MAX_SIZE * UINT64_C(4))
        argp_error(state, "-s and -d: more than 1 GiB under way on a connection");
    if (!b->has_time && o->count)
        o->duration_ms = 0;
    if (!b->has_warmup && (o->count || o->duration_ms <= 2 * DEFAULT_WARMUP_MS))
        o->warmup_ms = o->count ? 0 : o->duration_ms / 10;
    if (o->duration_ms && o->warmup_ms >= o->duration_ms)
        argp_error(state, "--warmup: it takes all of the time (-t)");
    o->threads = MIN(o->threads, o->connections);
    check_compare(b, state);
}

static error_t parse_bench(int key, char *arg, struct argp_state *state)
{
    struct benching *b = state->input;
    struct bench_options *o = &b->options;

    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = b->tool;
        return 0;
    case 'c':
        o->connections = (unsigned)option_number("-c", arg, 1, BENCH_CONNECTIONS_MAX, state);
        return 0;
    case 'd':
        o->depth = (unsigned)option_number("-d", arg, 1, BENCH_DEPTH_MAX, state);
        b->has_depth = true;
        return 0;
    case 's':
        set_size(b, arg, state);
        return 0;
    case 't':
        o->duration_ms = option_ms("-t", arg, 10, state);
        b->has_time = true;
        return 0;
    case 'n':
        o->count = option_number("-n", arg, 1, UINT64_C(1) << 50, state);
        return 0;
    case OPT_RATE:
        o->rate = (double)option_number("--rate", arg, 1, 100000000, state);
        return 0;
    case OPT_CHURN:
        o->churn = (unsigned)option_number("--churn", arg, 1, UINT32_MAX / 2, state);
        return 0;
    case OPT_THREADS:
        o->threads = (unsigned)option_number("--threads", arg, 1, BENCH_THREADS_MAX, state);
        return 0;
    case OPT_WARMUP:
        o->warmup_ms = option_ms("--warmup", arg, 0, state);
        b->has_warmup = true;
        return 0;
    case OPT_COMPARE:
        load_before(b, arg, state);
        return 0;
    case OPT_MAX_REGRESS:
        set_regress(b, arg, state);
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "bench takes no words: %s; an address goes behind -a", arg);
        return 0;
    case ARGP_KEY_END:
        check(b, state);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

int bench_run(struct tool *t, int argc, char **argv)
{
    static const struct argp argp = {
        .options = bench_argp_options,
        .parser = parse_bench,
        .args_doc = "bench",
        .doc =
            "Measure how many messages per second a server echoes and how long each takes, for 10 "
            "seconds if nothing else is said. Ctrl-C ends it with what it has. Exit status 1: "
            "worse than --compare allows.",
    };
    struct benching b = {
        .tool = t,
        .max_regress = 5,
        .options = {.connections = 64,
                    .depth = 1,
                    .threads = 1,
                    .size_min = 64,
                    .size_max = 64,
                    .duration_ms = DEFAULT_MS,
                    .warmup_ms = DEFAULT_WARMUP_MS},
    };
    int rc;

    tool_parse(&argp, argc, argv, &b);
    rc = files_allow("bench", b.options.connections);
    live_init(&b.live);
    if (rc == 0)
        rc = bench_all(&b);
    json_decref(b.before);
    return rc;
}
