/*
 * Staggered attempts, side by side.
 */
#include "client/connector.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"
#include "client/connect.h"

struct attempt {
    struct reactor_io io;
    struct connector *connector;
    struct arb_address to;
    int fd; /* owned; -1 = not begun, or ended */
};

struct connector {
    struct reactor *reactor;
    struct deadline stagger; /* when the next one is tried */
    connector_handler *on_done;
    void *userdata;
    int first; /* attempt 0 goes to this address of the list */
    int n, n_tried, n_open;
    int status; /* of the attempt that failed last */
    struct attempt attempts[];
};

static void on_stagger(struct deadline *d);

struct connector *connector_new(struct reactor *r, const struct addresses *to, int first,
                                connector_handler *on_done, void *userdata)
{
    struct connector *c = calloc(1, sizeof(*c) + (size_t)to->n * sizeof(c->attempts[0]));

    if (!c)
        return NULL;
    c->reactor = r;
    c->first = first;
    c->n = to->n;
    c->on_done = on_done;
    c->userdata = userdata;
    c->stagger.on_due = on_stagger;
    for (int i = 0; i < c->n; i++)
        c->attempts[i] = (struct attempt){
            .connector = c, .fd = -1, .io.fd = -1, .to = to->all[(first + i) % c->n]};
    return c;
}

static void attempt_end(struct attempt *a)
{
    if (a->fd < 0)
        return;
    reactor_unwatch(&a->io);
    fds_close(&a->fd);
    a->connector->n_open--;
}

static void stop(struct connector *c)
{
    deadlines_unset(&c->reactor->deadlines, &c->stagger);
    for (int i = 0; i < c->n; i++)
        attempt_end(&c->attempts[i]);
}

void connector_free(struct connector *c)
{
    if (c)
        stop(c);
    free(c);
}

void *connector_userdata(const struct connector *c)
{
    return c->userdata;
}

static void succeed(struct connector *c, int attempt)
{
    struct attempt *a = &c->attempts[attempt];
    int fd = a->fd;

    reactor_unwatch(&a->io);
    a->fd = -1;
    c->n_open--;
    stop(c);
    c->on_done(c, ARB_OK, fd, (c->first + attempt) % c->n);
}

static void try_next(struct connector *c);

static void on_attempt(struct reactor_io *io, uint32_t events)
{
    struct attempt *a = container_of(io, struct attempt, io);
    struct connector *c = a->connector;
    int rc = connect_finish(a->fd, &a->to, events & (EPOLLERR | EPOLLHUP));

    if (rc == 0) {
        succeed(c, (int)(a - c->attempts));
        return;
    }
    c->status = rc;
    attempt_end(a);
    try_next(c);
}

/* Returns as connect_begin. */
static int attempt_begin(struct attempt *a)
{
    struct connector *c = a->connector;
    int rc = connect_begin(&a->to, NULL, &a->fd);

    if (rc != 0 && rc != OUTCOME_PENDING)
        return rc;
    c->n_open++;
    a->io.on_ready = on_attempt;
    if (reactor_watch(c->reactor, &a->io, a->fd, true) < 0) {
        attempt_end(a);
        return ARB_NOMEM;
    }
    return rc;
}

static void try_again_in(struct connector *c, unsigned ms)
{
    deadlines_set(&c->reactor->deadlines, &c->stagger, clock_mono_ns() + ms * UINT64_C(1000000));
}

static void try_next(struct connector *c)
{
    deadlines_unset(&c->reactor->deadlines, &c->stagger);
    while (c->n_tried < c->n) {
        struct attempt *a = &c->attempts[c->n_tried++];
        int rc = attempt_begin(a);

        if (rc == 0) {
            succeed(c, (int)(a - c->attempts));
            return;
        }
        if (rc == OUTCOME_PENDING) {
            if (c->n_tried < c->n)
                try_again_in(c, CONNECTOR_STAGGER_MS);
            return;
        }
        /* A unix socket whose accept queue is full: nothing tells when there is room. */
        if (rc == -EAGAIN && a->to.sa.ss_family == AF_UNIX) {
            c->n_tried--;
            try_again_in(c, CONNECTOR_RETRY_MS);
            return;
        }
        c->status = rc;
    }
    if (c->n_open == 0)
        c->on_done(c, c->status, -1, -1);
}

static void on_stagger(struct deadline *d)
{
    try_next(container_of(d, struct connector, stagger));
}

void connector_start(struct connector *c)
{
    try_next(c);
}
