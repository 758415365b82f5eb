/*
 * Connections that no worker has, left in socket pairs from which workers collect them: who waits
 * to be accepted at an address that is closed, and what workers of an image without keepers leave.
 * Runs in the arbiter, which reads nothing of them.
 */
#include "arbiter/arbiter_impl.h"

#include <arbiter/server.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "actor/conn_batch.h"
#include "base/fdpass.h"
#include "base/fds.h"
#include "base/hash.h"

/*
 * ---- pairs of an image without keepers ----
 *
 * A crashed worker of that image has sent its idle connections into the pair of its slot. The pairs
 * are there until the last of its workers is gone, and for the way back to it.
 */

void collect_inherit(struct arbiter *a, uint32_t slot, int recv_fd, int send_fd)
{
    a->old_pairs[slot] = (struct old_pair){.is_open = true, .ends = {recv_fd, send_fd}};
    a->has_old_pairs = true;
}

static bool has_old_workers(const struct arbiter *a)
{
    for_each_worker (a, c)
        if (c->is_inherited && c->table_fd < 0)
            return true;
    return false;
}

/* To the first worker that serves and can be told. It takes what is there now. */
static void offer_pair(struct arbiter *a, const struct old_pair *p)
{
    struct pollfd f = {.fd = p->ends[0], .events = POLLIN};

    if (!p->is_open || poll(&f, 1, 0) != 1 || !(f.revents & POLLIN))
        return;
    for_each_worker (a, c)
        if (transition_is_staying(a->engine, c->proc) &&
            children_send_fds(c, "collect", 0, NULL, &p->ends[0], 1) == 0)
            return;
}

static void close_pairs(struct arbiter *a)
{
    for (uint32_t slot = 0; a->old_pairs && slot <= TR_SLOTS_MAX; slot++) {
        if (!a->old_pairs[slot].is_open)
            continue;
        fds_close(&a->old_pairs[slot].ends[0]);
        fds_close(&a->old_pairs[slot].ends[1]);
        a->old_pairs[slot].is_open = false;
    }
    a->has_old_pairs = false;
}

void collect_settle(struct arbiter *a)
{
    if (!a->is_collect_due || !a->has_old_pairs)
        return;
    a->is_collect_due = false;
    for (uint32_t slot = 1; !a->is_stopping && slot <= TR_SLOTS_MAX; slot++)
        offer_pair(a, &a->old_pairs[slot]);
    if (a->upgrade.phase == UPGRADE_NONE && !has_old_workers(a))
        close_pairs(a);
}

void collect_look(struct arbiter *a)
{
    a->is_collect_due = true;
    settle_soon(a);
}

void collect_fini(struct arbiter *a)
{
    close_pairs(a);
    free(a->old_pairs);
}

/*
 * ---- addresses that close ----
 *
 * Because the server stops or a reload has removed them. Who has connected and waits to be accepted
 * is not reset: every worker that serves takes what it can, so one that hangs holds nobody up.
 */

/* Few in a datagram, so that all workers get some. */
enum { BATCH = 16 };

_Static_assert((int)CONFIG_BIND_MAX <= (int)LISTENER_SHUT_MAX, "all addresses at once");

struct waiting {
    struct arbiter *arbiter;
    int ends[2]; /* owned: the reading one, the writing one; -1 = there are none */
    int fds[BATCH];
    uint32_t n; /* in `fds`, all of one protocol and one wish */
    unsigned protocol; /* its index in the program's table */
    enum proxy_wish wish;
    unsigned n_in_pair, n_passed, n_lost;
    int error; /* why the last of those that are lost is so; 0 = no worker serves */
};

/* Returns how many workers have been told. */
static unsigned offer(struct arbiter *a, int fd)
{
    unsigned n = 0;

    for_each_worker (a, c)
        n += transition_is_staying(a->engine, c->proc) &&
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
    const struct arb_program *program = w->arbiter->options->program;
    const struct conn_batch head = {
        .n_fds = w->n,
        .is_new = true,
        .protocol = hash_name(program->protocols[w->protocol]->name),
        .wish = w->wish,
    };
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

static void on_waiting(const struct listener *l, int fd, void *userdata)
{
    const enum proxy_wish wish = listener_wish(l, fd, NULL);
    struct waiting *w = userdata;

    if (w->n > 0 && (w->protocol != l->protocol || w->wish != wish))
        flush_batch(w);
    w->protocol = l->protocol;
    w->wish = wish;
    w->fds[w->n++] = fd;
    if (w->n == BATCH)
        flush_batch(w);
}

static void pass_waiting(struct waiting *w)
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

/* Of a listener that ends: its address is removed, or its file was, and there is another one. */
static void warn_of_manager(const struct arbiter *a, const struct listener *l)
{
    for (size_t i = 0; i < a->live->n_listeners; i++)
        if (strcmp(a->live->listeners[i]->text, l->text) == 0) {
            log_warning(a->log,
                        "the file of a socket that the service manager has passed was gone: it is "
                        "made anew, and the manager does not know of it until its socket unit is "
                        "restarted",
                        F_STR("address", l->bound));
            return;
        }
    log_warning(a->log,
                "the service manager still listens at a removed address: who connects waits there "
                "until its socket unit is changed, too",
                F_STR("address", l->bound));
}

void collect_vacate(struct arbiter *a, struct revision *rev)
{
    struct waiting w = {.arbiter = a, .ends = {-1, -1}};
    struct listener *removed[CONFIG_BIND_MAX];
    size_t n = 0;

    for (size_t i = 0; i < rev->n_listeners; i++)
        if (rev->listeners[i]->refs == 1) {
            removed[n++] = rev->listeners[i];
            if (rev->listeners[i]->is_passed)
                warn_of_manager(a, rev->listeners[i]);
        }
    listener_shut(removed, n, on_waiting, &w);
    pass_waiting(&w);
    if (rev->status && rev->status->refs == 1)
        listener_shut(&rev->status, 1, NULL, NULL); /* who waits there would ask no worker */
}

void collect_vacate_all(struct arbiter *a, bool is_quick)
{
    struct revision *const revisions[] = {a->live, a->next};
    struct waiting w = {.arbiter = a, .ends = {-1, -1}};

    for (size_t k = 0; k < 2; k++) {
        if (revisions[k])
            listener_shut(revisions[k]->listeners, revisions[k]->n_listeners,
                          is_quick ? NULL : on_waiting, &w);
        if (revisions[k] && revisions[k]->status)
            listener_shut(&revisions[k]->status, 1, NULL, NULL);
    }
    pass_waiting(&w);
}
