/*
 * Commands as rows: the name, who may give it, its arguments, a line of help. Each kind of actor
 * has a table of them in its own folder (arbiter/commands, worker/worker_commands), where each row
 * says also what runs it. Arguments are checked and `commands` is answered from the rows.
 */
#ifndef ACTOR_COMMAND_H
#define ACTOR_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An operator may steer; an asker may only give what changes nothing (COMMAND_ASKS). */
enum {
    COMMAND_BY_OPERATOR = 1,
    COMMAND_BY_ARBITER = 2,
    COMMAND_BY_WORKER = 4,
    COMMAND_BY_ASKER = 8,
    COMMAND_ASKS = COMMAND_BY_OPERATOR | COMMAND_BY_ASKER,
};
enum command_type {
    COMMAND_STRING = 1,
    COMMAND_UINT,
    COMMAND_BOOL,
    COMMAND_OBJECT,
    COMMAND_NAMES, /* a descriptor of the same message each, so operators cannot give it */
    COMMAND_LEVEL
};

struct command_arg {
    const char *name; /* NULL ends the list */
    enum command_type type;
    bool is_required;
    /* COMMAND_UINT; COMMAND_STRING: bytes, @max 0 = any; COMMAND_OBJECT: @max bytes as compact JSON
     */
    uint64_t min, max;
    const char *help;
};

struct command_row {
    const char *name;
    unsigned callers; /* COMMAND_BY_*: who may give it */
    const struct command_arg *args; /* COMMAND_ARGS; NULL = none */
    const char *help; /* one line */
};

#define COMMAND_ARGS(...) ((const struct command_arg[]){__VA_ARGS__, {.name = NULL}})

/* A table, whose rows begin with a member `row` and may go on with members of their own. */
struct command_set {
    const struct command_row *first;
    size_t n, row_bytes;
};
#define COMMAND_SET(table)                                                                         \
    {                                                                                              \
        &(table)[0].row, sizeof(table) / sizeof((table)[0]), sizeof((table)[0])                    \
    }

/* command_find - the row of that name, or NULL */
const struct command_row *command_find(const struct command_set *set, const char *name);

/*
 * command_check - may @caller give this, with these arguments?
 * @args  borrowed; NULL = none
 * @ret_code,@why  on failure: a code (static) and a sentence of at most @why_size bytes
 * Returns 0 or -EINVAL.
 */
int command_check(const struct command_row *row, unsigned caller, const json_t *args,
                  const char **ret_code, char *why, size_t why_size);

/*
 * command_list - the rows that @caller may give, as JSON: what `commands` answers
 * What both kinds of actors understand is listed once, as the arbiter's row says it.
 * Returns NULL without memory.
 */
json_t *command_list(const struct command_set *arbiter, const struct command_set *worker,
                     unsigned caller);

/* command_describe - one row as in that list, for those who understand it. NULL without memory. */
json_t *command_describe(const struct command_row *row, unsigned caller, bool is_arbiters,
                         bool is_workers);

/* command_text - a string for an answer, or NULL without memory. Paths are bytes of any kind and
 * JSON is UTF-8: in a text that is not, '?' stands for what is not ASCII. */
json_t *command_text(const char *text);

/* command_error - {"error":{"code","message"}}; command_result - {"result":@value}, @value taken
 * over */
json_t *command_error(const char *code, const char *message);
json_t *command_result(json_t *value);

#endif
