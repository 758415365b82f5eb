/*
 * Answers that come later, and the requests to workers that they wait for. Runs in the arbiter.
 */
#include "arbiter/answer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "actor/command.h"
#include "arbiter/control_client.h"
#include "arbiter/internal.h"
#include "base/clock.h"
#include "base/util.h"

static struct answer *answer_at(struct list *link)
{
    return container_of(link, struct answer, link);
}

struct answer *answer_new(struct arbiter *a, struct control_client *client, json_t *id)
{
    struct answer *w = a->n_answers < ANSWERS_MAX ? calloc(1, sizeof(*w)) : NULL;

    if (!w)
        return NULL;
    w->client = client;
    w->id = json_incref(id);
    list_append(&a->answers, &w->link);
    a->n_answers++;
    return w;
}

static void answer_free(struct arbiter *a, struct answer *w)
{
    for (size_t i = 0; i < REQUESTS_MAX; i++)
        if (a->requests[i].answer == w)
            a->requests[i].answer = NULL;
    list_remove(&w->link);
    a->n_answers--;
    json_decref(w->id);
    json_decref(w->map);
    free(w);
}

/* The asking process may have died and its record may have been given away since. */
static void give_to_worker(struct arbiter *a, const struct answer *w, json_t *body)
{
    if (a->children[w->record].pid == w->asker)
        children_send(a, w->record, "reply", w->message_id, json_incref(body));
}

void answer_give(struct arbiter *a, struct answer *w, json_t *body)
{
    if (!body)
        body = command_error("internal", "out of memory");
    if (w->client)
        control_client_answer(w->client, w->id, body);
    else if (w->message_id)
        give_to_worker(a, w, body);
    json_decref(body);
    answer_free(a, w);
}

void answer_ok(struct arbiter *a, struct answer *w, json_t *result)
{
    answer_give(a, w, result ? command_result(result) : NULL);
}

void answer_error(struct arbiter *a, struct answer *w, const char *code, const char *message)
{
    answer_give(a, w, command_error(code, message));
}

void answer_wait(struct arbiter *a, struct answer *w, enum answer_wait wait, uint64_t timeout_ms)
{
    w->wait = wait;
    w->deadline_ms = clock_mono_ms() + timeout_ms;
    control_keep_time(a);
}

void answers_give(struct arbiter *a, enum answer_wait wait, json_t *body)
{
    struct list *link, *next;

    list_for_each_safe (link, next, &a->answers)
        if (answer_at(link)->wait == wait)
            answer_give(a, answer_at(link), json_incref(body));
}

static void answers_turn(struct arbiter *a, enum answer_wait from, enum answer_wait to)
{
    struct list *link;

    list_for_each (link, &a->answers)
        if (answer_at(link)->wait == from)
            answer_at(link)->wait = to;
}

void answers_advance(struct arbiter *a)
{
    answers_turn(a, ANSWER_NEXT_RELOAD, ANSWER_RELOAD);
}

void answers_postpone(struct arbiter *a)
{
    answers_turn(a, ANSWER_RELOAD, ANSWER_NEXT_RELOAD);
}

void answers_forget(struct arbiter *a, const struct control_client *client)
{
    struct list *link;

    list_for_each (link, &a->answers)
        if (answer_at(link)->client == client)
            answer_at(link)->client = NULL;
}

/* Another scaling or a reload may have come in between. */
static void answer_scale(struct arbiter *a, struct answer *w, uint32_t workers)
{
    char why[96];

    if (w->workers_max == 0 || (workers >= w->workers_min && workers <= w->workers_max)) {
        answer_ok(a, w, json_pack("{s:I}", "workers", (json_int_t)workers));
        return;
    }
    snprintf(why, sizeof(why), "superseded by another scaling or a reload: %u workers run",
             workers);
    answer_error(a, w, "superseded", why);
}

void answers_on_settled(struct arbiter *a)
{
    const struct transition *t = a->engine;
    struct list *link, *next;

    if (t->next.revision || transition_count(t, TR_RUNNING) != t->live.workers)
        return;
    list_for_each_safe (link, next, &a->answers) {
        struct answer *w = answer_at(link);

        if (w->wait == ANSWER_SCALE)
            answer_scale(a, w, t->live.workers);
    }
}

void answer_collect(struct arbiter *a, struct answer *w, uint32_t record, json_t *body)
{
    char id[32];

    if (!w->is_map) {
        answer_give(a, w, body);
        return;
    }
    children_id(id, sizeof(id), &a->children[record]);
    json_object_set_new(w->map, id,
                        json_object_get(body, "result")
                            ? json_incref(json_object_get(body, "result"))
                            : json_incref(body));
    json_decref(body);
    if (--w->n_waiting == 0)
        answer_ok(a, w, json_incref(w->map));
}

static void end_request(struct arbiter *a, struct request *r, json_t *body)
{
    struct answer *w = r->answer;

    r->id = 0;
    r->answer = NULL;
    if (w)
        answer_collect(a, w, r->record, body);
    else
        json_decref(body);
}

void answers_on_exit(struct arbiter *a, uint32_t record, pid_t pid)
{
    struct list *link, *next;

    for (size_t i = 0; i < REQUESTS_MAX; i++)
        if (a->requests[i].id && a->requests[i].record == record && a->requests[i].pid == pid)
            end_request(a, &a->requests[i],
                        command_error("gone", "the worker ended before it answered"));
    list_for_each_safe (link, next, &a->answers) {
        struct answer *w = answer_at(link);

        if (w->wait == ANSWER_EXIT && w->pid == pid)
            answer_ok(
                a, w,
                json_pack("{s:i,s:b}", "pid", (int)pid, "killed", a->children[record].is_killed));
    }
}

void answers_on_reply(struct arbiter *a, uint32_t record, uint64_t id, json_t *body)
{
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        struct request *r = &a->requests[i];

        if (r->id == id && r->record == record && r->pid == a->children[record].pid) {
            end_request(a, r, json_incref(body));
            return;
        }
    }
}

static void on_overdue(struct arbiter *a, struct answer *w)
{
    static const char *const texts[] = {
        [ANSWER_READY] = "no answer",
        [ANSWER_RELOAD] = "the reload is not done yet",
        [ANSWER_NEXT_RELOAD] = "the reload is not done yet",
        [ANSWER_UPGRADE] = "the upgrade is not done yet",
        [ANSWER_SCALE] = "the workers do not all run yet",
        [ANSWER_WORKERS] = "no reply from the worker",
        [ANSWER_LOG] = "the log's writer does not answer: does the log's file system hang? It "
                       "opens the file anew as soon as it goes on",
    };

    if (w->wait == ANSWER_EXIT && a->children[w->pid_record].pid == w->pid) {
        children_kill(a, w->pid_record, LOG_LEVEL_WARNING, "kill_actor: its time is up");
        w->deadline_ms += REQUEST_TIMEOUT_MS;
    } else {
        answer_error(a, w, "timeout", w->wait == ANSWER_EXIT ? "it is gone" : texts[w->wait]);
    }
}

bool answers_sweep(struct arbiter *a, uint64_t now_ms)
{
    struct list *link, *next;

    for (size_t i = 0; i < REQUESTS_MAX; i++)
        if (a->requests[i].id && now_ms >= a->requests[i].deadline_ms)
            end_request(a, &a->requests[i], command_error("timeout", "no reply from the worker"));
    list_for_each_safe (link, next, &a->answers)
        if (answer_at(link)->wait != ANSWER_WORKERS && now_ms >= answer_at(link)->deadline_ms)
            on_overdue(a, answer_at(link));
    return a->n_answers > 0;
}

void answers_fini(struct arbiter *a)
{
    while (!list_is_empty(&a->answers))
        answer_error(a, answer_at(a->answers.next), "stopping", "the arbiter stops");
}

int request_send(struct arbiter *a, uint32_t record, const char *command, json_t *args,
                 struct answer *w)
{
    for (size_t i = 0; i < REQUESTS_MAX; i++) {
        struct request *r = &a->requests[i];
        int rc;

        if (r->id)
            continue;
        *r = (struct request){
            .id = ++a->last_request,
            .record = record,
            .pid = a->children[record].pid,
            .deadline_ms = clock_mono_ms() + REQUEST_TIMEOUT_MS,
            .answer = w,
        };
        rc = children_send(a, record, command, r->id, json_incref(args));
        if (rc < 0)
            *r = (struct request){0};
        else
            control_keep_time(a);
        return rc;
    }
    return -ENOBUFS;
}
