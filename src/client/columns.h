/*
 * The printer of tables: rows of JSON in aligned columns, each with a title, the place of its value
 * and how that is shown. As wide as the widest cell, dropped from the right where a width does not
 * suffice. Control bytes of what a server says are made harmless. Pure; writes to a stream that it
 * is given.
 */
#ifndef CLIENT_COLUMNS_H
#define CLIENT_COLUMNS_H

#include <jansson.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdio.h>

enum { COLUMNS_MAX = 16, COLUMNS_NOTE_SHOWN = 160 };

/* A missing value, and a number that is none, is "-". */
enum column_show {
    SHOW_TEXT, /* a text as it is, anything else as compact JSON */
    SHOW_NOTE, /* the same, its first COLUMNS_NOTE_SHOWN bytes */
    SHOW_LIST, /* the elements of an array, a blank between */
    /* Numbers stand at the right of their column. */
    SHOW_NUMBER, /* whole, all digits */
    SHOW_GROUPED, /* whole, "1 204 331" */
    SHOW_FIXED, /* one digit behind the point; SHOW_FIXED_2, SHOW_FIXED_3: as many */
    SHOW_FIXED_2,
    SHOW_FIXED_3,
    SHOW_MEGA, /* millions, three digits behind the point */
    SHOW_COUNT, /* SHOW_COUNT and the next as human.h has them */
    SHOW_BYTES,
    SHOW_RATE,
    SHOW_BYTE_RATE,
    SHOW_MS, /* a duration in milliseconds */
    SHOW_EXACT_MS, /* a duration in milliseconds with three digits or more */
    SHOW_US, /* the same, in microseconds */
};

struct column {
    const char *title; /* static */
    const char *path; /* of the value in a row: "key", "key/key" */
    enum column_show show;
    size_t min_width; /* so that what changes does not jump; 0 = as its cells are */
};

struct columns {
    const struct column *columns; /* borrowed */
    size_t n_columns;
    size_t width[COLUMNS_MAX]; /* of the widest cell so far, in characters */
    char **cells; /* owned, row by row; NULL only if memory ran out */
    size_t n_cells, capacity;
    bool is_broken; /* memory ran out: cells are missing */
};

/*
 * columns_limit - no table of columns_write shall be wider than @width from now on; 0 = no limit
 * The texts of what is wider go on in further lines, word by word; where that does not suffice, its
 * columns in further parts, each with the first column, and only there a word is broken. A single
 * number may still be wider.
 */
void columns_limit(size_t width);

/* columns_room - of @wanted characters as many as there is room for beside @others, 10 at least */
size_t columns_room(size_t wanted, size_t others);

/* columns_write - titles and rows, each with a newline
 * @rows  an array of objects, or one object
 * Returns 0, -EBADMSG (@rows is neither) or -ENOMEM.
 */
int columns_write(FILE *f, const struct column *columns, size_t n, const json_t *rows);

/* What a key of an object counts. */
struct column_count {
    const char *name, *help;
};

/* columns_write_counts - a row per count of @o that is not 0: name, value, help. Returns as above.
 */
int columns_write_counts(FILE *f, const struct column_count *counts, size_t n, const json_t *o);

/* columns_init - @columns borrowed until columns_fini; columns_add - a row, or all of an array */
void columns_init(struct columns *t, const struct column *columns, size_t n);
void columns_add(struct columns *t, const json_t *rows);
void columns_fini(struct columns *t);

/* columns_rows - rows without the title */
size_t columns_rows(const struct columns *t);

/* columns_fitting - how many of the first columns fit in @width */
size_t columns_fitting(const struct columns *t, size_t width);

/*
 * columns_write_row - one line without its newline
 * @row  0 = the titles, then 1..columns_rows
 * @n    the first so many columns
 */
void columns_write_row(const struct columns *t, FILE *f, size_t row, size_t n);

/* columns_value - what stands at "key/key" below @o, NULL = nothing */
json_t *columns_value(const json_t *o, const char *path);

#endif
