/*
 * The listener and its clients, by libmicrohttpd in this process' own loop. A client may send one
 * request, GET or HEAD, and gets one answer; how long that takes, how many there are and how much
 * memory each has is bounded, whatever they send or do not read. Runs in the status actor.
 */
#ifndef STATUS_STATUS_HTTP_H
#define STATUS_STATUS_HTTP_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/http_library.h"
#include "base/list.h"
#include "status/status_snapshot.h"

struct log;
struct status_http;

enum {
    STATUS_CLIENTS_MAX = 64,
    STATUS_CLIENTS_QUIET = 48, /* from here on each new client ends the one silent for longest */
    STATUS_CLIENTS_PER_SOURCE = 16, /* a browser makes six, a scraper one */
    STATUS_IDLE_S = 5, /* without a byte in either direction */
    STATUS_CLIENT_MS = 10000, /* from its first byte to the last of its answer */
    STATUS_CLIENT_BYTES = 16 << 10, /* for a request's head, and an answer's */
};

struct status_http_ops {
    /* a client waits for a new snapshot: ask the arbiter, unless a question is under way */
    void (*on_wanted)(struct status_http *h);
    /* no client is left, after status_http_drain */
    void (*on_drained)(struct status_http *h);
};

struct status_http {
    struct ev_loop *loop; /* borrowed, as the next three */
    struct log *log;
    const struct status_snapshot *snapshot;
    const struct status_http_ops *ops;
    struct http_library library;
    struct MHD_Daemon *daemon; /* owned; NULL = not started */
    ev_io io; /* of the library's own set of descriptors */
    ev_timer timeout; /* when the library wants to be called again */
    ev_timer sweep; /* for our own deadlines; runs while there are clients */
    struct list clients; /* owned */
    size_t n_clients;
    bool is_draining; /* nobody is accepted any more */
    uint64_t n_answered; /* requests, whatever the answer was */
    uint64_t n_unanswered; /* clients that have ended before they got an answer */
};

/*
 * status_http_start - serve at @fd, which listens
 * @h   zeroed, with `library` loaded
 * @fd  owned by the caller; closed with status_http_stop
 * Returns 0 or -errno.
 */
int status_http_start(struct status_http *h, struct ev_loop *loop, struct log *log, int fd,
                      const struct status_snapshot *snapshot, const struct status_http_ops *ops);

/* status_http_tell - there is a new snapshot: answer the clients that wait for it, and ask for
 * another one for those whose request is younger */
void status_http_tell(struct status_http *h);

/* status_http_drain - accept nobody any more; clients that are being answered are not cut */
void status_http_drain(struct status_http *h);

/* status_http_stop - cut the clients that are left; never started is fine */
void status_http_stop(struct status_http *h);

#endif
