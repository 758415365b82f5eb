#include "support/json_schema.h"

#include <regex.h>
#include <stdio.h>
#include <string.h>

#include "base/util.h"
#include "conformance/must.h"

enum { PATH_LEN = 256 };

bool json_schema_is_off;

const json_t *json_schema(void)
{
    static json_t *document;
    json_error_t e;

    if (!document)
        document = json_load_file("doc/echo-client.schema.json", JSON_REJECT_DUPLICATES, &e);
    MUST(document, "doc/echo-client.schema.json: %s", e.text);
    return document;
}

static const json_t *definition(const char *name)
{
    return json_object_get(json_object_get(json_schema(), "$defs"), name);
}

bool json_schema_has(const char *name)
{
    return definition(name) != NULL;
}

/* Where a check is, and what it has found. */
struct check {
    char path[PATH_LEN];
    char *why;
    size_t size;
};

static bool wrong(struct check *c, const char *what, const char *detail)
{
    snprintf(c->why, c->size, "%s: %s%s%s", *c->path ? c->path : "/", what, *detail ? ": " : "",
             detail);
    return false;
}

static bool check(struct check *c, const json_t *schema, const json_t *value);

static bool check_at(struct check *c, const char *name, const json_t *schema, const json_t *value)
{
    const size_t len = strlen(c->path);
    bool is_right;

    snprintf(c->path + len, sizeof(c->path) - len, "/%s", name);
    is_right = check(c, schema, value);
    c->path[len] = '\0';
    return is_right;
}

static bool has_type(const json_t *value, const char *type)
{
    static const struct {
        const char *name;
        json_type types[2];
    } names[] = {
        {"object", {JSON_OBJECT, JSON_OBJECT}}, {"array", {JSON_ARRAY, JSON_ARRAY}},
        {"string", {JSON_STRING, JSON_STRING}}, {"integer", {JSON_INTEGER, JSON_INTEGER}},
        {"number", {JSON_INTEGER, JSON_REAL}},  {"boolean", {JSON_TRUE, JSON_FALSE}},
        {"null", {JSON_NULL, JSON_NULL}},
    };

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        if (strcmp(names[i].name, type) == 0)
            return json_typeof(value) == names[i].types[0] ||
                   json_typeof(value) == names[i].types[1];
    must_fail(__FILE__, __LINE__, "type %s", type);
}

static bool check_type(struct check *c, const json_t *type, const json_t *value)
{
    const json_t *one;
    size_t i;

    if (json_is_string(type))
        return has_type(value, json_string_value(type)) ||
               wrong(c, "it is not of the type", json_string_value(type));
    json_array_foreach(type, i, one)
    {
        if (has_type(value, json_string_value(one)))
            return true;
    }
    return wrong(c, "it is of none of the types", "");
}

static bool check_members(struct check *c, const json_t *schema, const json_t *value)
{
    const json_t *properties = json_object_get(schema, "properties");
    const json_t *more = json_object_get(schema, "additionalProperties");
    const char *name;
    json_t *member;

    json_object_foreach((json_t *)(uintptr_t)value, name, member)
    {
        const json_t *own = json_object_get(properties, name);

        if (!own && !more && properties)
            return wrong(c, "it is not listed", name);
        if ((own || more) && !check_at(c, name, own ? own : more, member))
            return false;
    }
    return true;
}

static bool check_required(struct check *c, const json_t *names, const json_t *value)
{
    const json_t *name;
    size_t i;

    json_array_foreach(names, i, name)
    {
        if (json_is_object(value) && !json_object_get(value, json_string_value(name)))
            return wrong(c, "it is missing", json_string_value(name));
    }
    return true;
}

static bool check_items(struct check *c, const json_t *schema, const json_t *value)
{
    const json_t *item;
    char number[24];
    size_t i;

    json_array_foreach(value, i, item)
    {
        snprintf(number, sizeof(number), "%zu", i);
        if (!check_at(c, number, schema, item))
            return false;
    }
    return true;
}

static bool check_any(struct check *c, const json_t *schemas, const json_t *value)
{
    const json_t *one;
    size_t i;

    json_array_foreach(schemas, i, one)
    {
        if (check(c, one, value))
            return true;
    }
    return false;
}

static bool check_pattern(struct check *c, const char *pattern, const json_t *value)
{
    regex_t re;
    int rc;

    MUST(regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB) == 0, "pattern %s", pattern);
    rc = regexec(&re, json_string_value(value), 0, NULL, 0);
    regfree(&re);
    return rc == 0 || wrong(c, "it does not look like", pattern);
}

static bool check_enum(struct check *c, const json_t *values, const json_t *value)
{
    const json_t *one;
    size_t i;

    json_array_foreach(values, i, one)
    {
        if (json_equal(one, value))
            return true;
    }
    return wrong(c, "it is none of those that are allowed", "");
}

static bool check_word(struct check *c, const json_t *schema, const char *word, const json_t *rule,
                       const json_t *value)
{
    static const char prefix[] = "#/$defs/";
    const char *text = json_string_value(rule);

    if (strcmp(word, "$ref") == 0) {
        MUST(strncmp(text, prefix, strlen(prefix)) == 0 && json_schema_has(text + strlen(prefix)),
             "%s is not defined", text);
        return check(c, definition(text + strlen(prefix)), value);
    }
    if (strcmp(word, "type") == 0)
        return check_type(c, rule, value);
    if (strcmp(word, "properties") == 0)
        return !json_is_object(value) || check_members(c, schema, value);
    if (strcmp(word, "additionalProperties") == 0)
        return json_object_get(schema, "properties") || check_members(c, schema, value);
    if (strcmp(word, "required") == 0)
        return check_required(c, rule, value);
    if (strcmp(word, "items") == 0)
        return check_items(c, rule, value);
    if (strcmp(word, "anyOf") == 0)
        return check_any(c, rule, value);
    if (strcmp(word, "enum") == 0)
        return check_enum(c, rule, value);
    if (strcmp(word, "const") == 0)
        return json_equal(rule, value) || wrong(c, "it is another value", "");
    if (strcmp(word, "minimum") == 0)
        return !json_is_number(value) || json_number_value(value) >= json_number_value(rule) ||
               wrong(c, "it is too small", "");
    if (strcmp(word, "pattern") == 0)
        return check_pattern(c, text, value);
    MUST(strcmp(word, "description") == 0, "the schema has a word that is not known here: %s",
         word);
    return true;
}

static bool check(struct check *c, const json_t *schema, const json_t *value)
{
    const char *word;
    json_t *rule;

    json_object_foreach((json_t *)(uintptr_t)schema, word, rule)
    {
        if (!check_word(c, schema, word, rule, value))
            return false;
    }
    return true;
}

bool json_schema_check(const char *name, const json_t *value, char *why, size_t size)
{
    struct check c = {.why = why, .size = size};

    MUST(json_schema_has(name), "%s is not defined", name);
    return check(&c, definition(name), value);
}

/* ---- what echo-client prints ---- */

/* The first word that is a command. */
static const char *command_of(const char *const *args)
{
    const json_t *command;
    size_t i;

    for (; *args; args++)
        json_array_foreach(json_object_get(json_schema(), "anyOf"), i, command)
        {
            const char *ref = json_string_value(json_object_get(command, "$ref"));

            if (strcmp(strrchr(ref, '/') + 1, *args) == 0)
                return *args;
        }
    return "send";
}

static void check_line(const char *command, const char *line, size_t len)
{
    json_error_t e;
    json_t *value = json_loadb(line, len, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, &e);
    char why[1024], why_no_error[1024];

    MUST(value, "%s --json: %s: %.*s", command, e.text, (int)len, line);
    MUST(json_schema_check(command, value, why, sizeof(why)) ||
             json_schema_check("error", value, why_no_error, sizeof(why_no_error)),
         "%s --json: %s: %.*s", command, why, (int)len, line);
    json_decref(value);
}

void json_schema_check_output(const char *const *args, const char *out)
{
    const char *const *word = args, *end;

    if (json_schema_is_off)
        return;
    while (*word && strcmp(*word, "--json") != 0)
        word++;
    if (!*word)
        return;
    for (; (end = strchr(out, '\n')); out = end + 1)
        check_line(command_of(args), out, (size_t)(end - out));
}
