/*
 * The clock on the wall, in the local time zone. Pure but for the clock itself.
 */
#include "client/wall_time.h"

#include <stdio.h>
#include <time.h>

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
