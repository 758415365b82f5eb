/*
 * The traffic of an audit: what its lanes send and what they make of what comes back. Private to
 * the audit.
 */
#ifndef MEASURE_AUDIT_TRAFFIC_H
#define MEASURE_AUDIT_TRAFFIC_H

#include "base/buffer.h"
#include "measure/audit.h"
#include "measure/flow.h"

enum audit_lane_state {
    AUDIT_LANE_PAUSING, /* no connection; the next one begins when it is due */
    AUDIT_LANE_CONNECTING,
    AUDIT_LANE_TALKING, /* sends and receives */
    AUDIT_LANE_ENDING, /* sends what is queued, half-closes, reads to end of file */
    AUDIT_LANE_DONE,
};

enum audit_lane_kind { AUDIT_LANE_CHURNING, AUDIT_LANE_SLOW, AUDIT_LANE_LONG };

struct audit_lane {
    struct lane lane;
    struct audit *audit; /* owner */
    struct audit_tally *tally;
    enum audit_lane_state state;
    enum audit_lane_kind kind;
    unsigned index;
    struct audit_check check;
    struct buffer out;
    struct buffer in;
    size_t resume; /* of the search for the separator in `in` */
    size_t may_write; /* slow lanes: bytes of the piece that is under way */
    uint64_t n_left; /* messages to send in this lane */
    uint64_t n_left_here; /* … on this connection */
    uint64_t sizes, pauses; /* of the random numbers: what came late must not change the sizes */
    uint64_t down_ns; /* since when there is no connection although there should be; 0 = there is */
    uint64_t due_ns; /* churning at a rate: when the next connection is due */
    bool is_due; /* a message's time has come (with pauses between messages) */
};

struct audit {
    struct audit_options options;
    struct flow flow;
    struct frame_rule rule;
    audit_on_done *on_done;
    void *userdata;
    struct buffer_pool pool;
    struct audit_lane *lanes; /* owned, options.lanes of them */
    struct audit_tally *tallies; /* owned, one per lane */
    struct audit_incidents incidents;
    struct hist echoed;
    uint8_t *expected; /* for the checkers, one message at a time */
    size_t largest; /* message with its separator */
    unsigned n_done; /* lanes */
    uint64_t started_ns, started_wall_ns, ended_ns;
    bool is_stopping;
    struct deadline end; /* duration_ms */
    void (*on_lane_done)(struct audit *a); /* a lane has reached AUDIT_LANE_DONE */
    audit_on_echoed *on_lane_echoed; /* of the lanes' checkers; its data is the audit */
};

extern const struct flow_ops audit_flow_ops;

void audit_lane_init(struct audit_lane *l, struct audit *a, unsigned index);

/* audit_lane_start - connect, after @pause_ms */
void audit_lane_start(struct audit_lane *l, unsigned pause_ms);

/* audit_lane_end - send what is begun and no more, then be done */
void audit_lane_end(struct audit_lane *l);

/* audit_lane_fini - cut; frees everything in it */
void audit_lane_fini(struct audit_lane *l);

/* audit_lane_is_there - is it connected? */
bool audit_lane_is_there(const struct audit_lane *l);

/* audit_lane_waiting_ns - since when nothing comes, be it a reply or a connection; 0 = nothing is
 * due */
uint64_t audit_lane_waiting_ns(const struct audit_lane *l);

#endif
