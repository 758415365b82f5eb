/*
 * Connections of nobody are taken out of a pair. Runs in a worker.
 */
#include "worker/collect.h"

#include "actor/conn_batch.h"
#include "base/fdpass.h"
#include "base/fds.h"
#include "base/log.h"
#include "base/util.h"

/* What comes is data: only a connected stream socket is collected. */
static void collect_one(struct collect *r, int fd, unsigned protocol, const struct conn_batch *head)
{
    struct conn_set *conns = r->acceptor->conns;
    int rc;

    if (!conn_is_stream(fd)) {
        fds_close(&fd);
        return;
    }
    if (head->is_new) {
        rc = acceptor_admit(r->acceptor, fd, protocol, (enum proxy_wish)head->wish, NULL, true);
    } else {
        conn_set_name(conns, fd, NULL); /* the image that has left it knew no proxies */
        rc = conn_set_add(conns, fd, protocol, ARB_RESCUED, true);
        counter_add(&conns->counters->rescued, rc == 0);
    }
    r->n_new += head->is_new && rc == 0;
    r->n_collected += rc == 0;
}

/* Another version of the program may have had a protocol that this one has not. */
static void refuse_all(const struct collect *r, struct fdpass *got)
{
    log_warning_limited(r->acceptor->boot->log,
                        "connections of a protocol that is not served here are ended",
                        F_UINT("count", got->n_fds));
    for (size_t i = 0; i < got->n_fds; i++)
        fds_close(&got->fds[i]);
}

/* Returns whether there may be more. */
static bool take_batch(struct collect *r)
{
    struct conn_batch head = {0}; /* a damaged process may have sent less */
    struct fdpass got;
    int protocol;

    if (fdpass_receive(r->io.fd, &(struct iovec){&head, sizeof(head)}, 1, &got) < 0)
        return false;
    if (got.is_fds_cut)
        log_warning_limited(r->acceptor->boot->log,
                            "no descriptors are left for all connections of nobody");
    protocol = conn_set_protocol(r->acceptor->conns, head.protocol);
    if (protocol < 0 && got.n_fds > 0)
        refuse_all(r, &got);
    for (size_t i = 0; protocol >= 0 && i < got.n_fds; i++)
        collect_one(r, got.fds[i], (unsigned)protocol, &head);
    return got.len > 0;
}

static void tell_collected(struct collect *r)
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
    struct collect *r = container_of(io, struct collect, io);
    bool is_more = true;

    for (int i = 0; is_more && i < COLLECT_DATAGRAMS_A_WAKE; i++)
        is_more = take_batch(r);
    if (is_more)
        return;
    tell_collected(r);
    collect_stop(r);
}

void collect_start(struct collect *r, int fd, struct acceptor *acceptor)
{
    collect_finish(r);
    r->acceptor = acceptor;
    ev_io_init(&r->io, on_readable, fd, EV_READ);
    ev_io_start(acceptor->loop, &r->io);
    ev_feed_event(acceptor->loop, &r->io, EV_READ); /* if nothing is there, nothing will tell */
}

void collect_stop(struct collect *r)
{
    if (!r->acceptor)
        return;
    ev_io_stop(r->acceptor->loop, &r->io);
    fds_close(&r->io.fd);
    r->acceptor = NULL;
}

void collect_finish(struct collect *r)
{
    if (!r->acceptor)
        return;
    while (take_batch(r))
        ;
    tell_collected(r);
    collect_stop(r);
}
