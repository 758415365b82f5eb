/*
 * Load with a checker: clients that send numbered messages, compare what comes back, and say how
 * each conversation ended. Runs inside the test process, a turn at a time, so that a test can do
 * its mischief between the turns. Uses nothing of the code under test.
 */
#ifndef SUPPORT_LOAD_H
#define SUPPORT_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct load_options {
    const char *addr;
    unsigned clients;
    unsigned messages; /* a connection, then it closes and connects anew; 0 = for ever */
    unsigned depth; /* messages on the way at a time; 0 = 1 */
    size_t max_payload; /* of random length; 0 = 100 */
    uint64_t seed;
};

/* Every connection ends in exactly one of these; every message sent is echoed or belongs to one. */
struct load_report {
    uint64_t connects; /* that succeeded */
    uint64_t refused; /* that did not */
    uint64_t echoed; /* messages */
    uint64_t finished; /* connections closed by us with every message echoed */
    uint64_t ended; /* end of file between two replies */
    uint64_t ended_inside; /* end of file inside a reply */
    uint64_t reset;
    uint64_t corrupted; /* a byte that is not what was sent: O1 */
    uint64_t longest_stall_ms; /* without a byte, while one was due */
};

struct load;

struct load *load_new(const struct load_options *o);
void load_free(struct load *l);

/* load_run - serve the clients for so long */
void load_run(struct load *l, unsigned ms);

/* load_finish - connect no more, send no more; until every reply is there or its connection ended.
 * Breaks the case if that does not come, or if a byte was wrong. */
void load_finish(struct load *l);

/* load_until_ended - connect no more, but go on sending until the server ends each connection */
void load_until_ended(struct load *l);

const struct load_report *load_report(const struct load *l);
void load_print(const struct load *l, const char *title);

#endif
