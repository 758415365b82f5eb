/*
 * The parsing child's answer, as records of a header line and counted bytes:
 *
 *     value server.bind 12 14     key, line, length
 *     127.0.0.1:8060
 *     error 7 31                  line, length
 *     FILE:7: ...
 *     end 2                       records before it
 */
#include "conf/config_answer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/num.h"

enum { TEXT_MAX = 1 << 16 };

static int write_values(FILE *f, const struct config *c, unsigned *ret_n)
{
    for (int key = 0; key < CONFIG_KEYS; key++) {
        char *text;

        if (c->origin[key].kind != ORIGIN_FILE)
            continue;
        text = config_get(c, (enum config_key)key);
        if (!text)
            return -ENOMEM;
        fprintf(f, "value %s %u %zu\n%s\n", config_keys[key].name, c->origin[key].line,
                strlen(text), text);
        free(text);
        ++*ret_n;
    }
    return 0;
}

int config_answer_encode(const struct config *c, const struct config_errors *errors, char **ret,
                         size_t *ret_len)
{
    char *data = NULL;
    size_t len = 0;
    unsigned n = 0;
    FILE *f = open_memstream(&data, &len);
    int r = 0;

    if (!f)
        return -ENOMEM;
    for (; n < errors->n; n++)
        fprintf(f, "error %u %zu\n%s\n", errors->line[n], strlen(errors->text[n]), errors->text[n]);
    if (n == 0)
        r = write_values(f, c, &n);
    fprintf(f, "end %u\n", n);
    if (fclose(f) != 0)
        r = -ENOMEM;
    if (r < 0) {
        free(data);
        return r;
    }
    *ret = data;
    *ret_len = len;
    return 0;
}

struct cursor {
    const char *p;
    const char *end;
};

/* The next word, which ends at @terminator; it is cut off there in @buf. */
static int read_word(struct cursor *in, char terminator, char *buf, size_t size)
{
    const char *end = memchr(in->p, terminator, (size_t)(in->end - in->p));
    size_t len = end ? (size_t)(end - in->p) : size;

    if (len >= size || memchr(in->p, '\0', len))
        return -EBADMSG;
    memcpy(buf, in->p, len);
    buf[len] = '\0';
    in->p = end + 1;
    return 0;
}

static int read_number(struct cursor *in, char terminator, uint64_t max, uint64_t *ret)
{
    char word[24];
    int r = read_word(in, terminator, word, sizeof(word));

    if (r == 0 && num_parse_u64(word, 0, max, ret) < 0)
        r = -EBADMSG;
    return r;
}

/* The line and the counted text of a record. @ret_text is owned by the caller. */
static int read_body(struct cursor *in, uint64_t *ret_line, char **ret_text)
{
    uint64_t line, len;
    int r = read_number(in, ' ', UINT32_MAX, &line);

    if (r == 0)
        r = read_number(in, '\n', TEXT_MAX, &len);
    if (r < 0)
        return r;
    if (len >= (size_t)(in->end - in->p) || in->p[len] != '\n' || memchr(in->p, '\0', len))
        return -EBADMSG;
    *ret_text = strndup(in->p, len);
    if (!*ret_text)
        return -ENOMEM;
    *ret_line = line;
    in->p += len + 1;
    return 0;
}

/* @last_key: the table's order is the answer's order, so that no key comes twice. */
static int read_value(struct cursor *in, struct config *c, int *last_key)
{
    struct config_origin origin = {ORIGIN_FILE, 0};
    char name[64], *text = NULL;
    uint64_t line;
    int key, r;

    r = read_word(in, ' ', name, sizeof(name));
    if (r < 0)
        return r;
    key = config_find(name);
    if (key <= *last_key)
        return -EBADMSG;
    r = read_body(in, &line, &text);
    if (r < 0)
        return r;
    origin.line = (unsigned)line;
    r = line ? config_set(c, (enum config_key)key, text, origin, NULL, 0) : -EBADMSG;
    free(text);
    *last_key = key;
    return r == -EINVAL ? -EBADMSG : r;
}

static int read_error(struct cursor *in, struct config_errors *errors)
{
    char *text = NULL;
    uint64_t line;
    int r = read_body(in, &line, &text);

    if (r < 0)
        return r;
    if (errors->n == CONFIG_ERRORS_MAX || *text == '\0') {
        free(text);
        return -EBADMSG;
    }
    errors->text[errors->n] = text;
    errors->line[errors->n++] = (unsigned)line;
    return 0;
}

int config_answer_decode(const char *data, size_t len, struct config *c,
                         struct config_errors *errors)
{
    struct cursor in = {data, data + len};
    size_t n_values = 0, n_errors = 0;
    int last_key = -1, r;
    uint64_t n;

    for (;;) {
        char kind[8];

        r = read_word(&in, ' ', kind, sizeof(kind));
        if (r < 0)
            return r;
        if (strcmp(kind, "value") == 0)
            r = read_value(&in, c, &last_key), n_values++;
        else if (strcmp(kind, "error") == 0)
            r = read_error(&in, errors), n_errors++;
        else if (strcmp(kind, "end") == 0)
            break;
        else
            r = -EBADMSG;
        if (r < 0)
            return r;
    }
    r = read_number(&in, '\n', CONFIG_KEYS + CONFIG_ERRORS_MAX, &n);
    if (r < 0 || in.p != in.end || n != n_values + n_errors || (n_values && n_errors))
        return -EBADMSG;
    return n_errors ? -EINVAL : 0;
}
