/*
 * What a client waits for: descriptors and deadlines, driven by the caller's libev loop or, for
 * synchronous calls, by poll(2) on this client's descriptors alone; both at any time on the same
 * client. libev is never used without a loop of the caller's, as it ends the process when memory
 * runs out.
 *
 * A *turn* is all that happens between coming in from outside and going out again. Whatever could
 * pull the rug from under a caller further up the stack waits for the end of the turn, on_turn.
 */
#ifndef CLIENT_REACTOR_H
#define CLIENT_REACTOR_H

#include <ev.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include "base/list.h"
#include "client/deadlines.h"

/* A watched descriptor, embedded in its owner. */
struct reactor_io {
    int fd; /* borrowed; -1 = not watched */
    short events; /* wanted: POLLIN, POLLOUT */
    bool is_background; /* does not keep the caller's loop running */
    unsigned index; /* in the arrays of the reactor */
    struct list ready; /* found ready by poll and not yet called */
    struct reactor *reactor; /* borrowed */
    struct ev_io ev;
    void (*on_ready)(struct reactor_io *io);
};

struct reactor {
    struct ev_loop *loop; /* borrowed; NULL = only reactor_run drives */
    struct ev_timer timer;
    uint64_t timer_ns; /* when it will fire; DEADLINE_NEVER = it is not running */
    struct deadlines deadlines;
    struct pollfd *polls; /* owned; entry i belongs to ios[i] */
    struct reactor_io **ios;
    unsigned n, capacity;
    unsigned depth; /* turns are not nested; > 0 = somebody is further up the stack */
    bool is_kicked; /* a turn has left work behind: come again at once */
    /* on_turn - end of a turn; returns false if the reactor is no more */
    bool (*on_turn)(struct reactor *r);
};

/* reactor_init - @loop is borrowed, may be NULL; nothing is watched */
void reactor_init(struct reactor *r, struct ev_loop *loop, bool (*on_turn)(struct reactor *r));
void reactor_fini(struct reactor *r);

/* reactor_watch - @io->on_ready is set; it is watched until reactor_unwatch. 0 or -ENOMEM. */
int reactor_watch(struct reactor *r, struct reactor_io *io, int fd, short events);
void reactor_unwatch(struct reactor_io *io);
void reactor_set_events(struct reactor_io *io, short events);
void reactor_set_background(struct reactor_io *io, bool is_background);

/* reactor_kick - another turn follows at once, without an event */
void reactor_kick(struct reactor *r);

/* reactor_enter, reactor_leave - around what comes from outside; _leave returns as on_turn */
void reactor_enter(struct reactor *r);
bool reactor_leave(struct reactor *r);

/*
 * reactor_run - wait until something is ready or due or @until_ns has come, and turn once
 * Returns 0, -ENODEV if the reactor is no more, or another -errno of poll. A signal ends it with 0.
 */
int reactor_run(struct reactor *r, uint64_t until_ns);

#endif
