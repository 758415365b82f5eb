/*
 * A timer and a watcher a connection: connecting, idle, tried.
 */
#include "measure/hold_loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"

enum { CONNECTING_MAX = 128 }; /* at once: below any sensible accept queue */

struct held {
    ev_io io;
    ev_timer timer; /* connecting in time, the probe, its echo in time */
    struct hold_loop *run;
    unsigned index;
    uint64_t since_ns; /* connecting, then open */
    bool is_open, is_probed;
    size_t n_echoed; /* bytes of the probe's echo */
};

static void begin_more(struct hold_loop *h);

static void set_timer(struct held *k, uint64_t ms)
{
    struct ev_loop *loop = k->run->loop;

    ev_timer_stop(loop, &k->timer);
    if (ms == 0)
        return;
    ev_now_update(loop);
    ev_timer_set(&k->timer, (double)ms / 1e3, 0.);
    ev_timer_start(loop, &k->timer);
}

static void watch(struct held *k, int fd, int events)
{
    ev_io_stop(k->run->loop, &k->io);
    ev_io_set(&k->io, fd, events);
    ev_io_start(k->run->loop, &k->io);
}

static void release(struct held *k)
{
    int fd = k->io.fd;

    ev_io_stop(k->run->loop, &k->io);
    ev_timer_stop(k->run->loop, &k->timer);
    fds_close(&fd);
    ev_io_set(&k->io, -1, 0);
}

static void close_held(struct held *k)
{
    struct hold_loop *h = k->run;

    release(k);
    h->n_connecting -= !k->is_open;
    h->report.n_open -= k->is_open;
    k->is_open = false;
    h->n_over++;
    if (hold_loop_is_over(h))
        h->on_over(h);
    else
        begin_more(h);
}

static void over(struct held *k, enum hold_end how)
{
    struct hold_loop *h = k->run;
    uint64_t age_ns = clock_mono_ns() - k->since_ns;

    hold_ages_add(&h->report.ends[how], age_ns);
    if (how != HOLD_REFUSED && !h->is_stopped)
        h->on_end(h, k->index, k->io.fd, how, age_ns);
    close_held(k);
}

static void refused(struct held *k, int why)
{
    k->run->last_failure = why;
    over(k, HOLD_REFUSED);
}

static void opened(struct held *k)
{
    struct hold_loop *h = k->run;
    const struct hold_options *o = &h->options;

    k->is_open = true;
    k->since_ns = clock_mono_ns();
    h->n_connecting--;
    h->report.n_opened++;
    h->report.n_open++;
    watch(k, k->io.fd, EV_READ);
    set_timer(k, o->is_probing ? hold_probe_ms(o->probe.min, o->probe.max, k->index, o->n) : 0);
    begin_more(h);
}

static void on_readable(struct held *k)
{
    const struct hold_options *o = &k->run->options;
    char buf[256];
    ssize_t n = recv(k->io.fd, buf, sizeof(buf), MSG_DONTWAIT);

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        over(k, n == 0 ? HOLD_CLOSED : HOLD_RESET);
        return;
    }
    if (!k->is_probed || k->n_echoed + (size_t)n > o->message_len ||
        memcmp(buf, o->message + k->n_echoed, (size_t)n) != 0) {
        over(k, HOLD_WRONG);
        return;
    }
    k->n_echoed += (size_t)n;
    if (k->n_echoed == o->message_len) {
        hold_ages_add(&k->run->report.survived, clock_mono_ns() - k->since_ns);
        close_held(k);
    }
}

static void on_io(struct ev_loop *loop, ev_io *w, int revents)
{
    struct held *k = container_of(w, struct held, io);
    int rc;

    (void)loop;
    (void)revents;
    if (k->is_open) {
        on_readable(k);
        return;
    }
    rc = connect_finish(w->fd);
    if (rc)
        refused(k, rc);
    else
        opened(k);
}

static void on_timer(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct held *k = container_of(w, struct held, timer);
    const struct hold_options *o = &k->run->options;

    (void)loop;
    (void)revents;
    if (!k->is_open) {
        refused(k, CALL_TIMEOUT);
    } else if (k->is_probed) {
        over(k, HOLD_SILENT);
    } else {
        k->is_probed = true;
        set_timer(k, o->timeout_ms);
        /* A few bytes to an idle socket always fit; what is broken tells itself on reading. */
        (void)!send(k->io.fd, o->message, o->message_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
}

static void begin(struct hold_loop *h, unsigned index)
{
    struct held *k = &h->held[index];
    int fd = -1, rc;

    *k = (struct held){.run = h, .index = index, .since_ns = clock_mono_ns()};
    ev_io_init(&k->io, on_io, -1, 0);
    ev_init(&k->timer, on_timer);
    h->n_connecting++;
    rc = connect_begin(&h->options.to, &h->sources, &fd);
    if (rc == 0 || rc == CALL_PENDING) {
        watch(k, fd, EV_WRITE);
        set_timer(k, h->options.timeout_ms);
    } else {
        refused(k, rc == -EAGAIN ? CALL_TIMEOUT : rc);
    }
    if (rc == 0)
        opened(k);
}

/* Not from within itself: one that ends at once begins the next, and so on. */
static void begin_more(struct hold_loop *h)
{
    if (h->is_beginning)
        return;
    h->is_beginning = true;
    while (h->n_begun < h->options.n && h->n_connecting < CONNECTING_MAX && !h->is_stopped)
        begin(h, h->n_begun++);
    h->is_beginning = false;
}

int hold_loop_init(struct hold_loop *h, struct ev_loop *loop, const struct hold_options *options)
{
    *h = (struct hold_loop){.options = *options, .loop = loop};
    sources_find(&options->to, &h->sources);
    h->held = calloc(options->n, sizeof(*h->held));
    return h->held ? 0 : -ENOMEM;
}

void hold_loop_fini(struct hold_loop *h)
{
    for (unsigned i = 0; i < h->n_begun; i++)
        release(&h->held[i]);
    free(h->held);
    h->held = NULL;
}

void hold_loop_start(struct hold_loop *h)
{
    begin_more(h);
}

bool hold_loop_is_over(const struct hold_loop *h)
{
    return h->n_over == h->options.n || h->is_stopped;
}

void hold_loop_stop(struct hold_loop *h)
{
    h->is_stopped = true;
}
