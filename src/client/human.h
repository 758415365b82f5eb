/*
 * Numbers and times as people like to read them: short, with a unit, always of a width that fits a
 * column.
 */
#ifndef CLIENT_HUMAN_H
#define CLIENT_HUMAN_H

#include <stddef.h>
#include <stdint.h>

enum { HUMAN_LEN = 32 };

/* human_count - exact up to 99999, then "123k", "1.23M", "45.6G". Returns @buf of HUMAN_LEN bytes.
 */
char *human_count(uint64_t n, char *buf);

/* human_bytes - "0 B", "999 B", "1.23 kB", "45.6 MB" ...: powers of 1000 */
char *human_bytes(uint64_t n, char *buf);

/* human_rate - a number per second: "0", "0.5", "12.3", "123", "12.3k", "1.23M"; NaN is "-" */
char *human_rate(double per_second, char *buf);

/* human_byte_rate - as human_bytes, for bytes per second; NaN is "-" */
char *human_byte_rate(double per_second, char *buf);

/* human_duration - "0.4ms", "15ms", "1.2s", "12s", "3m 20s", "5h 02m", "3d 04h"; no time is "-" */
char *human_duration(double seconds, char *buf);

/* human_time - a measured time, exact: "82.3us", "1.23ms", "4.567s"; no time is "-" */
char *human_time(double seconds, char *buf);

/* human_grouped - "1 204 331" */
char *human_grouped(uint64_t n, char *buf);

enum { WALL_TIME_LEN = 40 };

/*
 * wall_time_ns   - CLOCK_REALTIME
 * wall_time_text - "12:03:07.214" in the local time zone, for people
 * wall_time_utc  - "2026-11-24T12:03:07.214Z", for JSON
 * The latter two return @buf of WALL_TIME_LEN bytes.
 */
uint64_t wall_time_ns(void);
char *wall_time_text(uint64_t wall_ns, char *buf);
char *wall_time_utc(uint64_t wall_ns, char *buf);

/* human_clean - make @text safe for a terminal: each control byte becomes '?'. Returns @text. */
char *human_clean(char *text);

#endif
