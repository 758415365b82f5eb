/*
 * How a connection ends: deliver, half-close, linger, close. Runs in a worker.
 *
 * A plain close() with unread input makes the kernel send a reset, which destroys what was
 * delivered but not yet read at the other end. So: shutdown(SHUT_WR), then read and discard to the
 * peer's end of file, for at most CONN_LINGER_MS.
 */
#include "net/conn_impl.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/passed.h"

static const size_t counter_of[] = {
    [CONN_END_PEER] = offsetof(struct counters, closed_peer),
    [CONN_END_PARTIAL] = offsetof(struct counters, closed_partial),
    [CONN_END_QUIT] = offsetof(struct counters, closed_quit),
    [CONN_END_RESET] = offsetof(struct counters, closed_reset),
    [CONN_END_ERROR] = offsetof(struct counters, closed_error),
    [CONN_END_TOO_BIG] = offsetof(struct counters, closed_too_big),
    [CONN_END_MESSAGE_TIMEOUT] = offsetof(struct counters, closed_message_timeout),
    [CONN_END_WRITE_TIMEOUT] = offsetof(struct counters, closed_write_timeout),
    [CONN_END_KEEP_ALIVE] = offsetof(struct counters, closed_keep_alive),
    [CONN_END_BUFFERED] = offsetof(struct counters, closed_buffered),
    [CONN_END_DRAINED] = offsetof(struct counters, closed_drained),
    [CONN_END_CUT] = offsetof(struct counters, closed_cut),
    [CONN_END_EVICTED] = offsetof(struct counters, closed_evicted),
};

/* What its peer has passed may lie unread in it; the peer need not wait for the end of that. */
static void conn_close_fd(const struct arb_conn *c)
{
    int fd = c->io.fd;

    if (likely(!c->is_open_to_fds)) {
        close(fd);
        return;
    }
    shutdown(fd, SHUT_RDWR);
    passed_close(&fd);
}

void conn_close(struct arb_conn *c, enum conn_end end)
{
    struct conn_set *set = conn_set_of(c);

    assert(c->phase != CONN_CLOSED);
    c->phase = CONN_CLOSED;
    conn_mark(c, CONN_MARK_FREE);
    counter_add((counter_t *)((char *)set->counters + counter_of[end]), 1);
    ev_io_stop(set->loop, &c->io);
    wheel_disarm(&set->wheel, &c->node);
    buffer_free(&c->tail, &set->pool);
    buffer_free(&c->output, &set->pool);
    conn_close_fd(c);
    conn_bury(c);
    set->n_open--;
    set->n_closes++;
    if (set->on_closed)
        set->on_closed(set);
}

void conn_abort(struct arb_conn *c, enum conn_end end)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    setsockopt(c->io.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    conn_close(c, end);
}

void conn_fail(struct arb_conn *c, int error)
{
    if (error == EAGAIN || error == EINTR)
        return;
    /* After our half-close nothing was lost: the end stays what it was. */
    if (c->phase == CONN_LINGERING)
        conn_close(c, c->end);
    else
        conn_close(c, error == ECONNRESET || error == EPIPE ? CONN_END_RESET : CONN_END_ERROR);
}

void conn_delivered(struct arb_conn *c)
{
    if (c->is_eof || shutdown(c->io.fd, SHUT_WR) < 0) {
        conn_close(c, c->end);
        return;
    }
    c->phase = CONN_LINGERING;
    c->since = conn_now(conn_set_of(c));
}

void conn_end(struct arb_conn *c, enum conn_end end)
{
    assert(c->phase == CONN_OPEN);
    c->phase = CONN_DELIVERING;
    conn_mark(c, CONN_MARK_BUSY);
    c->end = (uint8_t)end;
    buffer_free(&c->tail, &conn_set_of(c)->pool);
    if (!c->output.block)
        conn_delivered(c);
}
