/*
 * What ping(8) says of its times: least, mean, greatest, and the standard deviation. Pure.
 */
#ifndef MEASURE_PING_H
#define MEASURE_PING_H

#include <stdint.h>

struct ping_times {
    uint64_t n;
    uint64_t min_ns, max_ns;
    double mean_ns;
    double squares; /* sum of squared distances from the mean (Welford) */
};

void ping_times_add(struct ping_times *t, uint64_t ns);

/* ping_times_mdev - sqrt(E[x²] − E[x]²), in nanoseconds; 0 without times */
double ping_times_mdev(const struct ping_times *t);

/* ping_lost_percent - of @sent; 0 without any */
double ping_lost_percent(uint64_t sent, uint64_t echoed);

#endif
