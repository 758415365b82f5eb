/*
 * One end of the pair between the arbiter and an actor; the same code in both. It knows datagrams,
 * descriptors and queues, and nothing of what the commands mean.
 */
#include "actor/mailbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "actor/io_watch.h"
#include "base/clock.h"
#include "base/fdpass.h"
#include "base/fds.h"
#include "base/log.h"
#include "base/passed.h"
#include "base/util.h"
#include "wire/relayed.h"

#define RETRY_SECONDS 0.05

/* What waits to be sent. */
struct mailbox_item {
    struct list link;
    struct mailbox_data *shared; /* a reference: the bytes of a data datagram; NULL = in `data` */
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

/* --- data --------------------------------------------------------------------------------- */

struct mailbox_data *mailbox_data_new(size_t len)
{
    struct mailbox_data *data = malloc(sizeof(*data) + len);

    if (!data)
        return NULL;
    data->refs = 1;
    data->len = len;
    return data;
}

void mailbox_data_drop(struct mailbox_data *data)
{
    if (data && --data->refs == 0)
        free(data);
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
    mailbox_data_drop(item->shared);
    free(item);
}

static int item_new(const char *data, size_t len, const int *fds, size_t n_fds,
                    struct mailbox_item **ret)
{
    struct mailbox_item *item = malloc(sizeof(*item) + len);
    if (!item)
        return -ENOMEM;
    list_init(&item->link);
    item->shared = NULL;
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
    struct mailbox_item *item = queue_head(mb);

    if (item->shared)
        mb->n_data--;
    else
        mb->n_queued--;
    item_free(item);
}

static void queue_drop_all(struct mailbox *mb)
{
    while (!mailbox_is_empty(mb))
        queue_drop_head(mb);
}

bool mailbox_is_empty(const struct mailbox *mb)
{
    return mb->n_queued + mb->n_data == 0;
}

/* --- sending ---------------------------------------------------------------------------------- */

static void watch(struct mailbox *mb, int events)
{
    if (mb->is_paused)
        events &= ~EV_READ;
    io_watch(mb->loop, &mb->io, mb->fd, events);
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

static int send_item(const struct mailbox *mb, const struct mailbox_item *item)
{
    const void *bytes = item->shared ? (const void *)item->shared->bytes : item->data;

    return fdpass_send(mb->fd, bytes, item->len, item->fds, item->n_fds);
}

static void flush(struct mailbox *mb)
{
    int r = 0;
    while (!mailbox_is_empty(mb) && r == 0) {
        r = send_item(mb, queue_head(mb));
        if (r == 0)
            queue_drop_head(mb);
    }
    if (fdpass_is_gone(r)) {
        /* Its last messages may still be here: reading finds the end. */
        queue_drop_all(mb);
        r = 0;
    }
    if (r == 0 || r == -EAGAIN || fdpass_is_transient(r))
        await_room(mb, r);
    else
        close_with(mb, r);
}

enum { SENT_LATER = 1 };

/* Returns 0, SENT_LATER (to be queued, with the reason in @ret_blocked), -EPIPE or -errno. */
static int send_now(const struct mailbox *mb, const void *data, size_t len, const int *fds,
                    size_t n_fds, int *ret_blocked)
{
    int r;

    *ret_blocked = -EAGAIN;
    if (!mailbox_is_empty(mb))
        return SENT_LATER;
    r = fdpass_send(mb->fd, data, len, fds, n_fds);
    if (fdpass_is_gone(r))
        return -EPIPE;
    if (r != -EAGAIN && !fdpass_is_transient(r))
        return r;
    *ret_blocked = r;
    return SENT_LATER;
}

/* @item has been counted. */
static void queue_append(struct mailbox *mb, struct mailbox_item *item, int blocked)
{
    list_append(&mb->queue, &item->link);
    if (mb->queue.next == &item->link)
        await_room(mb, blocked);
}

int mailbox_send(struct mailbox *mb, const struct message *m, const int *fds, size_t n_fds)
{
    char data[MESSAGE_MAX_BYTES];
    struct mailbox_item *item = NULL;
    size_t len;
    int blocked, r;

    if (mb->is_closed || !mb->loop)
        return -EPIPE;
    if (n_fds > MAILBOX_FDS_MAX)
        return -EINVAL;
    r = message_encode(m, data, sizeof(data), &len);
    if (r == 0)
        r = send_now(mb, data, len, fds, n_fds, &blocked);
    if (r != SENT_LATER)
        return r;
    if (mb->n_queued >= MAILBOX_QUEUE_MAX)
        return -ENOBUFS;
    r = item_new(data, len, fds, n_fds, &item);
    if (!item)
        return r;
    mb->n_queued++;
    queue_append(mb, item, blocked);
    return 0;
}

int mailbox_send_data(struct mailbox *mb, struct mailbox_data *data)
{
    struct mailbox_item *item;
    int blocked, r;

    if (mb->is_closed || !mb->loop)
        return -EPIPE;
    r = send_now(mb, data->bytes, data->len, NULL, 0, &blocked);
    if (r != SENT_LATER)
        return r;
    item = calloc(1, sizeof(*item));
    if (!item)
        return -ENOMEM;
    item->shared = data;
    item->len = data->len;
    data->refs++;
    mb->n_data++;
    queue_append(mb, item, blocked);
    return 0;
}

void mailbox_pause(struct mailbox *mb, bool is_paused)
{
    if (!mb->loop || mb->is_closed || mb->is_paused == is_paused)
        return;
    mb->is_paused = is_paused;
    watch(mb, (mb->io.events & EV_WRITE) | EV_READ);
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

enum { RECEIVED_END = 1, RECEIVED_DATA };

/* What the bytes of one datagram are. Data is told to the owner from here. */
static int read_datagram(struct mailbox *mb, const char *data, struct message *ret_m,
                         const struct fdpass *got)
{
    int r;

    if (got->len == 0)
        return RECEIVED_END;
    if (got->is_data_cut || got->n_fds > MAILBOX_FDS_MAX)
        return -EBADMSG;
    if (!relayed_is((const uint8_t *)data, got->len))
        return message_decode(data, got->len, ret_m);
    r = mb->on_data ? mb->on_data(mb, (const uint8_t *)data, got->len) : -EBADMSG;
    return r < 0 ? r : RECEIVED_DATA;
}

/* One datagram. Returns 0 (a control message), RECEIVED_END (end of file), RECEIVED_DATA, -EAGAIN,
 * -EBADMSG or -errno. */
static int receive_one(struct mailbox *mb, struct message *ret_m, struct fdpass *ret)
{
    char data[MESSAGE_MAX_BYTES];
    int r = fdpass_receive(mb->fd, &(struct iovec){data, sizeof(data)}, 1, ret);

    if (r < 0)
        return r;
    r = read_datagram(mb, data, ret_m, ret);
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
        int r = receive_one(mb, &m, &got);

        if (r == -EAGAIN || mb->is_closed)
            return false;
        /* Reported once, ahead of what a dying peer has sent; end of file follows. */
        if (r == -ECONNRESET || r == RECEIVED_DATA)
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

void mailbox_flush(struct mailbox *mb, unsigned timeout_ms)
{
    const uint64_t deadline_ms = clock_mono_ms() + timeout_ms;

    while (mb->loop && !mb->is_closed && !mailbox_is_empty(mb)) {
        const uint64_t now_ms = clock_mono_ms();
        struct pollfd p = {.fd = mb->fd, .events = POLLOUT};

        if (now_ms >= deadline_ms)
            return;
        poll(&p, 1, (int)(deadline_ms - now_ms));
        flush(mb);
    }
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
