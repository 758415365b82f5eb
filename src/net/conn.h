/*
 * Connections of one worker: buffers, deadlines, back-pressure and endings. Runs in a worker's
 * loop; knows no configuration file, no arbiter, no listener; a protocol turns bytes into replies.
 *
 * The rules of the data path: one read per readiness event, into a buffer that all share; the
 * longest prefix of whole messages is answered with one write straight from there; only an
 * unfinished tail is copied into a buffer of the connection's own, only an unsent rest into its
 * output; above the high-water mark of unsent output reading stops. Deadlines hang in one wheel.
 */
#ifndef NET_CONN_H
#define NET_CONN_H

#include <arbiter/protocol.h>
#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include "actor/sources.h"
#include "base/addr.h"
#include "base/buffer.h"
#include "base/counters.h"
#include "base/list.h"
#include "base/timing.h"
#include "base/util.h"
#include "base/wheel.h"
#include "wire/proxy.h"

enum {
    CONN_READ_BYTES = 65536, /* one read, into the shared buffer */
    CONN_READ_MAX_BYTES = 262144, /* one read, into the buffer of a large message */
    CONN_HEAD_BYTES = 65536, /* room in front of the shared buffer for a tail */
    /* Closed ones that are kept for the next: no malloc for who comes and goes. */
    CONN_SPARE = HAS_SHADOW_MEMORY ? 0 : 64,
    CONN_LINGER_MS = 2000, /* to wait for the peer's end of file after our half-close */
    CONN_TICK_MS = 100, /* resolution of the deadlines, which fire up to two late */
    CONN_PROTOCOLS_MAX = 8, /* in one set */
};

struct conn_limits {
    uint64_t keep_alive_ms; /* 0 = none */
    uint64_t message_timeout_ms; /* 0 = none */
    uint64_t write_timeout_ms; /* 0 = none */
    size_t max_buffered; /* bytes of all the connections' own buffers */
};

struct conn_set;
struct relay;
struct keep;
struct conn_sources;

/* A protocol that a set serves. */
struct conn_protocol {
    const struct arb_protocol *table; /* borrowed */
    void *server; /* borrowed: what table->start has made */
    struct arb_actor *actor; /* borrowed: this protocol's hold on the process; NULL in some tests */
    /* Of the rules: under equal ones the `resume` of one worker holds in another. */
    uint64_t fingerprint;
    uint64_t name_hash; /* what other processes call it; set by conn_set_init */
    void (*on_data)(void *server, struct arb_conn *conn, const struct arb_input *in,
                    struct arb_output *out); /* of the table, nearer; set by conn_set_init */
    size_t conn_bytes; /* of a connection and its state; set by conn_set_init */
    uint8_t idle_mark; /* what an idle connection is marked as at first; set by conn_set_init */
};

/*
 * Called before @c is ended because max_buffered is spent.
 * @reason      why this one
 * @held_bytes  of its own blocks
 */
typedef void conn_set_on_spent(struct conn_set *set, const char *reason, const struct arb_conn *c,
                               size_t held_bytes);

/* Called after @protocol has said @what, which cannot be, so that its connection ends. */
typedef void conn_set_on_broken(struct conn_set *set, const char *protocol, const char *what);

/*
 * Called when @c has given the last reply that it owed, outside of callbacks of a protocol.
 * Returns true if it is to be moved: until then it is not read, and not drained.
 */
typedef bool conn_set_on_answered(struct conn_set *set, struct arb_conn *c);

/* What a connection began with, where that is worth a line of the log. */
struct conn_header_news {
    const char *peer; /* of the connection; as text, "" = not known */
    bool is_unasked; /* a header came that nobody expects, and goes to the protocol */
    enum source_answer answer; /* not SOURCE_ADMITTED: why the source that it names is refused */
    const char *reason; /* static: why the connection ends otherwise; NULL = it does not */
};

typedef void conn_set_on_header(struct conn_set *set, const struct conn_header_news *news);

/* Whose doing is it that a connection ends? */
enum conn_blame {
    CONN_USUAL, /* nobody's: in good order, or as the configuration has it */
    CONN_FAULT, /* the peer's, or the network's */
    CONN_CUT, /* the server's, for a reason */
};

enum { CONN_ENDINGS_MAX = 32 };

struct conn_ending {
    const char *reason; /* static: as its counter is called behind closed_ */
    unsigned number; /* of the reason, below CONN_ENDINGS_MAX */
    enum conn_blame blame;
};

/* Called when @c is about to be closed, its descriptor being open still. */
typedef void conn_set_on_ended(struct conn_set *set, const struct arb_conn *c,
                               const struct conn_ending *e);

/* Called after a connection is gone: room for a new one, or the end of a drain. */
typedef void conn_set_on_closed(struct conn_set *set);

/* Where a walk over the connections of a set goes on; one of a list that conn_unlist keeps right.
 */
struct conn_cursor {
    struct list *next;
    struct conn_cursor *outer;
};

/* All connections of a worker. */
struct conn_set {
    struct ev_loop *loop; /* borrowed */
    struct conn_protocol protocols[CONN_PROTOCOLS_MAX];
    unsigned n_protocols;
    struct conn_limits limits;
    struct counters *counters; /* borrowed: this process's own record */
    conn_set_on_closed *on_closed;
    conn_set_on_spent *on_spent; /* NULL = nobody wants to know; set after conn_set_init */
    conn_set_on_broken *on_broken; /* as on_spent */
    conn_set_on_answered *on_answered; /* as on_spent */
    conn_set_on_header *on_header; /* as on_spent */
    conn_set_on_ended *on_ended; /* as on_spent; called for ends with at least this blame: */
    enum conn_blame ended_least;
    struct buffer_pool pool;
    struct keep *keep; /* borrowed: holds duplicates for the case of death; NULL = nobody does */
    struct conn_sources *sources; /* borrowed: counts them by source; NULL = nobody does */
    struct ev_loop *probe; /* owned: tells the descriptor of the kernel's set; NULL = not yet */
    int epoll_fd; /* that descriptor, in the turn of the loop with the number epoll_turn */
    unsigned epoll_turn;
    uint8_t *marks; /* borrowed from `keep`, or own: enum conn_mark of each descriptor */
    uint8_t *own_marks; /* owned: n_own_marks, and as many of `spoken` behind them */
    uint8_t *spoken; /* index in `protocols` of what is spoken on each descriptor */
    struct addr_named *peers; /* owned: n_own_marks, whom proxies have named; NULL = nobody yet */
    size_t n_own_marks;
    size_t n_marks; /* descriptors from here on are not served */
    size_t marks_end; /* from here on nothing has ever been marked */
    struct {
        const uint8_t *data; /* what the protocol looks at now; NULL = nothing */
        size_t len;
        int fd;
        struct arb_conn *conn; /* whose bytes, if there is `data` */
    } serving;
    uint8_t *read_buffer; /* CONN_READ_BYTES, shared by all, CONN_HEAD_BYTES owned in front */
    struct list all; /* every open connection, oldest first */
    struct list
        dead; /* closed ones without state: the next connections, outside of their own callbacks */
    size_t n_dead; /* in `dead` */
    struct list dead_rich; /* closed ones that no next connection can use */
    struct list closing; /* closed ones whose protocol has not been told so yet */
    struct list news; /* connections with news for their protocols, by conn_more.link */
    ev_prepare turn_end; /* runs only while there is news or memory to be freed */
    ev_idle turn_again; /* runs only while there is so much news that the loop may not sleep */
    struct conn_cursor *cursors; /* of each walk and arb_conn_each under way, the innermost first */
    /* Requests: those whose on_gone is due, those without a connection, and those that ended. */
    struct list gone, orphans, ended;
    size_t n_owing; /* connections that owe a reply */
    counter_t *owing; /* borrowed: their number for others to see; NULL = nobody */
    size_t n_open; /* in `all`, lingering ones included */
    uint64_t n_closes; /* since the start */
    uint64_t last_id; /* of a connection that began here; see conn_id_base */
    struct relay *relay; /* borrowed: messages of actors; NULL = there are none */
    /* How long replies take: see conn_sample.c. */
    unsigned untimed; /* reads until one is timed, that one included */
    struct {
        struct timing *times; /* borrowed: where it is counted; NULL = nowhere */
        uint64_t read_ns; /* when what is being answered was read; 0 = it is not timed */
        uint64_t counted; /* `requests` at the last timed read */
        struct arb_request *request; /* the first that this read has made; NULL = none */
    } sample;
    bool is_draining;
    bool is_attentive; /* every answer has to be followed by a look at drain and keep_alive */
    /* Time. */
    uint64_t (*clock_ms)(void); /* monotonic; a test may put its own here after conn_set_init */
    uint64_t base_ms; /* the time of tick 0; may be before the clock's own beginning */
    unsigned turn; /* of the loop, for which `tick` has been read */
    uint32_t tick; /* now, in units of CONN_TICK_MS */
    struct wheel wheel; /* all deadlines */
    ev_timer sweep; /* runs only while the wheel holds something */
    uint32_t sweep_tick; /* when `sweep` fires; WHEEL_NONE = it is stopped */
};

/*
 * conn_set_init - connections of any of @protocols, 1..CONN_PROTOCOLS_MAX, copied
 * @counters and @loop outlive the set. Returns 0 or -ENOMEM.
 */
int conn_set_init(struct conn_set *set, struct ev_loop *loop, const struct conn_protocol *protocols,
                  unsigned n_protocols, const struct conn_limits *limits, struct counters *counters,
                  conn_set_on_closed *on_closed);

/* conn_set_protocol - index of the protocol with that hash_name, or -1 */
int conn_set_protocol(const struct conn_set *set, uint64_t name_hash);

/* conn_set_serve - other protocols; only while the set has no connection */
void conn_set_serve(struct conn_set *set, const struct conn_protocol *protocols, unsigned n);

/* conn_set_fini - cut all that is left and free everything */
void conn_set_fini(struct conn_set *set);

/*
 * conn_set_add - take over a connected, non-blocking socket
 * @protocol     index of what it speaks
 * @origin       ARB_ACCEPTED or ARB_RESCUED
 * @may_be_unix  it is looked at: the peer of a unix socket cannot stall the process by passing a
 *   descriptor, and is ended when it does not read what the kernel has for it
 * Returns 0 or -ENOMEM (@fd is then closed).
 */
int conn_set_add(struct conn_set *set, int fd, unsigned protocol, enum arb_origin origin,
                 bool may_be_unix);

/*
 * conn_set_add_headed - as conn_set_add, of one just accepted that begins with a PROXY header
 * @wish  PROXY_ACCEPTED or PROXY_REQUIRED
 * Its protocol hears of it when the header has come, or is known not to come.
 */
int conn_set_add_headed(struct conn_set *set, int fd, unsigned protocol, enum proxy_wish wish,
                        bool may_be_unix);

/*
 * conn_set_name - a proxy says that the peer of @fd is @peer; NULL or nobody: it does not
 * Returns 0, or -ENOMEM also for a descriptor that no connection can have.
 */
int conn_set_name(struct conn_set *set, int fd, const struct addr_named *peer);

/* conn_set_named - whom a proxy has named as the peer of @fd; never NULL */
const struct addr_named *conn_set_named(const struct conn_set *set, int fd);

/* conn_set_named_address - the same as the address of a socket; NULL = nobody is named */
const struct sockaddr *conn_set_named_address(const struct conn_set *set, int fd,
                                              struct sockaddr_storage *buf, socklen_t *ret_len);

/*
 * conn_id_base - what the ids of a process begin behind, so that they are unique while the server
 * lives: incarnations are counted on through reloads and upgrades
 */
static inline uint64_t conn_id_base(uint32_t slot, uint64_t incarnation)
{
    return (incarnation << 10 | ((slot - 1) & 1023)) << 32;
}

/*
 * conn_peer_address - the peer of @c, also after it has reset the connection
 * Returns the length of its address; 0 = not known.
 */
socklen_t conn_peer_address(const struct arb_conn *c, struct sockaddr_storage *ret);

/*
 * conn_peer - the same as text: "192.0.2.1:4711", "[::1]:4711", "unix:PATH", for a client of a unix
 * socket without a path "unix:uid=1000,pid=4711"; "" = not known
 * Whoever names a peer asks this function. Returns @buf.
 */
enum { CONN_PEER_LEN = ADDR_TEXT_LEN };
const char *conn_peer(const struct arb_conn *c, char buf[CONN_PEER_LEN]);

/* conn_local - the address of its own that the peer is connected to; as conn_peer */
const char *conn_local(const struct arb_conn *c, char buf[CONN_PEER_LEN]);

/*
 * conn_id - unique while the server lives, and the same in each process that has the connection
 * 0 = the kernel gives sockets no numbers, and the protocol has not asked for one.
 */
uint64_t conn_id(const struct arb_conn *c);

/*
 * conn_fence - @sequence: of the message that was sent for @c, which does not leave before that has
 * its number; 0 = only make room to remember one. Returns 0 or -ENOMEM.
 */
int conn_fence(struct arb_conn *c, uint64_t sequence);

/* conn_set_mark - a descriptor that is no connection of the set, or not yet: enum conn_mark */
void conn_set_mark(struct conn_set *set, int fd, uint8_t mark);

/* conn_set_expect - a connection of an earlier process, which conn_set_add will get: it is idle.
 * Returns whether it can be served. */
bool conn_set_expect(struct conn_set *set, int fd, unsigned protocol);

/*
 * conn_set_unwatch - take @fd out of the kernel's set behind the loop (EPOLL_CTL_DEL)
 * Before the close of what lives on elsewhere: libev leaves that to the kernel, which takes out
 * only what is closed everywhere; each later event would make libev build its whole set anew.
 */
void conn_set_unwatch(struct conn_set *set, int fd);

/* conn_is_stream - is it a connected stream socket, perhaps ended by its peer? Async-signal-safe.
 */
bool conn_is_stream(int fd);

/*
 * conn_set_settle - tell protocols what is to be told at the end of the turn, now; not inside of
 * their callbacks
 */
void conn_set_settle(struct conn_set *set);

/*
 * conn_set_drain - no new work: idle connections are half-closed and linger, the others finish the
 * message they are in (and answer what one more read brings) or give what they owe first. Once
 * more: those that were held to be moved, too.
 */
void conn_set_drain(struct conn_set *set);

/* conn_set_rooted - how many connections never move, since their protocol has state and no `save`?
 * Those that owe a reply do not count. */
size_t conn_set_rooted(const struct conn_set *set);

/* conn_sample_next - time the next read that brings a message */
void conn_sample_next(struct conn_set *set);

/* conn_set_cut - the end of patience: close everything now, counted as cut */
void conn_set_cut(struct conn_set *set);

#endif
