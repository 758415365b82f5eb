/*
 * The traffic of one lane's connection: queue messages at its pace, write them, hand all that comes
 * back to the checker. Runs in the loop of the audit.
 */
#include "measure/audit_lane.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/util.h"

enum {
    LANE_READ_BYTES = 65536,
    LANE_QUEUE_BYTES = 65536, /* queue no more messages above so many unsent bytes */
};

/* Each doubling of the size is as likely as any other. */
static size_t random_size(struct lane *l)
{
    const struct audit_options *o = &l->audit->options;
    unsigned doublings = 0;
    size_t low;

    if (l->kind == LANE_SLOW)
        return o->slow_size;
    while (o->size_min << doublings < o->size_max / 2)
        doublings++;
    low = o->size_min << lane_random(&l->sizes, 0, doublings);
    return lane_random(&l->sizes, low, MIN(low * 2, o->size_max));
}

/* Which messages, pieces and pauses this connection has is decided here and nowhere else. */
static bool wants_message(const struct lane *l)
{
    return l->state == LANE_TALKING && l->n_left > 0 && l->n_left_here > 0 &&
           (!lane_is_pacing(l) || l->is_due) && audit_check_room(&l->check) > 0 &&
           buffer_len(&l->out) < LANE_QUEUE_BYTES;
}

static int queue_message(struct lane *l)
{
    struct audit *a = l->audit;
    size_t size = random_size(l);
    uint32_t sequence;
    int rc = buffer_reserve(&l->out, &a->pool, size + a->rule.separator_len);

    if (rc)
        return rc;
    sequence = audit_check_queued(&l->check, size);
    audit_message_write(&l->check.id, &a->rule, sequence, buffer_end(&l->out), size);
    memcpy(buffer_end(&l->out) + size, a->rule.separator, a->rule.separator_len);
    buffer_commit(&l->out, size + a->rule.separator_len);
    l->n_left--;
    l->n_left_here--;
    l->is_due = false;
    if (l->kind == LANE_SLOW)
        l->may_write = MAX(size / a->options.slow_pieces, (size_t)1);
    return 0;
}

/* Write what is queued, on a slow lane at most the piece whose turn it is. Returns 0 or -errno. */
static int write_some(struct lane *l)
{
    while (!l->is_deaf && buffer_len(&l->out) > 0) {
        size_t len = buffer_len(&l->out);
        ssize_t n;

        if (l->kind == LANE_SLOW)
            len = MIN(len, l->may_write);
        if (len == 0)
            return 0;
        n = send(l->fd, buffer_data(&l->out), len, MSG_NOSIGNAL);
        if (n > 0) {
            l->moved_ns = clock_mono_ns();
            audit_check_written(&l->check, (size_t)n, l->moved_ns);
            buffer_consume(&l->out, &l->audit->pool, (size_t)n);
            l->may_write -= l->kind == LANE_SLOW ? (size_t)n : 0;
            if (l->kind == LANE_SLOW && l->may_write == 0 && buffer_len(&l->out) > 0)
                lane_set_timer(l, lane_random(&l->pauses, l->audit->options.slow_gap_min_ms,
                                              l->audit->options.slow_gap_max_ms));
        } else if (errno == EAGAIN) {
            audit_check_blocked(&l->check, clock_mono_ns());
            return 0;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            l->is_deaf = true; /* what has come for us is still to be read */
            l->is_reset = errno == ECONNRESET;
        } else if (errno != EINTR) {
            return -errno;
        }
    }
    return 0;
}

static void shut_if_finished(struct lane *l)
{
    bool is_ready = l->audit->options.is_half_closing || !audit_check_has_outstanding(&l->check);

    if (l->is_shut || l->is_deaf || buffer_len(&l->out) > 0 || !is_ready)
        return;
    if (l->state != LANE_ENDING && l->n_left > 0 && l->n_left_here > 0)
        return;
    l->state = LANE_ENDING;
    l->is_shut = true;
    shutdown(l->fd, SHUT_WR);
}

/* Send all that may be sent now, and wait for the right events. */
void lane_push(struct lane *l)
{
    bool wants_write;
    int rc = 0;

    do {
        while (rc == 0 && wants_message(l))
            rc = queue_message(l);
        if (rc == 0)
            rc = write_some(l);
    } while (rc == 0 && !l->is_deaf && buffer_len(&l->out) == 0 && wants_message(l));
    if (rc) {
        lane_over(l, AUDIT_END_RESET);
        return;
    }
    shut_if_finished(l);
    wants_write =
        !l->is_deaf && buffer_len(&l->out) > 0 && (l->kind != LANE_SLOW || l->may_write > 0);
    lane_set_events(l, EV_READ | (wants_write ? EV_WRITE : 0));
}

/* Hand whole replies to the checker. Returns 0, or 1 for a reply that never ends. */
static int check_replies(struct lane *l, uint64_t now_ns)
{
    const struct frame_rule *r = &l->audit->rule;
    const uint8_t *data = buffer_data(&l->in), *end;
    size_t len = buffer_len(&l->in);
    struct frame_result f = frame_scan(r, data, len, l->resume);
    size_t at = 0;

    while (at < f.complete) {
        end = memmem(data + at, f.complete - at, r->separator, r->separator_len);
        assert(end != NULL);
        audit_check_frame(&l->check, data + at, (size_t)(end - data) - at, now_ns);
        at = (size_t)(end - data) + r->separator_len;
    }
    l->resume = f.resume;
    buffer_consume(&l->in, &l->audit->pool, at);
    return f.verdict == FRAME_TOO_BIG;
}

/* Returns whether the connection is still there. */
bool lane_read(struct lane *l)
{
    ssize_t n;

    if (buffer_reserve(&l->in, &l->audit->pool, LANE_READ_BYTES)) {
        lane_over(l, AUDIT_END_TIMEOUT);
        return false;
    }
    n = recv(l->fd, buffer_end(&l->in), LANE_READ_BYTES, 0);
    if (n > 0) {
        l->moved_ns = clock_mono_ns();
        buffer_commit(&l->in, (size_t)n);
        audit_check_received(&l->check, (size_t)n, l->moved_ns);
        if (check_replies(l, l->moved_ns) == 0)
            return true;
        lane_over(l, AUDIT_END_TIMEOUT);
        return false;
    }
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        if (buffer_len(&l->in) == 0)
            buffer_free(&l->in, &l->audit->pool);
        return true;
    }
    lane_over(l, n == 0 && !l->is_reset ? AUDIT_END_CLOSED : AUDIT_END_RESET);
    return false;
}
