/*
 * The timing wheel: one bucket a tick, WHEEL_SLOTS of them, a bitmap to skip the empty ones.
 */
#include "base/wheel.h"

#include <string.h>

enum { SLOT_MASK = WHEEL_SLOTS - 1, WORDS = WHEEL_SLOTS / 64 };

_Static_assert((WHEEL_SLOTS & SLOT_MASK) == 0 && WHEEL_SLOTS % 64 == 0, "slots: power of two");

void wheel_init(struct wheel *w, uint32_t now)
{
    w->now = now;
    memset(w->used, 0, sizeof(w->used));
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
    unsigned slot;

    if (n->tick == WHEEL_NONE)
        return;
    slot = n->tick & SLOT_MASK;
    list_remove(&n->link);
    n->tick = WHEEL_NONE;
    if (list_is_empty(&w->slots[slot]))
        w->used[slot / 64] &= ~(UINT64_C(1) << (slot % 64));
}

void wheel_arm(struct wheel *w, struct wheel_node *n, uint32_t tick)
{
    const uint32_t horizon = w->now + WHEEL_SLOTS - 1;
    unsigned slot;

    if (n->tick <= tick && n->tick != WHEEL_NONE)
        return;
    if (tick < w->now)
        tick = w->now;
    if (tick > horizon)
        tick = horizon;
    if (n->tick == tick)
        return;
    wheel_disarm(w, n);
    slot = tick & SLOT_MASK;
    list_append(&w->slots[slot], &n->link);
    w->used[slot / 64] |= UINT64_C(1) << (slot % 64);
    n->tick = tick;
}

uint32_t wheel_next(const struct wheel *w)
{
    const unsigned first = w->now & SLOT_MASK;

    if (!list_is_empty(&w->due))
        return w->now - 1;
    /* The word of `first` comes twice: its upper part now, its lower part a turn later. */
    for (unsigned i = 0; i <= WORDS; i++) {
        const unsigned word = (first / 64 + i) % WORDS;
        uint64_t bits = w->used[word];

        if (i == 0)
            bits &= ~UINT64_C(0) << (first % 64);
        if (i == WORDS)
            bits &= ~(~UINT64_C(0) << (first % 64));
        if (bits) {
            const unsigned slot = word * 64 + (unsigned)__builtin_ctzll(bits);

            return w->now + ((slot - first) & SLOT_MASK);
        }
    }
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
    w->used[(tick & SLOT_MASK) / 64] &= ~(UINT64_C(1) << (tick % 64));
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
