/*
 * The arbiter's part in a rescue: it keeps a socket pair per slot, so that what a crashing worker
 * sends outlives it, and sees that somebody takes it out. What is in it the arbiter never reads.
 */
#include "arbiter/internal.h"

#include <poll.h>
#include <stdlib.h>

#include "base/fds.h"

int rescue_open(struct arbiter *a, uint32_t slot)
{
    int rc = a->rescue[slot].is_open ? 0 : mailbox_pair(a->rescue[slot].ends);

    a->rescue[slot].is_open = rc == 0;
    return rc;
}

/* To the first worker that serves and can be told. */
static void pass_on(struct arbiter *a, const struct rescue_pair *p)
{
    for_each_child (a, c)
        if (transition_phase(a->engine, c->record) == TR_RUNNING &&
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
        const enum tr_phase phase = transition_phase(a->engine, c->record);

        if (c->slot == slot && phase != TR_DRAINING && phase != TR_KILLED)
            return true;
    }
    return false;
}

/* Asked of the kernel: the record of who has died may say anything, and who was to take it out may
 * have died as well. */
bool rescue_is_waited_for(const struct arbiter *a, uint32_t slot)
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
    if (rescue_is_waited_for(a, slot))
        pass_on(a, p);
    else if (!is_slot_used(a, slot))
        close_pair(p);
    p->is_left = p->is_open;
}

void rescue_settle(struct arbiter *a)
{
    if (!a->is_collect_due)
        return;
    a->is_collect_due = false;
    for (uint32_t slot = 1; slot <= TR_SLOTS_MAX; slot++)
        if (a->rescue[slot].is_left)
            settle_pair(a, slot);
}

void rescue_look(struct arbiter *a)
{
    a->is_collect_due = true;
    settle_soon(a);
}

void rescue_on_exit(struct arbiter *a, uint32_t slot)
{
    a->rescue[slot].is_left = true;
    rescue_look(a);
}

void rescue_fini(struct arbiter *a)
{
    for (uint32_t slot = 0; a->rescue && slot <= TR_SLOTS_MAX; slot++)
        close_pair(&a->rescue[slot]);
    free(a->rescue);
}
