/*
 * One end of the SOCK_SEQPACKET pair between the arbiter and an actor: messages, with descriptors
 * as ancillary data, in bounded queues. The death of the peer is an ordinary event.
 *
 * Beside these control messages go data datagrams (wire/relayed.h), in the one order of sending.
 * Their number is bounded by whoever sends them, by credit: they use no place of a control message.
 */
#ifndef ACTOR_MAILBOX_H
#define ACTOR_MAILBOX_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/list.h"
#include "wire/message.h"

enum { MAILBOX_FDS_MAX = 8, MAILBOX_QUEUE_MAX = 256, MAILBOX_BATCH = 16 };

struct log;
struct mailbox;

/*
 * on_message - @m borrowed for the call. @fds owned by the callee: it takes one by setting it to
 * -1, the mailbox closes the rest. A process without room for all of them gets the message and
 * none.
 *
 * on_close - @error 0 = end of file, -EBADMSG = the peer sent nonsense, else -errno. Called once;
 * the mailbox is stopped already. The owner may free the mailbox after it has returned to its loop.
 */
typedef void mailbox_on_message(struct mailbox *mb, struct message *m, int *fds, size_t n_fds);
typedef void mailbox_on_close(struct mailbox *mb, int error);

/*
 * on_data - one data datagram, borrowed for the call. Returns 0, or -EBADMSG: it is nonsense, and
 * the mailbox is closed.
 */
typedef int mailbox_on_data(struct mailbox *mb, const uint8_t *data, size_t len);

/* A data datagram, which may wait in several mailboxes. */
struct mailbox_data {
    unsigned refs;
    size_t len;
    uint8_t bytes[];
};

struct mailbox {
    struct ev_loop *loop; /* borrowed */
    ev_io io; /* reads always; writes while the queue holds something */
    ev_timer retry; /* for failures that no event ends: ETOOMANYREFS, out of memory */
    int fd; /* owned */
    mailbox_on_message *on_message;
    mailbox_on_close *on_close;
    mailbox_on_data *on_data; /* set after mailbox_start; NULL = data is nonsense here */
    struct list queue; /* owned: what waits to be sent, oldest first */
    size_t n_queued; /* control messages in it, at most MAILBOX_QUEUE_MAX */
    size_t n_data; /* data datagrams in it */
    bool is_paused; /* not read */
    bool is_closed;
};

/* mailbox_pair - two non-blocking, close-on-exec ends. Returns 0 or -errno. */
int mailbox_pair(int ret_fds[2]);

/*
 * mailbox_start - take @fd over and begin to read; mailbox_stop - close it, drop the queue
 * @mb   zeroed, or used before
 * Both idempotent; both may be called from the callbacks.
 */
void mailbox_start(struct mailbox *mb, struct ev_loop *loop, int fd, mailbox_on_message *on_message,
                   mailbox_on_close *on_close);
void mailbox_stop(struct mailbox *mb);

/* mailbox_flush - before the end of a process: wait until all is sent, at most @timeout_ms */
void mailbox_flush(struct mailbox *mb, unsigned timeout_ms);

/* mailbox_finish - report what a peer that has ended has still sent, then stop; not from callbacks
 */
void mailbox_finish(struct mailbox *mb);

/*
 * mailbox_send - send now, or queue
 * @m     borrowed
 * @fds   borrowed: duplicated into the queue when the message has to wait; at most MAILBOX_FDS_MAX
 * Returns 0, -ENOBUFS (the queue is full), -EPIPE (closed) or -errno (malformed message …).
 */
int mailbox_send(struct mailbox *mb, const struct message *m, const int *fds, size_t n_fds);

/* mailbox_data_new - to be filled in; its one reference is the caller's. NULL without memory.
 * mailbox_data_drop - give a reference back; NULL is fine */
struct mailbox_data *mailbox_data_new(size_t len);
void mailbox_data_drop(struct mailbox_data *data);

/*
 * mailbox_send_data - send now, or queue a reference
 * Returns 0, -EPIPE (closed), -ENOMEM or -errno.
 */
int mailbox_send_data(struct mailbox *mb, struct mailbox_data *data);

/* mailbox_is_empty - does nothing wait to be sent? */
bool mailbox_is_empty(const struct mailbox *mb);

/* mailbox_pause - read nothing, or go on; what is queued is sent meanwhile */
void mailbox_pause(struct mailbox *mb, bool is_paused);

/*
 * mailbox_say - as mailbox_send, of the message that the arguments make; what fails is logged
 * @args  taken over; NULL = none
 */
int mailbox_say(struct mailbox *mb, struct log *log, const char *from, const char *to,
                const char *command, uint64_t id, json_t *args, const int *fds, size_t n_fds);

#endif
