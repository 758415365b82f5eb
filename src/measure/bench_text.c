/*
 * What a bench has measured, for people and for programs, and compared with an earlier one.
 */
#include "measure/bench.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/util.h"
#include "client/human.h"
#include "measure/quantity.h"

enum { PLOT_ROWS = 24, PLOT_WIDTH = 50 };

static const struct {
    const char *name;
    double percent;
} percentiles[] = {{"50", 50},     {"75", 75},       {"90", 90},         {"95", 95},  {"99", 99},
                   {"99.9", 99.9}, {"99.99", 99.99}, {"99.999", 99.999}, {"100", 100}};

bool bench_has_fallen_behind(const struct bench_options *o, const struct bench_result *r)
{
    return o->rate > 0 && r->counts.late * 100 > r->counts.messages;
}

/* A time in the unit that suits it, in a column. */
static void write_time(FILE *f, double ns)
{
    if (ns < 1e6)
        fprintf(f, "%9.1f us", ns / 1e3);
    else if (ns < 1e9)
        fprintf(f, "%9.2f ms", ns / 1e6);
    else
        fprintf(f, "%9.3f s ", ns / 1e9);
}

static void write_percentiles(FILE *f, const struct hist *h)
{
    fputs("  least    ", f);
    write_time(f, (double)(h->n ? h->min : 0));
    fputs("\n  mean     ", f);
    write_time(f, hist_mean(h));
    fputc('\n', f);
    for (size_t i = 0; i < ARRAY_SIZE(percentiles); i++) {
        fprintf(f, "  %6s %% ", percentiles[i].name);
        write_time(f, (double)hist_percentile(h, percentiles[i].percent));
        fputc('\n', f);
    }
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
static void write_plot(FILE *f, const struct hist *h)
{
    uint64_t tops[PLOT_ROWS] = {0}, rows[PLOT_ROWS] = {0}, most = 1, top = 1, above = h->n;
    unsigned n = 0;

    while (top < h->min)
        top = next_step(top);
    for (; above > 0 && n < PLOT_ROWS; top = next_step(top), n++) {
        tops[n] = top;
        rows[n] = above - hist_above(h, top);
        above -= rows[n];
        most = MAX(most, rows[n]);
    }
    for (unsigned i = 0; i < n; i++) {
        uint64_t width = rows[i] * PLOT_WIDTH / most;

        fputs("  up to ", f);
        write_time(f, (double)tops[i]);
        fprintf(f, " %6.2f %% |", 100. * (double)rows[i] / (double)h->n);
        if (width == 0 && rows[i] > 0)
            fputc('.', f);
        for (uint64_t j = 0; j < width; j++)
            fputc('#', f);
        fputc('\n', f);
    }
}

static void write_sizes(FILE *f, const struct bench_options *o)
{
    char low[QUANTITY_LEN], high[QUANTITY_LEN];

    if (o->size_min == o->size_max)
        fprintf(f, "%s bytes", quantity_grouped(o->size_min, low));
    else
        fprintf(f, "%s to %s bytes", quantity_grouped(o->size_min, low),
                quantity_grouped(o->size_max, high));
}

static void write_troubles(FILE *f, const struct bench_counts *c)
{
    static const char fine[] = " messages bytes connected ";
    char n[QUANTITY_LEN];

#define X(field, help)                                                                             \
    if (c->field > 0 && !strstr(fine, " " #field " "))                                             \
        fprintf(f, "  %-12s %12s  %s\n", #field, quantity_grouped(c->field, n), help);
    BENCH_COUNTS(X)
#undef X
}

/* The last messages of a window come back after it: a little less is all that was wanted. */
static void write_reached(FILE *f, const struct bench_options *o, const struct bench_result *r)
{
    char reached[QUANTITY_LEN], wanted[QUANTITY_LEN];

    if (o->rate > 0 && r->rate < o->rate * 0.99)
        fprintf(f, "reached %s of %s messages/s wanted\n",
                quantity_grouped((uint64_t)r->rate, reached),
                quantity_grouped((uint64_t)o->rate, wanted));
}

void bench_text_write(FILE *f, const struct bench_options *o, const struct bench_result *r)
{
    char count[QUANTITY_LEN], rate[HUMAN_LEN], bytes[HUMAN_LEN];

    fprintf(f, "%u connection%s, depth %u, ", o->connections, o->connections == 1 ? "" : "s",
            o->depth);
    write_sizes(f, o);
    fprintf(f, ", %u thread%s, %.2f s", o->threads, o->threads == 1 ? "" : "s", r->seconds);
    if (o->rate > 0)
        fprintf(f, ", %s/s wanted", human_rate(o->rate, rate));
    fprintf(f, "\n%s messages, %s/s, %s/s each way\n", quantity_grouped(r->counts.messages, count),
            human_rate(r->rate, rate), human_byte_rate(r->byte_rate, bytes));
    write_reached(f, o, r);
    if (o->churn)
        fprintf(f, "%s connections, %s/s\n", quantity_grouped(r->n_connected, count),
                human_rate(r->connect_rate, rate));
    if (r->latency.n > 0) {
        fprintf(f, "from %s to echo:\n", o->rate > 0 ? "due" : "sent");
        write_percentiles(f, &r->latency);
        write_plot(f, &r->latency);
    }
    write_troubles(f, &r->counts);
}

static json_t *hist_json(const struct hist *h)
{
    json_t *o = json_pack("{s:I, s:f, s:f}", "n", (json_int_t)h->n, "min",
                          h->n ? (double)h->min / 1e6 : 0., "mean", hist_mean(h) / 1e6);

    for (size_t i = 0; i < ARRAY_SIZE(percentiles); i++)
        json_object_set_new(o, percentiles[i].name,
                            json_real((double)hist_percentile(h, percentiles[i].percent) / 1e6));
    return o;
}

json_t *bench_json(const struct bench_options *o, const struct bench_result *r)
{
    json_t *j =
        json_pack("{s:i, s:i, s:i, s:I, s:I, s:i, s:f, s:f, s:f}", "connections",
                  (int)o->connections, "depth", (int)o->depth, "threads", (int)o->threads,
                  "size_min", (json_int_t)o->size_min, "size_max", (json_int_t)o->size_max, "churn",
                  (int)o->churn, "rate_wanted", o->rate, "seconds", r->seconds, "rate", r->rate);

    json_object_set_new(j, "byte_rate", json_real(r->byte_rate));
    json_object_set_new(j, "connect_rate", json_real(r->connect_rate));

#define X(field, help) json_object_set_new(j, #field, json_integer((json_int_t)r->counts.field));
    BENCH_COUNTS(X)
#undef X
    json_object_set_new(j, "has_fallen_behind", json_boolean(bench_has_fallen_behind(o, r)));
    json_object_set_new(j, "latency_ms", hist_json(&r->latency));
    json_object_set_new(j, "connect_ms", hist_json(&r->connects));
    return j;
}

const char *bench_find_other(const json_t *before, const struct bench_options *o)
{
    const struct {
        const char *name;
        double now;
    } rows[] = {
        {"connections", o->connections},   {"depth", o->depth},
        {"size_min", (double)o->size_min}, {"size_max", (double)o->size_max},
        {"rate_wanted", o->rate},          {"churn", o->churn},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const json_t *was = json_object_get(before, rows[i].name);

        if (was && json_number_value(was) != rows[i].now)
            return rows[i].name;
    }
    return NULL;
}

/* One line. Returns whether it is worse by more than that; @sign 1: more is worse. */
static bool compare_one(FILE *f, const char *name, double before, double now, int sign,
                        double max_percent)
{
    double change = before > 0 ? (now - before) / before * 100 : 0;
    bool is_worse = change * sign > max_percent;

    fprintf(f, "  %-16s %14.3f -> %14.3f  %+7.1f %%%s\n", name, before, now, change,
            is_worse ? "  WORSE" : "");
    return is_worse;
}

int bench_compare(FILE *f, const json_t *before, const struct bench_result *now, double max_percent)
{
    const json_t *rate = json_object_get(before, "rate");
    const json_t *latency = json_object_get(before, "latency_ms");
    const json_t *half = json_object_get(latency, "50"), *most = json_object_get(latency, "99");
    int is_worse;

    if (!json_is_number(rate) || !json_is_number(half) || !json_is_number(most))
        return -EINVAL;
    fprintf(f, "compared, worse by at most %g %%:\n", max_percent);
    is_worse = compare_one(f, "messages/s", json_number_value(rate), now->rate, -1, max_percent);
    is_worse |= compare_one(f, "50 % in ms", json_number_value(half),
                            (double)hist_percentile(&now->latency, 50) / 1e6, 1, max_percent);
    is_worse |= compare_one(f, "99 % in ms", json_number_value(most),
                            (double)hist_percentile(&now->latency, 99) / 1e6, 1, max_percent);
    return is_worse;
}
