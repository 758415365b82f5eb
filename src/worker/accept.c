/*
 * Accepting, gated by load. Runs in a worker.
 *
 * Each wake accepts one connection. A worker that already has clearly more than the least loaded
 * one steps aside for a millisecond, so that the others see the event first; then it accepts
 * without asking again, so that nobody waits for a sibling that does not come. The closes term lets
 * a worker with many short connections go on: its count is about to fall.
 */
#include "worker/accept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/log.h"
#include "base/passed.h"
#include "conf/config.h"
#include "net/conn_sources.h"
#include "net/listener.h"

static const double gate_s = 0.001;

bool accept_gate_is_open(uint64_t own, uint64_t least, uint64_t closes)
{
    uint64_t slack;

    if (least == UINT64_MAX)
        return true;
    slack = MAX(least / 16, UINT64_C(2));
    slack = MAX(slack, closes);
    return own < least + slack;
}

static uint64_t recent_closes(struct acceptor *a, uint64_t now_ns)
{
    const uint64_t window_ns = ACCEPT_CLOSES_WINDOW_MS * UINT64_C(1000000);
    uint64_t age_ns = now_ns - a->window_start_ns;

    if (age_ns >= window_ns) {
        a->window_before = age_ns < 2 * window_ns ? a->conns->n_closes - a->window_base : 0;
        a->window_base = a->conns->n_closes;
        a->window_start_ns = now_ns;
    }
    return a->window_before + (a->conns->n_closes - a->window_base);
}

static uint64_t least_of_others(const struct acceptor *a, uint64_t now_ns, bool *ret_are_full)
{
    return scoreboard_least(a->boot->scoreboard, a->boot->proc, now_ns,
                            ACCEPT_FRESH_MS * UINT64_C(1000000), ret_are_full);
}

static bool is_out_of_room(const struct acceptor *a)
{
    return a->conns->n_open >= a->boot->max_connections;
}

static void acceptor_publish(struct acceptor *a)
{
    counter_set(&a->record->connections, a->conns->n_open);
    counter_set(&a->record->is_full, a->is_full);
    counter_set(&a->record->is_accepting, a->is_running);
}

/* The number of connections has changed: there is room if there may be one more. */
static void update(struct acceptor *a)
{
    a->is_full = is_out_of_room(a);
    acceptor_publish(a);
}

static void stop_watches(struct acceptor *a)
{
    for (size_t i = 0; i < a->n_watches; i++) {
        ev_io_stop(a->loop, &a->watches[i].io);
        ev_timer_stop(a->loop, &a->watches[i].gate);
    }
}

static void start_watches(struct acceptor *a)
{
    for (size_t i = 0; i < a->n_watches; i++)
        if (a->watches[i].listener->fd >= 0)
            ev_io_start(a->loop, &a->watches[i].io);
}

static void pause_accepting(struct acceptor *a)
{
    stop_watches(a);
    counter_add(&a->record->counters.accept_pauses, 1);
    ev_timer_set(&a->pause, a->pause_ms / 1e3, 0.);
    ev_timer_start(a->loop, &a->pause);
    a->pause_ms = MIN(a->pause_ms * 2, (unsigned)ACCEPT_PAUSE_MAX_MS);
}

static void on_out_of_resources(struct acceptor *a, int error)
{
    /* Only a lack of descriptors is this worker's own; memory is short for everybody. */
    if (error == EMFILE) {
        a->is_full = true;
        acceptor_publish(a);
    }
    log_warning_limited(a->boot->log, "accepting pauses", F_STR("error", strerror(error)),
                        F_UINT("connections", a->conns->n_open));
    pause_accepting(a);
}

/* Seldom: a call on the listener, none a connection. */
static void space_probes(struct acceptor *a, struct accept_watch *w)
{
    const size_t n = a->conns->n_open;

    if (n < w->spaced_at + ACCEPT_SPACING && n + ACCEPT_SPACING > w->spaced_at)
        return;
    w->spaced_at = n;
    listener_space_probes(w->listener, (unsigned)a->boot->config->write_timeout_ms, n);
}

/* One that has gone already has its address no more, but accept4 has said it. */
static const char *name_peer(int fd, const struct sockaddr *peer, char *text)
{
    return peer ? addr_format(peer, sizeof(struct sockaddr_storage), text)
                : addr_format_peer(fd, text);
}

static void say_source(const struct acceptor *a, enum source_answer answer, const char *peer)
{
    const struct config *c = a->boot->config;

    if (answer == SOURCE_HAS_ENOUGH)
        log_warning_limited(a->boot->log, "a source has all the connections that it may have",
                            F_UINT("server.max_per_source", c->max_per_source),
                            F_STR("peer", peer));
    else
        log_warning_limited(a->boot->log, "a source connects faster than it may",
                            F_UINT("server.accept_rate", c->accept_rate), F_STR("peer", peer));
}

/* A reset leaves nothing of the connection behind, neither here nor in the kernel. */
static int reset_new(int fd, counter_t *counter)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    counter_add(counter, 1);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    fds_close(&fd);
    return -EACCES;
}

/* What is the first field makes the cause: a peer, of which there are many, never is. */
static int reset_unbelieved(struct acceptor *a, int fd, const struct sockaddr *peer)
{
    char text[ADDR_TEXT_LEN];

    log_warning_limited(a->boot->log,
                        "a connection is refused: its listener has proxy = \"require\", and its "
                        "peer is not in proxy_from",
                        F_STR("hint", "if it is a proxy, add its address there"),
                        F_STR("peer", name_peer(fd, peer, text)));
    return reset_new(fd, &a->record->counters.closed_proxy);
}

/* Who cannot be counted has no limit: a full memory must not keep anybody out. */
static enum source_answer ask_source(struct acceptor *a, int fd, const struct sockaddr *peer)
{
    const uint64_t uncounted = counter_get(&a->record->counters.uncounted);
    const enum source_answer answer = conn_sources_admit(a->conns->sources, fd, peer);
    char text[ADDR_TEXT_LEN];

    if (counter_get(&a->record->counters.uncounted) != uncounted)
        log_warning_limited(a->boot->log, "a source has no limit: there is no room to count it",
                            F_UINT("max_connections", a->boot->max_connections),
                            F_STR("peer", name_peer(fd, peer, text)));
    return answer;
}

int acceptor_admit(struct acceptor *a, int fd, unsigned protocol, enum proxy_wish wish,
                   const struct sockaddr *peer, bool may_be_unix)
{
    struct counters *counters = &a->record->counters;
    enum source_answer answer = SOURCE_ADMITTED;
    char text[ADDR_TEXT_LEN];

    counter_add(&counters->accepted, 1);
    if (wish == PROXY_REFUSED)
        return reset_unbelieved(a, fd, peer);
    if (wish != PROXY_UNASKED) /* it counts for whom the header names */
        return conn_set_add_headed(a->conns, fd, protocol, wish, may_be_unix);
    if (a->conns->sources)
        answer = ask_source(a, fd, peer);
    if (answer == SOURCE_ADMITTED)
        return conn_set_add(a->conns, fd, protocol, ARB_ACCEPTED, may_be_unix);
    say_source(a, answer, name_peer(fd, peer, text));
    return reset_new(fd, answer == SOURCE_HAS_ENOUGH ? &counters->closed_max_per_source
                                                     : &counters->closed_accept_rate);
}

void acceptor_on_header(struct acceptor *a, const struct conn_header_news *news)
{
    if (news->is_unasked)
        log_warning_limited(a->boot->log,
                            "a client begins with a header of the PROXY protocol, which is taken "
                            "for data",
                            F_STR("hint", "if it is a proxy, give its listener in server.bind "
                                          "proxy and proxy_from"),
                            F_STR("peer", news->peer));
    else if (news->answer != SOURCE_ADMITTED)
        say_source(a, news->answer, news->peer);
    else
        log_warning_limited(a->boot->log, "a connection is ended because of its PROXY header",
                            F_STR("reason", news->reason), F_STR("peer", news->peer));
}

/* Returns 0, or the errno of accept4 after dealing with it. */
static int accept_one(struct acceptor *a, struct accept_watch *w)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(peer);
    const bool is_asked = a->conns->sources != NULL || w->listener->proxy != PROXY_UNASKED;
    int fd = accept4(w->listener->fd, is_asked ? (struct sockaddr *)&peer : NULL,
                     is_asked ? &len : NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd >= 0) {
        const struct sockaddr *named = is_asked ? (const struct sockaddr *)&peer : NULL;

        a->pause_ms = ACCEPT_PAUSE_MIN_MS;
        if (acceptor_admit(a, fd, w->listener->protocol, listener_wish(w->listener, fd, named),
                           named, w->listener->addr.kind == ADDR_UNIX) == -ENOMEM)
            on_out_of_resources(a, ENOMEM);
        update(a);
        space_probes(a, w);
        if (is_out_of_room(a) && !ev_is_active(&a->pause))
            pause_accepting(a);
        return 0;
    }
    switch (errno) {
    case EAGAIN: /* a unix socket says so, readable for ever, when it has been shut down */
        if (w->listener->addr.kind == ADDR_UNIX && listener_is_over(w->listener))
            ev_io_stop(a->loop, &w->io);
        break;
    case EINTR:
        break;
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOMEM:
        on_out_of_resources(a, errno);
        break;
    case EINVAL: /* the arbiter, or an orphaned sibling, has shut the listener down for all */
        ev_io_stop(a->loop, &w->io);
        break;
    case ECONNABORTED: /* accept(2): errors of the one connection, to be treated like EAGAIN */
    case ECONNRESET:
    case EPROTO:
    case ENOPROTOOPT:
    case EOPNOTSUPP:
    case ETIMEDOUT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
    case ENONET:
        counter_add(&a->record->counters.accept_errors, 1);
        log_debug(a->boot->log, "accept failed", F_ERR(errno));
        break;
    default: /* EPERM of a filter, say: it may stay so, and whoever waits waits on */
        on_out_of_resources(a, errno);
    }
    return errno;
}

static void on_acceptable(struct ev_loop *loop, ev_io *io, int revents UNUSED)
{
    struct accept_watch *w = container_of(io, struct accept_watch, io);
    struct acceptor *a = w->owner;
    uint64_t now_ns = clock_mono_ns();
    uint64_t least = least_of_others(a, now_ns, NULL);

    if (accept_gate_is_open(a->conns->n_open, least, recent_closes(a, now_ns))) {
        accept_one(a, w);
        return;
    }
    ev_io_stop(loop, io);
    ev_timer_set(&w->gate, gate_s, 0.);
    ev_timer_start(loop, &w->gate);
}

static void on_gate(struct ev_loop *loop, ev_timer *timer, int revents UNUSED)
{
    struct accept_watch *w = container_of(timer, struct accept_watch, gate);

    ev_io_start(loop, &w->io);
    accept_one(w->owner, w);
}

/* A worker in its sandbox opens nothing, but it can make a second descriptor of what it has. */
static int make_reserve(void)
{
    return fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
}

/* Accept and close with the reserve descriptor's place. Returns whether there may be more. */
static bool refuse_one(struct acceptor *a, const struct listener *l)
{
    bool may_be_more;
    int fd;

    fds_close(&a->reserve_fd);
    fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    may_be_more = fd >= 0 || errno == EINTR;
    if (fd >= 0) {
        counter_add(&a->record->counters.accepted, 1);
        counter_add(&a->record->counters.closed_refused, 1);
        /* At once where it can be: another descriptor has to take the place. */
        if (l->addr.kind == ADDR_UNIX)
            passed_close(&fd);
        fds_close(&fd);
    }
    a->reserve_fd = make_reserve();
    return may_be_more;
}

/* Clients hear something while no worker can take them. */
static void refuse_some(struct acceptor *a)
{
    for (size_t i = 0; i < a->n_watches; i++) {
        int n = 0;

        while (n < ACCEPT_REFUSE_BATCH && refuse_one(a, a->watches[i].listener))
            n++;
    }
}

static void on_pause_end(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    struct acceptor *a = container_of(timer, struct acceptor, pause);
    bool are_others_full = false;

    least_of_others(a, clock_mono_ns(), &are_others_full);
    /* is_full still says what this worker's last attempt said. */
    if (a->is_full && are_others_full) {
        log_warning_limited(a->boot->log, "all workers are full: clients are turned away",
                            F_UINT("connections", a->conns->n_open));
        refuse_some(a);
    }
    if (is_out_of_room(a)) {
        ev_timer_set(&a->pause, ACCEPT_PAUSE_MAX_MS / 1e3, 0.);
        ev_timer_start(a->loop, &a->pause);
        return;
    }
    start_watches(a);
}

int acceptor_init(struct acceptor *a, const struct actor_boot *boot, struct ev_loop *loop,
                  struct conn_set *conns)
{
    *a = (struct acceptor){
        .boot = boot,
        .loop = loop,
        .record = scoreboard_record(boot->scoreboard, boot->proc),
        .conns = conns,
        .n_watches = boot->n_listeners,
        .pause_ms = ACCEPT_PAUSE_MIN_MS,
        .reserve_fd = make_reserve(),
    };
    if (a->reserve_fd < 0)
        return -errno;
    a->watches = calloc(boot->n_listeners, sizeof(*a->watches));
    if (!a->watches) {
        fds_close(&a->reserve_fd);
        return -ENOMEM;
    }
    ev_timer_init(&a->pause, on_pause_end, 0., 0.);
    for (size_t i = 0; i < a->n_watches; i++) {
        struct accept_watch *w = &a->watches[i];

        w->owner = a;
        w->listener = boot->listeners[i];
        ev_io_init(&w->io, on_acceptable, w->listener->fd, EV_READ);
        ev_timer_init(&w->gate, on_gate, 0., 0.);
    }
    return 0;
}

void acceptor_run(struct acceptor *a)
{
    if (a->is_running || !a->watches)
        return;
    a->is_running = true;
    acceptor_publish(a);
    start_watches(a);
}

void acceptor_on_closed(struct acceptor *a)
{
    update(a);
    if (a->is_running && ev_is_active(&a->pause) && !is_out_of_room(a)) {
        ev_timer_stop(a->loop, &a->pause);
        start_watches(a);
    }
}

void acceptor_on_moved(struct acceptor *a)
{
    acceptor_on_closed(a);
    if (a->is_running && !ev_is_active(&a->pause) && is_out_of_room(a))
        pause_accepting(a);
}

void acceptor_stop(struct acceptor *a)
{
    a->is_running = false;
    acceptor_publish(a);
    stop_watches(a);
    ev_timer_stop(a->loop, &a->pause);
}

void acceptor_fini(struct acceptor *a)
{
    if (!a->watches)
        return;
    acceptor_stop(a);
    for (size_t i = 0; i < a->n_watches; i++) {
        conn_set_unwatch(a->conns, a->watches[i].listener->fd); /* it lives on elsewhere */
        fds_close(&a->watches[i].listener->fd);
    }
    fds_close(&a->reserve_fd);
    free(a->watches);
    a->watches = NULL;
    a->n_watches = 0;
}
