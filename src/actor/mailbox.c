/*
 * One end of the pair between the arbiter and an actor; the same code in both. It knows datagrams,
 * descriptors and queues, and nothing of what the commands mean.
 */
#include "actor/mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "base/fdpass.h"
#include "base/fds.h"
#include "base/log.h"
#include "base/passed.h"
#include "base/util.h"

#define RETRY_SECONDS 0.05

/* One encoded message that waits to be sent. */
struct mailbox_item {
    struct list link;
    size_t n_fds;
    int fds[MAILBOX_FDS_MAX]; /* owned duplicates */
    size_t len;
    char data[];
};

int mailbox_pair(int ret_fds[2])
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        return -errno;
    memcpy(ret_fds, fds, sizeof(fds));
    return 0;
}

/* --- queue ------------------------------------------------------------------------------------ */

static struct mailbox_item *queue_head(struct mailbox *mb)
{
    return container_of(mb->queue.next, struct mailbox_item, link);
}

static void item_free(struct mailbox_item *item)
{
    list_remove(&item->link);
    for (size_t i = 0; i < item->n_fds; i++)
        fds_close(&item->fds[i]);
    free(item);
}

static int item_new(const char *data, size_t len, const int *fds, size_t n_fds,
                    struct mailbox_item **ret)
{
    struct mailbox_item *item = malloc(sizeof(*item) + len);
    if (!item)
        return -ENOMEM;
    list_init(&item->link);
    item->len = len;
    item->n_fds = 0;
    memcpy(item->data, data, len);
    for (; item->n_fds < n_fds; item->n_fds++) {
        int fd = fcntl(fds[item->n_fds], F_DUPFD_CLOEXEC, 3);
        if (fd < 0) {
            int r = -errno;
            item_free(item);
            return r;
        }
        item->fds[item->n_fds] = fd;
    }
    *ret = item;
    return 0;
}

static void queue_drop_head(struct mailbox *mb)
{
    mb->n_queued--;
    item_free(queue_head(mb));
}

static void queue_drop_all(struct mailbox *mb)
{
    while (mb->n_queued > 0)
        queue_drop_head(mb);
}

/* --- sending ---------------------------------------------------------------------------------- */

static bool is_peer_gone(int error)
{
    return error == -EPIPE || error == -ECONNRESET || error == -ENOTCONN;
}

static void watch(struct mailbox *mb, int events)
{
    if ((mb->io.events & (EV_READ | EV_WRITE)) == events && ev_is_active(&mb->io))
        return;
    ev_io_stop(mb->loop, &mb->io);
    ev_io_set(&mb->io, mb->fd, events);
    ev_io_start(mb->loop, &mb->io);
}

/* What wakes us for the rest of the queue, after @error. */
static void await_room(struct mailbox *mb, int error)
{
    watch(mb, error == -EAGAIN ? EV_READ | EV_WRITE : EV_READ);
    if (fdpass_is_transient(error) && !ev_is_active(&mb->retry)) {
        ev_timer_set(&mb->retry, RETRY_SECONDS, 0.);
        ev_timer_start(mb->loop, &mb->retry);
    }
}

/* The peer sees the end last: the owner may want to end it before it draws conclusions. */
static void close_with(struct mailbox *mb, int error)
{
    int fd = mb->fd;

    mb->fd = -1;
    mailbox_stop(mb);
    mb->on_close(mb, error);
    passed_close(&fd);
}

static void flush(struct mailbox *mb)
{
    int r = 0;
    while (mb->n_queued > 0 && r == 0) {
        const struct mailbox_item *item = queue_head(mb);
        r = fdpass_send(mb->fd, item->data, item->len, item->fds, item->n_fds);
        if (r == 0)
            queue_drop_head(mb);
    }
    if (is_peer_gone(r)) {
        /* Its last messages may still be here: reading finds the end. */
        queue_drop_all(mb);
        r = 0;
    }
    if (r == 0 || r == -EAGAIN || fdpass_is_transient(r))
        await_room(mb, r);
    else
        close_with(mb, r);
}

int mailbox_send(struct mailbox *mb, const struct message *m, const int *fds, size_t n_fds)
{
    char data[MESSAGE_MAX_BYTES];
    struct mailbox_item *item = NULL;
    size_t len;

    if (mb->is_closed || !mb->loop)
        return -EPIPE;
    if (n_fds > MAILBOX_FDS_MAX)
        return -EINVAL;
    int r = message_encode(m, data, sizeof(data), &len);
    if (r < 0)
        return r;

    int blocked = -EAGAIN;
    if (mb->n_queued == 0) {
        r = fdpass_send(mb->fd, data, len, fds, n_fds);
        if (r == 0)
            return 0;
        if (is_peer_gone(r))
            return -EPIPE;
        if (r != -EAGAIN && !fdpass_is_transient(r))
            return r;
        blocked = r;
    }
    if (mb->n_queued >= MAILBOX_QUEUE_MAX)
        return -ENOBUFS;
    r = item_new(data, len, fds, n_fds, &item);
    if (!item)
        return r;
    list_append(&mb->queue, &item->link);
    if (++mb->n_queued == 1)
        await_room(mb, blocked);
    return 0;
}

int mailbox_say(struct mailbox *mb, struct log *log, const char *from, const char *to,
                const char *command, uint64_t id, json_t *args, const int *fds, size_t n_fds)
{
    struct message m = {.id = id, .args = args};
    int rc;

    snprintf(m.command, sizeof(m.command), "%s", command);
    snprintf(m.sender, sizeof(m.sender), "%s", from);
    snprintf(m.target, sizeof(m.target), "%s", to);
    log_debug(log, "message", F_STR("to", to), F_STR("command", command), F_UINT("id", id));
    rc = mailbox_send(mb, &m, fds, n_fds);
    if (rc < 0 && rc != -EPIPE)
        log_warning_limited(log, "mailbox: not sent", F_STR("to", to), F_STR("command", command),
                            F_ERR(rc));
    message_fini(&m);
    return rc;
}

/* --- receiving -------------------------------------------------------------------------------- */

/* A worker whose memory is damaged may pass whatever it likes to the arbiter, as many as it likes.
 */
static void drop_fds(int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        passed_close(&fds[i]);
}

enum { RECEIVED_END = 1 };

/* One datagram. Returns 0, RECEIVED_END (end of file), -EAGAIN, -EBADMSG or -errno. */
static int receive_one(int fd, struct message *ret_m, struct fdpass *ret)
{
    char data[MESSAGE_MAX_BYTES];
    int r = fdpass_receive(fd, &(struct iovec){data, sizeof(data)}, 1, ret);

    if (r < 0)
        return r;
    if (ret->len == 0)
        r = RECEIVED_END;
    else if (ret->is_data_cut || ret->n_fds > MAILBOX_FDS_MAX)
        r = -EBADMSG;
    else
        r = message_decode(data, ret->len, ret_m);
    /* Descriptors are cut if this process has no room for all of them, no fault of the peer's:
     * none is better than some. */
    if (r != 0 || ret->is_fds_cut) {
        drop_fds(ret->fds, ret->n_fds);
        ret->n_fds = 0;
    }
    return r;
}

/* Returns whether there may be more. */
static bool on_readable(struct mailbox *mb)
{
    for (int i = 0; i < MAILBOX_BATCH; i++) {
        struct message m;
        struct fdpass got;
        int r = receive_one(mb->fd, &m, &got);
        if (r == -EAGAIN)
            return false;
        /* Reported once, ahead of what a dying peer has sent; end of file follows. */
        if (r == -ECONNRESET)
            continue;
        if (r != 0) {
            close_with(mb, r == RECEIVED_END ? 0 : r);
            return false;
        }
        mb->on_message(mb, &m, got.fds, got.n_fds);
        drop_fds(got.fds, got.n_fds);
        message_fini(&m);
        if (mb->is_closed)
            return false;
    }
    return true;
}

static void on_io(struct ev_loop *loop, ev_io *io, int events)
{
    (void)loop;
    struct mailbox *mb = container_of(io, struct mailbox, io);
    if (events & EV_READ)
        on_readable(mb);
    if ((events & EV_WRITE) && !mb->is_closed)
        flush(mb);
}

static void on_retry(struct ev_loop *loop, ev_timer *timer, int events)
{
    (void)loop, (void)events;
    flush(container_of(timer, struct mailbox, retry));
}

/* --- life ------------------------------------------------------------------------------------- */

void mailbox_start(struct mailbox *mb, struct ev_loop *loop, int fd, mailbox_on_message *on_message,
                   mailbox_on_close *on_close)
{
    if (mb->loop && !mb->is_closed && mb->fd == fd)
        return;
    mailbox_stop(mb);
    *mb = (struct mailbox){.loop = loop, .fd = fd, .on_message = on_message, .on_close = on_close};
    list_init(&mb->queue);
    ev_io_init(&mb->io, on_io, fd, EV_READ);
    ev_timer_init(&mb->retry, on_retry, 0., 0.);
    ev_io_start(loop, &mb->io);
}

void mailbox_stop(struct mailbox *mb)
{
    if (!mb || !mb->loop || mb->is_closed)
        return;
    mb->is_closed = true;
    ev_io_stop(mb->loop, &mb->io);
    ev_timer_stop(mb->loop, &mb->retry);
    passed_close(&mb->fd); /* unread messages go with it, and what they have passed */
    queue_drop_all(mb);
}

void mailbox_finish(struct mailbox *mb)
{
    unsigned batches = MAILBOX_QUEUE_MAX;

    if (!mb->loop || mb->is_closed)
        return;
    while (on_readable(mb) && --batches)
        ;
    mailbox_stop(mb);
}
