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

enum { GAP = 2, WRAP_MIN = 16, ROOM_MIN = 10 };

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

void columns_write_row(const struct columns *t, FILE *f, size_t row, size_t n)
{
    while (n > 0 && *cell_at(t, row, n - 1) == '\0')
        n--;
    for (size_t i = 0; i < n; i++) {
        const char *text = cell_at(t, row, i);
        int pad = (int)(t->width[i] - text_width(text));
        bool is_right = t->columns[i].show >= SHOW_NUMBER;

        fprintf(f, "%*s%s", (i > 0 ? GAP : 0) + (is_right ? pad : 0), "", text);
        if (!is_right && i + 1 < n)
            fprintf(f, "%*s", pad, "");
    }
}

/* ---- a table that is too wide: its texts go on in further lines, or it in further parts ---- */

void columns_limit(size_t width)
{
    limit = width;
}

size_t columns_room(size_t wanted, size_t others)
{
    return limit == 0 ? wanted : MIN(wanted, MAX(limit, others + ROOM_MIN) - others);
}

/* Some columns of a table: the first one, and those from @from to @end. */
struct part {
    const struct columns *t;
    size_t from, end; /* from 1 on */
    size_t width[COLUMNS_MAX];
};

static struct part part_of(const struct columns *t, size_t from, size_t end)
{
    struct part p = {.t = t, .from = from, .end = end};

    memcpy(p.width, t->width, sizeof(p.width));
    return p;
}

static size_t part_width(const struct part *p)
{
    size_t width = p->width[0];

    for (size_t i = p->from; i < p->end; i++)
        width += GAP + p->width[i];
    return width;
}

/* In characters, of the title and all cells. */
static size_t longest_word(const struct columns *t, size_t column)
{
    size_t longest = 0;

    for (size_t row = 0; row <= columns_rows(t); row++) {
        size_t n = 0;

        for (const char *c = cell_at(t, row, column); *c; c++) {
            n = *c == ' ' ? 0 : n + (((unsigned char)*c & 0xc0) != 0x80);
            longest = MAX(longest, n);
        }
    }
    return longest;
}

/* The widest column of text beside the first, which names the row, that is wider than its @least;
 * 0 = none is. */
static size_t widest_text(const struct part *p, const size_t *least)
{
    size_t widest = 0;

    for (size_t i = p->from; i < p->end; i++)
        if (p->t->columns[i].show < SHOW_NUMBER && p->width[i] > least[i] &&
            (widest == 0 || p->width[i] > p->width[widest]))
            widest = i;
    return widest;
}

/* @is_broken  words may be, too: else a moment, a path or a bar stays in one piece */
static bool make_fit(struct part *p, bool is_broken)
{
    size_t least[COLUMNS_MAX], i;

    for (i = p->from; i < p->end; i++)
        least[i] = is_broken ? WRAP_MIN : MAX((size_t)WRAP_MIN, longest_word(p->t, i));
    while (part_width(p) > limit && (i = widest_text(p, least)) > 0)
        p->width[i]--;
    return part_width(p) <= limit;
}

/* Bytes of @text that fit in @width, up to the end of a word if one ends there. */
static size_t fitting_bytes(const char *text, size_t width)
{
    size_t best = 0, used = 0, i = 0;

    for (; text[i]; i++) {
        const bool is_new = ((unsigned char)text[i] & 0xc0) != 0x80;

        if (text[i] == ' ')
            best = i;
        if (is_new && used++ == width)
            return best > 0 ? best : i;
    }
    return i;
}

/* What fits of the cell at *@at, which then stands before the rest. */
static void write_piece(const struct part *p, FILE *f, size_t column, const char **at, bool is_last)
{
    const size_t width = p->width[column], n = fitting_bytes(*at, width);
    char *piece = strndup(*at, n);
    const int pad = (int)(width - MIN(text_width(piece ? piece : ""), width));
    const bool is_right = p->t->columns[column].show >= SHOW_NUMBER;

    fprintf(f, "%*s%s%*s", (column > 0 ? GAP : 0) + (is_right ? pad : 0), "", piece ? piece : "?",
            is_right || is_last ? 0 : pad, "");
    free(piece);
    *at += n + strspn(*at + n, " ");
}

static void write_row_of(const struct part *p, FILE *f, size_t row)
{
    const char *at[COLUMNS_MAX];
    size_t last;

    for (size_t i = 0; i < p->end; i++)
        at[i] = cell_at(p->t, row, i);
    do {
        last = 0;
        for (size_t i = p->from; i < p->end; i++)
            last = *at[i] ? i : last;
        write_piece(p, f, 0, &at[0], last == 0);
        for (size_t i = p->from; i <= last && i < p->end; i++)
            write_piece(p, f, i, &at[i], i == last);
        fputc('\n', f);
        last = 0;
        for (size_t i = 0; i < p->end; i++)
            last |= (i == 0 || i >= p->from) && *at[i];
    } while (last);
}

static void write_part(const struct part *p, FILE *f)
{
    for (size_t row = 0; row <= columns_rows(p->t); row++)
        write_row_of(p, f, row);
}

/* As many columns as fit from @from on, at least one. */
static struct part next_part(const struct columns *t, size_t from)
{
    struct part p = part_of(t, from, MIN(from + 1, t->n_columns));

    if (!make_fit(&p, false))
        make_fit(&p, true);
    while (p.end < t->n_columns && part_width(&p) + GAP + t->width[p.end] <= limit)
        p.end++;
    return p;
}

static void write_table(const struct columns *t, FILE *f)
{
    struct part p = part_of(t, 1, t->n_columns);

    if (limit == 0 || part_width(&p) <= limit) {
        for (size_t row = 0; row <= columns_rows(t); row++) {
            columns_write_row(t, f, row, t->n_columns);
            fputc('\n', f);
        }
    } else if (make_fit(&p, false)) {
        write_part(&p, f);
    } else {
        for (size_t from = 1; from < t->n_columns; from = p.end) {
            p = next_part(t, from);
            write_part(&p, f);
        }
    }
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
