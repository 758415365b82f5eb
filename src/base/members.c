/*
 * Members of structs as JSON, and back.
 */
#include "base/members.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/counters.h"
#include "base/json_text.h"
#include "base/timing.h"
#include "base/util.h"

/* ---- packing ---- */

static json_t *pack_counters(const struct counters *c)
{
    json_t *o = json_object();
    int rc = 0;

#define X(field, help)                                                                             \
    rc |= json_object_set_new(o, #field, json_integer((json_int_t)counter_get(&c->field)));
    COUNTERS(X)
#undef X
    if (rc == 0)
        return o;
    json_decref(o);
    return NULL;
}

static json_t *pack_member(struct members_packer *p, const struct member *m, const void *at)
{
    uint64_t wide;
    uint32_t narrow;
    int fd;

    memcpy(&wide, at, MIN(m->size, sizeof(wide)));
    memcpy(&narrow, at, MIN(m->size, sizeof(narrow)));
    switch (m->kind) {
    case MEMBER_UINT:
        return json_integer(
            (json_int_t)MIN(m->size == sizeof(wide) ? wide : (uint64_t)narrow, MEMBER_UINT_MAX));
    case MEMBER_WORD:
        return json_integer((json_int_t)wide);
    case MEMBER_FLAG:
        return json_boolean(*(const bool *)at);
    case MEMBER_NAME:
        return json_string(m->names[narrow]);
    case MEMBER_TEXT:
        return json_text(at);
    case MEMBER_OWN_TEXT:
        return json_text(*(char *const *)at);
    case MEMBER_FD:
    case MEMBER_MAYBE_FD:
        fd = *(const int *)at;
        if (fd >= 0)
            p->has_failed |= json_array_append_new(p->fds, json_integer(fd)) < 0;
        return json_integer(fd);
    case MEMBER_ANY:
        return json_incref(*(json_t *const *)at);
    case MEMBER_COUNTERS:
        return pack_counters(at);
    case MEMBER_TIMING:
        return timing_pack(at);
    }
    return NULL;
}

void members_set(struct members_packer *p, json_t *o, const char *name, json_t *value)
{
    p->has_failed |= json_object_set_new(o, name, value) < 0;
}

void members_pack(struct members_packer *p, json_t *o, const struct member *m, const void *base)
{
    for (; m->name; m++)
        members_set(p, o, m->name, pack_member(p, m, (const char *)base + m->offset));
}

/* ---- unpacking ---- */

int members_refuse(struct members_reader *r, const char *what, const char *detail)
{
    snprintf(r->why, r->why_size, "%s: %s", what, detail);
    return -EBADMSG;
}

int members_compare_fds(const void *a, const void *b)
{
    const int x = *(const int *)a, y = *(const int *)b;

    return (x > y) - (x < y);
}

/* Two owners of one descriptor would close it twice. */
static int unpack_fd(struct members_reader *r, const struct member *m, json_int_t value, int *at)
{
    const int fd = (int)value;
    const int *found = bsearch(&fd, r->fds, r->n_fds, sizeof(fd), members_compare_fds);

    if (value == -1 && m->kind == MEMBER_MAYBE_FD) {
        *at = -1;
        return 0;
    }
    if (!found || value != fd || r->is_taken[found - r->fds])
        return members_refuse(r, m->name, "not a descriptor of the list that has no other owner");
    r->is_taken[found - r->fds] = true;
    *at = fd;
    return 0;
}

static int unpack_name(struct members_reader *r, const struct member *m, const char *name, void *at)
{
    for (uint32_t i = 0; i < m->max; i++) {
        if (m->names[i] && strcmp(m->names[i], name) == 0) {
            memcpy(at, &i, sizeof(i));
            return 0;
        }
    }
    return members_refuse(r, m->name, "a name that this version does not know");
}

static int unpack_text(struct members_reader *r, const struct member *m, const json_t *value,
                       void *at)
{
    char *text;
    int rc = json_text_read(value, &text);

    if (rc < 0)
        return rc == -EBADMSG ? members_refuse(r, m->name, "not a text") : rc;
    if (m->kind == MEMBER_OWN_TEXT) {
        free(*(char **)at);
        *(char **)at = text;
        return 0;
    }
    if (strlen(text) >= m->size)
        rc = members_refuse(r, m->name, "too long");
    else
        strcpy(at, text);
    free(text);
    return rc;
}

static int unpack_counters(struct members_reader *r, json_t *o, struct counters *c)
{
    const char *name;
    json_t *value;

    json_object_foreach(o, name, value)
    {
        const uint64_t n = (uint64_t)json_integer_value(value);

        if (!json_is_integer(value) || n > INT64_MAX)
            return members_refuse(r, name, "not a number in its range");
#define X(field, help)                                                                             \
    if (strcmp(name, #field) == 0)                                                                 \
        counter_set(&c->field, n);
        COUNTERS(X)
#undef X
    }
    return 0;
}

static int unpack_uint(struct members_reader *r, const struct member *m, json_int_t n, void *at)
{
    const uint64_t wide = (uint64_t)n;
    const uint32_t narrow = (uint32_t)n;

    if (m->kind == MEMBER_UINT && wide > m->max)
        return members_refuse(r, m->name, "not a number in its range");
    memcpy(at, m->size == sizeof(wide) ? (const void *)&wide : &narrow, m->size);
    return 0;
}

static const json_type types[] = {
    [MEMBER_UINT] = JSON_INTEGER,     [MEMBER_WORD] = JSON_INTEGER,
    [MEMBER_NAME] = JSON_STRING,      [MEMBER_TEXT] = JSON_STRING,
    [MEMBER_OWN_TEXT] = JSON_STRING,  [MEMBER_FD] = JSON_INTEGER,
    [MEMBER_MAYBE_FD] = JSON_INTEGER, [MEMBER_COUNTERS] = JSON_OBJECT,
    [MEMBER_TIMING] = JSON_OBJECT,
};

static int unpack_member(struct members_reader *r, const struct member *m, json_t *value, void *at)
{
    if (m->kind == MEMBER_FLAG ? !json_is_boolean(value)
                               : m->kind != MEMBER_ANY && json_typeof(value) != types[m->kind])
        return members_refuse(r, m->name, "of another type");
    switch (m->kind) {
    case MEMBER_UINT:
    case MEMBER_WORD:
        return unpack_uint(r, m, json_integer_value(value), at);
    case MEMBER_FLAG:
        *(bool *)at = json_is_true(value);
        return 0;
    case MEMBER_NAME:
        return unpack_name(r, m, json_string_value(value), at);
    case MEMBER_TEXT:
    case MEMBER_OWN_TEXT:
        return unpack_text(r, m, value, at);
    case MEMBER_FD:
    case MEMBER_MAYBE_FD:
        return unpack_fd(r, m, json_integer_value(value), at);
    case MEMBER_ANY:
        json_decref(*(json_t **)at);
        *(json_t **)at = json_incref(value);
        return 0;
    case MEMBER_COUNTERS:
        return unpack_counters(r, value, at);
    case MEMBER_TIMING:
        return timing_unpack(value, at) < 0 ? members_refuse(r, m->name, "not what counts times")
                                            : 0;
    }
    return -EBADMSG;
}

int members_unpack(struct members_reader *r, const json_t *o, const struct member *m, void *base,
                   size_t n_more)
{
    const char *first = m->name;
    size_t n = n_more;
    int rc = 0;

    for (; rc == 0 && m->name; m++, n++) {
        json_t *value = json_object_get(o, m->name);

        rc = value ? unpack_member(r, m, value, (char *)base + m->offset)
                   : members_refuse(r, m->name, "missing");
    }
    if (rc == 0 && json_object_size(o) != n)
        rc = members_refuse(r, first, "beside it is a member that this version does not know");
    return rc;
}
