/*
 * The socket half of a call: moves bytes between an exchange and a non-blocking socket.
 */
#include "client/call.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fds.h"

void call_init(struct call *c, const struct frame_rule *rule)
{
    *c = (struct call){.fd = -1, .outcome = CALL_CLOSED};
    exchange_init(&c->exchange, rule);
}

void call_close(struct call *c)
{
    fds_close(&c->fd);
    c->outcome = CALL_CLOSED;
    c->is_deaf = c->is_reset = false;
    exchange_reset(&c->exchange);
}

void call_fini(struct call *c)
{
    call_close(c);
    exchange_fini(&c->exchange);
}

uint64_t call_deadline(uint64_t timeout_ms)
{
    uint64_t now = clock_mono_ns();

    if (timeout_ms == 0 || timeout_ms > (CALL_FOREVER - now) / 1000000)
        return CALL_FOREVER;
    return now + timeout_ms * 1000000;
}

int call_adopt(struct call *c, int fd)
{
    int rc = fds_set_nonblock(fd);

    if (rc)
        return rc;
    call_close(c);
    c->fd = fd;
    c->outcome = 0;
    return 0;
}

int call_connect(struct call *c, const struct addr *a, uint64_t deadline_ns)
{
    int rc;

    call_close(c);
    rc = dial(a, NULL, deadline_ns, &c->fd);
    if (rc)
        return rc;
    c->outcome = 0;
    return 0;
}

int call_post(struct call *c, const void *message, size_t len)
{
    return c->outcome ? c->outcome : exchange_post(&c->exchange, message, len);
}

/* A connection that breaks while we write may still have replies for us: only stop writing. */
static int send_some(struct call *c)
{
    while (!c->is_deaf) {
        size_t len;
        const uint8_t *data = exchange_output(&c->exchange, &len);
        ssize_t n;

        if (len == 0)
            return 0;
        n = send(c->fd, data, len, MSG_NOSIGNAL);
        if (n >= 0)
            exchange_sent(&c->exchange, (size_t)n);
        else if (errno == EAGAIN)
            return 0;
        else if (errno == EPIPE || errno == ECONNRESET) {
            c->is_deaf = true;
            c->is_reset = errno == ECONNRESET;
        } else if (errno != EINTR)
            return -errno;
    }
    return 0;
}

static int receive_some(struct call *c)
{
    uint8_t *room;
    ssize_t n;
    int rc = exchange_room(&c->exchange, CALL_READ_BYTES, &room);

    if (rc)
        return rc;
    n = recv(c->fd, room, CALL_READ_BYTES, 0);
    if (n > 0)
        exchange_received(&c->exchange, (size_t)n);
    else if (n == 0)
        return c->is_reset ? CALL_RESET : CALL_CLOSED;
    else if (errno == ECONNRESET || errno == EPIPE)
        return CALL_RESET;
    else if (errno == ETIMEDOUT)
        return CALL_TIMEOUT;
    else if (errno != EAGAIN && errno != EINTR)
        return -errno;
    return 0;
}

short call_events(const struct call *c)
{
    size_t len;

    exchange_output(&c->exchange, &len);
    return len > 0 && !c->is_deaf ? POLLIN | POLLOUT : POLLIN;
}

/* Wait until the socket can do something: 0, CALL_TIMEOUT or -errno. */
static int wait_ready(struct call *c, uint64_t deadline_ns)
{
    struct pollfd p = {.fd = c->fd, .events = call_events(c)};
    uint64_t now = clock_mono_ns();
    int ms = -1, rc;

    if (deadline_ns != CALL_FOREVER) {
        if (now >= deadline_ns)
            return CALL_TIMEOUT;
        ms = (deadline_ns - now) / 1000000 >= INT32_MAX ? INT32_MAX
                                                        : (int)((deadline_ns - now) / 1000000) + 1;
    }
    rc = poll(&p, 1, ms);
    return rc < 0 && errno != EINTR ? -errno : 0;
}

int call_wait(struct call *c, uint64_t deadline_ns, const uint8_t **ret_reply, size_t *ret_len)
{
    int rc;

    for (;;) {
        rc = exchange_take(&c->exchange, ret_reply, ret_len);
        if (rc != CALL_PENDING || c->exchange.n_outstanding == 0)
            break;
        rc = c->outcome;
        if (rc == 0)
            rc = send_some(c);
        if (rc == 0)
            rc = wait_ready(c, deadline_ns);
        if (rc == 0)
            rc = receive_some(c);
        if (rc)
            break;
    }
    if (rc != 0 && rc != CALL_PENDING && c->outcome == 0)
        c->outcome = rc;
    return rc;
}

int call_advance(struct call *c, const uint8_t **ret_reply, size_t *ret_len)
{
    int rc = exchange_take(&c->exchange, ret_reply, ret_len);

    if (rc == CALL_PENDING && c->exchange.n_outstanding > 0) {
        rc = c->outcome;
        if (rc == 0)
            rc = send_some(c);
        if (rc == 0)
            rc = receive_some(c);
        if (rc == 0)
            rc = exchange_take(&c->exchange, ret_reply, ret_len);
    }
    if (rc != 0 && rc != CALL_PENDING && c->outcome == 0)
        c->outcome = rc;
    return rc;
}

int call_exchange(struct call *c, const void *message, size_t len, uint64_t deadline_ns,
                  const uint8_t **ret_reply, size_t *ret_len)
{
    int rc = call_post(c, message, len);

    return rc ? rc : call_wait(c, deadline_ns, ret_reply, ret_len);
}

bool call_is_usable(const struct call *c)
{
    uint8_t byte;

    if (c->fd < 0 || c->outcome != 0 || c->exchange.is_over || c->exchange.n_outstanding > 0)
        return false;
    return recv(c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) < 0 &&
           (errno == EAGAIN || errno == EINTR);
}
