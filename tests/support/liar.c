/*
 * The liar. Buffers only grow: runs are short.
 */
#include "support/liar.h"

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

#define SEP     "\r\n\r\n"
#define SEP_LEN ((size_t)4)

enum { SEQUENCE_AT = 37, HEADER = 55, HONEST_TAIL = 8, FATES_LIED = LIAR_FATES_N - 1 };

struct bytes_buffer {
    char *data;
    size_t len, done, size;
};

struct liar_conn {
    struct list link;
    struct liar *liar;
    ev_io io;
    ev_timer timer; /* the end of a delay */
    unsigned index;
    struct bytes_buffer in, out, held; /* held: the message to be swapped, with its separator */
    unsigned n_honest; /* messages that must be, from now on */
    bool is_ended, is_delaying;
};

static void append(struct bytes_buffer *b, const void *data, size_t len)
{
    if (b->len + len > b->size) {
        b->size = 2 * (b->len + len) + 65536;
        b->data = realloc(b->data, b->size);
        MUST(b->data, "no memory");
    }
    if (len)
        memcpy(b->data + b->len, data, len);
    b->len += len;
}

static void drop(struct liar_conn *c)
{
    ev_io_stop(c->liar->loop, &c->io);
    ev_timer_stop(c->liar->loop, &c->timer);
    close(c->io.fd);
    list_remove(&c->link);
    free(c->in.data);
    free(c->out.data);
    free(c->held.data);
    free(c);
}

/* Does the separator come exactly where it is put? */
static bool ends_at(const char *text, size_t len)
{
    const char *hit = memmem(text, len + SEP_LEN, SEP, SEP_LEN);

    return hit == text + len;
}

static void say(struct liar_conn *c, const char *text, size_t len)
{
    append(&c->out, text, len);
    append(&c->out, SEP, SEP_LEN);
}

/* Each is tried until it makes one message and no other. */
static void say_truncated(struct liar_conn *c, const char *text, size_t len)
{
    char *copy = malloc(len + SEP_LEN);
    size_t cut;

    MUST(copy, "no memory");
    do {
        cut = rng_below(&c->liar->rng, len);
        memcpy(copy, text, cut);
        memcpy(copy + cut, SEP, SEP_LEN);
    } while (!ends_at(copy, cut));
    say(c, copy, cut);
    free(copy);
}

static void say_corrupted(struct liar_conn *c, const char *text, size_t len)
{
    char *copy = malloc(len + SEP_LEN);

    MUST(copy, "no memory");
    do {
        memcpy(copy, text, len);
        memcpy(copy + len, SEP, SEP_LEN);
        copy[rng_below(&c->liar->rng, len)] ^= (char)(1 + rng_below(&c->liar->rng, 255));
    } while (!ends_at(copy, len));
    say(c, copy, len);
    free(copy);
}

static enum liar_fate choose(struct liar_conn *c, const char *text, size_t len)
{
    struct liar *l = c->liar;
    char digits[9] = "";
    enum liar_fate fate;

    MUST(len >= HEADER, "no message of an audit");
    memcpy(digits, text + SEQUENCE_AT, 8);
    if (c->n_honest > 0 || strtoul(digits, NULL, 16) + HONEST_TAIL >= l->n_messages ||
        rng_below(&l->rng, 100) >= l->percent)
        return LIAR_HONEST;
    fate = (enum liar_fate)(1 + rng_below(&l->rng, FATES_LIED));
    if (fate == LIAR_FOREIGN && (c->index == 0 || l->foreign_len == 0))
        return LIAR_HONEST;
    if (fate == LIAR_DELAY && c->is_delaying)
        return LIAR_HONEST;
    return fate;
}

static void delay(struct liar_conn *c)
{
    c->is_delaying = true;
    ev_now_update(c->liar->loop);
    ev_timer_set(&c->timer, (double)c->liar->delay_ms / 1e3, 0.);
    ev_timer_start(c->liar->loop, &c->timer);
}

static void answer(struct liar_conn *c, const char *text, size_t len)
{
    struct liar *l = c->liar;
    enum liar_fate fate = choose(c, text, len);
    bool was_held = c->held.len > 0;

    l->n_frames++;
    l->count[fate]++;
    c->n_honest = fate == LIAR_HONEST ? c->n_honest - (c->n_honest > 0) : 3;
    if (c->index == 0 && l->foreign_len == 0 && len + SEP_LEN < sizeof(l->foreign)) {
        memcpy(l->foreign, text, len);
        l->foreign_len = len;
    }
    switch (fate) {
    case LIAR_LOSE:
        break;
    case LIAR_DOUBLE:
        say(c, text, len);
        say(c, text, len);
        break;
    case LIAR_SWAP:
        append(&c->held, text, len);
        append(&c->held, SEP, SEP_LEN);
        break;
    case LIAR_TRUNCATE:
        say_truncated(c, text, len);
        break;
    case LIAR_CORRUPT:
        say_corrupted(c, text, len);
        break;
    case LIAR_FOREIGN:
        say(c, l->foreign, l->foreign_len);
        say(c, text, len);
        break;
    case LIAR_DELAY:
        delay(c);
        say(c, text, len);
        break;
    default:
        say(c, text, len);
    }
    if (was_held) {
        append(&c->out, c->held.data, c->held.len);
        c->held.len = 0;
    }
}

/* Returns whether the connection is still there. */
static bool write_out(struct liar_conn *c)
{
    while (!c->is_delaying && c->out.done < c->out.len) {
        ssize_t n = send(c->io.fd, c->out.data + c->out.done, c->out.len - c->out.done,
                         MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN)
            break;
        MUST(n > 0, "liar: send: %s", strerror(errno));
        c->out.done += (size_t)n;
    }
    if (c->is_ended && !c->is_delaying && c->out.done == c->out.len) {
        drop(c);
        return false;
    }
    ev_io_stop(c->liar->loop, &c->io);
    ev_io_set(&c->io, c->io.fd,
              (c->is_ended ? 0 : EV_READ) |
                  (!c->is_delaying && c->out.done < c->out.len ? EV_WRITE : 0));
    ev_io_start(c->liar->loop, &c->io);
    return true;
}

static void on_conn(struct ev_loop *loop, ev_io *w, int revents)
{
    struct liar_conn *c = container_of(w, struct liar_conn, io);
    char buf[65536], *hit;
    ssize_t n;

    (void)loop;
    if (revents & EV_READ) {
        n = recv(w->fd, buf, sizeof(buf), MSG_DONTWAIT);
        MUST(n >= 0 || errno == EAGAIN, "liar: recv: %s", strerror(errno));
        c->is_ended = n == 0;
        if (n > 0)
            append(&c->in, buf, (size_t)n);
        while ((hit = memmem(c->in.data + c->in.done, c->in.len - c->in.done, SEP, SEP_LEN))) {
            answer(c, c->in.data + c->in.done, (size_t)(hit - c->in.data) - c->in.done);
            c->in.done = (size_t)(hit - c->in.data) + SEP_LEN;
        }
    }
    write_out(c);
}

static void on_delay(struct ev_loop *loop, ev_timer *w, int revents)
{
    struct liar_conn *c = container_of(w, struct liar_conn, timer);

    (void)loop;
    (void)revents;
    c->is_delaying = false;
    write_out(c);
}

static void on_accept(struct ev_loop *loop, ev_io *w, int revents)
{
    struct liar *l = container_of(w, struct liar, accept);
    int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC);
    struct liar_conn *c;

    (void)revents;
    if (fd < 0)
        return;
    c = calloc(1, sizeof(*c));
    MUST(c, "no memory");
    c->liar = l;
    c->index = l->n_connections++;
    list_append(&l->conns, &c->link);
    ev_init(&c->timer, on_delay);
    ev_io_init(&c->io, on_conn, fd, EV_READ);
    ev_io_start(loop, &c->io);
}

void liar_start(struct liar *l, struct ev_loop *loop, uint64_t seed)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&sa, len) == 0 && listen(fd, 512) == 0 &&
             getsockname(fd, (struct sockaddr *)&sa, &len) == 0,
         "liar: %s", strerror(errno));
    *l = (struct liar){.loop = loop, .rng = seed, .percent = 20};
    list_init(&l->conns);
    snprintf(l->addr, sizeof(l->addr), "127.0.0.1:%u", ntohs(sa.sin_port));
    ev_io_init(&l->accept, on_accept, fd, EV_READ);
    ev_io_start(loop, &l->accept);
}

void liar_stop(struct liar *l)
{
    struct list *pos, *next;

    list_for_each_safe (pos, next, &l->conns)
        drop(container_of(pos, struct liar_conn, link));
    ev_io_stop(l->loop, &l->accept);
    close(l->accept.fd);
}
