/*
 * Framing: the walk over the separators that the kernel finds. Pure; any process.
 *
 * Every byte is examined once, and the last separator_len - 1 ones of an unfinished message a
 * second time when more has come.
 */
#include "wire/frame.h"

#include <errno.h>
#include <string.h>

#include "base/util.h"
#include "wire/frame_kernel.h"

struct walk {
    const struct frame_rule *rule;
    const uint8_t *data;
    size_t start; /* of the message that is being looked for the end of */
    uint64_t messages;
    enum frame_verdict verdict;
};

int frame_rule_init(struct frame_rule *r, const void *separator, size_t separator_len,
                    size_t max_message, const void *quit, size_t quit_len)
{
    struct frame_rule rule = {.max_message = max_message};

    if (separator_len > sizeof(rule.separator) || quit_len > sizeof(rule.quit))
        return -EINVAL;
    if (separator_len > 0)
        memcpy(rule.separator, separator, separator_len);
    if (quit_len > 0)
        memcpy(rule.quit, quit, quit_len);
    rule.separator_len = (uint8_t)separator_len;
    rule.quit_len = (uint8_t)quit_len;
    *r = rule;
    return 0;
}

/* The separators of one block, the first at @base. Returns false when the scan is over. */
static inline bool walk_block(struct walk *w, size_t base, uint64_t mask, size_t n)
{
    for (; mask; mask &= mask - 1) {
        const size_t at = base + (size_t)__builtin_ctzll(mask);
        const size_t message_len = at - w->start;

        if (at < w->start) /* it overlaps the one before */
            continue;
        if (unlikely(message_len > w->rule->max_message)) {
            w->verdict = FRAME_TOO_BIG;
            return false;
        }
        w->messages++;
        w->start = at + n;
        if (unlikely(message_len == w->rule->quit_len) && message_len > 0 &&
            memcmp(w->data + at - message_len, w->rule->quit, message_len) == 0) {
            w->verdict = FRAME_QUIT;
            return false;
        }
    }
    return true;
}

/* Too short for a block: a padded copy, of which only the first positions count. */
static inline void walk_short(struct walk *w, size_t from, size_t len, size_t n, frame_mask *mask)
{
    uint8_t block[FRAME_BLOCK + FRAME_SEPARATOR_MAX] = {0};
    const size_t size = len - from;

    if (size < n)
        return;
    memcpy(block, w->data + from, size);
    walk_block(w, from, mask(block, w->rule->separator, n) & ((UINT64_C(2) << (size - n)) - 1), n);
}

static inline void walk_long(struct walk *w, size_t from, size_t len, size_t n, frame_mask *mask,
                             frame_skip *skip)
{
    const uint8_t *separator = w->rule->separator;
    const size_t last = len - (FRAME_BLOCK + n - 1); /* where the last whole block begins */

    while (from <= last) {
        const uint64_t hits = mask(w->data + from, separator, n);

        if (!walk_block(w, from, hits, n))
            return;
        from += FRAME_BLOCK;
        if (!hits)
            from = (size_t)(skip(w->data + from, w->data + len, separator[0]) - w->data);
    }
    /* The rest, as the end of the last whole block. */
    if (from - last < FRAME_BLOCK)
        walk_block(w, from, mask(w->data + last, separator, n) >> (from - last), n);
}

/* Can @len unfinished bytes still become a message that is allowed? */
static bool is_too_big(const struct frame_rule *r, const uint8_t *data, size_t len)
{
    if (len <= r->max_message)
        return false;
    /* The separator can begin, at the earliest, with the longest end that is its beginning. */
    for (size_t k = MIN(len, (size_t)r->separator_len - 1); k > 0; k--)
        if (memcmp(data + len - k, r->separator, k) == 0)
            return len - k > r->max_message;
    return true;
}

static inline __attribute__((always_inline)) struct frame_result
scan(const struct frame_rule *r, const uint8_t *data, size_t len, size_t resume, size_t n,
     frame_mask *mask, frame_skip *skip)
{
    struct walk w = {.rule = r, .data = data, .verdict = FRAME_PENDING};
    struct frame_result result;
    size_t rest;

    if (len - resume < FRAME_BLOCK + n - 1)
        walk_short(&w, resume, len, n, mask);
    else
        walk_long(&w, resume, len, n, mask, skip);
    rest = len - w.start;
    if (unlikely(w.verdict == FRAME_PENDING && rest > r->max_message) &&
        is_too_big(r, data + w.start, rest))
        w.verdict = FRAME_TOO_BIG;
    result.verdict = w.verdict;
    result.complete = w.start;
    result.resume = rest < n ? 0 : rest - (n - 1);
    result.messages = w.messages;
    result.scanned = len - resume;
    return result;
}

/* The usual separator has four bytes: with a constant the inner loops are unrolled. */
#define DEFINE_SCAN(name, attributes)                                                              \
    attributes __attribute__((flatten)) static struct frame_result scan_##name(                    \
        const struct frame_rule *r, const uint8_t *data, size_t len, size_t resume)                \
    {                                                                                              \
        if (likely(r->separator_len == 4))                                                         \
            return scan(r, data, len, resume, 4, frame_mask_##name, frame_skip_##name);            \
        return scan(r, data, len, resume, r->separator_len, frame_mask_##name, frame_skip_##name); \
    }

DEFINE_SCAN(portable, )
#ifdef __x86_64__
DEFINE_SCAN(sse2, )
DEFINE_SCAN(avx2, FRAME_AVX2_CODE)
#endif

bool frame_kernel_is_usable(enum frame_kernel kernel)
{
    switch (kernel) {
    case FRAME_PORTABLE:
        return true;
#ifdef __x86_64__
    case FRAME_SSE2:
        return true;
    case FRAME_AVX2:
        return __builtin_cpu_supports("avx2");
#endif
    default:
        return false;
    }
}

struct frame_result frame_scan_with(enum frame_kernel kernel, const struct frame_rule *r,
                                    const uint8_t *data, size_t len, size_t resume)
{
    switch (kernel) {
#ifdef __x86_64__
    case FRAME_SSE2:
        return scan_sse2(r, data, len, resume);
    case FRAME_AVX2:
        return scan_avx2(r, data, len, resume);
#endif
    default:
        return scan_portable(r, data, len, resume);
    }
}

struct frame_result frame_scan(const struct frame_rule *r, const uint8_t *data, size_t len,
                               size_t resume)
{
    if (unlikely(r->separator_len == 0))
        return (struct frame_result){.complete = len, .messages = len > 0};
#ifdef __x86_64__
    if (likely(__builtin_cpu_supports("avx2")))
        return scan_avx2(r, data, len, resume);
    return scan_sse2(r, data, len, resume);
#else
    return scan_portable(r, data, len, resume);
#endif
}
