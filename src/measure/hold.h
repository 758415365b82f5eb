/*
 * What becomes of connections that are only held: how each ended and at what age, and, if they were
 * tried after different idle times, how long a pause the way survives. Pure.
 */
#ifndef MEASURE_HOLD_H
#define MEASURE_HOLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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

struct hold_ages {
    uint64_t n;
    uint64_t min_ns, max_ns;
};

struct hold_report {
    uint64_t n_opened, n_open;
    struct hold_ages ends[HOLD_ENDS_N]; /* ages at the end; REFUSED: how long it took */
    struct hold_ages survived; /* idle times after which a message still came back */
};

void hold_ages_add(struct hold_ages *a, uint64_t ns);

/* hold_report_cut - connections that were open and are not */
uint64_t hold_report_cut(const struct hold_report *r);

/* hold_probe_ms - when connection @i of @n is tried: from @min to @max, evenly */
uint64_t hold_probe_ms(uint64_t min, uint64_t max, unsigned i, unsigned n);

/*
 * hold_limit - between which idle times the way forgets a connection
 * Returns whether there is such a limit: some survived, and all that were cut had idled longer.
 */
bool hold_limit(const struct hold_report *r, uint64_t *ret_survived_ns, uint64_t *ret_cut_ns);

#endif
