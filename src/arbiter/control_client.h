/*
 * One client of the control socket: a JSON object a line in, one a line out, in bounded memory and
 * time. What is asked is answered in commands.c.
 */
#ifndef ARBITER_CONTROL_CLIENT_H
#define ARBITER_CONTROL_CLIENT_H

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"

enum {
    CONTROL_LINE_MAX = 65536, /* its newline included */
    CONTROL_READ_BYTES = 1024, /* a wake: a flood of short requests may not hold up supervision */
    CONTROL_OUTPUT_MAX = 4 << 20,
    CONTROL_PENDING_MAX = 16,
    CONTROL_IDLE_MS = 60000,
    CONTROL_STALL_MS = 10000,
    CONTROL_LINGER_MS = 2000,
};

struct arbiter;

struct control_client {
    ev_io io;
    struct list link; /* in control.clients, longest silent first */
    struct arbiter *arbiter; /* borrowed */
    char *in; /* owned: lines that wait, and an unfinished one */
    size_t in_len;
    char *out; /* owned: unsent answers */
    size_t out_len;
    unsigned n_pending; /* requests without an answer yet */
    uint64_t since_ms; /* last byte read, or written while some are unsent */
    uint64_t refused_ms; /* since then its input is read and dropped; 0 = it is not */
    bool is_eof; /* it asks no more; what it has asked is still answered */
    bool is_dead; /* freed at the next sweep */
};

/* control_client_new - @fd is taken over, also on failure. NULL: no room, no memory. */
struct control_client *control_client_new(struct arbiter *a, int fd);

/*
 * control_client_adopt - go on with one that an earlier image has left; its pending requests are
 * the caller's to add
 * @fd       taken over, also on failure
 * @in,@out  borrowed; @in_len at most CONTROL_LINE_MAX
 */
struct control_client *control_client_adopt(struct arbiter *a, int fd, const void *in,
                                            size_t in_len, const void *out, size_t out_len);

/* control_client_answer - one line: {"id":@id, ...@body}; both borrowed. Drops one that does not
 * read. */
void control_client_answer(struct control_client *c, json_t *id, json_t *body);

/* control_client_sweep - its time may be up; frees it if it is dead */
void control_client_sweep(struct control_client *c, uint64_t now_ms);

/* control_client_drop - close it; freed by the next sweep. control_client_free - at once. */
void control_client_drop(struct control_client *c);
void control_client_free(struct control_client *c);

#endif
