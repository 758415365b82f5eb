/*
 * Moving connections between two workers over a SOCK_SEQPACKET pair that somebody else has made.
 * Runs in a worker's loop; knows no arbiter and no mailbox. Who owns what meanwhile: see
 * transfer_rules.h. What is said: wire/handover.h.
 *
 * A connection is served until the moment in which it is sent, and from the moment in which it is
 * acknowledged; what arrives in between waits in the kernel.
 */
#ifndef NET_TRANSFER_H
#define NET_TRANSFER_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/list.h"
#include "net/conn.h"
#include "net/transfer_rules.h"

enum {
    TRANSFER_LANES_MAX = 8, /* takers of one transfer */
    TRANSFER_BULK_BYTES = 1048576, /* buffered bytes of a batch; a larger connection goes alone */
    TRANSFER_FLIGHT_BYTES = 16777216, /* buffered bytes on their way together, or one batch */
    TRANSFER_PULSE_MS = 100,
    TRANSFER_KEPT_PULSES = 10, /* after which acknowledged descriptors are closed, however few */
    TRANSFER_SLOW_PULSES = 5, /* without an answer: other takers get the rest */
    TRANSFER_STUCK_PULSES = 50, /* without anything: give up what is not sent */
    TRANSFER_UNWANTED_MAX = 64, /* single connections refused in a row: the taker wants none */
};

/* --- giving ----------------------------------------------------------------------------------- */

struct transfer_out;
struct transfer_scratch; /* where a batch is put together */

/* Something has changed: connections are gone, nothing more will be sent, or all is done. */
typedef void transfer_out_on_change(struct transfer_out *t);

/* Connections on their way: nobody's to touch. */
struct transfer_flight {
    struct list conns;
    uint32_t count;
    uint64_t bytes;
};

/* One taker. */
struct transfer_lane {
    ev_io io;
    struct transfer_out *owner; /* borrowed */
    int fd; /* owned; -1 = over */
    struct giving rules;
    struct transfer_flight flights[TRANSFER_UNANSWERED_MAX]; /* of batch id modulo that */
    uint8_t first_mark; /* of what was idle in flights[0]; 0 = it has none */
    size_t n_given; /* connections sent, and not refused or come back */
    size_t quota; /* of `left`: to be sent this way */
    uint32_t room; /* what the taker said last */
    unsigned quiet_pulses; /* since it said something */
    unsigned n_unwanted; /* single connections refused one after the other */
};

struct transfer_out {
    struct conn_set *set; /* borrowed */
    transfer_out_on_change *on_change;
    struct transfer_lane lanes[TRANSFER_LANES_MAX];
    size_t n_lanes;
    struct transfer_scratch *scratch; /* owned, while sending */
    struct list gone; /* acknowledged, their descriptors still open */
    size_t n_gone;
    unsigned kept_pulses; /* since `gone` was let go */
    ev_timer pulse; /* lets go of `gone`, looks after slow takers */
    ev_timer retry; /* after what no event ends: ETOOMANYREFS, out of memory or descriptors */
    unsigned retry_ms;
    unsigned stuck_pulses; /* since something has moved */
    size_t left; /* still to be sent */
    size_t batch_max; /* connections; smaller after a refusal that their number does not explain */
    uint64_t flight_bytes; /* of all flights */
    uint64_t n_moved; /* acknowledged */
    uint64_t n_stayed; /* were to be moved and were not: refused, or not movable */
    int error; /* why the last batch that could not be sent could not; 0 = none */
    uint64_t started_ns;
    uint64_t took_ns; /* when it is done */
    bool is_all; /* nobody is to stay */
    bool is_exhausted; /* there is none that could be sent */
    bool is_share_due; /* the quotas have to be parted anew */
    bool is_sending; /* there may be more to send */
    bool is_done; /* every batch is answered: transfer_out_fini, outside of on_change */
};

/*
 * transfer_give - begin to move @count connections of @set, SIZE_MAX for all, spread evenly
 * @t    zeroed by this call; has to stay where it is until transfer_out_fini
 * @fds  taken over, whatever is returned; at most TRANSFER_LANES_MAX
 * Connections that cannot be moved, or are refused, stay with @set, which goes on serving them.
 * Returns 0 or -ENOMEM. on_change is not called before it has returned.
 */
int transfer_give(struct transfer_out *t, struct conn_set *set, const int *fds, size_t n_fds,
                  size_t count, transfer_out_on_change *on_change);

/*
 * transfer_out_fini - before conn_set_fini
 * While something is unanswered only for a process that is about to end: what has been sent is the
 * taker's, or nobody's.
 */
void transfer_out_fini(struct transfer_out *t);

/* --- taking ----------------------------------------------------------------------------------- */

struct transfer_in;

/* Connections have come, or the giver is done. */
typedef void transfer_in_on_change(struct transfer_in *t);

struct transfer_in {
    ev_io io;
    struct conn_set *set; /* borrowed */
    transfer_in_on_change *on_change;
    int fd; /* owned; -1 = over */
    struct taking rules;
    size_t max_open; /* connections that @set may have */
    uint64_t n_taken;
    uint64_t n_refused;
    int error; /* why the last refused batch was; 0 = none was */
    bool is_closed; /* take no more */
    bool is_done; /* transfer_in_fini, outside of on_change */
};

/*
 * transfer_take - take what comes on @fd, taken over, until its end
 * @t         zeroed by this call; has to stay where it is until transfer_in_fini
 * @max_open  refuse what would make more connections than this
 * on_change is not called before it has returned.
 */
void transfer_take(struct transfer_in *t, struct conn_set *set, int fd, size_t max_open,
                   transfer_in_on_change *on_change);

/* transfer_in_close - refuse what comes from now on */
void transfer_in_close(struct transfer_in *t);

void transfer_in_fini(struct transfer_in *t);

#endif
