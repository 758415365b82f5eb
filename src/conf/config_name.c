/*
 * What keys, groups and protocols of a schema are called. Knows rows and no values.
 */
#include "conf/config_schema.h"

#include <stdio.h>
#include <string.h>

#include "base/slip.h"

int config_schema_protocol(const struct config_schema *s, const char *name, size_t len)
{
    for (size_t i = 0; i < s->n_protocols; i++)
        if (strlen(s->protocols[i]->name) == len && memcmp(s->protocols[i]->name, name, len) == 0)
            return (int)i;
    return -1;
}

int config_find(const struct config_schema *s, const char *name)
{
    for (int key = 0; key < s->n_keys; key++)
        if (strcmp(s->rows[key].name, name) == 0)
            return key;
    return NOT_A_KEY;
}

const char *config_name_short(const struct config_row *row)
{
    return row->name + row->group_len + 1;
}

int config_name_find_group(const struct config_schema *s, const char *name, size_t len)
{
    for (int key = 0; key < s->n_keys; key++)
        if (s->rows[key].group_len == len && memcmp(s->rows[key].name, name, len) == 0)
            return key;
    return NOT_A_KEY;
}

int config_name_find(const struct config_schema *s, int group, const char *name, size_t len)
{
    for (int key = 0; key < s->n_keys; key++) {
        const char *own = config_name_short(&s->rows[key]);

        if ((group == NOT_A_KEY || s->rows[key].group == group) && strlen(own) == len &&
            memcmp(own, name, len) == 0)
            return key;
    }
    return NOT_A_KEY;
}

/* One more name in a list that may be cut; @n is what the list has so far. */
static size_t append_name(char *buf, size_t size, size_t n, const char *name, size_t len)
{
    if (n >= size)
        return n;
    return n + (size_t)snprintf(buf + n, size - n, "%s%.*s", n ? ", " : "", (int)len, name);
}

const char *config_name_meant(const struct config_schema *s, int group, const char *name,
                              size_t len, size_t *ret_len)
{
    for (int key = 0; key < s->n_keys; key++) {
        const struct config_row *row = &s->rows[key];
        const char *own = group == NOT_A_KEY ? row->name : config_name_short(row);
        const size_t own_len = group == NOT_A_KEY ? row->group_len : strlen(own);

        if ((group == NOT_A_KEY || row->group == group) && slip_is(name, len, own, own_len)) {
            *ret_len = own_len;
            return own;
        }
    }
    *ret_len = 0;
    return "";
}

const char *config_name_list(const struct config_schema *s, int group, char *buf, size_t size)
{
    size_t n = 0;

    buf[0] = '\0';
    for (int key = 0; key < s->n_keys; key++) {
        const struct config_row *row = &s->rows[key];

        if (group == NOT_A_KEY && row->group == key)
            n = append_name(buf, size, n, row->name, row->group_len);
        else if (group != NOT_A_KEY && row->group == group)
            n = append_name(buf, size, n, config_name_short(row), CONFIG_NAME_MAX);
    }
    return buf;
}

const char *config_name_protocols(const struct config_schema *s, char *buf, size_t size)
{
    size_t n = 0;

    buf[0] = '\0';
    for (size_t i = 0; i < s->n_protocols; i++)
        n = append_name(buf, size, n, s->protocols[i]->name, CONFIG_NAME_MAX);
    return buf;
}

void config_name_explain(const struct config_schema *s, const char *name, char *why,
                         size_t why_size)
{
    const char *dot = strchr(name, '.'), *own = dot ? dot + 1 : name;
    int group = dot ? config_name_find_group(s, name, (size_t)(dot - name)) : NOT_A_KEY;
    int near = config_name_find(s, NOT_A_KEY, own, strlen(own));
    char list[512];

    if (near == NOT_A_KEY && group != NOT_A_KEY) {
        size_t len;
        const char *meant = config_name_meant(s, group, own, strlen(own), &len);

        near = config_name_find(s, group, meant, len);
    }
    if (near != NOT_A_KEY)
        snprintf(why, why_size, "there is no key '%.64s': write %s", name, s->rows[near].name);
    else if (group != NOT_A_KEY)
        snprintf(why, why_size, "there is no key '%.64s': %.*s has %s", name, (int)(dot - name),
                 name, config_name_list(s, group, list, sizeof(list)));
    else
        snprintf(why, why_size, "there is no key '%.64s': the groups are %s", name,
                 config_name_list(s, NOT_A_KEY, list, sizeof(list)));
}
