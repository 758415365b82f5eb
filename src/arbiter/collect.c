/*
 * Connections that no worker has, left in socket pairs from which workers collect them: what a
 * crashed worker has sent into the pair of its slot, and who waits to be accepted at an address
 * that is closed. Runs in the arbiter, which reads nothing of them.
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

/* ---- the pair of a slot ---- */

int collect_open(struct arbiter *a, uint32_t slot)
{
    int rc = a->rescue[slot].is_open ? 0 : mailbox_pair(a->rescue[slot].ends);

    a->rescue[slot].is_open = rc == 0;
    return rc;
}

/* To the first worker that serves and can be told. */
static void offer_pair(struct arbiter *a, const struct rescue_pair *p)
{
    for_each_worker (a, c)
        if (transition_phase(a->engine, c->proc) == TR_RUNNING &&
            children_send_fds(c, "collect", 0, NULL, &p->ends[0], 1) == 0)
            return;
}

static void close_pair(struct rescue_pair *p)
{
    if (!p->is_open)
        return;
    p->is_open = false;
    fds_close(&p->ends[0]);
    fds_close(&p->ends[1]);
}

static bool is_slot_used(const struct arbiter *a, uint32_t slot)
{
    if (transition_is_slot_wanted(a->engine, slot))
        return true;
    for_each_child (a, c)
        if (c->slot == slot)
            return true;
    return false;
}

static bool is_slot_filled(const struct arbiter *a, uint32_t slot)
{
    for_each_child (a, c) {
        const enum tr_phase phase = transition_phase(a->engine, c->proc);

        if (c->slot == slot && phase != TR_DRAINING && phase != TR_KILLED)
            return true;
    }
    return false;
}

/* Asked of the kernel: the record of who has died may say anything, and who was to take it out may
 * have died as well. */
bool collect_is_waited_for(const struct arbiter *a, uint32_t slot)
{
    const struct rescue_pair *p = &a->rescue[slot];
    struct pollfd f = {.fd = p->ends[0], .events = POLLIN};

    return p->is_open && poll(&f, 1, 0) == 1 && (f.revents & POLLIN);
}

static void settle_pair(struct arbiter *a, uint32_t slot)
{
    struct rescue_pair *p = &a->rescue[slot];

    p->is_left = false;
    if (a->is_stopping || !p->is_open || is_slot_filled(a, slot))
        return;
    /* Kept until it is empty: who is told may die before it has taken anything. */
    if (collect_is_waited_for(a, slot))
        offer_pair(a, p);
    else if (!is_slot_used(a, slot))
        close_pair(p);
    p->is_left = p->is_open;
}

void collect_settle(struct arbiter *a)
{
    if (!a->is_collect_due)
        return;
    a->is_collect_due = false;
    for (uint32_t slot = 1; slot <= TR_SLOTS_MAX; slot++)
        if (a->rescue[slot].is_left)
            settle_pair(a, slot);
}

void collect_look(struct arbiter *a)
{
    a->is_collect_due = true;
    settle_soon(a);
}

void collect_on_exit(struct arbiter *a, uint32_t slot)
{
    a->rescue[slot].is_left = true;
    collect_look(a);
}

void collect_fini(struct arbiter *a)
{
    for (uint32_t slot = 0; a->rescue && slot <= TR_ALL_SLOTS_MAX; slot++)
        close_pair(&a->rescue[slot]);
    free(a->rescue);
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
    uint32_t n; /* in `fds`, all of one protocol */
    unsigned protocol; /* its index in the program's table */
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
    const struct conn_batch head = {w->n, true, hash_name(program->protocols[w->protocol]->name)};
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
    struct waiting *w = userdata;

    if (w->n > 0 && w->protocol != l->protocol)
        flush_batch(w);
    w->protocol = l->protocol;
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

void collect_vacate(struct arbiter *a, struct revision *rev)
{
    struct waiting w = {.arbiter = a, .ends = {-1, -1}};
    struct listener *removed[CONFIG_BIND_MAX];
    size_t n = 0;

    for (size_t i = 0; i < rev->n_listeners; i++)
        if (rev->listeners[i]->refs == 1)
            removed[n++] = rev->listeners[i];
    listener_shut(removed, n, on_waiting, &w);
    pass_waiting(&w);
}

void collect_vacate_all(struct arbiter *a, bool is_quick)
{
    struct revision *const revisions[] = {a->live, a->next};
    struct waiting w = {.arbiter = a, .ends = {-1, -1}};

    for (size_t k = 0; k < 2; k++)
        if (revisions[k])
            listener_shut(revisions[k]->listeners, revisions[k]->n_listeners,
                          is_quick ? NULL : on_waiting, &w);
    pass_waiting(&w);
}
