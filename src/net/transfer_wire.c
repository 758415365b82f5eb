/*
 * Datagrams with descriptors, and the sealed files that go with them. Runs in a worker.
 */
#include "net/transfer_wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fds.h"

enum { SEALS = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE, PIPE_BYTES = 1 << 20 };

union control {
    char buf[CMSG_SPACE(TRANSFER_FDS_MAX * sizeof(int))];
    struct cmsghdr align;
};

static int write_all(int fd, struct iovec *iov, int n_iov)
{
    while (n_iov > 0) {
        ssize_t n = writev(fd, iov, n_iov);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        for (; n_iov > 0 && (size_t)n >= iov->iov_len; iov++, n_iov--)
            n -= (ssize_t)iov->iov_len;
        if (n_iov > 0) {
            iov->iov_base = (char *)iov->iov_base + n;
            iov->iov_len -= (size_t)n;
        }
    }
    return 0;
}

/* As much as a pipe of any user may hold. */
static int fill_pipe(struct iovec *iov, int n_iov)
{
    size_t bytes = 0;
    int ends[2];
    int rc;

    for (int i = 0; i < n_iov; i++)
        bytes += iov[i].iov_len;
    if (bytes > PIPE_BYTES)
        return -EFBIG;
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
        return -errno;
    fcntl(ends[1], F_SETPIPE_SZ, (int)bytes); /* if it is not granted, a write fails */
    rc = write_all(ends[1], iov, n_iov);
    fds_close(&ends[1]);
    if (rc < 0)
        fds_close(&ends[0]);
    return rc < 0 ? rc : ends[0];
}

int transfer_file(struct iovec *iov, int n_iov)
{
    int fd = fds_memfd("handover");
    int rc;

    if (fd < 0) {
        rc = fill_pipe(iov, n_iov);
        return rc < 0 ? fd : rc;
    }
    rc = write_all(fd, iov, n_iov);
    if (rc == 0 && fcntl(fd, F_ADD_SEALS, SEALS | F_SEAL_SEAL) < 0)
        rc = -errno;
    if (rc < 0)
        fds_close(&fd);
    return rc < 0 ? rc : fd;
}

/* What its writer had in it when it closed it, all of it. */
static int map_pipe(int fd, uint64_t bytes, const uint8_t **ret)
{
    int there = 0;
    size_t done = 0;
    uint8_t *p;

    if (ioctl(fd, FIONREAD, &there) < 0 || there <= 0 || (uint64_t)there != bytes)
        return -EBADMSG;
    p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        return -errno;
    while (done < bytes) {
        const ssize_t n = read(fd, p + done, bytes - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            munmap(p, bytes);
            return -EBADMSG;
        }
        done += (size_t)n;
    }
    *ret = p;
    return 0;
}

int transfer_map(int fd, uint64_t bytes, const uint8_t **ret)
{
    const int seals = fcntl(fd, F_GET_SEALS);
    struct stat st;
    void *p;

    if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode))
        return map_pipe(fd, bytes, ret);
    if (seals < 0 || (seals & SEALS) != SEALS || fstat(fd, &st) < 0 || st.st_size <= 0 ||
        (uint64_t)st.st_size != bytes)
        return -EBADMSG;
    p = mmap(NULL, bytes, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (p == MAP_FAILED)
        return -errno;
    *ret = p;
    return 0;
}

int transfer_send(int fd, const uint8_t *data, size_t len, const int *fds, size_t n_fds)
{
    union control control;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (n_fds > 0) {
        struct cmsghdr *c;

        memset(&control, 0, sizeof(control));
        msg.msg_control = control.buf;
        msg.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
        c = CMSG_FIRSTHDR(&msg);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
        memcpy(CMSG_DATA(c), fds, n_fds * sizeof(int));
    }
    for (;;) {
        if (sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
}

/* Every descriptor that came, whatever is wrong with the rest. */
static size_t take_fds(struct msghdr *msg, int *fds)
{
    size_t n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t count;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        memcpy(&fds[n], CMSG_DATA(c), count * sizeof(int));
        n += count;
    }
    return n;
}

int transfer_receive(int fd, struct transfer_datagram *ret)
{
    union control control;
    struct iovec iov = {.iov_base = ret->data, .iov_len = sizeof(ret->data)};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.buf,
                         .msg_controllen = sizeof(control.buf)};
    ssize_t n;

    /* ECONNRESET is reported once. */
    do
        n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && (errno == EINTR || errno == ECONNRESET));
    if (n < 0)
        return -errno;
    ret->n_fds = take_fds(&msg, ret->fds);
    ret->len = (size_t)n;
    ret->is_cut = (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0;
    return n == 0 && ret->n_fds == 0 ? TRANSFER_END : 0;
}
