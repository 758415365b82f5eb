/*
 * The rows of a program: the framework's table (config.c) and those of its protocols. The latter
 * are checked here: what an author has written is known no sooner.
 */
#include "conf/config_schema.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/rows.h"
#include "conf/config.h"
#include "conf/config_type.h"

struct schema_builder {
    struct config_schema *schema;
    char *why;
    size_t why_size;
};

static int __attribute__((format(printf, 2, 3)))
schema_refuse(struct schema_builder *b, const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    vsnprintf(b->why, b->why_size, format, ap);
    va_end(ap);
    return -EINVAL;
}

/* Takes @text over. Returns it, or NULL without memory. */
static const char *keep_text(struct config_schema *s, char *text)
{
    if (text)
        s->texts[s->n_texts++] = text;
    return text;
}

#define ALLOWED_NAME "a to z and _, a letter first, and neither true nor false"

/* What libconfig takes as a name, and nothing else. */
static bool is_name(const char *name)
{
    return name && *name && *name != '_' && strlen(name) <= CONFIG_NAME_MAX &&
           name[strspn(name, "abcdefghijklmnopqrstuvwxyz_")] == '\0' && strcmp(name, "true") != 0 &&
           strcmp(name, "false") != 0;
}

/* Behind the rows that are there. */
static int add_row(struct config_schema *s, struct config_row row)
{
    int first;

    row.group_len = (size_t)(strchr(row.name, '.') - row.name);
    first = config_name_find_group(s, row.name, row.group_len);
    row.group = first == NOT_A_KEY ? s->n_keys : first;
    if (!row.allowed)
        row.allowed = keep_text(s, row.type->describe(&row));
    if (!row.allowed)
        return -ENOMEM;
    s->rows[s->n_keys++] = row;
    return 0;
}

/* What rows that were not made by the macros may have wrong, and what the macros do not see. */
static const char *find_fault(const struct arb_protocol *p, const struct arb_key *k)
{
    const struct config_own_type *own = config_own_type(k->type);

    if (!own)
        return "its type is unknown";
    if (!k->initial || !k->help)
        return "it has no default or no help";
    if (k->type == ARB_CHOICE && (!k->choices || !k->choices[0]))
        return "it has no choices";
    if (k->size == 0 || (own->size && k->size != own->size))
        return "its field has another type";
    if (k->size > p->conf_size || k->offset > p->conf_size - k->size)
        return "its field does not lie within conf_size";
    if (k->min > k->max || k->max > own->max || (k->type == ARB_TEXT && k->max >= k->size))
        return "its bounds are wrong, or more than its type can hold";
    return NULL;
}

/* Of another key, which a slip of the pen has given the same field; or NULL. */
static const char *find_overlap(const struct config_schema *s, const struct arb_key *k)
{
    for (int key = CONFIG_KEYS; key < s->n_keys; key++) {
        const struct config_row *row = &s->rows[key];

        if (row->owner == s->n_protocols && k->offset < row->offset + row->size &&
            row->offset < k->offset + k->size)
            return row->name;
    }
    return NULL;
}

static int add_own_row(struct schema_builder *b, const struct arb_protocol *p,
                       const struct arb_key *k)
{
    const char *group = p->group ? p->group : p->name, *fault;
    struct config_schema *s = b->schema;
    char *name;

    if (!is_name(k->name) || strlen(group) + strlen(k->name) + 1 > CONFIG_NAME_MAX)
        return schema_refuse(b,
                             "protocol %s: \"%.99s\" is no name of a key, allowed: " ALLOWED_NAME
                             ", at most %d with the group and a dot",
                             p->name, k->name ? k->name : "", CONFIG_NAME_MAX);
    fault = find_fault(p, k);
    if (fault)
        return schema_refuse(b, "protocol %s: key %s: %s", p->name, k->name, fault);
    fault = find_overlap(s, k);
    if (fault)
        return schema_refuse(b, "protocol %s: key %s: its field is that of %s", p->name, k->name,
                             fault);
    if (s->n_keys == CONFIG_KEYS_MAX)
        return schema_refuse(b, "protocol %s: key %s: there are more than %d keys", p->name,
                             k->name, CONFIG_KEYS_MAX);
    if (asprintf(&name, "%s.%s", group, k->name) < 0 || !keep_text(s, name))
        return -ENOMEM;
    if (config_find(s, name) != NOT_A_KEY)
        return schema_refuse(b, "protocol %s: key %s: there is a %s already", p->name, k->name,
                             name);
    return add_row(s, (struct config_row){.name = name,
                                          .reload = RELOAD_WORKERS,
                                          .initial = k->initial,
                                          .help = k->help,
                                          .type = config_own_type(k->type)->type,
                                          .choices = k->type == ARB_CHOICE ? k->choices : NULL,
                                          .owner = s->n_protocols,
                                          .offset = k->offset,
                                          .size = k->size,
                                          .min = k->min,
                                          .max = k->max});
}

static int add_protocol(struct schema_builder *b, const struct arb_protocol *p)
{
    struct config_schema *s = b->schema;
    int r = 0;

    if (!is_name(p->name) || (p->group && !is_name(p->group)))
        return schema_refuse(b, "\"%.99s\" is no name of a %s, allowed: " ALLOWED_NAME,
                             is_name(p->name) ? p->group
                             : p->name        ? p->name
                                              : "",
                             is_name(p->name) ? "group" : "protocol");
    if (config_schema_protocol(s, p->name, strlen(p->name)) >= 0)
        return schema_refuse(b, "there are two protocols %s", p->name);
    if (s->n_protocols == ARB_PROTOCOLS_MAX)
        return schema_refuse(b, "there are more than %d protocols", ARB_PROTOCOLS_MAX);
    s->protocols[s->n_protocols++] = p;
    for (size_t i = 0; r == 0 && i < p->keys.count; i++) {
        struct arb_key k;

        row_read(&k, sizeof(k), p->keys.first, p->keys.row_size, i);
        r = add_own_row(b, p, &k);
    }
    return r;
}

static int check_defaults(struct schema_builder *b)
{
    char reason[CONFIG_WHY_LEN];
    struct config *c = NULL;
    int r = config_try_new(b->schema, &c, reason, sizeof(reason));

    config_free(c);
    return r == -EINVAL ? schema_refuse(b, "a default is wrong: %s", reason) : r;
}

/* Groups stay where their first key is; what was added later stands at their end. */
static void list_rows(struct config_schema *s)
{
    int n = 0;

    for (int first = 0; first < s->n_keys; first++)
        for (int key = first; s->rows[first].group == first && key < s->n_keys; key++)
            if (s->rows[key].group == first)
                s->listed[n++] = key;
}

int config_schema_new(const struct arb_protocol *const *protocols, struct config_schema **ret,
                      char *why, size_t why_size)
{
    struct config_schema *s = calloc(1, sizeof(*s));
    struct schema_builder b = {s, why, why_size};
    int r = s ? 0 : -ENOMEM;

    for (int key = 0; r == 0 && key < CONFIG_KEYS; key++)
        r = add_row(s, config_keys[key]);
    for (; r == 0 && protocols && *protocols; protocols++)
        r = add_protocol(&b, *protocols);
    if (r == 0)
        r = check_defaults(&b);
    if (r < 0) {
        config_schema_free(s);
        return r;
    }
    list_rows(s);
    *ret = s;
    return 0;
}

void config_schema_free(struct config_schema *s)
{
    for (size_t i = 0; s && i < s->n_texts; i++)
        free(s->texts[i]);
    free(s);
}
