/*
 * The toy server: an out buffer a connection that only grows, no limits, no manners.
 */
#include "support/toy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "conformance/must.h"

struct toy_conn {
    struct list link;
    struct toy *toy;
    ev_io io;
    char *out;
    size_t out_len, out_done, out_size;
    uint64_t n_said; /* bytes put into `out` */
    bool is_ended; /* the client's end of file has come */
    bool is_long_disconnected;
};

static void drop(struct toy_conn *c)
{
    ev_io_stop(c->toy->loop, &c->io);
    close(c->io.fd);
    list_remove(&c->link);
    free(c->out);
    free(c);
}

static void say(struct toy_conn *c, char byte)
{
    if (c->out_len == c->out_size) {
        c->out_size = c->out_size ? 2 * c->out_size : 65536;
        c->out = realloc(c->out, c->out_size);
        MUST(c->out, "no memory");
    }
    c->out[c->out_len++] = byte;
}

static void say_with_mischief(struct toy_conn *c, const char *data, size_t n)
{
    for (size_t i = 0; i < n; i++, c->n_said++) {
        bool is_there = c->n_said == c->toy->at;
        enum toy_mischief m = c->toy->mischief;
        if (m != TOY_HONEST && m <= TOY_SILENT && c->n_said >= c->toy->at)
            return;
        if (m == TOY_SKIP && is_there)
            continue;
        say(c, (char)(m == TOY_FLIP && is_there ? data[i] ^ 0x40 : data[i]));
        if (m == TOY_REPEAT && is_there)
            say(c, data[i]);
    }
}

/* Returns whether the connection is still there. */
static bool write_out(struct toy_conn *c)
{
    while (c->out_done < c->out_len) {
        ssize_t n = send(c->io.fd, c->out + c->out_done, c->out_len - c->out_done,
                         MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0) {
            drop(c);
            return false;
        }
        c->out_done += (size_t)n;
    }
    c->out_done = c->out_len = 0;
    if (c->toy->mischief == TOY_CLOSE && c->n_said >= c->toy->at && !c->is_long_disconnected) {
        c->is_long_disconnected = true;
        shutdown(c->io.fd, SHUT_WR);
    }
    if (c->toy->mischief == TOY_RESET && c->n_said >= c->toy->at) {
        setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &(struct linger){.l_onoff = 1},
                   sizeof(struct linger));
        drop(c);
        return false;
    }
    if (c->is_ended) {
        drop(c);
        return false;
    }
    return true;
}

static void on_conn(struct ev_loop *loop, ev_io *w, int revents)
{
    struct toy_conn *c = container_of(w, struct toy_conn, io);
    char buf[65536];
    if (revents & EV_READ) {
        ssize_t n = recv(w->fd, buf, sizeof(buf), MSG_DONTWAIT);
        if (n < 0 && errno != EAGAIN) {
            drop(c);
            return;
        }
        if (n > 0)
            say_with_mischief(c, buf, (size_t)n);
        c->is_ended = n == 0;
    }
    if (!write_out(c))
        return;
    ev_io_stop(loop, w);
    ev_io_set(w, w->fd, (c->is_ended ? 0 : EV_READ) | (c->out_len > c->out_done ? EV_WRITE : 0));
    ev_io_start(loop, w);
}

static void on_accept(struct ev_loop *loop, ev_io *w, int revents)
{
    struct toy *t = container_of(w, struct toy, accept);
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);
    (void)revents;
    if (fd < 0)
        return;
    struct toy_conn *c = calloc(1, sizeof(*c));
    MUST(c, "no memory");
    c->toy = t;
    list_append(&t->conns, &c->link);
    ev_io_init(&c->io, on_conn, fd, EV_READ);
    ev_io_start(loop, &c->io);
}

void toy_start(struct toy *t, struct ev_loop *loop, enum toy_mischief mischief, uint64_t at)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&sa, len) == 0 && listen(fd, 512) == 0 &&
             getsockname(fd, (struct sockaddr *)&sa, &len) == 0,
         "toy: %s", strerror(errno));
    *t = (struct toy){.loop = loop, .mischief = mischief, .at = at};
    list_init(&t->conns);
    snprintf(t->addr, sizeof(t->addr), "127.0.0.1:%u", ntohs(sa.sin_port));
    ev_io_init(&t->accept, on_accept, fd, EV_READ);
    ev_io_start(loop, &t->accept);
}

void toy_stop(struct toy *t)
{
    struct list *pos, *next;
    list_for_each_safe (pos, next, &t->conns)
        drop(container_of(pos, struct toy_conn, link));
    ev_io_stop(t->loop, &t->accept);
    close(t->accept.fd);
}
