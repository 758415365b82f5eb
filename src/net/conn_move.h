/*
 * The way of a connection out to another process, and in from one: private to net/conn_move.c and
 * the move. A detached connection is in no list of the set and is neither watched nor timed:
 * its link is the caller's. It counts in n_open until it is given away.
 */
#ifndef NET_CONN_MOVE_H
#define NET_CONN_MOVE_H

#include "net/conn_impl.h"
#include "wire/moved.h"

/* conn_is_movable - could another process go on with it? */
bool conn_is_movable(const struct conn *c);

/* conn_detach - touch it no more */
void conn_detach(struct conn *c);

/* conn_pop - take the first one out of a list of detached connections; NULL = it is empty */
struct conn *conn_pop(struct list *detached);

/*
 * conn_depart - from now on a rescue leaves it alone: it has been sent
 * @mark  of its flight, if it was idle; CONN_MARK_MOVING = it will not come back
 */
void conn_depart(const struct conn *c, uint8_t mark);

/* conn_arrive - from now on a rescue takes it along, if it is idle */
void conn_arrive(const struct conn *c);

/*
 * conn_export - all that the other process has to know; pointers into @c, and to @state
 * @state  of PROTOCOL_STATE_MAX bytes
 * Returns 0 or -ENOTSUP (the protocol could not save it).
 */
int conn_export(const struct conn *c, uint8_t *state, struct moved_record *ret);

/* conn_resume - it is this set's to serve again */
void conn_resume(struct conn *c);

/* conn_give_away - it is served elsewhere: count it, free all but its descriptor */
void conn_give_away(struct conn *c);

/* conn_forget - close this process's copy of the descriptor and free @c */
void conn_forget(struct conn *c);

/*
 * conn_import - a detached connection, not counted yet, with copies of the bytes of @record
 * @is_same_rule  the giver's protocol had the same rules
 * Returns 0, -ENOMEM or -EBADMSG; on failure @fd is still the caller's.
 */
int conn_import(struct conn_set *set, int fd, const struct moved_record *record, bool is_same_rule,
                struct conn **ret);

/* conn_serve_imported - begin to serve what was imported; under other rules its tail is looked at
 * anew */
void conn_serve_imported(struct conn *c, bool is_same_rule);

/* conn_drop - free what was imported and is not served, and close its descriptor */
void conn_drop(struct conn *c);

#endif
