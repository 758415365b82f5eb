/*
 * Numbers with units, three digits of precision where they are not exact. Pure.
 */
#include "client/human.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "base/util.h"

/* Three digits: "1.23", "12.3", "123". @value is below 999.5. */
static int three_digits(double value, char *buf, size_t size)
{
    int digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;

    return snprintf(buf, size, "%.*f", digits, value);
}

static char *with_unit(double value, const char *const *units, size_t n, char *buf)
{
    size_t unit = 0;
    int len;

    for (; value >= 999.5 && unit + 1 < n; unit++)
        value /= 1000;
    len = three_digits(MIN(value, 999.0), buf, HUMAN_LEN);
    snprintf(buf + len, HUMAN_LEN - (size_t)len, "%s", units[unit]);
    return buf;
}

char *human_count(uint64_t n, char *buf)
{
    static const char *const units[] = {"", "k", "M", "G", "T", "P", "E"};

    if (n > 99999)
        return with_unit((double)n, units, ARRAY_SIZE(units), buf);
    snprintf(buf, HUMAN_LEN, "%" PRIu64, n);
    return buf;
}

char *human_bytes(uint64_t n, char *buf)
{
    static const char *const units[] = {" B", " kB", " MB", " GB", " TB", " PB", " EB"};

    if (n > 999)
        return with_unit((double)n, units, ARRAY_SIZE(units), buf);
    snprintf(buf, HUMAN_LEN, "%" PRIu64 " B", n);
    return buf;
}

char *human_rate(double per_second, char *buf)
{
    static const char *const units[] = {"", "k", "M", "G", "T"};

    if (!isfinite(per_second) || per_second < 0)
        snprintf(buf, HUMAN_LEN, "-");
    else if (per_second < 0.005)
        snprintf(buf, HUMAN_LEN, "0");
    else
        with_unit(per_second, units, ARRAY_SIZE(units), buf);
    return buf;
}

char *human_byte_rate(double per_second, char *buf)
{
    if (isfinite(per_second) && per_second >= 0 && per_second < 1e18)
        return human_bytes((uint64_t)(per_second + 0.5), buf);
    snprintf(buf, HUMAN_LEN, "-");
    return buf;
}

char *human_duration(double seconds, char *buf)
{
    uint64_t s;

    if (!isfinite(seconds) || seconds < 0 || seconds > 1e12) {
        snprintf(buf, HUMAN_LEN, "-");
        return buf;
    }
    s = (uint64_t)seconds;
    if (seconds < 0.9995)
        snprintf(buf, HUMAN_LEN, "%.*fms", seconds < 0.00995 ? 1 : 0, seconds * 1e3);
    else if (seconds < 9.95)
        snprintf(buf, HUMAN_LEN, "%.1fs", seconds);
    else if (s < 60)
        snprintf(buf, HUMAN_LEN, "%" PRIu64 "s", s);
    else if (s < 3600)
        snprintf(buf, HUMAN_LEN, "%" PRIu64 "m %02" PRIu64 "s", s / 60, s % 60);
    else if (s < 86400)
        snprintf(buf, HUMAN_LEN, "%" PRIu64 "h %02" PRIu64 "m", s / 3600, s / 60 % 60);
    else
        snprintf(buf, HUMAN_LEN, "%" PRIu64 "d %02" PRIu64 "h", s / 86400, s / 3600 % 24);
    return buf;
}

char *human_time(double seconds, char *buf)
{
    if (!isfinite(seconds) || seconds < 0)
        snprintf(buf, HUMAN_LEN, "-");
    else if (seconds < 1e-3)
        snprintf(buf, HUMAN_LEN, "%.1fus", seconds * 1e6);
    else if (seconds < 1)
        snprintf(buf, HUMAN_LEN, "%.2fms", seconds * 1e3);
    else
        snprintf(buf, HUMAN_LEN, "%.3fs", seconds);
    return buf;
}

char *human_grouped(uint64_t n, char *buf)
{
    char digits[24];
    int len = snprintf(digits, sizeof(digits), "%" PRIu64, n);
    char *to = buf;

    for (int i = 0; i < len; i++) {
        if (i > 0 && (len - i) % 3 == 0)
            *to++ = ' ';
        *to++ = digits[i];
    }
    *to = '\0';
    return buf;
}

char *human_clean(char *text)
{
    for (char *p = text; *p; p++) {
        unsigned char c = (unsigned char)*p, next = (unsigned char)p[1];

        if (c == 0xc2 && next >= 0x80 && next < 0xa0) /* a C1 control in UTF-8 */
            *p++ = '?';
        else if (c >= 0x20 && c != 0x7f)
            continue;
        *p = '?';
    }
    return text;
}

uint64_t wall_time_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_REALTIME, &ts);
    return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

char *wall_time_text(uint64_t wall_ns, char *buf)
{
    time_t seconds = (time_t)(wall_ns / 1000000000u);
    struct tm tm;
    size_t len;

    localtime_r(&seconds, &tm);
    len = strftime(buf, WALL_TIME_LEN, "%H:%M:%S", &tm);
    snprintf(buf + len, WALL_TIME_LEN - len, ".%03u", (unsigned)(wall_ns / 1000000u % 1000u));
    return buf;
}

char *wall_time_utc(uint64_t wall_ns, char *buf)
{
    time_t seconds = (time_t)(wall_ns / 1000000000u);
    struct tm tm;
    size_t len;

    gmtime_r(&seconds, &tm);
    len = strftime(buf, WALL_TIME_LEN, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf + len, WALL_TIME_LEN - len, ".%03uZ", (unsigned)(wall_ns / 1000000u % 1000u));
    return buf;
}
