/*
 * The loop of one thread: connect, write what is due, compare what comes, again.
 */
#include "measure/bench_load.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"

enum {
    EVENTS = 256,
    RETRY_MS = 50,
    LATE_NS = 1000000,
    DUE_A_TURN = 1 << 16,
    BACKLOG_MS = 1000,
};

#define MS UINT64_C(1000000)

static void link_push(struct bench_load *l, struct bench_link *k, uint64_t now_ns);

/* ---- the open loop: message k is due at start + k / rate, on link k % n ---- */

static uint64_t due_ns(const struct bench_load *l, uint64_t k)
{
    return l->start_ns + (uint64_t)((double)k * 1e9 / l->rate);
}

static bool has_next_due(const struct bench_load *l)
{
    return l->rate > 0 && !l->is_ending && (l->count == 0 || l->next_k < l->count);
}

/* Not all at once: behind a rate that cannot be reached, replies and the end must have their turn.
 */
static void take_due(struct bench_load *l, uint64_t now_ns)
{
    for (unsigned i = 0; i < DUE_A_TURN && has_next_due(l) && due_ns(l, l->next_k) <= now_ns; i++) {
        struct bench_link *k = &l->links[l->next_k++ % l->n_links];

        k->n_due++;
        l->n_open++;
        if (k->fd >= 0 && !k->is_connecting)
            link_push(l, k, now_ns);
    }
}

/* How many messages may begin now. */
static uint64_t room(const struct bench_load *l, const struct bench_link *k)
{
    const struct bench_options *o = l->options;
    uint64_t n = o->depth - k->outstanding;

    if (o->churn)
        n = MIN(n, o->churn - k->n_begun);
    if (l->rate > 0)
        return MIN(n, k->n_due);
    if (l->is_ending)
        return 0;
    return l->count ? MIN(n, l->count - l->n_begun) : n;
}

/* ---- connections ---- */

static void watch(struct bench_load *l, struct bench_link *k, int op, bool is_writing)
{
    struct epoll_event e = {.events = EPOLLIN | (is_writing ? EPOLLOUT : 0u), .data.ptr = k};

    k->is_writing = is_writing;
    if (epoll_ctl(l->ep, op, k->fd, &e) < 0)
        l->error = -errno;
}

static void link_close(struct bench_link *k, uint64_t retry_ns)
{
    fds_close(&k->fd);
    k->send_at = k->begin = k->due = 0;
    k->base = k->wanted = k->received = k->unsent = k->n_begun = 0;
    k->outstanding = 0;
    k->is_connecting = k->is_replacing = false;
    k->retry_ns = retry_ns;
}

static void not_connected(struct bench_load *l, struct bench_link *k, int outcome)
{
    link_close(k, clock_mono_ns() + RETRY_MS * MS);
    if (outcome == -EAGAIN) /* a unix socket's accept queue is full */
        return;
    l->counts.refused++;
    l->last_failure = outcome;
    k->address = (k->address + 1) % (unsigned)l->options->to.n;
}

static void connected(struct bench_load *l, struct bench_link *k)
{
    uint64_t now_ns = clock_mono_ns();

    k->is_connecting = false;
    l->counts.connected++;
    l->n_window_connected += now_ns >= l->window_ns && now_ns <= l->end_ns;
    hist_add(&l->connects, now_ns - k->moved_ns, 1);
    k->moved_ns = k->free_ns = now_ns;
    link_push(l, k, now_ns);
}

static void link_connect(struct bench_load *l, struct bench_link *k)
{
    int rc;

    k->moved_ns = clock_mono_ns();
    rc = connect_begin(&l->options->to.all[k->address], &l->from, &k->fd);
    if (rc != 0 && rc != OUTCOME_PENDING) {
        not_connected(l, k, rc);
        return;
    }
    k->is_connecting = rc == OUTCOME_PENDING;
    watch(l, k, EPOLL_CTL_ADD, k->is_connecting);
    if (rc == 0)
        connected(l, k);
}

static void link_lost(struct bench_load *l, struct bench_link *k, uint64_t *counter)
{
    (*counter)++;
    l->counts.unfinished += k->outstanding;
    l->n_open -= k->outstanding;
    link_close(k, clock_mono_ns() + RETRY_MS * MS);
}

/* ---- messages ---- */

/* The oldest message that is due: its time began then. */
static uint64_t take_oldest(struct bench_load *l, struct bench_link *k, uint64_t now_ns)
{
    const uint64_t from_ns = due_ns(l, k->due_k);

    /* Late because of us, not because there was no room. */
    l->counts.late += now_ns > MAX(from_ns, k->free_ns) + LATE_NS;
    k->due_k += l->n_links;
    k->n_due--;
    return from_ns;
}

static void begin_messages(struct bench_load *l, struct bench_link *k, uint64_t now_ns)
{
    const struct bench_options *o = l->options;
    const uint64_t n = room(l, k);

    if (k->outstanding == 0)
        k->moved_ns = now_ns;
    for (uint64_t i = 0; i < n; i++) {
        const uint32_t *out = k->out->bounds + k->begin, *in = k->in->bounds + k->begin;

        k->began_ns[k->begin] = l->rate > 0 ? take_oldest(l, k, now_ns) : now_ns;
        k->unsent += out[1] - out[0];
        k->wanted += in[1] - in[0];
        k->begin = k->begin + 1 == o->depth ? 0 : k->begin + 1;
    }
    k->outstanding += (unsigned)n;
    k->n_begun += n;
    l->n_begun += n;
    l->n_open += l->rate > 0 ? 0 : n;
    k->is_replacing = o->churn && k->n_begun == o->churn;
}

/* All that is begun in one call, unless the cycle ends in between. */
static void link_push(struct bench_load *l, struct bench_link *k, uint64_t now_ns)
{
    begin_messages(l, k, now_ns);
    while (k->unsent > 0) {
        size_t len = MIN(k->unsent, (uint64_t)(k->out->len - k->send_at));
        ssize_t n = send(k->fd, k->out->bytes + k->send_at, len, MSG_NOSIGNAL);

        if (n < 0)
            break; /* what broke it, reading will tell */
        k->unsent -= (uint64_t)n;
        k->send_at += (uint32_t)n;
        if (k->send_at == k->out->len)
            k->send_at = 0;
        if ((size_t)n < len)
            break;
    }
    if ((k->unsent > 0) != k->is_writing)
        watch(l, k, EPOLL_CTL_MOD, k->unsent > 0);
}

static bool has_echo(const struct bench_link *k)
{
    return k->outstanding > 0 && k->received >= k->base + k->in->bounds[k->due + 1];
}

/* The messages that are whole now; those that began together count together. */
static void take_echoed(struct bench_load *l, struct bench_link *k, uint64_t now_ns)
{
    const uint32_t *bounds = k->in->bounds;

    while (has_echo(k)) {
        const uint64_t began_ns = k->began_ns[k->due];
        uint64_t n = 0, bytes = 0;

        do {
            bytes += bounds[k->due + 1] - bounds[k->due];
            n++;
            k->outstanding--;
            if (++k->due == l->options->depth) {
                k->due = 0;
                k->base += k->in->len;
            }
        } while (has_echo(k) && k->began_ns[k->due] == began_ns);
        if (began_ns >= l->window_ns) {
            hist_add(&l->latency, now_ns - began_ns, n);
            l->counts.messages += n;
            l->counts.bytes += bytes;
        }
        if (now_ns >= l->window_ns && now_ns <= l->end_ns) {
            l->n_window += n;
            l->n_window_bytes += bytes;
        }
        l->n_open -= n;
    }
    k->free_ns = k->moved_ns = l->last_ns = now_ns;
}

/* Is it what is wanted, and no more? At most one cycle is under way, so it ends once in between. */
static bool is_right(const struct bench_link *k, const uint8_t *data, size_t n)
{
    const struct bench_bytes *s = k->in;
    size_t at = (size_t)(k->received - k->base), part = MIN(n, s->len - at);

    return n <= k->wanted - k->received && memcmp(data, s->bytes + at, part) == 0 &&
           (part == n || memcmp(data + part, s->bytes, n - part) == 0);
}

static void link_read(struct bench_load *l, struct bench_link *k)
{
    ssize_t n = recv(k->fd, l->buffer, BENCH_BUFFER_BYTES, 0);
    uint64_t now_ns;

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        link_lost(l, k, n == 0 ? &l->counts.closed : &l->counts.reset);
        return;
    }
    if (!is_right(k, l->buffer, (size_t)n)) {
        link_lost(l, k, &l->counts.wrong);
        return;
    }
    now_ns = clock_mono_ns();
    k->received += (uint64_t)n;
    take_echoed(l, k, now_ns);
    if (k->is_replacing && k->outstanding == 0) {
        link_close(k, 0);
        link_connect(l, k);
    } else {
        link_push(l, k, now_ns);
    }
}

static void link_event(struct bench_load *l, struct bench_link *k, uint32_t events)
{
    int rc;

    if (k->is_connecting) {
        rc = connect_finish(k->fd);
        if (rc)
            not_connected(l, k, rc);
        else
            connected(l, k);
        return;
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
        link_read(l, k);
    else
        link_push(l, k, clock_mono_ns());
}

/* ---- the loop ---- */

static void sweep(struct bench_load *l, uint64_t now_ns)
{
    uint64_t timeout_ns = l->options->timeout_ms * MS;

    l->next_sweep_ns = now_ns + BENCH_TICK_MS * MS;
    if (l->on_tick)
        l->on_tick(l->on_tick_data);
    for (unsigned i = 0; i < l->n_links; i++) {
        struct bench_link *k = &l->links[i];
        bool is_late = timeout_ns && now_ns > k->moved_ns && now_ns - k->moved_ns >= timeout_ns;

        if (k->fd < 0 && now_ns >= k->retry_ns)
            link_connect(l, k);
        else if (k->fd >= 0 && k->is_connecting && is_late)
            not_connected(l, k, ARB_TIMEOUT);
        else if (k->fd >= 0 && k->outstanding > 0 && is_late)
            link_lost(l, k, &l->counts.timeout);
    }
}

/*
 * What is due or under way at the end is waited for, so that a stall at the end is not hidden; what
 * is due and could not begin only for a moment: it may be a backlog of any length.
 */
static void end(struct bench_load *l, uint64_t now_ns, uint64_t patience_ms)
{
    if (l->is_ending)
        return;
    l->is_ending = true;
    l->end_ns = MIN(l->end_ns, now_ns);
    l->deadline_ns = now_ns + (patience_ms ? patience_ms : 10000) * MS;
    l->backlog_ns = now_ns + BACKLOG_MS * MS;
}

static void drop_due(struct bench_load *l)
{
    for (unsigned i = 0; i < l->n_links; i++) {
        l->counts.unfinished += l->links[i].n_due;
        l->n_open -= l->links[i].n_due;
        l->links[i].n_due = 0;
    }
    l->backlog_ns = UINT64_MAX;
}

/* Who stops it has no patience: none at all if it is ending already. */
static void see_stop(struct bench_load *l, uint64_t now_ns)
{
    uint64_t patience_ms = l->is_ending ? 0 : BACKLOG_MS;

    if (l->has_seen_stop || !atomic_load_explicit(l->is_stopping, memory_order_relaxed))
        return;
    l->has_seen_stop = true;
    end(l, now_ns, l->options->timeout_ms);
    l->deadline_ns = MIN(l->deadline_ns, now_ns + patience_ms * MS);
}

static bool is_over(struct bench_load *l, uint64_t now_ns)
{
    bool has_all = l->count > 0 && (l->rate > 0 ? l->next_k : l->n_begun) >= l->count;

    see_stop(l, now_ns);
    if (now_ns >= l->end_ns)
        end(l, now_ns, l->options->timeout_ms);
    if (l->is_ending && now_ns >= l->backlog_ns)
        drop_due(l);
    if (l->is_ending && now_ns >= l->deadline_ns) {
        l->counts.unfinished += l->n_open;
        return true;
    }
    return l->error || ((l->is_ending || has_all) && l->n_open == 0);
}

/* Until when at most: the timer wakes us for what is due, milliseconds are fine for the rest. */
static int set_alarm(struct bench_load *l, uint64_t now_ns)
{
    struct itimerspec t = {0};
    uint64_t at_ns;

    if (!has_next_due(l))
        return BENCH_TICK_MS;
    at_ns = due_ns(l, l->next_k);
    if (at_ns <= now_ns)
        return 0;
    t.it_value.tv_sec = (time_t)(at_ns / 1000000000u);
    t.it_value.tv_nsec = (long)(at_ns % 1000000000u);
    timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &t, NULL);
    return BENCH_TICK_MS;
}

void bench_load_run(struct bench_load *l)
{
    struct epoll_event events[EVENTS];
    uint64_t now_ns = clock_mono_ns();
    int n;

    for (unsigned i = 0; i < l->n_links; i++)
        link_connect(l, &l->links[i]);
    while (!is_over(l, now_ns)) {
        n = epoll_wait(l->ep, events, EVENTS, set_alarm(l, now_ns));
        for (int i = 0; i < n; i++)
            if (events[i].data.ptr)
                link_event(l, events[i].data.ptr, events[i].events);
        now_ns = clock_mono_ns();
        take_due(l, now_ns);
        if (now_ns >= l->next_sweep_ns)
            sweep(l, now_ns);
    }
    if (l->last_ns && l->last_ns < l->end_ns)
        l->end_ns = l->last_ns; /* all were sent before their time was over */
    l->is_done = true;
}
