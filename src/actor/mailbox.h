/*
 * One end of the SOCK_SEQPACKET pair between the arbiter and an actor: messages, with descriptors
 * as ancillary data, in bounded queues. The death of the peer is an ordinary event.
 */
#ifndef ACTOR_MAILBOX_H
#define ACTOR_MAILBOX_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
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

struct mailbox {
    struct ev_loop *loop; /* borrowed */
    ev_io io; /* reads always; writes while the queue holds something */
    ev_timer retry; /* for failures that no event ends: ETOOMANYREFS, out of memory */
    int fd; /* owned */
    mailbox_on_message *on_message;
    mailbox_on_close *on_close;
    struct list queue; /* owned: encoded messages that wait to be sent, oldest first */
    size_t n_queued; /* at most MAILBOX_QUEUE_MAX */
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

/*
 * mailbox_say - as mailbox_send, of the message that the arguments make; what fails is logged
 * @args  taken over; NULL = none
 */
int mailbox_say(struct mailbox *mb, struct log *log, const char *from, const char *to,
                const char *command, uint64_t id, json_t *args, const int *fds, size_t n_fds);

#endif
