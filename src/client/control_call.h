/*
 * The operator's end of the control socket: a JSON object per line out, one per line in, one
 * request at a time. Part of the client: no signals, no exit, no output. Knows neither commands nor
 * what their answers mean.
 */
#ifndef CLIENT_CONTROL_CALL_H
#define CLIENT_CONTROL_CALL_H

#include <jansson.h>
#include <stdint.h>
#include <sys/types.h>
#include "client/outcome.h"

/* Bounds of our own memory; the server's answers stay far below. */
enum { CONTROL_CALL_ANSWER_MAX = 16 << 20, CONTROL_CALL_READ_BYTES = 65536 };

struct control_call {
    int fd; /* owned, non-blocking; -1 = not connected */
    int end_fd; /* owned pidfd of whoever listens; -1 = not to be had */
    pid_t peer; /* its pid; 0 = unknown */
    json_int_t id; /* of the request under way, or the last one */
    char *out; /* owned; the request's line */
    size_t out_len, out_sent;
    char *in; /* owned; what came and is no answer yet */
    size_t in_len, in_scanned, in_capacity;
};

void control_call_init(struct control_call *c);
void control_call_fini(struct control_call *c);

/*
 * control_call_connect - a fresh connection; an old one is closed first
 * @path         of the socket
 * @deadline_ns  CLOCK_MONOTONIC; DEADLINE_NEVER = none. Only a full accept queue makes it wait.
 * Returns 0, ARB_REFUSED (also: nothing is there), ARB_TIMEOUT, -ENAMETOOLONG or -errno. Blocks.
 */
int control_call_connect(struct control_call *c, const char *path, uint64_t deadline_ns);

/* control_call_close - drop the connection and the request; control_call_connect may follow */
void control_call_close(struct control_call *c);

/*
 * control_call_post - line one request up; sends nothing. The one before is forgotten.
 * @target  NULL = the arbiter.  @args  borrowed, NULL = none
 * Returns 0 or -EILSEQ (a name is not UTF-8; or there is no memory).
 */
int control_call_post(struct control_call *c, const char *command, const char *target,
                      json_t *args);

/* control_call_events - what to poll `fd` for */
short control_call_events(const struct control_call *c);

/*
 * control_call_advance - send and receive what is possible now
 * @ret_answer  on 0: owned by the caller; {"result":…} or {"error":{"code":"…","message":"…"}}
 * Returns 0, OUTCOME_PENDING, ARB_CLOSED, ARB_RESET, -EBADMSG (this is no control socket),
 * -EMSGSIZE or -errno. After anything but 0 and OUTCOME_PENDING only control_call_close helps.
 */
int control_call_advance(struct control_call *c, json_t **ret_answer);

/* control_call_wait - control_call_advance until it is done, or ARB_TIMEOUT. Blocks. */
int control_call_wait(struct control_call *c, uint64_t deadline_ns, json_t **ret_answer);

/*
 * control_call_wait_end - until the process that listens is gone, or, where that cannot be seen,
 * until it has closed the connection. Returns 0, ARB_TIMEOUT or -errno. Blocks.
 */
int control_call_wait_end(struct control_call *c, uint64_t deadline_ns);

#endif
