/*
 * libarbiter: calls. A call sends one message and takes its echo, which is compared with it byte
 * by byte as it comes: a reply is whole and right, or the call ends with a status that says what
 * happened. There is one deadline for all of it: queue, connect, send and receive.
 *
 *     arb_echo                  one call that blocks: message in, reply out
 *     arb_call_start            a call that goes on in the background: any number, one handler each
 *     arb_echo_full, _connect   hand over the consumer, which holds its connection until it is
 * freed Source: pulsar, examples/echo/manage.py, class Echo, and pulsar/async/clients.py.
 */
#ifndef ARBITER_ECHO_H
#define ARBITER_ECHO_H

#include <stddef.h>
#include <arbiter/client.h>

#ifdef __cplusplus
extern "C" {
#endif

struct arb_call; /* pulsar's consumer: a message and its reply */
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
 * arb_echo - send one message and wait for its echo
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

#ifdef __cplusplus
}
#endif

#endif
