/*
 * Messages with descriptors: the one place that builds and reads SCM_RIGHTS. Any process.
 */
#include "base/fdpass.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

union control {
    char buf[CMSG_SPACE(FDPASS_MAX * sizeof(int))];
    struct cmsghdr align;
};

static void put_fds(struct msghdr *msg, union control *control, const int *fds, size_t n)
{
    struct cmsghdr *c;

    msg->msg_control = control->buf;
    msg->msg_controllen = CMSG_SPACE(n * sizeof(int));
    memset(control->buf, 0, msg->msg_controllen);
    c = CMSG_FIRSTHDR(msg);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(c), fds, n * sizeof(int));
}

int fdpass_send(int fd, const void *data, size_t len, const int *fds, size_t n_fds)
{
    union control control;
    struct iovec iov = {.iov_base = (void *)(uintptr_t)data, .iov_len = len};
    struct msghdr msg = {.msg_iov = &iov, .msg_iovlen = 1};

    if (n_fds > FDPASS_MAX)
        return -EINVAL;
    if (n_fds > 0)
        put_fds(&msg, &control, fds, n_fds);
    for (;;) {
        if (sendmsg(fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
}

bool fdpass_is_gone(int error)
{
    return error == -EPIPE || error == -ECONNRESET || error == -ENOTCONN;
}

bool fdpass_is_transient(int error)
{
    return error == -ETOOMANYREFS || error == -ENOBUFS || error == -ENOMEM;
}

static size_t list_fds(struct msghdr *msg, int *ret)
{
    size_t n = 0;

    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        const size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        assert(n + count <= FDPASS_MAX); /* the control buffer holds no more */
        memcpy(&ret[n], CMSG_DATA(c), count * sizeof(int));
        n += count;
    }
    return n;
}

int fdpass_receive(int fd, struct iovec *iov, int n_iov, struct fdpass *ret)
{
    union control control;
    struct msghdr msg = {.msg_iov = iov,
                         .msg_iovlen = (size_t)n_iov,
                         .msg_control = control.buf,
                         .msg_controllen = sizeof(control.buf)};
    ssize_t n;

    do
        n = recvmsg(fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    ret->len = (size_t)n;
    ret->n_fds = list_fds(&msg, ret->fds);
    ret->is_data_cut = msg.msg_flags & MSG_TRUNC;
    ret->is_fds_cut = msg.msg_flags & MSG_CTRUNC;
    return 0;
}
