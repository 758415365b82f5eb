/*
 * The codec of a move. Pure; both ends of it are workers, perhaps of different versions.
 */
#include "wire/moved.h"

#include <errno.h>

#include "wire/bytes.h"
#include "wire/peer.h"

enum { KIND_BATCH = 1, KIND_ANSWER = 2, HEAD_BYTES = 8 };
enum {
    FLAG_EOF = 1,
    FLAG_PAUSED = 2,
    FLAG_BLANK = 4,
    OLD_FLAGS = 7,
    FLAG_AWAITS_HEADER = 8,
    FLAG_MAY_GO_WITHOUT = 16,
    FLAGS = 31
};
enum { PEER_AT = 112, RECORD_END = PEER_AT + PEER_BYTES };

static const uint32_t magic = 0x65766f6d; /* "move" */
static const uint64_t reads_3 = UINT64_C(1) << 31; /* in the room of the opening answer */

static void put_head(uint8_t *p, uint16_t version, uint16_t kind)
{
    bytes_put(p, magic, 4);
    bytes_put(p + 4, version, 2);
    bytes_put(p + 6, kind, 2);
}

/* The version stands where every version has it, and decides what else there is. */
static int get_head(const uint8_t *data, size_t len, uint16_t newest, uint16_t kind, size_t bytes)
{
    if (len < HEAD_BYTES || bytes_get(data, 4) != magic)
        return -EBADMSG;
    if (bytes_get(data + 4, 2) < MOVED_VERSION_OLD || bytes_get(data + 4, 2) > newest)
        return -EPROTONOSUPPORT;
    return bytes_get(data + 6, 2) == kind && len == bytes ? 0 : -EBADMSG;
}

void moved_put_batch(const struct moved_batch *batch, uint8_t buf[MOVED_BATCH_BYTES])
{
    put_head(buf, batch->version, KIND_BATCH);
    bytes_put(buf + 8, batch->id, 4);
    bytes_put(buf + 12, batch->count, 4);
    bytes_put(buf + 16, batch->bytes, 8);
    bytes_put(buf + 24, batch->position, 8);
    bytes_put(buf + 32, 0, 8);
}

int moved_get_batch(const uint8_t *data, size_t len, struct moved_batch *ret)
{
    struct moved_batch b;
    const int rc = get_head(data, len, MOVED_VERSION, KIND_BATCH, MOVED_BATCH_BYTES);

    if (rc < 0)
        return rc;
    b.version = (uint16_t)bytes_get(data + 4, 2);
    b.id = (uint32_t)bytes_get(data + 8, 4);
    b.count = (uint32_t)bytes_get(data + 12, 4);
    b.bytes = bytes_get(data + 16, 8);
    b.position = bytes_get(data + 24, 8);
    if (b.id == 0 || b.count == 0 || b.count > MOVED_COUNT_MAX || bytes_get(data + 32, 8) != 0)
        return -EBADMSG;
    *ret = b;
    return 0;
}

void moved_put_answer(const struct moved_answer *answer, uint8_t buf[MOVED_ANSWER_BYTES])
{
    const bool is_told = answer->id == 0 && answer->room > 0;
    const uint64_t version = is_told && answer->version > MOVED_VERSION_OLD ? reads_3 : 0;

    put_head(buf, MOVED_VERSION_OLD, KIND_ANSWER);
    bytes_put(buf + 8, answer->id, 4);
    bytes_put(buf + 12, answer->outcome, 4);
    bytes_put(buf + 16, answer->room | version, 4);
}

int moved_get_answer(const uint8_t *data, size_t len, struct moved_answer *ret)
{
    const int rc = get_head(data, len, MOVED_VERSION_OLD, KIND_ANSWER, MOVED_ANSWER_BYTES);
    uint64_t id, outcome, room;

    if (rc < 0)
        return rc;
    id = bytes_get(data + 8, 4);
    outcome = bytes_get(data + 12, 4);
    room = bytes_get(data + 16, 4);
    if ((outcome != MOVED_OK && outcome != MOVED_REFUSED) || room == reads_3 ||
        (id != 0 && room > MOVED_ROOM_MAX))
        return -EBADMSG;
    ret->id = (uint32_t)id;
    ret->outcome = (enum moved_outcome)outcome;
    ret->room = (uint32_t)(room & ~reads_3);
    ret->version = room & reads_3 ? MOVED_VERSION : MOVED_VERSION_OLD;
    return 0;
}

void moved_put_record(const struct moved_record *record, uint8_t buf[MOVED_RECORD_BYTES])
{
    const unsigned flags =
        (record->is_eof ? FLAG_EOF : 0u) | (record->is_paused ? FLAG_PAUSED : 0u) |
        (record->is_blank ? FLAG_BLANK : 0u) | (record->awaits_header ? FLAG_AWAITS_HEADER : 0u) |
        (record->may_go_without ? FLAG_MAY_GO_WITHOUT : 0u);

    bytes_put(buf, record->phase, 1);
    bytes_put(buf + 1, record->end, 1);
    bytes_put(buf + 2, flags, 2);
    bytes_put(buf + 4, record->since_age_ms, 4);
    bytes_put(buf + 8, record->progress_age_ms, 4);
    bytes_put(buf + 12, record->timeout_ms, 4);
    bytes_put(buf + 16, record->id, 8);
    bytes_put(buf + 24, record->protocol, 8);
    bytes_put(buf + 32, record->fingerprint, 8);
    bytes_put(buf + 40, record->seen, 8);
    bytes_put(buf + 48, record->resume, 8);
    bytes_put(buf + 56, record->tail_len, 8);
    bytes_put(buf + 64, record->output_len, 8);
    bytes_put(buf + 72, record->state_len, 4);
    bytes_put(buf + 76, record->state_version, 4);
    bytes_put(buf + 80, record->messages, 8);
    bytes_put(buf + 88, record->bytes_in, 8);
    bytes_put(buf + 96, record->bytes_out, 8);
    bytes_put(buf + 104, record->age_ms, 8);
    peer_put(&record->peer, buf + PEER_AT);
    bytes_put(buf + RECORD_END, 0, MOVED_RECORD_BYTES - RECORD_END);
}

/* What no connection is like: serving it would leave somebody waiting for ever. */
static bool is_possible(const struct moved_record *r)
{
    if (r->state_len > MOVED_STATE_MAX || r->resume > r->tail_len)
        return false;
    if (r->is_paused && r->output_len == 0)
        return false;
    if (r->may_go_without && !r->awaits_header)
        return false;
    if (r->awaits_header && (r->phase != MOVED_OPEN || r->is_eof || r->is_blank || r->resume > 0 ||
                             r->output_len > 0 || r->state_len > 0 || r->state_version > 0 ||
                             r->timeout_ms > 0 || r->peer.kind != ADDR_NAMED_NONE))
        return false;
    /* What has ended knows no protocol any more. */
    if (r->phase != MOVED_OPEN && (r->tail_len > 0 || r->state_len > 0 || r->state_version > 0 ||
                                   r->timeout_ms > 0 || r->is_blank))
        return false;
    switch (r->phase) {
    case MOVED_OPEN:
        return true;
    case MOVED_DELIVERING:
        return r->output_len > 0;
    case MOVED_LINGERING:
        return r->output_len == 0 && !r->is_eof;
    default:
        return false;
    }
}

/* What version 2 has not. */
static int get_rest(const uint8_t *p, struct moved_record *ret)
{
    ret->messages = bytes_get(p + 80, 8);
    ret->bytes_in = bytes_get(p + 88, 8);
    ret->bytes_out = bytes_get(p + 96, 8);
    ret->age_ms = bytes_get(p + 104, 8);
    if (bytes_get(p + RECORD_END, MOVED_RECORD_BYTES - RECORD_END) != 0)
        return -EBADMSG;
    return peer_get(p + PEER_AT, &ret->peer);
}

static int get_record(const uint8_t *p, uint16_t version, struct moved_record *ret)
{
    const uint64_t flags = bytes_get(p + 2, 2);
    const unsigned known = version == MOVED_VERSION_OLD ? OLD_FLAGS : FLAGS;

    *ret = (struct moved_record){
        .phase = (enum moved_phase)p[0],
        .end = p[1],
        .is_eof = (flags & FLAG_EOF) != 0,
        .is_paused = (flags & FLAG_PAUSED) != 0,
        .is_blank = (flags & FLAG_BLANK) != 0,
        .awaits_header = (flags & FLAG_AWAITS_HEADER) != 0,
        .may_go_without = (flags & FLAG_MAY_GO_WITHOUT) != 0,
        .since_age_ms = (uint32_t)bytes_get(p + 4, 4),
        .progress_age_ms = (uint32_t)bytes_get(p + 8, 4),
        .timeout_ms = (uint32_t)bytes_get(p + 12, 4),
        .id = bytes_get(p + 16, 8),
        .protocol = bytes_get(p + 24, 8),
        .fingerprint = bytes_get(p + 32, 8),
        .seen = bytes_get(p + 40, 8),
        .resume = bytes_get(p + 48, 8),
        .tail_len = bytes_get(p + 56, 8),
        .output_len = bytes_get(p + 64, 8),
        .state_len = (uint32_t)bytes_get(p + 72, 4),
        .state_version = (uint32_t)bytes_get(p + 76, 4),
    };
    if (version != MOVED_VERSION_OLD && get_rest(p, ret) < 0)
        return -EBADMSG;
    return (flags & ~(uint64_t)known) == 0 && is_possible(ret) ? 0 : -EBADMSG;
}

/* Takes @bytes of the bulk. Returns false if there are not so many. */
static bool take_bytes(struct moved_cursor *c, uint64_t bytes, const uint8_t **ret)
{
    if (bytes > c->bytes - c->bulk)
        return false;
    *ret = c->data + c->bulk;
    c->bulk += bytes;
    return true;
}

static int next_record(struct moved_cursor *c, struct moved_record *ret)
{
    if (get_record(c->data + c->next * moved_record_bytes(c->version), c->version, ret) < 0 ||
        !take_bytes(c, ret->tail_len, &ret->tail) ||
        !take_bytes(c, ret->output_len, &ret->output) ||
        !take_bytes(c, ret->state_len, &ret->state))
        return -EBADMSG;
    c->next++;
    return 0;
}

int moved_open(struct moved_cursor *c, const struct moved_batch *batch, const uint8_t *data,
               size_t len)
{
    const uint64_t records = (uint64_t)batch->count * moved_record_bytes(batch->version);
    const struct moved_cursor begin = {data, len, batch->version, batch->count, 0, records};
    struct moved_record r;

    if (batch->bytes != len || records > len)
        return -EBADMSG;
    *c = begin;
    while (c->next < c->count)
        if (next_record(c, &r) < 0)
            return -EBADMSG;
    if (c->bulk != len)
        return -EBADMSG;
    *c = begin;
    return 0;
}

bool moved_next(struct moved_cursor *c, struct moved_record *ret)
{
    return c->next < c->count && next_record(c, ret) == 0;
}
