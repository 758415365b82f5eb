/*
 * Datagrams with descriptors over a pair: private to net/move*.c.
 */
#ifndef NET_MOVE_WIRE_H
#define NET_MOVE_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/fdpass.h"
#include "wire/moved.h"

enum { MOVE_FDS_MAX = MOVED_COUNT_MAX + 1 }; /* the memory file first */
_Static_assert((int)MOVE_FDS_MAX <= (int)FDPASS_MAX, "a batch is one datagram");

/*
 * move_file - a sealed memory file of what @iov holds; if none can be had, a pipe that holds it
 * Returns the descriptor or -errno (why there is no file; and a pipe has no room for so much).
 */
int move_file(struct iovec *iov, int n_iov);

/*
 * move_map - map a file of another process, or read what is in a pipe
 * Only a file that is sealed, so that it neither shrinks nor changes while it is read.
 * Returns 0, -EBADMSG or -errno; on 0 munmap(@ret, @bytes).
 */
int move_map(int fd, uint64_t bytes, const uint8_t **ret);

/* move_send - one datagram, now. Returns 0 or -errno. */
int move_send(int fd, const uint8_t *data, size_t len, const int *fds, size_t n_fds);

enum { MOVE_END = 1 };

struct move_datagram {
    uint8_t data[64];
    struct fdpass got; /* how many bytes, and the descriptors; closed by the caller */
    bool is_cut; /* bytes or descriptors are missing */
};

/*
 * move_receive - one datagram
 * A dead peer's queue is read past ECONNRESET, which comes ahead of it.
 * Returns 0, MOVE_END (end of file) or -errno (-EAGAIN: nothing now).
 */
int move_receive(int fd, struct move_datagram *ret);

#endif
