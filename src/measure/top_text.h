/*
 * A sample with its rates as text: a frame for a screen, lines for a file, JSON for programs. Pure.
 */
#ifndef MEASURE_TOP_TEXT_H
#define MEASURE_TOP_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "measure/sample.h"

/* How a frame has to look. */
struct top_look {
    size_t width, height; /* of the screen, in characters; at least 1 */
    bool has_colour; /* escape sequences for colours are allowed */
    const char *trouble; /* why nothing newer comes; NULL = all is well */
};

/*
 * top_text_frame - at most `height` lines of at most `width` characters, a newline between them
 * Columns that do not fit are left out from the right, workers that do not fit from below.
 * Returns 0 or -ENOMEM.
 */
int top_text_frame(FILE *f, const struct sample *s, const struct top_look *look);

/*
 * top_text_lines - a line a worker and one for all, in columns of plain numbers
 * @time  in front of each line.  @has_title  the columns' names first
 */
void top_text_lines(FILE *f, const struct sample *s, const char *time, bool has_title);

/* top_text_json - the same as an object, null for what is not known. Owned; NULL without memory. */
json_t *top_text_json(const struct sample *s, double time_s);

#endif
