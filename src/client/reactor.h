/*
 * What a client, or a traffic engine, waits for: descriptors in an epoll, and deadlines. Driven by
 * the caller's libev loop or, for calls that block, by reactor_run; both at any time. libev is
 * never used without a loop of the caller's, as it ends the process when memory runs out.
 *
 * A *turn* is all that happens between coming in from outside and going out again. Whatever could
 * pull the rug from under a caller further up the stack waits for the end of the turn, on_turn.
 */
#ifndef CLIENT_REACTOR_H
#define CLIENT_REACTOR_H

#include <ev.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/types.h>
#include "client/deadlines.h"

enum { REACTOR_EVENTS = 256 }; /* per turn */

/* A watched descriptor, embedded in its owner. */
struct reactor_io {
    int fd; /* borrowed; -1 = not watched */
    bool wants_room; /* waits for room to write, too */
    bool is_background; /* does not keep the caller's loop running */
    struct reactor *reactor; /* borrowed */
    void (*on_ready)(struct reactor_io *io, uint32_t events); /* of EPOLLIN, EPOLLOUT … */
};

struct reactor {
    struct ev_loop *loop; /* borrowed; NULL = only reactor_run drives */
    struct ev_io ev; /* of `ep` */
    struct ev_timer timer;
    uint64_t timer_ns; /* when it will fire; DEADLINE_NEVER = it is not running */
    int ep; /* owned */
    pid_t pid; /* whose process it is: a forked child must not touch the parent's epoll */
    unsigned n_foreground; /* descriptors that keep the caller's loop running */
    uint64_t now_ns; /* CLOCK_MONOTONIC, of what happens now */
    struct deadlines deadlines;
    unsigned depth; /* turns are not nested; > 0 = somebody is further up the stack */
    bool is_kicked; /* a turn has left work behind: come again at once */
    /* on_turn - end of a turn; returns false if the reactor is no more. NULL = nothing. */
    bool (*on_turn)(struct reactor *r);
    int n_events;
    struct epoll_event events[REACTOR_EVENTS];
};

/* reactor_init - @loop is borrowed, may be NULL; nothing is watched. Returns 0 or -errno. */
int reactor_init(struct reactor *r, struct ev_loop *loop, bool (*on_turn)(struct reactor *r));
/* reactor_fini - also of one that is all zero */
void reactor_fini(struct reactor *r);

/* reactor_watch - @io->on_ready is set; it is watched until reactor_unwatch. Returns 0 or -errno.
 */
int reactor_watch(struct reactor *r, struct reactor_io *io, int fd, bool wants_room);
void reactor_unwatch(struct reactor_io *io);
/* reactor_forget - the same for one that is closed already, and no other process has */
void reactor_forget(struct reactor_io *io);
void reactor_want_room(struct reactor_io *io, bool wants_room);
void reactor_set_background(struct reactor_io *io, bool is_background);

/* reactor_kick - another turn follows at once, without an event */
void reactor_kick(struct reactor *r);

/* reactor_enter, reactor_leave - around what comes from outside; _leave returns as on_turn */
void reactor_enter(struct reactor *r);
bool reactor_leave(struct reactor *r);

/*
 * reactor_check - may its owner be used now?
 * @blocks  by a function that waits: a handler may not
 * Returns 0, ARB_FORKED or ARB_BUSY.
 */
int reactor_check(const struct reactor *r, bool blocks);

/*
 * reactor_run - wait until something is ready or due or @until_ns has come, and turn once
 * Returns 0, -ENODEV if the reactor is no more, or another -errno of epoll. A signal ends it with
 * 0.
 */
int reactor_run(struct reactor *r, uint64_t until_ns);

#endif
