/*
 * The values of a configuration as JSON, and back.
 */
#include "conf/config_codec.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "base/json_text.h"
#include "base/num.h"
#include "conf/config_type.h"

int config_encode_value(json_t *values, const char *name, unsigned line, const char *text)
{
    json_t *value =
        json_pack("{s:s,s:I,s:o}", "key", name, "line", (json_int_t)line, "text", json_text(text));

    return json_array_append_new(values, value) < 0 ? -ENOMEM : 0;
}

json_t *config_encode(const struct config *c)
{
    json_t *values = json_array();

    for (int i = 0; values && i < c->schema->n_keys; i++) {
        const int key = c->schema->listed[i];
        const struct config_origin *origin = &c->origin[key];
        char *text = origin->kind == ORIGIN_DEFAULT ? NULL : config_get(c, key);

        if (origin->kind != ORIGIN_DEFAULT &&
            (!text ||
             config_encode_value(values, c->schema->rows[key].name, origin->line, text) < 0)) {
            json_decref(values);
            values = NULL;
        }
        free(text);
    }
    return values;
}

/*
 * The line of the element that a list was refused for: the last one of the shortest begin of the
 * list that is refused. @c is none that will be used.
 */
static unsigned find_element_line(struct config *c, int key, char *text, const json_t *lines,
                                  unsigned line)
{
    char *end = text - 1;

    for (size_t i = 0; i < json_array_size(lines) && (i == 0 || *end); i++) {
        const json_int_t at = json_integer_value(json_array_get(lines, i));
        char was;
        int r;

        end = strchrnul(end + 1, '\n');
        was = *end;
        *end = '\0';
        r = config_set(c, key, text, (struct config_origin){ORIGIN_FILE, line}, NULL, 0);
        *end = was;
        if (r == -EINVAL)
            return at > 0 && at <= UINT32_MAX ? (unsigned)at : line;
    }
    return line;
}

static int decode_value(struct config *c, const json_t *value, const char *path,
                        struct config_errors *errors)
{
    struct config_origin origin = {ORIGIN_COMMAND_LINE, 0};
    char why[CONFIG_WHY_LEN], *text = NULL;
    const char *name;
    json_t *content, *lines = NULL;
    json_int_t line;
    int key, r;

    if (json_unpack((json_t *)(uintptr_t)value, "{s:s,s:I,s:o,s?o!}", "key", &name, "line", &line,
                    "text", &content, "lines", &lines) < 0 ||
        line < 0 || line > UINT32_MAX)
        return -EBADMSG;
    key = config_find(c->schema, name);
    if (key >= 0 && c->origin[key].kind != ORIGIN_DEFAULT)
        return -EBADMSG;
    r = json_text_read(content, &text);
    if (r < 0)
        return r;
    if (line)
        origin = (struct config_origin){ORIGIN_FILE, (unsigned)line};
    if (key >= 0) {
        r = config_set(c, key, text, origin, why, sizeof(why));
        if (r == -EINVAL && line)
            origin.line = find_element_line(c, key, text, lines, origin.line);
    } else {
        snprintf(why, sizeof(why), "%.64s: this version has no such key", name);
        r = -EINVAL;
    }
    free(text);
    if (r != -EINVAL)
        return r;
    config_errors_add(errors, line ? path : "command line", origin.line, "%s", why);
    return 0;
}

int config_decode(struct config *c, const json_t *values, const char *path,
                  struct config_errors *errors)
{
    const json_t *value;
    size_t i;
    int r = json_is_array(values) ? 0 : -EBADMSG;

    for (i = 0; r == 0 && (value = json_array_get(values, i)); i++)
        r = decode_value(c, value, path, errors);
    return r;
}

/* Whatever bytes it has. */
static json_t *text_json(const char *text)
{
    json_t *value = json_string(text);

    return value ? value : json_text(text);
}

/* The elements of a canonical text. */
static json_t *list_json(char *text)
{
    json_t *list = json_array();
    char *rest = text, *element;

    while (list && *text && (element = strsep(&rest, "\n")))
        json_array_append_new(list, text_json(element));
    return list;
}

static json_t *value_json(enum config_syntax syntax, char *text)
{
    uint64_t n = 0;

    switch (syntax) {
    case SYNTAX_NUMBER:
        num_parse_u64(text, 0, INT64_MAX, &n);
        return json_integer((json_int_t)n);
    case SYNTAX_DURATION:
        num_parse_duration_ms(text, 0, UINT64_MAX, &n);
        return n % 1000 == 0 ? json_integer((json_int_t)(n / 1000)) : json_real((double)n / 1000);
    case SYNTAX_SIZE:
        num_parse_size(text, 0, INT64_MAX, &n);
        return json_integer((json_int_t)n);
    case SYNTAX_BOOLEAN:
        return json_boolean(strcmp(text, "true") == 0);
    case SYNTAX_STRING:
    case SYNTAX_BYTES:
        return text_json(text);
    case SYNTAX_LISTENERS:
    case SYNTAX_STRINGS:
        return list_json(text);
    }
    return NULL;
}

json_t *config_json(const struct config *c, int key)
{
    char *text = config_get(c, key);
    json_t *value = text ? value_json(c->schema->rows[key].type->syntax, text) : NULL;

    free(text);
    return value;
}
