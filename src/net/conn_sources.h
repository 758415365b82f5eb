/*
 * Which connection of a worker counts for which source. Runs in a worker that has limits per
 * source; a set without them has none of this. A connection is counted while the set serves it:
 * accepted, taken from a keeper or another worker, until it is closed or given. Who it counts for
 * is remembered by descriptor.
 */
#ifndef NET_CONN_SOURCES_H
#define NET_CONN_SOURCES_H

#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include "actor/sources.h"
#include "base/addr.h"
#include "base/counters.h"

struct conn_sources {
    struct sources *table; /* borrowed; this process has a part of it */
    struct source_limits limits;
    const struct addr_net *trusted; /* borrowed: these are not counted */
    size_t n_trusted;
    counter_t *in_use; /* borrowed: the number of sources for others to see */
    counter_t *uncounted; /* borrowed */
    uint32_t *counted; /* owned: by descriptor; 0 = not looked at, 1 = not counted, entry + 2 */
    size_t n_counted;
};

/* conn_sources_init - all but `counted` is filled in. Returns 0 or -errno. */
int conn_sources_init(struct conn_sources *s);
void conn_sources_fini(struct conn_sources *s);

/*
 * conn_sources_admit - may the connection @fd, just accepted, be served?
 * @peer  NULL = it is asked for
 * Returns as sources_admit; if admitted, it is counted from now on.
 */
enum source_answer conn_sources_admit(struct conn_sources *s, int fd, const struct sockaddr *peer);

/* conn_sources_come - @fd is served from now on, and counted unless it has been admitted just now;
 * @peer as above. conn_sources_go - it is not any more */
void conn_sources_come(struct conn_sources *s, int fd, const struct sockaddr *peer);
void conn_sources_go(struct conn_sources *s, int fd);

#endif
