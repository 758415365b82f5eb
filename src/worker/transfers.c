/*
 * The worker's hand-overs under way.
 */
#include "worker/transfers.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fds.h"
#include "base/log.h"
#include "base/util.h"
#include "net/transfer.h"
#include "worker/internal.h"

struct transfer {
    struct list link;
    struct worker *worker; /* borrowed */
    bool is_take;
    union {
        struct transfer_out out;
        struct transfer_in in;
    };
    char from[32]; /* of a take */
};

static struct transfer *transfer_at(struct list *link)
{
    return container_of(link, struct transfer, link);
}

static struct transfer *transfer_new(struct worker *w, bool is_take)
{
    struct transfer *t;

    if (w->transfers.n_transfers >= TRANSFERS_MAX)
        return NULL;
    t = calloc(1, sizeof(*t));
    if (!t)
        return NULL;
    t->worker = w;
    t->is_take = is_take;
    list_append(is_take ? &w->transfers.takes : &w->transfers.gives, &t->link);
    w->transfers.n_transfers++;
    return t;
}

static void transfer_free(struct transfer *t)
{
    t->worker->transfers.n_transfers--;
    list_remove(&t->link);
    if (t->is_take)
        transfer_in_fini(&t->in);
    else
        transfer_out_fini(&t->out);
    free(t);
}

static void free_all(struct list *transfers)
{
    while (!list_is_empty(transfers))
        transfer_free(transfer_at(transfers->next));
}

static void on_prepare(struct ev_loop *loop, ev_prepare *reaper, int revents UNUSED)
{
    free_all(&container_of(reaper, struct transfers, reaper)->done);
    ev_prepare_stop(loop, reaper);
}

static void retire(struct transfer *t)
{
    struct worker *w = t->worker;

    list_remove(&t->link);
    list_append(&w->transfers.done, &t->link);
    ev_prepare_start(w->loop, &w->transfers.reaper);
}

static int tell_moved(struct worker *w, uint64_t count, uint64_t stayed, uint64_t took_ns)
{
    return worker_tell(w, "moved", 0,
                       json_pack("{s:I,s:I,s:I}", "count", (json_int_t)count, "refused",
                                 (json_int_t)stayed, "took_us", (json_int_t)(took_ns / 1000)));
}

/* The arbiter waits for it: it is kept until it is said. */
static void tell_given(struct transfer *t)
{
    const struct transfer_out *out = &t->out;
    int rc;

    if (out->n_stayed > 0 && out->error)
        log_warning_limited(t->worker->boot->log, "connections cannot be moved",
                            F_UINT("count", out->n_stayed), F_ERR(out->error));
    rc = tell_moved(t->worker, out->n_moved, out->n_stayed, out->took_ns);

    if (rc == 0 || rc == -EPIPE)
        retire(t);
}

void transfers_tell(struct worker *w)
{
    struct list *link, *next;

    list_for_each_safe (link, next, &w->transfers.gives)
        if (transfer_at(link)->out.is_done)
            tell_given(transfer_at(link));
}

static void on_given(struct transfer_out *out)
{
    struct transfer *t = container_of(out, struct transfer, out);
    struct worker *w = t->worker;

    if (out->is_done)
        tell_given(t);
    worker_on_moved(w);
}

static void on_taken(struct transfer_in *in)
{
    struct transfer *t = container_of(in, struct transfer, in);
    struct worker *w = t->worker;

    if (in->is_done) {
        log_debug(w->boot->log, "connections taken over", F_STR("from", t->from),
                  F_UINT("count", in->n_taken), F_UINT("refused", in->n_refused));
        if (in->n_refused > 0 && !in->is_closed) /* who retires takes nothing: no cause for alarm */
            log_warning_limited(w->boot->log, "connections refused", F_STR("from", t->from),
                                F_UINT("count", in->n_refused),
                                F_STR("error", in->error == -ENOSPC
                                                   ? "this worker has no room for them"
                                                   : strerror(-in->error)));
        retire(t);
    }
    worker_on_moved(w);
}

void transfers_init(struct worker *w)
{
    struct transfers *h = &w->transfers;

    list_init(&h->gives);
    list_init(&h->takes);
    list_init(&h->done);
    ev_prepare_init(&h->reaper, on_prepare);
}

void transfers_fini(struct worker *w)
{
    struct transfers *h = &w->transfers;
    struct list *link;

    list_for_each (link, &h->gives) {
        const struct transfer_out *out = &transfer_at(link)->out;

        tell_moved(w, out->n_moved, w->conns.n_open, 0);
    }
    free_all(&h->gives);
    free_all(&h->takes);
    free_all(&h->done);
    ev_prepare_stop(w->loop, &h->reaper);
}

void transfers_take(struct worker *w, const char *from, int *fd)
{
    struct transfer *t = w->transfers.is_closed ? NULL : transfer_new(w, true);

    if (!t)
        return;
    snprintf(t->from, sizeof(t->from), "%s", from);
    transfer_take(&t->in, &w->conns, *fd, w->boot->max_connections, on_taken);
    *fd = -1;
}

void transfers_give(struct worker *w, int *fds, size_t n_fds, size_t count)
{
    struct transfer *t = transfer_new(w, false);
    int rc = -ENOBUFS;

    if (t) {
        rc = transfer_give(&t->out, &w->conns, fds, n_fds, count, on_given);
        for (size_t i = 0; i < n_fds; i++)
            fds[i] = -1;
    }
    if (rc < 0)
        log_warning_limited(w->boot->log, "connections cannot be moved", F_ERR(rc));
    if (rc < 0 && t) {
        t->out.is_done = true;
        t->out.is_sending = false;
        t->out.n_stayed = MIN(count, w->conns.n_open);
        tell_given(t);
    } else if (rc < 0) {
        tell_moved(w, 0, MIN(count, w->conns.n_open), 0);
    }
}

bool transfers_is_giving(const struct worker *w)
{
    struct list *link;

    list_for_each (link, &w->transfers.gives)
        if (transfer_at(link)->out.is_sending)
            return true;
    return false;
}

void transfers_close(struct worker *w)
{
    struct list *link;

    w->transfers.is_closed = true;
    list_for_each (link, &w->transfers.takes)
        transfer_in_close(&transfer_at(link)->in);
}
