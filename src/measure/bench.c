/*
 * A bench: a share of it for each thread, the caller's being the first, and one sum.
 */
#include "measure/bench.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"
#include "measure/sources.h"
#include "measure/bench_load.h"

enum { SCRIPTS_BYTES = 32 << 20, SCRIPTS_MAX = 1021 };

struct bench {
    struct bench_options options;
    bench_on_tick *on_tick;
    void *data;
    atomic_bool is_stopping;
    uint64_t started_ns;
    unsigned n_started; /* threads besides the caller's */
    struct bench_load loads[BENCH_THREADS_MAX];
};

/* ---- what a thread owns: made before it runs, freed after it has ended ---- */

static int make_scripts(struct bench_load *l)
{
    const struct bench_options *o = l->options;
    uint64_t cycle = o->depth * (o->size_max + o->separator_len);
    uint64_t n = MIN(MAX(SCRIPTS_BYTES / cycle, (uint64_t)1), (uint64_t)SCRIPTS_MAX);
    bench_make_script *make = o->make_script ? o->make_script : bench_script_init;
    int rc = 0;

    l->n_scripts = (unsigned)MIN(n, (uint64_t)l->n_links);
    l->scripts = calloc(l->n_scripts, sizeof(*l->scripts));
    if (!l->scripts)
        return -ENOMEM;
    for (unsigned i = 0; rc == 0 && i < l->n_scripts; i++)
        rc = make(&l->scripts[i], o, (uint64_t)l->index << 32 | i);
    return rc;
}

static const struct bench_bytes *in_of(const struct bench_script *s)
{
    return s->in.bytes ? &s->in : &s->out;
}

static int watch_timer(struct bench_load *l)
{
    struct epoll_event e = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};

    l->ep = epoll_create1(EPOLL_CLOEXEC);
    l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (l->ep < 0 || l->timer < 0 || epoll_ctl(l->ep, EPOLL_CTL_ADD, l->timer, &e) < 0)
        return -errno;
    return 0;
}

static int load_init(struct bench_load *l)
{
    int rc = watch_timer(l);

    if (rc == 0)
        rc = hist_init(&l->latency);
    if (rc == 0)
        rc = hist_init(&l->connects);
    l->buffer = malloc(BENCH_BUFFER_BYTES);
    l->links = calloc(l->n_links, sizeof(*l->links));
    l->began = calloc((size_t)l->n_links * l->options->depth, sizeof(*l->began));
    if (rc == 0)
        rc = l->buffer && l->links && l->began ? make_scripts(l) : -ENOMEM;
    for (unsigned i = 0; rc == 0 && i < l->n_links; i++)
        l->links[i] = (struct bench_link){
            .fd = -1,
            .out = &l->scripts[i % l->n_scripts].out,
            .in = in_of(&l->scripts[i % l->n_scripts]),
            .began_ns = l->began + (size_t)i * l->options->depth,
            .due_k = i,
        };
    return rc;
}

static void load_fini(struct bench_load *l)
{
    for (unsigned i = 0; l->links && i < l->n_links; i++)
        fds_close(&l->links[i].fd);
    for (unsigned i = 0; l->scripts && i < l->n_scripts; i++)
        bench_script_fini(&l->scripts[i]);
    free(l->scripts);
    free(l->links);
    free(l->began);
    free(l->buffer);
    hist_fini(&l->latency);
    hist_fini(&l->connects);
    fds_close(&l->timer);
    fds_close(&l->ep);
}

/* ---- threads ---- */

/* The part of @all that part @i of @n has. */
static uint64_t share(uint64_t all, unsigned i, unsigned n)
{
    return all * (i + 1) / n - all * i / n;
}

static void on_load_tick(void *data)
{
    struct bench *b = data;

    if (b->on_tick)
        b->on_tick(b, b->data);
}

static int prepare(struct bench *b, unsigned i)
{
    const struct bench_options *o = &b->options;
    struct bench_load *l = &b->loads[i];

    *l = (struct bench_load){
        .options = o,
        .index = i,
        .ep = -1,
        .timer = -1,
        .n_links = (unsigned)share(o->connections, i, o->threads),
        .rate = o->rate / o->threads,
        .count = share(o->count, i, o->threads),
        .is_stopping = &b->is_stopping,
        .on_tick = i == 0 ? on_load_tick : NULL,
        .on_tick_data = b,
    };
    /* A port that has just been used stays taken for a while: change the address instead. */
    if (o->churn)
        sources_of_loopback(&o->to.all[0], i * 37, &l->from);
    return load_init(l);
}

static void *run_thread(void *arg)
{
    bench_load_run(arg);
    return NULL;
}

/* Signals are for the caller's thread. */
static int start_threads(struct bench *b)
{
    sigset_t all, before;
    int rc = 0;

    b->started_ns = clock_mono_ns();
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (unsigned i = 0; rc == 0 && i < b->options.threads; i++) {
        struct bench_load *l = &b->loads[i];

        l->start_ns = b->started_ns;
        l->window_ns = b->started_ns + b->options.warmup_ms * 1000000;
        l->end_ns =
            b->options.duration_ms ? b->started_ns + b->options.duration_ms * 1000000 : UINT64_MAX;
        if (i > 0)
            rc = -pthread_create(&l->thread, NULL, run_thread, l);
        b->n_started += i > 0 && rc == 0;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

/* The first part runs here: a process of one thread has the cheapest system calls. */
static int run(struct bench *b)
{
    int rc = start_threads(b);

    if (rc)
        bench_stop(b);
    else
        bench_load_run(&b->loads[0]);
    for (unsigned i = 1; i <= b->n_started; i++) {
        struct bench_load *l = &b->loads[i];

        while (!l->is_done) {
            poll(NULL, 0, BENCH_TICK_MS);
            on_load_tick(b);
        }
        pthread_join(l->thread, NULL);
    }
    for (unsigned i = 0; rc == 0 && i < b->options.threads; i++)
        rc = b->loads[i].error;
    return rc;
}

void bench_stop(struct bench *b)
{
    b->is_stopping = true;
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

int bench_measure(const struct bench_options *o, bench_on_tick *on_tick, void *data,
                  struct bench_result *ret)
{
    struct bench *b = calloc(1, sizeof(*b));
    int rc = 0;

    if (!b)
        return -ENOMEM;
    *b = (struct bench){.options = *o, .on_tick = on_tick, .data = data};
    b->options.threads = MIN(o->threads, o->connections);
    if (o->count)
        b->options.threads = (unsigned)MIN((uint64_t)b->options.threads, o->count);
    for (unsigned i = 0; rc == 0 && i < b->options.threads; i++)
        rc = prepare(b, i);
    if (rc == 0)
        rc = run(b);
    *ret = (struct bench_result){0};
    if (rc == 0)
        rc = hist_init(&ret->latency);
    if (rc == 0)
        rc = hist_init(&ret->connects);
    if (rc == 0)
        sum_up(b, ret);
    for (unsigned i = 0; i < b->options.threads; i++)
        if (b->loads[i].options)
            load_fini(&b->loads[i]);
    free(b);
    return rc;
}

void bench_result_fini(struct bench_result *r)
{
    hist_fini(&r->latency);
    hist_fini(&r->connects);
}
