/*
 * libarbiter: a protocol turns the bytes of connections into replies. It runs in workers, each on
 * one thread; it knows no socket, listener or process. No callback may block.
 *
 * Callbacks do not nest. What a send or a close brings about, on whatever connection, is told at
 * the end of this turn of the loop: on_close, on_writable, on_gone, and on_data after ARB_WAIT. So
 * a protocol may send to and close all of its connections in a loop over its own list of them.
 *
 * What moves. A connection of a protocol without state (conn_size 0) is its unread and unsent
 * bytes: it is moved through reloads, upgrades and scaling, and is saved from the crash of its
 * worker while it is idle. A connection with state is moved by `save` and `restore`, and saved from
 * a crash while it is idle and blank (arb_conn_set_blank). A connection that still owes a reply
 * (arb_request) is moved as soon as it has given it.
 */
#ifndef ARB_PROTOCOL_H
#define ARB_PROTOCOL_H

#include <arbiter/actor.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

struct arb_request; /* a reply that is owed and comes later; outlives its connection */

enum {
    ARB_STATE_MAX = 1 << 20, /* bytes that `save` may need for one connection */
    ARB_HIGH_WATER =
        262144, /* unsent bytes above which a connection is not read; see on_writable */
    ARB_PEER_LEN = 128, /* buffer of arb_conn_peer */
};

/* What happens after on_data, a request, or arb_conn_close. */
enum arb_next {
    ARB_GO_ON,
    ARB_WAIT, /* on_data only: read no more until the last arb_request of this connection has ended
               */
    ARB_CLOSE, /* look at no more input, wait for what is owed (arb_request), deliver it, and end
                  the connection in good order */
    ARB_REFUSE, /* the same, counted as closed_too_big: these bytes are none of this protocol */
};

/* What has come. Borrowed for the call. */
struct arb_input {
    const uint8_t *data; /* what was not consumed yet and what is new, contiguous */
    size_t len;
    size_t resume; /* as left by the call before; 0 for fresh bytes and under new rules */
    bool is_end; /* the peer has half-closed: nothing will follow. Called once with it (once more if
                    that call says ARB_WAIT), len may be 0. What is left then is dropped, and the
                    connection ends when all is given that is owed. */
};

/* What the protocol made of it. Zeroed before the call: "nothing is complete yet". */
struct arb_output {
    size_t consumed; /* bytes that are finished with, a prefix of the input */
    size_t resume; /* where to go on looking, counted from the first byte that is left */
    uint64_t messages; /* complete ones, for the counter `requests` and arbiter.max_requests */
    uint64_t scanned; /* bytes examined, for the counter `scanned`; may stay 0 */
    enum arb_next next;
    const void *reply; /* borrowed until on_data is called again; may point into the input */
    size_t reply_len; /* sent behind what arb_conn_send got during this call */
};

/* How a connection has come to this worker. */
enum arb_origin {
    ARB_ACCEPTED,
    ARB_MOVED, /* from another worker; `restore` follows */
    ARB_RESCUED, /* from a worker that crashed: it was idle, and blank if it has state */
};

/* Why a connection ends here; one counter each. */
enum arb_end {
    ARB_END_PEER, /* the peer, between messages */
    ARB_END_PARTIAL, /* the peer, inside a message */
    ARB_END_CLOSED, /* the protocol: ARB_CLOSE */
    ARB_END_REFUSED, /* the protocol: ARB_REFUSE */
    ARB_END_RESET, /* a reset, or another error of the socket */
    ARB_END_TIMEOUT, /* keep_alive, message_timeout or write_timeout */
    ARB_END_LIMIT, /* max_buffered or ARB_STATE_MAX */
    ARB_END_DRAINED, /* the worker ends, and nobody took the connection */
    ARB_END_CUT, /* the same, at the end of exit_timeout */
    ARB_END_MOVED, /* another worker has it: free what is local; the peer notices nothing */
    ARB_END_BROKEN, /* the protocol said what cannot be, such as consumed > len */
    ARB_END_KILLED, /* an operator: the command kill */
};

/*
 * THE table. A member that is not set means the usual. @server is what `start` has made.
 * New members are only ever added at the end; what the caller does not know is 0.
 */
struct arb_protocol {
    size_t size; /* sizeof(struct arb_protocol) where it was compiled: ARB_PROTOCOL sets it */
    /* [a-z_]+: names it in listeners, counters, commands, and when connections move. */
    const char *name;

    /* -- configuration -- */
    const char *group; /* of its keys in the file; NULL = `name` */
    struct arb_keys keys;
    size_t conf_size; /* bytes of the struct that the keys fill */
    /*
     * check - what one key alone cannot know; pure, called in the arbiter
     * @why  a sentence on failure, with full names of keys ("server.max_buffered"): the user is
     * told in which line of the file one of them stands; @why_size bytes
     * Returns 0 or -EINVAL.
     */
    int (*check)(const void *conf, const struct arb_limits *limits, char *why, size_t why_size);

    struct arb_counters counters;
    struct arb_commands commands; /* `run` gets @server */

    /* -- a worker -- */
    /*
     * start - before the worker says that it is ready
     * @conf        borrowed for the life of the worker
     * @ret_server  NULL before; what it is set to is freed by `stop`, also if start then fails
     * Returns 0, or -errno: the worker cannot start, and what other protocols have started is
     * stopped. A reload or upgrade is taken back; at the first start it is tried again for some
     * seconds, then the server gives up with exit code 70.
     */
    int (*start)(struct arb_actor *self, const void *conf, void **ret_server);
    void (*run)(void *server); /* all workers are ready: connections come from now on */
    void (*stop)(void *server); /* after the last on_close: free @server */

    /* -- a connection -- */
    size_t conn_size; /* bytes of arb_conn_state, zeroed before on_open */
    /* < 0: close it, after what has been sent. With ARB_MOVED it cannot be sent to yet. A PROXY
     * header has come before. */
    int (*on_open)(void *server, struct arb_conn *conn, enum arb_origin origin);
    void (*on_data)(void *server, struct arb_conn *conn, const struct arb_input *in,
                    struct arb_output *out);
    void (*on_timeout)(void *server, struct arb_conn *conn); /* of arb_conn_timeout */
    void (*on_writable)(void *server,
                        struct arb_conn *conn); /* unsent bytes fell below half of
                                                   ARB_HIGH_WATER after being above it */
    void (*on_drain)(void *server,
                     struct arb_conn *conn); /* it ends and nobody takes it: say goodbye */
    /* Once for each on_open that returned 0. The connection cannot be sent to any more; what has
     * been sent may still be on its way. */
    void (*on_close)(void *server, struct arb_conn *conn, enum arb_end why);

    /* -- moving: both or none; with conn_size > 0 and none, a connection is drained where it is --
     */
    uint32_t state_version; /* travels with the bytes */
    /*
     * save - write the state; changes nothing
     * Returns the length that it needs. More than @size: called again with that much, if it is at
     * most ARB_STATE_MAX; else the connection cannot move. Refuse state that would need more when
     * it arises.
     */
    size_t (*save)(void *server, const struct arb_conn *conn, void *buf, size_t size);
    /*
     * restore - in the other worker, after on_open(ARB_MOVED)
     * @data  borrowed; written by a `save` of @version, which may be an older or newer program's
     * Returns 0, or -errno: the giver keeps the connection, and on_close(ARB_END_MOVED) follows
     * here.
     */
    int (*restore)(void *server, struct arb_conn *conn, uint32_t version, const void *data,
                   size_t len);

    /* -- messages of actors -- */
    /*
     * on_message - @conn NULL: for all connections of this worker. Else it is repeated for this
     * one, which was on its way while the others heard it. arb_conn_send during the call returns
     * ARB_SEEN for a connection that has had the message before it came here, or will have it
     * repeated; so nothing is lost or doubled by a move. What else a message does to a connection,
     * such as a change of its state, is done only if that is not returned.
     */
    void (*on_message)(void *server, struct arb_conn *conn, const struct arb_message *message);
    void (*on_can_send)(void *server); /* after arb_send has returned -EAGAIN */
};

/* ---- connections ---- */

/* arb_conn_state - conn_size bytes of the protocol's own; valid until on_close has returned */
void *arb_conn_state(const struct arb_conn *conn);

/* arb_conn_id - unique while the server lives, upgrades included; the same after a move, and after
 * the death of a worker: what operators see as the number of the connection. 0 = there is no memory
 * for one, which only a connection without state can hear. */
uint64_t arb_conn_id(const struct arb_conn *conn);

/* arb_conn_peer - "192.0.2.1:4711", "[2001:db8::1]:4711", "unix", or "" if it is not known; behind
 * a proxy whom its PROXY header names. Returns @buf. */
const char *arb_conn_peer(const struct arb_conn *conn, char buf[ARB_PEER_LEN]);

enum { ARB_SEEN = 1 };

/*
 * arb_conn_send - send without being asked; queued behind what is unsent
 * @data  borrowed; copied if the kernel does not take it now
 * The time of server.keep_alive begins anew, as after an answer.
 * Returns 0; ARB_SEEN (only in on_message, see there); -EPIPE: the connection ends already; -EBUSY:
 * it is on its way to another worker; -ENOBUFS: max_buffered is used up, nothing was queued, and
 * the connection ends visibly, because its peer would miss these bytes.
 */
int arb_conn_send(struct arb_conn *conn, const void *data, size_t len);

/* arb_conn_unsent - bytes that the kernel has not taken yet */
size_t arb_conn_unsent(const struct arb_conn *conn);

/*
 * arb_conn_close - ARB_CLOSE or ARB_REFUSE, at the end of this turn of the loop; on_close follows.
 * The first call counts. Of no effect on a connection that is on its way, if another worker takes
 * it.
 */
void arb_conn_close(struct arb_conn *conn, enum arb_next how);

/*
 * arb_conn_timeout - call on_timeout in @ms, once; a new call replaces the one before, 0 removes it
 * One per connection, up to 200 ms late. It moves with the connection.
 */
void arb_conn_timeout(struct arb_conn *conn, uint32_t ms);

/*
 * arb_conn_set_blank - is the state as a new connection's, so that it may be saved from a crash
 * without it? False until this says otherwise; of no effect if conn_size is 0.
 */
void arb_conn_set_blank(struct arb_conn *conn, bool is_blank);

/*
 * arb_conn_keep - may another worker go on with it when this one dies? True until this says
 * otherwise. For protocols without state; of no effect if conn_size is not 0, where
 * arb_conn_set_blank decides. It holds in this worker: say it again in on_open, of whatever origin.
 */
void arb_conn_keep(struct arb_conn *conn, bool is_to_be_kept);

/* arb_conn_each - call @fn for each open connection of this protocol in this worker, in no
 * particular order; @fn may send and close */
void arb_conn_each(struct arb_actor *self, void (*fn)(struct arb_conn *conn, void *data),
                   void *data);

/* ---- replies that come later ---- */

/*
 * arb_request_new - the connection owes a reply from now on
 * @conn     open; usually the one of the on_data that is running
 * @on_gone  called at most once if the connection ends first: nobody waits for the reply any more.
 * The request still has to be ended. NULL = no interest
 * Returns NULL without memory, if the connection ends already, or if it is on its way.
 *
 * While it owes a reply a connection is busy: it is not idle, and is not moved; a change waits for
 * it until exit_timeout at most. With ARB_WAIT as `next` of on_data replies come in order; without
 * it on_data goes on, and what is replied first is sent first. A connection that waits is not read:
 * that its peer has gone is noticed with the reply.
 */
struct arb_request *arb_request_new(struct arb_conn *conn,
                                    void (*on_gone)(struct arb_request *request, void *data),
                                    void *data);

/* arb_request_data - the @data of arb_request_new */
void *arb_request_data(const struct arb_request *request);

/* arb_request_conn - its connection; NULL once that is gone */
struct arb_conn *arb_request_conn(const struct arb_request *request);

/*
 * arb_request_reply - send part of the reply
 * As arb_conn_send; -EPIPE if the connection is gone.
 */
int arb_request_reply(struct arb_request *request, const void *data, size_t len);

/*
 * arb_request_end - the reply is complete; exactly once, from any callback. @request is gone
 * afterwards: a second call is an error of the program, which an assertion finds if it comes in the
 * same turn of the loop. After the last one of a connection on_data goes on with what has come
 * meanwhile.
 * @next  ARB_GO_ON, ARB_CLOSE or ARB_REFUSE; the latter two wait for what else is owed
 */
void arb_request_end(struct arb_request *request, enum arb_next next);

/* Members that are left out are 0. With -Wextra g++ warns of each: add
 * -Wno-missing-field-initializers. */
/* clang-format off */
#define ARB_PROTOCOL(...) { .size = sizeof(struct arb_protocol), __VA_ARGS__ }
#define ARB_KIND(...) { .size = sizeof(struct arb_kind), __VA_ARGS__ }
/* clang-format on */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
