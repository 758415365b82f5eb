/*
 * The rescue of idle connections. The sending half runs in a fatal-signal handler, the taking half
 * in a worker's loop.
 */
#include "worker/rescue.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "actor/conn_batch.h"
#include "base/fdpass.h"
#include "base/fds.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/util.h"
#include "net/conn_marks.h"

/* What is to be sent of one protocol. */
struct outgoing {
    uint64_t protocol; /* hash_name of its name */
    uint32_t n;
    int fds[CONN_BATCH_MAX];
};

/* A full queue empties only if somebody takes from it now; descriptors in flight count against the
 * user. */
static int send_patiently(int fd, uint64_t protocol, const int *fds, uint32_t n)
{
    const struct conn_batch head = {n, false, protocol};
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    int error = fdpass_send(fd, &head, sizeof(head), fds, n);

    for (int waited_ms = 0; waited_ms < RESCUE_PATIENCE_MS; waited_ms += 10) {
        if (error != -EAGAIN && !fdpass_is_transient(error))
            break;
        /* Too many in flight: the socket is writable all the while, and poll returns at once. */
        poll(&p, error == -EAGAIN ? 1 : 0, 10);
        error = fdpass_send(fd, &head, sizeof(head), fds, n);
    }
    return error;
}

/* Returns how many could be sent, or -1 if no more can be. */
static int send_some(int fd, uint64_t protocol, const int *fds, uint32_t n)
{
    const int error = send_patiently(fd, protocol, fds, n);
    int sent = 0, rc = 0;

    if (error == 0)
        return (int)n;
    if (error != -EBADF)
        return -1;
    /* Memory may be damaged, and the marks with it: one that is none must not cost the others. */
    for (uint32_t i = 0; n > 1 && i < n && (rc = send_some(fd, protocol, &fds[i], 1)) >= 0; i++)
        sent += rc;
    return sent;
}

/* Returns as send_some. */
static int send_all(int fd, struct outgoing *o, uint8_t *marks)
{
    const int rc = o->n > 0 ? send_some(fd, o->protocol, o->fds, o->n) : 0;

    while (rc >= 0 && o->n > 0)
        marks[o->fds[--o->n]] = CONN_MARK_MOVING;
    return rc;
}

uint32_t rescue_send(int fd, const struct conn_set *conns)
{
    const unsigned n_protocols = MIN(conns->n_protocols, (unsigned)CONN_PROTOCOLS_MAX);
    struct outgoing out[CONN_PROTOCOLS_MAX];
    uint8_t *marks = conns->marks;
    uint32_t sent = 0;
    int rc = 0;

    for (unsigned p = 0; p < n_protocols; p++) {
        out[p].protocol = conns->protocols[p].name_hash;
        out[p].n = 0;
    }
    for (size_t i = 0; i < conns->n_marks && rc >= 0; i++) {
        struct outgoing *o = &out[MIN(conns->spoken[i], CONN_PROTOCOLS_MAX - 1)];

        if ((marks[i] != CONN_MARK_IDLE && marks[i] != CONN_MARK_QUIET) ||
            conns->spoken[i] >= n_protocols)
            continue;
        o->fds[o->n++] = (int)i;
        rc = o->n == CONN_BATCH_MAX ? send_all(fd, o, marks) : 0;
        sent += rc > 0 ? (uint32_t)rc : 0;
    }
    for (unsigned p = 0; p < n_protocols && rc >= 0; p++) {
        rc = send_all(fd, &out[p], marks);
        sent += rc > 0 ? (uint32_t)rc : 0;
    }
    return sent;
}

/* What comes is data: only a connected stream socket is collected. */
static bool is_connection(int fd)
{
    struct sockaddr_storage peer;
    socklen_t len = sizeof(int);
    int type = 0;

    if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) < 0 || type != SOCK_STREAM)
        return false;
    len = sizeof(peer);
    /* The peer may have ended it in the meantime: its end of file is to be read as usual. */
    return getpeername(fd, (struct sockaddr *)&peer, &len) == 0 || errno == ENOTCONN;
}

static void collect_one(struct rescue *r, int fd, unsigned protocol, bool is_new)
{
    struct counters *counters = r->acceptor->conns->counters;

    if (!is_connection(fd)) {
        conn_set_mark(r->acceptor->conns, fd, CONN_MARK_FREE);
        fds_close(&fd);
    } else if (conn_set_add(r->acceptor->conns, fd, protocol, is_new ? ARB_ACCEPTED : ARB_RESCUED,
                            true) == 0) {
        counter_add(is_new ? &counters->accepted : &counters->rescued, 1);
        r->n_new += is_new;
        r->n_collected++;
    }
}

/* Another version of the program may have had a protocol that this one has not. */
static void refuse_all(const struct rescue *r, struct fdpass *got)
{
    log_warning_limited(r->acceptor->boot->log,
                        "connections of a protocol that is not served here are ended",
                        F_UINT("count", got->n_fds));
    for (size_t i = 0; i < got->n_fds; i++)
        fds_close(&got->fds[i]);
}

/* What has come is this process's to rescue at once: no signal ends it before that is noted.
 * @ret_protocol  index of what the connections speak; -1 = it is not known here */
static int receive_marked(const struct rescue *r, struct conn_batch *ret_head, struct fdpass *ret,
                          int *ret_protocol)
{
    const struct conn_set *conns = r->acceptor->conns;
    sigset_t mask;
    int rc;

    signals_block_all(&mask);
    rc = fdpass_receive(r->io.fd, &(struct iovec){ret_head, sizeof(*ret_head)}, 1, ret);
    if (rc == 0)
        *ret_protocol = conn_set_protocol(conns, ret_head->protocol);
    for (size_t i = 0; rc == 0 && *ret_protocol >= 0 && i < ret->n_fds; i++)
        conn_set_expect(conns, ret->fds[i], (unsigned)*ret_protocol);
    signals_restore(&mask);
    return rc;
}

/* Returns whether there may be more. */
static bool take_batch(struct rescue *r)
{
    struct conn_batch head = {0}; /* a damaged process may have sent less */
    struct fdpass got;
    int protocol = -1;

    if (receive_marked(r, &head, &got, &protocol) < 0)
        return false;
    if (got.is_fds_cut)
        log_warning_limited(r->acceptor->boot->log,
                            "rescue: no descriptors left for all connections");
    if (protocol < 0 && got.n_fds > 0)
        refuse_all(r, &got);
    for (size_t i = 0; protocol >= 0 && i < got.n_fds; i++)
        collect_one(r, got.fds[i], (unsigned)protocol, head.is_new);
    return got.len > 0;
}

static void tell_collected(struct rescue *r)
{
    if (r->n_collected > r->n_new)
        log_info(r->acceptor->boot->log, "connections rescued",
                 F_UINT("count", r->n_collected - r->n_new));
    if (r->n_collected > 0)
        acceptor_on_moved(r->acceptor);
    r->n_collected = r->n_new = 0;
}

static void on_readable(struct ev_loop *loop UNUSED, ev_io *io, int revents UNUSED)
{
    struct rescue *r = container_of(io, struct rescue, io);
    bool is_more = true;

    for (int i = 0; is_more && i < RESCUE_DATAGRAMS_A_WAKE; i++)
        is_more = take_batch(r);
    if (is_more)
        return;
    tell_collected(r);
    if (r->is_once)
        rescue_stop(r);
}

void rescue_start(struct rescue *r, int fd, struct acceptor *acceptor, bool is_once)
{
    rescue_stop(r);
    if (fd < 0)
        return;
    r->acceptor = acceptor;
    r->is_once = is_once;
    ev_io_init(&r->io, on_readable, fd, EV_READ);
    ev_io_start(acceptor->loop, &r->io);
    ev_feed_event(acceptor->loop, &r->io, EV_READ); /* if nothing is there, nothing will tell */
}

void rescue_stop(struct rescue *r)
{
    if (!r->acceptor)
        return;
    ev_io_stop(r->acceptor->loop, &r->io);
    fds_close(&r->io.fd);
    r->acceptor = NULL;
}

void rescue_finish(struct rescue *r)
{
    if (!r->acceptor)
        return;
    while (take_batch(r))
        ;
    tell_collected(r);
    rescue_stop(r);
}
