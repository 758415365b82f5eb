/*
 * The traffic engine: connects, paces, sends, receives, loses patience, ends and begins again, for
 * any number of lanes in one thread. What is sent, when, and what is thought of what comes back is
 * a table of its owner's: an audit, a bench, held connections, a ping. Prints and counts nothing.
 */
#ifndef MEASURE_FLOW_H
#define MEASURE_FLOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include "client/addresses.h"
#include "client/connect.h"
#include "client/reactor.h"

struct lane;

/* What an owner makes of its lanes. Each function may close the lane and connect it again. */
struct flow_ops {
    void (*on_due)(struct lane *l); /* the time of lane_wake_in has come */
    void (*on_connected)(struct lane *l);
    void (*on_unconnected)(struct lane *l, int outcome); /* as connect_finish, or ARB_TIMEOUT */
    void (*on_data)(struct lane *l, const uint8_t *data, size_t len); /* borrowed */
    /* on_room - follows each on_data unless lane_want_room waits; then it comes with the room */
    void (*on_room)(struct lane *l);
    /* on_silent - not a byte either way for as long as lane_set_patience says; comes again */
    void (*on_silent)(struct lane *l);
    /* on_over - by end of file, or by an error; the descriptor is there until lane_close */
    void (*on_over)(struct lane *l, bool is_reset);
};

struct flow {
    const struct flow_ops *ops; /* borrowed */
    struct reactor reactor;
    struct addresses to;
    int preferred; /* index in `to`: the one that answered last */
    struct local_addresses *from; /* borrowed; NULL = the system's choice */
    uint64_t connect_ms; /* patience for a connect to one address; 0 = endless */
    uint8_t *read_buffer; /* owned */
};

/* A place for one connection at a time; connections follow each other in it. What each event looks
 * at comes first. */
struct lane {
    struct flow *flow; /* borrowed */
    struct reactor_io io; /* its fd is owned; -1 = none */
    bool is_connecting;
    bool is_shut; /* our half-close is done */
    bool is_deaf; /* the peer takes no more bytes from us; it may still send */
    bool is_reset; /* a write has told so, which a later read does not repeat */
    uint64_t moved_ns; /* the last byte either way, or the begin of the connect */
    uint64_t patience_ms; /* for silence; 0 = endless */
    int address; /* index in flow->to: of this connect */
    int n_untried; /* addresses that are left for it */
    struct deadline due; /* of lane_wake_at */
    struct deadline limit; /* of the connect, then of the silence */
};

/*
 * flow_find - the addresses of @a, the one that answers first in front
 * Connects once if there are several. Returns as addresses_find, within @timeout_ms (0 = no limit).
 * Blocks.
 */
int flow_find(const struct addr *a, uint64_t timeout_ms, struct addresses *ret);

/*
 * flow_init - @ops is borrowed, @to is copied
 * @loop  borrowed: drives it, too; NULL = only flow_turn does. Returns 0 or -errno.
 */
int flow_init(struct flow *f, struct ev_loop *loop, const struct flow_ops *ops,
              const struct addresses *to, uint64_t connect_ms);
void flow_fini(struct flow *f); /* all lanes are closed */

/* flow_turn - wait until something happens or @until_ns has come, and see to it */
void flow_turn(struct flow *f, uint64_t until_ns);

void lane_init(struct lane *l, struct flow *f);

/* lane_connect - on_connected or on_unconnected follows, perhaps before this returns */
void lane_connect(struct lane *l);

/* lane_wake_at, _in - on_due then, or after so long; in place of what was set before. lane_rest -
 * not at all. */
void lane_wake_at(struct lane *l, uint64_t at_ns);
void lane_wake_in(struct lane *l, uint64_t ms);
void lane_rest(struct lane *l);

/* lane_set_patience - from now on; also before it is connected */
void lane_set_patience(struct lane *l, uint64_t ms);

/* lane_send - returns the bytes taken, 0 if there is no room or the lane is deaf, or -errno */
ssize_t lane_send(struct lane *l, const void *data, size_t len);

/* lane_want_room - on_room when more can be sent */
void lane_want_room(struct lane *l, bool is_wanted);

/* lane_shut - half-close */
void lane_shut(struct lane *l);

/* lane_close - also gives up a connect and forgets when it is due; lane_connect may follow */
void lane_close(struct lane *l);

static inline bool lane_is_open(const struct lane *l)
{
    return l->io.fd >= 0 && !l->is_connecting;
}

#endif
