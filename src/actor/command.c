/*
 * What all tables of commands have in common. Pure.
 */
#include "actor/command.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/util.h"

static const struct command_row *row_at(const struct command_set *set, size_t i)
{
    return (const struct command_row *)(const void *)((const char *)set->first +
                                                      i * set->row_bytes);
}

const struct command_row *command_find(const struct command_set *set, const char *name)
{
    for (size_t i = 0; i < set->n; i++)
        if (strcmp(row_at(set, i)->name, name) == 0)
            return row_at(set, i);
    return NULL;
}

static bool is_hidden(const struct command_arg *a, unsigned caller)
{
    return a->type == COMMAND_NAMES && !(caller & ~(unsigned)COMMAND_ASKS);
}

static const struct command_arg *find_arg(const struct command_row *row, const char *name)
{
    for (const struct command_arg *a = row->args; a && a->name; a++)
        if (strcmp(a->name, name) == 0)
            return a;
    return NULL;
}

static bool is_list_of_strings(const json_t *value)
{
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!json_is_string(json_array_get(value, i)))
            return false;
    return json_is_array(value);
}

static bool is_of_type(const struct command_arg *a, const json_t *value)
{
    enum log_level level;

    switch (a->type) {
    case COMMAND_STRING:
        return json_is_string(value) && json_string_length(value) >= a->min &&
               (a->max == 0 || json_string_length(value) <= a->max);
    case COMMAND_UINT:
        return json_is_integer(value) && json_integer_value(value) >= 0 &&
               (uint64_t)json_integer_value(value) >= a->min &&
               (uint64_t)json_integer_value(value) <= a->max;
    case COMMAND_BOOL:
        return json_is_boolean(value);
    case COMMAND_OBJECT:
        return json_is_object(value) && json_dumpb(value, NULL, 0, JSON_COMPACT) <= a->max;
    case COMMAND_NAMES:
        return is_list_of_strings(value);
    case COMMAND_LEVEL:
        return json_is_string(value) && log_level_parse(json_string_value(value), &level) == 0;
    }
    return false;
}

static void say_allowed(const struct command_arg *a, char *buf, size_t size)
{
    static const char *const types[] = {[COMMAND_STRING] = "a string",
                                        [COMMAND_BOOL] = "true or false",
                                        [COMMAND_NAMES] = "a list of names",
                                        [COMMAND_LEVEL] = "debug, info, warning or error"};

    if (a->type == COMMAND_UINT)
        snprintf(buf, size, "a whole number from %" PRIu64 " to %" PRIu64, a->min, a->max);
    else if (a->type == COMMAND_STRING && a->max > 0)
        snprintf(buf, size, "a string of %" PRIu64 " to %" PRIu64 " bytes", a->min, a->max);
    else if (a->type == COMMAND_OBJECT)
        snprintf(buf, size, "an object of at most %" PRIu64 " bytes", a->max);
    else
        snprintf(buf, size, "%s", types[a->type]);
}

/* As JSON, in ASCII; the end of what is too long is left out. */
static void show_value(const json_t *value, char *buf, size_t size)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_ENSURE_ASCII | JSON_COMPACT);

    if (snprintf(buf, size, "%s", text ? text : "that") >= (int)size)
        memcpy(buf + size - sizeof("..."), "...", sizeof("..."));
    free(text);
}

static int check_args(const struct command_row *row, unsigned caller, const json_t *args, char *why,
                      size_t size)
{
    const char *name;
    json_t *value;
    char allowed[64], shown[48];

    json_object_foreach((json_t *)args, name, value)
    {
        const struct command_arg *a = find_arg(row, name);

        if (!a || is_hidden(a, caller)) {
            snprintf(why, size, "%s has no argument '%.64s'", row->name, name);
            return -EINVAL;
        }
        if (!is_of_type(a, value)) {
            say_allowed(a, allowed, sizeof(allowed));
            show_value(value, shown, sizeof(shown));
            snprintf(why, size, "%s: %s must be %s, not %s", row->name, a->name, allowed, shown);
            return -EINVAL;
        }
    }
    for (const struct command_arg *a = row->args; a && a->name; a++) {
        if (a->is_required && !json_object_get(args, a->name)) {
            say_allowed(a, allowed, sizeof(allowed));
            snprintf(why, size, "%s needs %s, %s: %s", row->name, a->name, allowed, a->help);
            return -EINVAL;
        }
    }
    return 0;
}

int command_check(const struct command_row *row, unsigned caller, const json_t *args,
                  const char **ret_code, char *why, size_t why_size)
{
    if (!(row->callers & caller)) {
        const bool is_steering = caller == COMMAND_BY_ASKER && (row->callers & COMMAND_BY_OPERATOR);

        *ret_code = "not_allowed";
        snprintf(why, why_size,
                 is_steering
                     ? "%s steers the server, and you may only ask: that needs root, the server's "
                       "own user or a member of arbiter.steer_group"
                     : "%s is for the actors among themselves",
                 row->name);
        return -EINVAL;
    }
    *ret_code = "bad_argument";
    return check_args(row, caller, args, why, why_size);
}

static json_t *describe_arg(const struct command_arg *a)
{
    static const char *const types[] = {
        [COMMAND_STRING] = "string", [COMMAND_UINT] = "uint",   [COMMAND_BOOL] = "bool",
        [COMMAND_OBJECT] = "object", [COMMAND_NAMES] = "names", [COMMAND_LEVEL] = "string"};
    char allowed[64];

    say_allowed(a, allowed, sizeof(allowed));
    return json_pack("{s:s,s:s,s:s,s:b,s:s}", "name", a->name, "type", types[a->type], "allowed",
                     allowed, "required", a->is_required, "help", a->help);
}

json_t *command_describe(const struct command_row *row, unsigned caller, bool is_arbiters,
                         bool is_workers)
{
    json_t *args = json_array();

    for (const struct command_arg *a = row->args; a && a->name; a++)
        if (!is_hidden(a, caller))
            json_array_append_new(args, describe_arg(a));
    return json_pack("{s:s,s:b,s:b,s:s,s:o,s:s}", "name", row->name, "arbiter", is_arbiters,
                     "worker", is_workers, "right",
                     row->callers & COMMAND_BY_ASKER ? "ask" : "steer", "args", args, "help",
                     row->help);
}

static bool may_give(const struct command_set *set, const char *name, unsigned caller)
{
    const struct command_row *row = command_find(set, name);

    return row && (row->callers & caller);
}

json_t *command_list(const struct command_set *arbiter, const struct command_set *worker,
                     unsigned caller)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < arbiter->n; i++) {
        const struct command_row *row = row_at(arbiter, i);

        if (row->callers & caller)
            json_array_append_new(
                list, command_describe(row, caller, true, may_give(worker, row->name, caller)));
    }
    for (size_t i = 0; list && i < worker->n; i++) {
        const struct command_row *row = row_at(worker, i);

        if ((row->callers & caller) && !may_give(arbiter, row->name, caller))
            json_array_append_new(list, command_describe(row, caller, false, true));
    }
    return list;
}

json_t *command_text(const char *text)
{
    json_t *value = json_string(text);
    char *plain = value || !text ? NULL : strdup(text);

    for (char *p = plain; p && *p; p++)
        if (!isascii(*p))
            *p = '?';
    if (plain)
        value = json_string(plain);
    free(plain);
    return value;
}

json_t *command_error(const char *code, const char *message)
{
    return json_pack("{s:{s:s,s:o}}", "error", "code", code, "message", command_text(message));
}

json_t *command_result(json_t *value)
{
    return json_pack("{s:o}", "result", value);
}
