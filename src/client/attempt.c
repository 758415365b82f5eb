/*
 * A non-blocking connect.
 */
#include "client/attempt.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client/connector.h"

static int bind_from(int fd, const struct arb_address *from)
{
    int one = 1;

    /* The same port may serve for many peers' addresses: it is chosen when both ends are known. */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    return bind(fd, (const struct sockaddr *)&from->sa, from->len) < 0 ? -errno : 0;
}

static int begin(int fd, const struct arb_address *to, const struct arb_address *from)
{
    int one = 1, rc = 0;

    if (from)
        rc = bind_from(fd, from);
    if (rc)
        return call_outcome_of(-rc);
    if (to->sa.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, (const struct sockaddr *)&to->sa, to->len) == 0)
        return 0;
    if (errno == EINPROGRESS || errno == EINTR)
        return CALL_PENDING;
    return errno == EAGAIN ? -EAGAIN : call_outcome_of(errno);
}

int attempt_start(const struct arb_address *to, const struct arb_address *from, int *ret_fd)
{
    int fd = socket(to->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc;

    if (fd < 0)
        return call_outcome_of(errno);
    rc = begin(fd, to, from);
    if (rc == 0 || rc == CALL_PENDING)
        *ret_fd = fd;
    else
        close(fd);
    return rc;
}

int attempt_finish(int fd)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error == 0 && connector_is_self(fd))
        error = ECONNREFUSED;
    return error ? call_outcome_of(error) : 0;
}
