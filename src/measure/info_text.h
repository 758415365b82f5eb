/*
 * What `info` answers as text: once, as a frame for a screen, as lines for a file; and the rates
 * between two answers. All of it is read from the answer's JSON. Pure.
 */
#ifndef MEASURE_INFO_TEXT_H
#define MEASURE_INFO_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

/* info_is_valid - is that the result of `info`? The other functions want nothing else. */
bool info_is_valid(const json_t *info);

/*
 * info_rate - put requests_per_s, bytes_in_per_s and bytes_out_per_s into the totals and workers,
 * cpu_percent into every process and the totals, per_s into the rows of own_counters, and `recent`,
 * percentiles of the time since @before, into reply_us and loop_lag_us of the totals
 * @before   the answer before, NULL = none
 * @seconds  since then
 * A process that was not there before counts from its start. A rate is null, and never negative, if
 * that is not known or the counters went back.
 */
void info_rate(json_t *info, const json_t *before, double seconds);

/* info_write - the arbiter, its workers, the totals. Returns 0, -EBADMSG or -ENOMEM. */
int info_write(FILE *f, const json_t *info);

/* How a frame has to look. */
struct info_look {
    size_t width, height; /* of the screen, in characters; at least 1 */
    bool has_colour; /* escape sequences for colours are allowed */
    const char *trouble; /* why nothing newer comes; NULL = all is well */
};

/*
 * info_frame - at most `height` lines of at most `width` characters, a newline between them
 * Columns that do not fit are left out from the right, workers that do not fit from below. Counters
 * of the program's own have at most half of the room below the head.
 * Returns 0 or -ENOMEM.
 */
int info_frame(FILE *f, const json_t *info, const struct info_look *look);

/*
 * info_lines - a line per worker and one for all, in columns of plain numbers
 * @time  in front of each line.  @has_title  the columns' names first
 * Returns 0 or -ENOMEM.
 */
int info_lines(FILE *f, const json_t *info, const char *time, bool has_title);

#endif
