/*
 * The frozen floor: the least that a framed echo server in one process has to do. Level-triggered
 * epoll, 256 events, one shared buffer of 64 KiB, one read an event, the last separator searched
 * from the end, one write a batch, tails in kept buffers that double, TCP_NODELAY; no timers, no
 * counters, no limits. It is what the server is measured against and is not tuned afterwards.
 *
 * floor [PORT]: prints 127.0.0.1:PORT when it listens.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS = 256, SHARED_BYTES = 65536 };

struct kept {
    uint8_t *data;
    size_t len, cap;
};

struct peer {
    int fd;
    bool is_waiting; /* for EPOLLOUT, with `out` */
    struct kept tail; /* the beginning of a message */
    struct kept out; /* what the kernel would not take; [out_off, len) */
    size_t out_off;
};

static int ep;
static uint8_t shared[SHARED_BYTES];

static void keep(struct kept *k, const uint8_t *data, size_t len)
{
    if (k->len + len > k->cap) {
        size_t cap = k->cap ? k->cap : 4096;
        while (cap < k->len + len)
            cap *= 2;
        k->data = realloc(k->data, cap);
        if (!k->data)
            abort();
        k->cap = cap;
    }
    memcpy(k->data + k->len, data, len);
    k->len += len;
}

static void peer_close(struct peer *p)
{
    close(p->fd);
    free(p->tail.data);
    free(p->out.data);
    free(p);
}

static void peer_watch(struct peer *p, uint32_t events)
{
    struct epoll_event ev = {.events = events, .data.ptr = p};
    epoll_ctl(ep, EPOLL_CTL_MOD, p->fd, &ev);
}

/* Length of the prefix that ends in the last separator; 0 if there is none from @from on. */
static size_t last_end(const uint8_t *data, size_t from, size_t len)
{
    while (len >= from + 4) {
        const uint8_t *lf = memrchr(data + from + 3, '\n', len - from - 3);
        if (!lf)
            return 0;
        if (lf[-1] == '\r' && lf[-2] == '\n' && lf[-3] == '\r')
            return (size_t)(lf - data) + 1;
        len = (size_t)(lf - data);
    }
    return 0;
}

/* Returns false if the peer is gone. */
static bool peer_send(struct peer *p, const uint8_t *data, size_t len)
{
    ssize_t n = write(p->fd, data, len);

    if (n < 0 && errno != EAGAIN)
        return false;
    if (n < 0)
        n = 0;
    if ((size_t)n < len) {
        keep(&p->out, data + n, len - (size_t)n);
        p->is_waiting = true;
        peer_watch(p, EPOLLOUT);
    }
    return true;
}

static bool peer_data(struct peer *p, size_t n)
{
    size_t end;

    if (p->tail.len == 0) {
        end = last_end(shared, 0, n);
        if (end < n)
            keep(&p->tail, shared + end, n - end);
        return end == 0 || peer_send(p, shared, end);
    }
    size_t from = p->tail.len > 3 ? p->tail.len - 3 : 0;
    keep(&p->tail, shared, n);
    end = last_end(p->tail.data, from, p->tail.len);
    if (end == 0)
        return true;
    if (!peer_send(p, p->tail.data, end))
        return false;
    memmove(p->tail.data, p->tail.data + end, p->tail.len - end);
    p->tail.len -= end;
    return true;
}

static bool peer_flush(struct peer *p)
{
    ssize_t n = write(p->fd, p->out.data + p->out_off, p->out.len - p->out_off);

    if (n < 0)
        return errno == EAGAIN;
    p->out_off += (size_t)n;
    if (p->out_off == p->out.len) {
        p->out_off = p->out.len = 0;
        p->is_waiting = false;
        peer_watch(p, EPOLLIN);
    }
    return true;
}

static bool peer_event(struct peer *p)
{
    if (p->is_waiting)
        return peer_flush(p);
    ssize_t n = read(p->fd, shared, sizeof(shared));
    if (n <= 0)
        return n < 0 && errno == EAGAIN;
    return peer_data(p, (size_t)n);
}

static void accept_one(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    struct peer *p;

    if (fd < 0)
        return;
    p = calloc(1, sizeof(*p));
    if (!p)
        abort();
    p->fd = fd;
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = p};
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port)};
    socklen_t len = sizeof(sin);
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    if (fd < 0 || bind(fd, (struct sockaddr *)&sin, len) || listen(fd, 4096) ||
        getsockname(fd, (struct sockaddr *)&sin, &len)) {
        perror("floor: cannot listen");
        exit(1);
    }
    printf("127.0.0.1:%u\n", ntohs(sin.sin_port));
    fflush(stdout);
    return fd;
}

int main(int argc, char **argv)
{
    struct epoll_event events[EVENTS];
    int listener = listen_on(argc > 1 ? (uint16_t)strtoul(argv[1], NULL, 10) : 0);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = NULL};

    signal(SIGPIPE, SIG_IGN);
    ep = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &ev);
    for (;;) {
        int n = epoll_wait(ep, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            struct peer *p = events[i].data.ptr;
            if (!p)
                accept_one(listener);
            else if (!peer_event(p))
                peer_close(p);
        }
    }
}
