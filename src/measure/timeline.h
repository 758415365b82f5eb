/*
 * The outages of an audit: its counts, looked at again and again, become a list of the times in
 * which something went wrong. Pure: time is passed in. Bounded: the first outages are kept, all are
 * counted.
 */
#ifndef MEASURE_TIMELINE_H
#define MEASURE_TIMELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "measure/audit_check.h"

enum { TIMELINE_OUTAGES_MAX = 256, TIMELINE_JOIN_MS = 500 };

/* An outage ends when for TIMELINE_JOIN_MS nothing more went wrong. */
struct timeline_outage {
    uint64_t from_ns, to_ns; /* first and last look at which something was wrong; see _look */
    struct audit_counts delta; /* what happened in it */
    unsigned waiting; /* at most so many connections waited for too long at once */
};

struct timeline {
    struct audit_counts before;
    uint64_t looked_ns; /* the last look; 0 = none yet */
    size_t n; /* kept */
    uint64_t n_all;
    struct timeline_outage kept[TIMELINE_OUTAGES_MAX];
    struct timeline_outage last; /* the newest, kept or not */
};

/* timeline_lost - messages that did not come back as they were sent, whatever the reason */
uint64_t timeline_lost(const struct audit_counts *c);

/*
 * timeline_look - the totals of now
 * @waiting     connections that wait too long at the moment
 * @waiting_ns  since when the first of them does; 0 = none
 * Whatever went wrong did so since the look before, which is where its outage begins.
 */
void timeline_look(struct timeline *t, const struct audit_counts *now, unsigned waiting,
                   uint64_t waiting_ns, uint64_t now_ns);

#endif
