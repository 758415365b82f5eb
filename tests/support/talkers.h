/*
 * Talkers: clients that are in the middle of a message at nearly any time. Each message describes
 * itself (connection, number, length), its bytes follow from that, it is sent in random pieces, and
 * each byte of a reply is compared as it comes. Runs inside the test process, a turn at a time. A
 * wrong byte, an end that the test has not permitted, a refused connect and a silence break the
 * case. Uses nothing of the code under test, and nothing of the audit.
 */
#ifndef SUPPORT_TALKERS_H
#define SUPPORT_TALKERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a talker is asked for; none of it ends a connection that is there. */
enum talker_mode {
    TALKER_TALKS,
    TALKER_RESTS, /* ends its message, takes its replies, then says nothing */
    TALKER_STOPS_INSIDE, /* stops in the middle of a message, all others of it answered */
};

struct talkers_options {
    const char *addr; /* "127.0.0.1:PORT" */
    unsigned n; /* connections; one that has ended as planned is followed by another */
    uint64_t seed;
    size_t max_message; /* with its separator; most are far smaller */
    size_t max_under_way; /* bytes of all messages that are begun and not answered yet */
};

/* Messages are whole ones: sent = echoed + failed, when nothing is under way. */
struct talkers_counts {
    uint64_t connects;
    uint64_t sent, echoed, failed;
    uint64_t bytes_sent, bytes_received;
    uint64_t closed, half_closed, quit, broken_off; /* connections that have ended as planned */
    uint64_t lost; /* connections that ended when the test had permitted it … */
    uint64_t lost_bytes; /* … and what had been sent on them and had not come back */
};

struct talkers;

struct talkers *talkers_new(const struct talkers_options *o);
void talkers_free(struct talkers *t); /* NULL is fine */

/* talkers_turn - serve all that can be done now, wait a moment if that is nothing */
void talkers_turn(struct talkers *t);

/* talkers_set_mode - of one. talkers_unsettled - one that does not do yet what it is asked for, in
 * words: one that rests with every reply, or stops inside a message; NULL = all do */
void talkers_set_mode(struct talkers *t, unsigned i, enum talker_mode mode);
enum talker_mode talkers_mode(const struct talkers *t, unsigned i);
const char *talkers_unsettled(const struct talkers *t);

/* talkers_permit_end - its connection may end, until it has answered a message that begins now */
void talkers_permit_end(struct talkers *t, unsigned i);

/* talkers_permit_all - whether any connection may end at any time, also one that is made, or
 * answered, later in the same turn */
void talkers_permit_all(struct talkers *t, bool may_all_end);

/* talkers_connection - a number that no other connection has; 0 = not connected.
 * talkers_port - the client's port of its connection */
uint64_t talkers_connection(const struct talkers *t, unsigned i);
unsigned talkers_port(const struct talkers *t, unsigned i);

/* talkers_inside - connections in the middle of a message now; talkers_open - all there are */
unsigned talkers_inside(const struct talkers *t);
unsigned talkers_open(const struct talkers *t);

/* talkers_finish - every connection ends as it was planned, and none follows */
void talkers_finish(struct talkers *t);

const struct talkers_counts *talkers_counts(const struct talkers *t);

#endif
