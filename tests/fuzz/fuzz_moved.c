/*
 * The codec of a move. The input's first byte chooses: a batch's datagram, an answer's, or
 * the memory file of a batch of either version. What is accepted has to be what writing it again
 * would give.
 */
#include "fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>
#include "wire/moved.h"

static void must(int is_true)
{
    if (!is_true)
        abort();
}

static void try_batch(const uint8_t *data, size_t len)
{
    uint8_t again[MOVED_BATCH_BYTES];
    struct moved_batch b;

    if (moved_get_batch(data, len, &b) != 0)
        return;
    must(len == sizeof(again) && b.id > 0 && b.count > 0 && b.count <= MOVED_COUNT_MAX);
    moved_put_batch(&b, again);
    must(memcmp(data, again, len) == 0);
}

static void try_answer(const uint8_t *data, size_t len)
{
    uint8_t again[MOVED_ANSWER_BYTES];
    struct moved_answer a;

    if (moved_get_answer(data, len, &a) != 0)
        return;
    moved_put_answer(&a, again);
    must(len == sizeof(again) && memcmp(data, again, len) == 0);
}

/* Touches every byte, so that a sanitizer sees one too many. */
static uint64_t sum(const uint8_t *bytes, uint64_t len)
{
    uint64_t total = 0;

    for (uint64_t i = 0; i < len; i++)
        total += bytes[i];
    return total;
}

static void try_file(uint16_t version, uint32_t count, const uint8_t *data, size_t len)
{
    const struct moved_batch b = {.version = version, .id = 1, .count = count, .bytes = len};
    const size_t record_bytes = moved_record_bytes(version);
    const uint8_t *expected = data + count * record_bytes;
    struct moved_cursor c;
    struct moved_record r;
    uint32_t n = 0;

    if (moved_open(&c, &b, data, len) != 0)
        return;
    while (moved_next(&c, &r)) {
        uint8_t again[MOVED_RECORD_BYTES];

        moved_put_record(&r, again);
        must(memcmp(data + n * record_bytes, again, record_bytes) == 0);
        must(r.tail == expected && r.output == r.tail + r.tail_len &&
             r.state == r.output + r.output_len);
        must(r.resume <= r.tail_len && (!r.is_paused || r.output_len > 0));
        must(r.tail_len == 0 || r.phase == MOVED_OPEN);
        must(sum(r.tail, r.tail_len) + sum(r.output, r.output_len) + sum(r.state, r.state_len) <=
             255 * (r.tail_len + r.output_len + r.state_len));
        expected = r.state + r.state_len;
        n++;
    }
    must(n == count && expected == data + len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    if (data[0] == 0)
        try_batch(data + 1, size - 1);
    else if (data[0] == 255)
        try_answer(data + 1, size - 1);
    else
        try_file(data[0] & 0x80 ? MOVED_VERSION : MOVED_VERSION_OLD, data[0] & 0x7f, data + 1,
                 size - 1);
    return 0;
}
