/*
 * The raw peer. The conformance program, and the tests.
 */
#include "conformance/peer.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "conformance/must.h"

enum { PEERS_MAX = 65536 };

struct block {
    struct block *next;
    _Alignas(16) uint8_t data[];
};

static bool is_open[PEERS_MAX];
static struct block *blocks;

static bool peer_poll(int fd, short events, uint64_t deadline_ms)
{
    for (;;) {
        uint64_t now = clock_mono_ms();
        struct pollfd p = {.fd = fd, .events = events};
        int r = poll(&p, 1, now < deadline_ms ? (int)(deadline_ms - now) : 0);
        if (r > 0)
            return true;
        if (r == 0 && clock_mono_ms() >= deadline_ms)
            return false;
    }
}

/* As peer_try_connect; @from is bound first, if it is not NULL, which says so at once. */
static int peer_connect_to(const struct sockaddr *sa, socklen_t len, int rcvbuf,
                           const struct addrinfo *from)
{
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -errno;
    if (rcvbuf)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof(rcvbuf));
    MUST(!from || bind(fd, from->ai_addr, from->ai_addrlen) == 0, "bind: %s", strerror(errno));
    if (connect(fd, sa, len) < 0) {
        int error = errno;
        socklen_t error_len = sizeof(error);
        if (error == EINPROGRESS) {
            error = ETIMEDOUT;
            if (peer_poll(fd, POLLOUT, clock_mono_ms() + WAIT_MS))
                getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_len);
        }
        if (error) {
            close(fd);
            return -error;
        }
    }
    if (sa->sa_family != AF_UNIX)
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    MUST(fd < PEERS_MAX, "too many peers: descriptor %d", fd);
    is_open[fd] = true;
    return fd;
}

/* "HOST:PORT" or "[V6]:PORT"; NULL = no such address. */
static struct addrinfo *peer_resolve(const char *addr)
{
    char host[256];
    const char *colon = strrchr(addr, ':'), *from = addr;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list;
    if (!colon || (size_t)(colon - addr) >= sizeof(host))
        return NULL;
    size_t n = (size_t)(colon - addr);
    if (n >= 2 && addr[0] == '[') {
        from++;
        n -= 2;
    }
    snprintf(host, sizeof(host), "%.*s", (int)n, from);
    return getaddrinfo(n ? host : NULL, colon + 1, &hints, &list) ? NULL : list;
}

int peer_try_connect(const char *addr, int rcvbuf)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    if (!strncmp(addr, "unix:", 5)) {
        snprintf(un.sun_path, sizeof(un.sun_path), "%s", addr + 5);
        return peer_connect_to((struct sockaddr *)&un, sizeof(un), rcvbuf, NULL);
    }
    struct addrinfo *list = peer_resolve(addr);
    int r = -EINVAL;
    for (struct addrinfo *a = list; a && r < 0; a = a->ai_next)
        r = peer_connect_to(a->ai_addr, a->ai_addrlen, rcvbuf, NULL);
    if (list)
        freeaddrinfo(list);
    return r;
}

int peer_connect_rcvbuf(const char *addr, int rcvbuf)
{
    int fd = peer_try_connect(addr, rcvbuf);
    MUST(fd >= 0, "connect to %s: %s", addr, strerror(-fd));
    return fd;
}

int peer_try_connect_from(const char *from, const char *addr)
{
    struct addrinfo *to = peer_resolve(addr), *bound = peer_resolve(from);
    int fd = -EINVAL;

    if (to && bound)
        fd = peer_connect_to(to->ai_addr, to->ai_addrlen, 0, bound);
    if (to)
        freeaddrinfo(to);
    if (bound)
        freeaddrinfo(bound);
    return fd;
}

int peer_connect(const char *addr)
{
    return peer_connect_rcvbuf(addr, 0);
}

long peer_try_send(int fd, const void *data, size_t len)
{
    for (;;) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0)
            return n;
        if (errno == EAGAIN)
            return 0;
        if (errno != EINTR)
            return -errno;
    }
}

void peer_send(int fd, const void *data, size_t len)
{
    uint64_t deadline = clock_mono_ms() + WAIT_MS;
    for (size_t done = 0; done < len;) {
        long n = peer_try_send(fd, (const uint8_t *)data + done, len - done);
        MUST(n >= 0, "send after %zu of %zu bytes: %s", done, len, strerror((int)-n));
        done += (size_t)n;
        if (done < len)
            MUST(peer_poll(fd, POLLOUT, deadline), "cannot send: %zu of %zu bytes", done, len);
    }
}

void peer_send_text(int fd, const char *text)
{
    peer_send(fd, text, strlen(text));
}

size_t peer_send_until_full(int fd, struct bytes out)
{
    enum { FULL_MS = 100 };
    size_t sent = 0;
    while (sent < out.len) {
        long n = peer_try_send(fd, (const uint8_t *)out.data + sent, out.len - sent);
        MUST(n >= 0, "send after %zu of %zu bytes: %s", sent, out.len, strerror((int)-n));
        sent += (size_t)n;
        if (n == 0 && !peer_poll(fd, POLLOUT, clock_mono_ms() + FULL_MS))
            break;
    }
    return sent;
}

void peer_send_until_end(int fd, struct bytes out)
{
    uint64_t deadline = clock_mono_ms() + WAIT_MS;
    for (size_t sent = 0; sent < out.len;) {
        long n = peer_try_send(fd, (const uint8_t *)out.data + sent, out.len - sent);
        if (n < 0)
            return;
        sent += (size_t)n;
        /* POLLRDHUP: it has said its last word and may have stopped to read. */
        if (n == 0)
            MUST(peer_poll(fd, POLLOUT | POLLRDHUP, deadline), "neither more room nor an end");
        struct pollfd p = {.fd = fd, .events = POLLRDHUP};
        if (poll(&p, 1, 0) > 0)
            return;
    }
}

size_t peer_peek(int fd, void *buf, size_t size)
{
    ssize_t n = recv(fd, buf, size, MSG_DONTWAIT | MSG_PEEK);
    return n > 0 ? (size_t)n : 0;
}

/* Up to @size bytes: > 0 bytes, 0 = end, -EAGAIN = nothing until the deadline (0: now), -errno. */
static long peer_recv(int fd, void *buf, size_t size, uint64_t deadline_ms)
{
    for (;;) {
        ssize_t n = recv(fd, buf, size, MSG_DONTWAIT);
        if (n >= 0)
            return n;
        if (errno != EAGAIN && errno != EINTR)
            return -errno;
        if (errno == EAGAIN && (!deadline_ms || !peer_poll(fd, POLLIN, deadline_ms)))
            return -EAGAIN;
    }
}

/* Compare @n received bytes with what was due at @offset. */
static void peer_compare(const uint8_t *got, size_t n, struct bytes want, size_t offset)
{
    const uint8_t *due = (const uint8_t *)want.data + offset;
    for (size_t i = 0; memcmp(got, due, n) && i < n; i++)
        MUST(got[i] == due[i], "byte %zu of %zu is 0x%02x, expected 0x%02x", offset + i, want.len,
             got[i], due[i]);
}

void peer_expect(int fd, const void *data, size_t len)
{
    peer_exchange(fd, (struct bytes){0}, (struct bytes){data, len}, 0, NULL);
}

void peer_expect_text(int fd, const char *text)
{
    peer_expect(fd, text, strlen(text));
}

void peer_expect_eof(int fd)
{
    uint8_t byte;
    long n = peer_recv(fd, &byte, 1, clock_mono_ms() + WAIT_MS);
    MUST(n <= 0, "a byte 0x%02x instead of the end of file", byte);
    MUST(n != -EAGAIN, "no end of file within %u ms, and no byte", WAIT_MS);
    MUST(n == 0, "instead of the end of file: %s", strerror((int)-n));
}

bool peer_has_ended(int fd)
{
    uint8_t byte;
    ssize_t n = recv(fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
}

enum peer_end peer_drain(int fd, unsigned timeout_ms, uint64_t *ret_bytes)
{
    uint8_t buf[65536];
    uint64_t total = 0, deadline = clock_mono_ms() + timeout_ms;
    long n;
    while ((n = peer_recv(fd, buf, sizeof(buf), deadline)) > 0)
        total += (uint64_t)n;
    if (ret_bytes)
        *ret_bytes = total;
    return n == 0 ? PEER_EOF : n == -EAGAIN ? PEER_SILENT : PEER_RESET;
}

/* One step of sending: returns whether bytes went out. */
static bool exchange_send(int fd, struct bytes out, size_t *sent, size_t *chunk)
{
    size_t len = out.len - *sent;
    if (*chunk && *chunk < len)
        len = *chunk;
    long n = peer_try_send(fd, (const uint8_t *)out.data + *sent, len);
    MUST(n >= 0, "send after %zu of %zu bytes: %s", *sent, out.len, strerror((int)-n));
    *sent += (size_t)n;
    *chunk -= *chunk ? (size_t)n : 0;
    return n > 0;
}

/* One step of receiving: returns whether bytes came before the deadline. */
static bool exchange_receive(int fd, struct bytes want, size_t *got, uint64_t deadline_ms)
{
    uint8_t buf[65536];
    size_t due = want.len - *got;
    long n = peer_recv(fd, buf, due < sizeof(buf) ? due : sizeof(buf), deadline_ms);
    if (n == -EAGAIN)
        return false;
    MUST(n >= 0, "receive after %zu of %zu bytes: %s", *got, want.len, strerror((int)-n));
    MUST(n > 0, "end of file after %zu of %zu bytes", *got, want.len);
    peer_compare(buf, (size_t)n, want, *got);
    *got += (size_t)n;
    return true;
}

void peer_exchange(int fd, struct bytes out, struct bytes want, size_t max_chunk, uint64_t *rng)
{
    size_t sent = 0, got = 0, chunk = 0;
    uint64_t alarm_ms = clock_mono_ms() + WAIT_MS;
    for (unsigned turn = 1; sent < out.len || got < want.len; turn++) {
        bool is_moving = false;
        if (sent < out.len) {
            if (!chunk)
                chunk = max_chunk < 2 ? max_chunk : 1 + rng_below(rng, max_chunk);
            is_moving = exchange_send(fd, out, &sent, &chunk);
        }
        /* A look at every 16th send is enough to keep the other side's output moving. */
        if (is_moving && sent < out.len && turn % 16)
            continue;
        if (got < want.len)
            is_moving |= exchange_receive(fd, want, &got, is_moving ? 0 : clock_mono_ms() + 10);
        else if (!is_moving)
            peer_poll(fd, POLLOUT, clock_mono_ms() + 10);
        if (is_moving)
            alarm_ms = clock_mono_ms() + WAIT_MS;
        MUST(clock_mono_ms() < alarm_ms, "stuck: %zu of %zu sent, %zu of %zu received", sent,
             out.len, got, want.len);
    }
}

void peer_echo(int fd, const char *text)
{
    char message[4096];
    int len = snprintf(message, sizeof(message), "%s\r\n\r\n", text);
    MUST(len > 0 && (size_t)len < sizeof(message), "message too long for peer_echo");
    peer_send(fd, message, (size_t)len);
    peer_expect(fd, message, (size_t)len);
}

bool peer_is_served(const char *addr, unsigned timeout_ms)
{
    static const char message[] = "are you there?\r\n\r\n";
    char buf[sizeof(message)];
    size_t got = 0;
    uint64_t deadline = clock_mono_ms() + timeout_ms;
    int fd = peer_try_connect(addr, 0);
    if (fd < 0)
        return false;
    if (peer_try_send(fd, message, sizeof(message) - 1) == sizeof(message) - 1) {
        long n;
        while (got < sizeof(message) - 1 &&
               (n = peer_recv(fd, buf + got, sizeof(message) - 1 - got, deadline)) > 0)
            got += (size_t)n;
    }
    peer_close(fd);
    return got == sizeof(message) - 1 && !memcmp(buf, message, got);
}

void peer_half_close(int fd)
{
    MUST(shutdown(fd, SHUT_WR) == 0, "half-close: %s", strerror(errno));
}

void peer_reset(int fd)
{
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    peer_close(fd);
}

void peer_close(int fd)
{
    if (fd < 0 || !is_open[fd])
        return;
    is_open[fd] = false;
    close(fd);
}

static bool peer_is_acked(int fd)
{
    int left = 0;
    return ioctl(fd, SIOCOUTQ, &left) < 0 || left == 0;
}

void peer_pause_until_acked(int fd)
{
    MUST_COME(peer_is_acked(fd), "sent bytes are not acknowledged");
}

void *peer_alloc(size_t size)
{
    struct block *b = malloc(sizeof(*b) + size);
    MUST(b, "no memory");
    b->next = blocks;
    blocks = b;
    return b->data;
}

void peer_release_all(void)
{
    for (int fd = 0; fd < PEERS_MAX; fd++)
        peer_close(fd);
    while (blocks) {
        struct block *b = blocks;
        blocks = b->next;
        free(b);
    }
}
