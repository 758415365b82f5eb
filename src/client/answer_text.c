/*
 * Answers as text. Pure.
 */
#include "client/answer_text.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"
#include "client/columns.h"
#include "client/human.h"

/* All crashes as a table, or one crash with everything that the server knows of it. */
int answer_text_crashes(FILE *f, const json_t *crashes)
{
    static const struct column columns[] = {
        {"NUMBER", "number", SHOW_NUMBER, 0}, {"TIME", "time", SHOW_TEXT, 0},
        {"ACTOR", "id", SHOW_TEXT, 0},        {"PID", "pid", SHOW_NUMBER, 0},
        {"SIGNAL", "signal", SHOW_TEXT, 0},   {"UPTIME_MS", "uptime_ms", SHOW_NUMBER, 0},
        {"CAUSE", "cause", SHOW_TEXT, 0},     {"RESCUED", "rescued", SHOW_NUMBER, 0},
        {"PC", "pc", SHOW_TEXT, 0},           {"AT", "at", SHOW_TEXT, 0}};

    if (json_is_object(crashes))
        return answer_text_value(f, crashes);
    if (json_array_size(crashes) == 0)
        return fputs("no process has crashed\n", f) < 0 ? -EIO : 0;
    return columns_write(f, columns, ARRAY_SIZE(columns), crashes);
}

int answer_text_actors(FILE *f, const json_t *actors)
{
    static const struct column columns[] = {{"ACTOR", "id", SHOW_TEXT, 0},
                                            {"PID", "pid", SHOW_NUMBER, 0},
                                            {"STATE", "state", SHOW_TEXT, 0}};

    return json_is_array(actors) ? columns_write(f, columns, ARRAY_SIZE(columns), actors)
                                 : -EBADMSG;
}

/* "KEY= [KEY=]": optional arguments stand in brackets. Each argument adds a row to @explained. */
static json_t *describe_args(const json_t *command, json_t *explained)
{
    json_t *words = json_array(), *arg;
    size_t i;

    json_array_foreach(json_object_get(command, "args"), i, arg)
    {
        const char *name = json_string_value(json_object_get(arg, "name"));
        bool is_required = json_is_true(json_object_get(arg, "required"));
        json_t *row = json_copy(arg);

        json_array_append_new(words,
                              json_sprintf(is_required ? "%s=" : "[%s=]", name ? name : "?"));
        json_object_set(row, "command", json_object_get(command, "name"));
        json_array_append_new(explained, row);
    }
    return words;
}

int answer_text_commands(FILE *f, const json_t *commands)
{
    static const struct column columns[] = {{"COMMAND", "name", SHOW_TEXT, 0},
                                            {"ARGUMENTS", "words", SHOW_LIST, 0},
                                            {"ACTORS", "actors", SHOW_TEXT, 0},
                                            {"RIGHT", "right", SHOW_TEXT, 0},
                                            {"WHAT IT DOES", "help", SHOW_TEXT, 0}};
    static const struct column args[] = {{"COMMAND", "command", SHOW_TEXT, 0},
                                         {"ARGUMENT", "name", SHOW_TEXT, 0},
                                         {"IS", "allowed", SHOW_TEXT, 0},
                                         {"MEANS", "help", SHOW_TEXT, 0}};
    json_t *rows, *explained, *row;
    size_t i;
    int rc;

    if (!json_is_array(commands))
        return -EBADMSG;
    rows = json_deep_copy(commands);
    explained = json_array();
    json_array_foreach(rows, i, row)
    {
        bool on_arbiter = json_is_true(json_object_get(row, "arbiter"));
        bool on_worker = json_is_true(json_object_get(row, "worker"));
        const char *actors = on_arbiter && on_worker ? "all" : on_arbiter ? "arbiter" : "workers";
        json_t *kind = json_object_get(row, "kind");

        json_object_set_new(row, "words", describe_args(row, explained));
        json_object_set_new(row, "actors",
                            kind ? json_sprintf("%s.N", json_string_value(kind))
                                 : json_string(actors));
    }
    rc = columns_write(f, columns, ARRAY_SIZE(columns), rows);
    fputc('\n', f);
    if (rc == 0)
        rc = columns_write(f, args, ARRAY_SIZE(args), explained);
    json_decref(rows);
    json_decref(explained);
    return rc;
}

static json_int_t integer_at(const json_t *o, const char *key)
{
    return json_integer_value(json_object_get(o, key));
}

int answer_text_reload(FILE *f, const json_t *reload)
{
    static const struct column changes[] = {{"KEY", "key", SHOW_TEXT, 0},
                                            {"BEFORE", "old", SHOW_TEXT, 0},
                                            {"NOW", "new", SHOW_TEXT, 0}};
    static const struct column actors[] = {{"WORKER", "id", SHOW_TEXT, 0},
                                           {"PID", "pid", SHOW_NUMBER, 0}};
    const json_t *workers = json_object_get(reload, "workers");
    const json_t *changed = json_object_get(reload, "changed");
    int rc = 0;

    if (!json_is_integer(json_object_get(reload, "revision")) || !json_is_array(workers))
        return -EBADMSG;
    fprintf(f, "reloaded: revision %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT " ms\n",
            integer_at(reload, "revision"), integer_at(reload, "took_ms"));
    if (json_array_size(changed) == 0)
        fputs("no key has changed\n", f);
    else
        rc = columns_write(f, changes, ARRAY_SIZE(changes), changed);
    return rc || json_array_size(workers) == 0
               ? rc
               : columns_write(f, actors, ARRAY_SIZE(actors), workers);
}

/* Writes a text with its control bytes made harmless. */
static void write_text(FILE *f, const json_t *value)
{
    char *text = json_is_string(value) ? strdup(json_string_value(value)) : NULL;

    fputs(text ? human_clean(text) : "?", f);
    free(text);
}

/* "1.3 (/opt/new/echo-arbiter)" */
static void write_program(FILE *f, const json_t *version, const json_t *program)
{
    write_text(f, version);
    if (!json_is_string(program))
        return;
    fputs(" (", f);
    write_text(f, program);
    putc(')', f);
}

/* Members that an earlier server does not send are left out. */
int answer_text_upgrade(FILE *f, const json_t *upgrade)
{
    const json_t *version = json_object_get(upgrade, "version");
    const json_t *old = json_object_get(upgrade, "old_version");

    if (!json_is_string(version) || !json_is_integer(json_object_get(upgrade, "revision")))
        return -EBADMSG;
    fputs("upgraded: version ", f);
    write_program(f, version, json_object_get(upgrade, "program"));
    if (json_is_string(old)) {
        fputs(" from ", f);
        write_program(f, old, json_object_get(upgrade, "old_program"));
    }
    fprintf(f, ", revision %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT " ms\n",
            integer_at(upgrade, "revision"), integer_at(upgrade, "took_ms"));
    return 0;
}

/* A text without control bytes is written as it is, any other value as JSON. */
static int write_value(FILE *f, const json_t *value, size_t flags)
{
    const char *text = json_string_value(value);
    char *copy = text ? strdup(text) : NULL;
    bool is_bare =
        copy && strcmp(human_clean(copy), text) == 0 && strlen(text) == json_string_length(value);
    int rc = 0;

    if (is_bare)
        fputs(text, f);
    else
        rc = json_dumpf(value, f,
                        flags | JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(12)) == 0
                 ? 0
                 : -ENOMEM;
    free(copy);
    fputc('\n', f);
    return rc;
}

/* "worker.1", "worker.2" ... and nothing else */
static bool is_map_of_workers(const json_t *value)
{
    const char *key;
    json_t *member;
    size_t n = 0;

    json_object_foreach((json_t *)value, key, member)
    {
        n += strncmp(key, "worker.", 7) == 0;
    }
    return n > 0 && n == json_object_size(value);
}

static int compare_keys(const void *x, const void *y)
{
    return strverscmp(*(const char *const *)x, *(const char *const *)y);
}

/* One line per worker, in the order of their numbers. */
static int write_map(FILE *f, const json_t *map)
{
    const char **keys = calloc(json_object_size(map) + 1, sizeof(*keys)), *key;
    json_t *member;
    size_t n = 0;
    int rc = keys ? 0 : -ENOMEM;

    json_object_foreach((json_t *)map, key, member)
    {
        if (keys)
            keys[n++] = key;
    }
    if (keys)
        qsort(keys, n, sizeof(*keys), compare_keys);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        char *name = strdup(keys[i]);

        fprintf(f, "%s: ", name ? human_clean(name) : "?");
        free(name);
        rc = write_value(f, json_object_get(map, keys[i]), JSON_COMPACT);
    }
    free(keys);
    return rc;
}

/* A size as it is written, "64KiB", and not as a number of bytes. */
static void show_as_written(json_t *key)
{
    const json_t *text = json_object_get(key, "text");

    if (json_is_integer(json_object_get(key, "value")) && json_is_string(text))
        json_object_set(key, "value", (json_t *)(uintptr_t)text);
}

/* Of one key, or of all. */
int answer_text_config(FILE *f, const json_t *config)
{
    static const struct column columns[] = {{"KEY", "key", SHOW_TEXT, 0},
                                            {"VALUE", "value", SHOW_TEXT, 0},
                                            {"ORIGIN", "origin", SHOW_TEXT, 0},
                                            {"LINE", "line", SHOW_NUMBER, 0}};
    json_t *rows = json_deep_copy(config), *row;
    size_t i;
    int rc;

    json_array_foreach(rows, i, row) show_as_written(row);
    if (json_is_object(rows))
        show_as_written(rows);
    rc = rows ? columns_write(f, columns, ARRAY_SIZE(columns), rows) : -ENOMEM;
    json_decref(rows);
    return rc;
}

int answer_text_value(FILE *f, const json_t *value)
{
    return is_map_of_workers(value) ? write_map(f, value) : write_value(f, value, JSON_INDENT(2));
}
