/*
 * The control socket: one JSON object per line in, one per line out. Its clients are bounded in
 * number, size and time, and nothing that they do keeps the arbiter from its children.
 */
#ifndef ARBITER_CONTROL_H
#define ARBITER_CONTROL_H

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arbiter/answer.h"
#include "base/list.h"
#include "base/rights.h"
#include "base/runtime_path.h"
#include "conf/config.h"
#include "net/listener.h"

enum {
    CONTROL_BACKLOG = 64,
    CONTROL_CLIENTS_MAX = 64,
    CONTROL_ACCEPTS_A_WAKE = 16,
    CONTROL_SWEEP_MS = 250,
    CONTROL_LINE_MAX = 65536, /* its newline included */
    CONTROL_READ_BYTES = 1024, /* a wake: a flood of short requests may not hold up supervision */
    CONTROL_OUTPUT_MAX = 4 << 20,
    CONTROL_PENDING_MAX = 16,
    /* Who may only ask leaves room for those who steer, also among the answers that wait. */
    CONTROL_ASKERS_MAX = 32,
    CONTROL_ASKER_PENDING_MAX = 4,
    CONTROL_IDLE_MS = 60000,
    CONTROL_STALL_MS = 10000,
    CONTROL_LINGER_MS = 2000,
};

struct arbiter;

/* A request of @caller, as commands_dispatch: @w is answered, now or later. */
typedef int control_on_request(struct arbiter *a, struct answer *w, unsigned caller,
                               json_t *request);

struct control_client {
    struct asker asker;
    ev_io io;
    struct list link; /* in control.clients, longest silent first */
    struct arbiter *arbiter; /* borrowed */
    char *in; /* owned: lines that wait, and an unfinished one */
    size_t in_len;
    char *out; /* owned: unsent answers */
    size_t out_len;
    unsigned n_pending; /* requests without an answer yet */
    bool is_asker; /* when it connected it had no right to steer */
    uint64_t since_ms; /* last byte read, or written while some are unsent */
    uint64_t refused_ms; /* since then its input is read and dropped; 0 = it is not */
    bool is_eof; /* it asks no more; what it has asked is still answered */
    bool is_dead; /* freed at the next sweep */
};

struct control {
    struct listener *listener; /* owned; NULL = there is none */
    char path[RUNTIME_PATH_MAX];
    char made_dir[RUNTIME_PATH_MAX]; /* made by us, removed at the end; "" = none */
    ev_io io;
    ev_timer sweep; /* runs while clients exist */
    control_on_request *on_request; /* set by arbiter_init */
    struct rights rights; /* only what the system says; the rest is the configuration's */
    struct list clients;
    unsigned n_clients;
    unsigned n_askers; /* of them */
    int lost[CONTROL_CLIENTS_MAX]; /* owned: inherited ones without memory; closed by the sweep */
    unsigned n_lost;
};

/*
 * control_open - listen where arbiter.control says
 * @setting  "auto", "" or a path
 * A default that cannot be had is no error: there is no control socket then, and the log warns.
 * Returns 0 or -errno, with @why.
 */
int control_open(struct arbiter *a, const char *setting, char *why, size_t why_size);

/* control_access - that its socket has with this configuration; the umask has no part in it, and
 * what is not said is as the system makes it. control_access_key - the likeliest cause of a
 * failure */
struct listener_access control_access(const struct config *c);
int control_access_key(const struct config *c);

/* control_inherit - go on with what an earlier image has left: listener, path and made_dir are in
 * place */
void control_inherit(struct arbiter *a);

/* control_inherit_client - one of at most CONTROL_CLIENTS_MAX of an earlier image, which may need
 * @fd again on the way back: taken over, also on failure, and not closed before the loop runs.
 * NULL: no memory; it sees its connection end. */
struct control_client *control_inherit_client(struct arbiter *a, int fd);

/* control_repair - at a reload or upgrade: if the socket file is gone, or could not be made, make
 * it. A failure is logged. */
void control_repair(struct arbiter *a);

/* control_close - drop the clients, unlink the socket */
void control_close(struct arbiter *a);

#endif
