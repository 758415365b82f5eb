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

/* So many first bytes of a separator in a block are looked at one by one. */
enum { FEW_PLACES = 4 };

struct walk {
    const struct frame_rule *rule;
    const uint8_t *data;
    size_t start; /* of the message that is being looked for the end of */
    uint64_t messages;
    enum frame_outcome outcome;
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

static inline bool is_separator(const struct walk *w, size_t at, size_t n)
{
    uint32_t here, separator;

    if (n != sizeof(here))
        return memcmp(w->data + at, w->rule->separator, n) == 0;
    memcpy(&here, w->data + at, sizeof(here));
    memcpy(&separator, w->rule->separator, sizeof(separator));
    return here == separator;
}

/* A loop, as a call in the middle of the walk would make all of it keep its registers safe. */
static inline bool is_quit(const struct walk *w, size_t message_len)
{
    size_t i = 0;

    if (likely(message_len != w->rule->quit_len) || message_len == 0)
        return false;
    while (i < message_len && w->data[w->start + i] == w->rule->quit[i])
        i++;
    return i == message_len;
}

/* A separator begins at @at: a message ends there. Returns false when the scan is over. */
static inline bool walk_message(struct walk *w, size_t at, size_t n)
{
    const size_t message_len = at - w->start;

    if (unlikely(message_len > w->rule->max_message)) {
        w->outcome = FRAME_TOO_BIG;
        return false;
    }
    if (is_quit(w, message_len))
        w->outcome = FRAME_QUIT;
    w->messages++;
    w->start = at + n;
    return w->outcome == FRAME_PENDING;
}

/*
 * The places where a separator may begin: bit 0 of @mask stands for @base. Returns false when the
 * scan is over.
 */
static inline bool walk_places(struct walk *w, size_t base, uint64_t mask, size_t n)
{
    for (; mask; mask &= mask - 1) {
        const size_t at = base + (size_t)__builtin_ctzll(mask);

        /* One that begins before `start` overlaps the separator before. */
        if (at >= w->start && is_separator(w, at, n) && !walk_message(w, at, n))
            return false;
    }
    return true;
}

static inline bool is_dense(uint64_t mask)
{
    for (unsigned i = 0; i < FEW_PLACES; i++)
        mask &= mask - 1;
    return mask != 0;
}

static inline uint64_t places(const struct walk *w, size_t at, size_t n,
                              const struct frame_steps *steps)
{
    const uint8_t *separator = w->rule->separator;
    const uint64_t mask = steps->first(w->data + at, FRAME_BLOCK, separator[0]);

    return unlikely(is_dense(mask)) ? steps->exact(w->data + at, separator, n) : mask;
}

static inline void walk_blocks(struct walk *w, size_t from, size_t len, size_t n,
                               const struct frame_steps *steps)
{
    const size_t last = len - n + 1 - FRAME_BLOCK; /* where the last whole block begins */
    const uint8_t c = w->rule->separator[0];

    do {
        const uint64_t mask = places(w, from, n, steps);

        if (!walk_places(w, from, mask, n))
            return;
        from += FRAME_BLOCK;
        if (!mask)
            from = (size_t)(steps->skip(w->data + from, w->data + len, c) - w->data);
    } while (from <= last);
    /* The rest is the end of the last whole block. */
    if (from - last < FRAME_BLOCK)
        walk_places(w, from, places(w, last, n, steps) >> (from - last), n);
}

/* Can @len unfinished bytes still become a message that is allowed? */
static __attribute__((noinline)) bool is_too_big(const struct frame_rule *r, const uint8_t *data,
                                                 size_t len)
{
    if (len <= r->max_message)
        return false;
    /* The separator can begin, at the earliest, with the longest end that is its beginning. */
    for (size_t k = MIN(len, (size_t)r->separator_len - 1); k > 0; k--)
        if (memcmp(data + len - k, r->separator, k) == 0)
            return len - k > r->max_message;
    return true;
}

static inline __attribute__((always_inline)) void
scan(const struct frame_rule *r, const uint8_t *data, size_t len, size_t resume, size_t n,
     const struct frame_steps *steps, struct frame_result *ret)
{
    struct walk w = {.rule = r, .data = data, .outcome = FRAME_PENDING};
    const size_t size = len - resume;
    size_t rest;

    if (size >= FRAME_BLOCK + n - 1)
        walk_blocks(&w, resume, len, n, steps);
    else if (size >= n)
        walk_places(&w, resume, steps->first(data + resume, size - n + 1, r->separator[0]), n);
    rest = len - w.start;
    if (unlikely(rest > r->max_message) && w.outcome == FRAME_PENDING &&
        is_too_big(r, data + w.start, rest))
        w.outcome = FRAME_TOO_BIG;
    ret->outcome = w.outcome;
    ret->complete = w.start;
    ret->resume = rest < n ? 0 : rest - (n - 1);
    ret->messages = w.messages;
    ret->scanned = size;
}

/* The usual case, which needs few registers and no stack: one short message and nothing else. */
static inline __attribute__((always_inline)) bool find_one(const struct frame_rule *r,
                                                           const uint8_t *data, size_t len,
                                                           const struct frame_steps *steps,
                                                           struct frame_result *ret)
{
    const struct walk w = {.rule = r, .data = data};
    const size_t message_len = len - 4;

    if (message_len > r->max_message || message_len == r->quit_len ||
        steps->first(data, len - 3, r->separator[0]) != UINT64_C(1) << message_len ||
        !is_separator(&w, message_len, 4))
        return false;
    *ret = (struct frame_result){.complete = len, .messages = 1, .scanned = len};
    return true;
}

/* The usual separator has four bytes: a constant makes its comparison one instruction. */
#define DEFINE_FIND(name, attributes)                                                              \
    static const struct frame_steps steps_##name = {frame_first_##name, frame_exact_##name,        \
                                                    frame_skip_##name};                            \
    attributes __attribute__((flatten, noinline)) static void find_any_##name(                     \
        const struct frame_rule *r, const uint8_t *data, size_t len, size_t resume,                \
        struct frame_result *ret)                                                                  \
    {                                                                                              \
        if (r->separator_len == 4)                                                                 \
            scan(r, data, len, resume, 4, &steps_##name, ret);                                     \
        else if (r->separator_len > 0)                                                             \
            scan(r, data, len, resume, r->separator_len, &steps_##name, ret);                      \
        else                                                                                       \
            *ret = (struct frame_result){.complete = len, .messages = len > 0};                    \
    }                                                                                              \
    attributes __attribute__((flatten)) static void find_##name(                                   \
        const struct frame_rule *r, const uint8_t *data, size_t len, size_t resume,                \
        struct frame_result *ret)                                                                  \
    {                                                                                              \
        if (r->separator_len != 4 || resume > 0 || len < 4 || len >= FRAME_BLOCK + 3 ||            \
            !find_one(r, data, len, &steps_##name, ret))                                           \
            find_any_##name(r, data, len, resume, ret);                                            \
    }

DEFINE_FIND(portable, )
#ifdef __x86_64__
DEFINE_FIND(sse2, )
DEFINE_FIND(avx2, FRAME_AVX2_CODE)
#endif

bool frame_kernel_is_usable(enum frame_kernel kernel)
{
#ifdef __x86_64__
    return kernel != FRAME_AVX2 ||
           (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"));
#else
    return kernel == FRAME_PORTABLE;
#endif
}

void frame_find_with(enum frame_kernel kernel, const struct frame_rule *r, const uint8_t *data,
                     size_t len, size_t resume, struct frame_result *ret)
{
    switch (kernel) {
#ifdef __x86_64__
    case FRAME_SSE2:
        find_sse2(r, data, len, resume, ret);
        return;
    case FRAME_AVX2:
        find_avx2(r, data, len, resume, ret);
        return;
#endif
    default:
        find_portable(r, data, len, resume, ret);
    }
}

void frame_find(const struct frame_rule *r, const uint8_t *data, size_t len, size_t resume,
                struct frame_result *ret)
{
#ifdef __x86_64__
    if (likely(frame_kernel_is_usable(FRAME_AVX2)))
        find_avx2(r, data, len, resume, ret);
    else
        find_sse2(r, data, len, resume, ret);
#else
    find_portable(r, data, len, resume, ret);
#endif
}

void frame_find_first(const struct frame_rule *r, const uint8_t *data, size_t len, size_t resume,
                      struct frame_result *ret)
{
    struct walk w = {.rule = r, .data = data, .outcome = FRAME_PENDING};
    const size_t n = r->separator_len;
    const uint8_t *found = NULL;

    if (n == 0) {
        *ret = (struct frame_result){.complete = len, .messages = len > 0};
        return;
    }
    if (len - resume >= n)
        found = memmem(data + resume, len - resume, r->separator, n);
    if (found)
        walk_message(&w, (size_t)(found - data), n);
    else if (is_too_big(r, data, len))
        w.outcome = FRAME_TOO_BIG;
    *ret = (struct frame_result){
        .outcome = w.outcome,
        .complete = w.start,
        .resume = found || len < n ? 0 : len - (n - 1),
        .messages = w.messages,
        .scanned = (found ? (size_t)(found - data) + n : len) - resume,
    };
}

/* Would the separator be found across the joint? */
static bool ends_early(const struct frame_rule *r, const uint8_t *message, size_t len)
{
    size_t n = r->separator_len;

    for (size_t k = 1; k < n && k <= len; k++)
        if (memcmp(message + len - k, r->separator, k) == 0 &&
            memcmp(r->separator + k, r->separator, n - k) == 0)
            return true;
    return false;
}

bool frame_is_one(const struct frame_rule *r, const void *message, size_t len)
{
    if (r->separator_len == 0 || len == 0)
        return true;
    return !memmem(message, len, r->separator, r->separator_len) && !ends_early(r, message, len);
}
