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

/* ---- numbers with a unit ---- */

/* Longer shifts make any number 0 or too large. */
static const int64_t exponent_bound = 100000;

/* A decimal number: its first digits, as many as fit, and a power of ten. */
struct decimal {
    uint64_t digits;
    int64_t exponent;
    bool has_lost; /* digits other than 0 that did not fit */
};

static void add_digits(struct decimal *d, const char *text, size_t n, bool is_fraction)
{
    for (size_t i = 0; i < n; i++) {
        if (d->has_lost || push_digit(&d->digits, text[i]) < 0) {
            d->has_lost |= text[i] != '0';
            d->exponent += !is_fraction;
        } else {
            d->exponent -= is_fraction;
        }
    }
}

/* [eE][+-]digits. Returns the bytes of it, 0 = there is none. */
static size_t read_exponent(const char *text, int64_t *ret)
{
    const size_t sign = *text && (text[1] == '-' || text[1] == '+');
    const size_t n = *text == 'e' || *text == 'E' ? strspn(text + 1 + sign, DIGITS) : 0;

    if (n == 0)
        return 0;
    *ret = MAX(MIN(strtol(text + 1, NULL, 10), exponent_bound), -exponent_bound);
    return 1 + sign + n;
}

/* Returns what follows the number, NULL = there is none. */
static const char *read_decimal(const char *text, struct decimal *ret)
{
    const size_t n_whole = strspn(text, DIGITS);
    const bool has_point = text[n_whole] == '.';
    const char *fraction = text + n_whole + has_point;
    const size_t n_fraction = has_point ? strspn(fraction, DIGITS) : 0;
    int64_t exponent = 0;

    if ((n_whole > 0 && !has_plain_digits(text, n_whole)) || (has_point && n_fraction == 0) ||
        n_whole + n_fraction == 0)
        return NULL;
    *ret = (struct decimal){0};
    add_digits(ret, text, n_whole, false);
    add_digits(ret, fraction, n_fraction, true);
    text = fraction + n_fraction;
    text += read_exponent(text, &exponent);
    ret->exponent += exponent;
    return text;
}

static void drop_digit(struct decimal *d, unsigned *last)
{
    d->has_lost |= *last != 0;
    *last = (unsigned)(d->digits % 10);
    d->digits /= 10;
    d->exponent++;
}

/* Rounds a half up, and what is more than 0 to 1 at least. *@ret_is_whole: nothing was rounded. */
static int scale_decimal(struct decimal d, const struct num_unit *unit, uint64_t *ret,
                         bool *ret_is_whole)
{
    const bool is_positive = d.digits > 0 || d.has_lost;
    unsigned last = 0;
    uint64_t value;

    while (__builtin_mul_overflow(d.digits, (uint64_t)unit->factor, &value))
        drop_digit(&d, &last);
    d.digits = value;
    d.exponent += unit->zeros;
    while (d.exponent < 0 && (d.digits > 0 || last > 0))
        drop_digit(&d, &last);
    if (d.exponent > 0 && (d.has_lost || last > 0))
        return -ERANGE;
    for (; d.exponent > 0 && d.digits > 0; d.exponent--)
        if (push_digit(&d.digits, '0') < 0)
            return -ERANGE;
    if (last >= 5 && __builtin_add_overflow(d.digits, 1, &d.digits))
        return -ERANGE;
    *ret_is_whole = !d.has_lost && last == 0;
    *ret = is_positive && d.digits == 0 ? 1 : d.digits;
    return 0;
}

/* Returns 0, -EINVAL or -ERANGE. On failure the results are untouched. */
static int read_amount(const char *text, const struct num_unit *units, size_t n_units,
                       uint64_t *ret, bool *ret_is_whole)
{
    struct decimal d;
    const char *suffix = read_decimal(text, &d);

    for (size_t i = 0; suffix && i < n_units; i++)
        if (strcmp(suffix, units[i].suffix) == 0)
            return scale_decimal(d, &units[i], ret, ret_is_whole);
    return -EINVAL;
}

static int within(uint64_t value, uint64_t min, uint64_t max, uint64_t *ret)
{
    if (value < min || value > max)
        return -ERANGE;
    *ret = value;
    return 0;
}

int num_parse_amount(const char *text, const struct num_unit *units, size_t n_units, uint64_t min,
                     uint64_t max, uint64_t *ret)
{
    uint64_t value;
    bool is_whole;
    const int rc = read_amount(text, units, n_units, &value, &is_whole);

    return rc == 0 ? within(value, min, max, ret) : rc;
}

int num_parse_duration_ms(const char *text, uint64_t min_ms, uint64_t max_ms, uint64_t *ret_ms)
{
    static const struct num_unit units[] = {
        {"", 1, 3}, {"ms", 1, 0}, {"s", 1, 3}, {"m", 6, 4}, {"h", 36, 5}};

    return num_parse_amount(text, units, ARRAY_SIZE(units), min_ms, max_ms, ret_ms);
}

int num_parse_size(const char *text, uint64_t min, uint64_t max, uint64_t *ret_bytes)
{
    static const struct num_unit units[] = {
        {"", 1, 0},        {"k", 1 << 10, 0},   {"K", 1 << 10, 0}, {"KiB", 1 << 10, 0},
        {"M", 1 << 20, 0}, {"MiB", 1 << 20, 0}, {"G", 1 << 30, 0}, {"GiB", 1 << 30, 0}};
    uint64_t value;
    bool is_whole;
    const int rc = read_amount(text, units, ARRAY_SIZE(units), &value, &is_whole);

    if (rc == 0 && !is_whole)
        return -EINVAL;
    return rc == 0 ? within(value, min, max, ret_bytes) : rc;
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
