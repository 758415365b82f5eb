/*
 * What a connection begins with: perhaps a header of the PROXY protocol (wire/proxy.h), and then
 * the protocol's bytes. Runs in a worker, inside libev's callbacks.
 *
 * A connection that awaits its header has a callback of its own, so that no other connection is
 * asked whether it does. The protocol does not know of it yet. What has come of the header is its
 * tail, as the beginning of a message is; so it moves. It is never idle: when its process dies, it
 * ends. Other connections have a callback of their own for their first read only, which looks for a
 * header that nobody expects.
 */
#include "net/conn_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "net/conn_sources.h"
#include "net/keep.h"
#include "wire/proxy.h"

enum { AWAITS = CONN_AWAITS_HEADER | CONN_MAY_GO_WITHOUT };

static void tell_header(struct conn_set *set, const struct conn_header_news *news)
{
    if (set->on_header)
        set->on_header(set, news);
}

/* ---- a header that nobody expects ---- */

static bool is_surely_header(const uint8_t *data, size_t len)
{
    struct proxy_header h;
    const char *why;
    const enum proxy_found found = proxy_find(data, len, &h, &why);

    /* A line that only begins like a header may be a message; the signature of version 2 is none.
     */
    return found == PROXY_HEADER ||
           (data[0] == '\r' && (found == PROXY_PARTIAL || found == PROXY_BAD));
}

/* The bytes of the first read are still in the shared buffer when they have been answered. */
static void conn_on_first_io(struct ev_loop *loop, ev_io *io, int revents)
{
    struct arb_conn *c = container_of(io, struct arb_conn, io);
    struct conn_set *set = conn_set_of(c);
    const uint64_t before = counter_get(&set->counters->bytes_in);
    const uint8_t *data = set->read_buffer;
    char text[CONN_PEER_LEN] = "";
    size_t len;

    ev_set_cb(io, conn_on_io);
    conn_on_io(loop, io, revents);
    len = (size_t)(counter_get(&set->counters->bytes_in) - before);
    if (likely(len == 0 || (data[0] != '\r' && data[0] != 'P') || !is_surely_header(data, len)))
        return;
    if (c->phase != CONN_CLOSED)
        conn_peer(c, text);
    tell_header(set, &(struct conn_header_news){.peer = text, .is_unasked = true});
}

void conn_watch_first(struct arb_conn *c)
{
    ev_set_cb(&c->io, conn_on_first_io);
}

/* ---- a header that is awaited ---- */

static void refuse_header(struct arb_conn *c, const char *reason)
{
    char text[CONN_PEER_LEN];

    conn_peer(c, text);
    tell_header(conn_set_of(c), &(struct conn_header_news){.peer = text, .reason = reason});
    conn_end(c, CONN_END_PROXY);
}

/* The connection counts for the source that the header names. Returns whether it may be served. */
static bool admit_source(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);
    struct sockaddr_storage buf;
    socklen_t len;
    const struct sockaddr *named = conn_set_named_address(set, c->io.fd, &buf, &len);
    enum source_answer answer = SOURCE_ADMITTED;
    char text[CONN_PEER_LEN];

    if (set->sources)
        answer = conn_sources_admit(set->sources, c->io.fd, named);
    if (answer == SOURCE_ADMITTED)
        return true;
    conn_peer(c, text);
    tell_header(set, &(struct conn_header_news){.peer = text, .answer = answer});
    conn_abort(c, answer == SOURCE_HAS_ENOUGH ? CONN_END_MAX_PER_SOURCE : CONN_END_ACCEPT_RATE);
    return false;
}

/* From here on @c is like a connection that was accepted just now. The client's first @len bytes
 * are in its tail if it has one, else at @data. */
static void begin_to_serve(struct arb_conn *c, const uint8_t *data, size_t len)
{
    struct conn_set *set = conn_set_of(c);

    c->special &= (uint8_t)~AWAITS;
    ev_set_cb(&c->io, conn_on_io);
    if (c->kept >= CONN_SETTLED)
        keep_rethink(c);
    if (!admit_source(c))
        return;
    conn_count_read(set, c, len);
    c->since = conn_now(set);
    if (conn_announce(c, ARB_ACCEPTED) < 0 && c->phase == CONN_OPEN)
        conn_end_answered(c, CONN_END_QUIT);
    if (c->phase != CONN_OPEN || (c->special & CONN_ENDS_SOON))
        return;
    if (c->tail.block || c->is_eof)
        conn_rethink(c);
    else if (len > 0)
        conn_feed(c, data, len);
    if (set->is_draining && c->phase == CONN_OPEN)
        conn_drain(c);
}

static void take_header(struct arb_conn *c, const struct proxy_header *h, const uint8_t *data,
                        size_t len)
{
    struct conn_set *set = conn_set_of(c);

    if (conn_set_name(set, c->io.fd, &h->peer) < 0) {
        refuse_header(c, "there is no memory to remember whom it names");
        return;
    }
    counter_add(&set->counters->proxied, 1);
    if (c->tail.block)
        buffer_consume(&c->tail, &set->pool, h->len);
    begin_to_serve(c, data + h->len, len - h->len);
}

/* Looks at all that has come. Where the header may be left out, other bytes go to the protocol. */
static void see_beginning(struct arb_conn *c, const uint8_t *data, size_t len)
{
    struct proxy_header h;
    const char *why = NULL;

    switch (proxy_find(data, len, &h, &why)) {
    case PROXY_MORE:
    case PROXY_PARTIAL:
        if (!c->tail.block && conn_append(c, &c->tail, data, len) < 0)
            conn_end(c, CONN_END_BUFFERED);
        break;
    case PROXY_HEADER:
        take_header(c, &h, data, len);
        break;
    case PROXY_NONE:
        if (c->special & CONN_MAY_GO_WITHOUT)
            begin_to_serve(c, data, len);
        else
            refuse_header(c, "it begins with something else");
        break;
    case PROXY_BAD:
        refuse_header(c, why);
        break;
    }
}

/* Nothing more is waited for: do the bytes that have come belong to the client? */
static bool goes_without(const struct arb_conn *c)
{
    struct proxy_header h;
    const char *why;

    return (c->special & CONN_MAY_GO_WITHOUT) &&
           proxy_find(buffer_data(&c->tail), buffer_len(&c->tail), &h, &why) == PROXY_MORE;
}

static void end_of_beginning(struct arb_conn *c)
{
    const size_t len = buffer_len(&c->tail);

    c->is_eof = true;
    if (goes_without(c))
        begin_to_serve(c, NULL, len);
    else
        conn_end(c, len > 0 ? CONN_END_PARTIAL : CONN_END_PEER);
}

static void read_beginning(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);
    const ssize_t n = conn_receive(c, set->read_buffer, CONN_READ_BYTES);

    if (n < 0)
        conn_fail(c, errno);
    else if (n == 0)
        end_of_beginning(c);
    else if (!c->tail.block)
        see_beginning(c, set->read_buffer, (size_t)n);
    else if (conn_append(c, &c->tail, set->read_buffer, (size_t)n) < 0)
        conn_end(c, CONN_END_BUFFERED);
    else
        see_beginning(c, buffer_data(&c->tail), buffer_len(&c->tail));
}

static void on_late_header(struct arb_conn *c)
{
    if (goes_without(c))
        begin_to_serve(c, NULL, buffer_len(&c->tail));
    else
        refuse_header(c, c->tail.block ? "it is not complete within server.message_timeout"
                                       : "there is none within server.message_timeout");
}

/* EV_TIMER: its deadline has passed. */
static void conn_on_header(struct ev_loop *loop, ev_io *io, int revents)
{
    struct arb_conn *c = container_of(io, struct arb_conn, io);

    if (!(c->special & CONN_AWAITS_HEADER)) { /* the connection is ending already */
        conn_on_io(loop, io, revents);
        return;
    }
    if (revents & EV_TIMER)
        on_late_header(c);
    else
        read_beginning(c);
    conn_settle(c);
}

void conn_await_header(struct arb_conn *c, bool may_go_without)
{
    c->special |= CONN_AWAITS_HEADER | (may_go_without ? CONN_MAY_GO_WITHOUT : 0);
    ev_set_cb(&c->io, conn_on_header);
}
