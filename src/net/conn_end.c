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
#include "net/conn_sources.h"
#include "net/keep.h"

/* Each has a counter. */
#define ENDING(end, name, blame)                                                                   \
    [end] = {offsetof(struct counters, closed_##name), {#name, end, blame}}

static const struct ending {
    size_t counter;
    struct conn_ending what;
} endings[] = {
    ENDING(CONN_END_PEER, peer, CONN_USUAL),
    ENDING(CONN_END_PARTIAL, partial, CONN_FAULT),
    ENDING(CONN_END_QUIT, quit, CONN_USUAL),
    ENDING(CONN_END_RESET, reset, CONN_FAULT),
    ENDING(CONN_END_ERROR, error, CONN_FAULT),
    ENDING(CONN_END_TOO_BIG, too_big, CONN_CUT),
    ENDING(CONN_END_MESSAGE_TIMEOUT, message_timeout, CONN_CUT),
    ENDING(CONN_END_WRITE_TIMEOUT, write_timeout, CONN_CUT),
    ENDING(CONN_END_KEEP_ALIVE, keep_alive, CONN_USUAL),
    ENDING(CONN_END_BUFFERED, buffered, CONN_CUT),
    ENDING(CONN_END_DRAINED, drained, CONN_USUAL),
    ENDING(CONN_END_CUT, cut, CONN_CUT),
    ENDING(CONN_END_EVICTED, evicted, CONN_CUT),
    ENDING(CONN_END_OWING, owing, CONN_CUT),
    ENDING(CONN_END_BROKEN, broken, CONN_CUT),
    /* These three have lines of their own. */
    ENDING(CONN_END_PROXY, proxy, CONN_FAULT),
    ENDING(CONN_END_MAX_PER_SOURCE, max_per_source, CONN_FAULT),
    ENDING(CONN_END_ACCEPT_RATE, accept_rate, CONN_FAULT),
    ENDING(CONN_END_KILLED, killed, CONN_CUT),
};

_Static_assert((int)CONN_ENDS <= (int)CONN_ENDINGS_MAX, "each reason is counted by its number");

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
    const bool was_open = c->phase == CONN_OPEN;

    assert(c->phase != CONN_CLOSED);
    c->phase = CONN_CLOSED;
    if (was_open) {
        c->end = (uint8_t)end;
        conn_leave_open(c);
    }
    counter_add((counter_t *)((char *)set->counters + endings[end].counter), 1);
    if (set->on_ended && endings[end].what.blame >= set->ended_least)
        set->on_ended(set, c, &endings[end].what);
    ev_io_stop(set->loop, &c->io);
    wheel_disarm(&set->wheel, &c->node);
    buffer_free(&c->tail, &set->pool);
    buffer_free(&c->output, &set->pool);
    conn_unlist(c);
    if (c->more && !list_is_empty(&c->more->link)) {
        conn_mark(c, CONN_MARK_BUSY);
        list_append(&set->closing,
                    &c->link); /* with its descriptor: on_close may ask for the peer */
    } else {
        conn_close_rest(c);
    }
}

void conn_close_rest(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);

    if (unlikely(set->sources != NULL))
        conn_sources_go(set->sources, c->io.fd);
    if (unlikely(c->kept == CONN_KEPT))
        keep_end(c);
    else
        conn_mark(c, CONN_MARK_FREE);
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
        conn_close(c, conn_end_of(error));
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
    conn_leave_open(c);
    buffer_free(&c->tail, &conn_set_of(c)->pool);
    if (!c->output.block)
        conn_delivered(c);
}

/* These come after what is owed; the others do not wait for it. */
static bool is_in_good_order(enum conn_end end)
{
    return end == CONN_END_PEER || end == CONN_END_PARTIAL || end == CONN_END_QUIT ||
           end == CONN_END_TOO_BIG || end == CONN_END_DRAINED;
}

void conn_end_decided(struct arb_conn *c)
{
    const enum conn_end end = c->end;

    if (c->phase != CONN_OPEN || !(c->special & CONN_ENDS_SOON))
        return;
    if (is_in_good_order(end) && (c->special & CONN_OWES))
        return;
    if (end == CONN_END_RESET || end == CONN_END_ERROR)
        conn_close(c, end);
    else
        conn_end(c, end);
}

void conn_end_answered(struct arb_conn *c, enum conn_end end)
{
    if (!(c->special & CONN_ENDS_SOON)) {
        c->special |= CONN_ENDS_SOON;
        c->end = (uint8_t)end;
        buffer_free(&c->tail, &conn_set_of(c)->pool);
    }
    conn_end_decided(c);
}

void conn_end_soon(struct arb_conn *c, enum conn_end end)
{
    if (c->phase != CONN_OPEN || (c->special & CONN_ENDS_SOON))
        return;
    c->special |= CONN_ENDS_SOON;
    c->end = (uint8_t)end;
    if (c->special & CONN_DETACHED || c == conn_served(conn_set_of(c)))
        return;
    conn_mark(c, CONN_MARK_BUSY);
    if (conn_news(c, CONN_NEWS_END))
        conn_settle(c);
    else
        conn_close(c, end); /* now: there is no memory to remember it */
}

void conn_drained(struct arb_conn *c)
{
    const struct conn_protocol *p = conn_protocol_of(c);

    if (p->table->on_drain && !c->more->is_drain_told) {
        c->more->is_drain_told = true;
        p->table->on_drain(p->server, c);
    }
    if (c->phase == CONN_OPEN)
        conn_end_answered(c, CONN_END_DRAINED);
}

void conn_break(struct arb_conn *c, const char *what)
{
    struct conn_set *set = conn_set_of(c);

    if (set->on_broken)
        set->on_broken(set, conn_protocol_of(c)->table->name, what);
    conn_end(c, CONN_END_BROKEN);
}
