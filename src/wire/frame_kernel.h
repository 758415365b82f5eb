/*
 * The inner steps of the separator search for each instruction set; private to frame.c, its tests
 * and its benchmark.
 *
 * `skip` runs over text without the separator's first byte, at the speed of memchr. `first` marks
 * where that byte stands in a block, and each place is looked at. A peer may choose a payload that
 * is full of it: then `exact` compares every position of the block with every byte of the
 * separator, at a cost that does not depend on the payload.
 */
#ifndef WIRE_FRAME_KERNEL_H
#define WIRE_FRAME_KERNEL_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "wire/frame.h"

enum { FRAME_BLOCK = 64 };

enum frame_kernel { FRAME_PORTABLE, FRAME_SSE2, FRAME_AVX2, FRAME_KERNELS };

/* frame_kernel_is_usable - can this processor run it? */
bool frame_kernel_is_usable(enum frame_kernel kernel);

/* frame_find_with - frame_find by a given kernel */
void frame_find_with(enum frame_kernel kernel, const struct frame_rule *r, const uint8_t *data,
                     size_t len, size_t resume, struct frame_result *ret);

struct frame_steps {
    /* Bit i: @p[i] is @c, for @n positions, 1..FRAME_BLOCK. */
    uint64_t (*first)(const uint8_t *p, size_t n, uint8_t c);
    /* Bit i: @sep of @sep_len bytes begins at @p + i. Reads FRAME_BLOCK + @sep_len - 1 bytes. */
    uint64_t (*exact)(const uint8_t *p, const uint8_t *sep, size_t sep_len);
    /* A place from @p to @end before which there is no @c; in a long text, near the next one. */
    const uint8_t *(*skip)(const uint8_t *p, const uint8_t *end, uint8_t c);
};

static inline uint64_t frame_bits(const uint8_t *is_set, size_t n)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < n; i += 8) {
        uint64_t word;

        /* Bit 8k of the word moves to bit 56 + k of the product. */
        memcpy(&word, is_set + i, sizeof(word));
        mask |= (le64toh(word) * UINT64_C(0x0102040810204080)) >> 56 << i;
    }
    return mask;
}

static inline uint64_t frame_first_portable(const uint8_t *p, size_t n, uint8_t c)
{
    uint8_t is_first[FRAME_BLOCK] = {0};

    for (size_t i = 0; i < n; i++)
        is_first[i] = p[i] == c;
    return frame_bits(is_first, FRAME_BLOCK);
}

static inline uint64_t frame_exact_portable(const uint8_t *p, const uint8_t *sep, size_t sep_len)
{
    uint8_t is_equal[FRAME_BLOCK];

    for (size_t i = 0; i < FRAME_BLOCK; i++)
        is_equal[i] = p[i] == sep[0];
    for (size_t k = 1; k < sep_len; k++)
        for (size_t i = 0; i < FRAME_BLOCK; i++)
            is_equal[i] &= p[i + k] == sep[k];
    return frame_bits(is_equal, FRAME_BLOCK);
}

static inline const uint8_t *frame_skip_portable(const uint8_t *p, const uint8_t *end, uint8_t c)
{
    const uint8_t *found = memchr(p, c, (size_t)(end - p));

    return found ? found : end;
}

#ifdef __x86_64__
#include <immintrin.h>

#define FRAME_AVX2_CODE   __attribute__((target("avx2,bmi")))
#define FRAME_EQ_16(p, c) _mm_cmpeq_epi8(_mm_loadu_si128((const void *)(p)), c)
#define FRAME_EQ_32(p, c) _mm256_cmpeq_epi8(_mm256_loadu_si256((const void *)(p)), c)
#define FRAME_MASK_16(v)  ((uint64_t)(uint32_t)_mm_movemask_epi8(v))
#define FRAME_MASK_32(v)  ((uint64_t)(uint32_t)_mm256_movemask_epi8(v))

static inline uint64_t frame_first_few(const uint8_t *p, size_t n, uint8_t c)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < n; i++)
        mask |= (uint64_t)(p[i] == c) << i;
    return mask;
}

/* Any number of positions is covered by vectors that overlap; what is marked twice is one bit. */
static inline uint64_t frame_first_sse2(const uint8_t *p, size_t n, uint8_t c)
{
    const __m128i first = _mm_set1_epi8((char)c);
    uint64_t mask;

    if (n < 16)
        return frame_first_few(p, n, c);
    mask = FRAME_MASK_16(FRAME_EQ_16(p + n - 16, first)) << (n - 16);
    for (size_t i = 0; i + 16 < n; i += 16)
        mask |= FRAME_MASK_16(FRAME_EQ_16(p + i, first)) << i;
    return mask;
}

static inline uint64_t frame_exact_sse2(const uint8_t *p, const uint8_t *sep, size_t sep_len)
{
    const __m128i first = _mm_set1_epi8((char)sep[0]);
    __m128i a = FRAME_EQ_16(p, first), b = FRAME_EQ_16(p + 16, first);
    __m128i c = FRAME_EQ_16(p + 32, first), d = FRAME_EQ_16(p + 48, first);

    for (size_t k = 1; k < sep_len; k++) {
        const __m128i next = _mm_set1_epi8((char)sep[k]);

        a = _mm_and_si128(a, FRAME_EQ_16(p + k, next));
        b = _mm_and_si128(b, FRAME_EQ_16(p + k + 16, next));
        c = _mm_and_si128(c, FRAME_EQ_16(p + k + 32, next));
        d = _mm_and_si128(d, FRAME_EQ_16(p + k + 48, next));
    }
    return FRAME_MASK_16(a) | FRAME_MASK_16(b) << 16 | FRAME_MASK_16(c) << 32 |
           FRAME_MASK_16(d) << 48;
}

static inline const uint8_t *frame_skip_sse2(const uint8_t *p, const uint8_t *end, uint8_t c)
{
    const __m128i first = _mm_set1_epi8((char)c);

    for (; end - p >= 64; p += 64) {
        const __m128i low = _mm_or_si128(FRAME_EQ_16(p, first), FRAME_EQ_16(p + 16, first));
        const __m128i high = _mm_or_si128(FRAME_EQ_16(p + 32, first), FRAME_EQ_16(p + 48, first));

        if (_mm_movemask_epi8(_mm_or_si128(low, high)))
            break;
    }
    return p;
}

FRAME_AVX2_CODE static inline uint64_t frame_first_avx2(const uint8_t *p, size_t n, uint8_t c)
{
    const __m256i first = _mm256_set1_epi8((char)c);

    if (n < 32)
        return frame_first_sse2(p, n, c);
    return FRAME_MASK_32(FRAME_EQ_32(p, first)) | FRAME_MASK_32(FRAME_EQ_32(p + n - 32, first))
                                                      << (n - 32);
}

FRAME_AVX2_CODE static inline uint64_t frame_exact_avx2(const uint8_t *p, const uint8_t *sep,
                                                        size_t sep_len)
{
    const __m256i first = _mm256_set1_epi8((char)sep[0]);
    __m256i low = FRAME_EQ_32(p, first), high = FRAME_EQ_32(p + 32, first);

    for (size_t k = 1; k < sep_len; k++) {
        const __m256i next = _mm256_set1_epi8((char)sep[k]);

        low = _mm256_and_si256(low, FRAME_EQ_32(p + k, next));
        high = _mm256_and_si256(high, FRAME_EQ_32(p + k + 32, next));
    }
    return FRAME_MASK_32(low) | FRAME_MASK_32(high) << 32;
}

FRAME_AVX2_CODE static inline const uint8_t *frame_skip_avx2(const uint8_t *p, const uint8_t *end,
                                                             uint8_t c)
{
    const __m256i first = _mm256_set1_epi8((char)c);

    if (end - p < 160 || FRAME_MASK_32(FRAME_EQ_32(p, first)))
        return p;
    p += 32 - ((uintptr_t)p & 31); /* two of three loads would cross a cache line otherwise */
    for (; end - p >= 128; p += 128) {
        const __m256i low = _mm256_or_si256(FRAME_EQ_32(p, first), FRAME_EQ_32(p + 32, first));
        const __m256i high =
            _mm256_or_si256(FRAME_EQ_32(p + 64, first), FRAME_EQ_32(p + 96, first));

        if (FRAME_MASK_32(_mm256_or_si256(low, high)))
            break;
    }
    return p;
}
#endif

#endif
