/*
 * What the arbiter knows of its workers in numbers: what it believes of their counters, and all of
 * it as JSON.
 *
 * A record can be written over by its worker at any time, so its counters are not taken as they
 * stand: what they have grown by since the last look is added up, and a step that no machine could
 * have done, or one backwards, counts nothing.
 */
#ifndef ARBITER_STATS_H
#define ARBITER_STATS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "actor/scoreboard.h"
#include "base/counters.h"

struct arbiter;
struct child;

/* No counter grows faster than this in a second: a terabyte. */
#define TALLY_MAX_A_SECOND (UINT64_C(1) << 40)

struct tally {
    struct counters last; /* as read */
    struct counters sum; /* as believed: never decreases */
    struct own_counts own_last, own_sum; /* the same of the program's own */
    struct score_times times_last, times_sum; /* and of what takes time */
    uint64_t looked_ns;
};

/* tally_init - a new process, whose counters are zero */
void tally_init(struct tally *t, uint64_t now_ns);

/* tally_take - look at what the process has written */
void tally_take(struct tally *t, const struct score_record *shared, uint64_t now_ns);

/* tally_end - the process has ended, with connections open or not: those are counted as left */
void tally_end(struct tally *t);

/* counters_sum - @sum += @c */
void counters_sum(struct counters *sum, const struct counters *c);

/* times_merge - @sum += @t */
void times_merge(struct score_times *sum, const struct score_times *t);

/* stats_count - look at what all workers have counted until now */
void stats_count(struct arbiter *a);

/* stats_on_exit - @c is gone: what it has counted belongs to the dead */
void stats_on_exit(struct arbiter *a, struct child *c);

/* stats_log_kept - after an upgrade: say which counters of the program before this one does not
 * know
 */
void stats_log_kept(const struct arbiter *a);

/* stats_log_own - at the end: what the program has counted, in a line; none if it counts nothing */
void stats_log_own(const struct arbiter *a);

/* stats_info - what `info` answers. NULL without memory. */
json_t *stats_info(struct arbiter *a);

/*
 * stats_is_ready - shall clients be sent here? Not before every process of the first revision
 * runs, then for as long as one worker of the live one does and nobody has asked for a stop: one of
 * many that has died is no reason to send all clients elsewhere.
 * @why  if not: a sentence; @size bytes
 */
enum { STATS_NOT_READY_LEN = 128 };
bool stats_is_ready(const struct arbiter *a, char *why, size_t size);

/* stats_ready - the same as JSON: {"ready":true}, or {"ready":false,"reason":…} */
json_t *stats_ready(const struct arbiter *a);

/* stats_actors - ids and states; stats_config - one row or all: value and origin; @key is
 * one of the table, NULL = all */
json_t *stats_actors(struct arbiter *a);
json_t *stats_config(struct arbiter *a, const char *key);

#endif
