/*
 * The inner steps of the separator search, one pair for each instruction set; private to frame.c,
 * its tests and its benchmark.
 *
 * `mask` answers exactly, for 64 positions at once, where a separator begins. It compares every
 * position with every byte of the separator, so its cost does not depend on the payload: there is
 * no candidate that a peer could provoke. `skip` runs over blocks without the first byte.
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

/* frame_scan_with - frame_scan by a given kernel; the rule has a separator */
struct frame_result frame_scan_with(enum frame_kernel kernel, const struct frame_rule *r,
                                    const uint8_t *data, size_t len, size_t resume);

/* Bit i: the separator @sep of @n bytes begins at @p + i. Reads FRAME_BLOCK + @n - 1 bytes. */
typedef uint64_t frame_mask(const uint8_t *p, const uint8_t *sep, size_t n);

/* A place at or behind @p before which there is no @c; in a long text, near the next one. */
typedef const uint8_t *frame_skip(const uint8_t *p, const uint8_t *end, uint8_t c);

static inline uint64_t frame_mask_portable(const uint8_t *p, const uint8_t *sep, size_t n)
{
    uint8_t is_equal[FRAME_BLOCK];
    uint64_t mask = 0;

    for (size_t i = 0; i < FRAME_BLOCK; i++)
        is_equal[i] = p[i] == sep[0];
    for (size_t k = 1; k < n; k++)
        for (size_t i = 0; i < FRAME_BLOCK; i++)
            is_equal[i] &= p[i + k] == sep[k];
    for (size_t i = 0; i < FRAME_BLOCK; i += 8) {
        uint64_t word;

        /* Bit 8k of the word moves to bit 56 + k of the product. */
        memcpy(&word, is_equal + i, sizeof(word));
        mask |= (le64toh(word) * UINT64_C(0x0102040810204080)) >> 56 << i;
    }
    return mask;
}

static inline const uint8_t *frame_skip_portable(const uint8_t *p, const uint8_t *end, uint8_t c)
{
    const uint8_t *found = memchr(p, c, (size_t)(end - p));

    return found ? found : end;
}

#ifdef __x86_64__
#include <immintrin.h>

#define FRAME_AVX2_CODE __attribute__((target("avx2")))

#define FRAME_EQ_16(p, c) _mm_cmpeq_epi8(_mm_loadu_si128((const void *)(p)), c)
#define FRAME_EQ_32(p, c) _mm256_cmpeq_epi8(_mm256_loadu_si256((const void *)(p)), c)

static inline uint64_t frame_mask_sse2(const uint8_t *p, const uint8_t *sep, size_t n)
{
    const __m128i first = _mm_set1_epi8((char)sep[0]);
    __m128i a = FRAME_EQ_16(p, first), b = FRAME_EQ_16(p + 16, first);
    __m128i c = FRAME_EQ_16(p + 32, first), d = FRAME_EQ_16(p + 48, first);

#pragma GCC unroll 4
    for (size_t k = 1; k < n; k++) {
        const __m128i next = _mm_set1_epi8((char)sep[k]);

        a = _mm_and_si128(a, FRAME_EQ_16(p + k, next));
        b = _mm_and_si128(b, FRAME_EQ_16(p + k + 16, next));
        c = _mm_and_si128(c, FRAME_EQ_16(p + k + 32, next));
        d = _mm_and_si128(d, FRAME_EQ_16(p + k + 48, next));
    }
    return (uint64_t)_mm_movemask_epi8(a) | (uint64_t)_mm_movemask_epi8(b) << 16 |
           (uint64_t)_mm_movemask_epi8(c) << 32 | (uint64_t)_mm_movemask_epi8(d) << 48;
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

FRAME_AVX2_CODE static inline uint64_t frame_mask_avx2(const uint8_t *p, const uint8_t *sep,
                                                       size_t n)
{
    const __m256i first = _mm256_set1_epi8((char)sep[0]);
    __m256i low = FRAME_EQ_32(p, first), high = FRAME_EQ_32(p + 32, first);

#pragma GCC unroll 4
    for (size_t k = 1; k < n; k++) {
        const __m256i next = _mm256_set1_epi8((char)sep[k]);

        low = _mm256_and_si256(low, FRAME_EQ_32(p + k, next));
        high = _mm256_and_si256(high, FRAME_EQ_32(p + k + 32, next));
    }
    return (uint64_t)(uint32_t)_mm256_movemask_epi8(low) |
           (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
}

FRAME_AVX2_CODE static inline const uint8_t *frame_skip_avx2(const uint8_t *p, const uint8_t *end,
                                                             uint8_t c)
{
    const __m256i first = _mm256_set1_epi8((char)c);

    if (end - p < 160 || _mm256_movemask_epi8(FRAME_EQ_32(p, first)))
        return p;
    p += 32 - ((uintptr_t)p & 31); /* two of three loads would cross a cache line otherwise */
    for (; end - p >= 128; p += 128) {
        const __m256i low = _mm256_or_si256(FRAME_EQ_32(p, first), FRAME_EQ_32(p + 32, first));
        const __m256i high =
            _mm256_or_si256(FRAME_EQ_32(p + 64, first), FRAME_EQ_32(p + 96, first));

        if (_mm256_movemask_epi8(_mm256_or_si256(low, high)))
            break;
    }
    return p;
}
#endif

#endif
