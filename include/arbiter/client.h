/*
 * libarbiter-client: a client library for request and reply over a pool of connections. It speaks
 * Echo, or a protocol of the caller's (struct arb_client_protocol); libarbiter-client(3) tells the
 * story.
 *
 * A client is an address and a pool of connections to it. No signals, no exit, no output, no global
 * state. A client belongs to one thread (any number of threads may have one each) and to one
 * process: after fork the child makes its own. Handlers are called from the caller's libev loop, or
 * from the functions that say "Blocks"; they may call everything but those.
 */
#ifndef ARBITER_CLIENT_H
#define ARBITER_CLIENT_H

#include <stddef.h>
#include <sys/socket.h>

#if defined(__GNUC__)
#define ARB_EXPORT __attribute__((visibility("default")))
#else
#define ARB_EXPORT
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- how everything can end ---- */

/*
 * Functions return 0 (ARB_OK), one of the positive outcomes below, or a negative -errno for what
 * the system refused unexpectedly; arb_strerror knows all. Numbers are stable: a new outcome is
 * appended.
 */
enum arb_status {
    ARB_OK = 0,
    ARB_TIMEOUT = 1, /* the deadline passed: in the queue, connecting, sending or receiving */
    ARB_REFUSED = 2, /* nobody listens there */
    ARB_UNREACHABLE = 3, /* no way to that address */
    ARB_UNRESOLVED = 4, /* the name has no address */
    ARB_NO_RESOLVER = 5, /* no name server answers just now */
    ARB_CLOSED = 6, /* the peer closed the connection before the reply was complete */
    ARB_RESET = 7, /* the connection was reset before the reply was complete */
    ARB_UNEXPECTED = 8, /* the peer sent bytes that nobody asked for */
    ARB_MISMATCH = 9, /* the reply is not the message */
    ARB_TOO_LONG = 10, /* the message is longer than max_message */
    ARB_SEPARATOR = 11, /* the message would end early: it has the separator in it */
    ARB_CANCELLED = 12, /* arb_call_cancel, or the client was freed */
    ARB_POOL_CLOSED = 13, /* arb_client_close */
    ARB_QUEUE_FULL = 14, /* as many calls are under way as the options allow */
    ARB_BUSY = 15, /* not now: inside a callback of the same client, or the connection is shared */
    ARB_FORKED = 16, /* the client belongs to the parent process: make a new one */
    ARB_INVALID = 17, /* an argument or option is out of its range */
    ARB_BAD_ADDRESS = 18, /* the text is no address */
    ARB_NOMEM = 19, /* out of memory */
    ARB_BAD_REPLY = 20, /* the bytes are no reply of the protocol */
    ARB_REPLY_TOO_LONG = 21, /* the reply is longer than max_reply */
    ARB_COMMAND_FAILED = 22 /* the server has answered a command with an error */
};

/*
 * arb_strerror - a sentence for a status or -errno
 * Returns static text, never NULL; usable from any thread.
 */
ARB_EXPORT const char *arb_strerror(int status);

/*
 * arb_status_name - a short stable word ("timeout", "closed"; "error" for -errno), for logs
 * Returns static text, never NULL.
 */
ARB_EXPORT const char *arb_status_name(int status);

/* arb_version - the version of the library that is running, such as "0.1.0"; static text */
ARB_EXPORT const char *arb_version(void);

/* ---- a client ---- */

struct arb_client;
struct ev_loop;

enum { ARB_POOL_SIZE = 10, ARB_POOL_SIZE_MAX = 65536 };
enum { ARB_PIPELINE_MAX = 4096, ARB_RETRIES_MAX = 100, ARB_SEPARATOR_MAX = 16 };

struct arb_address {
    struct sockaddr_storage sa;
    socklen_t len;
};

/* A look at what has come and belongs to no reply yet. */
struct arb_decoding {
    const void *data; /* begins where a reply begins; borrowed for the call */
    size_t len; /* at least 1 */
    size_t resume; /* 0 at first; then what the last look at this reply has left here */
    const void *reply; /* to be set: what the caller of arb_echo gets; within data */
    size_t reply_len; /* to be set */
};

/*
 * A protocol of request and reply: what is sent for a message, and where its reply ends. Replies
 * come in the order of the messages. The functions are pure, and must not call the library.
 */
struct arb_client_protocol {
    size_t size; /* sizeof(struct arb_client_protocol) where it was compiled */
    /*
     * encode - the bytes to be sent for @message
     * @buf  NULL when it is asked how many bytes there are
     * Returns how many bytes it has written, or would write, which is the same number; (size_t)-1:
     * this is no message, and the call is refused with ARB_INVALID.
     */
    size_t (*encode)(void *userdata, const void *message, size_t len, void *buf, size_t size);
    /*
     * decode - is there a whole reply at the beginning of the data?
     * Returns how many bytes it takes, or 0: more has to come; or (size_t)-1: these bytes are no
     * reply, and the connection ends with ARB_BAD_REPLY.
     */
    size_t (*decode)(void *userdata, struct arb_decoding *decoding);
};

/*
 * What finds the addresses of a name. Returns how many it has written to @ret (0 = the name has
 * none), -EAGAIN (no name server answers) or -errno.
 */
typedef int arb_resolver(void *userdata, const char *host, unsigned short port,
                         struct arb_address *ret, int max);

/* In brackets: the default. */
struct arb_client_options {
    struct ev_loop *loop; /* borrowed, outlives the client; [NULL]: arb_client_wait drives it */
    unsigned pool_size; /* connections at most, 1..ARB_POOL_SIZE_MAX [10] */
    unsigned pipeline; /* calls under way on one connection, 1..ARB_PIPELINE_MAX [1] */
    unsigned max_calls; /* calls under way in all, waiting ones included [65536] */
    unsigned retries; /* how often a call is sent again whose connection was lost before the
                         first byte of its reply, 0..ARB_RETRIES_MAX [0]; the server may then
                         see it twice */
    int timeout_ms; /* of a call: queue, connect, send and receive; 0 = none [30000] */
    int full_response; /* 1: calls hand over the consumer with its connection [0] */
    const void *separator; /* borrowed during arb_client_new ["\r\n\r\n"] */
    size_t separator_len; /* 0..ARB_SEPARATOR_MAX; 0 = a raw echo [4] */
    size_t max_message; /* bytes of a message, without its separator [16 MiB] */
    arb_resolver *resolver; /* [NULL] = getaddrinfo */
    void *resolver_data; /* its @userdata [NULL] */
    const struct arb_client_protocol *protocol; /* borrowed, outlives the client [NULL] = Echo */
    void *protocol_data; /* its @userdata [NULL] */
    size_t max_reply; /* bytes of a reply as it comes, with a protocol of the caller's [64 MiB] */
    void *reserved[4]; /* [NULL] */
};

/* arb_client_options_init - fill in the defaults; to be called before members are set */
ARB_EXPORT void arb_client_options_init(struct arb_client_options *options);

/*
 * arb_client_new - a client; opens no connection yet
 * @address  borrowed: HOST:PORT, [V6]:PORT, :PORT (this machine) or unix:PATH; no port 0
 * @options  borrowed; NULL = all defaults
 * Returns ARB_OK, ARB_BAD_ADDRESS, ARB_INVALID, ARB_UNRESOLVED, ARB_NO_RESOLVER, ARB_TIMEOUT,
 * ARB_NOMEM or -errno. Blocks if the address has a name: this is where it is looked up, once for
 * all, within timeout_ms. (A thread waits for getaddrinfo, which cannot be interrupted; after
 * ARB_TIMEOUT it lives on until the resolver gives up. Without timeout_ms there is no thread.
 * A resolver of the caller's is simply called: nothing bounds its time.)
 */
ARB_EXPORT int arb_client_new(const char *address, const struct arb_client_options *options,
                              struct arb_client **ret);

/*
 * arb_client_free - end all calls with ARB_CANCELLED, close all connections, free
 * From a handler it takes effect when that returns. Calls that were handed over stay valid, without
 * their connections. In a forked child no handler is called and the parent's connections live on;
 * with a loop call ev_loop_fork before. NULL is fine.
 */
ARB_EXPORT void arb_client_free(struct arb_client *client);

/*
 * arb_client_close - close all connections, handed-over ones too; all calls, also later ones, end
 * with ARB_POOL_CLOSED. From a handler it takes effect when that returns.
 */
ARB_EXPORT void arb_client_close(struct arb_client *client);

/*
 * arb_client_resolve - look the name up again, for the connections to come
 * Returns as arb_client_new; on failure the addresses stay as they were. Blocks.
 */
ARB_EXPORT int arb_client_resolve(struct arb_client *client);

/* arb_client_loop - as the options said; NULL = none */
ARB_EXPORT struct ev_loop *arb_client_loop(const struct arb_client *client);

/* arb_client_address - as arb_client_new got it; borrowed */
ARB_EXPORT const char *arb_client_address(const struct arb_client *client);

/* arb_client_full_response - as the options said: do calls hand over the consumer? */
ARB_EXPORT int arb_client_full_response(const struct arb_client *client);

/* Of the connections of a client. */
struct arb_client_counters {
    unsigned pool_size; /* connections at most */
    unsigned in_use; /* connections that calls have */
    unsigned available; /* connections that wait for a call */
    unsigned connecting;
    unsigned waiting; /* calls that wait for a connection */
    unsigned reserved[3];
    unsigned long long sessions; /* connections made since arb_client_new */
    unsigned long long requests_processed; /* calls that were answered since then */
};

/* arb_client_count - what is counted now */
ARB_EXPORT void arb_client_count(const struct arb_client *client, struct arb_client_counters *ret);

/* arb_client_calls - how many calls are under way: started, and their handler not called yet */
ARB_EXPORT unsigned arb_client_calls(const struct arb_client *client);

/*
 * arb_client_wait - drive the client until no call is under way
 * @timeout_ms  0 = what can be done at once, -1 = as long as it takes
 * Returns ARB_OK, ARB_TIMEOUT (some still are), ARB_CANCELLED (a handler has freed the client),
 * ARB_BUSY (in a handler), ARB_FORKED or -errno. Blocks.
 */
ARB_EXPORT int arb_client_wait(struct arb_client *client, int timeout_ms);

/* ---- calls ---- */

/*
 * A call sends one message and takes its reply. An echo is compared with its message byte by byte
 * as it comes; other protocols say themselves what a reply is. A reply is whole and right, or the
 * call ends with a status that says what happened. There is one deadline for all of it: queue,
 * connect, send and receive.
 *
 *     arb_echo                  one call that blocks: message in, reply out
 *     arb_call_start            a call that goes on in the background: any number, one handler each
 *     arb_echo_full, _connect   hand over the consumer, which holds its connection until it is
 * freed
 */
struct arb_call; /* a message and its reply */
struct arb_connection;

/* What differs for one call; -1 = as in the client's options. */
struct arb_call_options {
    int timeout_ms;
    int retries;
    int full_response;
    int reserved[5]; /* -1 */
};

struct arb_reply {
    const void *data; /* without the separator; not NULL, not terminated */
    size_t len;
    void *owner; /* what arb_reply_free frees */
};

/* arb_call_options_init - all as in the client's options */
ARB_EXPORT void arb_call_options_init(struct arb_call_options *options);

/*
 * arb_message_check - can these bytes be sent as one message?
 * Returns ARB_OK, ARB_TOO_LONG or ARB_SEPARATOR, as the functions that send would.
 */
ARB_EXPORT int arb_message_check(const struct arb_client *client, const void *message, size_t len);

/*
 * arb_echo - send one message and wait for its echo, or its reply in the client's protocol
 * @message    borrowed; @len bytes without the separator
 * @ret_reply  on ARB_OK: owned by the caller, arb_reply_free
 * Returns ARB_OK or why not. Of a message that cannot be sent (ARB_TOO_LONG, ARB_SEPARATOR) no byte
 * is sent. Calls that were started before go on meanwhile. Blocks.
 */
ARB_EXPORT int arb_echo(struct arb_client *client, const void *message, size_t len,
                        struct arb_reply *ret_reply);

/* arb_reply_free - NULL and a reply that is freed already are fine */
ARB_EXPORT void arb_reply_free(struct arb_reply *reply);

/*
 * arb_echo_full - as arb_echo, with the consumer and its connection instead of the bytes
 * @options  borrowed; NULL = the client's; full_response is taken as 1
 * @ret      on ARB_OK: owned by the caller, arb_call_free
 */
ARB_EXPORT int arb_echo_full(struct arb_client *client, const void *message, size_t len,
                             const struct arb_call_options *options, struct arb_call **ret);

/* arb_connect - lease a connection, send nothing; otherwise as arb_echo_full. Blocks. */
ARB_EXPORT int arb_connect(struct arb_client *client, const struct arb_call_options *options,
                           struct arb_call **ret);

/* How a call has ended. With full_response @call is the handler's from now on: arb_call_free. */
typedef void arb_call_handler(struct arb_call *call, int status, void *userdata);

/*
 * arb_call_start - send one message; the reply comes through the handler
 * Without a loop it is sent when a function that blocks is called, together with the others.
 * @message   borrowed; copied
 * @options   borrowed; NULL = the client's
 * @on_done   called exactly once, never before this returns; NULL = nobody is interested
 * @ret_call  NULL, or for arb_call_cancel: valid until on_done has returned
 * Returns ARB_OK, or, without a call of the handler, ARB_TOO_LONG, ARB_SEPARATOR, ARB_QUEUE_FULL,
 * ARB_INVALID, ARB_POOL_CLOSED, ARB_FORKED or ARB_NOMEM.
 */
ARB_EXPORT int arb_call_start(struct arb_client *client, const void *message, size_t len,
                              const struct arb_call_options *options, arb_call_handler *on_done,
                              void *userdata, struct arb_call **ret_call);

/* arb_connect_start - lease a connection: arb_call_start with full_response and without a message
 */
ARB_EXPORT int arb_connect_start(struct arb_client *client, const struct arb_call_options *options,
                                 arb_call_handler *on_done, void *userdata,
                                 struct arb_call **ret_call);

/*
 * arb_call_wait - drive the client until this call has ended and its handler has returned
 * @timeout_ms  -1 = as long as the call itself has
 * Returns how the call has ended; or ARB_TIMEOUT (it goes on), ARB_BUSY (in a handler), ARB_FORKED
 * or -errno. Blocks.
 */
ARB_EXPORT int arb_call_wait(struct arb_call *call, int timeout_ms);

/*
 * arb_call_cancel - end it with ARB_CANCELLED, unless it has ended already
 * The handler is called as usual, later. A connection that owes a reply is not used again.
 */
ARB_EXPORT void arb_call_cancel(struct arb_call *call);

/*
 * arb_call_free - give a handed-over call back, and its connection to the pool. NULL is fine.
 * One that is still under way is cancelled, and freed after its handler.
 */
ARB_EXPORT void arb_call_free(struct arb_call *call);

/* arb_call_drop - as arb_call_free, but the connection is closed after its last call */
ARB_EXPORT void arb_call_drop(struct arb_call *call);

/*
 * arb_call_detach - take the connection's socket out of the pool; the call remains to be freed
 * @ret_fd  on ARB_OK: owned by the caller; a non-blocking stream socket without unread bytes
 * Returns ARB_OK, ARB_CLOSED (there is none any more) or ARB_BUSY (others use it too).
 */
ARB_EXPORT int arb_call_detach(struct arb_call *call, int *ret_fd);

/*
 * arb_call_message, arb_call_reply - borrowed until the call is freed
 * The reply is NULL unless the call has ended with ARB_OK. @ret_len may be NULL.
 */
ARB_EXPORT const void *arb_call_message(const struct arb_call *call, size_t *ret_len);
ARB_EXPORT const void *arb_call_reply(const struct arb_call *call, size_t *ret_len);

/* arb_call_status - ARB_BUSY while it is under way, then how it has ended */
ARB_EXPORT int arb_call_status(const struct arb_call *call);

/* arb_call_retries - how often it was sent again */
ARB_EXPORT unsigned arb_call_retries(const struct arb_call *call);

/*
 * arb_call_connection - the connection that it is on or holds; NULL if there is none
 * Borrowed until the call is freed; from a handler of arb_call_start without full_response NULL.
 */
ARB_EXPORT struct arb_connection *arb_call_connection(const struct arb_call *call);

/* Which one it is: the first of its client is 1; how many replies it has brought. */
ARB_EXPORT unsigned long long arb_connection_session(const struct arb_connection *connection);
ARB_EXPORT unsigned long long arb_connection_processed(const struct arb_connection *connection);

/* arb_connection_fd - borrowed, for getsockopt and the like; -1 when it is closed */
ARB_EXPORT int arb_connection_fd(const struct arb_connection *connection);

/* arb_connection_peer - "127.0.0.1:8060" and so on; static for the connection's life */
ARB_EXPORT const char *arb_connection_peer(const struct arb_connection *connection);

/* ---- events ---- */

/*
 * Events tell what happens on connections without being part of it. One-time events happen at most
 * once in the life of a connection; who binds to one that has happened is called at once.
 * Many-times events happen for each call or each read. Handlers of the call come before those of
 * its connection, and those before the client's, each in the order in which they were bound.
 */
enum arb_event_kind {
    ARB_CONNECTION_MADE, /* one-time: connected */
    ARB_CONNECTION_LOST, /* one-time: closed, @status says why; ARB_UNEXPECTED: by us, as bytes came
                            behind the last reply; ARB_TIMEOUT, ARB_CANCELLED: by us, as a call
                            ended so when it was on its way; ARB_OK: by us, as it was dropped,
                            detached or used up; ARB_POOL_CLOSED: by arb_client_close;
                            ARB_CANCELLED: by arb_client_free */
    ARB_PRE_REQUEST, /* @call has got its connection, nothing is sent yet */
    ARB_DATA_RECEIVED, /* @data has come, not yet compared; @call is what it should answer or NULL
                        */
    ARB_POST_REQUEST, /* @call has ended with @status; for each ARB_PRE_REQUEST one */
    ARB_DATA_PROCESSED, /* the same @data has been compared or decoded, and ended the calls that it
                           ends; @call is what now comes next or NULL; not if the connection ended
                         */
    ARB_FINISH /* one-time, of a client: it is closed or freed, and all of its calls have ended;
                  @status is ARB_POOL_CLOSED or ARB_CANCELLED */
};

enum { ARB_EVENTS = ARB_FINISH + 1 };

/* Everything is borrowed until the handler returns. */
struct arb_event {
    enum arb_event_kind kind;
    int status;
    struct arb_client *client;
    struct arb_connection *connection;
    struct arb_call *call;
    const void *data;
    size_t len;
};

typedef void arb_event_handler(const struct arb_event *event, void *userdata);

/* arb_event_name - "connection_made" and so on; static, NULL for no kind */
ARB_EXPORT const char *arb_event_name(enum arb_event_kind kind);

/*
 * arb_client_bind - call @handler for an event of any connection of the client, from now on
 * arb_connection_bind - for one connection
 * arb_call_bind - for one call: ARB_PRE_REQUEST, ARB_DATA_RECEIVED, ARB_DATA_PROCESSED or
 *   ARB_POST_REQUEST. A handler of ARB_PRE_REQUEST is called at once if the call has its connection
 *   already, and again if it is sent again; one of ARB_POST_REQUEST at once if the call has ended.
 * Returns ARB_OK, ARB_INVALID or ARB_NOMEM.
 */
ARB_EXPORT int arb_client_bind(struct arb_client *client, enum arb_event_kind kind,
                               arb_event_handler *handler, void *userdata);
ARB_EXPORT int arb_connection_bind(struct arb_connection *connection, enum arb_event_kind kind,
                                   arb_event_handler *handler, void *userdata);

ARB_EXPORT int arb_call_bind(struct arb_call *call, enum arb_event_kind kind,
                             arb_event_handler *handler, void *userdata);

/* arb_client_unbind, arb_connection_unbind, arb_call_unbind - undo one bind with the same
 * arguments, if there is one */
ARB_EXPORT void arb_client_unbind(struct arb_client *client, enum arb_event_kind kind,
                                  arb_event_handler *handler, void *userdata);
ARB_EXPORT void arb_connection_unbind(struct arb_connection *connection, enum arb_event_kind kind,
                                      arb_event_handler *handler, void *userdata);
ARB_EXPORT void arb_call_unbind(struct arb_call *call, enum arb_event_kind kind,
                                arb_event_handler *handler, void *userdata);

#ifdef __cplusplus
}
#endif

#endif
