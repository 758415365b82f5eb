/*
 * Addresses that are served no longer, because the server stops or a reload has removed them. Who
 * has connected and waits to be accepted is not reset: the arbiter accepts such connections unread
 * and leaves them in a socket pair, from which every worker that serves takes what it can. So one
 * that hangs holds nobody up.
 */
#include "arbiter/internal.h"

#include <errno.h>

#include "actor/conn_batch.h"
#include "base/fdpass.h"
#include "base/fds.h"

/* Few in a datagram, so that all workers get some. */
enum { BATCH = 16 };

struct waiting {
    int ends[2]; /* owned: the reading one, the writing one; -1 = there is nobody yet */
    int fds[BATCH];
    uint32_t n;
    unsigned n_sent, n_lost;
};

static void flush(struct waiting *w)
{
    const struct conn_batch head = {w->n, true};
    int error = -EPIPE;

    if (w->n == 0)
        return;
    if (w->ends[1] >= 0 || mailbox_pair(w->ends) == 0)
        error = fdpass_send(w->ends[1], &head, sizeof(head), w->fds, w->n);
    *(error ? &w->n_lost : &w->n_sent) += w->n;
    for (uint32_t i = 0; i < w->n; i++)
        fds_close(&w->fds[i]);
    w->n = 0;
}

static void on_waiting(int fd, void *userdata)
{
    struct waiting *w = userdata;

    w->fds[w->n++] = fd;
    if (w->n == BATCH)
        flush(w);
}

/* Returns how many workers have been told. */
static unsigned offer(struct arbiter *a, int fd)
{
    unsigned n = 0;

    for (uint32_t i = 0; i < a->n_children_used; i++)
        n += a->children[i].pid && a->engine->procs[i].phase == TR_RUNNING &&
             a->engine->procs[i].revision == a->engine->live.revision &&
             children_send_fds(a, i, "collect", 0, NULL, &fd, 1) == 0;
    return n;
}

static void pass_on(struct arbiter *a, struct waiting *w)
{
    flush(w);
    if (w->n_sent > 0 && offer(a, w->ends[0]) == 0) {
        w->n_lost += w->n_sent;
        w->n_sent = 0;
    }
    fds_close(&w->ends[0]);
    fds_close(&w->ends[1]);
    if (w->n_sent > 0)
        log_info(a->log, "connections that waited at a closed address go to the workers",
                 F_UINT("count", w->n_sent));
    if (w->n_lost > 0)
        log_warning(a->log, "connections that waited at a closed address are ended: no worker",
                    F_UINT("count", w->n_lost));
}

void vacate_removed(struct arbiter *a, struct revision *rev)
{
    struct waiting w = {.ends = {-1, -1}};

    for (size_t i = 0; i < rev->n_listeners; i++)
        if (rev->listeners[i]->refs == 1)
            listener_shut(rev->listeners[i], on_waiting, &w);
    pass_on(a, &w);
}

void vacate_all(struct arbiter *a, bool is_quick)
{
    struct revision *const revisions[] = {a->live, a->next};
    struct waiting w = {.ends = {-1, -1}};

    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; revisions[k] && i < revisions[k]->n_listeners; i++)
            listener_shut(revisions[k]->listeners[i], is_quick ? NULL : on_waiting, &w);
    pass_on(a, &w);
}
