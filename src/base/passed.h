/*
 * Descriptors that a peer passes over a unix socket to somebody who wants none (SCM_RIGHTS).
 *
 * The kernel closes them inside recv(2), in the process that reads, and a close may wait: for the
 * linger time of a socket, for a file system that does not answer. So they are refused where the
 * kernel can do that (Linux 6.16). Elsewhere they are received, and closed by a thread, which may
 * wait alone. Any process with a loop; nothing here blocks.
 */
#ifndef BASE_PASSED_H
#define BASE_PASSED_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <sys/uio.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* Linux 6.16 */
#endif

enum { PASSED_QUEUE_MAX = 4096 }; /* waiting to be closed; what exceeds it is closed in 1 ms each */

/*
 * passed_refuse - from now on whoever passes a descriptor to @fd fails with EPERM
 * What is accepted by a listening socket inherits it.
 * Returns 0, -EOPNOTSUPP (not a unix socket), -ENOPROTOOPT (an older kernel) or -errno.
 */
int passed_refuse(int fd);

/* passed_may_come - refuse them; true if descriptors may come with the data of @fd all the same */
bool passed_may_come(int fd);

/* passed_recv - as readv(2) on a socket, without what comes along */
ssize_t passed_recv(int fd, struct iovec *iov, int n_iov);

/* passed_prepare - make now what passed_close would make: a thread and a timer, where the kernel
 * cannot refuse descriptors. For a process that may not do so later; once. */
void passed_prepare(void);

/* passed_close - as fds_close, of a descriptor that a peer has passed, or in which some may lie
 * unread */
void passed_close(int *fd);

#endif
