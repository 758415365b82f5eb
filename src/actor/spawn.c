/*
 * Actors that somebody in this process has asked for.
 */
#include "actor/spawn.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "actor/actor.h"
#include "base/clock.h"
#include "base/util.h"

struct spawn {
    struct list link; /* in spawns.list */
    struct spawns *all; /* borrowed */
    uint64_t id;
    uint64_t asked_ms;
    bool is_asking; /* arb_spawn has not returned yet */
    json_t *body; /* owned: an answer that came meanwhile */
    void (*on_done)(void *data, const char *id, int error);
    void *data; /* borrowed */
};

static struct spawn *spawn_at(struct list *link)
{
    return container_of(link, struct spawn, link);
}

static void spawn_free(struct spawn *s)
{
    list_remove(&s->link);
    s->all->n--;
    json_decref(s->body);
    free(s);
}

/* By the code of an answer. */
static int error_of(const json_t *body)
{
    static const struct {
        const char *code;
        int error;
    } errors[] = {
        {"limit", -ENOSPC},       {"timeout", -ETIMEDOUT},   {"busy", -EBUSY},
        {"stopping", -ESHUTDOWN}, {"bad_argument", -ENOENT},
    };
    const char *code = json_string_value(json_object_get(json_object_get(body, "error"), "code"));

    for (size_t i = 0; code && i < ARRAY_SIZE(errors); i++)
        if (strcmp(errors[i].code, code) == 0)
            return errors[i].error;
    return -EIO;
}

/* The callback may spawn again. */
static void spawn_finish(struct spawn *s, const json_t *body)
{
    void (*const on_done)(void *data, const char *id, int error) = s->on_done;
    const char *id = json_string_value(json_object_get(body, "result"));
    void *const data = s->data;
    char copy[32] = "";

    if (id)
        strncpy(copy, id, sizeof(copy) - 1);
    spawn_free(s);
    if (on_done)
        on_done(data, id ? copy : NULL, id ? 0 : error_of(body));
}

static struct spawn *find_spawn(struct spawns *all, uint64_t id)
{
    struct list *link;

    list_for_each (link, &all->list)
        if (spawn_at(link)->id == id)
            return spawn_at(link);
    return NULL;
}

static void on_later(int revents UNUSED, void *arg)
{
    struct spawn *s = arg;
    json_t *body = json_incref(s->body);

    spawn_finish(s, body);
    json_decref(body);
}

/* An answer that comes before arb_spawn has returned is kept for later. */
void spawns_on_reply(struct spawns *all, uint64_t id, const json_t *body)
{
    struct spawn *s = find_spawn(all, id);

    if (!s)
        return;
    if (s->is_asking)
        s->body = json_deep_copy(body);
    else
        spawn_finish(s, body);
}

void spawns_sweep(struct spawns *all, uint64_t now_ms)
{
    struct list *link, *next;

    list_for_each_safe (link, next, &all->list) {
        json_t *body;

        if (spawn_at(link)->body || now_ms - spawn_at(link)->asked_ms < SPAWN_TIMEOUT_MS)
            continue;
        body = json_pack("{s:{s:s}}", "error", "code", "timeout");
        spawn_finish(spawn_at(link), body);
        json_decref(body);
        return; /* the list may be another one now: the rest has its turn in a second */
    }
}

void spawns_init(struct spawns *all, struct ev_loop *loop, const struct arb_program *program,
                 int (*ask)(struct spawns *all, uint64_t id, const char *kind))
{
    *all = (struct spawns){.loop = loop, .program = program, .ask = ask};
    list_init(&all->list);
}

void spawns_fini(struct spawns *all)
{
    while (all->loop && !list_is_empty(&all->list))
        spawn_free(spawn_at(all->list.next));
}

static bool has_kind(const struct arb_program *program, const char *kind)
{
    for (size_t i = 0; program && program->kinds && program->kinds[i]; i++)
        if (strcmp(program->kinds[i]->name, kind) == 0)
            return true;
    return false;
}

int arb_spawn(struct arb_actor *self, const char *kind,
              void (*on_done)(void *data, const char *id, int error), void *data)
{
    struct spawns *all = self->process->spawns;
    struct spawn *s;
    int rc;

    if (!all || !has_kind(all->program, kind))
        return -ENOENT;
    if (all->n == SPAWNS_MAX)
        return -EAGAIN;
    s = calloc(1, sizeof(*s));
    if (!s)
        return -ENOMEM;
    s->all = all;
    s->id = ++all->last_id;
    s->asked_ms = clock_mono_ms();
    s->on_done = on_done;
    s->data = data;
    list_append(&all->list, &s->link);
    all->n++;
    s->is_asking = true;
    rc = all->ask(all, s->id, kind);
    s->is_asking = false;
    if (rc < 0)
        spawn_free(s);
    else if (s->body)
        ev_once(all->loop, -1, 0, 0., on_later, s);
    return rc;
}
