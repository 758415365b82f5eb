/*
 * Strict numbers: a text is a number in full or not at all. Never through strtod or strtoull, which
 * take signs, blanks, hex, infinity and the locale's comma, and wrap. Pure; any process.
 */
#include "base/num.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

char *num_put(char *p, uint64_t value, unsigned base, size_t width)
{
    char reversed[64];
    size_t n = 0;

    do
        reversed[n++] = "0123456789abcdef"[value % base];
    while ((value /= base) > 0 || n < width);
    while (n > 0)
        *p++ = reversed[--n];
    *p = '\0';
    return p;
}

#define DIGITS "0123456789"

/* Longer shifts make any number 0 or too large. */
static const int64_t exponent_bound = 100000;

/* "0" or digits that do not begin with 0: "010" is eight to some readers and ten to others. */
static bool has_plain_digits(const char *text, size_t n)
{
    return n > 0 && (text[0] != '0' || n == 1);
}

static int push_digit(uint64_t *value, char digit)
{
    uint64_t next;

    if (__builtin_mul_overflow(*value, (uint64_t)10, &next) ||
        __builtin_add_overflow(next, (uint64_t)(digit - '0'), &next))
        return -ERANGE;
    *value = next;
    return 0;
}

int num_parse_u64(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    size_t n = strspn(text, DIGITS);
    uint64_t value = 0;

    if (text[n] != '\0' || !has_plain_digits(text, n))
        return -EINVAL;
    for (size_t i = 0; i < n; i++)
        if (push_digit(&value, text[i]) < 0)
            return -ERANGE;
    if (value < min || value > max)
        return -ERANGE;
    *ret = value;
    return 0;
}

/* [eE][+-]digits, or nothing, up to the end of the text. */
static int parse_exponent(const char *text, int64_t *ret)
{
    const size_t sign = *text && (text[1] == '-' || text[1] == '+');

    *ret = 0;
    if (*text == '\0')
        return 0;
    if ((*text != 'e' && *text != 'E') || text[1 + sign] == '\0' ||
        text[1 + sign + strspn(text + 1 + sign, DIGITS)] != '\0')
        return -EINVAL;
    *ret = MAX(MIN(strtol(text + 1, NULL, 10), exponent_bound), -exponent_bound);
    return 0;
}

int num_parse_duration_ms(const char *text, uint64_t min_ms, uint64_t max_ms, uint64_t *ret_ms)
{
    const int64_t n_whole = (int64_t)strspn(text, DIGITS);
    const bool has_point = text[n_whole] == '.';
    const char *fraction = text + n_whole + has_point;
    const int64_t n = n_whole + (has_point ? (int64_t)strspn(fraction, DIGITS) : 0);
    bool is_positive = false;
    int64_t exponent, end;
    uint64_t ms = 0;

    if (!has_plain_digits(text, (size_t)n_whole) || (has_point && n == n_whole) ||
        parse_exponent(fraction + n - n_whole, &exponent) < 0)
        return -EINVAL;
    end = n_whole + exponent + 3; /* the first digit that is less than a millisecond */
    for (int64_t i = 0; i < n || (i < end && ms > 0); i++) {
        const char digit = i >= n ? '0' : i < n_whole ? text[i] : fraction[i - n_whole];

        is_positive |= digit != '0';
        if (i < end && push_digit(&ms, digit) < 0)
            return -ERANGE;
        if (i == end && digit >= '5' && __builtin_add_overflow(ms, 1, &ms))
            return -ERANGE;
    }
    if (ms == 0 && is_positive)
        ms = 1;
    if (ms < min_ms || ms > max_ms)
        return -ERANGE;
    *ret_ms = ms;
    return 0;
}

char *num_format_duration_ms(uint64_t ms, char *buf)
{
    int n = snprintf(buf, NUM_DURATION_LEN, "%" PRIu64 ".%03u", ms / 1000, (unsigned)(ms % 1000));

    while (buf[n - 1] == '0')
        buf[--n] = '\0';
    if (buf[n - 1] == '.')
        buf[--n] = '\0';
    return buf;
}

static const struct {
    const char *suffix;
    unsigned shift;
} size_units[] = {{"GiB", 30}, {"MiB", 20}, {"KiB", 10}, {"", 0}};

enum { SIZE_UNITS = sizeof(size_units) / sizeof(size_units[0]) };

int num_parse_size(const char *text, uint64_t min, uint64_t max, uint64_t *ret_bytes)
{
    size_t n = strspn(text, DIGITS);
    uint64_t value = 0;
    unsigned unit = 0;

    while (unit < SIZE_UNITS && strcmp(text + n, size_units[unit].suffix) != 0)
        unit++;
    if (unit == SIZE_UNITS || !has_plain_digits(text, n))
        return -EINVAL;
    for (size_t i = 0; i < n; i++)
        if (push_digit(&value, text[i]) < 0)
            return -ERANGE;
    if (value > UINT64_MAX >> size_units[unit].shift)
        return -ERANGE;
    value <<= size_units[unit].shift;
    if (value < min || value > max)
        return -ERANGE;
    *ret_bytes = value;
    return 0;
}

char *num_format_size(uint64_t bytes, char *buf)
{
    unsigned unit = 0;

    while (bytes == 0 || bytes & ((UINT64_C(1) << size_units[unit].shift) - 1)) {
        if (size_units[unit].shift == 0)
            break;
        unit++;
    }
    snprintf(buf, NUM_SIZE_LEN, "%" PRIu64 "%s", bytes >> size_units[unit].shift,
             size_units[unit].suffix);
    return buf;
}
