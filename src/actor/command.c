/*
 * The table of commands, pulsar's words first. Pure.
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

/* clang-format off */
const struct command_row command_table[] = {
    {"ping", COMMAND_ON_ANY, COMMAND_BY_OPERATOR | COMMAND_BY_ARBITER | COMMAND_BY_WORKER, {{0}},
     "Answer \"pong\""},
    {"echo", COMMAND_ON_ANY, COMMAND_BY_OPERATOR | COMMAND_BY_ARBITER | COMMAND_BY_WORKER,
     {{"message", COMMAND_STRING, true, 0, 0, "the text to give back"}},
     "Answer with the message"},
    {"info", COMMAND_ON_ANY, COMMAND_BY_OPERATOR | COMMAND_BY_ARBITER, {{0}},
     "Identity, state, times and counters"},
    {"config", COMMAND_ON_ARBITER, COMMAND_BY_OPERATOR,
     {{"key", COMMAND_STRING, false, 0, 0, "one key instead of all"}},
     "Effective values and where each comes from"},
    {"stop", COMMAND_ON_ANY, COMMAND_BY_OPERATOR | COMMAND_BY_ARBITER,
     {{"graceful", COMMAND_BOOL, false, 0, 0, "false: at once (default true)"},
      {"to", COMMAND_NAMES, false, 0, 0, "who takes the connections over"}},
     "Stop the server; sent to a worker: drain that one, another takes its place"},
    {"notify", COMMAND_ON_ARBITER, COMMAND_BY_OPERATOR | COMMAND_BY_WORKER,
     {{"info", COMMAND_OBJECT, true, 0, 4096, "anything"},
      {"actor", COMMAND_STRING, false, 0, 0, "whom it is about (default: who says it)"}},
     "Leave a note about an actor, shown in info"},
    {"spawn", COMMAND_ON_ARBITER, COMMAND_BY_OPERATOR, {{0}},
     "One worker more; answers when it runs"},
    {"kill_actor", COMMAND_ON_ARBITER, COMMAND_BY_OPERATOR,
     {{"actor", COMMAND_STRING, true, 0, 0, "worker.N"},
      {"timeout", COMMAND_UINT, false, 0, 3600, "seconds to drain before SIGKILL (default 5)"}},
     "End one worker; another takes its place"},
    {"reload", COMMAND_ON_ARBITER, COMMAND_BY_OPERATOR,
     {{"force", COMMAND_BOOL, false, 0, 0, "true: also if the file has lost every group (default false)"}},
     "Read the configuration again; answers when it is done, or why not"},
    {"scale", COMMAND_ON_ARBITER, COMMAND_BY_OPERATOR,
     {{"workers", COMMAND_UINT, true, 1, 1024, "processes that are wanted"}},
     "Change the number of workers; answers when they run"},
    {"upgrade", COMMAND_ON_ARBITER, COMMAND_BY_OPERATOR, {{0}},
     "Execute the program at its path anew, in place; answers when it is done, or why not"},
    {"reopen_logs", COMMAND_ON_ARBITER, COMMAND_BY_OPERATOR, {{0}},
     "Open the log file anew, after a rotation; answers when it is done, or why not"},
    {"log_level", COMMAND_ON_ANY, COMMAND_BY_OPERATOR | COMMAND_BY_ARBITER,
     {{"level", COMMAND_LEVEL, true, 0, 0, "the least severe that is logged"}},
     "Change the log level until the next reload"},
    {"crashes", COMMAND_ON_ARBITER, COMMAND_BY_OPERATOR,
     {{"show", COMMAND_UINT, false, 1, UINT32_MAX, "number of one crash, with its call stack"}},
     "The last crashes of workers"},
    {"actors", COMMAND_ON_ARBITER, COMMAND_BY_OPERATOR, {{0}},
     "Every actor with its state"},
    {"commands", COMMAND_ON_ARBITER, COMMAND_BY_OPERATOR, {{0}},
     "This table"},

    {"run", COMMAND_ON_WORKER, COMMAND_BY_ARBITER, {{0}}, "Begin to accept"},
    {"ready", COMMAND_ON_ARBITER, COMMAND_BY_WORKER, {{0}}, "Prepared: wants to be told to run"},
    {"replace_me", COMMAND_ON_ARBITER, COMMAND_BY_WORKER,
     {{"reason", COMMAND_STRING, true, 0, 0, "why"}}, "Wants to be replaced; serves until it is told to stop"},
    {"take", COMMAND_ON_WORKER, COMMAND_BY_ARBITER,
     {{"from", COMMAND_STRING, true, 0, 0, "who gives"}},
     "Take the connections that come on the descriptor that came along, until its end of file"},
    {"collect", COMMAND_ON_WORKER, COMMAND_BY_ARBITER, {{0}},
     "Collect the connections of nobody that are in the descriptor that came along"},
    {"give", COMMAND_ON_WORKER, COMMAND_BY_ARBITER,
     {{"to", COMMAND_NAMES, true, 0, 0, "who takes, one name a descriptor"},
      {"count", COMMAND_UINT, false, 0, UINT32_MAX, "connections to move (default all)"}},
     "Move connections over the descriptors that came along, spread evenly; serve the rest"},
    {"moved", COMMAND_ON_ARBITER, COMMAND_BY_WORKER,
     {{"count", COMMAND_UINT, true, 0, UINT32_MAX, "connections that were moved"},
      {"refused", COMMAND_UINT, true, 0, UINT32_MAX, "that were to be moved and stayed"},
      {"took_us", COMMAND_UINT, true, 0, INT64_MAX, "microseconds"}},
     "A give, or a stop with targets, has moved what it could"},
};
/* clang-format on */

const size_t command_count = ARRAY_SIZE(command_table);

const struct command_row *command_find(const char *name)
{
    for (size_t i = 0; i < command_count; i++)
        if (strcmp(command_table[i].name, name) == 0)
            return &command_table[i];
    return NULL;
}

static bool is_hidden(const struct command_arg *a, unsigned caller)
{
    return a->type == COMMAND_NAMES && caller == COMMAND_BY_OPERATOR;
}

static const struct command_arg *find_arg(const struct command_row *row, const char *name)
{
    for (const struct command_arg *a = row->args; a->name; a++)
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
        return json_is_string(value);
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
    else if (a->type == COMMAND_OBJECT)
        snprintf(buf, size, "an object of at most %" PRIu64 " bytes", a->max);
    else
        snprintf(buf, size, "%s", types[a->type]);
}

static int check_args(const struct command_row *row, unsigned caller, const json_t *args, char *why,
                      size_t size)
{
    const char *name;
    json_t *value;
    char allowed[64];

    json_object_foreach((json_t *)args, name, value)
    {
        const struct command_arg *a = find_arg(row, name);

        if (!a || is_hidden(a, caller)) {
            snprintf(why, size, "%s has no argument '%.64s'", row->name, name);
            return -EINVAL;
        }
        if (!is_of_type(a, value)) {
            say_allowed(a, allowed, sizeof(allowed));
            snprintf(why, size, "%s: %s must be %s", row->name, a->name, allowed);
            return -EINVAL;
        }
    }
    for (const struct command_arg *a = row->args; a->name; a++) {
        if (a->is_required && !json_object_get(args, a->name)) {
            say_allowed(a, allowed, sizeof(allowed));
            snprintf(why, size, "%s needs %s, %s: %s", row->name, a->name, allowed, a->help);
            return -EINVAL;
        }
    }
    return 0;
}

int command_check(const struct command_row *row, unsigned actor, unsigned caller,
                  const json_t *args, const char **ret_code, char *why, size_t why_size)
{
    if (!(row->actors & actor)) {
        *ret_code = "unknown_command";
        snprintf(why, why_size, "%s is a command of %s", row->name,
                 row->actors & COMMAND_ON_ARBITER ? "the arbiter" : "workers");
        return -EINVAL;
    }
    if (!(row->callers & caller)) {
        *ret_code = "not_allowed";
        snprintf(why, why_size, "%s is for the actors among themselves", row->name);
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

json_t *command_list(unsigned caller)
{
    json_t *list = json_array();

    for (size_t i = 0; list && i < command_count; i++) {
        const struct command_row *row = &command_table[i];
        json_t *args;

        if (!(row->callers & caller))
            continue;
        args = json_array();
        for (const struct command_arg *a = row->args; a->name; a++)
            if (!is_hidden(a, caller))
                json_array_append_new(args, describe_arg(a));
        json_array_append_new(list, json_pack("{s:s,s:b,s:b,s:o,s:s}", "name", row->name, "arbiter",
                                              (row->actors & COMMAND_ON_ARBITER) != 0, "worker",
                                              (row->actors & COMMAND_ON_WORKER) != 0, "args", args,
                                              "help", row->help));
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
