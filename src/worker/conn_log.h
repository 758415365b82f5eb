/*
 * The connection log: a line for the end of a connection, as log.connections wants it. Runs in a
 * worker. What the server cuts for a reason has one in any case. Of each reason there are only so
 * many lines in a second, and what is left out is counted.
 */
#ifndef WORKER_CONN_LOG_H
#define WORKER_CONN_LOG_H

#include <stdint.h>

#include "net/conn_facts.h"

struct log;

enum {
    CONN_LOG_FEW = 5, /* lines of a reason in a second, of those that nobody asked for */
    CONN_LOG_MANY = 200,
};

struct conn_log {
    struct log *log; /* borrowed */
    unsigned which; /* config->log_connections */
    uint64_t second; /* that is counted for */
    unsigned n_lines[CONN_ENDINGS_MAX]; /* by number of the reason */
    uint64_t n_usual; /* ends that are sampled */
};

/* conn_log_begin - @which: config->log_connections; conn_log_least - which ends it wants to hear of
 */
void conn_log_begin(struct conn_log *l, struct log *log, unsigned which);
enum conn_blame conn_log_least(unsigned which);

/* conn_log_end - @c ends as @e says; with the time, for tests */
void conn_log_end(struct conn_log *l, const struct arb_conn *c, const struct conn_ending *e,
                  uint64_t now_ms);

#endif
