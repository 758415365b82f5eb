/*
 * One lane of an audit: a place for one connection at a time, and how it comes and goes. Private to
 * the audit.
 */
#ifndef MEASURE_AUDIT_LANE_H
#define MEASURE_AUDIT_LANE_H

#include <ev.h>
#include "base/buffer.h"
#include "measure/audit.h"
#include "client/dial.h"

enum lane_state {
    LANE_PAUSING, /* no connection; the timer starts the next one */
    LANE_CONNECTING, /* until the socket is writable */
    LANE_TALKING, /* sends and receives */
    LANE_ENDING, /* sends what is queued, half-closes, reads to end of file */
    LANE_DONE,
};

enum lane_kind { LANE_CHURNING, LANE_SLOW, LANE_LONG };

struct lane {
    struct audit *audit; /* owner */
    struct audit_tally *tally;
    enum lane_state state;
    enum lane_kind kind;
    unsigned index;
    int fd; /* owned, -1 = none */
    ev_io io;
    ev_timer timer; /* the next message, piece or connection */
    struct audit_check check;
    struct buffer out;
    struct buffer in;
    size_t resume; /* of the search for the separator in `in` */
    size_t may_write; /* slow lanes: bytes of the piece that is under way */
    uint64_t n_left; /* messages to send in this lane */
    uint64_t n_left_here; /* … on this connection */
    uint64_t sizes, pauses; /* of the random numbers: what came late must not change the sizes */
    uint64_t moved_ns; /* last time that anything moved */
    uint64_t down_ns; /* since when there is no connection although there should be; 0 = there is */
    uint64_t due_ns; /* churning at a rate: when the next connection is due */
    unsigned address; /* which of the audit's addresses */
    bool is_due; /* a message's time has come (with pauses between messages) */
    bool is_shut; /* our half-close is done */
    bool is_deaf; /* the peer takes no more bytes from us */
    bool is_reset; /* a write has told so, which a later read does not repeat */
};

struct audit {
    struct ev_loop *loop;
    struct audit_options options;
    struct frame_rule rule;
    audit_on_done *on_done;
    void *userdata;
    struct addresses addresses;
    struct buffer_pool pool;
    struct lane *lanes; /* owned, options.lanes of them */
    struct audit_tally *tallies; /* owned, one a lane */
    struct audit_incidents incidents;
    struct hist echoed;
    uint8_t *expected; /* for the checkers, one message at a time */
    uint8_t *message; /* one message with its separator, while it is queued */
    size_t largest; /* message with its separator */
    unsigned n_done; /* lanes */
    uint64_t started_ns, started_wall_ns, ended_ns;
    bool is_stopping;
    ev_timer sweep; /* looks for lanes where nothing moves */
    ev_timer end; /* duration_ms */
};

void lane_init(struct lane *l, struct audit *a, unsigned index);

/* lane_start - connect, after @pause_ms */
void lane_start(struct lane *l, unsigned pause_ms);

/* lane_end - send what is begun and no more, then be done */
void lane_end(struct lane *l);

/* lane_sweep - give up what has not moved for too long */
void lane_sweep(struct lane *l, uint64_t now_ns);

/* lane_fini - cut; frees everything in it */
void lane_fini(struct lane *l);

/* lane_waiting_ns - since when nothing comes, be it a reply or a connection; 0 = nothing is due */
uint64_t lane_waiting_ns(const struct lane *l);

/* ---- between the life of a connection (audit_lane.c) and its traffic (audit_traffic.c) ---- */

/* lane_push - send all that may be sent now, and wait for the right events */
void lane_push(struct lane *l);

/* lane_read - read once, check. Returns whether the connection is still there. */
bool lane_read(struct lane *l);

/* lane_over - the connection is over, one way or the other: every message meets its fate */
void lane_over(struct lane *l, enum audit_end how);

/* lane_is_pacing - is there a pause between messages? */
bool lane_is_pacing(const struct lane *l);
uint64_t lane_random(uint64_t *state, uint64_t min, uint64_t max);
void lane_set_timer(struct lane *l, uint64_t ms);
void lane_set_events(struct lane *l, int events);

/* audit_lane_done - by a lane: it has reached LANE_DONE */
void audit_lane_done(struct audit *a);

/* audit_lane_echoed - by a lane's checker, of the @audit */
void audit_lane_echoed(void *audit, uint64_t written_ns, uint64_t now_ns);

#endif
