/*
 * The codec between a worker and its keeper. Pure.
 */
#include "wire/keep.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>

#include "wire/bytes.h"

static const uint32_t keep_magic = 0x7065656b; /* "keep" */

static const size_t entry_bytes[] = {
    [KEEP_REGISTER] = KEEP_REGISTER_BYTES,
    [KEEP_SWEEP] = 0,
    [KEEP_OFFER] = KEEP_OFFER_BYTES,
    [KEEP_TAKEN] = KEEP_TAKEN_BYTES,
};

static void put_names(uint8_t *p, const struct keep_entry *e)
{
    bytes_put(p, e->number, 4);
    bytes_put(p + 4, e->serial, 4);
}

static void put_origin(uint8_t *p, const struct keep_entry *e)
{
    bytes_put(p, e->origin.listener, 8);
    bytes_put(p + 8, e->origin.protocol, 8);
}

static bool is_any_named(const struct keep_message *m)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (m->entries[i].peer.kind != ADDR_NAMED_NONE)
            return true;
    return false;
}

static size_t bytes_of_entry(enum keep_kind kind, bool is_named)
{
    return entry_bytes[kind] + (is_named ? PEER_BYTES : 0);
}

size_t keep_put(const struct keep_message *m, uint8_t buf[KEEP_MESSAGE_MAX])
{
    const bool is_named = (m->kind == KEEP_REGISTER || m->kind == KEEP_OFFER) && is_any_named(m);
    const size_t bytes = bytes_of_entry(m->kind, is_named);
    uint8_t *p = buf + KEEP_HEAD_BYTES;

    assert(m->count <= KEEP_COUNT_MAX && (m->count > 0) == (m->kind != KEEP_SWEEP));
    bytes_put(buf, keep_magic, 4);
    bytes_put(buf + 4, is_named ? KEEP_VERSION_NAMED : KEEP_VERSION, 2);
    bytes_put(buf + 6, m->kind, 2);
    bytes_put(buf + 8, m->batch, 4);
    bytes_put(buf + 12, m->count, 4);
    for (uint32_t i = 0; i < m->count; i++, p += bytes) {
        const struct keep_entry *e = &m->entries[i];

        if (m->kind == KEEP_OFFER) {
            put_origin(p, e);
        } else {
            put_names(p, e);
            if (m->kind == KEEP_REGISTER)
                put_origin(p + 8, e);
        }
        if (is_named)
            peer_put(&e->peer, p + entry_bytes[m->kind]);
    }
    return (size_t)(p - buf);
}

static struct keep_origin get_origin(const uint8_t *p)
{
    return (struct keep_origin){bytes_get(p, 8), bytes_get(p + 8, 8)};
}

static struct keep_entry get_entry(enum keep_kind kind, const uint8_t *p)
{
    struct keep_entry e = {0};

    if (kind == KEEP_OFFER) {
        e.origin = get_origin(p);
        return e;
    }
    e.number = (uint32_t)bytes_get(p, 4);
    e.serial = (uint32_t)bytes_get(p + 4, 4);
    if (kind == KEEP_REGISTER)
        e.origin = get_origin(p + 8);
    return e;
}

static bool is_entry_possible(enum keep_kind kind, const struct keep_entry *e)
{
    switch (kind) {
    case KEEP_REGISTER:
        return e->number != KEEP_REFUSED && e->serial != 0;
    case KEEP_TAKEN:
        return e->number != KEEP_REFUSED || e->serial == 0;
    default:
        return true;
    }
}

/* Both the number of a batch and of entries belong to a kind, and the length to both. */
static bool is_head_possible(const struct keep_message *m, bool is_named, size_t len)
{
    const bool is_batch = m->kind == KEEP_OFFER || m->kind == KEEP_TAKEN;

    if (is_named && m->kind != KEEP_REGISTER && m->kind != KEEP_OFFER)
        return false;
    return m->count <= KEEP_COUNT_MAX && (m->count > 0) == (m->kind != KEEP_SWEEP) &&
           (m->batch > 0) == is_batch &&
           len == KEEP_HEAD_BYTES + m->count * bytes_of_entry(m->kind, is_named);
}

/* The version stands where every version has it, and decides what else there is. */
int keep_get(const uint8_t *data, size_t len, struct keep_message *ret)
{
    uint64_t kind, version;
    bool is_named;

    if (len < 8 || bytes_get(data, 4) != keep_magic)
        return -EBADMSG;
    version = bytes_get(data + 4, 2);
    is_named = version == KEEP_VERSION_NAMED;
    if (version != KEEP_VERSION && !is_named)
        return -EPROTONOSUPPORT;
    kind = bytes_get(data + 6, 2);
    if (len < KEEP_HEAD_BYTES || kind < KEEP_REGISTER || kind > KEEP_TAKEN)
        return -EBADMSG;
    ret->kind = (enum keep_kind)kind;
    ret->batch = (uint32_t)bytes_get(data + 8, 4);
    ret->count = (uint32_t)bytes_get(data + 12, 4);
    if (!is_head_possible(ret, is_named, len))
        return -EBADMSG;
    for (uint32_t i = 0; i < ret->count; i++) {
        const uint8_t *p = data + KEEP_HEAD_BYTES + i * bytes_of_entry(ret->kind, is_named);

        ret->entries[i] = get_entry(ret->kind, p);
        if (!is_entry_possible(ret->kind, &ret->entries[i]) ||
            (is_named && peer_get(p + entry_bytes[ret->kind], &ret->entries[i].peer) < 0))
            return -EBADMSG;
    }
    return !is_named || is_any_named(ret) ? 0 : -EBADMSG;
}
