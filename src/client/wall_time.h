/*
 * Times as people see them on a clock.
 */
#ifndef CLIENT_WALL_TIME_H
#define CLIENT_WALL_TIME_H

#include <stdint.h>

enum { WALL_TIME_LEN = 40 };

/* wall_time_ns - CLOCK_REALTIME; wall_time_text - "12:03:07.214" in the local time zone. Returns
 * @buf of WALL_TIME_LEN bytes. */
uint64_t wall_time_ns(void);
char *wall_time_text(uint64_t wall_ns, char *buf);

#endif
