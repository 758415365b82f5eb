/*
 * The thread, and the two ways into it: a word to stop, a copy to look at.
 */
#include "support/audit_thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"
#include "conformance/must.h"

enum { COPY_MS = 5 };

struct audit_thread {
    pthread_t thread;
    struct audit *audit;
    atomic_bool is_stopping;
    audit_thread_on_tick *on_tick; /* may be NULL */
    void *data;
    uint64_t due_ns; /* of the next copy */
    unsigned churn_lanes;
    pthread_mutex_t lock; /* for what follows */
    struct audit_counts counts;
    bool is_done;
};

static struct audit_thread *running;

static void take_copy(struct audit_thread *t)
{
    struct audit_counts counts = audit_result(t->audit).total.counts;
    pthread_mutex_lock(&t->lock);
    t->counts = counts;
    t->is_done = audit_is_done(t->audit);
    pthread_mutex_unlock(&t->lock);
}

static void tell(struct audit_thread *t, uint64_t now_ns)
{
    struct audit_tick tick = {.due_ns = t->due_ns,
                              .late_ns = now_ns - MIN(t->due_ns, now_ns),
                              .inside = audit_inside(t->audit)};
    const struct audit_result r = audit_result(t->audit);
    for (size_t i = t->churn_lanes; i < r.n_lanes; i++)
        tick.unbroken += r.lanes[i].counts.connected == 1;
    t->on_tick(t->data, &tick);
}

static void *run(void *arg)
{
    struct audit_thread *t = arg;
    struct flow *flow = audit_flow(t->audit);
    while (!audit_is_done(t->audit)) {
        flow_turn(flow, t->due_ns);
        if (t->is_stopping)
            audit_stop(t->audit);
        if (flow->reactor.now_ns < t->due_ns)
            continue;
        if (t->on_tick && t->due_ns)
            tell(t, clock_mono_ns());
        take_copy(t);
        /* Not made up for: what is late is told once. */
        t->due_ns = clock_mono_ns() + COPY_MS * UINT64_C(1000000);
    }
    take_copy(t);
    return NULL;
}

static bool is_done(struct audit_thread *t)
{
    pthread_mutex_lock(&t->lock);
    bool is = t->is_done;
    pthread_mutex_unlock(&t->lock);
    return is;
}

static struct audit_tally end(struct audit_thread *t)
{
    t->is_stopping = true;
    MUST_COME(is_done(t), "the audit does not end");
    pthread_join(t->thread, NULL);
    struct audit_tally total = audit_result(t->audit).total;
    audit_free(t->audit);
    pthread_mutex_destroy(&t->lock);
    free(t);
    running = NULL;
    return total;
}

struct audit_thread *audit_thread_start(const struct audit_options *o)
{
    return audit_thread_start_watched(o, NULL, NULL);
}

struct audit_thread *audit_thread_start_watched(const struct audit_options *o,
                                                audit_thread_on_tick *on_tick, void *data)
{
    if (running)
        end(running);
    struct audit_thread *t = calloc(1, sizeof(*t));
    MUST(t, "no memory");
    t->on_tick = on_tick;
    t->data = data;
    t->churn_lanes = o->churn_lanes;
    pthread_mutex_init(&t->lock, NULL);
    int rc = audit_start(NULL, o, &t->audit);
    MUST(rc == 0, "audit_start: %d", rc);
    /* Signals are for the test's own thread. */
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = pthread_create(&t->thread, NULL, run, t);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    MUST(rc == 0, "pthread_create: %s", strerror(rc));
    running = t;
    return t;
}

struct audit_counts audit_thread_counts(struct audit_thread *t)
{
    pthread_mutex_lock(&t->lock);
    struct audit_counts counts = t->counts;
    pthread_mutex_unlock(&t->lock);
    return counts;
}

void audit_thread_wait_echoed(struct audit_thread *t, uint64_t n)
{
    uint64_t before = audit_thread_counts(t).echoed;
    MUST_COME(audit_thread_counts(t).echoed >= before + n, "no %llu messages come back",
              (unsigned long long)n);
}

struct audit_tally audit_thread_stop(struct audit_thread *t, const char *title)
{
    struct audit_tally r = end(t);
    const struct audit_counts *c = &r.counts;
    printf("# %s: %llu sent, %llu echoed, %llu failed; %llu lost, %llu reordered, %llu truncated, "
           "%llu corrupted, %llu duplicated, %llu foreign; connections: %llu made, %llu finished, "
           "%llu closed, %llu reset, %llu given up, %llu refused; longest stall %llu ms\n",
           title, (unsigned long long)c->sent, (unsigned long long)c->echoed,
           (unsigned long long)audit_counts_failed(c), (unsigned long long)c->lost,
           (unsigned long long)c->reordered, (unsigned long long)c->truncated,
           (unsigned long long)c->corrupted, (unsigned long long)c->duplicated,
           (unsigned long long)c->foreign, (unsigned long long)c->connected,
           (unsigned long long)c->finished, (unsigned long long)c->closed,
           (unsigned long long)c->reset, (unsigned long long)c->given_up,
           (unsigned long long)c->refused, (unsigned long long)(r.stall.ns / 1000000));
    return r;
}
