/*
 * A crowd at a publish/subscribe server: subscribers that hear, publishers that speak, sleepers
 * that are always owed a late reply. It checks each byte that comes: each subscriber gets each
 * message of its channel exactly once, each publisher's in their order, and all subscribers of a
 * channel in the same order. It runs on a thread of its own, speaks RESP2 by itself, and shares no
 * code with the server.
 */
#ifndef SUPPORT_CROWD_H
#define SUPPORT_CROWD_H

#include <stdbool.h>
#include <stdint.h>

enum { CROWD_CHANNELS_MAX = 32, CROWD_PUBLISHERS_MAX = 64, CROWD_WHY_LEN = 256 };

struct crowd_options {
    const char *addr; /* "127.0.0.1:PORT" */
    unsigned subscribers; /* spread evenly over the channels */
    unsigned channels; /* at most CROWD_CHANNELS_MAX */
    unsigned publishers; /* at most CROWD_PUBLISHERS_MAX; each on a connection of its own */
    unsigned rate; /* messages per second, of all publishers together */
    unsigned sleepers; /* each is always in the middle of DEBUG SLEEP */
    const char *sleep; /* seconds of it, as text */
};

struct crowd_counts {
    uint64_t published; /* messages that the server has accepted */
    uint64_t delivered; /* to subscribers */
    uint64_t slept; /* late replies that have come */
    uint64_t busiest_ms; /* the longest time from PUBLISH to its reply */
    uint64_t longest_ms; /* the longest time from PUBLISH to a subscriber */
    uint64_t least_per_s; /* messages published in the poorest whole second */
    uint64_t lost, doubled, disordered, wrong, cut; /* what must not be; `why` has the first */
    char why[CROWD_WHY_LEN];
};

struct crowd;

/* crowd_start - connect all and subscribe; the thread runs when this returns. Breaks the case if
 * that fails. */
struct crowd *crowd_start(const struct crowd_options *o);

/* crowd_peek - the counts so far */
struct crowd_counts crowd_peek(struct crowd *c);

/* crowd_permit_cuts - connections may end from now on: such are counted as cut, and are no error */
void crowd_permit_cuts(struct crowd *c);

/* crowd_stop - publish no more, wait until everything has arrived, at most 30 s; free */
struct crowd_counts crowd_stop(struct crowd *c);

#endif
