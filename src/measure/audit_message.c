/*
 * Writing and reading self-describing messages. Pure, and the same on every machine.
 */
#include "measure/audit_message.h"

#include <assert.h>
#include <endian.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/util.h"

static const char header_alphabet[] = "0123456789abcdef.~";

enum { HEADER_SUMMED = 9 }; /* "~HHHHHHHH": what follows is covered by the first checksum */

bool audit_separator_is_fit(const void *separator, size_t len)
{
    const uint8_t *p = separator;

    for (size_t i = 0; i < len; i++)
        if (p[i] == 0 || !strchr(header_alphabet, p[i]))
            return true;
    return false;
}

static uint32_t checksum(const uint8_t *p, size_t len)
{
    uint64_t h = len * UINT64_C(0x9e3779b97f4a7c15);

    while (len > 0) {
        size_t n = MIN(len, sizeof(uint64_t));
        uint64_t word = 0;

        memcpy(&word, p, n);
        h = (h ^ le64toh(word)) * UINT64_C(0xff51afd7ed558ccd);
        h ^= h >> 32;
        p += n;
        len -= n;
    }
    return (uint32_t)h;
}

static uint64_t message_seed(const struct audit_identity *id, uint32_t sequence)
{
    uint64_t s = id->seed;

    s = random_next(&s) ^ id->connection;
    s = random_next(&s) ^ sequence;
    return random_next(&s);
}

/* Any bytes, eight at a time. */
static void fill_binary(uint64_t state, uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i += sizeof(uint64_t)) {
        uint64_t word = htole64(random_next(&state));

        memcpy(p + i, &word, MIN(len - i, sizeof(word)));
    }
}

/* Bytes that break code which expects lines or text. */
static void fill_awkward(uint64_t state, uint8_t *p, size_t len)
{
    static const uint8_t bytes[8] = {'\r', '\n', '\r', '\n', 0, 0xff, 'x', ' '};
    uint64_t bits = 0;

    for (size_t i = 0; i < len; i++) {
        if (i % 21 == 0)
            bits = random_next(&state);
        p[i] = bytes[bits & 7];
        bits >>= 3;
    }
}

/* All but the last byte of the separator, again and again: a search that almost succeeds. The byte
 * in its place is random, so that no two messages are alike. */
static void fill_near_misses(uint64_t state, const struct frame_rule *rule, uint8_t *p, size_t len)
{
    size_t n = rule->separator_len;

    for (size_t i = 0; i < len; i++)
        p[i] = i % n == n - 1 ? (uint8_t)random_next(&state) : rule->separator[i % n];
}

static uint8_t byte_outside(const struct frame_rule *rule)
{
    uint8_t byte = 'x';

    while (memchr(rule->separator, byte, rule->separator_len))
        byte++;
    return byte;
}

/*
 * Wherever the separator would be found before the end, also across the joint to the real one,
 * put a byte that it does not have into the payload. A match cannot lie in the header alone.
 */
static void remove_separators(const struct frame_rule *rule, uint8_t *buf, size_t size)
{
    const size_t n = rule->separator_len;
    const uint8_t filler = byte_outside(rule);
    uint8_t *from = buf, *hit;

    if (size == AUDIT_HEADER_BYTES)
        return;
    while ((hit = memmem(from, (size_t)(buf + size - from), rule->separator, n))) {
        hit[n - 1] = filler;
        from = hit + n;
    }
    for (size_t k = 1; k < n && k <= size; k++)
        if (memcmp(buf + size - k, rule->separator, k) == 0 &&
            memcmp(rule->separator + k, rule->separator, n - k) == 0)
            buf[size - 1] = filler;
}

/* All but the two checksums; they come first, out of reach of a separator that begins in here. */
static void write_header(uint8_t *buf, const struct audit_header *h)
{
    char text[AUDIT_HEADER_BYTES + 1];

    snprintf(text, sizeof(text), "~%08x.%08x.%08x.%08x.%08x.%08x~", 0u, h->payload_sum, h->run,
             h->connection, h->sequence, h->payload_len);
    memcpy(buf, text, AUDIT_HEADER_BYTES);
    snprintf(text, sizeof(text), "%08x",
             checksum(buf + HEADER_SUMMED, AUDIT_HEADER_BYTES - HEADER_SUMMED));
    memcpy(buf + 1, text, 8);
}

void audit_message_write(const struct audit_identity *id, const struct frame_rule *rule,
                         uint32_t sequence, uint8_t *buf, size_t size)
{
    uint8_t *payload = buf + AUDIT_HEADER_BYTES;
    size_t len = size - AUDIT_HEADER_BYTES;
    uint64_t seed = message_seed(id, sequence);
    struct audit_header h = {
        .run = id->run,
        .connection = id->connection,
        .sequence = sequence,
        .payload_len = (uint32_t)len,
    };

    assert(size >= AUDIT_HEADER_BYTES && len <= UINT32_MAX && rule->separator_len > 0);
    if (seed % 8 == 0)
        fill_near_misses(seed, rule, payload, len);
    else if (seed % 8 <= 2)
        fill_awkward(seed, payload, len);
    else
        fill_binary(seed, payload, len);
    write_header(buf, &h);
    remove_separators(rule, buf, size);
    h.payload_sum = checksum(payload, len);
    write_header(buf, &h);
}

/* Exactly eight lower-case hexadecimal digits and the character after them. */
static bool read_field(const uint8_t *p, char end, uint32_t *ret)
{
    uint32_t value = 0;

    for (int i = 0; i < 8; i++) {
        const char *digit = p[i] ? strchr(header_alphabet, p[i]) : NULL;

        if (!digit || digit - header_alphabet > 15)
            return false;
        value = value << 4 | (uint32_t)(digit - header_alphabet);
    }
    *ret = value;
    return p[8] == (uint8_t)end;
}

enum audit_reading audit_message_read(const uint8_t *frame, size_t len, struct audit_header *ret)
{
    struct audit_header h;
    uint32_t header_sum;
    size_t payload_len;

    if (len < AUDIT_HEADER_BYTES || frame[0] != '~' || !read_field(frame + 1, '.', &header_sum) ||
        !read_field(frame + 10, '.', &h.payload_sum) || !read_field(frame + 19, '.', &h.run) ||
        !read_field(frame + 28, '.', &h.connection) || !read_field(frame + 37, '.', &h.sequence) ||
        !read_field(frame + 46, '~', &h.payload_len) ||
        header_sum != checksum(frame + HEADER_SUMMED, AUDIT_HEADER_BYTES - HEADER_SUMMED))
        return AUDIT_NOISE;
    *ret = h;
    payload_len = len - AUDIT_HEADER_BYTES;
    if (payload_len != h.payload_len ||
        h.payload_sum != checksum(frame + AUDIT_HEADER_BYTES, payload_len))
        return AUDIT_DAMAGED;
    return AUDIT_INTACT;
}
