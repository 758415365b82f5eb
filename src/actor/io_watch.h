/*
 * What an ev_io waits for, changed: libev wants it stopped meanwhile.
 */
#ifndef ACTOR_IO_WATCH_H
#define ACTOR_IO_WATCH_H

#include <ev.h>

/* io_watch - @io, which has been initialised, waits for @events of @fd from now on; 0 = for none */
static inline void io_watch(struct ev_loop *loop, ev_io *io, int fd, int events)
{
    ev_io_stop(loop, io);
    ev_io_set(io, fd, events);
    if (events)
        ev_io_start(loop, io);
}

#endif
