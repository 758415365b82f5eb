/*
 * RESP2: see resp.h. What Redis tolerates is tolerated, and what it refuses is refused in its
 * words.
 */
#include "resp.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_MAX = 64 * 1024, KEPT_MAX = 64 * 1024 };

void text_add(struct text *t, const void *data, size_t len)
{
    const size_t size = 2 * (t->len + len) + 64;

    if (len > t->size - t->len) {
        char *grown = realloc(t->data, size);

        t->has_failed |= !grown;
        if (!grown)
            return;
        t->data = grown;
        t->size = size;
    }
    if (len > 0)
        memcpy(t->data + t->len, data, len);
    t->len += len;
}

void text_clear(struct text *t)
{
    if (t->size > KEPT_MAX)
        text_free(t);
    t->len = 0;
    t->has_failed = false;
}

void text_free(struct text *t)
{
    free(t->data);
    *t = (struct text){0};
}

void resp_line(struct text *t, const char *format, ...)
{
    char line[512];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    for (char *p = line; (p = strpbrk(p, "\r\n"));)
        *p = ' ';
    text_add(t, line, strlen(line));
    text_add(t, "\r\n", 2);
}

void resp_bulk(struct text *t, const void *data, size_t len)
{
    resp_line(t, "$%zu", len);
    text_add(t, data, len);
    text_add(t, "\r\n", 2);
}

void resp_word(struct text *t, const char *word)
{
    resp_bulk(t, word, strlen(word));
}

bool resp_number(const char *s, size_t len, int64_t *ret)
{
    const bool is_negative = len > 0 && s[0] == '-';
    int64_t n = 0;

    s += is_negative;
    len -= is_negative;
    if (len == 0 || (s[0] == '0' && (len > 1 || is_negative)))
        return false;
    for (; len > 0; s++, len--) {
        if (!isdigit((unsigned char)*s) || __builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, is_negative ? '0' - *s : *s - '0', &n))
            return false;
    }
    *ret = n;
    return true;
}

__attribute__((format(printf, 2, 3))) static enum resp_found refuse(struct resp_parser *p,
                                                                    const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(p->error, sizeof(p->error), format, args);
    va_end(args);
    return RESP_ERROR;
}

static void add_arg(struct resp_parser *p, const char *data, size_t len)
{
    text_add(&p->list, &(struct resp_arg){data, len}, sizeof(struct resp_arg));
}

static enum resp_found finish(struct resp_parser *p)
{
    p->args = (const struct resp_arg *)(const void *)p->list.data;
    p->n_args = p->list.len / sizeof(struct resp_arg);
    if (p->list.has_failed || p->unquoted.has_failed)
        return refuse(p, "out of memory");
    return p->n_args > 0 ? RESP_COMMAND : RESP_NOTHING;
}

/* The end of a line, as Redis looks for it: a NUL hides what is behind. */
static const char *find_end(const char *data, size_t len, char end)
{
    const char *found = memchr(data, end, len);

    return found && !memchr(data, '\0', (size_t)(found - data)) ? found : NULL;
}

/*
 * A line such as "*2" or "$5". A number that is none becomes INT64_MAX. Returns its length with the
 * end of line; 0: it is not complete; -1: it is too long.
 */
static ssize_t read_header(const char *data, size_t len, int64_t *ret_n)
{
    const char *end = find_end(data, len, '\r');

    if (!end)
        return len > HEADER_MAX ? -1 : 0;
    if (end == data || !resp_number(data + 1, (size_t)(end - data) - 1, ret_n))
        *ret_n = INT64_MAX;
    return (size_t)(end - data) + 2 <= len ? end - data + 2 : 0;
}

static enum resp_found parse_multi(struct resp_parser *p, const char *data, size_t len,
                                   struct resp_place *place, size_t *ret_len)
{
    const bool is_whole = place->at == 0;
    ssize_t header;
    int64_t n;

    if (is_whole) {
        header = read_header(data, len, &n);
        if (header <= 0)
            return header < 0 ? refuse(p, "too big mbulk count string") : RESP_MORE;
        if (n > (int64_t)p->max_args)
            return refuse(p, "invalid multibulk length");
        *place = (struct resp_place){(size_t)header, n > 0 ? (uint64_t)n : 0};
    }
    for (text_clear(&p->list); place->n_left > 0; place->n_left--) {
        const char *line = data + place->at;

        header = read_header(line, len - place->at, &n);
        if (header <= 0)
            return header < 0 ? refuse(p, "too big bulk count string") : RESP_MORE;
        if (*line != '$')
            return refuse(p, "expected '$', got '%c'", *line);
        if (n < 0 || (uint64_t)n > p->max_bulk)
            return refuse(p, "invalid bulk length");
        if ((size_t)n + 2 > len - place->at - (size_t)header)
            return RESP_MORE;
        if (is_whole)
            add_arg(p, line + header, (size_t)n);
        place->at += (size_t)header + (size_t)n + 2;
    }
    *ret_len = place->at;
    *place = (struct resp_place){0};
    if (!is_whole) /* the first arguments came with earlier calls: all are collected now */
        return parse_multi(p, data, *ret_len, place, ret_len);
    return finish(p);
}

/* What stands behind a backslash within double quotes. Returns what is behind it. */
static const char *unescape(const char *s, const char *end, char *ret)
{
    static const char from[] = "nrtba", to[] = "\n\r\t\b\a";
    const char *known = memchr(from, *s, sizeof(from) - 1);

    *ret = known ? to[known - from] : *s;
    if (*s != 'x' || end - s < 3 || !isxdigit((unsigned char)s[1]) ||
        !isxdigit((unsigned char)s[2]))
        return s + 1;
    *ret = (char)strtol((const char[]){s[1], s[2], '\0'}, NULL, 16);
    return s + 3;
}

/* One argument of a line, appended to the text. Returns what is behind it, or NULL: bad quotes. */
static const char *read_word(struct text *t, const char *s, const char *end)
{
    char quote = '\0', c;

    while (s < end && (quote || !strchr(" \t\r\n", *s))) {
        c = *s++;
        if (!quote && (c == '"' || c == '\'')) {
            quote = c;
            continue;
        }
        if (quote && c == quote)
            return s == end || isspace((unsigned char)*s) ? s : NULL;
        if (c == '\\' && quote == '"' && s < end)
            s = unescape(s, end, &c);
        else if (c == '\\' && quote == '\'' && s < end && *s == '\'')
            c = *s++;
        text_add(t, &c, 1);
    }
    return quote ? NULL : s;
}

static enum resp_found parse_inline(struct resp_parser *p, const char *data, size_t len,
                                    size_t *ret_len)
{
    const char *end = find_end(data, len, '\n'), *s = data;
    struct text *t = &p->unquoted;

    if ((end ? (size_t)(end - data) : len) > p->max_inline)
        return refuse(p, "too big inline request");
    if (!end)
        return RESP_MORE;
    *ret_len = (size_t)(end - data) + 1;
    text_clear(t);
    text_clear(&p->list);
    text_add(t, data, *ret_len); /* no argument gets longer: they fit, and the text does not move */
    for (t->len = 0;;) {
        const size_t start = t->len;

        while (s < end && isspace((unsigned char)*s))
            s++;
        if (s == end)
            return finish(p);
        s = read_word(t, s, end);
        if (!s)
            return refuse(p, "unbalanced quotes in request");
        add_arg(p, t->data + start, t->len - start);
    }
}

enum resp_found resp_parse(struct resp_parser *p, const char *data, size_t len,
                           struct resp_place *place, size_t *ret_len)
{
    struct resp_place beginning = {0};

    if (len == 0)
        return RESP_MORE;
    if (*data != '*')
        return parse_inline(p, data, len, ret_len);
    return parse_multi(p, data, len, place ? place : &beginning, ret_len);
}

void resp_parser_free(struct resp_parser *p)
{
    text_free(&p->list);
    text_free(&p->unquoted);
}
