/*
 * Answers to own commands: each handle is given back by its one answer.
 */
#include "actor/own_call.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "actor/own.h"
#include "base/util.h"

struct arb_answer {
    struct list link; /* in own_calls.list */
    struct own_calls *calls; /* borrowed */
    uint64_t number;
};

void own_calls_init(struct own_calls *calls,
                    void (*give)(struct own_calls *calls, uint64_t number, json_t *body))
{
    *calls = (struct own_calls){.give = give};
    list_init(&calls->list);
}

static void own_answer_free(struct arb_answer *answer)
{
    list_remove(&answer->link);
    answer->calls->n--;
    free(answer);
}

void own_calls_fini(struct own_calls *calls)
{
    while (calls->give && !list_is_empty(&calls->list))
        own_answer_free(container_of(calls->list.next, struct arb_answer, link));
}

/* @body is taken over. */
static void own_answer_give(struct arb_answer *answer, json_t *body)
{
    struct own_calls *calls = answer->calls;
    const uint64_t number = answer->number;

    own_answer_free(answer);
    calls->give(calls, number, body ? body : command_error("internal", "out of memory"));
}

static struct arb_answer *own_answer_new(struct own_calls *calls, uint64_t number)
{
    struct arb_answer *answer = calls->n < OWN_CALLS_MAX ? calloc(1, sizeof(*answer)) : NULL;

    if (!answer)
        return NULL;
    answer->calls = calls;
    answer->number = number;
    list_append(&calls->list, &answer->link);
    calls->n++;
    return answer;
}

void own_call_run(struct own_calls *calls, uint64_t number, const struct own_command *command,
                  void *data, const json_t *args)
{
    struct arb_answer *answer;
    json_t *none;
    const char *code;
    char why[256];

    if (command_check(&command->row, COMMAND_BY_OPERATOR, args, &code, why, sizeof(why)) < 0) {
        calls->give(calls, number, command_error(code, why));
        return;
    }
    none = json_object();
    answer = none ? own_answer_new(calls, number) : NULL;
    if (answer)
        command->command.run(data, answer, args ? args : none);
    else
        calls->give(calls, number,
                    command_error("busy", "too many commands of this process have not been "
                                          "answered, or there is no memory"));
    json_decref(none);
}

void arb_answer_json(struct arb_answer *answer, json_t *result)
{
    own_answer_give(answer, command_result(result ? result : json_null()));
}

int arb_answer_text(struct arb_answer *answer, const char *result)
{
    json_t *value = json_loads(result, JSON_DECODE_ANY | JSON_REJECT_DUPLICATES, NULL);

    if (!value) {
        arb_answer_error(answer, "internal", "the command's answer is no JSON");
        return -EINVAL;
    }
    arb_answer_json(answer, value);
    return 0;
}

void arb_answer_error(struct arb_answer *answer, const char *code, const char *message)
{
    own_answer_give(answer, command_error(code, message));
}
