/*
 * What the files of a worker's side of its keeper share: private to net/keep*.c.
 */
#ifndef NET_KEEP_IMPL_H
#define NET_KEEP_IMPL_H

#include "net/conn_impl.h"
#include "net/keep.h"

/* keep_need_tick - there is something to do for keep_tick */
void keep_need_tick(struct keep *k);

/* keep_drop_serial - @fd is not registered any more */
void keep_drop_serial(struct keep *k, int fd);

/* keep_forget_serials - nobody keeps anything any more. Who was old enough is so for the next. */
void keep_forget_serials(struct keep *k);

/* keep_unlink - the same, and close this worker's end */
void keep_unlink(struct keep *k);

/* keep_watch_link - for offers, unless one is still to be answered or this worker does not serve
 * yet; and for room */
void keep_watch_link(struct keep *k, bool is_for_room);

/* keep_send - one message, now; with @has_fds the descriptors of its entries. Returns 0 or -errno.
 */
int keep_send(struct keep *k, const struct keep_message *m, bool has_fds);

/*
 * keep_register - who is at least @least is registered; with @is_step the others get older
 * Returns whether any are left.
 */
bool keep_register(struct keep *k, enum conn_kept least, bool is_step);

/* keep_send_sweep - say that registered connections have ended */
void keep_send_sweep(struct keep *k);

#endif
