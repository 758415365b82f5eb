/*
 * Connecting with a deadline: a connector on a reactor of its own.
 */
#include "client/dial.h"

#include <errno.h>

#include "base/clock.h"
#include "base/util.h"
#include "client/connector.h"

/* Who is asked, and until when; an arb_resolver's userdata. */
struct question {
    dial_resolver *resolver;
    uint64_t deadline_ns;
};

struct dialled {
    bool is_done;
    int outcome, fd;
};

static int ask(void *userdata, const char *host, unsigned short port, struct arb_address *ret,
               int max)
{
    const struct question *q = userdata;

    if (q->resolver)
        return q->resolver(host, port, ret, max);
    return dial_resolve(host, port, q->deadline_ns, ret, max);
}

int dial_addresses(const struct addr *a, dial_resolver *resolver, uint64_t deadline_ns,
                   struct addresses *ret)
{
    struct question q = {resolver, deadline_ns};

    return addresses_find(a, ask, &q, ret);
}

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

int dial(const struct addr *a, dial_resolver *resolver, uint64_t deadline_ns, int *ret_fd)
{
    struct dialled d = {.fd = -1};
    struct addresses to;
    struct connector *c;
    struct reactor r;
    int rc = dial_addresses(a, resolver, deadline_ns, &to);

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
