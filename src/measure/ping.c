/*
 * Running mean and variance (B. P. Welford, 1962): no sum of squares that loses its digits.
 */
#include "measure/ping.h"

#include <math.h>

void ping_times_add(struct ping_times *t, uint64_t ns)
{
    double distance = (double)ns - t->mean_ns;

    t->n++;
    if (t->n == 1 || ns < t->min_ns)
        t->min_ns = ns;
    if (ns > t->max_ns)
        t->max_ns = ns;
    t->mean_ns += distance / (double)t->n;
    t->squares += distance * ((double)ns - t->mean_ns);
}

double ping_times_mdev(const struct ping_times *t)
{
    return t->n > 0 ? sqrt(t->squares / (double)t->n) : 0;
}

double ping_lost_percent(uint64_t sent, uint64_t echoed)
{
    return sent > 0 ? 100. * (double)(sent - echoed) / (double)sent : 0;
}
