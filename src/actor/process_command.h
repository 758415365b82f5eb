/*
 * Commands in a process that the arbiter has forked: what a message of the arbiter says is looked
 * up in the table of the process, checked, run and answered. The arbiter has checked callers and
 * arguments by the same table already; they are checked again, since a message is data.
 */
#ifndef ACTOR_PROCESS_COMMAND_H
#define ACTOR_PROCESS_COMMAND_H

#include <jansson.h>
#include <stddef.h>

#include "actor/command.h"
#include "actor/process.h"

/* What came with a command. A handler takes a descriptor over by setting it to -1. */
struct process_request {
    json_t *args; /* borrowed */
    int *fds;
    size_t n_fds;
};

struct process_command {
    struct command_row row;
    /* Returns the result, taken over by the caller; NULL = it cannot do that. */
    json_t *(*run)(struct process *p, const struct process_request *r);
    void (*run_later)(struct process *p, uint64_t id, const json_t *args); /* or: answers itself */
};

/*
 * process_command - do what @m says, and reply if it asks for one
 * @set   of struct process_command
 * @fds   owned by the caller; a command takes one over by setting it to -1
 */
void process_command(struct process *p, const struct command_set *set, const struct message *m,
                     int *fds, size_t n_fds);

/* Rows that all processes have. */
#define PROCESS_BY_BOTH (COMMAND_BY_OPERATOR | COMMAND_BY_ARBITER)
#define PROCESS_PING                                                                               \
    {                                                                                              \
        {"ping", PROCESS_BY_BOTH | COMMAND_ASKS, NULL, "Answer \"pong\""}, process_do_ping, NULL   \
    }
#define PROCESS_ECHO                                                                               \
    {                                                                                              \
        {"echo", PROCESS_BY_BOTH | COMMAND_ASKS,                                                   \
         COMMAND_ARGS({"message", COMMAND_STRING, true, 0, 0, "the text to give back"}),           \
         "Answer with the message"},                                                               \
            process_do_echo, NULL                                                                  \
    }
#define PROCESS_LOG_LEVEL                                                                          \
    {                                                                                              \
        {"log_level", PROCESS_BY_BOTH,                                                             \
         COMMAND_ARGS({"level", COMMAND_LEVEL, true, 0, 0, "the least severe that is logged"}),    \
         "Change the log level until the next reload"},                                            \
            process_do_log_level, NULL                                                             \
    }

/* @run - by process_call: it answers itself */
#define PROCESS_CALL(run)                                                                          \
    {                                                                                              \
        {"call", COMMAND_BY_ARBITER,                                                               \
         COMMAND_ARGS({"command", COMMAND_STRING, true, 0, 0, "OWNER.NAME"},                       \
                      {"args", COMMAND_OBJECT, false, 0, MESSAGE_MAX_BYTES, "its arguments"}),     \
         "Run a command of the program's own"},                                                    \
            NULL, run                                                                              \
    }

json_t *process_do_ping(struct process *p, const struct process_request *r);
json_t *process_do_echo(struct process *p, const struct process_request *r);
json_t *process_do_log_level(struct process *p, const struct process_request *r);

/* process_info - what every process says of itself: identity, state, processors, uptime */
json_t *process_info(const struct process *p);

#endif
