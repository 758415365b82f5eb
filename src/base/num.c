/*
 * Strict numbers: a text is a number in full or not at all. Never through strtod or strtoull, which
 * take signs, blanks, hex, infinity and the locale's comma, and wrap. Pure; any process.
 */
#include "base/num.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

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

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

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
    size_t n = strspn(text, "0123456789");
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

/* A decimal number, mantissa * 10^exponent. Digits beyond the 19th are dropped. */
struct decimal {
    uint64_t mantissa;
    int64_t exponent;
};

enum { EXPONENT_BOUND = 100000 };

static void decimal_push(struct decimal *d, char digit, bool is_fraction)
{
    if (d->mantissa <= (UINT64_MAX - 9) / 10) {
        d->mantissa = d->mantissa * 10 + (uint64_t)(digit - '0');
        d->exponent -= is_fraction;
    } else {
        d->exponent += !is_fraction;
    }
}

/* Reads [eE][+-]digits at @text; the exponent stops growing where it no longer matters. */
static int decimal_exponent(const char *text, int64_t *ret)
{
    bool is_negative = text[1] == '-';
    const char *p = text + 1 + (text[1] == '-' || text[1] == '+');
    int64_t value = 0;

    if (!is_digit(*p))
        return -EINVAL;
    for (; is_digit(*p); p++)
        if (value < EXPONENT_BOUND)
            value = value * 10 + (*p - '0');
    if (*p != '\0')
        return -EINVAL;
    *ret = is_negative ? -value : value;
    return 0;
}

static int decimal_parse(const char *text, struct decimal *ret)
{
    struct decimal d = {0, 0};
    const char *p = text;
    int64_t exponent = 0;
    int r;

    while (is_digit(*p))
        decimal_push(&d, *p++, false);
    if (!has_plain_digits(text, (size_t)(p - text)))
        return -EINVAL;
    if (*p == '.') {
        if (!is_digit(*++p))
            return -EINVAL;
        while (is_digit(*p))
            decimal_push(&d, *p++, true);
    }
    if (*p == 'e' || *p == 'E') {
        r = decimal_exponent(p, &exponent);
        if (r < 0)
            return r;
    } else if (*p != '\0') {
        return -EINVAL;
    }
    d.exponent += exponent;
    *ret = d;
    return 0;
}

/* The nearest whole number of mantissa * 10^exponent, halves upwards. Returns 0 or -ERANGE. */
static int decimal_round(struct decimal d, uint64_t *ret)
{
    unsigned last = 0;

    if (d.mantissa == 0)
        d.exponent = 0;
    for (; d.exponent > 0; d.exponent--)
        if (__builtin_mul_overflow(d.mantissa, (uint64_t)10, &d.mantissa))
            return -ERANGE;
    for (; d.exponent < 0 && (d.mantissa > 0 || last > 0); d.exponent++) {
        last = (unsigned)(d.mantissa % 10);
        d.mantissa /= 10;
    }
    *ret = d.mantissa + (last >= 5);
    return 0;
}

int num_parse_duration_ms(const char *text, uint64_t min_ms, uint64_t max_ms, uint64_t *ret_ms)
{
    struct decimal d;
    uint64_t ms;
    int r;

    r = decimal_parse(text, &d);
    if (r < 0)
        return r;
    d.exponent += 3;
    r = decimal_round(d, &ms);
    if (r < 0)
        return r;
    if (ms == 0 && d.mantissa > 0)
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
    size_t n = strspn(text, "0123456789");
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
