/*
 * Slips of the command line, and bytes in JSON. Pure.
 */
#include "client/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

static char *base64(const uint8_t *p, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = malloc((len + 2) / 3 * 4 + 1), *out = text;

    if (!text)
        return NULL;
    for (size_t i = 0; i < len; i += 3) {
        size_t n = len - i < 3 ? len - i : 3;
        uint32_t v = (uint32_t)p[i] << 16;

        v |= n > 1 ? (uint32_t)p[i + 1] << 8 : 0;
        v |= n > 2 ? p[i + 2] : 0;
        *out++ = digits[v >> 18];
        *out++ = digits[(v >> 12) & 63];
        *out++ = n > 1 ? digits[(v >> 6) & 63] : '=';
        *out++ = n > 2 ? digits[v & 63] : '=';
    }
    *out = '\0';
    return text;
}

int text_set_json(json_t *object, const char *key, const void *data, size_t len)
{
    json_t *value = json_stringn(data, len); /* NULL for what is not UTF-8 */
    char name[64], *text;
    int rc;

    if (value)
        return json_object_set_new(object, key, value) == 0 ? 0 : -ENOMEM;
    text = base64(data, len);
    if (!text)
        return -ENOMEM;
    snprintf(name, sizeof(name), "%s_base64", key);
    rc = json_object_set_new(object, name, json_string(text));
    free(text);
    return rc == 0 ? 0 : -ENOMEM;
}

/* ---- arguments: the types are the server's, a guess where it does not say ---- */

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

json_t *text_value(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);

    return value ? value : json_string(text);
}

/* One more argument. @word is cut in two. */
static int add_arg(json_t *args, char *word, const json_t *table, const char *command, char *why,
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
    value = is_string_arg(table, command, word) ? json_string(equals + 1) : text_value(equals + 1);
    if (json_object_set_new(args, word, value) < 0) {
        snprintf(why, why_size, "argument %zu is not UTF-8", json_object_size(args) + 1);
        return -EINVAL;
    }
    return 0;
}

int text_parse_args(char *const *words, size_t n, const json_t *table, const char *command,
                    json_t **ret_args, char *why, size_t why_size)
{
    json_t *args = json_object();
    int rc = args ? 0 : -ENOMEM;

    for (size_t i = 0; rc == 0 && i < n; i++) {
        char *word = strdup(words[i]);

        rc = word ? add_arg(args, word, table, command, why, why_size) : -ENOMEM;
        free(word);
    }
    if (rc)
        json_decref(args);
    else
        *ret_args = args;
    return rc;
}
