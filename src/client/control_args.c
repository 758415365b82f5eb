/*
 * KEY=VALUE: the types are the server's, a guess where it does not say.
 */
#include "client/control_args.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The element of an array whose "name" is @name, or NULL. */
static const json_t *find_named(const json_t *array, const char *name)
{
    const json_t *row;
    size_t i;

    json_array_foreach(array, i, row)
    {
        const char *text = json_string_value(json_object_get(row, "name"));

        if (text && strcmp(text, name) == 0)
            return row;
    }
    return NULL;
}

static bool is_string_arg(const json_t *table, const char *command, const char *key)
{
    const json_t *row = find_named(table, command);
    const json_t *arg = find_named(json_object_get(row, "args"), key);
    const char *type = json_string_value(json_object_get(arg, "type"));

    return type && strcmp(type, "string") == 0;
}

static json_t *guess(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);

    return value ? value : json_string(text);
}

/* One more argument. @word is cut in two. */
static int add(json_t *args, char *word, const json_t *table, const char *command, char *why,
               size_t why_size)
{
    char *equals = strchr(word, '=');
    json_t *value;

    if (!equals || equals == word) {
        snprintf(why, why_size, "'%s': an argument is written KEY=VALUE", word);
        return -EINVAL;
    }
    *equals = '\0';
    if (json_object_get(args, word)) {
        snprintf(why, why_size, "'%s' is given twice", word);
        return -EINVAL;
    }
    value = is_string_arg(table, command, word) ? json_string(equals + 1) : guess(equals + 1);
    if (json_object_set_new(args, word, value) < 0) {
        snprintf(why, why_size, "argument %zu is not UTF-8", json_object_size(args) + 1);
        return -EINVAL;
    }
    return 0;
}

int control_args_parse(char *const *words, size_t n, const json_t *table, const char *command,
                       json_t **ret_args, char *why, size_t why_size)
{
    json_t *args = json_object();
    int rc = args ? 0 : -ENOMEM;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        char *word = strdup(words[i]);

        rc = word ? add(args, word, table, command, why, why_size) : -ENOMEM;
        free(word);
    }
    if (rc)
        json_decref(args);
    else
        *ret_args = args;
    return rc;
}
