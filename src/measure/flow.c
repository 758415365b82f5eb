/*
 * Lanes on a reactor: a connector while a lane connects, then one descriptor and two deadlines.
 */
#include "measure/flow.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"

enum { FLOW_READ_BYTES = 65536 };

static bool on_turn(struct reactor *r)
{
    (void)r;
    return true;
}

int flow_init(struct flow *f, struct ev_loop *loop, const struct flow_ops *ops,
              const struct addresses *to, uint64_t connect_ms)
{
    *f = (struct flow){.ops = ops, .to = *to, .connect_ms = connect_ms};
    f->read_buffer = malloc(FLOW_READ_BYTES);
    if (!f->read_buffer)
        return -ENOMEM;
    reactor_init(&f->reactor, loop, on_turn);
    return 0;
}

void flow_fini(struct flow *f)
{
    if (f->read_buffer)
        reactor_fini(&f->reactor);
    free(f->read_buffer);
    f->read_buffer = NULL;
}

void flow_enter(struct flow *f)
{
    reactor_enter(&f->reactor);
}

void flow_leave(struct flow *f)
{
    reactor_leave(&f->reactor);
}

/* ---- time ---- */

static void on_due(struct deadline *d)
{
    struct lane *l = container_of(d, struct lane, due);

    l->flow->ops->on_due(l);
}

/* Bytes that move leave the deadline where it is: it is only looked at when it has come. */
static void on_limit(struct deadline *d)
{
    struct lane *l = container_of(d, struct lane, limit);
    uint64_t now_ns = clock_mono_ns(), until_ns = l->moved_ns + l->patience_ms * 1000000;

    if (l->connector) {
        lane_close(l);
        l->flow->ops->on_unconnected(l, ARB_TIMEOUT);
        return;
    }
    deadlines_set(&l->flow->reactor.deadlines, &l->limit,
                  until_ns > now_ns ? until_ns : deadline_after_ms(l->patience_ms));
    if (until_ns <= now_ns)
        l->flow->ops->on_silent(l);
}

void lane_wake_in(struct lane *l, uint64_t ms)
{
    deadlines_set(&l->flow->reactor.deadlines, &l->due, clock_mono_ns() + ms * 1000000);
}

void lane_rest(struct lane *l)
{
    deadlines_unset(&l->flow->reactor.deadlines, &l->due);
}

void lane_set_patience(struct lane *l, uint64_t ms)
{
    l->patience_ms = ms;
    if (!lane_is_open(l))
        return;
    l->moved_ns = clock_mono_ns();
    deadlines_set(&l->flow->reactor.deadlines, &l->limit, deadline_after_ms(ms));
}

/* ---- connections ---- */

static void on_ready(struct reactor_io *io)
{
    struct lane *l = container_of(io, struct lane, io);
    const struct flow_ops *ops = l->flow->ops;
    ssize_t n = recv(io->fd, l->flow->read_buffer, FLOW_READ_BYTES, 0);

    if (n > 0) {
        l->moved_ns = clock_mono_ns();
        ops->on_data(l, l->flow->read_buffer, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        ops->on_over(l, n < 0 || l->is_reset);
        return;
    }
    if (lane_is_open(l))
        ops->on_room(l);
}

void lane_init(struct lane *l, struct flow *f)
{
    *l = (struct lane){
        .flow = f,
        .io = {.fd = -1, .on_ready = on_ready},
        .due.on_due = on_due,
        .limit.on_due = on_limit,
    };
}

static void on_done(struct connector *c, int status, int fd, int address)
{
    struct lane *l = connector_userdata(c);
    struct flow *f = l->flow;

    connector_free(c);
    l->connector = NULL;
    deadlines_unset(&f->reactor.deadlines, &l->limit);
    if (status == 0 && reactor_watch(&f->reactor, &l->io, fd, POLLIN) < 0) {
        fds_close(&fd);
        status = ARB_NOMEM;
    }
    if (status) {
        f->ops->on_unconnected(l, status);
        return;
    }
    f->preferred = address;
    l->is_shut = l->is_deaf = l->is_reset = false;
    lane_set_patience(l, l->patience_ms);
    f->ops->on_connected(l);
}

void lane_connect(struct lane *l)
{
    struct flow *f = l->flow;

    l->moved_ns = clock_mono_ns();
    l->connector = connector_new(&f->reactor, &f->to, f->preferred, f->from, on_done, l);
    if (!l->connector) {
        f->ops->on_unconnected(l, ARB_NOMEM);
        return;
    }
    deadlines_set(&f->reactor.deadlines, &l->limit, deadline_after_ms(f->connect_ms));
    connector_start(l->connector);
}

void lane_close(struct lane *l)
{
    int fd = l->io.fd;

    connector_free(l->connector);
    l->connector = NULL;
    lane_rest(l);
    deadlines_unset(&l->flow->reactor.deadlines, &l->limit);
    reactor_unwatch(&l->io);
    fds_close(&fd);
}

/* ---- bytes out ---- */

ssize_t lane_send(struct lane *l, const void *data, size_t len)
{
    ssize_t n;

    if (l->is_deaf)
        return 0;
    do {
        n = send(l->io.fd, data, len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        l->moved_ns = clock_mono_ns();
        return n;
    }
    if (errno != EPIPE && errno != ECONNRESET)
        return errno == EAGAIN ? 0 : -errno;
    l->is_deaf = true; /* what has come for us is still to be read */
    l->is_reset = errno == ECONNRESET;
    return 0;
}

void lane_want_room(struct lane *l, bool is_wanted)
{
    reactor_set_events(&l->io, is_wanted ? POLLIN | POLLOUT : POLLIN);
}

void lane_shut(struct lane *l)
{
    l->is_shut = true;
    shutdown(l->io.fd, SHUT_WR);
}

/* ---- the first to answer ---- */

struct first {
    struct lane lane;
    bool is_done;
    int outcome;
};

static void on_first_connected(struct lane *l)
{
    container_of(l, struct first, lane)->is_done = true;
}

static void on_none_connected(struct lane *l, int outcome)
{
    struct first *first = container_of(l, struct first, lane);

    first->is_done = true;
    first->outcome = outcome;
}

static const struct flow_ops first_ops = {
    .on_connected = on_first_connected,
    .on_unconnected = on_none_connected,
};

int flow_prefer(struct addresses *to, uint64_t timeout_ms)
{
    struct first first = {.is_done = to->n == 1};
    struct flow f;
    int rc = flow_init(&f, NULL, &first_ops, to, timeout_ms);

    if (rc)
        return rc;
    lane_init(&first.lane, &f);
    flow_enter(&f);
    if (!first.is_done)
        lane_connect(&first.lane);
    flow_leave(&f);
    while (rc == 0 && !first.is_done)
        rc = reactor_run(&f.reactor, DEADLINE_NEVER);
    lane_close(&first.lane);
    for (int i = 0; i < to->n; i++)
        to->all[i] = f.to.all[(f.preferred + i) % to->n];
    flow_fini(&f);
    return rc ? rc : first.outcome;
}
