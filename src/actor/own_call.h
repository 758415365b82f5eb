/*
 * Own commands that run in this process, and the answers that they still owe (struct arb_answer).
 * Who waits for an answer is known to the process alone, which is given the call's number back.
 */
#ifndef ACTOR_OWN_CALL_H
#define ACTOR_OWN_CALL_H

#include <arbiter/actor.h>
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

/* An answer that is never given costs its handle for the life of the process. */
enum { OWN_CALLS_MAX = 256 };

struct own_command;

struct own_calls {
    struct list list; /* of struct arb_answer, owned: what has not been answered */
    size_t n;
    /* The answer to call @number has come. @body is taken over: an error or a result. */
    void (*give)(struct own_calls *calls, uint64_t number, json_t *body);
};

/* own_calls_init - nothing runs; own_calls_fini - who still owes an answer cannot give it any more:
 * after the owners' `stop` */
void own_calls_init(struct own_calls *calls,
                    void (*give)(struct own_calls *calls, uint64_t number, json_t *body));
void own_calls_fini(struct own_calls *calls);

/*
 * own_call_run - check the arguments and run it; `give` is called once, perhaps before this returns
 * @data  of the owner
 * @args  borrowed; NULL = none
 */
void own_call_run(struct own_calls *calls, uint64_t number, const struct own_command *command,
                  void *data, const json_t *args);

#endif
