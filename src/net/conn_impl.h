/*
 * A connection from inside: private to net/conn*.c, keep*.c and to moves. What has to travel with a
 * connection is small and explicit: tail with where to resume, output, protocol, its state, phase,
 * end, is_eof, and the two times from which its deadlines count.
 */
#ifndef NET_CONN_IMPL_H
#define NET_CONN_IMPL_H

#include <errno.h>
#include <sys/uio.h>

#include "base/passed.h"
#include "net/conn.h"
#include "net/conn_marks.h"
#include "wire/moved.h"

/* The numbers of phases and ends travel between workers of different versions: append only. */
enum conn_phase {
    CONN_OPEN, /* reads and answers */
    CONN_DELIVERING, /* ends: `output` goes out, input is discarded */
    CONN_LINGERING, /* half-closed by us: input is discarded until the peer's end of file */
    CONN_CLOSED, /* in `dead` */
};

/* Why a connection ends: one closed_* counter each. */
enum conn_end {
    CONN_END_PEER,
    CONN_END_PARTIAL,
    CONN_END_QUIT,
    CONN_END_RESET,
    CONN_END_ERROR,
    CONN_END_TOO_BIG,
    CONN_END_MESSAGE_TIMEOUT,
    CONN_END_WRITE_TIMEOUT,
    CONN_END_KEEP_ALIVE,
    CONN_END_BUFFERED,
    CONN_END_DRAINED,
    CONN_END_CUT,
    CONN_END_EVICTED,
    CONN_END_OWING, /* cut while it owed a reply */
    CONN_END_BROKEN, /* its protocol broke its contract; the last one that MOVED_VERSION_OLD has */
    CONN_END_PROXY, /* its header is wrong, or is missing */
    CONN_END_MAX_PER_SOURCE, /* whom its header names has enough connections … */
    CONN_END_ACCEPT_RATE, /* … or connects too fast */
    CONN_END_KILLED, /* an operator has */
    CONN_ENDS
};

/* conn_end_of - why it ends after @error, an errno value, of its socket */
static inline enum conn_end conn_end_of(int error)
{
    return error == ECONNRESET || error == EPIPE ? CONN_END_RESET : CONN_END_ERROR;
}

/* What keeps a connection off the short way: none of it is there in a plain protocol. */
enum conn_special {
    CONN_OWES = 1, /* a reply that comes later; in set->n_owing */
    CONN_WAITS = 2, /* the protocol said ARB_WAIT: not read, and `tail` is to be looked at again */
    CONN_ENDS_SOON = 4, /* as `end` says: at the end of the turn, or when nothing is owed */
    CONN_HELD = 8, /* it is to be moved before it does anything else: not read */
    CONN_DETACHED = 16, /* on its way out or in */
    CONN_HAS_ENDED = 32, /* a request has, since the protocol was last called with bytes */
    CONN_AWAITS_HEADER = 64, /* its protocol does not know of it yet; see conn_proxy.c */
    CONN_MAY_GO_WITHOUT = 128, /* with the one before: what comes may be no header */
    CONN_IS_BUSY = CONN_OWES | CONN_WAITS | CONN_ENDS_SOON | CONN_AWAITS_HEADER,
};

/* How far is it on its way to the keeper? set->all has those that are settled before the others,
 * unless keep->is_disordered. */
enum conn_kept {
    CONN_YOUNG,
    CONN_OLDER, /* registered with the next step */
    CONN_SETTLED, /* not to be registered, as it is now */
    CONN_KEPT, /* registered when it was last looked at; the table's serial is the truth */
};

/* What a protocol is to be told at the end of the turn. */
enum conn_news {
    CONN_NEWS_ANSWERED = 1, /* nothing is owed any more */
    CONN_NEWS_WRITABLE = 2,
    CONN_NEWS_END = 4, /* CONN_ENDS_SOON */
    CONN_NEWS_CLOSED = 8,
};

/*
 * What only some connections need. It lies behind those whose protocol has state or more callbacks
 * than on_data; for others it is made when it is needed first.
 */
struct conn_more {
    struct list link; /* in set->news while it has news, or itself */
    struct arb_conn *conn; /* borrowed: whose it is */
    struct list requests; /* borrowed: what it owes, the oldest first */
    uint64_t id; /* 0 = nobody has asked for it yet, or it is the kernel's */
    uint64_t fence; /* this process' own message that was last sent for it; 0 = none */
    uint64_t seen; /* it has had the messages up to this one; 0 = as this process */
    uint32_t wake; /* tick of on_timeout; WHEEL_NONE = none */
    uint8_t news; /* enum conn_news */
    bool is_announced : 1; /* on_open has returned 0, and on_close is owed */
    bool is_drain_told : 1; /* on_drain has been called */
    bool is_own : 1; /* allocated by itself */
};

/*
 * Ten thousand of them wait for most of their lives: every byte counts. What each message looks at
 * comes first, within 104 bytes.
 */
struct arb_conn {
    ev_io io; /* its `data` is the set */
    struct buffer tail; /* the beginning of a message; empty between messages */
    struct buffer output; /* unsent bytes of replies */
    uint64_t messages; /* answered in its life, with the next two */
    uint64_t bytes_in, bytes_out; /* read and written, a PROXY header not counted */
    struct conn_more *more; /* owned; NULL = not needed so far */
    uint8_t phase; /* enum conn_phase */
    uint8_t end; /* enum conn_end; set with CONN_ENDS_SOON or when the phase leaves CONN_OPEN */
    uint8_t special; /* enum conn_special */
    uint8_t idle_mark; /* enum conn_mark: what it is marked as while it is idle */
    uint8_t protocol : 3; /* index in set->protocols */
    bool is_eof : 1; /* the peer has half-closed */
    bool is_paused : 1; /* too much output is unsent: not read */
    bool is_open_to_fds : 1; /* descriptors may come with its data, see base/passed.h */
    bool has_new_rule : 1; /* while imported: `tail` is to be looked at anew */
    bool is_local : 1; /* a unix socket: the kernel does not find out by itself that nobody reads */
    uint8_t usual_bits : 6; /* log2 of the room that its long messages need; 0 = unknown */
    uint8_t kept : 2; /* enum conn_kept */
    uint16_t unread; /* while idle and local: what the kernel held at `progress`, in 256 bytes */
    uint32_t since; /* tick: of the message's first byte, of becoming idle, of half-close */
    uint32_t progress; /* tick: when the peer was last seen to take what it was sent */
    struct list link; /* in set->all, set->closing or set->dead */
    struct wheel_node node; /* hangs at or before its deadline; `owners`: tick of its begin */
};

/* The connection of a protocol with state, or with more callbacks than on_data. */
struct conn_rich {
    struct arb_conn conn;
    struct conn_more more;
    _Alignas(max_align_t) uint8_t state[]; /* the protocol's own: conn_size bytes */
};

/* A reply that is owed. */
struct arb_request {
    struct list link; /* in conn_more.requests, or in a list of the set */
    struct conn_set *set; /* borrowed */
    struct arb_conn *conn; /* borrowed; NULL = it is gone */
    void (*on_gone)(struct arb_request *request, void *data);
    void *data; /* the protocol's */
    uint64_t read_ns; /* when its message was read, if that was timed */
    uint64_t n_messages; /* that its time stands for; 0 = it was not */
    bool is_ended; /* freed at the end of the turn */
};

_Static_assert(offsetof(struct arb_conn, since) <= 104, "what each message looks at comes first");

_Static_assert(sizeof(struct arb_conn) <= 152, "an idle connection is a promise of the manual");

static inline struct conn_set *conn_set_of(const struct arb_conn *c)
{
    return c->io.data;
}

/* Whose bytes a protocol is looking at; NULL = nobody's. */
static inline struct arb_conn *conn_served(const struct conn_set *set)
{
    return set->serving.data ? set->serving.conn : NULL;
}

static inline const struct conn_protocol *conn_protocol_of(const struct arb_conn *c)
{
    return &conn_set_of(c)->protocols[c->protocol];
}

/* Nothing read that is not answered, nothing answered that is not sent. */
static inline bool conn_is_idle(const struct arb_conn *c)
{
    return c->phase == CONN_OPEN && !c->tail.block && !c->output.block &&
           !(c->special & CONN_IS_BUSY);
}

/* Nothing of the protocol's own would be lost with the process. */
static inline bool conn_is_blank(const struct arb_conn *c)
{
    return c->idle_mark == CONN_MARK_IDLE;
}

/* Plain accesses: others read it when this very process is interrupted, or dead. */
static inline void conn_mark(const struct arb_conn *c, uint8_t mark)
{
    volatile uint8_t *marks = conn_set_of(c)->marks;

    marks[c->io.fd] = mark;
}

/*
 * conn_new - neither listed nor watched; never in a callback of a connection, which may have just
 * died. NULL without memory, or for a descriptor that is too high.
 */
struct arb_conn *conn_new(struct conn_set *set, int fd, unsigned protocol);

/* conn_store.c: memory */

/* conn_is_rich - does each of its connections have a struct conn_more behind it? */
static inline bool conn_is_rich(const struct conn_protocol *p)
{
    return p->conn_bytes != sizeof(struct arb_conn);
}

/* conn_more_init - @c has @more from now on */
void conn_more_init(struct arb_conn *c, struct conn_more *more);

/* conn_free - what conn_new has made, and that is neither listed nor watched any more */
void conn_free(struct arb_conn *c);

/* conn_more - of @c, made if need be. Returns NULL without memory. */
struct conn_more *conn_more(struct arb_conn *c);

/* conn_unlist - out of set->all, from where arb_conn_each may go on */
void conn_unlist(struct arb_conn *c);

/* conn_bury - a closed one, whose memory stays until no callback can have it any more */
void conn_bury(struct arb_conn *c);

/* conn_free_closed - but for @keep that the next connections may have */
void conn_free_closed(struct conn_set *set, size_t keep);

/* conn_set_idle_mark - what it is marked as while it is idle; now too, if it is */
void conn_set_idle_mark(struct arb_conn *c, uint8_t mark);

/* conn_is_local - is it a unix socket? */
bool conn_is_local(int fd);

/* conn_io.c: the way of the bytes */

/* conn_on_io - the one callback of a connection's watcher */
void conn_on_io(struct ev_loop *loop, ev_io *io, int revents);

/* conn_receive - one read of what has come */
static inline ssize_t conn_receive(const struct arb_conn *c, uint8_t *buf, size_t size)
{
    if (unlikely(c->is_open_to_fds))
        return passed_recv(c->io.fd, &(struct iovec){buf, size}, 1);
    return recv(c->io.fd, buf, size, 0);
}

/* conn_count_read - @n bytes for its protocol have been read */
static inline void conn_count_read(struct conn_set *set, struct arb_conn *c, size_t n)
{
    counter_add(&set->counters->bytes_in, n);
    c->bytes_in += n;
}

/* conn_feed - the protocol looks at @data, which is the first that has come */
void conn_feed(struct arb_conn *c, const uint8_t *data, size_t len);

/* conn_proxy.c: what a connection begins with */

/* conn_await_header - before anything that its protocol may know of */
void conn_await_header(struct arb_conn *c, bool may_go_without);

/* conn_watch_first - see a header that nobody expects */
void conn_watch_first(struct arb_conn *c);

/* conn_peer.c: who it is; see conn.h */
void conn_free_names(struct conn_set *set);

/* conn_on_sweep - the one callback of the set's timer */
void conn_on_sweep(struct ev_loop *loop, ev_timer *timer, int revents);

/* conn_read - one read, and whatever follows from it */
void conn_read(struct arb_conn *c);

/* conn_rethink - let the protocol look at the whole tail again; it may have other rules now */
void conn_rethink(struct arb_conn *c);

/* conn_go_on - nothing is owed any more: read on, after a look at what has come meanwhile */
void conn_go_on(struct arb_conn *c);

/* conn_drain - see conn_set_drain; @c's part of it */
void conn_drain(struct arb_conn *c);

/* conn_push - send @len bytes behind what is unsent. Returns as arb_conn_send. */
int conn_push(struct arb_conn *c, const void *data, size_t len);

/* conn_sample.c: how long replies take */

/* conn_sample_begin - what has just been read is timed; conn_sample_end - it has been answered, or
 * will be later */
void conn_sample_begin(struct conn_set *set);
void conn_sample_end(struct conn_set *set);

/* conn_sample_request - @r has been made; conn_sample_reply - it has been answered */
void conn_sample_request(struct arb_request *r);
void conn_sample_reply(const struct arb_request *r);

/* conn_end.c: the ways out */

/* conn_end - no more answers: deliver what is owed, half-close, linger, close; counted as @end */
void conn_end(struct arb_conn *c, enum conn_end end);

/* conn_end_answered - as conn_end, for an open connection, but after what is owed; what has been
 * decided before counts */
void conn_end_answered(struct arb_conn *c, enum conn_end end);

/* conn_end_decided - what CONN_ENDS_SOON says, if it is time */
void conn_end_decided(struct arb_conn *c);

/* conn_end_soon - at the end of this turn, or of the on_data that is running */
void conn_end_soon(struct arb_conn *c, enum conn_end end);

/* conn_drained - end it as drained, after a goodbye of its protocol */
void conn_drained(struct arb_conn *c);

/* conn_break - its protocol has said @what, which cannot be */
void conn_break(struct arb_conn *c, const char *what);

/* conn_close_rest - close the descriptor of a connection that conn_close has closed otherwise */
void conn_close_rest(struct arb_conn *c);

/* conn_delivered - an ending connection owes nothing any more */
void conn_delivered(struct arb_conn *c);

/* conn_fail - @error (an errno value) of a read or write: close, unless it means "not now" */
void conn_fail(struct arb_conn *c, int error);

/* conn_close - close and count now; only memory is left, until the loop's next turn */
void conn_close(struct arb_conn *c, enum conn_end end);

/* conn_abort - as conn_close, with a reset: the peer does not take what it was sent */
void conn_abort(struct arb_conn *c, enum conn_end end);

/* conn_memory.c: the blocks that it holds */

/*
 * conn_append - @len bytes behind what @b, one of @c's own, holds; others may have to make way
 * Returns 0, -ENOBUFS (told to set->on_spent) or -ENOMEM.
 */
int conn_append(struct arb_conn *c, struct buffer *b, const void *data, size_t len);

/* conn_own - @c's blocks are found when room is needed; conn_disown - they are not */
void conn_own(struct arb_conn *c);
void conn_disown(struct arb_conn *c);

/* conn_await_progress - what the peer takes of the output counts from now on */
void conn_await_progress(struct arb_conn *c);

/* conn_see_unread - does the peer of an idle local connection read what the kernel has for it? */
void conn_see_unread(struct arb_conn *c);

/* conn_count_sent - the kernel has taken @n bytes of the output */
void conn_count_sent(struct arb_conn *c, size_t n);

/* conn_see_progress - has the peer taken enough of what it was sent to be waited for anew? */
void conn_see_progress(struct arb_conn *c);

/* conn_turn.c: what protocols are told outside of their callbacks */

/* conn_announce - tell the protocol that it has @c. Returns what on_open says; < 0: it does not. */
int conn_announce(struct arb_conn *c, enum arb_origin origin);

/* conn_renounce - tell the protocol, if it was told of it, that it has @c no more */
void conn_renounce(struct arb_conn *c, enum arb_end why);

/* conn_on_turn_end - the callback of set->turn_end */
void conn_on_turn_end(struct ev_loop *loop, ev_prepare *prepare, int revents);

/* conn_turn_init, conn_turn_fini - the latter frees requests that were never ended */
void conn_turn_init(struct conn_set *set);
void conn_turn_fini(struct conn_set *set);

/* conn_news.c: what is still to be told, and what is owed */

/* conn_news - tell @c's protocol at the end of this turn. Returns false without memory. */
bool conn_news(struct arb_conn *c, enum conn_news news);

/* conn_leave_open - @c is not open any more: nobody waits for its replies, on_close is due */
void conn_leave_open(struct arb_conn *c);

/* conn_request_put - out of its list, into @where */
void conn_request_put(struct arb_request *r, struct list *where);

/* conn_count_owing - @n connections owe a reply; conn_stop_owing - @c does not any more */
void conn_count_owing(struct conn_set *set, size_t n);
void conn_stop_owing(struct arb_conn *c);

/* conn_orphan_requests - nobody waits any more for what @c owes */
void conn_orphan_requests(struct arb_conn *c);

/* conn_tell_gone - call the on_gone that are due, and free what has ended */
void conn_tell_gone(struct conn_set *set);

/* conn_free_requests - all that are left */
void conn_free_requests(struct conn_set *set);

/* conn_time.c: deadlines */

/* Which of its deadlines has passed. */
enum conn_due {
    CONN_DUE_NOTHING,
    CONN_DUE_LINGER,
    CONN_DUE_WRITE,
    CONN_DUE_WAKE, /* the protocol's own */
    CONN_DUE_HEADER,
    CONN_DUE_MESSAGE,
    CONN_DUE_KEEP_ALIVE,
};

/* conn_time_init - @on_sweep, the timer's callback, asks conn_next_visit until that is NULL */
void conn_time_init(struct conn_set *set,
                    void (*on_sweep)(struct ev_loop *loop, ev_timer *timer, int revents));
void conn_time_fini(struct conn_set *set);

/* conn_read_clock - what conn_now says for the rest of this turn of the loop */
void conn_read_clock(struct conn_set *set);

/* conn_now - the tick of this turn of the loop */
uint32_t conn_now(struct conn_set *set);

/* conn_age_ms - of something that was at @tick; conn_tick_of_age - the reverse, as far as ticks go
 */
uint32_t conn_age_ms(struct conn_set *set, uint32_t tick);
uint32_t conn_tick_of_age(struct conn_set *set, uint64_t age_ms);

/* conn_life_ms - since it was accepted, or taken from a keeper */
uint64_t conn_life_ms(const struct arb_conn *c);

/* conn_set_wake - the protocol's own deadline, @ms from now; 0 = none */
void conn_set_wake(struct arb_conn *c, uint32_t ms);

/* conn_wake_ms - how long until then, at least 1; 0 = none */
uint32_t conn_wake_ms(const struct arb_conn *c);

/* conn_due - which deadline of @c is not after @tick? */
enum conn_due conn_due(const struct arb_conn *c, uint32_t tick);

/* conn_await_deadline - see that @c is visited before its deadline passes */
void conn_await_deadline(struct arb_conn *c);

/* conn_next_visit - the next connection to look at now; NULL = no more, and the timer is set anew
 */
struct arb_conn *conn_next_visit(struct conn_set *set);

/* conn_events - what the state asks to be watched for */
static inline int conn_events(const struct arb_conn *c)
{
    switch (c->phase) {
    case CONN_OPEN:
        return (c->is_paused || c->is_eof ||
                        (c->special & (CONN_WAITS | CONN_ENDS_SOON | CONN_HELD))
                    ? 0
                    : EV_READ) |
               (c->output.block ? EV_WRITE : 0);
    case CONN_DELIVERING:
        return EV_WRITE | (c->is_eof ? 0 : EV_READ);
    default:
        return EV_READ;
    }
}

/* conn_settle - watch for what the state asks for, and hang up its deadline; ends every callback */
static inline void conn_settle(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);
    const bool is_idle = conn_is_idle(c);

    if (unlikely(c->phase == CONN_CLOSED))
        return;
    if (unlikely(conn_events(c) != c->io.events)) {
        ev_io_stop(set->loop, &c->io);
        ev_io_modify(&c->io, conn_events(c));
        ev_io_start(set->loop, &c->io);
    }
    if (is_idle)
        conn_mark(c, c->idle_mark);
    if (is_idle && set->limits.keep_alive_ms == 0 && !c->is_local)
        return;
    if (is_idle)
        c->since = conn_now(set);
    conn_await_deadline(c);
}

/*
 * conn_move.c: the way out to another process, and in from one. A detached connection is in no list
 * of the set and is neither watched nor timed: its link is the caller's. It counts in n_open until
 * it is given away.
 */

/* conn_is_rooted - it never moves: it has state, and its protocol has no `save` */
bool conn_is_rooted(const struct arb_conn *c);

/* conn_is_movable - could another process go on with it now? */
bool conn_is_movable(const struct arb_conn *c);

/* conn_has_state - does it need saved state there? */
bool conn_has_state(const struct arb_conn *c);

/* conn_detach - touch it no more */
void conn_detach(struct arb_conn *c);

/* conn_pop - take the first one out of a list of detached connections; NULL = it is empty */
struct arb_conn *conn_pop(struct list *detached);

/*
 * conn_depart - from now on nobody else may go on with it: it is about to be sent
 * @mark  of its flight, if it was idle; CONN_MARK_MOVING = it will not come back
 */
void conn_depart(const struct arb_conn *c, uint8_t mark);

/* conn_arrive - from now on another process may go on with it, if it is idle */
void conn_arrive(const struct arb_conn *c);

/*
 * conn_export - all that the other process has to know; pointers into @c, and to @state
 * @state  of @size bytes
 * Returns 0, -ENOBUFS (the protocol's state needs more than @size), or -EMSGSIZE (it needs more
 * than ARB_STATE_MAX: it cannot be moved now).
 */
int conn_export(struct arb_conn *c, uint8_t *state, size_t size, struct moved_record *ret);

/* conn_is_fenced - it waits for the number of a message that was sent for it */
bool conn_is_fenced(const struct arb_conn *c);

/* conn_wait_to_move - read nothing: it is about to be moved */
void conn_wait_to_move(struct arb_conn *c);

/* conn_resume - it is this set's to serve again */
void conn_resume(struct arb_conn *c);

/* conn_give_away - it is served elsewhere: count it, free all but its descriptor */
void conn_give_away(struct arb_conn *c);

/* conn_forget - close this process's copy of the descriptor and free @c */
void conn_forget(struct arb_conn *c);

/*
 * conn_import - a detached connection, not counted yet, with copies of the bytes of @record
 * Returns 0, -ENOMEM, -EBADMSG or -EPROTOTYPE (no such protocol here); on failure @fd is still the
 * caller's.
 */
int conn_import(struct conn_set *set, int fd, const struct moved_record *record,
                struct arb_conn **ret);

/* conn_serve_imported - begin to serve what was imported; under other rules its tail is looked at
 * anew */
void conn_serve_imported(struct arb_conn *c);

/* conn_drop - free what was imported and is not served, and close its descriptor */
void conn_drop(struct arb_conn *c);

#endif
