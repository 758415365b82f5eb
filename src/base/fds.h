/*
 * Descriptors: what a process may hold, and how it lets go of the rest.
 */
#ifndef BASE_FDS_H
#define BASE_FDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* fds_close - close @*fd if it is open and set it to -1; never reports EINTR or EIO */
void fds_close(int *fd);

/* fds_set_nonblock, fds_set_cloexec - returns 0 or -errno */
int fds_set_nonblock(int fd);
int fds_set_cloexec(int fd, bool is_on);

/* fds_ensure_stdio - open /dev/null on each of 0, 1, 2 that is closed. Returns 0 or -errno. */
int fds_ensure_stdio(void);

/* fds_count_free - numbers below @limit (RLIMIT_NOFILE) that are not in use, at most @max */
size_t fds_count_free(uint64_t limit, size_t max);

/* fds_null_stdio - point 0, 1 and 2 at /dev/null: whoever waits for their end need wait no longer.
 * Returns 0 or -errno. */
int fds_null_stdio(void);

/*
 * fds_close_all_except - close every descriptor from 3 up that @keep does not list
 * @keep   borrowed; sorted in place; -1 entries are skipped
 */
void fds_close_all_except(int *keep, size_t n_keep);

/*
 * fds_write_all, fds_writev_all - write all bytes, retrying EINTR
 * @iov  is used up
 * Returns 0 or -errno (EAGAIN included).
 */
int fds_write_all(int fd, const void *data, size_t len);
int fds_writev_all(int fd, struct iovec *iov, int n_iov);

/* fds_memfd - memory with a descriptor: close-on-exec, sealable, never executable. Returns it or
 * -errno. */
int fds_memfd(const char *name);

/* fds_write_sealed - fill a memory file, which from then on nobody can change. Returns 0 or -errno.
 * @iov is used up. */
int fds_write_sealed(int fd, struct iovec *iov, int n_iov);

/*
 * fds_map_sealed - map a memory file of another process to read it
 * Returns 0, -EBADMSG (not sealed, empty, or larger than @max) or -errno; on 0 munmap(@ret,
 * @ret_len).
 */
int fds_map_sealed(int fd, size_t max, const void **ret, size_t *ret_len);

#endif
