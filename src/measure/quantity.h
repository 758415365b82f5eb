/*
 * Amounts of a command line that are more than one number: ranges, shares. Strict: whole text or
 * nothing. Pure.
 */
#ifndef MEASURE_QUANTITY_H
#define MEASURE_QUANTITY_H

#include <stdbool.h>
#include <stdint.h>

/* A range; one value is a range of itself alone. */
struct quantity_range {
    uint64_t min, max;
};

/*
 * quantity_ms_range - "10ms-50ms", "1"; quantity_size_range - "64", "64-16KiB"
 * Returns 0, -EINVAL or -ERANGE; @ret untouched on failure, here and below.
 */
int quantity_ms_range(const char *text, uint64_t min, uint64_t max, struct quantity_range *ret);
int quantity_size_range(const char *text, uint64_t min, uint64_t max, struct quantity_range *ret);

/* A number, or a share of something that is not known yet. */
struct quantity_share {
    bool is_percent;
    uint64_t count;
    double percent;
};

/* quantity_share - "0", "12", "0.1%". Returns 0, -EINVAL or -ERANGE (above 100 %). */
int quantity_share(const char *text, struct quantity_share *ret);

/* quantity_share_exceeded - is @n of @all more than that? */
bool quantity_share_exceeded(const struct quantity_share *s, uint64_t n, uint64_t all);

#endif
