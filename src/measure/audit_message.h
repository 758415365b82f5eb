/*
 * Messages that describe themselves. Pure.
 *
 *   ~HHHHHHHH.PPPPPPPP.RRRRRRRR.CCCCCCCC.SSSSSSSS.LLLLLLLL~payload
 *
 * in hexadecimal: checksums of the header's rest and of the payload, run, connection, sequence
 * number, length of the payload. The payload follows from seed, connection and sequence: any bytes,
 * many of them CR, LF, NUL and beginnings of the separator, but never a separator.
 */
#ifndef MEASURE_AUDIT_MESSAGE_H
#define MEASURE_AUDIT_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "wire/frame.h"

enum { AUDIT_HEADER_BYTES = 55 };

/* Whose message; with the sequence number and the length this gives every byte. */
struct audit_identity {
    uint64_t seed;
    uint32_t run;
    uint32_t connection;
};

/* audit_separator_is_fit - not raw, and not made of the header's characters alone */
bool audit_separator_is_fit(const void *separator, size_t len);

/* audit_message_write - @size bytes (>= AUDIT_HEADER_BYTES) to @buf, without the separator */
void audit_message_write(const struct audit_identity *id, const struct frame_rule *rule,
                         uint32_t sequence, uint8_t *buf, size_t size);

struct audit_header {
    uint32_t payload_sum;
    uint32_t run;
    uint32_t connection;
    uint32_t sequence;
    uint32_t payload_len;
};

enum audit_reading {
    AUDIT_INTACT, /* header and payload are as somebody wrote them */
    AUDIT_DAMAGED, /* the header is intact, the payload is not */
    AUDIT_NOISE, /* no intact header */
};

/* audit_message_read - @ret is set unless it is noise */
enum audit_reading audit_message_read(const uint8_t *frame, size_t len, struct audit_header *ret);

#endif
