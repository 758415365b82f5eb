/*
 * The sending half. Runs in the arbiter, and in a worker's fatal-signal handler.
 */
#include "actor/conn_batch.h"

#include <errno.h>
#include <string.h>

int conn_batch_send(int fd, const int *fds, uint32_t n, bool is_new)
{
    struct conn_batch head = {n, is_new};
    struct iovec iov = {&head, sizeof(head)};
    union conn_batch_control control;
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.bytes,
                         .msg_controllen = CMSG_SPACE(n * sizeof(int))};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(c), fds, n * sizeof(int));
    return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? errno : 0;
}
