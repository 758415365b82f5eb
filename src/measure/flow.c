/*
 * Lanes on an epoll: one descriptor and two deadlines each.
 */
#include "measure/flow.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"
#include "client/connector.h"

enum { READ_BUFFER_BYTES = 1 << 20, READ_ALIGNMENT = 4096, RETRY_MS = 10, MS_NS = 1000000 };

int flow_init(struct flow *f, struct ev_loop *loop, const struct flow_ops *ops,
              const struct addresses *to, uint64_t connect_ms)
{
    int rc;

    *f = (struct flow){.ops = ops, .to = *to, .connect_ms = connect_ms};
    rc = reactor_init(&f->reactor, loop, NULL);
    if (rc)
        return rc;
    f->read_buffer = aligned_alloc(READ_ALIGNMENT, READ_BUFFER_BYTES);
    if (f->read_buffer)
        return 0;
    flow_fini(f);
    return -ENOMEM;
}

void flow_fini(struct flow *f)
{
    reactor_fini(&f->reactor);
    free(f->read_buffer);
    f->read_buffer = NULL;
}

/* ---- time ---- */

static void set_after_ms(struct lane *l, struct deadline *d, uint64_t ms)
{
    uint64_t now_ns = l->flow->reactor.now_ns;
    bool is_endless = ms > (DEADLINE_NEVER - now_ns) / MS_NS;

    deadlines_set(&l->flow->reactor.deadlines, d,
                  is_endless ? DEADLINE_NEVER : now_ns + ms * MS_NS);
}

static void set_limit(struct lane *l, uint64_t ms)
{
    set_after_ms(l, &l->limit, ms ? ms : UINT64_MAX);
}

void lane_wake_at(struct lane *l, uint64_t at_ns)
{
    deadlines_set(&l->flow->reactor.deadlines, &l->due, at_ns);
}

void lane_wake_in(struct lane *l, uint64_t ms)
{
    set_after_ms(l, &l->due, ms);
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
    l->moved_ns = l->flow->reactor.now_ns;
    set_limit(l, ms);
}

/* ---- connections ---- */

static void lane_connected(struct lane *l)
{
    l->is_connecting = l->is_shut = l->is_deaf = l->is_reset = false;
    lane_set_patience(l, l->patience_ms);
    l->flow->ops->on_connected(l);
}

static void lane_hang_up(struct lane *l)
{
    int fd = l->io.fd;

    fds_close(&fd);
    reactor_forget(&l->io);
}

/* Returns as connect_begin. */
static int connect_address(struct lane *l)
{
    struct flow *f = l->flow;
    const struct arb_address *to = &f->to.all[l->address];
    int fd, rc = connect_begin(to, f->from, &fd);

    if (rc == 0 || rc == OUTCOME_PENDING) {
        if (reactor_watch(&f->reactor, &l->io, fd, true) < 0) {
            close(fd);
            return ARB_NOMEM;
        }
        set_limit(l, f->connect_ms);
    } else if (rc == -EAGAIN && to->sa.ss_family == AF_UNIX) {
        /* The accept queue is full, and nothing tells when there is room. */
        if (f->connect_ms && f->reactor.now_ns - l->moved_ns >= f->connect_ms * MS_NS)
            return ARB_TIMEOUT;
        set_limit(l, RETRY_MS);
        return OUTCOME_PENDING;
    }
    return rc;
}

/* The addresses that are left, until one is on its way. @outcome: of the one before */
static void connect_next(struct lane *l, int outcome)
{
    while (l->n_untried > 0) {
        outcome = connect_address(l);
        if (outcome == 0)
            lane_connected(l);
        if (outcome == 0 || outcome == OUTCOME_PENDING)
            return;
        l->n_untried--;
        l->address = (l->address + 1) % l->flow->to.n;
    }
    lane_close(l);
    l->flow->ops->on_unconnected(l, outcome);
}

void lane_connect(struct lane *l)
{
    l->moved_ns = l->flow->reactor.now_ns;
    l->is_connecting = true;
    l->address = l->flow->preferred;
    l->n_untried = l->flow->to.n;
    connect_next(l, 0);
}

static void connect_failed(struct lane *l, int outcome)
{
    lane_hang_up(l);
    l->n_untried--;
    l->address = (l->address + 1) % l->flow->to.n;
    connect_next(l, outcome);
}

static void finish_connect(struct lane *l, bool has_error)
{
    int rc = connect_finish(l->io.fd, &l->flow->to.all[l->address], has_error);

    if (rc) {
        connect_failed(l, rc);
        return;
    }
    l->flow->preferred = l->address;
    lane_connected(l);
}

void lane_close(struct lane *l)
{
    l->is_connecting = false;
    lane_rest(l);
    deadlines_unset(&l->flow->reactor.deadlines, &l->limit);
    lane_hang_up(l);
}

/* Bytes that move leave the deadline where it is: it is only looked at when it has come. */
static void on_limit(struct deadline *d)
{
    struct lane *l = container_of(d, struct lane, limit);
    uint64_t silent_ms = (l->flow->reactor.now_ns - l->moved_ns) / MS_NS;

    if (l->is_connecting && l->io.fd < 0) {
        connect_next(l, ARB_TIMEOUT);
    } else if (l->is_connecting) {
        connect_failed(l, ARB_TIMEOUT);
    } else if (silent_ms < l->patience_ms) {
        set_limit(l, l->patience_ms - silent_ms);
    } else {
        set_limit(l, l->patience_ms);
        l->flow->ops->on_silent(l);
    }
}

static void on_due(struct deadline *d)
{
    struct lane *l = container_of(d, struct lane, due);

    l->flow->ops->on_due(l);
}

/* ---- bytes ---- */

static void lane_read(struct lane *l)
{
    struct flow *f = l->flow;
    ssize_t n = recv(l->io.fd, f->read_buffer, READ_BUFFER_BYTES, 0);

    if (n > 0) {
        f->reactor.now_ns = l->moved_ns = clock_mono_ns();
        f->ops->on_data(l, f->read_buffer, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        f->ops->on_over(l, n < 0 || l->is_reset);
    }
}

static void on_ready(struct reactor_io *io, uint32_t events)
{
    struct lane *l = container_of(io, struct lane, io);
    bool has_room = events & EPOLLOUT;

    if (l->is_connecting) {
        finish_connect(l, events & (EPOLLERR | EPOLLHUP));
        return;
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        lane_read(l);
    if (lane_is_open(l) && (has_room || !l->io.wants_room))
        l->flow->ops->on_room(l);
}

ssize_t lane_send(struct lane *l, const void *data, size_t len)
{
    ssize_t n;

    if (l->is_deaf)
        return 0;
    do {
        n = send(l->io.fd, data, len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        l->moved_ns = l->flow->reactor.now_ns;
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
    reactor_want_room(&l->io, is_wanted);
}

void lane_shut(struct lane *l)
{
    l->is_shut = true;
    shutdown(l->io.fd, SHUT_WR);
}

void lane_init(struct lane *l, struct flow *f)
{
    *l = (struct lane){.flow = f,
                       .io = {.fd = -1, .on_ready = on_ready},
                       .due.on_due = on_due,
                       .limit.on_due = on_limit};
}

void flow_turn(struct flow *f, uint64_t until_ns)
{
    reactor_run(&f->reactor, until_ns);
}

/* ---- which address ---- */

struct first {
    bool is_done;
    int address; /* that answered first; -1 = none */
};

static void on_first(struct connector *c, int status, int fd, int address)
{
    struct first *first = connector_userdata(c);

    (void)status;
    fds_close(&fd);
    *first = (struct first){.is_done = true, .address = address};
}

/* Which of @all answers first; 0 if none does in time. */
static int find_first(const struct addresses *all, uint64_t deadline_ns)
{
    struct first first = {.address = -1};
    struct reactor reactor;
    struct connector *c;

    if (reactor_init(&reactor, NULL, NULL) < 0)
        return 0;
    c = connector_new(&reactor, all, 0, on_first, &first);
    if (c)
        connector_start(c);
    while (c && !first.is_done && clock_mono_ns() < deadline_ns)
        if (reactor_run(&reactor, deadline_ns) < 0)
            break;
    connector_free(c);
    reactor_fini(&reactor);
    return MAX(first.address, 0);
}

int flow_find(const struct addr *a, uint64_t timeout_ms, struct addresses *ret)
{
    uint64_t deadline_ns = deadline_after_ms(timeout_ms);
    struct addresses all;
    int rc = addresses_find(a, NULL, NULL, deadline_ns, &all), first;

    if (rc)
        return rc;
    first = all.n > 1 ? find_first(&all, deadline_ns) : 0;
    for (int i = 0; i < all.n; i++)
        ret->all[i] = all.all[(first + i) % all.n];
    ret->n = all.n;
    return 0;
}
