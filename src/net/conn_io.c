/*
 * The way of the bytes through a connection. Runs in a worker, inside libev's callbacks.
 *
 * One read an event, answered by one write straight from where the bytes lie: in the shared read
 * buffer or in the connection's tail. Nothing is copied but an unfinished tail and an unsent rest.
 */
#include "net/conn_impl.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "actor/relay.h"
#include "base/passed.h"

/* What is known of messages below this size is not worth keeping. */
enum { USUAL_MIN_BYTES = 4 * BUFFER_MIN_BYTES };

static bool is_within(const struct buffer *b, const uint8_t *p)
{
    return b->block && p >= b->block->bytes && p < b->block->bytes + b->block->capacity;
}

/*
 * Sends what the kernel takes now. Returns the number of bytes, or -1 if the connection is closed.
 */
static inline ssize_t conn_send(struct arb_conn *c, struct counters *counters, const uint8_t *bytes,
                                size_t len)
{
    const ssize_t n = send(c->io.fd, bytes, len, MSG_NOSIGNAL);

    if (likely(n >= 0)) {
        counter_add(&counters->bytes_out, (uint64_t)n);
        c->bytes_out += (uint64_t)n;
        return n;
    }
    conn_fail(c, errno);
    return c->phase == CONN_CLOSED ? -1 : 0;
}

static void see_if_paused(struct arb_conn *c)
{
    c->is_paused = buffer_len(&c->output) > ARB_HIGH_WATER;
}

static int conn_queue_copy(struct arb_conn *c, const uint8_t *unsent, size_t len)
{
    const bool is_first = !c->output.block;
    const int rc = conn_append(c, &c->output, unsent, len);

    if (rc == 0 && is_first)
        conn_await_progress(c);
    see_if_paused(c);
    return rc;
}

/*
 * The unsent rest of a reply, with @unfinished bytes behind what was consumed. A reply in the tail
 * takes the tail's block along, if less remains to be copied that way.
 */
static int conn_queue(struct arb_conn *c, const uint8_t *unsent, size_t len, size_t unfinished)
{
    struct buffer_block *block = c->tail.block;

    if (!c->output.block && is_within(&c->tail, unsent) && unfinished <= len) {
        block->start = (size_t)(unsent - block->bytes);
        block->len = len;
        c->output = c->tail;
        c->tail.block = NULL;
        conn_await_progress(c);
        see_if_paused(c);
        return 0;
    }
    return conn_queue_copy(c, unsent, len);
}

/* How much room the unfinished message will want, by the ones before it; 0 = no idea. */
static size_t usual_room(const struct arb_conn *c)
{
    const struct buffer_pool *pool = &conn_set_of(c)->pool;
    const size_t bytes = (size_t)1 << c->usual_bits;

    /* A guess may not crowd others out. */
    if (c->usual_bits == 0 || pool->used_bytes + bytes > pool->limit_bytes / 2)
        return 0;
    return bytes - sizeof(struct buffer_block);
}

/* Learns from @consumed bytes, enough of them, of @messages. */
static void learn_usual(struct arb_conn *c, size_t consumed, uint64_t messages)
{
    const size_t average = consumed / MAX(messages, (uint64_t)1) + sizeof(struct buffer_block);
    const unsigned bits = average < USUAL_MIN_BYTES ? 0 : 64 - (unsigned)__builtin_clzll(average);

    c->usual_bits = bits & 63;
}

/* Puts the beginning of a message, which lies in the shared buffer, into an empty tail. */
static int conn_hold(struct arb_conn *c, const uint8_t *bytes, size_t len)
{
    struct conn_set *set = conn_set_of(c);
    const size_t room = usual_room(c);

    if (room > len)
        buffer_reserve(&c->tail, &set->pool, room);
    c->since = conn_now(set);
    return conn_append(c, &c->tail, bytes, len);
}

/* What the protocol has not consumed becomes, or stays, the tail. */
static int conn_keep_rest(struct arb_conn *c, const struct arb_output *r, const uint8_t *data,
                          size_t len)
{
    struct conn_set *set = conn_set_of(c);
    const size_t rest = len - r->consumed, held = buffer_len(&c->tail);

    if (is_within(&c->tail, data)) {
        if (r->consumed > 0 && rest > 0)
            c->since = conn_now(set);
        buffer_consume(&c->tail, &set->pool, r->consumed);
        return 0;
    }
    if (held > 0 && r->consumed == 0)
        return conn_append(c, &c->tail, data + held, len - held);
    buffer_free(&c->tail, &set->pool);
    return rest > 0 ? conn_hold(c, data + r->consumed, rest) : 0;
}

/*
 * A reply that begins in the input ends there: behind it may be the bytes of other connections. One
 * that lies elsewhere is the protocol's own.
 */
static inline bool is_reply_sound(const struct arb_output *r, const uint8_t *data, size_t len)
{
    const uintptr_t reply = (uintptr_t)r->reply, begin = (uintptr_t)data;

    /* One that lies in the input is within. What is not may be anywhere, so that the difference
     * wraps. */
    return reply && (likely(r->reply_len <= begin + len - reply) || reply - begin >= len);
}

/* What the protocol has said that cannot be; NULL = nothing. */
static const char *find_output_fault(const struct arb_output *r, const uint8_t *data, size_t len)
{
    if (r->consumed > len)
        return "it has consumed more than there is";
    if (r->resume > len - r->consumed)
        return "it resumes behind what is left";
    if (r->reply_len > 0 && !is_reply_sound(r, data, len))
        return "its reply has more bytes than there are";
    return r->next > ARB_REFUSE ? "there is no such arb_next" : NULL;
}

/* ARB_WAIT for what has ended already is no reason to wait, but one to look at the rest again. */
static bool is_to_wait(struct arb_conn *c, const struct arb_output *r, bool has_ended)
{
    if (r->next != ARB_WAIT || (c->special & CONN_ENDS_SOON))
        return false;
    return (c->special & CONN_OWES) || r->consumed > 0 || has_ended;
}

/* Requests, sends, ends and the end of input: what a plain protocol seldom or never has. */
static void conn_leave_specially(struct arb_conn *c, const struct arb_output *r)
{
    const bool has_ended = c->special & CONN_HAS_ENDED;

    c->special &= (uint8_t)~CONN_HAS_ENDED;
    if (is_to_wait(c, r, has_ended)) {
        c->special |= CONN_WAITS;
        if (!(c->special & CONN_OWES) && !conn_news(c, CONN_NEWS_ANSWERED))
            conn_end(c, CONN_END_BUFFERED);
    } else if (c->special & CONN_ENDS_SOON) {
        conn_end_decided(c);
    } else if (c->is_eof) {
        conn_end_answered(c, c->tail.block ? CONN_END_PARTIAL : CONN_END_PEER);
    } else if (conn_set_of(c)->is_draining && !(c->special & CONN_IS_BUSY) &&
               (r->consumed > 0 || !c->tail.block)) {
        conn_drained(c);
    }
}

/* The connection ends, and what is sent now would follow a gap. */
static bool is_output_lost(const struct arb_conn *c)
{
    return (c->special & CONN_ENDS_SOON) &&
           (c->end == CONN_END_BUFFERED || c->end == CONN_END_RESET || c->end == CONN_END_ERROR);
}

/* Where the protocol goes on looking. */
static inline size_t resume_of(const struct arb_conn *c)
{
    return c->tail.block ? c->tail.block->resume : 0;
}

/* What an answer leaves behind, when it is more than nothing. */
static __attribute__((noinline)) void conn_leave(struct arb_conn *c, const struct arb_output *r,
                                                 const uint8_t *data, size_t len, size_t sent)
{
    struct conn_set *set = conn_set_of(c);
    const char *fault = find_output_fault(r, data, len);
    int rc = 0;

    if (unlikely(fault)) {
        conn_break(c, fault);
        return;
    }
    if (r->consumed >= USUAL_MIN_BYTES)
        learn_usual(c, r->consumed, r->messages);
    if (sent < r->reply_len && !is_output_lost(c))
        rc =
            conn_queue(c, (const uint8_t *)r->reply + sent, r->reply_len - sent, len - r->consumed);
    if (rc == 0 && r->next <= ARB_WAIT && (c->tail.block || r->consumed < len))
        rc = conn_keep_rest(c, r, data, len);
    if (c->tail.block)
        c->tail.block->resume = r->resume;
    if (rc < 0)
        conn_end(c, CONN_END_BUFFERED);
    else if (r->next > ARB_WAIT)
        conn_end_answered(c, r->next == ARB_CLOSE ? CONN_END_QUIT : CONN_END_TOO_BIG);
    else if (r->next == ARB_WAIT || c->special || c->is_eof)
        conn_leave_specially(c, r);
    else if (set->is_draining && (r->consumed > 0 || !c->tail.block))
        conn_drained(c);
}

/*
 * Unfinished and new bytes lie together at @data: in the tail itself, or in the shared buffer.
 * Returns true if all is answered and sent, and the connection waits as it did before.
 */
static inline __attribute__((always_inline)) bool
conn_answer(struct arb_conn *c, struct conn_set *set, const uint8_t *data, size_t len, bool is_end)
{
    struct counters *counters = set->counters;
    const struct conn_protocol *p = &set->protocols[c->protocol];
    const struct arb_input in = {
        .data = data, .len = len, .resume = resume_of(c), .is_end = is_end};
    struct arb_output out = {.next = ARB_GO_ON};
    size_t sent = 0;

    set->serving.len = len;
    set->serving.fd = c->io.fd;
    set->serving.conn = c;
    set->serving.data = data;
    p->on_data(p->server, c, &in, &out);
    set->serving.data = NULL;
    const bool is_clear = !c->output.block; /* else unsent output keeps it busy */
    counter_add(&counters->requests, out.messages);
    c->messages += out.messages;
    counter_add(&counters->scanned, out.scanned);
    if (likely(is_clear && out.reply_len > 0) && likely(is_reply_sound(&out, data, len))) {
        const ssize_t n = conn_send(c, counters, out.reply, out.reply_len);

        if (unlikely(n < 0))
            return false;
        sent = (size_t)n;
    }
    if (likely(is_clear && sent == out.reply_len && out.consumed == len && out.resume == 0 &&
               out.next == ARB_GO_ON && !c->tail.block && !set->is_attentive && !c->special &&
               !is_end))
        return true;
    conn_leave(c, &out, data, len, sent);
    return false;
}

/* Now and then the way to the reply is timed: see conn_sample.c. */
static __attribute__((noinline)) bool conn_answer_timed(struct arb_conn *c, struct conn_set *set,
                                                        const uint8_t *data, size_t len)
{
    bool is_as_before;

    conn_sample_begin(set);
    is_as_before = conn_answer(c, set, data, len, false);
    conn_sample_end(set);
    return is_as_before;
}

/* What has just been read. Returns as conn_answer. */
static inline __attribute__((always_inline)) bool
conn_answer_read(struct arb_conn *c, struct conn_set *set, const uint8_t *data, size_t len)
{
    if (unlikely(--set->untimed == 0))
        return conn_answer_timed(c, set, data, len);
    return conn_answer(c, set, data, len, false);
}

/* The protocol looks at what is left, whether more has come or not. */
static __attribute__((noinline)) void conn_answer_rest(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);

    if (c->tail.block)
        conn_answer(c, set, buffer_data(&c->tail), buffer_len(&c->tail), c->is_eof);
    else if (c->is_eof)
        conn_answer(c, set, set->read_buffer, 0, true);
}

/* The end of file, or why there is none and no bytes either. */
static __attribute__((noinline)) void conn_no_bytes(struct arb_conn *c, ssize_t n)
{
    if (n < 0) {
        conn_fail(c, errno);
        return;
    }
    c->is_eof = true;
    if (c->phase == CONN_OPEN)
        conn_answer_rest(c);
    else if (c->phase == CONN_LINGERING)
        conn_close(c, c->end);
}

/* The input of a connection that ends is nobody's. */
static __attribute__((noinline)) void conn_discard(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);
    ssize_t n;

    if (c->phase == CONN_CLOSED)
        return;
    n = conn_receive(c, set->read_buffer, CONN_READ_BYTES);
    if (n > 0)
        conn_count_read(set, c, (size_t)n);
    else
        conn_no_bytes(c, n);
}

/* More of a message: into the tail's own room, and what does not fit there into the shared buffer.
 */
static __attribute__((noinline)) void conn_read_more(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);
    struct iovec iov[2];
    size_t room, held, over;
    uint8_t *data;
    ssize_t n;

    buffer_compact(&c->tail);
    room = buffer_room(&c->tail);
    iov[0] = (struct iovec){buffer_end(&c->tail), MIN(room, (size_t)CONN_READ_MAX_BYTES)};
    iov[1] = (struct iovec){set->read_buffer, CONN_READ_BYTES};
    if (room >= CONN_READ_BYTES)
        n = conn_receive(c, iov[0].iov_base, iov[0].iov_len);
    else if (unlikely(c->is_open_to_fds))
        n = passed_recv(c->io.fd, iov, ARRAY_SIZE(iov));
    else
        n = readv(c->io.fd, iov, ARRAY_SIZE(iov));
    if (n <= 0) {
        conn_no_bytes(c, n);
        return;
    }
    conn_count_read(set, c, (size_t)n);
    over = (size_t)n > room ? (size_t)n - room : 0;
    buffer_commit(&c->tail, (size_t)n - over);
    held = buffer_len(&c->tail);
    if (over > 0 && held <= CONN_HEAD_BYTES) {
        /* All together in the shared buffer costs one copy of a small tail, and no growth. */
        data = set->read_buffer - held;
        memcpy(data, buffer_data(&c->tail), held);
    } else if (over > 0 && conn_append(c, &c->tail, set->read_buffer, over) < 0) {
        conn_end(c, CONN_END_BUFFERED);
        return;
    } else {
        data = buffer_data(&c->tail);
    }
    conn_answer_read(c, set, data, held + over);
}

/*
 * One read and what follows from it. Returns true if the connection waits as it did before: no
 * other input, output or deadline than it had.
 */
static inline __attribute__((always_inline)) bool conn_serve(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);
    ssize_t n;

    if (unlikely(c->phase != CONN_OPEN)) {
        conn_discard(c);
        return false;
    }
    if (unlikely(c->tail.block)) {
        conn_read_more(c);
        return false;
    }
    n = conn_receive(c, set->read_buffer, CONN_READ_BYTES);
    if (unlikely(n <= 0)) {
        conn_no_bytes(c, n);
        return false;
    }
    conn_count_read(set, c, (size_t)n);
    return conn_answer_read(c, set, set->read_buffer, (size_t)n);
}

void conn_read(struct arb_conn *c)
{
    conn_serve(c);
}

void conn_feed(struct arb_conn *c, const uint8_t *data, size_t len)
{
    conn_answer(c, conn_set_of(c), data, len, false);
}

void conn_rethink(struct arb_conn *c)
{
    if (c->tail.block)
        c->tail.block->resume = 0;
    if (c->phase == CONN_OPEN && !(c->special & CONN_ENDS_SOON))
        conn_answer_rest(c);
}

void conn_go_on(struct arb_conn *c)
{
    const bool has_waited = c->special & CONN_WAITS;

    c->special &= (uint8_t) ~(CONN_WAITS | CONN_HELD);
    if (has_waited && c->phase == CONN_OPEN) {
        c->since = conn_now(conn_set_of(c)); /* while we did not read, it could not go on */
        conn_mark(c, CONN_MARK_BUSY);
        conn_answer_rest(c);
    }
    conn_settle(c);
}

/* Others that have to make way for what is sent spare whose bytes are being looked at. */
static int conn_queue_pushed(struct arb_conn *c, const uint8_t *unsent, size_t len)
{
    struct arb_conn *served = conn_served(conn_set_of(c));
    int rc;

    if (!served || served == c)
        return conn_queue_copy(c, unsent, len);
    conn_disown(served);
    rc = conn_queue_copy(c, unsent, len);
    conn_own(served);
    return rc;
}

/* Is the protocol sending what the connection has had elsewhere, or will be told once more when it
 * has arrived? */
static bool conn_has_heard(const struct arb_conn *c)
{
    const struct relay *r = conn_set_of(c)->relay;

    return r && r->current > 0 &&
           ((c->special & CONN_DETACHED) || (c->more && c->more->seen >= r->current));
}

int conn_push(struct arb_conn *c, const void *data, size_t len)
{
    struct conn_set *set = conn_set_of(c);
    ssize_t sent = 0;

    if (conn_has_heard(c))
        return ARB_SEEN;
    if (c->special & CONN_DETACHED)
        return -EBUSY;
    if (c->phase != CONN_OPEN || is_output_lost(c))
        return -EPIPE;
    conn_mark(c, CONN_MARK_BUSY);
    if (!c->output.block && len > 0)
        sent = send(c->io.fd, data, len, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        conn_end_soon(c, conn_end_of(errno));
        return -EPIPE;
    }
    sent = MAX(sent, (ssize_t)0);
    counter_add(&set->counters->bytes_out, (uint64_t)sent);
    c->bytes_out += (uint64_t)sent;
    if ((size_t)sent < len &&
        conn_queue_pushed(c, (const uint8_t *)data + sent, len - (size_t)sent) < 0) {
        conn_end_soon(c, CONN_END_BUFFERED);
        return -ENOBUFS;
    }
    if (c != conn_served(set))
        conn_settle(c);
    return 0;
}

static void tell_unpaused(struct arb_conn *c)
{
    if (conn_protocol_of(c)->table->on_writable)
        conn_news(c, CONN_NEWS_WRITABLE);
    if ((c->special & (CONN_WAITS | CONN_OWES | CONN_HELD)) == CONN_WAITS)
        conn_news(c, CONN_NEWS_ANSWERED);
}

static __attribute__((noinline)) void conn_flush(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);
    const ssize_t n = conn_send(c, set->counters, buffer_data(&c->output), buffer_len(&c->output));

    if (n <= 0)
        return;
    conn_count_sent(c, (size_t)n);
    if (c->phase == CONN_DELIVERING && !c->output.block)
        conn_delivered(c);
    if (c->phase == CONN_OPEN && c->is_paused && buffer_len(&c->output) < ARB_HIGH_WATER / 2) {
        c->is_paused = false;
        if (c->more)
            tell_unpaused(c);
        c->since = conn_now(set); /* while we did not read, the message could not go on */
    }
}

void conn_on_io(struct ev_loop *loop UNUSED, ev_io *io, int revents)
{
    struct arb_conn *c = container_of(io, struct arb_conn, io);

    conn_mark(c, CONN_MARK_BUSY);
    if (unlikely(revents & EV_WRITE) && c->output.block)
        conn_flush(c);
    if (likely(revents & EV_READ) && likely(conn_serve(c))) {
        conn_mark(c, c->idle_mark);
        return;
    }
    conn_settle(c);
}

/* A header that has arrived is taken; of one that has not begun nobody waits for the rest. Called
 * through the watcher, since conn_proxy.c stands above. */
static void drain_header(struct arb_conn *c)
{
    c->io.cb(conn_set_of(c)->loop, &c->io, EV_READ);
    if ((c->special & CONN_AWAITS_HEADER) && !c->tail.block)
        conn_end(c, CONN_END_DRAINED);
    conn_settle(c);
}

/* One last read answers what has already arrived; who is inside a message then goes on. */
void conn_drain(struct arb_conn *c)
{
    if (c->phase == CONN_OPEN && (c->special & CONN_AWAITS_HEADER))
        drain_header(c);
    if (c->phase != CONN_OPEN || (c->special & (CONN_IS_BUSY | CONN_HELD)))
        return;
    if (!c->tail.block && !c->is_paused) {
        conn_mark(c, CONN_MARK_BUSY);
        conn_read(c);
    }
    if (c->phase == CONN_OPEN && !c->tail.block && !(c->special & CONN_IS_BUSY))
        conn_drained(c);
    conn_settle(c);
}

static void conn_wake(struct arb_conn *c)
{
    const struct conn_protocol *p = conn_protocol_of(c);

    c->more->wake = WHEEL_NONE;
    if (p->table->on_timeout) {
        conn_mark(c, CONN_MARK_BUSY);
        p->table->on_timeout(p->server, c);
    }
    conn_settle(c);
    if (c->phase != CONN_CLOSED)
        conn_await_deadline(c);
}

static void conn_expire(struct arb_conn *c, enum conn_due due)
{
    switch (due) {
    case CONN_DUE_NOTHING:
        conn_await_deadline(c);
        break;
    case CONN_DUE_LINGER:
        counter_add(&conn_set_of(c)->counters->linger_expired, 1);
        conn_close(c, c->end);
        break;
    case CONN_DUE_WRITE:
        conn_abort(c, CONN_END_WRITE_TIMEOUT);
        break;
    case CONN_DUE_WAKE:
        conn_wake(c);
        break;
    case CONN_DUE_HEADER:
        c->io.cb(conn_set_of(c)->loop, &c->io, EV_TIMER);
        break;
    case CONN_DUE_MESSAGE:
    case CONN_DUE_KEEP_ALIVE:
        conn_end(c, due == CONN_DUE_MESSAGE ? CONN_END_MESSAGE_TIMEOUT : CONN_END_KEEP_ALIVE);
        conn_settle(c);
        break;
    }
}

void conn_on_sweep(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    struct conn_set *set = timer->data;
    struct arb_conn *c;

    conn_read_clock(set);
    while ((c = conn_next_visit(set))) {
        if (c->output.block)
            conn_see_progress(c);
        else if (c->is_local && conn_is_idle(c))
            conn_see_unread(c);
        conn_expire(c, conn_due(c, set->tick));
    }
}
