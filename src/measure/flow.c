/*
 * Lanes on an epoll: one descriptor and two deadlines each.
 */
#include "measure/flow.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"
#include "client/connector.h"

enum { READ_BUFFER_BYTES = 1 << 20, READ_ALIGNMENT = 4096, RETRY_MS = 10, MS_NS = 1000000 };

int flow_init(struct flow *f, const struct flow_ops *ops, const struct addresses *to,
              uint64_t connect_ms)
{
    *f = (struct flow){.ops = ops, .to = *to, .connect_ms = connect_ms, .now_ns = clock_mono_ns()};
    f->ep = epoll_create1(EPOLL_CLOEXEC);
    if (f->ep < 0)
        return -errno;
    f->read_buffer = aligned_alloc(READ_ALIGNMENT, READ_BUFFER_BYTES);
    if (f->read_buffer)
        return 0;
    flow_fini(f);
    return -ENOMEM;
}

void flow_fini(struct flow *f)
{
    if (f->ops)
        fds_close(&f->ep);
    free(f->read_buffer);
    *f = (struct flow){0};
}

/* ---- time ---- */

static void set_after_ms(struct lane *l, struct deadline *d, uint64_t ms)
{
    uint64_t now_ns = l->flow->now_ns;
    bool is_endless = ms > (DEADLINE_NEVER - now_ns) / MS_NS;

    deadlines_set(&l->flow->deadlines, d, is_endless ? DEADLINE_NEVER : now_ns + ms * MS_NS);
}

static void set_limit(struct lane *l, uint64_t ms)
{
    set_after_ms(l, &l->limit, ms ? ms : UINT64_MAX);
}

void lane_wake_at(struct lane *l, uint64_t at_ns)
{
    deadlines_set(&l->flow->deadlines, &l->due, at_ns);
}

void lane_wake_in(struct lane *l, uint64_t ms)
{
    set_after_ms(l, &l->due, ms);
}

void lane_rest(struct lane *l)
{
    deadlines_unset(&l->flow->deadlines, &l->due);
}

void lane_set_patience(struct lane *l, uint64_t ms)
{
    l->patience_ms = ms;
    if (!lane_is_open(l))
        return;
    l->moved_ns = l->flow->now_ns;
    set_limit(l, ms);
}

/* ---- connections ---- */

static void lane_watch(struct lane *l, int op, bool wants_room)
{
    struct epoll_event e = {.events = EPOLLIN | (wants_room ? EPOLLOUT : 0u), .data.ptr = l};

    l->wants_room = wants_room;
    epoll_ctl(l->flow->ep, op, l->fd, &e);
}

static void lane_connected(struct lane *l)
{
    l->is_connecting = l->is_shut = l->is_deaf = l->is_reset = false;
    lane_set_patience(l, l->patience_ms);
    l->flow->ops->on_connected(l);
}

/* Returns as connect_begin. */
static int connect_address(struct lane *l)
{
    struct flow *f = l->flow;
    const struct arb_address *to = &f->to.all[l->address];
    int rc = connect_begin(to, f->from, &l->fd);

    if (rc == 0 || rc == OUTCOME_PENDING) {
        lane_watch(l, EPOLL_CTL_ADD, true);
        set_limit(l, f->connect_ms);
    } else if (rc == -EAGAIN && to->sa.ss_family == AF_UNIX) {
        /* The accept queue is full, and nothing tells when there is room. */
        if (f->connect_ms && f->now_ns - l->moved_ns >= f->connect_ms * MS_NS)
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
    l->moved_ns = l->flow->now_ns;
    l->is_connecting = true;
    l->address = l->flow->preferred;
    l->n_untried = l->flow->to.n;
    connect_next(l, 0);
}

static void connect_failed(struct lane *l, int outcome)
{
    fds_close(&l->fd);
    l->n_untried--;
    l->address = (l->address + 1) % l->flow->to.n;
    connect_next(l, outcome);
}

static void finish_connect(struct lane *l, bool has_error)
{
    int rc = connect_finish(l->fd, &l->flow->to.all[l->address], has_error);

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
    deadlines_unset(&l->flow->deadlines, &l->limit);
    fds_close(&l->fd);
}

/* Bytes that move leave the deadline where it is: it is only looked at when it has come. */
static void on_limit(struct deadline *d)
{
    struct lane *l = container_of(d, struct lane, limit);
    uint64_t silent_ms = (l->flow->now_ns - l->moved_ns) / MS_NS;

    if (l->is_connecting && l->fd < 0) {
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

void lane_init(struct lane *l, struct flow *f)
{
    *l = (struct lane){.flow = f, .fd = -1, .due.on_due = on_due, .limit.on_due = on_limit};
}

/* ---- bytes ---- */

static void lane_read(struct lane *l)
{
    struct flow *f = l->flow;
    ssize_t n = recv(l->fd, f->read_buffer, READ_BUFFER_BYTES, 0);

    if (n > 0) {
        f->now_ns = l->moved_ns = clock_mono_ns();
        f->ops->on_data(l, f->read_buffer, (size_t)n);
    } else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        f->ops->on_over(l, n < 0 || l->is_reset);
    }
}

static void on_event(struct lane *l, uint32_t events)
{
    bool has_room = events & EPOLLOUT;

    if (l->is_connecting) {
        finish_connect(l, events & (EPOLLERR | EPOLLHUP));
        return;
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        lane_read(l);
    if (lane_is_open(l) && (has_room || !l->wants_room))
        l->flow->ops->on_room(l);
}

ssize_t lane_send(struct lane *l, const void *data, size_t len)
{
    ssize_t n;

    if (l->is_deaf)
        return 0;
    do {
        n = send(l->fd, data, len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
        l->moved_ns = l->flow->now_ns;
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
    if (l->wants_room != is_wanted)
        lane_watch(l, EPOLL_CTL_MOD, is_wanted);
}

void lane_shut(struct lane *l)
{
    l->is_shut = true;
    shutdown(l->fd, SHUT_WR);
}

/* ---- turns ---- */

/* Whole milliseconds are slept by epoll, the rest of one by ppoll. */
static int flow_wait(struct flow *f, uint64_t at_ns)
{
    uint64_t left_ns = at_ns > f->now_ns ? at_ns - f->now_ns : 0;
    struct timespec rest = {.tv_nsec = (long)left_ns};
    struct pollfd p = {.fd = f->ep, .events = POLLIN};
    int ms = at_ns == DEADLINE_NEVER ? -1 : (int)MIN(left_ns / MS_NS, (uint64_t)INT32_MAX);

    if (ms == 0 && left_ns > 0)
        ppoll(&p, 1, &rest, NULL);
    return epoll_wait(f->ep, f->events, FLOW_EVENTS, ms);
}

void flow_turn(struct flow *f, uint64_t until_ns)
{
    struct deadline *d;
    uint64_t now_ns;
    int n = flow_wait(f, MIN(until_ns, deadlines_next(&f->deadlines)));

    for (int i = 0; i < n; i++)
        on_event(f->events[i].data.ptr, f->events[i].events);
    f->now_ns = now_ns = clock_mono_ns();
    /* What is set from now on has its turn after the next events. */
    while ((d = deadlines_take(&f->deadlines, now_ns - 1)) != NULL)
        d->on_due(d);
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

static bool on_turn(struct reactor *r)
{
    (void)r;
    return true;
}

/* Which of @all answers first; 0 if none does in time. */
static int find_first(const struct addresses *all, uint64_t deadline_ns)
{
    struct first first = {.address = -1};
    struct reactor reactor;
    struct connector *c;

    reactor_init(&reactor, NULL, on_turn);
    c = connector_new(&reactor, all, 0, NULL, on_first, &first);
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
