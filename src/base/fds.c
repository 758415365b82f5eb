/*
 * Descriptors. Any process; the parts that a forked child needs before exec or its own loop.
 */
#include "base/fds.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif

/* Without them a reader could meet other bytes than it has checked, or none (SIGBUS). */
enum { CONTENT_SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE };

void fds_close(int *fd)
{
    if (*fd < 0)
        return;
    /* Linux frees the number whatever close says: a retry after EINTR could hit someone else's. */
    int saved = errno;
    close(*fd);
    errno = saved;
    *fd = -1;
}

int fds_set_nonblock(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    if (!(flags & O_NONBLOCK) && fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return -errno;
    return 0;
}

int fds_set_cloexec(int fd, bool is_on)
{
    if (fcntl(fd, F_SETFD, is_on ? FD_CLOEXEC : 0) < 0)
        return -errno;
    return 0;
}

int fds_ensure_stdio(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) >= 0)
            continue;
        if (errno != EBADF)
            return -errno;
        /* All below are open by now, so the lowest free number is this one. */
        int null = open("/dev/null", O_RDWR);
        if (null < 0)
            return -errno;
        if (null != fd) {
            close(null);
            return -EBADF;
        }
    }
    return 0;
}

size_t fds_count_free(uint64_t limit, size_t max)
{
    size_t n = 0;

    for (int fd = 0; n < max && (uint64_t)fd < limit && fd < INT_MAX; fd++)
        n += fcntl(fd, F_GETFD) < 0;
    return n;
}

int fds_null_stdio(void)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int rc = null < 0 ? -errno : 0;

    for (int fd = 0; fd <= 2 && rc == 0; fd++)
        if (dup2(null, fd) < 0)
            rc = -errno;
    fds_close(&null);
    return rc;
}

static int compare_ints(const void *a, const void *b)
{
    int x = *(const int *)a, y = *(const int *)b;
    return (x > y) - (x < y);
}

/* Descriptors @first to below @end; one by one where a kernel or a sandbox has no close_range. */
static void close_between(int first, int end)
{
    if (first >= end || close_range((unsigned)first, (unsigned)end - 1, 0) == 0)
        return;
    for (int fd = first; fd < end; fd++)
        close(fd);
}

void fds_close_all_except(int *keep, size_t n_keep)
{
    int first = 3;

    if (n_keep > 0)
        qsort(keep, n_keep, sizeof(*keep), compare_ints);
    for (size_t i = 0; i < n_keep; i++) {
        if (keep[i] < first)
            continue;
        close_between(first, keep[i]);
        first = keep[i] + 1;
    }
    closefrom(first);
}

int fds_write_all(int fd, const void *data, size_t len)
{
    return fds_writev_all(fd, &(struct iovec){(void *)(uintptr_t)data, len}, 1);
}

int fds_writev_all(int fd, struct iovec *iov, int n_iov)
{
    for (;;) {
        for (; n_iov > 0 && iov->iov_len == 0; iov++)
            n_iov--;
        if (n_iov == 0)
            return 0;
        ssize_t n = writev(fd, iov, n_iov);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EIO;
        for (; n_iov > 0 && (size_t)n >= iov->iov_len; iov++, n_iov--)
            n -= (ssize_t)iov->iov_len;
        if (n_iov > 0) {
            iov->iov_base = (char *)iov->iov_base + n;
            iov->iov_len -= (size_t)n;
        }
    }
}

int fds_memfd(const char *name)
{
    const unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
    int fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);

    if (fd < 0 && errno == EINVAL) /* Linux < 6.3 */
        fd = memfd_create(name, flags);
    return fd < 0 ? -errno : fd;
}

int fds_write_sealed(int fd, struct iovec *iov, int n_iov)
{
    const int rc = fds_writev_all(fd, iov, n_iov);

    return rc == 0 && fcntl(fd, F_ADD_SEALS, CONTENT_SEALS | F_SEAL_SEAL) < 0 ? -errno : rc;
}

int fds_map_sealed(int fd, size_t max, const void **ret, size_t *ret_len)
{
    const int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;
    void *p;

    if (seals < 0 || (seals & CONTENT_SEALS) != CONTENT_SEALS || fstat(fd, &st) < 0 ||
        st.st_size <= 0 || (uint64_t)st.st_size > max)
        return -EBADMSG;
    p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    *ret = p;
    *ret_len = (size_t)st.st_size;
    return 0;
}
