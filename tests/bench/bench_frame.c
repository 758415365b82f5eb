/*
 * The speed of the separator search on payloads of every temper, beside memchr('\r') and memmem,
 * in GB/s: each kernel that this processor can run, then the two library functions, each used as a
 * splitter would use it. The best of several rounds counts.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/clock.h"
#include "base/util.h"
#include "wire/frame_kernel.h"

enum { ROUNDS = 7, ROUND_NS = 10000000 };

static struct frame_rule rule;
static volatile uint64_t sink;

typedef uint64_t search(const uint8_t *data, size_t len);

static uint64_t search_portable(const uint8_t *data, size_t len)
{
    struct frame_result r;

    frame_find_with(FRAME_PORTABLE, &rule, data, len, 0, &r);
    return r.messages;
}

static uint64_t search_sse2(const uint8_t *data, size_t len)
{
    struct frame_result r;

    frame_find_with(FRAME_SSE2, &rule, data, len, 0, &r);
    return r.messages;
}

static uint64_t search_frame(const uint8_t *data, size_t len)
{
    return frame_scan(&rule, data, len, 0).messages;
}

static uint64_t search_memchr(const uint8_t *data, size_t len)
{
    const uint8_t *p = data, *end = data + len;
    uint64_t messages = 0;

    while ((p = memchr(p, '\r', (size_t)(end - p)))) {
        if (end - p >= 4 && memcmp(p, rule.separator, 4) == 0) {
            messages++;
            p += 4;
        } else {
            p++;
        }
    }
    return messages;
}

static uint64_t search_memmem(const uint8_t *data, size_t len)
{
    const uint8_t *p = data, *end = data + len;
    uint64_t messages = 0;

    while ((p = memmem(p, (size_t)(end - p), rule.separator, 4))) {
        messages++;
        p += 4;
    }
    return messages;
}

/* One call over the data, in GB/s and ns. */
static double measure(search *fn, const uint8_t *data, size_t len)
{
    double best = 0;

    for (int round = 0; round < ROUNDS; round++) {
        const uint64_t begin = clock_mono_ns();
        uint64_t now = begin, calls = 0;

        while (now - begin < ROUND_NS) {
            for (int i = 0; i < 16; i++)
                sink += fn(data, len);
            calls += 16;
            now = clock_mono_ns();
        }
        best = MAX(best, (double)(calls * len) / (double)(now - begin));
    }
    return best;
}

static void fill(uint8_t *data, size_t len, const char *pattern, size_t pattern_len)
{
    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)pattern[i % pattern_len];
}

static const struct {
    const char *name;
    const char *pattern;
    size_t len;
} payloads[] = {
    {"text", "the quick brown fox jumps over the lazy dog, ", 65536},
    {"text in lines of 80, CR LF",
     "the quick brown fox jumps over the lazy dog, again and again, until it is bored\r\n", 65536},
    {"all CR", "\r", 65536},
    {"all LF", "\n", 65536},
    {"CR LF CR", "\r\n\r", 65536},
    {"LF LF CR LF CR", "\n\n\r\n\r", 65536},
    {"CR CR CR LF LF LF", "\r\r\r\n\n\n", 65536},
    {"CR LF CR CR LF CR LF x", "\r\n\r\r\n\r\nx", 65536},
    {"empty messages", "\r\n\r\n", 65536},
    {"64 B messages, 60 KiB",
     "0123456789012345678901234567890123456789012345678901234567890123\r\n\r\n", 68 * 900},
    {"64 B messages, 16",
     "0123456789012345678901234567890123456789012345678901234567890123\r\n\r\n", 68 * 16},
    {"64 B messages, 1", "0123456789012345678901234567890123456789012345678901234567890123\r\n\r\n",
     68},
    {"6 B messages, 1", "Hello!\r\n\r\n", 10},
    {"text, 16 KiB", "the quick brown fox jumps over the lazy dog, ", 16384},
    {"text, 1 MiB", "the quick brown fox jumps over the lazy dog, ", 1 << 20},
};

int main(void)
{
    static const struct {
        const char *name;
        search *fn;
    } columns[] = {
        {"frame", search_frame},   {"sse2", search_sse2},     {"portable", search_portable},
        {"memchr", search_memchr}, {"memmem", search_memmem},
    };
    uint8_t *data = malloc(1 << 20);

    if (!data || frame_rule_init(&rule, "\r\n\r\n", 4, SIZE_MAX, "QUIT", 4) < 0) {
        free(data);
        return 1;
    }
    printf("separator search, GB/s\n%-26s", "payload");
    for (size_t i = 0; i < ARRAY_SIZE(columns); i++)
        printf(" %9s", columns[i].name);
    printf(" %9s\n", "frame, ns");
    for (size_t k = 0; k < ARRAY_SIZE(payloads); k++) {
        double first = 0;

        fill(data, payloads[k].len, payloads[k].pattern, strlen(payloads[k].pattern));
        printf("%-26s", payloads[k].name);
        for (size_t i = 0; i < ARRAY_SIZE(columns); i++) {
            const double speed = measure(columns[i].fn, data, payloads[k].len);

            first = i == 0 ? speed : first;
            printf(" %9.2f", speed);
        }
        printf(" %9.0f\n", (double)payloads[k].len / first);
    }
    free(data);
    return 0;
}
