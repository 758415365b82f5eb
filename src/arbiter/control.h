/*
 * The control socket: one JSON object a line in, one a line out. Its clients are bounded in number,
 * size and time, and nothing that they do keeps the arbiter from its children.
 */
#ifndef ARBITER_CONTROL_H
#define ARBITER_CONTROL_H

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "base/runtime_path.h"

enum {
    CONTROL_BACKLOG = 64,
    CONTROL_CLIENTS_MAX = 64,
    CONTROL_LINE_MAX = 65536,
    CONTROL_OUTPUT_MAX = 4 << 20,
    CONTROL_PENDING_MAX = 16,
    CONTROL_ACCEPTS_A_WAKE = 16,
    CONTROL_IDLE_MS = 60000,
    CONTROL_STALL_MS = 10000,
    CONTROL_SWEEP_MS = 250,
};

struct arbiter;

struct control_client {
    ev_io io;
    struct list link; /* in control.clients, longest silent first */
    struct arbiter *arbiter; /* borrowed */
    char *in; /* owned: an unfinished line */
    size_t in_len;
    char *out; /* owned: unsent answers */
    size_t out_len;
    unsigned n_pending; /* requests without an answer yet */
    uint64_t since_ms; /* last byte read, or written while some are unsent */
    bool is_eof; /* it asks no more; what it has asked is still answered */
    bool is_dead; /* freed at the next sweep or callback's end */
};

struct control {
    struct listener *listener; /* owned; NULL = there is none */
    char path[RUNTIME_PATH_MAX];
    char made_dir[RUNTIME_PATH_MAX]; /* made by us, removed at the end; "" = none */
    ev_io io;
    ev_timer sweep; /* runs while clients or answers exist */
    struct list clients;
    unsigned n_clients;
};

/*
 * control_open - listen where arbiter.control says
 * @setting  "auto", "" or a path
 * A default that cannot be had is no error: there is no control socket then, and the log says so.
 * Returns 0 or -errno, with @why.
 */
int control_open(struct arbiter *a, const char *setting, char *why, size_t why_size);

/*
 * control_adopt, control_adopt_client - go on with what an earlier image has left; the listener, if
 * there is one, is in place
 * @fd       taken over, also on failure
 * @in,@out  borrowed; @in_len at most CONTROL_LINE_MAX
 * The latter returns the client, to whom the caller adds its pending requests; NULL without memory.
 */
void control_adopt(struct arbiter *a, const char *path, const char *made_dir);
struct control_client *control_adopt_client(struct arbiter *a, int fd, const void *in,
                                            size_t in_len, const void *out, size_t out_len);

/* control_close - drop the clients, unlink the socket */
void control_close(struct arbiter *a);

/* control_answer - one line: {"id":@id, ...@body}; both borrowed. Drops a client that does not
 * read. */
void control_answer(struct control_client *c, json_t *id, json_t *body);

/* control_keep_time - something waits: see that the sweep runs */
void control_keep_time(struct arbiter *a);

#endif
