/*
 * The one place that calls connect(2): a non-blocking connect to one address. The caller waits in a
 * loop of its own.
 */
#ifndef CLIENT_CONNECT_H
#define CLIENT_CONNECT_H

#include <arbiter/client.h>
#include <stdbool.h>
#include "client/outcome.h"

enum { LOCAL_ADDRESSES_MAX = 200 };

/*
 * Our own addresses, used in turn. One address has only so many ports for one peer; a caller that
 * needs more connections takes several addresses. The first turn is the system's choice.
 */
struct local_addresses {
    unsigned n; /* 0 = always the system's choice */
    unsigned ports; /* connections from an address before it is the next one's turn */
    unsigned at; /* whose turn it is: all[at - 1]; 0 = the system's choice */
    unsigned n_used; /* how many connections this turn has had */
    struct arb_address all[LOCAL_ADDRESSES_MAX];
};

/*
 * connect_begin - begin to connect
 * @from    the address that has no port left is skipped; NULL = the system's choice
 * @ret_fd  on 0 (connected) and OUTCOME_PENDING (watch it for writing, then connect_finish): owned
 * by the caller; non-blocking, close-on-exec, TCP_NODELAY Returns 0, OUTCOME_PENDING, ARB_REFUSED
 * (also: no such unix socket), ARB_UNREACHABLE, ARB_NOMEM, another -errno, or -EAGAIN: the accept
 * queue of a unix socket is full.
 */
int connect_begin(const struct arb_address *to, struct local_addresses *from, int *ret_fd);

/*
 * connect_finish - the socket that connects to @to has become writable
 * @has_error  false = poll has told of none, which spares a question
 * Returns 0, or why it is not connected.
 * A connection with itself counts as refused: while nobody listens on a port of the ephemeral
 * range, the kernel may give that very port to the client, whose connect then meets itself
 * (simultaneous open) and succeeds: a perfect echo of nobody.
 */
int connect_finish(int fd, const struct arb_address *to, bool has_error);

#endif
