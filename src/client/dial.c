/*
 * Connecting with a deadline: a few attempts side by side, watched with one poll.
 */
#include "client/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"

enum { UNIX_RETRY_MS = 10 };

/* Attempts under way; a slot whose fd is -1 has ended. */
struct attempts {
    struct pollfd poll[DIAL_ADDRESSES_MAX];
    nfds_t n;
    unsigned n_open;
    int outcome; /* of the last failure */
};

int dial_outcome(int error)
{
    switch (error) {
    case ECONNREFUSED:
    case ENOENT: /* a unix socket that is not there */
        return CALL_REFUSED;
    case ENETUNREACH:
    case EHOSTUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
    case EADDRNOTAVAIL:
    case EAFNOSUPPORT:
        return CALL_UNREACHABLE;
    case ETIMEDOUT:
        return CALL_TIMEOUT;
    case ECONNRESET:
        return CALL_RESET;
    default:
        return -error;
    }
}

/* Milliseconds until @deadline_ns, rounded up, at most @most (-1 = no bound); 0 = it has passed. */
static int remaining_ms(uint64_t deadline_ns, int most)
{
    uint64_t now = clock_mono_ns();
    uint64_t ms;

    if (deadline_ns == DIAL_FOREVER)
        return most;
    if (now >= deadline_ns)
        return 0;
    ms = (deadline_ns - now + 999999) / 1000000;
    if (most >= 0 && ms > (uint64_t)most)
        return most;
    return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

static int loopback(uint16_t port, struct dial_address *ret)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    v6.sin6_addr = in6addr_loopback;
    memcpy(&ret[0].sa, &v4, sizeof(v4));
    ret[0].len = sizeof(v4);
    memcpy(&ret[1].sa, &v6, sizeof(v6));
    ret[1].len = sizeof(v6);
    return 2;
}

int dial_addresses(const struct addr *a, dial_resolver *resolver, uint64_t deadline_ns,
                   struct dial_address *ret)
{
    int rc;

    if (a->kind == ADDR_ANY)
        return loopback(a->port, ret);
    if (a->kind == ADDR_HOST && resolver)
        return resolver(a->host, a->port, ret, DIAL_ADDRESSES_MAX);
    if (a->kind == ADDR_HOST)
        return dial_resolve(a->host, a->port, deadline_ns, ret, DIAL_ADDRESSES_MAX);
    rc = addr_to_sockaddr(a, &ret[0].sa, &ret[0].len);
    return rc ? rc : 1;
}

/* A unix socket has no "in progress": a full accept queue is EAGAIN, and there is nothing to poll.
 */
static int connect_unix(int fd, const struct dial_address *to, uint64_t deadline_ns)
{
    for (;;) {
        if (connect(fd, (const struct sockaddr *)&to->sa, to->len) == 0 || errno == EISCONN)
            return 0;
        if (errno != EAGAIN && errno != EINTR)
            return dial_outcome(errno);
        if (remaining_ms(deadline_ns, UNIX_RETRY_MS) == 0)
            return CALL_TIMEOUT;
        poll(NULL, 0, remaining_ms(deadline_ns, UNIX_RETRY_MS));
    }
}

/* Returns 0 if connected at once (@ret_fd), CALL_PENDING if it is under way in @at, else why not.
 */
static int attempt_start(struct attempts *at, const struct dial_address *to, uint64_t deadline_ns,
                         int *ret_fd)
{
    int one = 1, rc;
    int fd = socket(to->sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return dial_outcome(errno);
    if (to->sa.ss_family == AF_UNIX) {
        rc = connect_unix(fd, to, deadline_ns);
    } else {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        rc = connect(fd, (const struct sockaddr *)&to->sa, to->len) == 0 ? 0 : -errno;
        if (rc == -EINPROGRESS || rc == -EINTR) {
            at->poll[at->n++] = (struct pollfd){.fd = fd, .events = POLLOUT};
            at->n_open++;
            return CALL_PENDING;
        }
        rc = rc ? dial_outcome(-rc) : 0;
    }
    if (rc)
        close(fd);
    else
        *ret_fd = fd;
    return rc;
}

/* Look at what poll said: 0 and @ret_fd for a connection, CALL_PENDING for none yet. */
static int attempts_collect(struct attempts *at, int *ret_fd)
{
    for (nfds_t i = 0; i < at->n; i++) {
        struct pollfd *p = &at->poll[i];
        int error = 0;
        socklen_t len = sizeof(error);

        if (p->fd < 0 || !p->revents)
            continue;
        if (getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
            error = errno;
        if (error == 0) {
            *ret_fd = p->fd;
            p->fd = -1;
            return 0;
        }
        at->outcome = dial_outcome(error);
        fds_close(&p->fd);
        at->n_open--;
    }
    return CALL_PENDING;
}

/* Wait for any attempt, until the deadline or until it is time to start the next one. */
static int attempts_wait(struct attempts *at, bool has_more, uint64_t deadline_ns, int *ret_fd)
{
    uint64_t stagger_ns = clock_mono_ns() + DIAL_STAGGER_MS * UINT64_C(1000000);
    unsigned n_before = at->n_open;

    while (at->n_open > 0 && at->n_open == n_before) {
        uint64_t until = has_more ? MIN(stagger_ns, deadline_ns) : deadline_ns;
        int rc = poll(at->poll, at->n, remaining_ms(until, -1));

        if (rc < 0 && errno != EINTR)
            return -errno;
        if (rc > 0 && attempts_collect(at, ret_fd) == 0)
            return 0;
        if (rc == 0 && remaining_ms(deadline_ns, 1) == 0)
            return CALL_TIMEOUT;
        if (rc == 0 && has_more)
            break;
    }
    return CALL_PENDING;
}

int dial(const struct addr *a, dial_resolver *resolver, uint64_t deadline_ns, int *ret_fd)
{
    struct dial_address to[DIAL_ADDRESSES_MAX];
    struct attempts at = {.outcome = CALL_UNKNOWN_HOST};
    int n = dial_addresses(a, resolver, deadline_ns, to);
    int rc = CALL_PENDING, fd = -1;

    if (n < 0)
        return n == -EAGAIN ? CALL_NO_RESOLVER : n == -ETIMEDOUT ? CALL_TIMEOUT : n;
    for (int i = 0; rc == CALL_PENDING && (i < n || at.n_open > 0); i++) {
        if (i < n) {
            rc = attempt_start(&at, &to[i], deadline_ns, &fd);
            if (rc != 0 && rc != CALL_PENDING) {
                at.outcome = rc;
                rc = CALL_PENDING;
                continue;
            }
        }
        if (rc == CALL_PENDING)
            rc = attempts_wait(&at, i + 1 < n, deadline_ns, &fd);
    }
    for (nfds_t i = 0; i < at.n; i++)
        fds_close(&at.poll[i].fd);
    if (rc == 0)
        *ret_fd = fd;
    return rc == CALL_PENDING ? at.outcome : rc;
}
