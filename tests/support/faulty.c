/*
 * The failing server: one thread, blocking writes, one lock around all it knows.
 */
#include "support/faulty.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define SEP     "\r\n\r\n"
#define SEP_LEN ((size_t)4)

enum { CLIENTS_MAX = 256 };

struct client {
    int fd; /* -1 = free */
    bool is_stalled;
    uint8_t *buf; /* owned */
    size_t len, size;
};

struct faulty {
    pthread_t thread;
    pthread_mutex_t lock;
    int listener, wake;
    char addr[128], path[108];
    bool is_stopping, is_held, is_closing_all;
    enum fault_kind kind;
    size_t at;
    unsigned n_armed, n_messages, n_bytes, n_accepted, n_open;
    struct client clients[CLIENTS_MAX];
};

static void client_close(struct faulty *f, struct client *c, bool is_reset)
{
    struct linger now = {.l_onoff = 1};

    if (c->fd < 0)
        return;
    if (is_reset)
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
    close(c->fd);
    free(c->buf);
    *c = (struct client){.fd = -1};
    f->n_open--;
}

/* Blocks; a peer that has gone is no matter. */
static void put(struct client *c, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(c->fd, data, len, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR)
            return;
        data += n > 0 ? n : 0;
        len -= n > 0 ? (size_t)n : 0;
    }
}

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* A reset must not overtake what was sent. */
static void wait_until_acked(struct client *c)
{
    int n = 0;

    while (ioctl(c->fd, SIOCOUTQ, &n) == 0 && n > 0)
        pause_ms(1);
}

static void reply_with_fault(struct faulty *f, struct client *c, const uint8_t *m, size_t n)
{
    size_t k = f->at < n ? f->at : n;
    size_t next = k < n ? k + 1 : n;
    uint8_t wrong = k < n ? (uint8_t)(m[k] ^ 0x01) : 0;

    f->n_armed--;
    if (f->kind == FAULT_EARLY_CLOSE) {
        client_close(f, c, false);
        return;
    }
    put(c, m, f->kind == FAULT_TWICE ? 0 : k);
    switch (f->kind) {
    case FAULT_CLOSE:
        client_close(f, c, false);
        break;
    case FAULT_RESET:
        wait_until_acked(c);
        client_close(f, c, true);
        break;
    case FAULT_STALL:
        c->is_stalled = true;
        break;
    case FAULT_DELAY:
        pause_ms(2);
        put(c, m + k, n - k);
        break;
    case FAULT_SHORT:
        put(c, m + next, n - next);
        break;
    case FAULT_CORRUPT:
        put(c, &wrong, next - k);
        put(c, m + next, n - next);
        break;
    case FAULT_DOUBLE:
        put(c, m + k, next - k);
        put(c, m + k, n - k);
        break;
    case FAULT_TWICE: {
        uint8_t *twice = malloc(2 * n);

        assert(twice);
        memcpy(twice, m, n);
        memcpy(twice + n, m, n);
        put(c, twice, 2 * n);
        free(twice);
        break;
    }
    default:
        put(c, m + k, n - k);
        break;
    }
}

static void serve(struct faulty *f, struct client *c)
{
    size_t start = 0;

    while (c->fd >= 0 && !c->is_stalled && !f->is_held) {
        const uint8_t *end =
            c->len > start ? memmem(c->buf + start, c->len - start, SEP, SEP_LEN) : NULL;
        size_t n;

        if (f->n_armed > 0 && f->kind == FAULT_EARLY_CLOSE && c->len - start >= f->at) {
            reply_with_fault(f, c, c->buf, 0);
            return;
        }
        if (!end)
            break;
        n = (size_t)(end - c->buf) + SEP_LEN - start;
        f->n_messages++;
        if (f->n_armed > 0)
            reply_with_fault(f, c, c->buf + start, n);
        else
            put(c, c->buf + start, n);
        start += n;
    }
    if (c->fd < 0)
        return;
    c->len -= start;
    if (c->len > 0)
        memmove(c->buf, c->buf + start, c->len);
}

/* Reads no more of a message than an early close wants to have read. */
static void on_readable(struct faulty *f, struct client *c)
{
    bool is_early = f->n_armed > 0 && f->kind == FAULT_EARLY_CLOSE;
    ssize_t n;

    if (c->size - c->len < 65536) {
        c->size = 2 * c->size + 65536;
        c->buf = realloc(c->buf, c->size);
        assert(c->buf);
    }
    n = recv(c->fd, c->buf + c->len, is_early ? f->at - c->len : 65536, MSG_DONTWAIT);
    if (n == 0 && is_early && f->at == c->len)
        n = 0;
    else if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        client_close(f, c, false);
        return;
    }
    c->len += n > 0 ? (size_t)n : 0;
    f->n_bytes += n > 0 ? (unsigned)n : 0;
    serve(f, c);
}

static void on_accept(struct faulty *f)
{
    int fd = accept4(f->listener, NULL, NULL, SOCK_CLOEXEC), one = 1;

    if (fd < 0)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    for (size_t i = 0; i < CLIENTS_MAX; i++) {
        if (f->clients[i].fd >= 0)
            continue;
        f->clients[i] = (struct client){.fd = fd};
        f->n_accepted++;
        f->n_open++;
        return;
    }
    close(fd);
}

static void turn(struct faulty *f, struct pollfd *p, const size_t *who, size_t n)
{
    uint64_t count;

    if (p[0].revents && read(f->wake, &count, sizeof(count)) > 0 && !f->is_held)
        for (size_t i = 0; i < CLIENTS_MAX; i++)
            if (f->clients[i].fd >= 0)
                serve(f, &f->clients[i]);
    if (f->is_closing_all)
        for (size_t i = 0; i < CLIENTS_MAX; i++)
            client_close(f, &f->clients[i], false);
    f->is_closing_all = false;
    for (size_t i = 2; i < n; i++)
        if (p[i].revents && f->clients[who[i]].fd == p[i].fd)
            on_readable(f, &f->clients[who[i]]);
    if (p[1].revents)
        on_accept(f);
}

static void *run(void *arg)
{
    struct faulty *f = arg;
    struct pollfd p[CLIENTS_MAX + 2];
    size_t who[CLIENTS_MAX + 2];

    pthread_mutex_lock(&f->lock);
    while (!f->is_stopping) {
        size_t n = 2;

        p[0] = (struct pollfd){.fd = f->wake, .events = POLLIN};
        p[1] = (struct pollfd){.fd = f->listener, .events = POLLIN};
        for (size_t i = 0; i < CLIENTS_MAX; i++) {
            if (f->clients[i].fd < 0)
                continue;
            p[n] = (struct pollfd){.fd = f->clients[i].fd, .events = POLLIN};
            who[n++] = i;
        }
        pthread_mutex_unlock(&f->lock);
        poll(p, n, -1);
        pthread_mutex_lock(&f->lock);
        turn(f, p, who, n);
    }
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        client_close(f, &f->clients[i], false);
    pthread_mutex_unlock(&f->lock);
    return NULL;
}

static void listen_tcp(struct faulty *f)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(sa);

    f->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(f->listener, (struct sockaddr *)&sa, len) < 0 ||
        getsockname(f->listener, (struct sockaddr *)&sa, &len) < 0)
        abort();
    snprintf(f->addr, sizeof(f->addr), "127.0.0.1:%u", ntohs(sa.sin_port));
}

static void listen_unix(struct faulty *f, const char *path)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};

    snprintf(f->path, sizeof(f->path), "%s", path);
    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", path);
    snprintf(f->addr, sizeof(f->addr), "unix:%s", path);
    f->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(f->listener, (struct sockaddr *)&sa, sizeof(sa)) < 0)
        abort();
}

struct faulty *faulty_start(const char *path)
{
    struct faulty *f = calloc(1, sizeof(*f));

    assert(f);
    for (size_t i = 0; i < CLIENTS_MAX; i++)
        f->clients[i].fd = -1;
    if (path)
        listen_unix(f, path);
    else
        listen_tcp(f);
    f->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    pthread_mutex_init(&f->lock, NULL);
    if (listen(f->listener, 128) < 0 || f->wake < 0 ||
        pthread_create(&f->thread, NULL, run, f) != 0)
        abort();
    return f;
}

static void wake(struct faulty *f)
{
    uint64_t one = 1;

    if (write(f->wake, &one, sizeof(one)) < 0)
        abort();
}

void faulty_stop(struct faulty *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->is_stopping = true;
    pthread_mutex_unlock(&f->lock);
    wake(f);
    pthread_join(f->thread, NULL);
    pthread_mutex_destroy(&f->lock);
    close(f->listener);
    close(f->wake);
    if (*f->path)
        unlink(f->path);
    free(f);
}

const char *faulty_addr(const struct faulty *f)
{
    return f->addr;
}

void faulty_arm(struct faulty *f, enum fault_kind kind, size_t at, unsigned n)
{
    pthread_mutex_lock(&f->lock);
    f->kind = kind;
    f->at = at;
    f->n_armed = n;
    pthread_mutex_unlock(&f->lock);
}

void faulty_hold(struct faulty *f, bool is_held)
{
    pthread_mutex_lock(&f->lock);
    f->is_held = is_held;
    pthread_mutex_unlock(&f->lock);
    wake(f);
}

static unsigned look(struct faulty *f, const unsigned *what)
{
    unsigned n;

    pthread_mutex_lock(&f->lock);
    n = *what;
    pthread_mutex_unlock(&f->lock);
    return n;
}

unsigned faulty_messages(struct faulty *f)
{
    return look(f, &f->n_messages);
}

unsigned faulty_bytes(struct faulty *f)
{
    return look(f, &f->n_bytes);
}

unsigned faulty_accepted(struct faulty *f)
{
    return look(f, &f->n_accepted);
}

unsigned faulty_open(struct faulty *f)
{
    return look(f, &f->n_open);
}

void faulty_close_all(struct faulty *f)
{
    pthread_mutex_lock(&f->lock);
    f->is_closing_all = true;
    pthread_mutex_unlock(&f->lock);
    wake(f);
    while (faulty_open(f) > 0)
        pause_ms(1);
}
