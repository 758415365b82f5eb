/*
 * What the commands over the control socket share: finding and asking the server, and the one
 * place where its refusals become words, advice and exit codes.
 */
#ifndef CMD_ECHO_CLIENT_OPERATOR_H
#define CMD_ECHO_CLIENT_OPERATOR_H

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

#include "base/runtime_path.h"
#include "client/control_call.h"
#include "cmd/echo_client.h"

/* What `call`, `connections`, `kill`, `reload`, `scale`, `upgrade` and `stop` may take by default:
 * they wait for workers. */
enum { OPERATOR_SLOW_MS = 60000 };

struct operator
{
    struct tool *tool; /* borrowed */
    const char *command; /* borrowed: what is asked for, for errors; NULL = nothing yet */
    char path[RUNTIME_PATH_MAX]; /* of the socket */
    uint64_t deadline_ns; /* of all that is to come */
    struct control_call call;
};

/*
 * operator_open - find the server, by its socket, its address or where it usually is, and connect
 * @slow_ms  the timeout if none was given; 0 = the tool's
 * Returns 0, OPERATOR_NOBODY (no server is there, and the tool's is_optional says that this is no
 * error) or an exit code, reported already; operator_close in any case.
 */
enum { OPERATOR_NOBODY = -1 };
int operator_open(struct operator* o, struct tool *t, uint64_t slow_ms);
void operator_close(struct operator* o);

/*
 * operator_ask - one request, one answer
 * @target,@args  NULL = the arbiter, none; borrowed
 * @ret_result    on 0: owned by the caller
 * Returns 0 or an exit code, reported already.
 */
int operator_ask(struct operator* o, const char *command, const char *target, json_t *args,
                 json_t **ret_result);

/* operator_fail - the call has failed with a ARB_* or -errno; operator_refused - it was answered
 * with this {"error":{…}}. Report it; return the exit code. */
int operator_fail(const struct operator* o, int outcome);
int operator_refused(const struct operator* o, const json_t *answer);

/*
 * operator_name - which server this is: "pid 4711, 127.0.0.1:8060"; asks it
 * @buf  OPERATOR_NAME_LEN bytes. Returns @buf; without an answer the process id alone, if it is
 * known.
 */
enum { OPERATOR_NAME_LEN = 512 };
const char *operator_name(const struct operator* o, char *buf);

/* operator_error_exit - the exit code that a code of the server's errors stands for */
int operator_error_exit(const char *code);

/*
 * operator_print - as JSON if that was asked for, else as @write does it
 * @write  returns 0 or -errno
 * Returns 0 or an exit code, reported already.
 */
int operator_print(const struct operator* o, const json_t *result,
                   int (*write)(FILE *f, const json_t *result));

#endif
