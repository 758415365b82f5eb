/*
 * What a bench has measured: as JSON, from that as text, and compared with an earlier one.
 */
#include "measure/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/util.h"
#include "client/columns.h"
#include "client/human.h"

enum { PLOT_ROWS = 24, PLOT_WIDTH = 50 };

static const struct {
    const char *name, *key; /* for people, and in the JSON */
    double percent;
} percentiles[] = {
    {"50", "p50", 50},          {"75", "p75", 75},
    {"90", "p90", 90},          {"95", "p95", 95},
    {"99", "p99", 99},          {"99.9", "p99.9", 99.9},
    {"99.99", "p99.99", 99.99}, {"99.999", "p99.999", 99.999},
    {"100", "max", 100},
};

bool bench_has_fallen_behind(const struct bench_options *o, const struct bench_result *r)
{
    return o->rate > 0 && r->counts.late * 100 > r->counts.messages + r->counts.unanswered;
}

/* ---- JSON ---- */

static json_t *hist_json(const struct hist *h)
{
    json_t *o = json_pack("{s:I, s:f, s:f}", "count", (json_int_t)h->n, "min",
                          h->n ? (double)h->min / 1e6 : 0., "mean", hist_mean(h) / 1e6);

    for (size_t i = 0; i < ARRAY_SIZE(percentiles); i++)
        json_object_set_new(o, percentiles[i].key,
                            json_real((double)hist_percentile(h, percentiles[i].percent) / 1e6));
    return o;
}

/* Two benches with the same of these can be compared. */
static json_t *options_json(const struct bench_options *o)
{
    return json_pack("{s:i, s:i, s:i, s:I, s:I, s:i, s:f}", "connections", (int)o->connections,
                     "depth", (int)o->depth, "threads", (int)o->threads, "size_min",
                     (json_int_t)o->size_min, "size_max", (json_int_t)o->size_max, "churn",
                     (int)o->churn, "rate_wanted", o->rate);
}

json_t *bench_json(const struct bench_options *o, const struct bench_result *r)
{
    json_t *j = options_json(o);

    json_object_set_new(j, "duration_ms", json_real(r->seconds * 1e3));
    json_object_set_new(j, "rate", json_real(r->rate));
    json_object_set_new(j, "byte_rate", json_real(r->byte_rate));
    json_object_set_new(j, "connect_rate", json_real(r->connect_rate));
    json_object_set_new(j, "outage_ms", json_real(r->outage_ms));
    json_object_set_new(j, "cut_short_ms", json_real(r->cut_short_ms));
#define X(field, help) json_object_set_new(j, #field, json_integer((json_int_t)r->counts.field));
    BENCH_COUNTS(X)
#undef X
    json_object_set_new(j, "has_fallen_behind", json_boolean(bench_has_fallen_behind(o, r)));
    json_object_set_new(j, "latency_ms", hist_json(&r->latency));
    json_object_set_new(j, "connect_ms", hist_json(&r->connects));
    return j;
}

/* ---- text ---- */

static const struct column run_columns[] = {
    {"CONNECTIONS", "connections", SHOW_NUMBER, 0},
    {"DEPTH", "depth", SHOW_NUMBER, 0},
    {"SIZE", "size_min", SHOW_NUMBER, 0},
    {"TO", "size_max", SHOW_NUMBER, 0},
    {"THREADS", "threads", SHOW_NUMBER, 0},
    {"TIME", "duration_ms", SHOW_EXACT_MS, 0},
    {"MSGS/S", "rate", SHOW_RATE, 0},
    {"WANTED", "rate_wanted", SHOW_RATE, 0},
    {"BYTES/S", "byte_rate", SHOW_BYTE_RATE, 0},
    {"CONNECTS/S", "connect_rate", SHOW_RATE, 0},
};

static const struct column percentile_columns[] = {{"%", "percent", SHOW_TEXT, 8},
                                                   {"ECHOED AFTER", "ms", SHOW_EXACT_MS, 0}};

static const struct column plot_columns[] = {{"UP TO", "ms", SHOW_EXACT_MS, 8},
                                             {"SHARE %", "share", SHOW_FIXED_2, 0},
                                             {"", "bar", SHOW_TEXT, 0}};

static int write_rows(FILE *f, const struct column *columns, size_t n, json_t *rows)
{
    int rc = columns_write(f, columns, n, rows);

    json_decref(rows);
    return rc;
}

static json_t *percentile_row(const char *name, const json_t *latency, const char *key)
{
    return json_pack("{s:s, s:O*}", "percent", name, "ms", json_object_get(latency, key));
}

static json_t *percentile_rows(const json_t *latency)
{
    json_t *rows = json_array();

    json_array_append_new(rows, percentile_row("least", latency, "min"));
    json_array_append_new(rows, percentile_row("mean", latency, "mean"));
    for (size_t i = 0; i < ARRAY_SIZE(percentiles); i++)
        json_array_append_new(rows,
                              percentile_row(percentiles[i].name, latency, percentiles[i].key));
    return rows;
}

/* 1, 2, 5, 10, 20 … */
static uint64_t next_step(uint64_t step)
{
    uint64_t decade = 1;

    while (step / decade >= 10)
        decade *= 10;
    return step / decade == 2 ? 5 * decade : 2 * step;
}

/* How many values there are up to each round step. */
static json_t *plot_rows(const struct hist *h)
{
    static const char bars[PLOT_WIDTH + 1] = "##################################################";
    uint64_t tops[PLOT_ROWS] = {0}, counts[PLOT_ROWS] = {0}, most = 1, top = 1, above = h->n;
    /* 8 and 7 characters and | stand before it, and gaps of 2 between them */
    const size_t room = columns_room(PLOT_WIDTH, 20);
    json_t *rows = json_array();
    unsigned n = 0;

    while (top < h->min)
        top = next_step(top);
    for (; above > 0 && n < PLOT_ROWS; top = next_step(top), n++) {
        tops[n] = top;
        counts[n] = above - hist_above(h, top);
        above -= counts[n];
        most = MAX(most, counts[n]);
    }
    for (unsigned i = 0; i < n; i++) {
        int width = (int)(counts[i] * room / most);
        const char *little = width == 0 && counts[i] > 0 ? "." : "";

        json_array_append_new(rows, json_pack("{s:f, s:f, s:o}", "ms", (double)tops[i] / 1e6,
                                              "share", 100. * (double)counts[i] / (double)h->n,
                                              "bar", json_sprintf("|%s%.*s", little, width, bars)));
    }
    return rows;
}

/* Of the window's time, unless it is nothing. */
static void write_part(FILE *f, const json_t *o, const char *name, const char *what)
{
    const double ms = json_number_value(json_object_get(o, name));
    char text[HUMAN_LEN];

    if (ms > 0)
        fprintf(f, "%s: %s of the time\n", what, human_duration(ms / 1000, text));
}

int bench_text_write(FILE *f, const json_t *o, const struct hist *latency)
{
    static const struct column_count counts[] = {
#define X(field, help) {#field, help},
        BENCH_COUNTS(X)
#undef X
    };
    double rate = json_number_value(json_object_get(o, "rate"));
    double wanted = json_number_value(json_object_get(o, "rate_wanted"));
    char reached_text[HUMAN_LEN], wanted_text[HUMAN_LEN];
    int rc = columns_write(f, run_columns, ARRAY_SIZE(run_columns), o);

    /* The last messages of a window come back after it: a little less is all that was wanted. */
    if (rate < wanted * 0.99)
        fprintf(f, "reached %s of %s messages/s wanted\n",
                human_grouped((uint64_t)rate, reached_text),
                human_grouped((uint64_t)wanted, wanted_text));
    write_part(f, o, "outage_ms", "without any connection");
    write_part(f, o, "cut_short_ms", "cut short");
    if (rc == 0)
        rc = columns_write_counts(f, counts, ARRAY_SIZE(counts), o);
    if (rc || latency->n == 0)
        return rc;
    rc = write_rows(f, percentile_columns, ARRAY_SIZE(percentile_columns),
                    percentile_rows(json_object_get(o, "latency_ms")));
    return rc ? rc : write_rows(f, plot_columns, ARRAY_SIZE(plot_columns), plot_rows(latency));
}

/* ---- with an earlier one ---- */

const char *bench_find_other(const json_t *before, const struct bench_options *o)
{
    static const char *const names[] = {"connections", "depth",       "size_min",
                                        "size_max",    "rate_wanted", "churn"};
    json_t *now = options_json(o);
    const char *other = NULL;

    for (size_t i = 0; i < ARRAY_SIZE(names) && !other; i++) {
        const json_t *was = json_object_get(before, names[i]);

        if (was && json_number_value(was) != json_number_value(json_object_get(now, names[i])))
            other = names[i];
    }
    json_decref(now);
    return other;
}

int bench_compare(FILE *f, const json_t *before, const json_t *now, double max_percent)
{
    static const struct {
        const char *name, *path;
        int sign; /* 1: more is worse */
        bool is_failure; /* 0 where it is missing; any of it is worse than none */
    } rows[] = {{"messages/s", "rate", -1, false},
                {"50 % in ms", "latency_ms/p50", 1, false},
                {"99 % in ms", "latency_ms/p99", 1, false},
                {"unanswered", "unanswered", 1, true},
                {"unsent", "unsent", 1, true},
                {"outage in ms", "outage_ms", 1, true},
                {"cut short in ms", "cut_short_ms", 1, true}};
    static const struct column columns[] = {{"COMPARED", "name", SHOW_TEXT, 0},
                                            {"BEFORE", "before", SHOW_FIXED_3, 0},
                                            {"NOW", "now", SHOW_FIXED_3, 0},
                                            {"CHANGE %", "change", SHOW_FIXED, 0},
                                            {"", "verdict", SHOW_TEXT, 0}};
    json_t *table = json_array();
    int is_worse = 0, rc = 0;

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const json_t *was = columns_value(before, rows[i].path);
        double a = json_number_value(was), b = json_number_value(columns_value(now, rows[i].path));
        double change = a > 0 ? (b - a) / a * 100 : 0;
        bool is_row_worse =
            change * rows[i].sign > max_percent || (rows[i].is_failure && a <= 0 && b > 0);

        if (rows[i].is_failure && a <= 0 && b <= 0)
            continue;
        rc = json_is_number(was) || rows[i].is_failure ? rc : -EINVAL;
        is_worse |= is_row_worse;
        json_array_append_new(table, json_pack("{s:s, s:f, s:f, s:f, s:s}", "name", rows[i].name,
                                               "before", a, "now", b, "change", change, "verdict",
                                               is_row_worse ? "WORSE" : ""));
    }
    if (rc == 0)
        rc = columns_write(f, columns, ARRAY_SIZE(columns), table);
    json_decref(table);
    return rc ? rc : is_worse;
}
