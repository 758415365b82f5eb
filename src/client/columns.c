/*
 * Tables of JSON. Pure.
 */
#include "client/columns.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "client/human.h"

enum { GAP = 2, WRAP_MIN = 24 };

static size_t limit; /* of columns_write, in characters; 0 = none */

/* ---- values as text ---- */

json_t *columns_value(const json_t *o, const char *path)
{
    const char *slash;
    char key[64];

    for (; (slash = strchr(path, '/')); path = slash + 1) {
        snprintf(key, sizeof(key), "%.*s", (int)(slash - path), path);
        o = json_object_get(o, key);
    }
    return json_object_get(o, path);
}

/* A text of its own length, or compact JSON. Owned; NULL without memory. */
static char *plain_text(const json_t *value)
{
    const char *text = json_string_value(value);

    return text ? strdup(text) : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
}

/* The first bytes and "...", no character cut in two. */
static char *note_text(const json_t *value)
{
    char *text = plain_text(value), *cut = NULL;
    size_t len = COLUMNS_NOTE_SHOWN;

    if (!text || strlen(text) <= len)
        return text;
    while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--;
    if (asprintf(&cut, "%.*s...", (int)len, text) < 0)
        cut = NULL;
    free(text);
    return cut;
}

static char *list_text(const json_t *list)
{
    char *all = NULL;
    size_t len, i;
    FILE *f = open_memstream(&all, &len);
    const json_t *value;

    if (!f)
        return NULL;
    json_array_foreach(list, i, value)
    {
        char *text = plain_text(value);

        fprintf(f, "%s%s", i > 0 ? " " : "", text ? text : "?");
        free(text);
    }
    return fclose(f) == 0 ? all : NULL;
}

static char *number_text(double value, enum column_show show, char *buf)
{
    uint64_t whole = value > 0 ? (uint64_t)MIN(value, 1e19) : 0;

    switch (show) {
    case SHOW_GROUPED:
        return human_grouped(whole, buf);
    case SHOW_COUNT:
        return human_count(whole, buf);
    case SHOW_BYTES:
        return human_bytes(whole, buf);
    case SHOW_RATE:
        return human_rate(value, buf);
    case SHOW_BYTE_RATE:
        return human_byte_rate(value, buf);
    case SHOW_MS:
        return human_duration(value / 1e3, buf);
    case SHOW_EXACT_MS:
        return human_time(value / 1e3, buf);
    case SHOW_US:
        return human_time(value / 1e6, buf);
    case SHOW_MEGA:
        snprintf(buf, HUMAN_LEN, "%.3f", value / 1e6);
        return buf;
    default:
        snprintf(buf, HUMAN_LEN, "%.*f", show == SHOW_NUMBER ? 0 : (int)(show - SHOW_FIXED) + 1,
                 value);
        return buf;
    }
}

/* Owned; NULL without memory. */
static char *cell_text(const json_t *value, enum column_show show)
{
    char buf[HUMAN_LEN];

    if (!value || json_is_null(value) || (show >= SHOW_NUMBER && !json_is_number(value)))
        return strdup("-");
    if (show == SHOW_TEXT)
        return plain_text(value);
    if (show == SHOW_NOTE)
        return note_text(value);
    if (show == SHOW_LIST)
        return list_text(value);
    return strdup(number_text(json_number_value(value), show, buf));
}

/* ---- the table ---- */

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

static void add_cell(struct columns *t, const json_t *row)
{
    const struct column *c = &t->columns[t->n_cells % t->n_columns];
    size_t *width = &t->width[t->n_cells % t->n_columns];
    char *text = t->n_cells == t->capacity && grow(t) < 0
                     ? NULL
                     : cell_text(columns_value(row, c->path), c->show);

    if (!text) {
        t->is_broken = true;
        return;
    }
    t->cells[t->n_cells++] = human_clean(text);
    *width = MAX(*width, text_width(text));
}

void columns_add(struct columns *t, const json_t *rows)
{
    const json_t *row;
    size_t i;

    json_array_foreach(rows, i, row) columns_add(t, row);
    for (i = 0; !json_is_array(rows) && i < t->n_columns; i++)
        add_cell(t, rows);
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

static void write_cell(const struct columns *t, FILE *f, size_t row, size_t column, size_t gap,
                       bool is_last)
{
    const char *text = cell_at(t, row, column);
    const int pad = (int)(t->width[column] - text_width(text));
    const bool is_right = t->columns[column].show >= SHOW_NUMBER;

    fprintf(f, "%*s%s", (int)gap + (is_right ? pad : 0), "", text);
    if (!is_right && !is_last)
        fprintf(f, "%*s", pad, "");
}

void columns_write_row(const struct columns *t, FILE *f, size_t row, size_t n)
{
    while (n > 0 && *cell_at(t, row, n - 1) == '\0')
        n--;
    for (size_t i = 0; i < n; i++)
        write_cell(t, f, row, i, i > 0 ? GAP : 0, i + 1 == n);
}

/* ---- a table that is too wide ---- */

void columns_limit(size_t width)
{
    limit = width;
}

/* Characters of a part: the first column, and those from @from to @end. */
static size_t part_width(const struct columns *t, size_t from, size_t end)
{
    size_t width = t->width[0];

    for (size_t i = MAX(from, 1u); i < end; i++)
        width += GAP + t->width[i];
    return width;
}

/* May the words of the last column be spread over several lines? */
static bool is_wrapped(const struct columns *t, size_t from)
{
    const size_t last = t->n_columns - 1;

    return last > 0 && t->columns[last].show < SHOW_NUMBER &&
           part_width(t, from, last) + GAP + WRAP_MIN <= limit;
}

/* Bytes of @text that fit in @width, up to the end of a word; all of a word that does not. */
static size_t fitting_bytes(const char *text, size_t width)
{
    size_t best = 0, used = 0, i = 0;

    for (; text[i]; i++) {
        if (text[i] == ' ')
            best = i;
        used += ((unsigned char)text[i] & 0xc0) != 0x80;
        if (used > width && best > 0)
            return best;
    }
    return i;
}

/* Beside what stands there already, and then below it. */
static void write_words(const char *text, FILE *f, size_t indent)
{
    while (*text) {
        const size_t n = fitting_bytes(text, limit - indent);

        fprintf(f, "%.*s", (int)n, text);
        text += n + strspn(text + n, " ");
        if (*text)
            fprintf(f, "\n%*s", (int)indent, "");
    }
}

/* The first column, and as many as fit from @from on. Returns the first that does not. */
static size_t write_part(const struct columns *t, FILE *f, size_t from)
{
    const bool is_wrapping = is_wrapped(t, from);
    const size_t last = t->n_columns - 1;
    size_t end = MAX(from, 1u) + 1;

    while (end < t->n_columns && part_width(t, from, end + 1) <= limit)
        end++;
    if (is_wrapping)
        end = t->n_columns;
    end = MIN(end, t->n_columns);
    for (size_t row = 0; row <= columns_rows(t); row++) {
        write_cell(t, f, row, 0, 0, end == 1);
        for (size_t i = MAX(from, 1u); i < end; i++)
            if (i == last && is_wrapping) {
                fprintf(f, "%*s", GAP, "");
                write_words(cell_at(t, row, i), f, part_width(t, from, last) + GAP);
            } else {
                write_cell(t, f, row, i, GAP, i + 1 == end);
            }
        fputc('\n', f);
    }
    return end;
}

static void write_table(const struct columns *t, FILE *f)
{
    if (limit == 0 || part_width(t, 0, t->n_columns) <= limit) {
        for (size_t row = 0; row <= columns_rows(t); row++) {
            columns_write_row(t, f, row, t->n_columns);
            fputc('\n', f);
        }
        return;
    }
    for (size_t from = 0; from < t->n_columns;)
        from = write_part(t, f, from);
}

int columns_write(FILE *f, const struct column *columns, size_t n, const json_t *rows)
{
    struct columns t;
    int rc;

    if (!json_is_array(rows) && !json_is_object(rows))
        return -EBADMSG;
    columns_init(&t, columns, n);
    columns_add(&t, rows);
    rc = t.is_broken ? -ENOMEM : 0;
    if (rc == 0)
        write_table(&t, f);
    columns_fini(&t);
    return rc;
}

int columns_write_counts(FILE *f, const struct column_count *counts, size_t n, const json_t *o)
{
    static const struct column columns[] = {{"COUNT", "name", SHOW_TEXT, 15},
                                            {"", "value", SHOW_GROUPED, 15},
                                            {"", "help", SHOW_TEXT, 0}};
    json_t *rows = json_array();
    int rc;

    for (size_t i = 0; i < n; i++) {
        json_t *value = json_object_get(o, counts[i].name);

        if (json_integer_value(value) > 0)
            json_array_append_new(rows, json_pack("{s:s, s:O, s:s}", "name", counts[i].name,
                                                  "value", value, "help", counts[i].help));
    }
    rc = json_array_size(rows) > 0 ? columns_write(f, columns, ARRAY_SIZE(columns), rows) : 0;
    json_decref(rows);
    return rc;
}
