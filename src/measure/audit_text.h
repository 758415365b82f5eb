/*
 * What an audit has found, for people and as JSON: the verdict for each connection and in all, the
 * timeline of outages, the limits that were asked for. Pure; writes to a stream that it is given.
 */
#ifndef MEASURE_AUDIT_TEXT_H
#define MEASURE_AUDIT_TEXT_H

#include <jansson.h>
#include <stdio.h>
#include "measure/audit.h"
#include "measure/quantity.h"
#include "measure/timeline.h"

/* What is still good. */
struct audit_limits {
    struct quantity_share max_loss; /* of the messages sent */
    struct quantity_share max_cut; /* of the connections made */
    uint64_t max_stall_ns; /* UINT64_MAX = none */
};

/* Each is a way to break; they are told apart for people, and together they are the verdict. */
struct audit_verdict {
    bool is_delivered; /* none of the others */
    bool is_idle; /* not one message was sent */
    bool is_lossy; /* more lost than allowed */
    bool is_stalled; /* longer than allowed */
    bool is_cut; /* more connections ended than allowed before we ended them */
    bool is_wrong; /* replies out of order, twice, or of nobody */
};

/* audit_judge - by the totals, or by those of one lane (which may be idle) */
struct audit_verdict audit_judge(const struct audit_tally *t, const struct audit_limits *limits);

/* audit_json - every count by its name, "o1", "o2", the stall, how long echoes took, incidents, the
 * verdict and why, the same of each lane, outages. A new object. */
json_t *audit_json(const struct audit_result *r, const struct timeline *t,
                   const struct audit_limits *limits);

/*
 * audit_text_write - that as a summary for people
 * @o          its lanes and outages get members that the tables show
 * @has_lanes  a line for each lane, not only for the broken ones
 * Returns 0 or -ENOMEM.
 */
int audit_text_write(FILE *f, const json_t *o, bool has_lanes);

#endif
