/*
 * Connecting with a deadline: a connector on a reactor of its own.
 */
#include "client/dial.h"

#include <errno.h>
#include <string.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"
#include "client/connector.h"

struct dialled {
    struct reactor_io stop;
    bool is_done;
    int outcome, fd, address;
};

static void on_dialled(struct connector *c, int status, int fd, int address)
{
    struct dialled *d = connector_userdata(c);

    d->is_done = true;
    d->outcome = status;
    d->fd = fd;
    d->address = address;
}

static void on_stop(struct reactor_io *io)
{
    struct dialled *d = container_of(io, struct dialled, stop);

    if (d->is_done)
        return;
    d->is_done = true;
    d->outcome = CALL_CANCELLED;
}

static bool on_turn(struct reactor *r)
{
    (void)r;
    return true;
}

static int wait_for(struct reactor *r, const struct dialled *d, uint64_t deadline_ns)
{
    while (!d->is_done) {
        int rc = reactor_run(r, deadline_ns);

        if (rc < 0)
            return rc;
        if (!d->is_done && clock_mono_ns() >= deadline_ns)
            return CALL_TIMEOUT;
    }
    return d->outcome;
}

int dial_to(const struct addresses *to, int *address, int stop_fd, uint64_t deadline_ns,
            int *ret_fd)
{
    struct dialled d = {.stop = {.fd = -1, .on_ready = on_stop}, .fd = -1};
    struct connector *c;
    struct reactor r;
    int rc = CALL_NO_MEMORY;

    reactor_init(&r, NULL, on_turn);
    c = connector_new(&r, to, *address, NULL, on_dialled, &d);
    if (c && (stop_fd < 0 || reactor_watch(&r, &d.stop, stop_fd, POLLIN) == 0)) {
        connector_start(c);
        rc = wait_for(&r, &d, deadline_ns);
    }
    if (d.stop.fd >= 0)
        reactor_unwatch(&d.stop);
    connector_free(c);
    reactor_fini(&r);
    if (rc)
        return rc;
    *ret_fd = d.fd;
    *address = d.address;
    return 0;
}

int dial_prefer(struct addresses *to, uint64_t deadline_ns)
{
    struct arb_address first;
    int address = 0, fd = -1, rc;

    if (to->n == 1)
        return 0;
    rc = dial_to(to, &address, -1, deadline_ns, &fd);
    if (rc)
        return rc;
    fds_close(&fd);
    first = to->all[address];
    memmove(&to->all[1], &to->all[0], (size_t)address * sizeof(first));
    to->all[0] = first;
    return 0;
}

int dial(const struct addr *a, arb_resolver *resolver, uint64_t deadline_ns, int *ret_fd)
{
    struct addresses to;
    int address = 0, rc = addresses_find(a, resolver, NULL, deadline_ns, &to);

    return rc ? rc : dial_to(&to, &address, -1, deadline_ns, ret_fd);
}
