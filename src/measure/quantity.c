/*
 * Reading amounts. What base/num.h can read is left to it; here are units, ranges and shares.
 */
#include "measure/quantity.h"

#include <errno.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/num.h"
#include "base/util.h"

enum { TEXT_MAX = 64 };

static const struct unit {
    const char *suffix;
    double ms;
} units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};

static bool ends_in(const char *text, size_t len, const char *suffix)
{
    size_t n = strlen(suffix);

    return len > n && memcmp(text + len - n, suffix, n) == 0;
}

/* @text in thousandths: the strict reader of durations turns 12.5 into 12500. */
static int read_thousandths(const char *text, size_t len, uint64_t *ret)
{
    char number[TEXT_MAX];

    if (len >= sizeof(number))
        return -EINVAL;
    memcpy(number, text, len);
    number[len] = '\0';
    return num_parse_duration_ms(number, 0, UINT64_C(1) << 50, ret);
}

int quantity_ms(const char *text, uint64_t min_ms, uint64_t max_ms, uint64_t *ret_ms)
{
    size_t len = strlen(text);
    uint64_t thousandths;
    double factor = 1000, ms;
    int rc;

    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (ends_in(text, len, units[i].suffix)) {
            factor = units[i].ms;
            len -= strlen(units[i].suffix);
            break;
        }
    rc = read_thousandths(text, len, &thousandths);
    if (rc)
        return rc;
    ms = (double)thousandths * factor / 1000;
    if (thousandths > 0 && ms < 1)
        ms = 1;
    if (ms < (double)min_ms || ms > (double)max_ms)
        return -ERANGE;
    *ret_ms = (uint64_t)(ms + 0.5);
    return 0;
}

typedef int read_one(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

static int read_range(const char *text, read_one *read, uint64_t min, uint64_t max,
                      struct quantity_range *ret)
{
    const char *dash = strchr(text, '-');
    struct quantity_range range = {0};
    char low[TEXT_MAX];
    int rc;

    if (!dash) {
        rc = read(text, min, max, &range.min);
        range.max = range.min;
    } else {
        if ((size_t)(dash - text) >= sizeof(low))
            return -EINVAL;
        memcpy(low, text, (size_t)(dash - text));
        low[dash - text] = '\0';
        rc = read(low, min, max, &range.min);
        if (rc == 0)
            rc = read(dash + 1, min, max, &range.max);
        if (rc == 0 && range.max < range.min)
            rc = -EINVAL;
    }
    if (rc == 0)
        *ret = range;
    return rc;
}

int quantity_ms_range(const char *text, uint64_t min, uint64_t max, struct quantity_range *ret)
{
    return read_range(text, quantity_ms, min, max, ret);
}

int quantity_size_range(const char *text, uint64_t min, uint64_t max, struct quantity_range *ret)
{
    return read_range(text, num_parse_size, min, max, ret);
}

int quantity_share(const char *text, struct quantity_share *ret)
{
    size_t len = strlen(text);
    struct quantity_share share = {.is_percent = ends_in(text, len, "%")};
    uint64_t thousandths = 0;
    int rc;

    if (!share.is_percent)
        rc = num_parse_u64(text, 0, UINT64_MAX, &share.count);
    else
        rc = read_thousandths(text, len - 1, &thousandths);
    if (rc == 0 && thousandths > 100000)
        rc = -ERANGE;
    if (rc)
        return rc;
    share.percent = (double)thousandths / 1000;
    *ret = share;
    return 0;
}

bool quantity_share_exceeded(const struct quantity_share *s, uint64_t n, uint64_t all)
{
    if (!s->is_percent)
        return n > s->count;
    return (double)n > (double)all * s->percent / 100;
}
