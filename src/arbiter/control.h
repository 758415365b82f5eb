/*
 * The control socket: one JSON object a line in, one a line out. Its clients are bounded in number,
 * size and time, and nothing that they do keeps the arbiter from its children.
 */
#ifndef ARBITER_CONTROL_H
#define ARBITER_CONTROL_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/list.h"
#include "base/runtime_path.h"

enum {
    CONTROL_BACKLOG = 64,
    CONTROL_CLIENTS_MAX = 64,
    CONTROL_ACCEPTS_A_WAKE = 16,
    CONTROL_SWEEP_MS = 250,
};

struct arbiter;

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
 * A default that cannot be had is no error: there is no control socket then, and the log warns.
 * Returns 0 or -errno, with @why.
 */
int control_open(struct arbiter *a, const char *setting, char *why, size_t why_size);

/* control_adopt - go on with what an earlier image has left; the listener, if there is one, is in
 * place */
void control_adopt(struct arbiter *a, const char *path, const char *made_dir);

/* control_repair - at a reload or upgrade: if the socket file is gone, or could not be made, make
 * it. A failure is logged. */
void control_repair(struct arbiter *a);

/* control_close - drop the clients, unlink the socket */
void control_close(struct arbiter *a);

/* control_keep_time - something waits: see that the sweep runs */
void control_keep_time(struct arbiter *a);

#endif
