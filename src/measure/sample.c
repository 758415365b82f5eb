/*
 * Samples of the server's counters. Pure.
 */
#include "measure/sample.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/human.h"

static const struct sample_rate unknown_rate = {NAN, NAN, NAN};

static uint64_t read_uint(const json_t *o, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(o, key));

    return value > 0 ? (uint64_t)value : 0;
}

static double read_number(const json_t *o, const char *key)
{
    const json_t *value = json_object_get(o, key);

    return json_is_number(value) ? json_number_value(value) : NAN;
}

static void read_name(const json_t *o, const char *key, char *ret)
{
    const char *text = json_string_value(json_object_get(o, key));

    snprintf(ret, SAMPLE_NAME_LEN, "%s", text ? text : "?");
    human_clean(ret);
}

static struct sample_counts read_counts(const json_t *o)
{
    return (struct sample_counts){
        .connections = read_uint(o, "connections"),
        .accepted = read_uint(o, "accepted"),
        .requests = read_uint(o, "requests"),
        .bytes_in = read_uint(o, "bytes_in"),
        .bytes_out = read_uint(o, "bytes_out"),
    };
}

static void read_worker(const json_t *o, struct sample_worker *ret)
{
    *ret = (struct sample_worker){
        .pid = (pid_t)read_uint(o, "pid"),
        .generation = read_uint(o, "generation"),
        .uptime_s = read_number(o, "uptime"),
        .heartbeat_age_s = read_number(o, "heartbeat_age"),
        .lag_ms = read_number(o, "lag_ms"),
        .counts = read_counts(o),
        .rate = unknown_rate,
    };
    read_name(o, "id", ret->id);
    read_name(o, "state", ret->state);
}

static void read_arbiter(const json_t *o, struct sample *ret)
{
    ret->pid = (pid_t)read_uint(o, "pid");
    ret->uptime_s = read_number(o, "uptime");
    ret->generation = read_uint(o, "generation");
    ret->reloads = read_uint(o, "reloads");
    ret->restarts = read_uint(o, "restarts");
    ret->wanted = read_uint(o, "workers_wanted");
    ret->is_degraded = json_is_true(json_object_get(o, "degraded"));
    read_name(o, "version", ret->version);
    read_name(o, "state", ret->state);
}

int sample_read(const json_t *info, uint64_t now_ns, struct sample *ret)
{
    const json_t *arbiter = json_object_get(info, "arbiter"), *row;
    const json_t *workers = json_object_get(info, "workers");
    struct sample s = {.taken_ns = now_ns, .rate = unknown_rate};
    size_t i;

    if (!json_is_object(arbiter) || !json_is_array(workers))
        return -EBADMSG;
    s.n_workers = json_array_size(workers);
    s.workers = calloc(s.n_workers + 1, sizeof(*s.workers));
    if (!s.workers)
        return -ENOMEM;
    json_array_foreach(workers, i, row) read_worker(row, &s.workers[i]);
    read_arbiter(arbiter, &s);
    s.totals = read_counts(json_object_get(info, "totals"));
    *ret = s;
    return 0;
}

void sample_fini(struct sample *s)
{
    free(s->workers);
    *s = (struct sample){0};
}

/* One counter's way; NAN where it went back. */
static double rate_of(uint64_t now, uint64_t before, double seconds)
{
    return now >= before ? (double)(now - before) / seconds : NAN;
}

static struct sample_rate rate_between(const struct sample_counts *now,
                                       const struct sample_counts *before, double seconds)
{
    return (struct sample_rate){
        .requests = rate_of(now->requests, before->requests, seconds),
        .bytes_in = rate_of(now->bytes_in, before->bytes_in, seconds),
        .bytes_out = rate_of(now->bytes_out, before->bytes_out, seconds),
    };
}

/*
 * @before NULL: there was no such process. If it has begun since, all that it counts falls into
 * this time; the slack is for a start in the middle of taking a sample.
 */
static struct sample_rate rate_since(const struct sample_counts *now, double uptime_s,
                                     const struct sample_counts *before, double seconds)
{
    static const struct sample_counts nothing;

    if (before)
        return rate_between(now, before, seconds);
    if (uptime_s <= seconds + 0.1)
        return rate_between(now, &nothing, seconds);
    return unknown_rate;
}

static const struct sample_counts *counts_before(const struct sample *before,
                                                 const struct sample_worker *w)
{
    for (size_t i = 0; i < before->n_workers; i++)
        if (before->workers[i].pid == w->pid && strcmp(before->workers[i].id, w->id) == 0 &&
            before->workers[i].generation == w->generation)
            return &before->workers[i].counts;
    return NULL;
}

void sample_rate(struct sample *s, const struct sample *before)
{
    double seconds = before->taken_ns > 0 && s->taken_ns > before->taken_ns
                         ? (double)(s->taken_ns - before->taken_ns) / 1e9
                         : 0;

    if (seconds <= 0)
        return;
    s->rate = rate_since(&s->totals, s->uptime_s, s->pid == before->pid ? &before->totals : NULL,
                         seconds);
    for (size_t i = 0; i < s->n_workers; i++) {
        struct sample_worker *w = &s->workers[i];

        w->rate = rate_since(&w->counts, w->uptime_s, counts_before(before, w), seconds);
    }
}
