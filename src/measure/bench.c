/*
 * The threads of a bench: shares for each, and one sum.
 */
#include "measure/bench.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/util.h"
#include "measure/sources.h"
#include "measure/bench_load.h"

struct bench {
    struct bench_options options;
    atomic_bool is_stopping;
    uint64_t started_ns;
    unsigned n_started;
    struct bench_load loads[BENCH_THREADS_MAX];
};

/* The part of @all that part @i of @n has. */
static uint64_t share(uint64_t all, unsigned i, unsigned n)
{
    return all * (i + 1) / n - all * i / n;
}

static void *run(void *arg)
{
    bench_load_run(arg);
    return NULL;
}

static int prepare(struct bench *b, unsigned i)
{
    const struct bench_options *o = &b->options;

    b->loads[i] = (struct bench_load){
        .options = o,
        .index = i,
        .ep = -1,
        .timer = -1,
        .n_links = (unsigned)share(o->connections, i, o->threads),
        .rate = o->rate / o->threads,
        .count = share(o->count, i, o->threads),
        .is_stopping = &b->is_stopping,
    };
    /* A port that has just been used stays taken for a while: change the address instead. */
    if (o->churn)
        sources_of_loopback(&o->to.all[0], i * 37, &b->loads[i].from);
    return bench_load_init(&b->loads[i]);
}

/* Signals are for the caller's thread. */
static int start_threads(struct bench *b)
{
    sigset_t all, before;
    int rc = 0;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; rc == 0 && i < b->options.threads; i++) {
        struct bench_load *l = &b->loads[i];

        l->start_ns = b->started_ns;
        l->window_ns = b->started_ns + b->options.warmup_ms * 1000000;
        l->end_ns =
            b->options.duration_ms ? b->started_ns + b->options.duration_ms * 1000000 : UINT64_MAX;
        rc = -pthread_create(&l->thread, NULL, run, l);
        b->n_started += rc == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

static void bench_free(struct bench *b)
{
    for (unsigned i = 0; i < b->options.threads; i++)
        if (b->loads[i].options)
            bench_load_fini(&b->loads[i]);
    free(b);
}

int bench_start(const struct bench_options *o, struct bench **ret)
{
    struct bench *b = calloc(1, sizeof(*b));
    int rc = 0;

    if (!b)
        return -ENOMEM;
    b->options = *o;
    b->options.threads = MIN(o->threads, o->connections);
    if (o->count)
        b->options.threads = (unsigned)MIN((uint64_t)b->options.threads, o->count);
    for (unsigned i = 0; rc == 0 && i < b->options.threads; i++)
        rc = prepare(b, i);
    b->started_ns = clock_mono_ns();
    if (rc == 0)
        rc = start_threads(b);
    if (rc == 0) {
        *ret = b;
        return 0;
    }
    bench_stop(b);
    for (unsigned i = 0; i < b->n_started; i++)
        pthread_join(b->loads[i].thread, NULL);
    bench_free(b);
    return rc;
}

void bench_stop(struct bench *b)
{
    b->is_stopping = true;
}

bool bench_is_done(const struct bench *b)
{
    for (unsigned i = 0; i < b->options.threads; i++)
        if (!b->loads[i].is_done)
            return false;
    return true;
}

static void add(struct bench_counts *to, const struct bench_counts *from)
{
#define X(field, help) to->field += __atomic_load_n(&from->field, __ATOMIC_RELAXED);
    BENCH_COUNTS(X)
#undef X
}

struct bench_counts bench_counts(const struct bench *b)
{
    struct bench_counts c = {0};

    for (unsigned i = 0; i < b->options.threads; i++)
        add(&c, &b->loads[i].counts);
    return c;
}

static void sum_up(const struct bench *b, struct bench_result *ret)
{
    uint64_t end_ns = 0, n_window = 0, n_bytes = 0;

    for (unsigned i = 0; i < b->options.threads; i++) {
        const struct bench_load *l = &b->loads[i];

        add(&ret->counts, &l->counts);
        hist_merge(&ret->latency, &l->latency);
        hist_merge(&ret->connects, &l->connects);
        end_ns = MAX(end_ns, l->end_ns);
        n_window += l->n_window;
        n_bytes += l->n_window_bytes;
        ret->n_connected += l->n_window_connected;
        if (l->last_failure)
            ret->last_failure = l->last_failure;
    }
    ret->seconds = ((double)end_ns - (double)b->loads[0].window_ns) / 1e9;
    ret->rate = ret->seconds > 0 ? (double)n_window / ret->seconds : 0;
    ret->byte_rate = ret->seconds > 0 ? (double)n_bytes / ret->seconds : 0;
    ret->connect_rate = ret->seconds > 0 ? (double)ret->n_connected / ret->seconds : 0;
}

int bench_finish(struct bench *b, struct bench_result *ret)
{
    int rc = 0;

    *ret = (struct bench_result){0};
    for (unsigned i = 0; i < b->n_started; i++) {
        pthread_join(b->loads[i].thread, NULL);
        if (b->loads[i].error)
            rc = b->loads[i].error;
    }
    if (rc == 0)
        rc = hist_init(&ret->latency);
    if (rc == 0)
        rc = hist_init(&ret->connects);
    if (rc == 0)
        sum_up(b, ret);
    bench_free(b);
    return rc;
}

void bench_result_fini(struct bench_result *r)
{
    hist_fini(&r->latency);
    hist_fini(&r->connects);
}
