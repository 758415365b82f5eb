/*
 * Any number of exact deadlines, the earliest at hand: a pairing heap of nodes that live in their
 * owners, so that setting one cannot fail.
 */
#ifndef CLIENT_DEADLINES_H
#define CLIENT_DEADLINES_H

#include <stdbool.h>
#include <stdint.h>

#define DEADLINE_NEVER UINT64_MAX

struct deadline {
    uint64_t at_ns; /* CLOCK_MONOTONIC */
    struct deadline *child; /* the later ones below this one: the first of a list */
    struct deadline *next; /* in the parent's list */
    struct deadline *prev; /* in the parent's list; the parent itself for the first */
    bool is_set;
    void (*on_due)(struct deadline *d); /* set by the owner, called by who takes it out */
};

struct deadlines {
    struct deadline *first; /* NULL = there is none */
};

/* deadline_after_ms - on CLOCK_MONOTONIC; DEADLINE_NEVER for 0 and for what is out of range */
uint64_t deadline_after_ms(uint64_t ms);

/* deadline_of_wait - as the library's waits take their time: below 0 = no limit */
uint64_t deadline_of_wait(int timeout_ms);

/* deadline_poll - until @fd has @events. Returns 0, ARB_TIMEOUT or -errno. Blocks. */
int deadline_poll(int fd, short events, uint64_t deadline_ns);

/* deadlines_set - also moves one that is set already; DEADLINE_NEVER takes it out */
void deadlines_set(struct deadlines *all, struct deadline *d, uint64_t at_ns);

/* deadlines_unset - take it out; safe if it is not in */
void deadlines_unset(struct deadlines *all, struct deadline *d);

/* deadlines_next - the earliest one's time, or DEADLINE_NEVER */
uint64_t deadlines_next(const struct deadlines *all);

/* deadlines_take - one that is due at @now_ns, taken out; NULL when there is none */
struct deadline *deadlines_take(struct deadlines *all, uint64_t now_ns);

#endif
