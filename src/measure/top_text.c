/*
 * Frames and lines of the live view. Pure.
 */
#include "measure/top_text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "client/columns.h"
#include "client/human.h"

#define REVERSE "\033[7m"
#define RED     "\033[1;31m"
#define PLAIN   "\033[0m"

/* ---- a frame ---- */

struct frame {
    FILE *f;
    const struct top_look *look;
    size_t n_lines; /* written so far */
};

/* One line, cut to the width; nothing below the last one. @colour "" = none */
static void put_line(struct frame *fr, const char *text, const char *colour)
{
    bool has_colour = fr->look->has_colour && *colour && *text;
    size_t width = 0, len = 0;

    if (fr->n_lines == fr->look->height)
        return;
    for (; text[len]; len++) {
        width += ((unsigned char)text[len] & 0xc0) != 0x80;
        if (width > fr->look->width)
            break;
    }
    fprintf(fr->f, "%s%s%.*s%s", fr->n_lines++ > 0 ? "\n" : "", has_colour ? colour : "", (int)len,
            text, has_colour ? PLAIN : "");
}

static size_t count_running(const struct sample *s)
{
    size_t n = 0;

    for (size_t i = 0; i < s->n_workers; i++)
        n += strcmp(s->workers[i].state, "run") == 0;
    return n;
}

static void put_head(struct frame *fr, const struct sample *s)
{
    char line[256], up[HUMAN_LEN], conns[HUMAN_LEN], rate[HUMAN_LEN], in[HUMAN_LEN], out[HUMAN_LEN];

    snprintf(line, sizeof(line),
             "echo-arbiter %s  pid %d  %s  up %s  restarts %" PRIu64 "  reloads %" PRIu64
             "  gen %" PRIu64,
             s->version, (int)s->pid, s->state, human_duration(s->uptime_s, up), s->restarts,
             s->reloads, s->generation);
    put_line(fr, line, "");
    snprintf(line, sizeof(line),
             "%zu of %" PRIu64 " workers run  %s connections  %s messages/s  %s/s in  %s/s out",
             count_running(s), s->wanted, human_count(s->totals.connections, conns),
             human_rate(s->rate.requests, rate), human_byte_rate(s->rate.bytes_in, in),
             human_byte_rate(s->rate.bytes_out, out));
    put_line(fr, line, "");
    if (fr->look->trouble)
        put_line(fr, fr->look->trouble, RED);
    else
        put_line(fr, s->is_degraded ? "DEGRADED: workers keep dying" : "", RED);
}

/* Up to BEAT they fit 80 characters. */
static const struct column columns[] = {
    {"WORKER", false, 0}, {"STATE", false, 8}, {"NTH", true, 0},   {"CONNS", true, 6},
    {"MSGS/S", true, 6},  {"IN/S", true, 7},   {"OUT/S", true, 7}, {"LAG", true, 6},
    {"BEAT", true, 6},    {"UP", true, 7},     {"PID", true, 7},
};

static void add_worker(struct columns *t, const struct sample_worker *w)
{
    char buf[HUMAN_LEN];

    columns_add(t, w->id);
    columns_add(t, w->state);
    snprintf(buf, sizeof(buf), "%" PRIu64, w->generation);
    columns_add(t, buf);
    columns_add(t, human_count(w->counts.connections, buf));
    columns_add(t, human_rate(w->rate.requests, buf));
    columns_add(t, human_byte_rate(w->rate.bytes_in, buf));
    columns_add(t, human_byte_rate(w->rate.bytes_out, buf));
    columns_add(t, human_duration(w->lag_ms / 1e3, buf));
    columns_add(t, human_duration(w->heartbeat_age_s, buf));
    columns_add(t, human_duration(w->uptime_s, buf));
    snprintf(buf, sizeof(buf), "%d", (int)w->pid);
    columns_add(t, buf);
}

static int put_row(struct frame *fr, const struct columns *t, size_t row, size_t n,
                   const char *colour)
{
    char *line = NULL;
    size_t len;
    FILE *f = open_memstream(&line, &len);

    if (!f)
        return -ENOMEM;
    columns_write_row(t, f, row, n);
    if (fclose(f) == 0)
        put_line(fr, line, colour);
    free(line);
    return 0;
}

int top_text_frame(FILE *f, const struct sample *s, const struct top_look *look)
{
    struct frame fr = {.f = f, .look = look};
    struct columns t;
    size_t n, room, n_shown;
    int rc = 0;

    columns_init(&t, columns, ARRAY_SIZE(columns));
    for (size_t i = 0; i < s->n_workers; i++)
        add_worker(&t, &s->workers[i]);
    put_head(&fr, s);
    n = MAX(columns_fitting(&t, look->width), (size_t)1);
    room = look->height - MIN(look->height, fr.n_lines + 1);
    n_shown = s->n_workers > room ? room - MIN(room, (size_t)1) : s->n_workers;
    for (size_t row = 0; rc == 0 && !t.is_broken && row <= n_shown; row++)
        rc = put_row(&fr, &t, row, n, row == 0 ? REVERSE : "");
    if (n_shown < s->n_workers) {
        char line[64];

        snprintf(line, sizeof(line), "and %zu more", s->n_workers - n_shown);
        put_line(&fr, line, "");
    }
    rc = t.is_broken ? -ENOMEM : rc;
    columns_fini(&t);
    return rc;
}

/* ---- lines ---- */

/* A plain number, or "-" for what is not known. */
static const char *number(double value, int digits, char *buf, size_t size)
{
    if (isfinite(value))
        snprintf(buf, size, "%.*f", digits, value);
    else
        snprintf(buf, size, "-");
    return buf;
}

static void put_numbers(FILE *f, uint64_t connections, const struct sample_rate *rate,
                        double lag_ms)
{
    char requests[32], in[32], out[32], lag[32];

    fprintf(f, " %9" PRIu64 " %11s %10s %10s %9s\n", connections,
            number(rate->requests, 1, requests, sizeof(requests)),
            number(rate->bytes_in / 1e6, 3, in, sizeof(in)),
            number(rate->bytes_out / 1e6, 3, out, sizeof(out)),
            number(lag_ms, 2, lag, sizeof(lag)));
}

void top_text_lines(FILE *f, const struct sample *s, const char *time, bool has_title)
{
    if (has_title)
        fprintf(f, "%-8s %-12s %-9s %5s %8s %9s %11s %10s %10s %9s\n", "TIME", "ACTOR", "STATE",
                "NTH", "RESTARTS", "CONNS", "MSGS/S", "IN_MB/S", "OUT_MB/S", "LAG_MS");
    for (size_t i = 0; i < s->n_workers; i++) {
        const struct sample_worker *w = &s->workers[i];

        fprintf(f, "%s %-12s %-9s %5" PRIu64 " %8s", time, w->id, w->state, w->generation, "-");
        put_numbers(f, w->counts.connections, &w->rate, w->lag_ms);
    }
    fprintf(f, "%s %-12s %-9s %5s %8" PRIu64, time, "total", s->is_degraded ? "degraded" : s->state,
            "-", s->restarts);
    put_numbers(f, s->totals.connections, &s->rate, NAN);
}

/* ---- JSON ---- */

static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *describe_counts(const struct sample_counts *c, const struct sample_rate *r)
{
    return json_pack("{s:I, s:I, s:o, s:o, s:o}", "connections", (json_int_t)c->connections,
                     "requests", (json_int_t)c->requests, "requests_per_s", real(r->requests),
                     "bytes_in_per_s", real(r->bytes_in), "bytes_out_per_s", real(r->bytes_out));
}

static json_t *describe_worker(const struct sample_worker *w)
{
    json_t *o =
        json_pack("{s:s, s:i, s:s, s:I, s:o, s:o, s:o}", "id", w->id, "pid", (int)w->pid, "state",
                  w->state, "generation", (json_int_t)w->generation, "uptime", real(w->uptime_s),
                  "heartbeat_age", real(w->heartbeat_age_s), "lag_ms", real(w->lag_ms));
    json_t *counts = describe_counts(&w->counts, &w->rate);

    json_object_update(o, counts);
    json_decref(counts);
    return o;
}

json_t *top_text_json(const struct sample *s, double time_s)
{
    json_t *workers = json_array();

    for (size_t i = 0; i < s->n_workers; i++)
        json_array_append_new(workers, describe_worker(&s->workers[i]));
    return json_pack("{s:f, s:{s:i, s:s, s:o, s:I, s:I, s:b}, s:o, s:o}", "time", time_s, "arbiter",
                     "pid", (int)s->pid, "state", s->state, "uptime", real(s->uptime_s),
                     "generation", (json_int_t)s->generation, "restarts", (json_int_t)s->restarts,
                     "degraded", s->is_degraded, "workers", workers, "totals",
                     describe_counts(&s->totals, &s->rate));
}
