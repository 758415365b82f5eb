/*
 * The codec of messages between actors. Pure; the arbiter reads with it what a process may have
 * written with damaged memory.
 */
#include "wire/relayed.h"

#include <errno.h>
#include <string.h>

#include "wire/bytes.h"

enum { FLAG_FOR_ALL = 1, FLAG_STALLED = 2 };

size_t relayed_bytes(const struct relayed *m)
{
    return RELAYED_HEAD_BYTES + strlen(m->topic) + strlen(m->from) + strlen(m->target) +
           m->data_len;
}

static uint8_t *put_bytes(uint8_t *p, const void *bytes, size_t len)
{
    if (len > 0)
        memcpy(p, bytes, len);
    return p + len;
}

void relayed_put(const struct relayed *m, uint8_t *buf)
{
    const size_t topic = strlen(m->topic), from = strlen(m->from), target = strlen(m->target);
    uint8_t *p = buf + RELAYED_HEAD_BYTES;

    bytes_put(buf, RELAYED_MAGIC, 1);
    bytes_put(buf + 1, RELAYED_VERSION, 1);
    bytes_put(buf + 2, m->kind, 1);
    bytes_put(buf + 3, (m->is_for_all ? FLAG_FOR_ALL : 0u) | (m->is_stalled ? FLAG_STALLED : 0u),
              1);
    bytes_put(buf + 4, m->origin, 4);
    bytes_put(buf + 8, m->number, 8);
    bytes_put(buf + 16, m->sequence, 8);
    bytes_put(buf + 24, m->done, 8);
    bytes_put(buf + 32, m->share, 4);
    bytes_put(buf + 36, m->data_len, 4);
    bytes_put(buf + 40, topic, 1);
    bytes_put(buf + 41, from, 1);
    bytes_put(buf + 42, target, 1);
    bytes_put(buf + 43, 0, 5);
    p = put_bytes(p, m->topic, topic);
    p = put_bytes(p, m->from, from);
    p = put_bytes(p, m->target, target);
    put_bytes(p, m->data, m->data_len);
}

/* A text without NUL, as it could not have been written otherwise. Returns the byte behind it. */
static const uint8_t *take_name(const uint8_t *p, size_t len, char ret[RELAYED_NAME_MAX + 1])
{
    if (!p || memchr(p, '\0', len))
        return NULL;
    memcpy(ret, p, len);
    ret[len] = '\0';
    return p + len;
}

/* What no honest sender writes. */
static bool is_relayed_possible(const struct relayed *m)
{
    switch (m->kind) {
    case RELAYED_SEND:
        return m->sequence > 0 && m->target[0] && !m->from[0] && m->number == 0 && !m->is_for_all &&
               m->origin == 0 && m->share == 0;
    case RELAYED_MESSAGE:
        return m->sequence > 0 && m->number > m->done && m->from[0] && m->target[0] &&
               !m->is_stalled;
    case RELAYED_STATUS:
        return m->data_len == 0 && !m->topic[0] && !m->from[0] && !m->target[0] && !m->is_for_all &&
               m->origin == 0;
    default:
        return false;
    }
}

int relayed_get(const uint8_t *data, size_t len, struct relayed *ret)
{
    struct relayed m = {0};
    const uint8_t *p = data + RELAYED_HEAD_BYTES;
    size_t lens[3];

    if (!relayed_is(data, len) || len < 2)
        return -EBADMSG;
    if (data[1] != RELAYED_VERSION)
        return -EPROTONOSUPPORT;
    if (len < RELAYED_HEAD_BYTES || (data[3] & ~(FLAG_FOR_ALL | FLAG_STALLED)) != 0 ||
        bytes_get(data + 43, 5) != 0)
        return -EBADMSG;
    m.kind = (enum relayed_kind)data[2];
    m.is_for_all = data[3] & FLAG_FOR_ALL;
    m.is_stalled = data[3] & FLAG_STALLED;
    m.origin = (uint32_t)bytes_get(data + 4, 4);
    m.number = bytes_get(data + 8, 8);
    m.sequence = bytes_get(data + 16, 8);
    m.done = bytes_get(data + 24, 8);
    m.share = (uint32_t)bytes_get(data + 32, 4);
    m.data_len = (uint32_t)bytes_get(data + 36, 4);
    for (size_t i = 0; i < 3; i++)
        lens[i] = data[40 + i];
    if (lens[0] > RELAYED_NAME_MAX || lens[1] > RELAYED_NAME_MAX || lens[2] > RELAYED_NAME_MAX ||
        m.data_len > RELAYED_DATA_MAX ||
        len != RELAYED_HEAD_BYTES + lens[0] + lens[1] + lens[2] + m.data_len)
        return -EBADMSG;
    p = take_name(p, lens[0], m.topic);
    p = take_name(p, lens[1], m.from);
    p = take_name(p, lens[2], m.target);
    if (!p || !is_relayed_possible(&m))
        return -EBADMSG;
    m.data = p;
    *ret = m;
    return 0;
}
