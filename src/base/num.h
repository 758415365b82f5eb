/*
 * Strict readings of numbers that people write: whole text or nothing, no wrap, no locale.
 */
#ifndef BASE_NUM_H
#define BASE_NUM_H

#include <stddef.h>
#include <stdint.h>

/*
 * num_put - @value to the @base (2 to 16), behind zeros if it has fewer than @width digits
 * @p  room for NUM_PUT_LEN bytes (base 10 or 16, width up to 16)
 * Returns the end, which is terminated. Async-signal-safe.
 */
enum { NUM_PUT_LEN = 24 };
char *num_put(char *p, uint64_t value, unsigned base, size_t width);

/*
 * num_parse_u64 - decimal digits only
 * @text     borrowed, NUL-terminated; no sign, blank, leading zero or trailing bytes
 * @min,@max inclusive range
 * @ret      untouched on failure
 * Returns 0, -EINVAL (not a number) or -ERANGE.
 */
int num_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

/*
 * ---- amounts: NUMBER or NUMBERUNIT, the same on command lines and in files ----
 * A number has digits, perhaps a point and perhaps an exponent: "30", "0.25", ".2", "1e1"; no sign,
 * blank or leading zero. A result that is no whole number is rounded, a half up; what is more than
 * 0 is at least 1.
 */
struct num_unit {
    const char *suffix;
    unsigned factor, zeros; /* the unit is factor * 10^zeros */
};

/* num_parse_amount - a number with one of these units. Returns 0, -EINVAL or -ERANGE; @ret is
 * untouched on failure, here and below. */
int num_parse_amount(const char *text, const struct num_unit *units, size_t n_units, uint64_t min,
                     uint64_t max, uint64_t *ret);

/* num_parse_duration_ms - "200ms", "30s", "5m", "1h", or a number of seconds, to milliseconds */
int num_parse_duration_ms(const char *text, uint64_t min_ms, uint64_t max_ms, uint64_t *ret_ms);
#define NUM_DURATION_LIKE "200ms, 2, 30s, 5m or 1h"

/*
 * num_format_duration_ms - seconds, the shortest text that num_parse_duration_ms reads back
 * @buf  of NUM_DURATION_LEN bytes. Returns @buf: "30", "0.25".
 */
enum { NUM_DURATION_LEN = 32 };
char *num_format_duration_ms(uint64_t ms, char *buf);

/* num_parse_size - bytes, or with k, K or KiB, M or MiB, G or GiB, which are powers of 1024; of a
 * part of a byte -EINVAL */
int num_parse_size(const char *text, uint64_t min, uint64_t max, uint64_t *ret_bytes);
#define NUM_SIZE_LIKE "1000, 64k or 64KiB"

/* num_format_size - the shortest text that num_parse_size reads back; @buf of NUM_SIZE_LEN bytes */
enum { NUM_SIZE_LEN = 24 };
char *num_format_size(uint64_t bytes, char *buf);

#endif
