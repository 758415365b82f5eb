/*
 * Aligned columns of text: as wide as their widest cell, dropped from the right where a width does
 * not suffice. Pure; writes to a stream that it is given.
 */
#ifndef CLIENT_COLUMNS_H
#define CLIENT_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { COLUMNS_MAX = 16 };

struct column {
    const char *title; /* static */
    bool is_right; /* aligned: numbers are */
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

/* columns_init - @columns borrowed until columns_fini */
void columns_init(struct columns *t, const struct column *columns, size_t n);
void columns_fini(struct columns *t);

/* columns_add - the next cell, copied, controls made harmless; after n_columns a new row begins */
void columns_add(struct columns *t, const char *cell);

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

/* columns_finish - titles and rows, each with a newline, then columns_fini. Returns 0 or -ENOMEM
 * (memory ran out earlier: nothing is written). */
int columns_finish(struct columns *t, FILE *f);

#endif
