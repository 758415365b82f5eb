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
 * num_parse_duration_ms - seconds, whole or with a fraction ("30", "0.25", "1e1"), to milliseconds
 * A positive value below one millisecond becomes one. Returns 0, -EINVAL or -ERANGE (inf and nan
 * too).
 */
int num_parse_duration_ms(const char *text, uint64_t min_ms, uint64_t max_ms, uint64_t *ret_ms);

/*
 * num_format_duration_ms - seconds, the shortest text that num_parse_duration_ms reads back
 * @buf  of NUM_DURATION_LEN bytes. Returns @buf: "30", "0.25".
 */
enum { NUM_DURATION_LEN = 32 };
char *num_format_duration_ms(uint64_t ms, char *buf);

/*
 * num_parse_size - bytes, with an optional suffix KiB, MiB, GiB ("64KiB", "16MiB", "65536")
 * Returns 0, -EINVAL or -ERANGE.
 */
int num_parse_size(const char *text, uint64_t min, uint64_t max, uint64_t *ret_bytes);

/* num_format_size - the shortest text that num_parse_size reads back; @buf of NUM_SIZE_LEN bytes */
enum { NUM_SIZE_LEN = 24 };
char *num_format_size(uint64_t bytes, char *buf);

#endif
