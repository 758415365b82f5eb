/*
 * THE table of commands: who understands which, with what arguments, and who may give it. Arguments
 * are checked, help is printed and documents are tested from the rows; what a command does lives
 * with its actor.
 */
#ifndef ACTOR_COMMAND_H
#define ACTOR_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { COMMAND_ON_ARBITER = 1, COMMAND_ON_WORKER = 2, COMMAND_ON_ANY = 3 };
enum { COMMAND_BY_OPERATOR = 1, COMMAND_BY_ARBITER = 2, COMMAND_BY_WORKER = 4 };
enum command_type {
    COMMAND_STRING = 1,
    COMMAND_UINT,
    COMMAND_BOOL,
    COMMAND_OBJECT,
    COMMAND_NAMES, /* a descriptor of the same message each, so operators cannot give it */
    COMMAND_LEVEL
};

enum { COMMAND_ARGS_MAX = 3 };

struct command_arg {
    const char *name; /* NULL ends the list */
    enum command_type type;
    bool is_required;
    uint64_t min, max; /* COMMAND_UINT; COMMAND_OBJECT: @max bytes as compact JSON */
    const char *help;
};

struct command_row {
    const char *name;
    unsigned actors; /* COMMAND_ON_*: who understands it */
    unsigned callers; /* COMMAND_BY_*: who may give it */
    struct command_arg args[COMMAND_ARGS_MAX + 1];
    const char *help; /* one line */
};

extern const struct command_row command_table[];
extern const size_t command_count;

/* command_find - the row of that name, or NULL */
const struct command_row *command_find(const char *name);

/*
 * command_check - may @caller give this to @actor, with these arguments?
 * @args  borrowed; NULL = none
 * @ret_code,@why  on failure: a code (static) and a sentence of at most @why_size bytes
 * Returns 0 or -EINVAL.
 */
int command_check(const struct command_row *row, unsigned actor, unsigned caller,
                  const json_t *args, const char **ret_code, char *why, size_t why_size);

/* command_list - the rows that @caller may give, as JSON: what `commands` answers. NULL without
 * memory. */
json_t *command_list(unsigned caller);

/* command_text - a string for an answer, or NULL without memory. Paths are bytes of any kind and
 * JSON is UTF-8: in a text that is not, '?' stands for what is not ASCII. */
json_t *command_text(const char *text);

/* command_error - {"error":{"code","message"}}; command_result - {"result":@value}, @value taken
 * over */
json_t *command_error(const char *code, const char *message);
json_t *command_result(json_t *value);

#endif
