/*
 * Answers that come later, and the requests to workers that they wait for. Runs in the arbiter.
 */
#include "arbiter/answer.h"

#include <stdio.h>
#include <stdlib.h>

#include "actor/command.h"
#include "base/clock.h"
#include "base/util.h"

static struct answer *answer_at(struct list *link)
{
    return container_of(link, struct answer, link);
}

struct answer *answer_new(struct answers *all, struct asker *asker, json_t *id)
{
    struct answer *w = all->n < ANSWERS_MAX ? calloc(1, sizeof(*w)) : NULL;

    if (!w)
        return NULL;
    w->all = all;
    w->asker = asker;
    w->id = json_incref(id);
    list_append(&all->list, &w->link);
    all->n++;
    if (!ev_is_active(&all->sweep))
        ev_timer_again(all->loop, &all->sweep);
    return w;
}

static void answer_free(struct answer *w)
{
    for (size_t i = 0; i < REQUESTS_MAX; i++)
        if (w->all->requests[i].answer == w)
            w->all->requests[i].answer = NULL;
    list_remove(&w->link);
    w->all->n--;
    json_decref(w->id);
    json_decref(w->map);
    free(w);
}

void answer_give(struct answer *w, json_t *body)
{
    if (!body)
        body = command_error("internal", "out of memory");
    if (w->asker)
        w->asker->give(w->asker, w->id, body);
    json_decref(body);
    answer_free(w);
}

void answer_ok(struct answer *w, json_t *result)
{
    answer_give(w, result ? command_result(result) : NULL);
}

void answer_error(struct answer *w, const char *code, const char *message)
{
    answer_give(w, command_error(code, message));
}

void answer_wait(struct answer *w, enum answer_wait wait, uint64_t timeout_ms)
{
    w->wait = wait;
    w->deadline_ms = clock_mono_ms() + timeout_ms;
}

void answers_give_up_to(struct answers *all, enum answer_wait wait, uint64_t question, json_t *body)
{
    struct list *link, *next;

    list_for_each_safe (link, next, &all->list)
        if (answer_at(link)->wait == wait && answer_at(link)->question <= question)
            answer_give(answer_at(link), json_incref(body));
    json_decref(body);
}

void answers_give(struct answers *all, enum answer_wait wait, json_t *body)
{
    answers_give_up_to(all, wait, UINT64_MAX, body);
}

void answers_give_one(struct answers *all, enum answer_wait wait, uint64_t question, json_t *body)
{
    struct list *link, *next;

    list_for_each_safe (link, next, &all->list)
        if (answer_at(link)->wait == wait && answer_at(link)->question == question)
            answer_give(answer_at(link), json_incref(body));
    json_decref(body);
}

void answers_turn(struct answers *all, enum answer_wait from, enum answer_wait to)
{
    struct list *link;

    list_for_each (link, &all->list)
        if (answer_at(link)->wait == from)
            answer_at(link)->wait = to;
}

void answers_forget(struct answers *all, const struct asker *asker)
{
    struct list *link;

    list_for_each (link, &all->list)
        if (answer_at(link)->asker == asker)
            answer_at(link)->asker = NULL;
}

/* Another scaling or a reload may have come in between. */
static void answer_scale(struct answer *w, uint32_t workers)
{
    char why[96];

    if (w->workers_max == 0 || (workers >= w->workers_min && workers <= w->workers_max)) {
        json_t *result = json_pack("{s:I}", "workers", (json_int_t)workers);

        if (*w->actor)
            json_object_set_new(result, "actor", json_string(w->actor));
        answer_ok(w, result);
        return;
    }
    snprintf(why, sizeof(why), "superseded by another scaling or a reload: %u workers run",
             workers);
    answer_error(w, "superseded", why);
}

void answers_on_scaled(struct answers *all, uint32_t workers)
{
    struct list *link, *next;

    list_for_each_safe (link, next, &all->list)
        if (answer_at(link)->wait == ANSWER_SCALE)
            answer_scale(answer_at(link), workers);
}

void answers_on_spawned(struct answers *all, bool (*runs)(const void *data, uint32_t slot),
                        const void *data)
{
    struct list *link, *next;

    list_for_each_safe (link, next, &all->list) {
        struct answer *w = answer_at(link);

        if (w->wait == ANSWER_SPAWN && runs(data, w->slot))
            answer_ok(w, json_string(w->actor));
    }
}

void answer_collect(struct answer *w, const char *worker, json_t *body)
{
    json_t *result = json_object_get(body, "result");

    if (!w->is_map) {
        answer_give(w, body);
        return;
    }
    json_object_set(w->map, worker, result ? result : body);
    json_decref(body);
    if (--w->n_waiting == 0)
        answer_ok(w, json_incref(w->map));
}

static void request_end(struct request *r, json_t *body)
{
    struct answer *w = r->answer;

    r->id = 0;
    r->answer = NULL;
    if (w)
        answer_collect(w, r->worker, body);
    else
        json_decref(body);
}

void answers_on_exit(struct answers *all, pid_t pid, bool is_killed)
{
    struct list *link, *next;

    for (size_t i = 0; i < REQUESTS_MAX; i++)
        if (all->requests[i].id && all->requests[i].pid == pid)
            request_end(&all->requests[i],
                        command_error("gone", "the worker ended before it answered"));
    list_for_each_safe (link, next, &all->list)
        if (answer_at(link)->wait == ANSWER_EXIT && answer_at(link)->pid == pid)
            answer_ok(answer_at(link),
                      json_pack("{s:i,s:b}", "pid", (int)pid, "killed", is_killed));
}

static struct request *find_request(struct answers *all, uint64_t id)
{
    for (size_t i = 0; i < REQUESTS_MAX; i++)
        if (all->requests[i].id == id)
            return &all->requests[i];
    return NULL;
}

void answers_on_reply(struct answers *all, pid_t pid, uint64_t id, json_t *body)
{
    struct request *r = id ? find_request(all, id) : NULL;

    if (r && r->pid == pid)
        request_end(r, json_incref(body));
}

uint64_t request_new(struct answer *w, const char *worker, pid_t pid)
{
    struct request *r = find_request(w->all, 0);

    if (!r)
        return 0;
    *r = (struct request){
        .id = ++w->all->last_request,
        .pid = pid,
        .deadline_ms = clock_mono_ms() + REQUEST_TIMEOUT_MS,
        .answer = w,
    };
    snprintf(r->worker, sizeof(r->worker), "%s", worker);
    return r->id;
}

void request_cancel(struct answers *all, uint64_t id)
{
    *find_request(all, id) = (struct request){0};
}

static void on_overdue(struct answer *w)
{
    static const char *const texts[] = {
        [ANSWER_READY] = "no answer",
        [ANSWER_RELOAD] = "the reload is not done yet",
        [ANSWER_NEXT_RELOAD] = "the reload is not done yet",
        [ANSWER_UPGRADE] = "the upgrade is not done yet",
        [ANSWER_SCALE] = "the workers do not all run yet",
        [ANSWER_EXIT] = "it is gone",
        [ANSWER_WORKERS] = "no reply from the worker",
        [ANSWER_OWN] = "no answer from the command",
        [ANSWER_SPAWN] = "the new actor does not run yet: it is wanted, and started again",
        [ANSWER_LOG] = ("the log's writer does not answer: does the log's file system hang? It "
                        "opens the file anew as soon as it goes on"),
    };
    const char *obstacle = w->all->obstacles[w->wait];
    char why[256];

    if (w->has_more_time && w->has_more_time(w))
        return;
    snprintf(why, sizeof(why), "%s%s%s", texts[w->wait], obstacle ? ": " : "",
             obstacle ? obstacle : "");
    answer_error(w, "timeout", why);
}

static void on_sweep(struct ev_loop *loop, ev_timer *timer, int revents UNUSED)
{
    struct answers *all = container_of(timer, struct answers, sweep);
    const uint64_t now_ms = clock_mono_ms();
    struct list *link, *next;

    for (size_t i = 0; i < REQUESTS_MAX; i++)
        if (all->requests[i].id && now_ms >= all->requests[i].deadline_ms)
            request_end(&all->requests[i], command_error("timeout", "no reply from the worker"));
    list_for_each_safe (link, next, &all->list)
        if (answer_at(link)->wait != ANSWER_WORKERS && now_ms >= answer_at(link)->deadline_ms)
            on_overdue(answer_at(link));
    if (all->n == 0)
        ev_timer_stop(loop, timer);
}

void answers_init(struct answers *all, struct ev_loop *loop)
{
    all->loop = loop;
    list_init(&all->list);
    ev_init(&all->sweep, on_sweep);
    all->sweep.repeat = ANSWERS_SWEEP_MS / 1e3;
}

void answers_fini(struct answers *all)
{
    while (!list_is_empty(&all->list))
        answer_error(answer_at(all->list.next), "stopping", "the arbiter stops");
    ev_timer_stop(all->loop, &all->sweep);
}
