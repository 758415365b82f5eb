/*
 * The audit: traffic that describes itself, and the proof of what became of each message. It drives
 * many connections at once. No signals, no exit, no output. Message, connection and lane are the
 * units:
 *
 *   lane        a place for one connection at a time; connections follow each other in it
 *   sent        the first byte of the message was handed to the system
 *   outstanding sent, and nothing has become of it yet
 *
 * Each sent message has exactly one outcome:
 *
 *   echoed      came back byte for byte, after no later one
 *   reordered   came back byte for byte, but after a later one
 *   truncated   the separator came too early: a proper beginning of the message
 *   corrupted   came back with other bytes
 *   lost        never came back, although a later one did
 *   failed_*    *visibly* failed: outstanding when its connection ended by end of file (closed,
 *               also exactly between two replies), by reset, or by our own patience (timeout)
 *
 * And extra replies, which nobody sent: duplicated (a message once more), foreign (another
 * connection's or run's message, or anything else).
 *
 *   O1, bytes       what came back is a prefix of what was sent: all of reordered, truncated,
 *                   corrupted, lost, duplicated and foreign are 0
 *   O2, accounting  sent = echoed + failed_closed + failed_reset + failed_timeout
 *
 * A *stall* is the longest time in which a lane waited for a reply to a message that was sent in
 * full, and not one byte came; or the system took not one more byte of the first one under way; or
 * it had no connection: from the failure (or since when it waited then), or the begin of a connect,
 * until it is connected.
 */
#ifndef MEASURE_AUDIT_H
#define MEASURE_AUDIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "measure/audit_check.h"
#include "measure/flow.h"
#include "base/hist.h"

enum { AUDIT_LANES_MAX = 20000, AUDIT_FIRST_BYTES = 48 };

/* Of the lanes the first `churn_lanes` churn, the next `slow_lanes` are slow, the others long-lived
 * (one connection until the end, or until it fails). */
struct audit_options {
    const char *address; /* as base/addr.h; borrowed for audit_start; a name is resolved there */
    uint64_t seed; /* sizes, payloads and pauses follow from it */
    uint32_t run; /* marks the messages, so that two audits never take each other's; no more */
    unsigned lanes; /* 1..AUDIT_LANES_MAX */

    unsigned churn_lanes; /* connect, churn_messages, half-close, end of file, again */
    unsigned churn_messages; /* >= 1 */
    unsigned churn_every_ms; /* a lane connects so often, unless it is late; 0 = at once again */
    unsigned slow_lanes; /* always in the middle of a message of slow_size */
    size_t slow_size;
    unsigned slow_pieces; /* in so many pieces … */
    unsigned slow_gap_min_ms, slow_gap_max_ms; /* … with such pauses between them */

    unsigned depth; /* outstanding messages per connection, 1..AUDIT_DEPTH_MAX */
    unsigned think_min_ms,
        think_max_ms; /* a message every so often; 0, 0 = as fast as replies come */
    size_t size_min, size_max; /* whole messages, AUDIT_HEADER_BYTES.., log-uniform */
    uint64_t messages; /* a lane, 0 = until duration_ms or audit_stop */
    uint64_t duration_ms; /* 0 = until `messages` or audit_stop */

    unsigned connect_timeout_ms;
    unsigned reply_timeout_ms; /* an outstanding message, and so long not a byte either way */
    unsigned reconnect_ms; /* pause after a failure */
    bool is_reconnecting; /* false: a lane is done after its first failure */
    bool is_half_closing; /* at an end half-close at once; false: when all replies are in */

    uint8_t separator[FRAME_SEPARATOR_MAX];
    size_t separator_len; /* not raw; not of the header's characters alone */

    audit_on_echoed *on_echoed; /* may be NULL */
    void *on_echoed_data;
};

/* audit_options_init - sane defaults: 16 lanes, 32 KiB at most, depth 4, 10..50 ms, until stopped
 */
void audit_options_init(struct audit_options *o, const char *address);

struct audit;

/*
 * audit_start - begin to connect and to send
 * @loop  borrowed: drives it; NULL = flow_turn of audit_flow does
 * Returns 0, ARB_UNRESOLVED, ARB_NO_RESOLVER, -EINVAL (the address) or -ENOMEM. Only a name as
 * address may block.
 */
int audit_start(struct ev_loop *loop, const struct audit_options *o, struct audit **ret);
struct flow *audit_flow(struct audit *a);

/* audit_stop - no new messages: half-close everywhere, wait for what is outstanding, be done */
void audit_stop(struct audit *a);

/* audit_is_done - all connections have ended and the result is final */
bool audit_is_done(const struct audit *a);

/* audit_free - NULL is fine; before it is done this cuts all connections */
void audit_free(struct audit *a);

/* What became of the traffic of one lane, or of all. */
struct audit_tally {
    struct audit_counts counts;
    struct audit_stall stall; /* at_ns is CLOCK_MONOTONIC */
};

struct audit_result {
    struct audit_tally total;
    const struct audit_tally *lanes; /* borrowed from the audit */
    size_t n_lanes;
    const struct audit_incidents *incidents; /* borrowed */
    const struct hist *echoed; /* borrowed; ns from a message's last byte out to the last one in */
    uint64_t started_ns, started_wall_ns; /* CLOCK_MONOTONIC, CLOCK_REALTIME */
    uint64_t duration_ns;
    const uint8_t *first; /* borrowed: the first bytes that came on any connection */
    size_t first_len; /* 0..AUDIT_FIRST_BYTES */
};

/* audit_result - so far, with a stall that lasts, or final; the totals are a copy */
struct audit_result audit_result(const struct audit *a);

/*
 * audit_is_hopeless - there is nothing to audit: nobody has been there for any lane, or nothing but
 * other bytes has ever come back. False once a message has been echoed.
 */
bool audit_is_hopeless(const struct audit *a, const struct audit_counts *c);

/* audit_waiting - lanes that have waited since before @before_ns for a reply, not one byte coming,
 * or for a connection; @ret_since_ns (may be NULL, untouched if none): the longest of them since
 * then */
unsigned audit_waiting(const struct audit *a, uint64_t before_ns, uint64_t *ret_since_ns);

/* audit_talking - connections that are there now; audit_inside - those that are in the middle of
 * sending a message */
unsigned audit_talking(const struct audit *a);
unsigned audit_inside(const struct audit *a);

#endif
