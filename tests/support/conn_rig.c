/*
 * The rig for connections.
 */
#include "support/conn_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "client/echo.h"
#include "echo_arbiter/echo.h"

/* TCP may deliver a moment later, from another context: so many quiet milliseconds mean silence. */
enum { QUIET_MS = 20, PATIENCE_MS = 20000 };

uint64_t rig_now_ms;

static uint64_t rig_clock(void)
{
    return rig_now_ms;
}

static void on_closed(struct conn_set *set)
{
    container_of(set, struct rig, set)->n_on_closed++;
}

void rig_use_rule(struct rig *r, const char *separator, size_t max_message)
{
    struct arb_bytes bytes = {.len = strlen(separator)};

    memcpy(bytes.data, separator, bytes.len);
    assert_int_equal(arb_frame_init(&r->frame, &bytes, max_message, bytes.len > 0 ? "QUIT" : NULL),
                     0);
}

void rig_use_protocol(struct rig *r, const struct arb_protocol *table, void *server)
{
    const struct conn_protocol p = {.table = table, .server = server};

    conn_set_serve(&r->set, &p, 1);
}

void rig_init(struct rig *r, const struct conn_limits *limits, size_t max_message)
{
    static const struct conn_limits none = {.max_buffered = 64 << 20};
    const struct conn_protocol echo = {.table = &echo_protocol, .server = &r->frame};

    memset(r, 0, sizeof(*r));
    r->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    assert_non_null(r->loop);
    rig_use_rule(r, ECHO_SEPARATOR, max_message);
    assert_int_equal(
        conn_set_init(&r->set, r->loop, &echo, 1, limits ? limits : &none, &r->counters, on_closed),
        0);
    rig_now_ms = 1000000;
    r->set.clock_ms = rig_clock;
    r->set.base_ms = rig_now_ms - (UINT64_C(1) << 24) * CONN_TICK_MS; /* there is a past */
    r->set.turn = ~0u;
}

static uint64_t sum_of_closes(const struct counters *c)
{
    return counter_get(&c->closed_peer) + counter_get(&c->closed_partial) +
           counter_get(&c->closed_quit) + counter_get(&c->closed_reset) +
           counter_get(&c->closed_error) + counter_get(&c->closed_too_big) +
           counter_get(&c->closed_message_timeout) + counter_get(&c->closed_write_timeout) +
           counter_get(&c->closed_keep_alive) + counter_get(&c->closed_buffered) +
           counter_get(&c->closed_drained) + counter_get(&c->closed_cut) +
           counter_get(&c->closed_evicted) + counter_get(&c->closed_owing) +
           counter_get(&c->closed_broken) + counter_get(&c->closed_killed) +
           counter_get(&c->closed_proxy) + counter_get(&c->closed_max_per_source) +
           counter_get(&c->closed_accept_rate);
}

void rig_fini(struct rig *r)
{
    size_t open;

    rig_run(r);
    open = r->set.n_open;
    assert_int_equal(r->n_on_closed, r->set.n_closes);
    assert_int_equal(sum_of_closes(&r->counters), r->set.n_closes);
    conn_set_fini(&r->set);
    assert_int_equal(sum_of_closes(&r->counters), r->n_on_closed + open);
    assert_int_equal(r->set.pool.used_bytes, 0);
    assert_int_equal(r->set.n_open, 0);
    ev_loop_destroy(r->loop);
}

static int rig_connect_by(struct rig *r, bool may_be_unix)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(conn_set_add(&r->set, pair[1], 0, ARB_ACCEPTED, may_be_unix), 0);
    return pair[0];
}

int rig_connect(struct rig *r)
{
    return rig_connect_by(r, false);
}

int rig_connect_unix(struct rig *r)
{
    return rig_connect_by(r, true);
}

/* Returns the peer's end, and ours. */
static int connect_tcp(int *ret_accepted)
{
    const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sin);
    const int one = 1;
    int accepted;

    assert_int_equal(bind(listener, (struct sockaddr *)&sin, len), 0);
    assert_int_equal(listen(listener, 1), 0);
    assert_int_equal(getsockname(listener, (struct sockaddr *)&sin, &len), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sin, len), 0);
    accepted = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    assert_true(accepted >= 0);
    assert_int_equal(setsockopt(accepted, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
    assert_int_equal(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    close(listener);
    *ret_accepted = accepted;
    return fd;
}

int rig_connect_tcp(struct rig *r)
{
    int accepted, fd = connect_tcp(&accepted);

    assert_int_equal(conn_set_add(&r->set, accepted, 0, ARB_ACCEPTED, false), 0);
    return fd;
}

int rig_connect_headed(struct rig *r, enum proxy_wish wish)
{
    int accepted, fd = connect_tcp(&accepted);

    assert_int_equal(conn_set_add_headed(&r->set, accepted, 0, wish, false), 0);
    return fd;
}

static uint64_t moved(const struct rig *r)
{
    return counter_get(&r->counters.bytes_in) + counter_get(&r->counters.bytes_out) +
           r->set.n_closes;
}

void rig_run(struct rig *r)
{
    uint64_t before;

    do {
        before = moved(r);
        ev_run(r->loop, EVRUN_NOWAIT);
        ev_run(r->loop, EVRUN_NOWAIT);
    } while (moved(r) != before);
}

void rig_pass(struct rig *r, uint64_t ms)
{
    rig_run(r);
    rig_now_ms += ms;
    ev_feed_event(r->loop, &r->set.sweep, EV_TIMER);
    rig_run(r);
}

/* Runs the loop until @fd is ready for @events; false when nothing has happened for a while. */
static bool wait_for(struct rig *r, int fd, short events, int patience_ms)
{
    struct pollfd p = {.fd = fd, .events = events};

    for (int ms = 0; ms < patience_ms; ms++) {
        rig_run(r);
        if (poll(&p, 1, 1) > 0)
            return true;
    }
    return false;
}

size_t rig_offer(struct rig *r, int fd, const void *data, size_t len)
{
    size_t sent = 0;

    while (sent < len) {
        const ssize_t n = send(fd, (const char *)data + sent, len - sent, MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN)
            break;
        if (n < 0 && !wait_for(r, fd, POLLOUT, QUIET_MS))
            break;
        sent += n > 0 ? (size_t)n : 0;
    }
    rig_run(r);
    return sent;
}

void rig_send(struct rig *r, int fd, const void *data, size_t len)
{
    assert_int_equal(rig_offer(r, fd, data, len), len);
}

void rig_send_text(struct rig *r, int fd, const char *text)
{
    rig_send(r, fd, text, strlen(text));
}

void rig_expect(struct rig *r, int fd, const void *data, size_t len)
{
    char *got = malloc(len + 1);
    size_t n = 0;

    assert_non_null(got);
    while (n < len) {
        ssize_t k;

        if (!wait_for(r, fd, POLLIN, PATIENCE_MS))
            break;
        k = recv(fd, got + n, len - n, 0);
        if (k <= 0)
            break;
        n += (size_t)k;
    }
    if (n != len || memcmp(got, data, len) != 0)
        fail_msg("%zu bytes came, %zu were expected; or they differ", n, len);
    free(got);
}

void rig_expect_text(struct rig *r, int fd, const char *text)
{
    rig_expect(r, fd, text, strlen(text));
}

void rig_expect_nothing(struct rig *r, int fd)
{
    assert_false(wait_for(r, fd, POLLIN, QUIET_MS));
}

void rig_expect_eof(struct rig *r, int fd)
{
    char byte;

    assert_true(wait_for(r, fd, POLLIN, PATIENCE_MS));
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
}

void rig_expect_reset(struct rig *r, int fd)
{
    char byte;

    assert_true(wait_for(r, fd, POLLIN, PATIENCE_MS));
    assert_int_equal(recv(fd, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
}

void rig_expect_closed(const struct rig *r, const counter_t *counter, unsigned n)
{
    assert_int_equal(counter_get(counter), n);
    assert_int_equal(r->set.n_closes, n);
    assert_int_equal(r->n_on_closed, n);
    assert_int_equal(sum_of_closes(&r->counters), n);
}

uint8_t *rig_payload(size_t n)
{
    uint8_t *p = malloc(n + 4);

    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)('a' + (i * 2654435761u >> 16) % 23);
    memcpy(p + n, "\r\n\r\n", 4);
    return p;
}
