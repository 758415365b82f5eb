#include "support/exposition.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

#define NAME_START "abcdefghijklmnopqrstuvwxyz_"
#define NAME       NAME_START "0123456789"

__attribute__((format(printf, 2, 3))) static void complain(struct exposition *e, const char *format,
                                                           ...)
{
    va_list list;

    va_start(list, format);
    if (!*e->problem)
        vsnprintf(e->problem, sizeof(e->problem), format, list);
    va_end(list);
}

static struct exposition_family *last_family(struct exposition *e)
{
    return e->n_families > 0 ? &e->families[e->n_families - 1] : NULL;
}

/* HELP opens a family, TYPE and UNIT say more of it. */
static void read_declaration(struct exposition *e, const char *line, bool is_open)
{
    struct exposition_family *f = last_family(e);
    char what[8], name[128], rest[256] = "";

    if (sscanf(line, "# %7s %127s %255[^\n]", what, name, rest) != 3 ||
        strspn(name, NAME) != strlen(name) || !strchr(NAME_START, name[0])) {
        complain(e, "no declaration: %.200s", line);
    } else if (strcmp(what, "HELP") == 0) {
        for (size_t i = 0; i < e->n_families; i++)
            if (strcmp(e->families[i].name, name) == 0)
                complain(e, "declared twice: %s", name);
        if (e->n_families == EXPOSITION_FAMILIES_MAX) {
            complain(e, "too many families");
            return;
        }
        f = &e->families[e->n_families++];
        strcpy(f->name, name);
        strcpy(f->help, rest);
    } else if (!f || strcmp(f->name, name) != 0) {
        complain(e, "not of the family before it: %.200s", line);
    } else if (strcmp(what, "TYPE") == 0) {
        if (*f->type)
            complain(e, "two types: %.200s", line);
        snprintf(f->type, sizeof(f->type), "%.15s", rest);
    } else if (strcmp(what, "UNIT") != 0 || !is_open || strlen(rest) >= strlen(name) ||
               strcmp(name + strlen(name) - strlen(rest), rest) != 0) {
        complain(e, "no unit of that name: %.200s", line);
    }
}

/* What may stand behind the family's name in those of its samples. */
static bool is_suffix(const struct exposition_family *f, const char *suffix, size_t len,
                      bool is_open)
{
    static const struct {
        const char *type, *suffix;
        bool is_open_only;
    } rows[] = {
        {"counter", "_total", true},  {"info", "_info", true},
        {"gauge", "", false},         {"histogram", "_bucket", false},
        {"histogram", "_sum", false}, {"histogram", "_count", false},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        if (strcmp(f->type, rows[i].type) == 0 && (is_open || !rows[i].is_open_only) &&
            strlen(rows[i].suffix) == len && memcmp(rows[i].suffix, suffix, len) == 0)
            return true;
    return !is_open && strcmp(f->type, "counter") == 0 && len == 0 && strlen(f->name) > 6 &&
           strcmp(f->name + strlen(f->name) - 6, "_total") == 0;
}

/* {NAME="VALUE",…} at @at. Returns what is behind it, NULL if it is none. */
static char *skip_labels(char *at)
{
    do {
        at++;
        if (!strchr(NAME_START, *at))
            return NULL;
        at += strspn(at, NAME);
        if (at[0] != '=' || at[1] != '"')
            return NULL;
        for (at += 2; *at != '"'; at++) {
            if (*at == '\\' && !(*++at && strchr("\\\"n", *at)))
                return NULL;
            if (!*at)
                return NULL;
        }
        at++;
    } while (*at == ',');
    return *at == '}' ? at + 1 : NULL;
}

static void read_sample(struct exposition *e, char *line, bool is_open)
{
    const struct exposition_family *f = last_family(e);
    struct exposition_sample *s = &e->samples[e->n_samples];
    const size_t len = strspn(line, NAME), name_len = f ? strlen(f->name) : 0;
    char *at = line + len, *end;

    if (!f || len < name_len || memcmp(line, f->name, name_len) != 0 ||
        !is_suffix(f, line + name_len, len - name_len, is_open)) {
        complain(e, "not of the family before it: %.200s", line);
        return;
    }
    at = *at == '{' ? skip_labels(at) : at;
    if (!at || *at != ' ' || e->n_samples == EXPOSITION_LINES_MAX) {
        complain(e, "no sample, or one too many: %.200s", line);
        return;
    }
    *at = '\0';
    *s = (struct exposition_sample){line, f, strtod(at + 1, &end)};
    if (end == at + 1 || *end)
        complain(e, "no value: %.200s %.50s", line, at + 1);
    e->n_samples++;
}

static int compare_series(const void *a, const void *b)
{
    return strcmp(((const struct exposition_sample *)a)->series,
                  ((const struct exposition_sample *)b)->series);
}

struct exposition *exposition_new(const char *text, bool is_open)
{
    struct exposition *e = calloc(1, sizeof(*e));
    bool has_end = false;
    char *line, *rest;

    e->text = strdup(text);
    for (rest = e->text; (line = strsep(&rest, "\n")) && rest;) {
        if (has_end)
            complain(e, "behind the end: %.200s", line);
        if (strcmp(line, "# EOF") == 0)
            has_end = true;
        else if (line[0] == '#')
            read_declaration(e, line, is_open);
        else
            read_sample(e, line, is_open);
    }
    if (*line)
        complain(e, "the last line has no end: %.200s", line);
    if (has_end != is_open)
        complain(e, "an end that is missing or too much");
    qsort(e->samples, e->n_samples, sizeof(e->samples[0]), compare_series);
    for (size_t i = 1; i < e->n_samples; i++)
        if (compare_series(&e->samples[i - 1], &e->samples[i]) == 0)
            complain(e, "twice: %s", e->samples[i].series);
    return e;
}

void exposition_free(struct exposition *e)
{
    if (e)
        free(e->text);
    free(e);
}

const struct exposition_sample *exposition_find(const struct exposition *e, const char *series)
{
    const struct exposition_sample key = {.series = series};

    return bsearch(&key, e->samples, e->n_samples, sizeof(key), compare_series);
}

/* Histograms count as well. */
const char *exposition_fallen(const struct exposition *before, const struct exposition *now)
{
    for (size_t i = 0; i < before->n_samples; i++) {
        const struct exposition_sample *s = &before->samples[i], *later;

        if (strcmp(s->family->type, "counter") != 0 && strcmp(s->family->type, "histogram") != 0)
            continue;
        later = exposition_find(now, s->series);
        if (!later || later->value < s->value)
            return s->series;
    }
    return NULL;
}
