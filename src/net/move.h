/*
 * Moving connections between two workers over a SOCK_SEQPACKET pair that somebody else has made.
 * Runs in a worker's loop; knows no arbiter and no mailbox. Who owns what meanwhile: see
 * move_rules.h. What is said: wire/moved.h.
 *
 * A connection is served until the moment in which it is sent, and from the moment in which it is
 * acknowledged; what arrives in between waits in the kernel.
 */
#ifndef NET_MOVE_H
#define NET_MOVE_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "actor/relay_rules.h"
#include "base/list.h"
#include "net/conn.h"
#include "net/move_rules.h"

enum {
    MOVE_LANES_MAX = 8, /* takers of one move */
    MOVE_BULK_BYTES = 1048576, /* buffered bytes of a batch; a larger connection goes alone */
    MOVE_FLIGHT_BYTES = 16777216, /* buffered bytes on their way together, or one batch */
    MOVE_PULSE_MS = 100,
    MOVE_SLOW_PULSES = 5, /* without an answer: other takers get the rest */
    MOVE_STUCK_PULSES = 50, /* without anything: give up what is not sent */
    MOVE_UNWANTED_MAX = 64, /* single connections refused in a row: the taker wants none */
};

/* --- giving ----------------------------------------------------------------------------------- */

struct move_out;
struct move_scratch; /* where a batch is put together */

/* Something has changed: connections are gone, nothing more will be sent, or all is done. */
typedef void move_out_on_change(struct move_out *t);

/* Connections on their way: nobody's to touch. */
struct move_flight {
    struct list conns;
    uint64_t position; /* in the messages of actors, when it was sent */
    uint32_t count;
    uint64_t bytes;
};

/* One taker. */
struct move_lane {
    ev_io io;
    struct move_out *owner; /* borrowed */
    int fd; /* owned; -1 = over */
    struct giving rules;
    struct relay_pair relay; /* which messages of actors what is on its way may miss */
    struct move_flight flights[MOVE_UNANSWERED_MAX]; /* of batch id modulo that */
    uint8_t first_mark; /* of what was idle in flights[0]; 0 = it has none */
    size_t n_given; /* connections sent, and not refused or come back */
    uint32_t room; /* what the taker said last */
    uint16_t version; /* of the batches that it reads, as it said last when it had room */
    unsigned quiet_pulses; /* since it said something */
    unsigned n_unwanted; /* single connections refused one after the other */
};

struct move_out {
    struct conn_set *set; /* borrowed */
    move_out_on_change *on_change;
    struct move_lane lanes[MOVE_LANES_MAX];
    size_t n_lanes;
    struct move_scratch *scratch; /* owned, while sending */
    ev_timer pulse; /* looks after slow takers */
    ev_timer retry; /* after what no event ends: ETOOMANYREFS, out of memory or descriptors */
    unsigned retry_ms;
    unsigned stuck_pulses; /* since something has moved */
    size_t left; /* still to be sent */
    size_t batch_max; /* connections; smaller after a refusal that their number does not explain */
    uint64_t flight_bytes; /* of all flights */
    uint64_t n_moved; /* acknowledged */
    uint64_t n_stayed; /* were to be moved, could be another time, and were not: refused */
    uint64_t n_owed; /* could not be moved because they owe a reply; not among n_stayed */
    int error; /* why the last batch that could not be sent could not; 0 = none */
    uint64_t started_ns;
    uint64_t took_ns; /* when it is done */
    bool is_all; /* nobody is to stay */
    bool is_exhausted; /* there is none that could be sent */
    bool has_fenced; /* some could, once what was sent for them has its number */
    bool is_sending; /* there may be more to send */
    bool is_done; /* every batch is answered: move_out_fini, outside of on_change */
};

/*
 * move_give - begin to move @count connections of @set, SIZE_MAX for all, spread evenly
 * @t    zeroed by this call; has to stay where it is until move_out_fini
 * @fds  taken over, whatever is returned; at most MOVE_LANES_MAX
 * Connections that cannot be moved, or are refused, stay with @set, which goes on serving them.
 * Returns 0 or -ENOMEM. on_change is not called before it has returned.
 */
int move_give(struct move_out *t, struct conn_set *set, const int *fds, size_t n_fds, size_t count,
              move_out_on_change *on_change);

/* move_out_go_on - messages of this process have got their numbers */
void move_out_go_on(struct move_out *t);

/*
 * move_out_fini - before conn_set_fini
 * While something is unanswered only for a process that is about to end: what has been sent is the
 * taker's, or nobody's.
 */
void move_out_fini(struct move_out *t);

/* --- taking ----------------------------------------------------------------------------------- */

struct move_in;

/* Connections have come, or the giver is done. */
typedef void move_in_on_change(struct move_in *t);

struct move_in {
    ev_io io;
    struct conn_set *set; /* borrowed */
    move_in_on_change *on_change;
    int fd; /* owned; -1 = over */
    struct taking rules;
    struct relay_pair relay; /* which messages of actors what comes may have missed */
    size_t max_open; /* connections that @set may have */
    uint64_t n_taken;
    uint64_t n_refused;
    int error; /* why the last refused batch was; 0 = none was */
    bool is_closed; /* take no more */
    bool is_done; /* move_in_fini, outside of on_change */
};

/*
 * move_take - take what comes on @fd, taken over, until its end
 * @t         zeroed by this call; has to stay where it is until move_in_fini
 * @max_open  refuse what would make more connections than this
 * on_change is not called before it has returned.
 */
void move_take(struct move_in *t, struct conn_set *set, int fd, size_t max_open,
               move_in_on_change *on_change);

/* move_in_close - refuse what comes from now on */
void move_in_close(struct move_in *t);

void move_in_fini(struct move_in *t);

#endif
