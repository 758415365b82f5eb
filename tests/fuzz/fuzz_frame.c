/*
 * The framing in pieces against the naive splitter on the whole, for every kernel, with the bound
 * on the bytes that are examined. The input: four bytes of setting, the separator, then the
 * conversation. Whatever the pieces are, verdict, prefix and count must be the same.
 */
#include "fuzz/fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "support/naive_split.h"
#include "wire/frame_kernel.h"

static const char *const separators[] = {"\r\n\r\n", "", "\n", "aa", "aba", "\r\n\r\n\r"};

enum { SEPARATORS = sizeof(separators) / sizeof(separators[0]) };

static void check(const struct frame_rule *r, int kernel, const uint8_t *data, size_t len,
                  uint32_t seed)
{
    const struct frame_result naive = naive_split(r, data, len);
    const uint32_t longest = seed % 251 + 1;
    struct piecewise p;
    size_t at = 0;

    piecewise_init(&p, r, kernel);
    while (at < len) {
        size_t n;

        seed = seed * 1103515245u + 12345u;
        n = 1 + (seed >> 16) % longest;
        n = n < len - at ? n : len - at;
        at += n;
        if (!piecewise_feed(&p, data + at - n, n))
            break;
    }
    if (r->separator_len == 0)
        p.sum.messages = naive.messages;
    if (!piecewise_agrees(&p, &naive, at)) {
        fprintf(
            stderr,
            "kernel %d: verdict %d for %d, prefix %zu for %zu, messages %zu for %zu, %zu scanned\n",
            kernel, (int)p.sum.outcome, (int)naive.outcome, p.sum.complete, naive.complete,
            (size_t)p.sum.messages, (size_t)naive.messages, (size_t)p.sum.scanned);
        abort();
    }
    piecewise_fini(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct frame_rule r;
    const void *separator;
    size_t separator_len, max_message;
    uint32_t seed;

    if (size < 4)
        return 0;
    max_message = data[1] < 128 ? data[1] : SIZE_MAX;
    seed = (uint32_t)data[2] << 8 | data[3];
    if (data[0] < 128) {
        separator = separators[data[0] % SEPARATORS];
        separator_len = strlen(separator);
        data += 4;
        size -= 4;
    } else {
        separator_len = data[0] % FRAME_SEPARATOR_MAX + 1u;
        if (size < 4 + separator_len)
            return 0;
        separator = data + 4;
        data += 4 + separator_len;
        size -= 4 + separator_len;
    }
    if (frame_rule_init(&r, separator, separator_len, max_message, "QUIT", seed & 1 ? 4 : 0) < 0)
        abort();
    check(&r, -1, data, size, seed);
    for (int kernel = 0; kernel < FRAME_KERNELS; kernel++)
        if (frame_kernel_is_usable((enum frame_kernel)kernel))
            check(&r, kernel, data, size, seed);
    return 0;
}
