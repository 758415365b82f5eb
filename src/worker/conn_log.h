/*
 * The connection log: a line for the end of a connection, as log.connections wants it. A connection
 * that the server cuts has a line in any case. Each reason has a limited number of lines in a
 * second; how many were left out is logged. Runs in a worker.
 */
#ifndef WORKER_CONN_LOG_H
#define WORKER_CONN_LOG_H

#include <stdint.h>

#include "net/conn_facts.h"

struct log;

enum {
    CONN_LOG_FEW = 5, /* lines per reason and second, with log.connections off or errors */
    CONN_LOG_MANY = 200, /* the same with all or 1/N */
};

struct conn_log {
    struct log *log; /* borrowed */
    unsigned which; /* config->log_connections */
    uint64_t second; /* monotonic: the one that `n_lines` counts in */
    unsigned n_lines[CONN_ENDINGS_MAX]; /* lines of that second, by number of the reason */
    uint64_t n_usual; /* ends so far of which one in N has a line */
};

/* conn_log_begin - @which: config->log_connections; conn_log_least - which ends it wants to hear of
 */
void conn_log_begin(struct conn_log *l, struct log *log, unsigned which);
enum conn_blame conn_log_least(unsigned which);

/* conn_log_end - @c ends as @e says; with the time, for tests */
void conn_log_end(struct conn_log *l, const struct arb_conn *c, const struct conn_ending *e,
                  uint64_t now_ms);

#endif
