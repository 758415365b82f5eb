/*
 * Connections that are opened, left alone and, if asked, tried once after an idle time of their
 * own: how each ended and at what age, and how long a pause the way survives. Prints nothing.
 */
#ifndef MEASURE_HOLD_H
#define MEASURE_HOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "measure/flow.h"
#include "base/hist.h"
#include "measure/quantity.h"
#include "wire/frame.h"

/* clang-format off */
#define HOLD_ENDS(X)                                                                               \
    X(CLOSED,  "closed",  "closed by the other side")                                              \
    X(RESET,   "reset",   "reset")                                                                 \
    X(SILENT,  "silent",  "silent: no echo in time")                                               \
    X(WRONG,   "wrong",   "answered with other bytes")                                             \
    X(REFUSED, "refused", "not connected")
/* clang-format on */

enum hold_end {
#define X(id, name, text) HOLD_##id,
    HOLD_ENDS(X)
#undef X
        HOLD_ENDS_N
};

const char *hold_end_name(enum hold_end e);
const char *hold_end_text(enum hold_end e);

struct hold_report {
    uint64_t n_opened, n_open;
    struct times ends[HOLD_ENDS_N]; /* ages at the end; REFUSED: how long it took */
    struct times survived; /* idle times after which a message still came back */
};

/* hold_report_cut - connections that were open and are not */
uint64_t hold_report_cut(const struct hold_report *r);

/* hold_probe_ms - when connection @i of @n is tried: from @min to @max, evenly */
uint64_t hold_probe_ms(uint64_t min, uint64_t max, unsigned i, unsigned n);

/*
 * hold_limit - between which idle times the way forgets a connection
 * Returns whether there is such a limit: some survived, and all that were cut had idled longer.
 */
bool hold_limit(const struct hold_report *r, uint64_t *ret_survived_ns, uint64_t *ret_cut_ns);

/* ---- all of them ---- */

enum { HOLD_MESSAGE_MAX = 4 + FRAME_SEPARATOR_MAX };

struct hold_options {
    struct addresses to;
    unsigned n; /* connections, 1.. */
    uint64_t timeout_ms; /* to connect, and of a probe's echo; 0 = none */
    struct quantity_range
        probe; /* ms, from the least to the longest idle time; 0, 0 = none is tried */
    char message[HOLD_MESSAGE_MAX]; /* what a probe sends */
    size_t message_len;
};

struct hold {
    struct hold_options options;
    struct flow flow;
    struct local_addresses local;
    struct held *held; /* owned, options.n */
    unsigned n_begun, n_connecting, n_over;
    bool is_beginning, is_stopped;
    struct hold_report report;
    int last_failure; /* why the last one could not connect: ARB_* or -errno */
    /* on_end - an open one is cut; @fd is closed afterwards */
    void (*on_end)(struct hold *h, unsigned index, int fd, enum hold_end how, uint64_t age_ns);
};

/* hold_init - on_end is set afterwards. Returns 0 or -errno. */
int hold_init(struct hold *h, const struct hold_options *options);
void hold_fini(struct hold *h); /* closes all */

void hold_start(struct hold *h); /* then flow_turn drives it */

bool hold_is_over(const struct hold *h); /* none is left */

/* hold_stop - from on_end: none is begun, of no other end is told */
void hold_stop(struct hold *h);

#endif
