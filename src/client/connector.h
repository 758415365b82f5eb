/*
 * One connection from a list of addresses: they are tried in order, the next one as soon as one
 * fails or has not answered within CONNECTOR_STAGGER_MS, and the first that answers wins
 * (RFC 8305, section 5). Knows no deadline of its own: who has lost patience frees it.
 */
#ifndef CLIENT_CONNECTOR_H
#define CLIENT_CONNECTOR_H

#include "client/addresses.h"
#include "client/connect.h"
#include "client/reactor.h"

enum { CONNECTOR_STAGGER_MS = 200, CONNECTOR_RETRY_MS = 10 };

struct connector;

/*
 * How it ended, exactly once, perhaps before connector_start returns; the connector may be freed.
 * @fd       on ARB_OK: owned by the receiver; non-blocking, close-on-exec, TCP_NODELAY; else -1
 * @address  index of the one that answered
 */
typedef void connector_handler(struct connector *c, int status, int fd, int address);

/*
 * connector_new - @to is copied, at least one address; @first is tried first, then in circle
 * Returns NULL if there is no memory.
 */
struct connector *connector_new(struct reactor *r, const struct addresses *to, int first,
                                connector_handler *on_done, void *userdata);

/* connector_free - gives up what is under way. NULL is fine. */
void connector_free(struct connector *c);

void connector_start(struct connector *c);
void *connector_userdata(const struct connector *c);

#endif
