/*
 * The timing wheel: one bucket per tick, WHEEL_SLOTS of them.
 */
#include "base/wheel.h"

enum { SLOT_MASK = WHEEL_SLOTS - 1 };

_Static_assert((WHEEL_SLOTS & SLOT_MASK) == 0, "slots: power of two");

void wheel_init(struct wheel *w, uint32_t now)
{
    w->now = now;
    w->n_armed = 0;
    list_init(&w->due);
    for (unsigned i = 0; i < WHEEL_SLOTS; i++)
        list_init(&w->slots[i]);
}

void wheel_node_init(struct wheel_node *n)
{
    list_init(&n->link);
    n->tick = WHEEL_NONE;
}

void wheel_disarm(struct wheel *w, struct wheel_node *n)
{
    if (n->tick == WHEEL_NONE)
        return;
    list_remove(&n->link);
    n->tick = WHEEL_NONE;
    w->n_armed--;
}

void wheel_arm(struct wheel *w, struct wheel_node *n, uint32_t tick)
{
    const uint32_t horizon = w->now + WHEEL_SLOTS - 1;

    if (n->tick <= tick && n->tick != WHEEL_NONE)
        return;
    if (tick < w->now)
        tick = w->now;
    if (tick > horizon)
        tick = horizon;
    if (n->tick == tick)
        return;
    wheel_disarm(w, n);
    list_append(&w->slots[tick & SLOT_MASK], &n->link);
    n->tick = tick;
    w->n_armed++;
}

/* A look at 512 buckets at most, and only when a tick has come or a new deadline is the first. */
uint32_t wheel_next(const struct wheel *w)
{
    if (!list_is_empty(&w->due))
        return w->now - 1;
    for (uint32_t i = 0; w->n_armed > 0 && i < WHEEL_SLOTS; i++)
        if (!list_is_empty(&w->slots[(w->now + i) & SLOT_MASK]))
            return w->now + i;
    return WHEEL_NONE;
}

/* Puts the next bucket that has come round by @now into `due`. Returns false if there is none. */
static bool wheel_turn(struct wheel *w, uint32_t now)
{
    const uint32_t tick = wheel_next(w);
    struct list *slot;

    if (tick > now) {
        if (w->now <= now)
            w->now = now + 1;
        return false;
    }
    slot = &w->slots[tick & SLOT_MASK];
    w->due = *slot;
    w->due.prev->next = &w->due;
    w->due.next->prev = &w->due;
    list_init(slot);
    w->now = tick + 1;
    return true;
}

struct wheel_node *wheel_take(struct wheel *w, uint32_t now)
{
    struct wheel_node *n;

    if (list_is_empty(&w->due) && !wheel_turn(w, now))
        return NULL;
    n = container_of(w->due.next, struct wheel_node, link);
    wheel_disarm(w, n);
    return n;
}
