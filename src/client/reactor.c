/*
 * One set of watches, two drivers. The arrays for poll are always kept; libev's watchers only with
 * a loop. Either driver may find that the other has already done the work: everything is
 * non-blocking.
 */
#include "client/reactor.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/util.h"

static void on_ev_io(struct ev_loop *loop, struct ev_io *ev, int revents)
{
    struct reactor_io *io = container_of(ev, struct reactor_io, ev);
    struct reactor *r = io->reactor;

    (void)loop;
    (void)revents;
    reactor_enter(r);
    io->on_ready(io);
    reactor_leave(r);
}

static void fire_deadlines(struct reactor *r)
{
    uint64_t now = clock_mono_ns();
    struct deadline *d;

    while ((d = deadlines_take(&r->deadlines, now)) != NULL)
        d->on_due(d);
}

static void on_ev_timer(struct ev_loop *loop, struct ev_timer *timer, int revents)
{
    struct reactor *r = container_of(timer, struct reactor, timer);

    (void)loop;
    (void)revents;
    r->timer_ns = DEADLINE_NEVER;
    r->is_kicked = false;
    reactor_enter(r);
    fire_deadlines(r);
    reactor_leave(r);
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

void reactor_init(struct reactor *r, struct ev_loop *loop, bool (*on_turn)(struct reactor *r))
{
    *r = (struct reactor){.loop = loop, .timer_ns = DEADLINE_NEVER, .on_turn = on_turn};
    ev_timer_init(&r->timer, on_ev_timer, 0., 0.);
}

void reactor_fini(struct reactor *r)
{
    if (r->loop)
        ev_timer_stop(r->loop, &r->timer);
    free(r->polls);
    free(r->ios);
    r->polls = NULL;
    r->ios = NULL;
}

static int grow(struct reactor *r)
{
    unsigned capacity = r->capacity ? r->capacity * 2 : 8;
    void *polls = realloc(r->polls, capacity * sizeof(*r->polls));
    void *ios;

    if (!polls)
        return -ENOMEM;
    r->polls = polls;
    ios = realloc(r->ios, capacity * sizeof(struct reactor_io *));
    if (!ios)
        return -ENOMEM;
    r->ios = ios;
    r->capacity = capacity;
    return 0;
}

/* The loop counts references for what keeps it running; a background watcher gives its own back. */
static void ev_start(struct reactor_io *io)
{
    struct ev_loop *loop = io->reactor->loop;

    if (!loop)
        return;
    ev_io_set(&io->ev, io->fd,
              (io->events & POLLIN ? EV_READ : 0) | (io->events & POLLOUT ? EV_WRITE : 0));
    ev_io_start(loop, &io->ev);
    if (io->is_background)
        ev_unref(loop);
}

static void ev_stop(struct reactor_io *io)
{
    struct ev_loop *loop = io->reactor->loop;

    if (!loop)
        return;
    if (io->is_background)
        ev_ref(loop);
    ev_io_stop(loop, &io->ev);
}

int reactor_watch(struct reactor *r, struct reactor_io *io, int fd, short events)
{
    int rc = r->n == r->capacity ? grow(r) : 0;

    if (rc)
        return rc;
    io->reactor = r;
    io->fd = fd;
    io->events = events;
    io->is_background = false;
    io->index = r->n++;
    list_init(&io->ready);
    r->ios[io->index] = io;
    r->polls[io->index] = (struct pollfd){.fd = fd, .events = events};
    ev_io_init(&io->ev, on_ev_io, fd, 0);
    ev_start(io);
    return 0;
}

void reactor_unwatch(struct reactor_io *io)
{
    struct reactor *r = io->reactor;
    unsigned last;

    if (io->fd < 0)
        return;
    last = r->n - 1;
    ev_stop(io);
    list_remove(&io->ready);
    r->polls[io->index] = r->polls[last];
    r->ios[io->index] = r->ios[last];
    r->ios[io->index]->index = io->index;
    r->n = last;
    io->fd = -1;
}

void reactor_set_events(struct reactor_io *io, short events)
{
    if (io->fd < 0 || io->events == events)
        return;
    ev_stop(io);
    io->events = events;
    io->reactor->polls[io->index].events = events;
    ev_start(io);
}

void reactor_set_background(struct reactor_io *io, bool is_background)
{
    if (io->fd < 0 || io->is_background == is_background)
        return;
    io->is_background = is_background;
    if (!io->reactor->loop)
        return;
    if (is_background)
        ev_unref(io->reactor->loop);
    else
        ev_ref(io->reactor->loop);
}

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
        if (!r->on_turn(r))
            return false;
        set_timer(r);
    }
    r->depth--;
    return true;
}

/* Collected first: what is called may watch and unwatch others. */
static void fire_ready(struct reactor *r)
{
    struct list ready;

    list_init(&ready);
    for (unsigned i = 0; i < r->n; i++)
        if (r->polls[i].revents)
            list_append(&ready, &r->ios[i]->ready);
    while (!list_is_empty(&ready)) {
        struct reactor_io *io = container_of(ready.next, struct reactor_io, ready);

        list_remove(&io->ready);
        io->on_ready(io);
    }
}

int reactor_run(struct reactor *r, uint64_t until_ns)
{
    uint64_t at = MIN(deadlines_next(&r->deadlines), until_ns);
    uint64_t now = at == DEADLINE_NEVER || r->is_kicked ? 0 : clock_mono_ns();
    uint64_t wait_ns = r->is_kicked || at <= now ? 0 : at - now;
    struct timespec wait = {.tv_sec = (time_t)(wait_ns / 1000000000u),
                            .tv_nsec = (long)(wait_ns % 1000000000u)};
    bool is_endless = at == DEADLINE_NEVER && !r->is_kicked;
    int rc = ppoll(r->polls, r->n, is_endless ? NULL : &wait, NULL);

    if (rc < 0 && errno != EINTR)
        return -errno;
    r->is_kicked = false;
    reactor_enter(r);
    if (rc > 0)
        fire_ready(r);
    fire_deadlines(r);
    return reactor_leave(r) ? 0 : -ENODEV;
}
