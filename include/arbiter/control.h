/*
 * libarbiter-client: commands to a running server, over its control socket: what echo-client does
 * with `info`, `reload`, `call` and so on, for programs. Part of libarbiter-client.
 *
 * JSON is text here. A handle belongs to one thread and one process. Handlers are called from the
 * caller's libev loop, or from the functions that say "Blocks"; they may call everything but those.
 */
#ifndef ARB_CONTROL_H
#define ARB_CONTROL_H

#include <arbiter/client.h>

#ifdef __cplusplus
extern "C" {
#endif

struct arb_control;

enum { ARB_CONTROL_CALLS_MAX = 64 }; /* under way at a time */

/* In brackets: the default. */
struct arb_control_options {
    struct ev_loop *loop; /* borrowed, outlives the handle; [NULL]: arb_control_wait drives it */
    int timeout_ms; /* of a command, the wait for those before it included; 0 = none [10000] */
    int reserved_int;
    void *reserved[4]; /* [NULL] */
};

/* arb_control_options_init - fill in the defaults; to be called before members are set */
ARB_EXPORT void arb_control_options_init(struct arb_control_options *options);

/*
 * arb_control_open - a handle; connects when the first command is sent, and again after a loss
 * @path     borrowed: of the control socket
 * @options  borrowed; NULL = all defaults
 * Returns ARB_OK, ARB_INVALID, ARB_NOMEM or -errno.
 */
ARB_EXPORT int arb_control_open(const char *path, const struct arb_control_options *options,
                                struct arb_control **ret);

/*
 * arb_control_free - end all commands with ARB_CANCELLED, close, free; a server that has begun a
 * command finishes it. From a handler it takes effect when that returns. NULL is fine.
 */
ARB_EXPORT void arb_control_free(struct arb_control *control);

/*
 * arb_control_call - give a command and wait for its answer
 * @target   borrowed: "arbiter", "worker.2", …; NULL = the arbiter
 * @command  borrowed: as `echo-client commands` lists them
 * @args     borrowed: one JSON object as text; NULL = none
 * @ret_answer  NULL, or: JSON as text, owned by the caller (free(3)), on ARB_OK the result, on
 *   ARB_COMMAND_FAILED the object that says why; NULL otherwise
 * Returns ARB_OK; ARB_COMMAND_FAILED; ARB_REFUSED: no server is there; ARB_TIMEOUT, ARB_CLOSED,
 * ARB_RESET: what became of the command is not known; ARB_QUEUE_FULL, ARB_INVALID (the arguments
 * are no JSON object), ARB_BUSY (in a handler), ARB_FORKED, ARB_NOMEM or -errno. Blocks.
 */
ARB_EXPORT int arb_control_call(struct arb_control *control, const char *target,
                                const char *command, const char *args, char **ret_answer);

/* How a command has ended. @answer: as of arb_control_call, borrowed; NULL if there is none. */
typedef void arb_control_handler(struct arb_control *control, int status, const char *answer,
                                 void *userdata);

/*
 * arb_control_start - give a command; its answer comes through the handler
 * Commands of a handle are given one after the other, in their order. Without a loop they are sent
 * when arb_control_wait or arb_control_call is called.
 * @on_done  called exactly once, never before this returns; NULL = nobody is interested
 * Returns ARB_OK, or, without a call of the handler, ARB_INVALID, ARB_QUEUE_FULL, ARB_FORKED or
 * ARB_NOMEM.
 */
ARB_EXPORT int arb_control_start(struct arb_control *control, const char *target,
                                 const char *command, const char *args,
                                 arb_control_handler *on_done, void *userdata);

/*
 * arb_control_wait - drive the handle until no command is under way
 * @timeout_ms  0 = what can be done at once, -1 = as long as it takes
 * Returns ARB_OK, ARB_TIMEOUT (some still are), ARB_CANCELLED (a handler has freed the handle),
 * ARB_BUSY (in a handler), ARB_FORKED or -errno. Blocks.
 */
ARB_EXPORT int arb_control_wait(struct arb_control *control, int timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
