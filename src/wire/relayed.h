/*
 * The codec of messages between actors, which pass through the arbiter: datagrams in the mailboxes
 * beside the control messages (wire/message.h), told apart by their first byte. Pure; explicit
 * little-endian bytes, versioned, read strictly. Topic and payload are the sender's own and are
 * copied unread.
 */
#ifndef WIRE_RELAYED_H
#define WIRE_RELAYED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    RELAYED_MAGIC = 0xa5, /* never the first byte of a control message, which is JSON */
    RELAYED_VERSION = 1,
    RELAYED_HEAD_BYTES = 48,
    RELAYED_NAME_MAX = 31, /* bytes of topic, sender and target */
    RELAYED_DATA_MAX = 49152,
    RELAYED_MAX_BYTES = RELAYED_HEAD_BYTES + 3 * RELAYED_NAME_MAX + RELAYED_DATA_MAX,
};

enum relayed_kind {
    RELAYED_SEND = 1, /* to the arbiter: number and pass on */
    RELAYED_MESSAGE, /* from the arbiter: a message with its number */
    RELAYED_STATUS, /* without a message; both ways */
    RELAYED_KINDS
};

#define RELAYED_ARBITER UINT32_MAX /* as `origin`: the arbiter itself */

struct relayed {
    enum relayed_kind kind;
    bool is_for_all; /* MESSAGE: it is repeated for connections that move */
    bool is_stalled; /* to the arbiter: the sender has more to send than it may */
    uint32_t origin; /* MESSAGE: proc of the sender */
    uint64_t number; /* MESSAGE: its own; STATUS from the arbiter: of the last message */
    /* SEND, MESSAGE: the sender's own count, from 1; STATUS from the arbiter: the receiver's last
     * message that has got its number */
    uint64_t sequence;
    /* From the arbiter: all processes are done with the messages up to this one; to it: the sender
     * is */
    uint64_t done;
    uint32_t share; /* from the arbiter: bytes that each process may have under way */
    /* SEND: topic and target; MESSAGE: all three; STATUS: none. NUL-terminated after decoding. */
    char topic[RELAYED_NAME_MAX + 1];
    char from[RELAYED_NAME_MAX + 1];
    char target[RELAYED_NAME_MAX + 1];
    const uint8_t *data; /* borrowed */
    uint32_t data_len;
};

/* relayed_is - is this datagram one of ours? Else it is a control message. */
static inline bool relayed_is(const uint8_t *data, size_t len)
{
    return len > 0 && data[0] == RELAYED_MAGIC;
}

/* relayed_bytes - that relayed_put writes */
size_t relayed_bytes(const struct relayed *m);

/* relayed_put - write what is well-formed into relayed_bytes(m) bytes */
void relayed_put(const struct relayed *m, uint8_t *buf);

/*
 * relayed_get - read a datagram
 * @ret  untouched on failure; its data points into @data
 * Returns 0, -EPROTONOSUPPORT (another version) or -EBADMSG.
 */
int relayed_get(const uint8_t *data, size_t len, struct relayed *ret);

#endif
