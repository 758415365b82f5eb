/*
 * The checker of one connection: is told what was queued, written and received, and gives every
 * message its outcome (the words are in audit.h). Pure: no socket, and time is passed in. Memory is
 * bounded by the depth.
 */
#ifndef MEASURE_AUDIT_CHECK_H
#define MEASURE_AUDIT_CHECK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "measure/audit_message.h"

enum { AUDIT_DEPTH_MAX = 1024, AUDIT_INCIDENTS_MAX = 256 };

/* clang-format off */
/* THE table of what is counted: JSON, sums and tests are derived from it. */
#define AUDIT_COUNTS(X)                                                                            \
    X(sent,            "messages of which the first byte was handed to the system")                \
    X(echoed,          "came back exactly, after no later one")                                    \
    X(failed_closed,   "outstanding when the server closed the connection")                        \
    X(failed_reset,    "outstanding when the connection was reset")                                \
    X(failed_timeout,  "outstanding when the audit gave the connection up")                        \
    X(lost,            "never came back, although a later one did")                                \
    X(reordered,       "came back exactly, but after a later one")                                 \
    X(truncated,       "came back as a proper beginning")                                          \
    X(corrupted,       "came back with other bytes")                                               \
    X(duplicated,      "replies: a message once more")                                             \
    X(foreign,         "replies: not of this connection, or that nobody sent")                     \
    X(connected,       "connections made")                                                         \
    X(refused,         "connects refused")                                                         \
    X(unconnected,     "connects that failed otherwise or in no time")                             \
    X(abandoned,       "connects under way when the audit was ended: made or not, nobody knows")   \
    X(finished,        "connections ended by us: half-closed, all echoed, end of file")            \
    X(closed,          "connections ended by the server's end of file before that")                \
    X(reset,           "connections ended by a reset or another error")                            \
    X(given_up,        "connections ended by us because nothing moved, or nonsense came")          \
    X(cut,             "of the ended connections, those that ended inside a reply")                \
    X(skipped,         "messages not sent in their turn because `depth` were outstanding")         \
    X(bytes_sent,      "bytes written")                                                            \
    X(bytes_received,  "bytes read")
/* clang-format on */

struct audit_counts {
#define X(field, help) uint64_t field;
    AUDIT_COUNTS(X)
#undef X
};

void audit_counts_add(struct audit_counts *to, const struct audit_counts *from);

/* _failed - visibly failed messages; _cut - connections that we did not end; _is_o1, _is_o2 - the
 * two oracles */
uint64_t audit_counts_failed(const struct audit_counts *c);
uint64_t audit_counts_cut(const struct audit_counts *c);
bool audit_counts_is_o1(const struct audit_counts *c);
bool audit_counts_is_o2(const struct audit_counts *c);

struct audit_stall {
    uint64_t ns, at_ns; /* how long; when the waiting began */
};

/* audit_stall_add - nothing came from @from_ns (0 = it did) until @now_ns: keep the longest */
void audit_stall_add(struct audit_stall *longest, uint64_t from_ns, uint64_t now_ns);

/* Something to look at: the first ones are kept, all are counted. */
struct audit_incident {
    const char *what; /* static: a name of AUDIT_COUNTS */
    uint32_t lane, connection;
    uint32_t sequence; /* UINT32_MAX = of the connection as a whole */
    uint16_t port; /* our own, 0 = unknown */
    uint64_t at_ns;
};

struct audit_incidents {
    size_t n; /* kept */
    uint64_t n_all;
    struct audit_incident kept[AUDIT_INCIDENTS_MAX];
};

/* A message came back as it was sent: its last byte was written and read at these times. */
typedef void audit_on_echoed(void *data, uint64_t written_ns, uint64_t now_ns);

/* A queued message until its outcome is known. */
struct audit_entry {
    uint64_t end; /* offset in the stream of the byte after its separator */
    uint64_t written_ns; /* its last byte */
    uint32_t size; /* without the separator */
    bool is_done;
};

struct audit_check {
    struct audit_identity id;
    const struct frame_rule *rule; /* borrowed */
    struct audit_counts *counts; /* borrowed: the lane's */
    struct audit_stall *stall; /* borrowed: the lane's longest */
    struct audit_incidents *incidents; /* borrowed, may be NULL */
    audit_on_echoed *on_echoed; /* may be NULL */
    void *on_echoed_data;
    uint32_t lane; /* for incidents */
    uint16_t port; /* for incidents */
    uint8_t *expected; /* borrowed: @expected_size bytes to write a message into */
    size_t expected_size; /* of the longest message, with its separator */
    struct audit_entry *ring; /* owned, `depth` entries; index = sequence % depth */
    uint32_t depth;
    uint32_t base; /* all sequence numbers below have their outcome */
    uint32_t next; /* one above the greatest that came back */
    uint32_t n_begun; /* the first byte is written */
    uint32_t n_written; /* the last byte is written */
    uint32_t n_queued;
    uint64_t queued_bytes, written_bytes;
    uint64_t waiting_ns; /* since when nothing came or went although it should; 0 = it does */
};

/* audit_check_init - the borrowed fields are set by the caller first. Returns 0 or -ENOMEM. */
int audit_check_init(struct audit_check *c, uint32_t depth);
void audit_check_fini(struct audit_check *c);

/* audit_check_room - how many more messages may be queued */
uint32_t audit_check_room(const struct audit_check *c);

/* audit_check_queued - the next message will be written; only with room. Returns its sequence. */
uint32_t audit_check_queued(struct audit_check *c, size_t size);

/* audit_check_written - so many more bytes of the queued messages were handed to the system;
 * _blocked - it takes no more for now */
void audit_check_written(struct audit_check *c, size_t n, uint64_t now_ns);
void audit_check_blocked(struct audit_check *c, uint64_t now_ns);

/* audit_check_received - bytes came, whatever they are (ends a stall) */
void audit_check_received(struct audit_check *c, size_t n, uint64_t now_ns);

/* audit_check_frame - a whole reply, without its separator */
void audit_check_frame(struct audit_check *c, const uint8_t *frame, size_t len, uint64_t now_ns);

/* audit_check_has_outstanding - is anything sent, even in part, without an outcome? */
bool audit_check_has_outstanding(const struct audit_check *c);

enum audit_end {
    AUDIT_END_CLOSED, /* end of file */
    AUDIT_END_RESET,
    AUDIT_END_TIMEOUT, /* given up */
};

/* audit_check_end - the connection is gone: the rest gets its outcome; @tail: the bytes after the
 * last separator */
void audit_check_end(struct audit_check *c, enum audit_end how, const uint8_t *tail, size_t len,
                     uint64_t now_ns);

#endif
