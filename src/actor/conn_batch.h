/*
 * Connections as descriptors in one datagram of a socket pair, for whoever takes them out: those of
 * a worker that dies, and those that waited at an address that is closed.
 */
#ifndef ACTOR_CONN_BATCH_H
#define ACTOR_CONN_BATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

enum { CONN_BATCH_MAX = 252 };

/* A small payload: it is what the kernel's queue is measured by. */
struct conn_batch {
    uint32_t n_fds;
    uint32_t is_new; /* nobody has counted them as accepted by a worker's loop */
};

union conn_batch_control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(CONN_BATCH_MAX * sizeof(int))];
};

/*
 * conn_batch_send - one datagram; async-signal-safe, does not block
 * @fds  borrowed; 1..CONN_BATCH_MAX
 * Returns 0 or the errno of sendmsg.
 */
int conn_batch_send(int fd, const int *fds, uint32_t n, bool is_new);

#endif
