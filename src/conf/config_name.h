/*
 * The names of the key table, cut at the dot: groups and short names. A group is known by its first
 * key.
 */
#ifndef CONF_CONFIG_NAME_H
#define CONF_CONFIG_NAME_H

#include <stdbool.h>
#include <stddef.h>
#include "conf/config.h"

enum { NOT_A_KEY = -1 };

/* config_name_group_len - bytes of the key's name before the dot */
size_t config_name_group_len(int key);

/* config_name_short - the key's name behind the dot */
const char *config_name_short(int key);

/* config_name_find_group - the first key of that group, or NOT_A_KEY */
int config_name_find_group(const char *name, size_t len);

/* config_name_group - the first key of the group that @key is in */
int config_name_group(int key);

/* config_name_find - the key of that short name, in @group or (NOT_A_KEY) in any; or NOT_A_KEY */
int config_name_find(int group, const char *name, size_t len);

/* config_name_list - "arbiter, server, log" or, with a group, its short names. Returns @buf. */
const char *config_name_list(int group, char *buf, size_t size);

/* config_name_explain - of a full name that config_find does not know: what there is instead */
void config_name_explain(const char *name, char *why, size_t why_size);

#endif
