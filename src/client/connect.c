/*
 * A non-blocking connect.
 */
#include "client/connect.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int bind_from(int fd, const struct arb_address *from)
{
    int one = 1;

    /* The same port may serve for many peers' addresses: it is chosen when both ends are known. */
    setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
    return bind(fd, (const struct sockaddr *)&from->sa, from->len) < 0 ? -errno : 0;
}

static int connect_socket(int fd, const struct arb_address *to, const struct arb_address *from)
{
    int one = 1, rc = from ? bind_from(fd, from) : 0;

    if (rc)
        return rc;
    if (to->sa.ss_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (connect(fd, (const struct sockaddr *)&to->sa, to->len) == 0)
        return 0;
    return errno == EINPROGRESS || errno == EINTR ? OUTCOME_PENDING : -errno;
}

/* Returns 0, OUTCOME_PENDING or -errno. */
static int connect_once(const struct arb_address *to, const struct arb_address *from, int *ret_fd)
{
    int fd = socket(to->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int rc;

    if (fd < 0)
        return -errno;
    rc = connect_socket(fd, to, from);
    if (rc < 0)
        close(fd);
    else
        *ret_fd = fd;
    return rc;
}

static void next_local(struct local_addresses *s)
{
    s->at = s->at % s->n + 1;
    s->n_used = 0;
}

static int connect_in_turn(const struct arb_address *to, struct local_addresses *s, int *ret_fd)
{
    int rc = -EADDRNOTAVAIL;

    if (s->n_used == s->ports)
        next_local(s);
    for (unsigned i = 0; rc == -EADDRNOTAVAIL && i <= s->n; i++) {
        if (i > 0)
            next_local(s);
        rc = connect_once(to, s->at ? &s->all[s->at - 1] : NULL, ret_fd);
        s->n_used++;
    }
    return rc;
}

int connect_begin(const struct arb_address *to, struct local_addresses *from, int *ret_fd)
{
    bool is_fit = from && from->n > 0 && from->all[0].sa.ss_family == to->sa.ss_family;
    int rc = is_fit ? connect_in_turn(to, from, ret_fd) : connect_once(to, NULL, ret_fd);

    return rc >= 0 || rc == -EAGAIN ? rc : outcome_of(-rc);
}

static bool is_with_itself(int fd, const struct arb_address *to)
{
    struct sockaddr_storage own;
    socklen_t len = sizeof(own);

    memset(&own, 0, sizeof(own));
    return to->sa.ss_family != AF_UNIX && getsockname(fd, (struct sockaddr *)&own, &len) == 0 &&
           len == to->len && memcmp(&own, &to->sa, len) == 0;
}

int connect_finish(int fd, const struct arb_address *to, bool has_error)
{
    int error = 0;
    socklen_t len = sizeof(error);

    if (has_error && getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error == 0 && is_with_itself(fd, to))
        error = ECONNREFUSED;
    return error ? outcome_of(error) : 0;
}
