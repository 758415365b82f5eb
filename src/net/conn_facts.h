/*
 * Facts about each connection, for operators and the log; and a walk over all connections that may
 * take many turns of the loop. Runs in a worker.
 */
#ifndef NET_CONN_FACTS_H
#define NET_CONN_FACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "net/conn.h"

#define CONN_NOT_KNOWN UINT64_MAX

struct conn_facts {
    uint64_t id; /* 0 = the kernel gives no numbers to sockets */
    const char *protocol; /* its name; borrowed */
    const char *state; /* static: one of conn_states */
    uint64_t age_ms; /* since it was accepted, or taken from a keeper */
    uint64_t messages, bytes_in, bytes_out; /* in that time; see conn_recall */
    /* Since the last byte either way. Over a unix socket the kernel does not say: then since the
     * connection became idle, or CONN_NOT_KNOWN while it is busy or server.keep_alive is off. */
    uint64_t idle_ms;
    bool is_kept; /* a keeper has it as well */
};

/* The names of states, NULL-ended. */
extern const char *const conn_states[];

/* conn_facts - @c as it is now */
void conn_facts(const struct arb_conn *c, struct conn_facts *ret);

/* conn_recall - @c comes from a process that has died: take its numbers of bytes from the kernel,
 * which knows them over TCP */
void conn_recall(struct arb_conn *c);

/* Goes through the connections that a set has at the beginning, the oldest first. A connection that
 * is moved meanwhile, or put behind others, may be passed over or come twice. */
struct conn_walk {
    struct conn_cursor cursor;
    size_t left; /* connections to come at most, so that the walk ends */
};

/* conn_walk_begin - @w has to stay where it is until conn_walk_end; not in callbacks of protocols
 */
void conn_walk_begin(struct conn_set *set, struct conn_walk *w);

/* conn_walk_next - NULL = there are no more */
struct arb_conn *conn_walk_next(struct conn_set *set, struct conn_walk *w);

void conn_walk_end(struct conn_set *set, struct conn_walk *w);

/* conn_kill - close @c now, since an operator wants it; not in callbacks of protocols */
void conn_kill(struct arb_conn *c);

#endif
