/*
 * The worker's moves under way.
 */
#include "worker/moves.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fds.h"
#include "base/log.h"
#include "base/util.h"
#include "net/move.h"

struct move {
    struct list link;
    struct moves *owner; /* borrowed */
    bool is_take;
    union {
        struct move_out out;
        struct move_in in;
    };
    char from[32]; /* of a take */
};

static struct move *move_at(struct list *link)
{
    return container_of(link, struct move, link);
}

static struct move *move_new(struct moves *all, bool is_take)
{
    struct move *t;

    if (all->n_move >= MOVE_MAX)
        return NULL;
    t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->owner = all;
    t->is_take = is_take;
    list_append(is_take ? &all->takes : &all->gives, &t->link);
    all->n_move++;
    return t;
}

static void move_free(struct move *t)
{
    t->owner->n_move--;
    list_remove(&t->link);
    if (t->is_take)
        move_in_fini(&t->in);
    else
        move_out_fini(&t->out);
    free(t);
}

static void free_all(struct list *moves)
{
    while (!list_is_empty(moves))
        move_free(move_at(moves->next));
}

static void on_prepare(struct ev_loop *loop, ev_prepare *reaper, int revents UNUSED)
{
    free_all(&container_of(reaper, struct moves, reaper)->done);
    ev_prepare_stop(loop, reaper);
}

static void move_finish(struct move *t)
{
    struct moves *all = t->owner;

    list_remove(&t->link);
    list_append(&all->done, &t->link);
    ev_prepare_start(all->conns->loop, &all->reaper);
}

static int tell_moved(struct moves *all, const struct move_out *out)
{
    json_t *args = json_pack("{s:I,s:I,s:I,s:I}", "count", (json_int_t)out->n_moved, "refused",
                             (json_int_t)out->n_stayed, "owed", (json_int_t)out->n_owed, "took_us",
                             (json_int_t)(out->took_ns / 1000));

    return mailbox_say(all->mailbox, all->boot->log, all->boot->id, "arbiter", "moved", 0, args,
                       NULL, 0);
}

/* The arbiter waits for it: it is kept until it is said. */
static void tell_given(struct move *t)
{
    const struct move_out *out = &t->out;
    int rc;

    if (out->n_stayed > 0 && out->error)
        log_warning_limited(
            t->owner->boot->log, "connections cannot be moved", F_UINT("count", out->n_stayed),
            F_STR("error", out->error == -EMSGSIZE ? "the saved state of one would be above 1 MiB"
                                                   : strerror(-out->error)));
    rc = tell_moved(t->owner, out);
    if (rc == 0 || rc == -EPIPE)
        move_finish(t);
}

void moves_tell(struct moves *all)
{
    struct list *link, *next;

    list_for_each_safe (link, next, &all->gives)
        if (move_at(link)->out.is_done)
            tell_given(move_at(link));
}

void moves_go_on(struct moves *all)
{
    struct list *link, *next;

    list_for_each_safe (link, next, &all->gives)
        move_out_go_on(&move_at(link)->out);
}

static void on_given(struct move_out *out)
{
    struct move *t = container_of(out, struct move, out);
    struct moves *all = t->owner;

    if (out->is_done)
        tell_given(t);
    all->on_moved(all);
}

static void on_taken(struct move_in *in)
{
    struct move *t = container_of(in, struct move, in);
    struct moves *all = t->owner;

    if (in->is_done) {
        log_debug(all->boot->log, "connections taken over", F_STR("from", t->from),
                  F_UINT("count", in->n_taken), F_UINT("refused", in->n_refused));
        if (in->n_refused > 0 && !in->is_closed) /* who drains takes nothing: no cause for alarm */
            log_warning_limited(all->boot->log, "connections refused", F_STR("from", t->from),
                                F_UINT("count", in->n_refused),
                                F_STR("error", in->error == -ENOSPC
                                                   ? "this worker has no room for them"
                                                   : strerror(-in->error)));
        move_finish(t);
    }
    all->on_moved(all);
}

void moves_init(struct moves *all)
{
    list_init(&all->gives);
    list_init(&all->takes);
    list_init(&all->done);
    ev_prepare_init(&all->reaper, on_prepare);
}

void moves_fini(struct moves *all)
{
    struct list *link;

    list_for_each (link, &all->gives) {
        struct move_out out = move_at(link)->out;

        out.n_stayed = all->conns->n_open;
        tell_moved(all, &out);
    }
    free_all(&all->gives);
    free_all(&all->takes);
    free_all(&all->done);
    ev_prepare_stop(all->conns->loop, &all->reaper);
}

void moves_take(struct moves *all, const char *from, int *fd)
{
    struct move *t = all->is_closed ? NULL : move_new(all, true);

    if (!t)
        return;
    snprintf(t->from, sizeof(t->from), "%s", from);
    move_take(&t->in, all->conns, *fd, all->boot->max_connections, on_taken);
    *fd = -1;
}

void moves_give(struct moves *all, int *fds, size_t n_fds, size_t count)
{
    struct move *t = move_new(all, false);
    int rc = -ENOBUFS;

    if (t) {
        rc = move_give(&t->out, all->conns, fds, n_fds, count, on_given);
        for (size_t i = 0; i < n_fds; i++)
            fds[i] = -1;
    }
    if (rc < 0)
        log_warning_limited(all->boot->log, "connections cannot be moved", F_ERR(rc));
    if (rc < 0 && t) {
        t->out.is_done = true;
        t->out.is_sending = false;
        t->out.n_stayed = MIN(count, all->conns->n_open);
        tell_given(t);
    } else if (rc < 0) {
        tell_moved(all, &(struct move_out){.n_stayed = MIN(count, all->conns->n_open)});
    }
}

bool moves_is_giving(const struct moves *all)
{
    struct list *link;

    list_for_each (link, &all->gives)
        if (move_at(link)->out.is_sending)
            return true;
    return false;
}

void moves_close(struct moves *all)
{
    struct list *link;

    all->is_closed = true;
    list_for_each (link, &all->takes)
        move_in_close(&move_at(link)->in);
}
