/*
 * The pairing heap: a parent is never later than its children; taking the first one out pairs its
 * children up, which makes all operations cheap in the long run.
 */
#include "client/deadlines.h"

#include <arbiter/client.h>
#include <errno.h>
#include <poll.h>
#include <stddef.h>

#include "base/clock.h"

uint64_t deadline_after_ms(uint64_t ms)
{
    uint64_t now = clock_mono_ns();

    if (ms == 0 || ms > (DEADLINE_NEVER - now) / 1000000)
        return DEADLINE_NEVER;
    return now + ms * 1000000;
}

uint64_t deadline_of_wait(int timeout_ms)
{
    return timeout_ms < 0 ? DEADLINE_NEVER : clock_mono_ns() + (uint64_t)timeout_ms * 1000000;
}

int deadline_poll(int fd, short events, uint64_t deadline_ns)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (;;) {
        uint64_t now = clock_mono_ns();
        int ms = -1, rc;

        if (deadline_ns != DEADLINE_NEVER) {
            uint64_t left = now < deadline_ns ? (deadline_ns - now) / 1000000 + 1 : 0;

            ms = left > INT32_MAX ? INT32_MAX : (int)left;
        }
        rc = poll(&p, 1, ms);
        if (rc > 0)
            return 0;
        if (rc == 0 && clock_mono_ns() >= deadline_ns)
            return ARB_TIMEOUT;
        if (rc < 0 && errno != EINTR)
            return -errno;
    }
}

/* Both are roots without siblings; so is the result. */
static struct deadline *meld(struct deadline *a, struct deadline *b)
{
    if (!a)
        return b;
    if (!b)
        return a;
    if (b->at_ns < a->at_ns) {
        struct deadline *earlier = b;

        b = a;
        a = earlier;
    }
    b->prev = a;
    b->next = a->child;
    if (a->child)
        a->child->prev = b;
    a->child = b;
    return a;
}

static struct deadline *detach_first(struct deadline **list)
{
    struct deadline *d = *list;

    if (d) {
        *list = d->next;
        d->next = d->prev = NULL;
    }
    return d;
}

/* A list of siblings becomes one tree: melded in pairs from the left, then together from the right.
 */
static struct deadline *meld_all(struct deadline *list)
{
    struct deadline *pairs = NULL, *root = NULL;

    while (list) {
        struct deadline *a = detach_first(&list);
        struct deadline *pair = meld(a, detach_first(&list));

        pair->next = pairs;
        pairs = pair;
    }
    while (pairs)
        root = meld(root, detach_first(&pairs));
    return root;
}

void deadlines_unset(struct deadlines *all, struct deadline *d)
{
    struct deadline *below;

    if (!d->is_set)
        return;
    below = meld_all(d->child);
    if (d == all->first) {
        all->first = below;
    } else {
        if (d->prev->child == d)
            d->prev->child = d->next;
        else
            d->prev->next = d->next;
        if (d->next)
            d->next->prev = d->prev;
        all->first = meld(all->first, below);
    }
    d->child = d->next = d->prev = NULL;
    d->is_set = false;
}

void deadlines_set(struct deadlines *all, struct deadline *d, uint64_t at_ns)
{
    deadlines_unset(all, d);
    if (at_ns == DEADLINE_NEVER)
        return;
    d->at_ns = at_ns;
    d->child = d->next = d->prev = NULL;
    d->is_set = true;
    all->first = meld(all->first, d);
}

uint64_t deadlines_next(const struct deadlines *all)
{
    return all->first ? all->first->at_ns : DEADLINE_NEVER;
}

struct deadline *deadlines_take(struct deadlines *all, uint64_t now_ns)
{
    struct deadline *d = all->first;

    if (!d || d->at_ns > now_ns)
        return NULL;
    deadlines_unset(all, d);
    return d;
}
