/*
 * Addresses that are served no longer, because the server stops or a reload has removed them. Who
 * has connected and waits to be accepted is not reset: the arbiter accepts such connections unread
 * and leaves them in a socket pair, from which every worker that serves takes what it can. So one
 * that hangs holds nobody up.
 */
#include "arbiter/internal.h"

#include <errno.h>
#include <string.h>

#include "actor/conn_batch.h"
#include "base/fdpass.h"
#include "base/fds.h"

/* Few in a datagram, so that all workers get some. */
enum { BATCH = 16 };

_Static_assert((int)CONFIG_BIND_MAX <= (int)LISTENER_SHUT_MAX, "all addresses at once");

struct waiting {
    struct arbiter *arbiter;
    int ends[2]; /* owned: the reading one, the writing one; -1 = there are none */
    int fds[BATCH];
    uint32_t n; /* in `fds` */
    unsigned n_in_pair, n_passed, n_lost;
    int error; /* why the last of those that are lost is so; 0 = no worker serves */
};

/* Returns how many workers have been told. */
static unsigned offer(struct arbiter *a, int fd)
{
    unsigned n = 0;

    for_each_child (a, c)
        n += transition_is_staying(a->engine, c->record) &&
             children_send_fds(c, "collect", 0, NULL, &fd, 1) == 0;
    return n;
}

/* Whoever is told takes what is in the pair then, and does not wait for more. */
static void pass_pair(struct waiting *w)
{
    if (w->n_in_pair > 0)
        *(offer(w->arbiter, w->ends[0]) > 0 ? &w->n_passed : &w->n_lost) += w->n_in_pair;
    w->n_in_pair = 0;
    fds_close(&w->ends[0]);
    fds_close(&w->ends[1]);
}

static int send_batch(struct waiting *w)
{
    const struct conn_batch head = {w->n, true};
    const int rc = w->ends[1] < 0 ? mailbox_pair(w->ends) : 0;

    return rc < 0 ? rc : fdpass_send(w->ends[1], &head, sizeof(head), w->fds, w->n);
}

/* A pair holds some thousands: then there is another. */
static void flush_batch(struct waiting *w)
{
    int error = send_batch(w);

    if (error == -EAGAIN && w->n_in_pair > 0) {
        pass_pair(w);
        error = send_batch(w);
    }
    if (error)
        w->error = error;
    *(error ? &w->n_lost : &w->n_in_pair) += w->n;
    for (uint32_t i = 0; i < w->n; i++)
        fds_close(&w->fds[i]);
    w->n = 0;
}

static void on_waiting(int fd, void *userdata)
{
    struct waiting *w = userdata;

    w->fds[w->n++] = fd;
    if (w->n == BATCH)
        flush_batch(w);
}

static void pass_on(struct waiting *w)
{
    if (w->n > 0)
        flush_batch(w);
    pass_pair(w);
    if (w->n_passed > 0)
        log_info(w->arbiter->log, "connections that waited at a closed address go to the workers",
                 F_UINT("count", w->n_passed));
    if (w->n_lost > 0)
        log_warning(w->arbiter->log, "connections that waited at a closed address are ended",
                    F_UINT("count", w->n_lost),
                    F_STR("reason", w->error ? strerror(-w->error) : "no worker serves"));
}

void vacate_removed(struct arbiter *a, struct revision *rev)
{
    struct waiting w = {.arbiter = a, .ends = {-1, -1}};
    struct listener *removed[CONFIG_BIND_MAX];
    size_t n = 0;

    for (size_t i = 0; i < rev->n_listeners; i++)
        if (rev->listeners[i]->refs == 1)
            removed[n++] = rev->listeners[i];
    listener_shut(removed, n, on_waiting, &w);
    pass_on(&w);
}

void vacate_all(struct arbiter *a, bool is_quick)
{
    struct revision *const revisions[] = {a->live, a->next};
    struct waiting w = {.arbiter = a, .ends = {-1, -1}};

    for (size_t k = 0; k < 2; k++)
        if (revisions[k])
            listener_shut(revisions[k]->listeners, revisions[k]->n_listeners,
                          is_quick ? NULL : on_waiting, &w);
    pass_on(&w);
}
