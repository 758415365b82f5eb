/*
 * What the arbiter does with each command of the table, for operators and for workers.
 */
#ifndef ARBITER_COMMANDS_H
#define ARBITER_COMMANDS_H

#include <jansson.h>
#include <stdint.h>

#include "actor/command.h"

struct answer;
struct arbiter;
struct child;
struct message;

extern const struct command_set arbiter_commands;

/*
 * commands_dispatch - a request {"command","target"?,"args"?}; @w is answered, now or later
 * @caller  COMMAND_BY_OPERATOR or COMMAND_BY_ASKER
 * Returns 0, or -EPERM: @caller may not give it, and has been told so.
 */
int commands_dispatch(struct arbiter *a, struct answer *w, unsigned caller, json_t *request);

/* arbiter_on_own_answer - of struct own_calls: a command of the program has answered */
struct own_calls;
void arbiter_on_own_answer(struct own_calls *calls, uint64_t number, json_t *body);

/* commands_ask_for_actor - of struct spawns: the program wants one more actor of @kind */
struct spawns;
int commands_ask_for_actor(struct spawns *all, uint64_t id, const char *kind);

/* commands_from_worker - what @c says, checked by the table. Returns 0 or -EBADMSG: end it. */
int commands_from_worker(struct arbiter *a, struct child *c, struct message *m);

#endif
