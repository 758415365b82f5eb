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

char *answer_text_plain(const json_t *value)
{
    const char *text = json_string_value(value);
    char *copy = text ? strdup(text) : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

    return copy ? human_clean(copy) : NULL;
}

void answer_text_write_plain(FILE *f, const json_t *value)
{
    char *text = answer_text_plain(value);

    fputs(text ? text : "?", f);
    free(text);
}

static void add_plain(struct columns *t, const json_t *o, const char *key)
{
    char *text = answer_text_plain(json_object_get(o, key));

    columns_add(t, text ? text : "?");
    free(text);
}

/* All of them as a table, or one with whatever is known of it. */
int answer_text_crashes(FILE *f, const json_t *crashes)
{
    static const struct column columns[] = {
        {"NUMBER", true, 0},  {"TIME", false, 0},     {"SLOT", true, 0},    {"PID", true, 0},
        {"SIGNAL", false, 0}, {"UPTIME_MS", true, 0}, {"RESCUED", true, 0}, {"AT", false, 0}};
    static const char *const keys[] = {"number", "time",      "slot",   "pid",
                                       "signal", "uptime_ms", "rescued"};
    struct columns t;
    const json_t *row;
    size_t i;

    if (json_is_object(crashes))
        return json_dumpf(crashes, f, JSON_INDENT(2)) < 0 || fputc('\n', f) == EOF ? -EIO : 0;
    if (!json_is_array(crashes))
        return -EBADMSG;
    columns_init(&t, columns, ARRAY_SIZE(columns));
    json_array_foreach(crashes, i, row)
    {
        for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
            add_plain(&t, row, keys[k]);
        add_plain(&t, row, json_object_get(row, "at") ? "at" : "pc");
    }
    return columns_finish(&t, f);
}

int answer_text_actors(FILE *f, const json_t *actors)
{
    static const struct column columns[] = {
        {"ACTOR", false, 0}, {"PID", true, 0}, {"STATE", false, 0}};
    struct columns t;
    const json_t *row;
    size_t i;

    if (!json_is_array(actors))
        return -EBADMSG;
    columns_init(&t, columns, ARRAY_SIZE(columns));
    json_array_foreach(actors, i, row)
    {
        add_plain(&t, row, "id");
        add_plain(&t, row, "pid");
        add_plain(&t, row, "state");
    }
    return columns_finish(&t, f);
}

/* "KEY [KEY]": what need not be given stands in brackets */
static void add_args(struct columns *t, const json_t *args)
{
    char text[256] = "";
    const json_t *arg;
    size_t i, len = 0;

    json_array_foreach(args, i, arg)
    {
        const char *name = json_string_value(json_object_get(arg, "name"));
        bool is_required = json_is_true(json_object_get(arg, "required"));

        if (len < sizeof(text))
            len +=
                (size_t)snprintf(text + len, sizeof(text) - len, is_required ? "%s%s=" : "%s[%s=]",
                                 i > 0 ? " " : "", name ? name : "?");
    }
    columns_add(t, text);
}

static void write_arg_help(FILE *f, const json_t *arg, const char *command)
{
    fprintf(f, "%s: ", command);
    answer_text_write_plain(f, json_object_get(arg, "name"));
    fputs(" is ", f);
    answer_text_write_plain(f, json_object_get(arg, "allowed"));
    fputs(": ", f);
    answer_text_write_plain(f, json_object_get(arg, "help"));
    fputc('\n', f);
}

static void write_args_help(FILE *f, const json_t *commands)
{
    const json_t *row, *arg;
    size_t i, k, n = 0;

    json_array_foreach(commands, i, row)
    {
        char *command = answer_text_plain(json_object_get(row, "name"));

        json_array_foreach(json_object_get(row, "args"), k, arg)
        {
            if (n++ == 0)
                fputc('\n', f);
            write_arg_help(f, arg, command ? command : "?");
        }
        free(command);
    }
}

int answer_text_commands(FILE *f, const json_t *commands)
{
    static const struct column columns[] = {{"COMMAND", false, 0},
                                            {"ARGUMENTS", false, 0},
                                            {"ACTORS", false, 0},
                                            {"WHAT IT DOES", false, 0}};
    struct columns t;
    const json_t *row;
    size_t i;
    int rc;

    if (!json_is_array(commands))
        return -EBADMSG;
    columns_init(&t, columns, ARRAY_SIZE(columns));
    json_array_foreach(commands, i, row)
    {
        bool on_arbiter = json_is_true(json_object_get(row, "arbiter"));
        bool on_worker = json_is_true(json_object_get(row, "worker"));

        add_plain(&t, row, "name");
        add_args(&t, json_object_get(row, "args"));
        columns_add(&t, on_arbiter && on_worker ? "all" : on_arbiter ? "arbiter" : "workers");
        add_plain(&t, row, "help");
    }
    rc = columns_finish(&t, f);
    if (rc == 0)
        write_args_help(f, commands);
    return rc;
}

static void write_changes(FILE *f, const json_t *changed)
{
    const json_t *row;
    size_t i;

    json_array_foreach(changed, i, row)
    {
        fputs("  ", f);
        answer_text_write_plain(f, json_object_get(row, "key"));
        fputs(": ", f);
        answer_text_write_plain(f, json_object_get(row, "old"));
        fputs(" -> ", f);
        answer_text_write_plain(f, json_object_get(row, "new"));
        fputc('\n', f);
    }
    if (json_array_size(changed) == 0)
        fputs("  no key has changed\n", f);
}

int answer_text_reload(FILE *f, const json_t *reload)
{
    const json_t *workers = json_object_get(reload, "workers"), *row;
    size_t i;

    if (!json_is_integer(json_object_get(reload, "generation")) || !json_is_array(workers))
        return -EBADMSG;
    fprintf(f, "reloaded: generation %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT " ms\n",
            json_integer_value(json_object_get(reload, "generation")),
            json_integer_value(json_object_get(reload, "took_ms")));
    write_changes(f, json_object_get(reload, "changed"));
    json_array_foreach(workers, i, row)
    {
        fputs("  ", f);
        answer_text_write_plain(f, json_object_get(row, "id"));
        fprintf(f, ": pid %" JSON_INTEGER_FORMAT "\n",
                json_integer_value(json_object_get(row, "pid")));
    }
    return 0;
}

/* "1.3 (/opt/new/echo-arbiter)" */
static void write_program(FILE *f, const json_t *version, const json_t *program)
{
    answer_text_write_plain(f, version);
    if (!json_is_string(program))
        return;
    fputs(" (", f);
    answer_text_write_plain(f, program);
    putc(')', f);
}

/* What an earlier server does not say is left out. */
int answer_text_upgrade(FILE *f, const json_t *upgrade)
{
    const json_t *version = json_object_get(upgrade, "version");
    const json_t *old = json_object_get(upgrade, "old_version");

    if (!json_is_string(version) || !json_is_integer(json_object_get(upgrade, "generation")))
        return -EBADMSG;
    fputs("upgraded: version ", f);
    write_program(f, version, json_object_get(upgrade, "program"));
    if (json_is_string(old)) {
        fputs(" from ", f);
        write_program(f, old, json_object_get(upgrade, "old_program"));
    }
    fprintf(f, ", generation %" JSON_INTEGER_FORMAT ", %" JSON_INTEGER_FORMAT " ms\n",
            json_integer_value(json_object_get(upgrade, "generation")),
            json_integer_value(json_object_get(upgrade, "took_ms")));
    return 0;
}

/* A text stands for itself as long as a terminal can bear it, else it is quoted. */
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

/* A line each, in the order of their numbers. */
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

int answer_text_value(FILE *f, const json_t *value)
{
    return is_map_of_workers(value) ? write_map(f, value) : write_value(f, value, JSON_INDENT(2));
}
