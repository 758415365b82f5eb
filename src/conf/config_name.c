/*
 * The names of the key table, cut at the dot.
 */
#include "conf/config_name.h"

#include <stdio.h>
#include <string.h>

size_t config_name_group_len(int key)
{
    return (size_t)(strchr(config_keys[key].name, '.') - config_keys[key].name);
}

const char *config_name_short(int key)
{
    return config_keys[key].name + config_name_group_len(key) + 1;
}

int config_name_find_group(const char *name, size_t len)
{
    for (int key = 0; key < CONFIG_KEYS; key++)
        if (config_name_group_len(key) == len && memcmp(config_keys[key].name, name, len) == 0)
            return key;
    return NOT_A_KEY;
}

int config_name_group(int key)
{
    return config_name_find_group(config_keys[key].name, config_name_group_len(key));
}

int config_name_find(int group, const char *name, size_t len)
{
    for (int key = 0; key < CONFIG_KEYS; key++) {
        const char *own = config_name_short(key);

        if ((group == NOT_A_KEY || config_name_group(key) == group) && strlen(own) == len &&
            memcmp(own, name, len) == 0)
            return key;
    }
    return NOT_A_KEY;
}

const char *config_name_list(int group, char *buf, size_t size)
{
    size_t n = 0;

    buf[0] = '\0';
    for (int key = 0; key < CONFIG_KEYS && n < size; key++) {
        const char *comma = n ? ", " : "";

        if (group == NOT_A_KEY && config_name_group(key) == key)
            n += (size_t)snprintf(buf + n, size - n, "%s%.*s", comma,
                                  (int)config_name_group_len(key), config_keys[key].name);
        else if (group != NOT_A_KEY && config_name_group(key) == group)
            n += (size_t)snprintf(buf + n, size - n, "%s%s", comma, config_name_short(key));
    }
    return buf;
}

void config_name_explain(const char *name, char *why, size_t why_size)
{
    const char *dot = strchr(name, '.'), *own = dot ? dot + 1 : name;
    int group = dot ? config_name_find_group(name, (size_t)(dot - name)) : NOT_A_KEY;
    int near = config_name_find(NOT_A_KEY, own, strlen(own));
    char list[512];

    if (near != NOT_A_KEY)
        snprintf(why, why_size, "there is no key '%.64s': write %s", name, config_keys[near].name);
    else if (group != NOT_A_KEY)
        snprintf(why, why_size, "there is no key '%.64s': %.*s has %s", name, (int)(dot - name),
                 name, config_name_list(group, list, sizeof(list)));
    else
        snprintf(why, why_size, "there is no key '%.64s': the groups are %s", name,
                 config_name_list(NOT_A_KEY, list, sizeof(list)));
}
