/*
 * Aligned columns. Pure.
 */
#include "client/columns.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "client/human.h"

enum { GAP = 2 };

/* Characters, not bytes: what continues a character of UTF-8 takes no room. */
static size_t text_width(const char *text)
{
    size_t n = 0;

    for (; *text; text++)
        n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

void columns_init(struct columns *t, const struct column *columns, size_t n)
{
    assert(n <= COLUMNS_MAX);
    *t = (struct columns){.columns = columns, .n_columns = n};
    for (size_t i = 0; i < n; i++)
        t->width[i] = MAX(text_width(columns[i].title), columns[i].min_width);
}

void columns_fini(struct columns *t)
{
    for (size_t i = 0; i < t->n_cells; i++)
        free(t->cells[i]);
    free(t->cells);
    *t = (struct columns){0};
}

static int grow(struct columns *t)
{
    size_t capacity = t->capacity ? t->capacity * 2 : 8 * t->n_columns;
    char **cells = realloc(t->cells, capacity * sizeof(*cells));

    if (!cells)
        return -1;
    t->cells = cells;
    t->capacity = capacity;
    return 0;
}

void columns_add(struct columns *t, const char *cell)
{
    char *copy = t->n_cells == t->capacity && grow(t) < 0 ? NULL : strdup(cell);
    size_t *width = &t->width[t->n_cells % t->n_columns];

    if (!copy) {
        t->is_broken = true;
        return;
    }
    t->cells[t->n_cells++] = human_clean(copy);
    *width = MAX(*width, text_width(copy));
}

size_t columns_rows(const struct columns *t)
{
    return t->n_cells / t->n_columns;
}

static const char *cell_at(const struct columns *t, size_t row, size_t column)
{
    return row == 0 ? t->columns[column].title : t->cells[(row - 1) * t->n_columns + column];
}

size_t columns_fitting(const struct columns *t, size_t width)
{
    size_t used = 0, n = 0;

    for (; n < t->n_columns; n++) {
        used += t->width[n] + (n > 0 ? GAP : 0);
        if (used > width)
            break;
    }
    return n;
}

void columns_write_row(const struct columns *t, FILE *f, size_t row, size_t n)
{
    while (n > 0 && *cell_at(t, row, n - 1) == '\0')
        n--;
    for (size_t i = 0; i < n; i++) {
        const char *text = cell_at(t, row, i);
        int pad = (int)(t->width[i] - text_width(text));
        bool is_right = t->columns[i].is_right;

        fprintf(f, "%*s%s", (i > 0 ? GAP : 0) + (is_right ? pad : 0), "", text);
        if (!is_right && i + 1 < n)
            fprintf(f, "%*s", pad, "");
    }
}

int columns_finish(struct columns *t, FILE *f)
{
    int rc = t->is_broken ? -ENOMEM : 0;

    for (size_t row = 0; rc == 0 && row <= columns_rows(t); row++) {
        columns_write_row(t, f, row, t->n_columns);
        fputc('\n', f);
    }
    columns_fini(t);
    return rc;
}
