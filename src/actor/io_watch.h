/*
 * What an ev_io waits for, changed: libev wants it stopped meanwhile.
 */
#ifndef ACTOR_IO_WATCH_H
#define ACTOR_IO_WATCH_H

#include <ev.h>

/* io_watch - @io, which has been initialised, waits for @events of @fd from now on; 0 = for none
 * What is as it was stays, with an event that is pending. */
static inline void io_watch(struct ev_loop *loop, ev_io *io, int fd, int events)
{
    if (io->fd == fd && (io->events & (EV_READ | EV_WRITE)) == events &&
        !ev_is_active(io) == !events)
        return;
    ev_io_stop(loop, io);
    ev_io_set(io, fd, events);
    if (events)
        ev_io_start(loop, io);
}

#endif
