/*
 * Ranges and shares of the amounts that base/num.h reads.
 */
#include "measure/quantity.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "base/num.h"

enum { TEXT_MAX = 64 };

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
    return read_range(text, num_parse_duration_ms, min, max, ret);
}

int quantity_size_range(const char *text, uint64_t min, uint64_t max, struct quantity_range *ret)
{
    return read_range(text, num_parse_size, min, max, ret);
}

int quantity_share(const char *text, struct quantity_share *ret)
{
    static const struct num_unit percent = {"%", 1, 3};
    struct quantity_share share = {.is_percent = strchr(text, '%')};
    uint64_t thousandths = 0;
    int rc;

    if (share.is_percent)
        rc = num_parse_amount(text, &percent, 1, 0, 100000, &thousandths);
    else
        rc = num_parse_u64(text, 0, UINT64_MAX, &share.count);
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
