/*
 * One epoll, two drivers: a watcher of the epoll itself in the caller's loop, or reactor_run.
 * Either may find that the other has already done the work: everything is non-blocking.
 */
#include "client/reactor.h"

#include <arbiter/client.h>
#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"

enum { MS_NS = 1000000 };

/* ---- in the caller's loop ---- */

static void on_epoll(struct ev_loop *loop, struct ev_io *ev, int revents)
{
    (void)loop;
    (void)revents;
    reactor_run(container_of(ev, struct reactor, ev), 0);
}

static void on_timer(struct ev_loop *loop, struct ev_timer *timer, int revents)
{
    struct reactor *r = container_of(timer, struct reactor, timer);

    (void)loop;
    (void)revents;
    r->timer_ns = DEADLINE_NEVER;
    reactor_run(r, 0);
}

/*
 * A timer that is early costs one idle turn, so a deadline that moves out leaves it where it is:
 * calls that follow one another do not touch it. Without any deadline it would keep the loop
 * running.
 */
static void set_timer(struct reactor *r)
{
    uint64_t at = r->is_kicked ? 0 : deadlines_next(&r->deadlines);
    uint64_t now;

    if (!r->loop || (at >= r->timer_ns && at != DEADLINE_NEVER))
        return;
    ev_timer_stop(r->loop, &r->timer);
    r->timer_ns = at;
    if (at == DEADLINE_NEVER)
        return;
    now = clock_mono_ns();
    ev_timer_set(&r->timer, at > now ? (double)(at - now) / 1e9 : 0., 0.);
    ev_timer_start(r->loop, &r->timer);
}

/* The loop counts references for what keeps it running: ours is there while @n is not 0. */
static void set_foreground(struct reactor *r, unsigned n)
{
    if (r->loop && r->n_foreground == 0 && n > 0)
        ev_ref(r->loop);
    if (r->loop && r->n_foreground > 0 && n == 0)
        ev_unref(r->loop);
    r->n_foreground = n;
}

int reactor_init(struct reactor *r, struct ev_loop *loop, bool (*on_turn)(struct reactor *r))
{
    *r = (struct reactor){.loop = loop,
                          .timer_ns = DEADLINE_NEVER,
                          .ep = epoll_create1(EPOLL_CLOEXEC),
                          .pid = getpid(),
                          .now_ns = clock_mono_ns(),
                          .on_turn = on_turn};
    if (r->ep < 0)
        return -errno;
    ev_timer_init(&r->timer, on_timer, 0., 0.);
    ev_io_init(&r->ev, on_epoll, r->ep, EV_READ);
    if (loop) {
        ev_io_start(loop, &r->ev);
        ev_unref(loop);
    }
    return 0;
}

void reactor_fini(struct reactor *r)
{
    if (r->pid == 0)
        return;
    if (r->loop) {
        set_foreground(r, 1);
        ev_io_stop(r->loop, &r->ev);
        ev_timer_stop(r->loop, &r->timer);
    }
    fds_close(&r->ep);
    r->pid = 0;
}

/* ---- descriptors ---- */

static int reactor_ctl(struct reactor_io *io, int op)
{
    struct epoll_event e = {.events = EPOLLIN | (io->wants_room ? EPOLLOUT : 0u), .data.ptr = io};

    return epoll_ctl(io->reactor->ep, op, io->fd, &e) < 0 ? -errno : 0;
}

int reactor_watch(struct reactor *r, struct reactor_io *io, int fd, bool wants_room)
{
    int rc;

    io->reactor = r;
    io->fd = fd;
    io->wants_room = wants_room;
    io->is_background = false;
    rc = reactor_ctl(io, EPOLL_CTL_ADD);
    if (rc)
        io->fd = -1;
    else
        set_foreground(r, r->n_foreground + 1);
    return rc;
}

void reactor_forget(struct reactor_io *io)
{
    struct reactor *r = io->reactor;

    if (io->fd < 0)
        return;
    for (int i = 0; i < r->n_events; i++)
        if (r->events[i].data.ptr == io)
            r->events[i].data.ptr = NULL;
    set_foreground(r, r->n_foreground - !io->is_background);
    io->fd = -1;
}

/* Taken out by hand: closing does not, if a forked process still has the descriptor. */
void reactor_unwatch(struct reactor_io *io)
{
    if (io->fd >= 0 && io->reactor->pid == getpid())
        reactor_ctl(io, EPOLL_CTL_DEL);
    reactor_forget(io);
}

void reactor_want_room(struct reactor_io *io, bool wants_room)
{
    if (io->fd < 0 || io->wants_room == wants_room)
        return;
    io->wants_room = wants_room;
    reactor_ctl(io, EPOLL_CTL_MOD);
}

void reactor_set_background(struct reactor_io *io, bool is_background)
{
    if (io->fd < 0 || io->is_background == is_background)
        return;
    io->is_background = is_background;
    set_foreground(io->reactor, io->reactor->n_foreground + (is_background ? -1u : 1u));
}

/* ---- turns ---- */

void reactor_kick(struct reactor *r)
{
    r->is_kicked = true;
}

void reactor_enter(struct reactor *r)
{
    r->depth++;
}

bool reactor_leave(struct reactor *r)
{
    if (r->depth == 1) {
        if (r->on_turn && !r->on_turn(r))
            return false;
        set_timer(r);
    }
    r->depth--;
    return true;
}

/* Whole milliseconds are slept by epoll, the rest of one by ppoll. */
static int reactor_wait(struct reactor *r, uint64_t at_ns)
{
    uint64_t left_ns = r->is_kicked || at_ns <= r->now_ns ? 0 : at_ns - r->now_ns;
    struct timespec rest = {.tv_nsec = (long)left_ns};
    struct pollfd p = {.fd = r->ep, .events = POLLIN};
    int ms = at_ns == DEADLINE_NEVER && !r->is_kicked
                 ? -1
                 : (int)MIN(left_ns / MS_NS, (uint64_t)INT32_MAX);

    if (ms == 0 && left_ns > 0)
        ppoll(&p, 1, &rest, NULL);
    return epoll_wait(r->ep, r->events, REACTOR_EVENTS, ms);
}

/* What is set from now on has its turn after the next events. */
static void fire_deadlines(struct reactor *r)
{
    const uint64_t now_ns = r->now_ns = clock_mono_ns();
    struct deadline *d;

    while ((d = deadlines_take(&r->deadlines, now_ns - 1)) != NULL)
        d->on_due(d);
}

int reactor_check(const struct reactor *r, bool blocks)
{
    if (r->pid != getpid())
        return ARB_FORKED;
    return blocks && r->depth > 0 ? ARB_BUSY : 0;
}

int reactor_run(struct reactor *r, uint64_t until_ns)
{
    int n;

    if (r->depth == 0 && until_ns > r->now_ns)
        r->now_ns = clock_mono_ns();
    n = reactor_wait(r, MIN(until_ns, deadlines_next(&r->deadlines)));
    if (n < 0 && errno != EINTR)
        return -errno;
    r->is_kicked = false;
    reactor_enter(r);
    r->n_events = MAX(n, 0);
    for (int i = 0; i < r->n_events; i++) {
        struct reactor_io *io = r->events[i].data.ptr;

        if (io)
            io->on_ready(io, r->events[i].events);
    }
    r->n_events = 0;
    fire_deadlines(r);
    return reactor_leave(r) ? 0 : -ENODEV;
}
