/*
 * A hold on this process, as the author of a protocol sees it. Runs in every process of the server;
 * knows neither connections nor other processes.
 */
#include "actor/actor.h"

#include <ev.h>
#include <stdlib.h>

#include "actor/io_watch.h"
#include "actor/scoreboard.h"
#include "base/counters.h"
#include "base/log.h"
#include "base/util.h"

void actor_init(struct arb_actor *self, struct actor_process *process, const char *owner)
{
    *self = (struct arb_actor){.process = process, .owner = owner};
    list_init(&self->timers);
    list_init(&self->watches);
}

const char *arb_actor_id(const struct arb_actor *self)
{
    return self->process->id;
}

uint32_t arb_actor_slot(const struct arb_actor *self)
{
    return self->process->slot;
}

struct ev_loop *arb_actor_loop(const struct arb_actor *self)
{
    return self->process->loop;
}

/* ---- counters ---- */

void arb_count(struct arb_actor *self, unsigned counter, uint64_t n)
{
    struct score_record *r = self->process->record;

    if (r && counter < self->n_counters)
        counter_add(&r->own.n[self->first_counter + counter], n);
}

/* ---- the log ---- */

enum { LOG_FIELDS_MAX = 16 };

static const enum log_level log_levels[] = {
    [ARB_DEBUG] = LOG_LEVEL_DEBUG,
    [ARB_INFO] = LOG_LEVEL_INFO,
    [ARB_WARNING] = LOG_LEVEL_WARNING,
    [ARB_ERROR] = LOG_LEVEL_ERROR,
};

void arb_log(struct arb_actor *self, enum arb_level level, const char *message,
             const struct arb_field *fields, size_t n)
{
    struct log_field list[LOG_FIELDS_MAX + 3] = {{.key = NULL}};
    struct log *log = *self->process->log;
    const enum log_level severity =
        (unsigned)level < ARRAY_SIZE(log_levels) ? log_levels[level] : LOG_LEVEL_ERROR;
    size_t n_list = 0;

    if (severity < log->level)
        return;
    /* The first field belongs to the cause of a warning that repeats. */
    if (self->is_protocol)
        list[n_list++] = F_STR("protocol", self->owner);
    for (size_t i = 0; i < MIN(n, (size_t)LOG_FIELDS_MAX); i++)
        list[n_list++] = fields[i].text ? F_STR(fields[i].key, fields[i].text)
                                        : F_UINT(fields[i].key, fields[i].number);
    if (n > LOG_FIELDS_MAX)
        list[n_list] = F_UINT("fields_left_out", n - LOG_FIELDS_MAX);
    if (severity >= LOG_LEVEL_WARNING)
        log_emit_limited(log, severity, message, list);
    else
        log_emit(log, severity, message, list);
}

/* ---- timers ---- */

struct arb_timer {
    struct list link; /* in the hold's list */
    struct arb_actor *actor; /* borrowed */
    ev_timer timer;
    bool is_once;
    void (*fn)(void *data);
    void *data; /* borrowed */
};

/* The callback may free the timer: nothing of it is touched afterwards, neither here nor by libev.
 */
static void on_actor_timer(struct ev_loop *loop UNUSED, ev_timer *w, int revents UNUSED)
{
    struct arb_timer *t = container_of(w, struct arb_timer, timer);
    void (*const fn)(void *data) = t->fn;
    void *const data = t->data;

    if (t->is_once)
        arb_timer_free(t);
    fn(data);
}

struct arb_timer *arb_timer_new(struct arb_actor *self, uint32_t first_ms, uint32_t every_ms,
                                void (*fn)(void *data), void *data)
{
    struct ev_loop *loop = self->process->loop;
    struct arb_timer *t = calloc(1, sizeof(*t));

    if (!t)
        return NULL;
    t->actor = self;
    t->is_once = every_ms == 0;
    t->fn = fn;
    t->data = data;
    list_append(&self->timers, &t->link);
    ev_now_update(loop); /* the callback that is running may have taken long */
    ev_timer_init(&t->timer, on_actor_timer, first_ms / 1e3, every_ms / 1e3);
    ev_timer_start(loop, &t->timer);
    return t;
}

void arb_timer_free(struct arb_timer *timer)
{
    if (!timer)
        return;
    ev_timer_stop(timer->actor->process->loop, &timer->timer);
    list_remove(&timer->link);
    free(timer);
}

/* ---- descriptors ---- */

struct arb_watch {
    struct list link; /* in the hold's list */
    struct arb_actor *actor; /* borrowed */
    ev_io io;
    void (*fn)(void *data, int events);
    void *data; /* borrowed */
};

/* From libev's bits. */
static int watch_events(int bits)
{
    return (bits & EV_READ ? ARB_READABLE : 0) | (bits & EV_WRITE ? ARB_WRITABLE : 0);
}

static void on_actor_watch(struct ev_loop *loop UNUSED, ev_io *io, int revents)
{
    const struct arb_watch *w = container_of(io, struct arb_watch, io);

    w->fn(w->data, watch_events(revents));
}

static void watch_wait_for(struct arb_watch *w, int events)
{
    const int bits = (events & ARB_READABLE ? EV_READ : 0) | (events & ARB_WRITABLE ? EV_WRITE : 0);

    io_watch(w->actor->process->loop, &w->io, w->io.fd, bits);
}

struct arb_watch *arb_watch_new(struct arb_actor *self, int fd, int events,
                                void (*fn)(void *data, int events), void *data)
{
    struct arb_watch *w = fd >= 0 ? calloc(1, sizeof(*w)) : NULL;

    if (!w)
        return NULL;
    w->actor = self;
    w->fn = fn;
    w->data = data;
    list_append(&self->watches, &w->link);
    ev_io_init(&w->io, on_actor_watch, fd, 0);
    watch_wait_for(w, events);
    return w;
}

void arb_watch_set(struct arb_watch *watch, int events)
{
    if (watch_events(watch->io.events) != (events & (ARB_READABLE | ARB_WRITABLE)))
        watch_wait_for(watch, events);
}

void arb_watch_free(struct arb_watch *watch)
{
    if (!watch)
        return;
    ev_io_stop(watch->actor->process->loop, &watch->io);
    list_remove(&watch->link);
    free(watch);
}

void actor_fini(struct arb_actor *self)
{
    while (self->process && !list_is_empty(&self->timers))
        arb_timer_free(container_of(self->timers.next, struct arb_timer, link));
    while (self->process && !list_is_empty(&self->watches))
        arb_watch_free(container_of(self->watches.next, struct arb_watch, link));
}
