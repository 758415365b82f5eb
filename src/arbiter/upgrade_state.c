/*
 * The state's codec: writing, reading, freeing and collecting descriptors, all along the tables of
 * upgrade_rows.c.
 */
#include "arbiter/upgrade_state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arbiter/upgrade_rows.h"
#include "base/util.h"

#define FORMAT "echo-arbiter state"

enum { FD_MAX = 1 << 30 };

#define UINT_BOUND ((uint64_t)INT64_MAX) /* of JSON's integers */

/* A member of any type, by its place. The tables see to it that @type is its type. */
#define MEMBER(type, base, offset) (*(type *)(void *)((char *)(uintptr_t)(base) + (offset)))

/* Lists are pointers to different structs, which no one pointer type may stand for. */
static void *get_items(const void *base, const struct row *row)
{
    void *items;

    memcpy(&items, (const char *)base + row->offset, sizeof(items));
    return items;
}

/* ---- writing ---- */

/* Paths are bytes of any kind and JSON is UTF-8: each byte is one of the code points up to U+00FF.
 */
static json_t *write_bytes(const void *data, size_t len)
{
    const uint8_t *in = data;
    char *text = malloc(2 * len + 1);
    size_t n = 0;
    json_t *value;

    if (!text)
        return NULL;
    for (size_t i = 0; i < len; i++) {
        if (in[i] >= 0x80)
            text[n++] = (char)(0xc0 | in[i] >> 6);
        text[n++] = (char)(in[i] >= 0x80 ? 0x80 | (in[i] & 0x3f) : in[i]);
    }
    value = json_stringn(text, n);
    free(text);
    return value;
}

static json_t *write_struct(const struct table *t, const void *base);

static json_t *write_list(const struct row *row, const void *base)
{
    const char *items = get_items(base, row);
    const size_t n = MEMBER(size_t, base, row->offset_n);
    json_t *list = json_array();

    for (size_t i = 0; list && i < n; i++) {
        if (json_array_append_new(list, write_struct(row->of, items + i * row->of->size)) < 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *write_member(const struct row *row, const void *base)
{
    switch (row->kind) {
    case UINT:
        return json_integer((json_int_t)MIN(MEMBER(uint64_t, base, row->offset), UINT_BOUND));
    case WORD:
        return json_integer((json_int_t)MEMBER(uint64_t, base, row->offset));
    case BOOL:
        return json_boolean(MEMBER(bool, base, row->offset));
    case TEXT:
        return write_bytes(MEMBER(char *, base, row->offset),
                           strlen(MEMBER(char *, base, row->offset)));
    case BYTES:
        return write_bytes(MEMBER(struct state_bytes, base, row->offset).data,
                           MEMBER(struct state_bytes, base, row->offset).len);
    case FD:
    case MAYBE_FD:
        return json_integer(MEMBER(int, base, row->offset));
    case JSON:
        return json_incref(MEMBER(json_t *, base, row->offset));
    case LIST:
    case MAYBE_LIST:
        return write_list(row, base);
    }
    return NULL;
}

static json_t *write_struct(const struct table *t, const void *base)
{
    json_t *o = json_object();

    for (size_t i = 0; o && i < t->n; i++) {
        if (json_object_set_new(o, t->rows[i].name, write_member(&t->rows[i], base)) < 0) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

int upgrade_state_encode(const struct upgrade_state *s, char **ret, size_t *ret_len)
{
    json_t *body = write_struct(&upgrade_state_table, s);
    json_t *o = json_pack("{s:s,s:i,s:o}", "format", FORMAT, "version", STATE_VERSION, "state",
                          body ? body : json_null());
    char *text = body && o ? json_dumps(o, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;

    json_decref(o);
    if (!text)
        return -ENOMEM;
    *ret = text;
    *ret_len = strlen(text);
    return 0;
}

/* ---- reading ---- */

static int complain(char *why, const char *name, const char *what)
{
    snprintf(why, STATE_WHY_LEN, "%s: %s", name, what);
    return -EBADMSG;
}

static int read_uint(const struct row *row, const json_t *value, void *base, char *why)
{
    json_int_t n = json_integer_value(value);

    if (!json_is_integer(value) || n < 0 || (uint64_t)n > row->max)
        return complain(why, row->name, "not a number in its range");
    MEMBER(uint64_t, base, row->offset) = (uint64_t)n;
    return 0;
}

static int read_word(const struct row *row, const json_t *value, void *base, char *why)
{
    if (!json_is_integer(value))
        return complain(why, row->name, "not a whole number");
    MEMBER(uint64_t, base, row->offset) = (uint64_t)json_integer_value(value);
    return 0;
}

static int read_fd(const struct row *row, const json_t *value, void *base, char *why)
{
    json_int_t n = json_integer_value(value);

    if (!json_is_integer(value) || n > FD_MAX || (n < 3 && (row->kind == FD || n != -1)))
        return complain(why, row->name, "not a descriptor");
    MEMBER(int, base, row->offset) = (int)n;
    return 0;
}

/* The other way round, malloc'ed and terminated. Returns 0, -EBADMSG or -ENOMEM. */
static int parse_bytes(const json_t *value, struct state_bytes *ret)
{
    const uint8_t *in = (const uint8_t *)json_string_value(value);
    const size_t len = in ? json_string_length(value) : 0;
    uint8_t *out = in ? malloc(len + 1) : NULL;
    size_t n = 0, i = 0;

    if (!out)
        return in ? -ENOMEM : -EBADMSG;
    while (i < len) {
        const bool is_long = in[i] == 0xc2 || in[i] == 0xc3;

        if (in[i] >= 0x80 && !is_long) {
            free(out);
            return -EBADMSG;
        }
        out[n++] = (uint8_t)(is_long ? in[i] << 6 | (in[i + 1] & 0x3f) : in[i]);
        i += is_long ? 2 : 1;
    }
    out[n] = '\0';
    *ret = (struct state_bytes){out, n};
    return 0;
}

static int read_text(const struct row *row, const json_t *value, void *base, char *why)
{
    struct state_bytes b;
    int rc = parse_bytes(value, &b);

    if (rc == 0 && strlen((char *)b.data) != b.len) {
        free(b.data);
        rc = -EBADMSG;
    }
    if (rc < 0)
        return rc == -EBADMSG ? complain(why, row->name, "not a text") : rc;
    MEMBER(char *, base, row->offset) = (char *)b.data;
    return 0;
}

static int read_bytes(const struct row *row, const json_t *value, void *base, char *why)
{
    struct state_bytes b;
    int rc = parse_bytes(value, &b);

    if (rc == 0 && b.len > row->max) {
        free(b.data);
        rc = -EBADMSG;
    }
    if (rc < 0)
        return rc == -EBADMSG ? complain(why, row->name, "not bytes within their bound") : rc;
    MEMBER(struct state_bytes, base, row->offset) = b;
    return 0;
}

static int read_struct(const struct table *t, const json_t *o, void *base, char *why);

static int read_list(const struct row *row, const json_t *value, void *base, char *why)
{
    const size_t n = json_array_size(value);
    char *items;
    int rc = 0;

    if (!json_is_array(value) || n > row->max)
        return complain(why, row->name, "not a list within its bound");
    items = n ? calloc(n, row->of->size) : NULL;
    if (n && !items)
        return -ENOMEM;
    /* The list is the owner from now on: what is half read is freed with the rest. */
    memcpy((char *)base + row->offset, &items, sizeof(items));
    MEMBER(size_t, base, row->offset_n) = n;
    for (size_t i = 0; rc == 0 && i < n; i++)
        rc = read_struct(row->of, json_array_get(value, i), items + i * row->of->size, why);
    return rc;
}

static int read_member(const struct row *row, json_t *value, void *base, char *why)
{
    switch (row->kind) {
    case UINT:
        return read_uint(row, value, base, why);
    case WORD:
        return read_word(row, value, base, why);
    case BOOL:
        if (!json_is_boolean(value))
            return complain(why, row->name, "neither true nor false");
        MEMBER(bool, base, row->offset) = json_is_true(value);
        return 0;
    case TEXT:
        return read_text(row, value, base, why);
    case BYTES:
        return read_bytes(row, value, base, why);
    case FD:
    case MAYBE_FD:
        return read_fd(row, value, base, why);
    case JSON:
        MEMBER(json_t *, base, row->offset) = json_incref(value);
        return 0;
    case LIST:
    case MAYBE_LIST:
        return read_list(row, value, base, why);
    }
    return -EBADMSG;
}

static int read_struct(const struct table *t, const json_t *o, void *base, char *why)
{
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < t->n; i++) {
        json_t *value = json_object_get(o, t->rows[i].name);

        if (value)
            rc = read_member(&t->rows[i], value, base, why);
        else if (t->rows[i].kind != MAYBE_LIST)
            rc = complain(why, t->rows[i].name, "missing");
    }
    return rc;
}

/* Two owners of one descriptor would close it twice. */
static int check_fds(const struct upgrade_state *s, char *why)
{
    size_t n = 0;
    int *fds = NULL;
    int rc = upgrade_state_fds(s, &fds, &n);

    for (size_t i = 1; rc == 0 && i < n; i++)
        if (fds[i] == fds[i - 1])
            rc = complain(why, "descriptors", "one is named twice");
    free(fds);
    return rc;
}

static int read_state(json_t *o, struct upgrade_state *s, char *why)
{
    const char *format = json_string_value(json_object_get(o, "format"));
    json_t *version = json_object_get(o, "version");
    int rc;

    if (!format || strcmp(format, FORMAT) != 0 || !json_is_integer(version))
        return complain(why, "state", "this is none");
    if (json_integer_value(version) != STATE_VERSION) {
        snprintf(why, STATE_WHY_LEN, "state: version %" JSON_INTEGER_FORMAT ", understood: %d",
                 json_integer_value(version), STATE_VERSION);
        return -EPROTONOSUPPORT;
    }
    rc = read_struct(&upgrade_state_table, json_object_get(o, "state"), s, why);
    return rc ? rc : check_fds(s, why);
}

int upgrade_state_decode(const char *data, size_t len, struct upgrade_state *ret, char *why)
{
    json_error_t error;
    json_t *o = json_loadb(data, len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &error);
    struct upgrade_state s = {0};
    int rc;

    if (!o)
        return complain(why, "state", error.text);
    rc = read_state(o, &s, why);
    json_decref(o);
    if (rc == 0)
        *ret = s;
    else
        upgrade_state_fini(&s);
    if (rc == -ENOMEM)
        snprintf(why, STATE_WHY_LEN, "out of memory");
    return rc;
}

/* ---- the rest ---- */

static void free_struct(const struct table *t, void *base)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct row *row = &t->rows[i];

        if (row->kind == TEXT) {
            free(MEMBER(char *, base, row->offset));
        } else if (row->kind == BYTES) {
            free(MEMBER(struct state_bytes, base, row->offset).data);
        } else if (row->kind == JSON) {
            json_decref(MEMBER(json_t *, base, row->offset));
        } else if (row->kind == LIST || row->kind == MAYBE_LIST) {
            char *items = get_items(base, row);

            for (size_t k = 0; k < MEMBER(size_t, base, row->offset_n); k++)
                free_struct(row->of, items + k * row->of->size);
            free(items);
        }
    }
}

void upgrade_state_fini(struct upgrade_state *s)
{
    if (!s)
        return;
    free_struct(&upgrade_state_table, s);
    memset(s, 0, sizeof(*s));
}

/* With @ret NULL only counts. */
static size_t collect_fds(const struct table *t, const void *base, int *ret)
{
    size_t n = 0;

    for (size_t i = 0; i < t->n; i++) {
        const struct row *row = &t->rows[i];

        if (row->kind == FD || row->kind == MAYBE_FD) {
            int fd = MEMBER(int, base, row->offset);

            if (fd >= 0 && ret)
                ret[n] = fd;
            n += fd >= 0;
        } else if (row->kind == LIST || row->kind == MAYBE_LIST) {
            const char *items = get_items(base, row);

            for (size_t k = 0; k < MEMBER(size_t, base, row->offset_n); k++)
                n += collect_fds(row->of, items + k * row->of->size, ret ? ret + n : NULL);
        }
    }
    return n;
}

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;

    return (x > y) - (x < y);
}

int upgrade_state_fds(const struct upgrade_state *s, int **ret, size_t *ret_n)
{
    size_t n = collect_fds(&upgrade_state_table, s, NULL);
    int *fds = calloc(n + 1, sizeof(*fds));

    if (!fds)
        return -ENOMEM;
    collect_fds(&upgrade_state_table, s, fds);
    qsort(fds, n, sizeof(*fds), compare_ints);
    *ret = fds;
    *ret_n = n;
    return 0;
}
