/*
 * Connecting with a deadline: a connector on a reactor of its own.
 */
#include "client/dial.h"

#include <errno.h>

#include "base/clock.h"
#include "base/util.h"
#include "client/connector.h"

struct dialled {
    bool is_done;
    int outcome, fd;
};

static void on_dialled(struct connector *c, int status, int fd, int address)
{
    struct dialled *d = connector_userdata(c);

    (void)address;
    *d = (struct dialled){true, status, fd};
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

int dial(const struct addr *a, arb_resolver *resolver, uint64_t deadline_ns, int *ret_fd)
{
    struct dialled d = {.fd = -1};
    struct addresses to;
    struct connector *c;
    struct reactor r;
    int rc = addresses_find(a, resolver, NULL, deadline_ns, &to);

    if (rc)
        return rc;
    reactor_init(&r, NULL, on_turn);
    c = connector_new(&r, &to, 0, on_dialled, &d);
    if (c) {
        connector_start(c);
        rc = wait_for(&r, &d, deadline_ns);
    }
    connector_free(c);
    reactor_fini(&r);
    if (!c)
        return CALL_NO_MEMORY;
    if (rc == 0)
        *ret_fd = d.fd;
    return rc;
}
