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

enum { HEADER_MAX = 64 * 1024 };

#define REFUSE(p, ...) (snprintf((p)->error, sizeof((p)->error), __VA_ARGS__), RESP_ERROR)

void *memory(void *old, size_t size)
{
    void *p = realloc(old, size);

    if (!p)
        abort();
    return p;
}

void text_add(struct text *t, const void *data, size_t len)
{
    if (len > t->size - t->len) {
        t->size = 2 * (t->len + len) + 64;
        t->data = memory(t->data, t->size);
    }
    if (len > 0)
        memcpy(t->data + t->len, data, len);
    t->len += len;
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

void resp_bulk(struct text *t, struct bytes b)
{
    resp_line(t, "$%zd", b.data ? (ssize_t)b.len : -1);
    if (!b.data)
        return;
    text_add(t, b.data, b.len);
    text_add(t, "\r\n", 2);
}

void resp_array(struct text *t, int n, ...)
{
    va_list args;

    resp_line(t, "*%d", n);
    va_start(args, n);
    while (n-- > 0)
        resp_bulk(t, va_arg(args, struct bytes));
    va_end(args);
}

bool resp_number(struct bytes text, int64_t *ret)
{
    const bool is_negative = text.len > 0 && text.data[0] == '-';
    const char *s = text.data + is_negative, *end = text.data + text.len;
    int64_t n = 0;

    if (s == end || (*s == '0' && text.len > 1))
        return false;
    for (; s < end; s++) {
        if (!isdigit((unsigned char)*s) || __builtin_mul_overflow(n, 10, &n) ||
            __builtin_add_overflow(n, is_negative ? '0' - *s : *s - '0', &n))
            return false;
    }
    *ret = n;
    return true;
}

static enum resp_found finish(struct resp_parser *p)
{
    p->args = (const struct bytes *)(const void *)p->list.data;
    p->n_args = p->list.len / sizeof(struct bytes);
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
    if (end == data || !resp_number((struct bytes){data + 1, (size_t)(end - data) - 1}, ret_n))
        *ret_n = INT64_MAX;
    return (size_t)(end - data) + 2 <= len ? end - data + 2 : 0;
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

    if ((end ? (size_t)(end - data) : len) > p->limits.max_inline)
        return REFUSE(p, "too big inline request");
    if (!end)
        return RESP_MORE;
    *ret_len = (size_t)(end - data) + 1;
    t->len = p->list.len = 0;
    text_add(t, data, *ret_len); /* no argument gets longer: they fit, and the text does not move */
    for (t->len = 0;;) {
        const size_t start = t->len;

        while (s < end && isspace((unsigned char)*s))
            s++;
        if (s == end)
            return finish(p);
        s = read_word(t, s, end);
        if (!s)
            return REFUSE(p, "unbalanced quotes in request");
        text_add(&p->list, &(struct bytes){t->data + start, t->len - start}, sizeof(struct bytes));
    }
}

enum resp_found resp_parse(struct resp_parser *p, struct bytes in, struct resp_place *place,
                           size_t *ret_len)
{
    const bool is_whole = place->at == 0;
    ssize_t header;
    int64_t n;

    if (in.len == 0)
        return RESP_MORE;
    if (*in.data != '*')
        return parse_inline(p, in.data, in.len, ret_len);
    if (is_whole) {
        header = read_header(in.data, in.len, &n);
        if (header <= 0)
            return header < 0 ? REFUSE(p, "too big mbulk count string") : RESP_MORE;
        if (n > (int64_t)p->limits.max_args)
            return REFUSE(p, "invalid multibulk length");
        *place = (struct resp_place){(size_t)header, n > 0 ? (uint64_t)n : 0};
    }
    for (p->list.len = 0; place->n_left > 0; place->n_left--) {
        const char *line = in.data + place->at;

        header = read_header(line, in.len - place->at, &n);
        if (header <= 0)
            return header < 0 ? REFUSE(p, "too big bulk count string") : RESP_MORE;
        if (*line != '$')
            return REFUSE(p, "expected '$', got '%c'", *line);
        if (n < 0 || (uint64_t)n > p->limits.max_bulk)
            return REFUSE(p, "invalid bulk length");
        if ((size_t)n + 2 > in.len - place->at - (size_t)header)
            return RESP_MORE;
        if (is_whole)
            text_add(&p->list, &(struct bytes){line + header, (size_t)n}, sizeof(struct bytes));
        place->at += (size_t)header + (size_t)n + 2;
    }
    *ret_len = place->at;
    *place = (struct resp_place){0};
    if (!is_whole) /* the first arguments came with earlier calls: all are collected now */
        return resp_parse(p, (struct bytes){in.data, *ret_len}, place, ret_len);
    return finish(p);
}

/* ---- glob patterns: after a mismatch the text is tried again from one byte further behind the
 * last star; stars before that one need not be tried again ---- */

/* The class behind '['. Returns where it ends; without a ']' it takes the rest of the pattern. */
static const char *match_class(const char *p, const char *end, unsigned char c, bool *ret)
{
    const bool is_not = p < end && *p == '^';
    unsigned char a, b;

    *ret = is_not;
    for (p += is_not; p < end && *p != ']'; p++) {
        p += *p == '\\' && end - p >= 2;
        a = b = (unsigned char)*p;
        if (end - p >= 3 && p[1] == '-' && p[-1] != '\\')
            b = (unsigned char)*(p += 2);
        if (a <= b ? a <= c && c <= b : b <= c && c <= a)
            *ret = !is_not;
    }
    return p < end ? p + 1 : end;
}

/* One byte of the text against what stands at @p. Returns what comes next, or NULL: no match. */
static const char *match_one(const char *p, const char *end, char c)
{
    bool is_match = true;

    if (*p == '[') {
        p = match_class(p + 1, end, (unsigned char)c, &is_match);
        return is_match ? p : NULL;
    }
    if (*p == '?')
        return p + 1;
    p += *p == '\\' && end - p >= 2;
    return *p == c ? p + 1 : NULL;
}

bool glob_match(struct bytes pattern, struct bytes name)
{
    const char *p = pattern.data, *const end = p + pattern.len;
    const char *text = name.data, *const text_end = text + name.len, *behind_star = NULL,
               *retry = NULL, *next;

    while (text < text_end) {
        if (p < end && *p == '*') {
            behind_star = ++p;
            retry = text;
            continue;
        }
        next = p < end ? match_one(p, end, *text) : NULL;
        if (!next && !behind_star)
            return false;
        text = next ? text + 1 : ++retry;
        p = next ? next : behind_star;
    }
    while (p < end && *p == '*')
        p++;
    return p == end;
}
