/*
 * One log line, by hand: snprintf, strftime and gmtime may allocate or lock, and a signal can have
 * come while they did.
 */
#include "base/log_raw.h"

#include <string.h>

/* Kept free for the mark of a cut, the line's end and NUL. */
enum { TAIL_BYTES = 24 };

static void put(struct log_raw *l, const char *bytes, size_t n)
{
    if (l->is_cut || n > sizeof(l->text) - TAIL_BYTES - l->len) {
        l->is_cut = true;
        return;
    }
    memcpy(l->text + l->len, bytes, n);
    l->len += n;
}

static bool is_bare(const char *value)
{
    if (!*value)
        return false;
    for (; *value; value++)
        if (*value <= 0x20 || *value >= 0x7f || strchr("\"=\\", *value))
            return false;
    return true;
}

static void put_text(struct log_raw *l, const char *value)
{
    for (; *value; value++) {
        const bool is_plain = *value >= 0x20 && *value < 0x7f && *value != '"' && *value != '\\';

        put(l, is_plain ? value : "?", 1);
    }
}

static void put_key(struct log_raw *l, const char *key)
{
    if (l->is_json)
        put(l, l->len > 1 ? ",\"" : "{\"", 2);
    else if (l->len > 1)
        put(l, " ", 1);
    put(l, key, strlen(key));
    put(l, l->is_json ? "\":" : "=", l->is_json ? 2 : 1);
}

/* A field that does not fit is left out whole. */
static void field(struct log_raw *l, const char *key, const char *value, bool is_quoted)
{
    const size_t before = l->len;

    put_key(l, key);
    if (is_quoted)
        put(l, "\"", 1);
    put_text(l, value);
    if (is_quoted)
        put(l, "\"", 1);
    if (l->is_cut)
        l->len = before;
}

void log_raw_str(struct log_raw *l, const char *key, const char *value)
{
    if (!value)
        value = "";
    field(l, key, value, l->is_json || !is_bare(value));
}

char *log_raw_digits(char *p, uint64_t value, unsigned base)
{
    char reversed[24];
    size_t n = 0;

    do
        reversed[n++] = "0123456789abcdef"[value % base];
    while (value /= base);
    if (base == 16)
        p = mempcpy(p, "0x", 2);
    while (n > 0)
        *p++ = reversed[--n];
    *p = '\0';
    return p;
}

void log_raw_uint(struct log_raw *l, const char *key, uint64_t value)
{
    char digits[24];

    log_raw_digits(digits, value, 10);
    field(l, key, digits, l->is_json && value > INT64_MAX);
}

void log_raw_address(struct log_raw *l, const char *key, uint64_t value)
{
    char digits[24];

    log_raw_digits(digits, value, 16);
    log_raw_str(l, key, digits);
}

static unsigned days_of_year(unsigned year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0 ? 366 : 365;
}

static unsigned days_of_month(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month] + (month == 1 && days_of_year(year) == 366 ? 1u : 0u);
}

static char *put_padded(char *p, unsigned value, unsigned width, char end)
{
    for (unsigned i = width; i-- > 0; value /= 10)
        p[i] = (char)('0' + value % 10);
    p[width] = end;
    return p + width + 1;
}

static void put_time(struct log_raw *l, uint64_t wall_ns)
{
    const uint64_t seconds = wall_ns / 1000000000u; /* 64 bits of nanoseconds end in 2554 */
    unsigned days = (unsigned)(seconds / 86400), of_day = (unsigned)(seconds % 86400);
    unsigned year = 1970, month = 0;
    char text[40], *p = text;

    for (; days >= days_of_year(year); year++)
        days -= days_of_year(year);
    for (; days >= days_of_month(year, month); month++)
        days -= days_of_month(year, month);
    p = put_padded(p, year, 4, '-');
    p = put_padded(p, month + 1, 2, '-');
    p = put_padded(p, days + 1, 2, 'T');
    p = put_padded(p, of_day / 3600, 2, ':');
    p = put_padded(p, of_day / 60 % 60, 2, ':');
    p = put_padded(p, of_day % 60, 2, '.');
    p = put_padded(p, (unsigned)(wall_ns / 1000000u % 1000u), 3, 'Z');
    *p = '\0';
    log_raw_str(l, "ts", text);
}

void log_raw_begin(struct log_raw *l, const struct log *log, enum log_level level, uint64_t wall_ns,
                   unsigned pid, const char *message)
{
    l->is_json = log->format == LOG_FORMAT_JSON;
    l->is_cut = false;
    l->len = 1;
    l->text[0] = '\n';
    put_time(l, wall_ns);
    log_raw_str(l, "level", log_level_name(level));
    log_raw_str(l, "actor", log->actor);
    log_raw_uint(l, "pid", pid);
    field(l, "msg", message, true);
}

size_t log_raw_end(struct log_raw *l)
{
    const char *mark = l->is_json ? ",\"cut\":true" : " cut=true";
    char *p = l->text + l->len;

    if (l->is_cut)
        p = stpcpy(p, mark);
    p = stpcpy(p, l->is_json ? "}\n" : "\n");
    l->len = (size_t)(p - l->text);
    return l->len - 1;
}
