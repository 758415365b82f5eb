/*
 * Gives every message its outcome. What should have come is written again from the seed and
 * compared, so nothing is kept but sizes.
 */
#include "measure/audit_check.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

enum { NO_SEQUENCE = UINT32_MAX };

/* Count something and keep it as an incident under the same name. */
#define COUNT_INCIDENT(c, field, sequence, now_ns)                                                 \
    do {                                                                                           \
        (c)->counts->field++;                                                                      \
        add_incident((c), #field, (sequence), (now_ns));                                           \
    } while (0)

static void add_incident(struct audit_check *c, const char *what, uint32_t sequence,
                         uint64_t now_ns)
{
    struct audit_incidents *list = c->incidents;

    if (!list)
        return;
    list->n_all++;
    if (list->n == AUDIT_INCIDENTS_MAX)
        return;
    list->kept[list->n++] = (struct audit_incident){
        .what = what,
        .lane = c->lane,
        .connection = c->id.connection,
        .sequence = sequence,
        .port = c->port,
        .at_ns = now_ns,
    };
}

void audit_counts_add(struct audit_counts *to, const struct audit_counts *from)
{
#define X(field, help) to->field += from->field;
    AUDIT_COUNTS(X)
#undef X
}

uint64_t audit_counts_failed(const struct audit_counts *c)
{
    return c->failed_closed + c->failed_reset + c->failed_timeout;
}

uint64_t audit_counts_cut(const struct audit_counts *c)
{
    return c->closed + c->reset + c->given_up;
}

bool audit_counts_is_o1(const struct audit_counts *c)
{
    return c->reordered + c->truncated + c->corrupted + c->lost + c->duplicated + c->foreign == 0;
}

bool audit_counts_is_o2(const struct audit_counts *c)
{
    return c->sent == c->echoed + audit_counts_failed(c);
}

int audit_check_init(struct audit_check *c, uint32_t depth)
{
    assert(depth > 0 && depth <= AUDIT_DEPTH_MAX);
    c->ring = calloc(depth, sizeof(*c->ring));
    if (!c->ring)
        return -ENOMEM;
    c->depth = depth;
    c->base = c->next = c->n_begun = c->n_written = c->n_queued = 0;
    c->queued_bytes = c->written_bytes = c->waiting_ns = 0;
    return 0;
}

void audit_check_fini(struct audit_check *c)
{
    free(c->ring);
    c->ring = NULL;
}

static struct audit_entry *entry(const struct audit_check *c, uint32_t sequence)
{
    return &c->ring[sequence % c->depth];
}

uint32_t audit_check_room(const struct audit_check *c)
{
    return c->depth - (c->n_queued - c->base);
}

bool audit_check_has_outstanding(const struct audit_check *c)
{
    return c->base < c->n_begun;
}

uint32_t audit_check_queued(struct audit_check *c, size_t size)
{
    assert(audit_check_room(c) > 0 && size + c->rule->separator_len <= c->expected_size);
    c->queued_bytes += size + c->rule->separator_len;
    *entry(c, c->n_queued) =
        (struct audit_entry){.end = c->queued_bytes, .size = (uint32_t)size, .is_done = false};
    return c->n_queued++;
}

static uint64_t entry_start(const struct audit_check *c, uint32_t sequence)
{
    const struct audit_entry *e = entry(c, sequence);

    return e->end - e->size - c->rule->separator_len;
}

void audit_check_written(struct audit_check *c, size_t n, uint64_t now_ns)
{
    if (c->base >= c->n_written) { /* no reply was due, so the wait was for room */
        audit_stall_add(c->stall, c->waiting_ns, now_ns);
        c->waiting_ns = 0;
    }
    c->counts->bytes_sent += n;
    c->written_bytes += n;
    assert(c->written_bytes <= c->queued_bytes);
    for (; c->n_begun < c->n_queued && entry_start(c, c->n_begun) < c->written_bytes; c->n_begun++)
        c->counts->sent++;
    while (c->n_written < c->n_begun && entry(c, c->n_written)->end <= c->written_bytes) {
        entry(c, c->n_written++)->written_ns = now_ns;
        if (c->waiting_ns == 0)
            c->waiting_ns = now_ns;
    }
}

void audit_stall_add(struct audit_stall *longest, uint64_t from_ns, uint64_t now_ns)
{
    if (from_ns != 0 && now_ns - from_ns > longest->ns)
        *longest = (struct audit_stall){.ns = now_ns - from_ns, .at_ns = from_ns};
}

void audit_check_blocked(struct audit_check *c, uint64_t now_ns)
{
    if (c->waiting_ns == 0)
        c->waiting_ns = now_ns;
}

void audit_check_received(struct audit_check *c, size_t n, uint64_t now_ns)
{
    c->counts->bytes_received += n;
    audit_stall_add(c->stall, c->waiting_ns, now_ns);
    if (c->waiting_ns != 0)
        c->waiting_ns = now_ns;
}

/* The message that is due: the first one that is not done, in the order of sending. */
static uint32_t due(const struct audit_check *c)
{
    for (uint32_t s = c->next; s < c->n_begun; s++)
        if (!entry(c, s)->is_done)
            return s;
    for (uint32_t s = c->base; s < c->n_begun; s++)
        if (!entry(c, s)->is_done)
            return s;
    return NO_SEQUENCE;
}

static bool is_pending(const struct audit_check *c, uint32_t sequence)
{
    return sequence >= c->base && sequence < c->n_begun && !entry(c, sequence)->is_done;
}

static void set_done(struct audit_check *c, uint32_t sequence)
{
    entry(c, sequence)->is_done = true;
    while (c->base < c->n_begun && entry(c, c->base)->is_done)
        c->base++;
    if (sequence >= c->next)
        c->next = sequence + 1;
}

/* Whether @data is the beginning of message @sequence with its separator. */
static bool is_prefix(struct audit_check *c, uint32_t sequence, const uint8_t *data, size_t len)
{
    size_t size = entry(c, sequence)->size;

    if (len > size + c->rule->separator_len)
        return false;
    audit_message_write(&c->id, c->rule, sequence, c->expected, size);
    memcpy(c->expected + size, c->rule->separator, c->rule->separator_len);
    return memcmp(c->expected, data, len) == 0;
}

static bool is_whole(struct audit_check *c, uint32_t sequence, const uint8_t *frame, size_t len)
{
    return len == entry(c, sequence)->size && is_prefix(c, sequence, frame, len);
}

/* A reply that is no exact copy: find out which message it stands for. */
static void judge_damaged(struct audit_check *c, uint32_t sequence, const uint8_t *frame,
                          size_t len, uint64_t now_ns)
{
    if (sequence == NO_SEQUENCE) {
        COUNT_INCIDENT(c, foreign, NO_SEQUENCE, now_ns);
        return;
    }
    if (len < entry(c, sequence)->size && is_prefix(c, sequence, frame, len))
        COUNT_INCIDENT(c, truncated, sequence, now_ns);
    else
        COUNT_INCIDENT(c, corrupted, sequence, now_ns);
    set_done(c, sequence);
}

/* A reply with an intact header of our own: its sequence number can be believed. */
static void judge_named(struct audit_check *c, uint32_t sequence, const uint8_t *frame, size_t len,
                        uint64_t now_ns)
{
    if (sequence >= c->n_begun) {
        COUNT_INCIDENT(c, foreign, sequence, now_ns);
    } else if (!is_pending(c, sequence)) {
        COUNT_INCIDENT(c, duplicated, sequence, now_ns);
    } else if (!is_whole(c, sequence, frame, len)) {
        judge_damaged(c, sequence, frame, len, now_ns);
    } else {
        if (sequence >= c->next)
            c->counts->echoed++;
        else
            COUNT_INCIDENT(c, reordered, sequence, now_ns);
        if (c->on_echoed)
            c->on_echoed(c->on_echoed_data, entry(c, sequence)->written_ns, now_ns);
        set_done(c, sequence);
    }
}

void audit_check_frame(struct audit_check *c, const uint8_t *frame, size_t len, uint64_t now_ns)
{
    struct audit_header h;
    enum audit_reading reading = audit_message_read(frame, len, &h);

    if (reading == AUDIT_NOISE)
        judge_damaged(c, due(c), frame, len, now_ns);
    else if (h.run != c->id.run || h.connection != c->id.connection)
        COUNT_INCIDENT(c, foreign, h.sequence, now_ns);
    else
        judge_named(c, h.sequence, frame, len, now_ns);
    if (c->base >= c->n_written) /* a message before this one is still due */
        c->waiting_ns = 0;
}

static void judge_tail(struct audit_check *c, const uint8_t *tail, size_t len, uint64_t now_ns)
{
    uint32_t sequence = due(c);

    c->counts->cut++;
    if (sequence == NO_SEQUENCE) {
        COUNT_INCIDENT(c, foreign, NO_SEQUENCE, now_ns);
    } else if (!is_prefix(c, sequence, tail, len)) {
        COUNT_INCIDENT(c, corrupted, sequence, now_ns);
        set_done(c, sequence);
    }
}

void audit_check_end(struct audit_check *c, enum audit_end how, const uint8_t *tail, size_t len,
                     uint64_t now_ns)
{
    audit_stall_add(c->stall, c->waiting_ns, now_ns);
    c->waiting_ns = 0;
    if (len > 0)
        judge_tail(c, tail, len, now_ns);
    for (uint32_t s = c->base; s < c->n_begun; s++) {
        if (entry(c, s)->is_done)
            continue;
        if (s < c->next)
            COUNT_INCIDENT(c, lost, s, now_ns);
        else if (how == AUDIT_END_CLOSED)
            COUNT_INCIDENT(c, failed_closed, s, now_ns);
        else if (how == AUDIT_END_RESET)
            COUNT_INCIDENT(c, failed_reset, s, now_ns);
        else
            COUNT_INCIDENT(c, failed_timeout, s, now_ns);
    }
    c->base = c->next = c->n_begun;
}
