/*
 * libarbiter-testing: a pretended worker, and <arbiter/actor.h> over it.
 */
#include "testing/testing_impl.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct arb_answer {
    struct arb_actor *actor;
};

static void text_say(struct text *t, const char *s)
{
    text_add(t, s, strlen(s));
}

/* ---- its life ---- */

static struct arb_actor *actor_alloc(const char *kind, unsigned slot)
{
    struct arb_actor *a = test_alloc(sizeof(*a));

    snprintf(a->id, sizeof(a->id), "%s.%u", kind, slot);
    a->slot = slot;
    a->credit = SIZE_MAX;
    return a;
}

static struct arb_actor *start_failed(struct arb_actor *a, int r, char *why, size_t why_size)
{
    snprintf(why, why_size, "start of %s has failed: %s", a->id, strerror(-r));
    if (a->data && a->protocol && a->protocol->stop)
        a->protocol->stop(a->data);
    if (a->data && a->kind && a->kind->stop)
        a->kind->stop(a->data);
    a->is_stopped = true;
    arb_test_free(a);
    return NULL;
}

struct arb_actor *test_worker(const struct arb_protocol *protocol, struct test_conf *conf,
                              unsigned slot, char *why, size_t why_size)
{
    struct arb_actor *a = actor_alloc("worker", slot);
    int r = 0;

    conf->n_users++;
    a->conf = conf;
    a->max_buffered = conf->max_buffered;
    a->protocol = protocol;
    if (protocol->start)
        r = protocol->start(a, conf->own, &a->data);
    if (r < 0)
        return start_failed(a, r, why, why_size);
    if (protocol->run)
        protocol->run(a->data);
    return a;
}

struct arb_actor *arb_test_worker(const struct arb_protocol *protocol, const char *const *settings,
                                  char *why, size_t why_size)
{
    static unsigned last_slot;
    struct test_conf *conf = test_conf_new(protocol, settings, why, why_size);
    struct arb_actor *a = conf ? test_worker(protocol, conf, ++last_slot, why, why_size) : NULL;

    test_conf_unref(conf);
    return a;
}

struct arb_actor *arb_test_kind(const struct arb_kind *kind, const void *const *confs, char *why,
                                size_t why_size)
{
    struct arb_actor *a = actor_alloc(kind->name, 1);
    int r;

    a->kind = kind;
    r = kind->start ? kind->start(a, confs, &a->data) : -ENOSYS;
    if (r < 0)
        return start_failed(a, r, why, why_size);
    if (kind->run)
        kind->run(a->data);
    return a;
}

const char *arb_test_stop(struct arb_actor *a)
{
    if (!a->is_stopped) {
        a->is_stopped = true;
        for (struct arb_conn *c = a->conns; c; c = c->next) {
            if (!c->is_closed && a->protocol->on_drain)
                a->protocol->on_drain(a->data, c);
            if (!c->is_closed)
                test_conn_finish(c, ARB_END_DRAINED);
        }
        if (a->protocol && a->protocol->stop)
            a->protocol->stop(a->data);
        if (a->kind && a->kind->stop)
            a->kind->stop(a->data);
        for (struct arb_request *r = a->requests; r; r = r->next) {
            if (!r->is_ended)
                test_broken(a, "a request has never been ended by arb_request_end");
        }
    }
    return a->broken[0] ? a->broken : NULL;
}

#define FREE_ALL(list, also)                                                                       \
    while (list) {                                                                                 \
        __typeof__(list) gone = list;                                                              \
        list = gone->next;                                                                         \
        also;                                                                                      \
        free(gone);                                                                                \
    }

void arb_test_free(struct arb_actor *a)
{
    if (!a)
        return;
    arb_test_stop(a);
    FREE_ALL(a->conns, (free(gone->state), free(gone->input.data), free(gone->output.data),
                        free(gone->got.data)));
    FREE_ALL(a->sent, (free(gone->to.data), free(gone->topic.data), free(gone->data.data)));
    FREE_ALL(a->requests, (void)0);
    FREE_ALL(a->timers, (void)0);
    FREE_ALL(a->watches, (void)0);
    free(a->log.data);
    free(a->answer.data);
    test_conf_unref(a->conf);
    free(a);
}

const char *arb_actor_id(const struct arb_actor *self)
{
    return self->id;
}

uint32_t arb_actor_slot(const struct arb_actor *self)
{
    return self->slot;
}

struct ev_loop *arb_actor_loop(const struct arb_actor *self)
{
    (void)self;
    return NULL; /* there is none */
}

/* ---- counters, log, commands ---- */

static const struct arb_counters *counters_of(const struct arb_actor *a)
{
    return a->protocol ? &a->protocol->counters : &a->kind->counters;
}

/* Rows have the size that they had where the table was compiled. */
static const void *row_at(const void *first, size_t row_size, size_t i)
{
    return (const char *)first + i * row_size;
}

void arb_count(struct arb_actor *self, unsigned counter, uint64_t n)
{
    if (counter < counters_of(self)->count && counter < ARB_COUNTERS_MAX)
        self->counters[counter] += n;
    else
        test_broken(self, "arb_count: there is no counter %u", counter);
}

uint64_t arb_test_counter(const struct arb_actor *self, const char *name)
{
    const struct arb_counters *all = counters_of(self);

    for (size_t i = 0; i < all->count; i++) {
        const struct arb_counter *row = row_at(all->first, all->row_size, i);

        if (strcmp(row->name, name) == 0)
            return self->counters[i];
    }
    return 0;
}

void arb_log(struct arb_actor *self, enum arb_level level, const char *message,
             const struct arb_field *fields, size_t n)
{
    static const char *const levels[] = {"debug: ", "info: ", "warning: ", "error: "};
    char number[32];

    text_say(&self->log, levels[(unsigned)level <= ARB_ERROR ? level : ARB_ERROR]);
    text_say(&self->log, message);
    for (size_t i = 0; i < n; i++) {
        snprintf(number, sizeof(number), "%llu", (unsigned long long)fields[i].number);
        text_say(&self->log, " ");
        text_say(&self->log, fields[i].key);
        text_say(&self->log, "=");
        text_say(&self->log, fields[i].text ? fields[i].text : number);
    }
    text_say(&self->log, "\n");
}

const char *arb_test_log(const struct arb_actor *self)
{
    return self->log.data ? self->log.data : "";
}

static bool is_first_answer(struct arb_actor *a)
{
    if (a->is_answered)
        test_broken(a, "a command has been answered twice");
    return !a->is_answered;
}

void arb_answer_json(struct arb_answer *answer, struct json_t *result)
{
    struct arb_actor *a = answer->actor;
    char *text = result ? json_dumps(result, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;

    if (is_first_answer(a))
        text_say(&a->answer, text ? text : "null");
    a->is_answered = true;
    free(text);
    json_decref(result);
    free(answer);
}

int arb_answer_text(struct arb_answer *answer, const char *result)
{
    json_t *value = json_loads(result, JSON_DECODE_ANY, NULL);

    if (!value) {
        arb_answer_error(answer, "internal", "the answer is no JSON");
        return -EINVAL;
    }
    arb_answer_json(answer, value);
    return 0;
}

void arb_answer_error(struct arb_answer *answer, const char *code, const char *message)
{
    struct arb_actor *a = answer->actor;

    if (is_first_answer(a)) {
        text_say(&a->answer, code);
        text_say(&a->answer, ": ");
        text_say(&a->answer, message);
    }
    a->is_answered = true;
    free(answer);
}

const char *arb_test_call(struct arb_actor *self, const char *command, const char *args)
{
    const struct arb_commands *all =
        self->protocol ? &self->protocol->commands : &self->kind->commands;

    for (size_t i = 0; i < all->count; i++) {
        const struct arb_command *row = row_at(all->first, all->row_size, i);
        struct arb_answer *answer;
        json_t *given;

        if (strcmp(row->name, command) != 0)
            continue;
        given = json_loads(args ? args : "{}", 0, NULL);
        if (!json_is_object(given)) {
            json_decref(given);
            return "bad_argument: the arguments are no JSON object";
        }
        text_drop(&self->answer, self->answer.len);
        self->is_answered = false;
        answer = test_alloc(sizeof(*answer));
        answer->actor = self;
        row->run(self->data, answer, given);
        json_decref(given);
        return self->is_answered ? self->answer.data : NULL;
    }
    return "unknown: there is no such command";
}

/* ---- time, descriptors ---- */

struct arb_timer *arb_timer_new(struct arb_actor *self, uint32_t first_ms, uint32_t every_ms,
                                void (*fn)(void *data), void *data)
{
    struct arb_timer *t = test_alloc(sizeof(*t));

    *t = (struct arb_timer){.next = self->timers,
                            .actor = self,
                            .due_ms = self->now_ms + first_ms,
                            .every_ms = every_ms,
                            .fn = fn,
                            .data = data};
    self->timers = t;
    return t;
}

void arb_timer_free(struct arb_timer *timer)
{
    if (timer && timer->is_gone)
        test_broken(timer->actor, "arb_timer_free: the timer is gone already");
    if (timer)
        timer->is_gone = true;
}

uint64_t test_next_due(const struct arb_actor *a)
{
    uint64_t due = UINT64_MAX;

    for (const struct arb_timer *t = a->timers; t; t = t->next) {
        if (!t->is_gone && t->due_ms < due)
            due = t->due_ms;
    }
    for (const struct arb_conn *c = a->conns; c; c = c->next) {
        if (!c->is_closed && c->timeout_ms > 0 && c->timeout_ms < due)
            due = c->timeout_ms;
    }
    return due;
}

static void call_due(struct arb_actor *a)
{
    for (struct arb_timer *t = a->timers; t; t = t->next) {
        if (t->is_gone || t->due_ms > a->now_ms)
            continue;
        t->is_gone = t->every_ms == 0;
        t->due_ms += t->every_ms;
        t->fn(t->data);
    }
    for (struct arb_conn *c = a->conns; c; c = c->next) {
        if (c->is_closed || c->timeout_ms == 0 || c->timeout_ms > a->now_ms)
            continue;
        c->timeout_ms = 0;
        if (a->protocol->on_timeout)
            a->protocol->on_timeout(a->data, c);
    }
    test_settle(a);
}

void arb_test_advance(struct arb_actor *self, uint64_t ms)
{
    const uint64_t end_ms = self->now_ms + ms;

    for (uint64_t due; (due = test_next_due(self)) <= end_ms;) {
        if (due > self->now_ms)
            self->now_ms = due;
        call_due(self);
    }
    self->now_ms = end_ms;
}

struct arb_watch *arb_watch_new(struct arb_actor *self, int fd, int events,
                                void (*fn)(void *data, int events), void *data)
{
    struct arb_watch *w = test_alloc(sizeof(*w));

    *w = (struct arb_watch){
        .next = self->watches, .actor = self, .fd = fd, .events = events, .fn = fn, .data = data};
    self->watches = w;
    return w;
}

void arb_watch_set(struct arb_watch *watch, int events)
{
    if (watch->is_gone)
        test_broken(watch->actor, "arb_watch_set: the watch of descriptor %d is gone", watch->fd);
    watch->events = events;
}

void arb_watch_free(struct arb_watch *watch)
{
    if (watch && watch->is_gone)
        test_broken(watch->actor, "arb_watch_free: the watch of descriptor %d is gone", watch->fd);
    if (watch)
        watch->is_gone = true;
}

void arb_test_ready(struct arb_actor *self, int fd, int events)
{
    for (struct arb_watch *w = self->watches; w; w = w->next) {
        if (!w->is_gone && w->fd == fd && (w->events & events))
            w->fn(w->data, w->events & events);
    }
    test_settle(self);
}

/* ---- messages between actors ---- */

int arb_send(struct arb_actor *self, struct arb_conn *conn, const char *to, const char *topic,
             const void *data, size_t len)
{
    struct sent *s;

    if (conn && conn->is_closed)
        test_broken(self, "arb_send: connection %llu is closed", (unsigned long long)conn->id);
    if (!*to || strlen(to) > ARB_TOPIC_MAX || strlen(topic) > ARB_TOPIC_MAX ||
        len > ARB_MESSAGE_MAX)
        return -EMSGSIZE;
    if (self->credit == 0) {
        self->was_refused = true;
        return -EAGAIN;
    }
    self->credit -= self->credit != SIZE_MAX;
    s = test_alloc(sizeof(*s));
    text_say(&s->to, to);
    text_say(&s->topic, topic);
    text_add(&s->data, data, len);
    s->is_on_behalf = conn != NULL;
    s->next = self->sent;
    self->sent = s;
    return 0;
}

const struct sent *test_sent(const struct arb_actor *a, size_t i)
{
    size_t n = 0;
    const struct sent *s;

    for (s = a->sent; s; s = s->next)
        n++;
    for (s = a->sent; s && --n != i;)
        s = s->next;
    return s;
}

bool arb_test_sent(const struct arb_actor *self, size_t i, struct arb_test_message *ret)
{
    const struct sent *s = test_sent(self, i);

    if (s)
        *ret = (struct arb_test_message){s->to.data, s->topic.data, s->data.data, s->data.len};
    return s != NULL;
}

void arb_test_credit(struct arb_actor *self, size_t n)
{
    void (*const on_can_send)(void *) =
        self->protocol ? self->protocol->on_can_send : self->kind->on_can_send;

    self->credit = n;
    if (n == 0 || !self->was_refused)
        return;
    self->was_refused = false;
    if (on_can_send)
        on_can_send(self->data);
    test_settle(self);
}

/* ---- what only other kinds need ---- */

int arb_actor_wait(struct arb_actor *self, uint32_t timeout_ms)
{
    arb_test_advance(self, timeout_ms);
    return self->is_stopped ? ARB_ENDS : 0;
}

void arb_actor_set_data(struct arb_actor *self, void *data)
{
    self->data = data;
}

int arb_spawn(struct arb_actor *self, const char *kind,
              void (*on_done)(void *data, const char *id, int error), void *data)
{
    (void)self, (void)kind, (void)on_done, (void)data;
    return -ENOENT; /* a pretended worker is alone */
}
