/*
 * Datagrams and bytes with descriptors over a unix socket (SCM_RIGHTS). Any process. Nothing here
 * blocks or allocates; a handler of a fatal signal may send and receive.
 */
#ifndef BASE_FDPASS_H
#define BASE_FDPASS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

enum { FDPASS_MAX = 253 }; /* descriptors in a message: the kernel's SCM_MAX_FD */

/*
 * fdpass_send - one message, now
 * @fds  borrowed; at most FDPASS_MAX
 * Returns 0, -EINVAL (too many descriptors) or -errno.
 */
int fdpass_send(int fd, const void *data, size_t len, const int *fds, size_t n_fds);

/* fdpass_is_gone - an error of sending: nobody has the other end any more */
bool fdpass_is_gone(int error);

/* fdpass_is_transient - an error of sending that passes without an event that could wake the
 * sender: too many descriptors of this user are on their way, or memory is short */
bool fdpass_is_transient(int error);

struct fdpass {
    size_t len; /* bytes that came; 0 = end of file */
    int fds[FDPASS_MAX]; /* owned by the caller, close-on-exec */
    size_t n_fds;
    bool is_data_cut; /* the message was longer than the room for it */
    bool is_fds_cut; /* this process has no numbers left for all descriptors: the rest is closed */
};

/*
 * fdpass_receive - one message, with all descriptors that came, whatever is wrong with the rest
 * @iov  where the bytes go
 * @ret  untouched on failure
 * Returns 0 or -errno (-EAGAIN: nothing now; -ECONNRESET comes once, ahead of what is in the
 * queue).
 */
int fdpass_receive(int fd, struct iovec *iov, int n_iov, struct fdpass *ret);

#endif
