/*
 * libarbiter: a client, which is an address and a pool of connections to it.
 *
 * No signals, no exit, no output, no global state. A client belongs to one thread (any number of
 * threads may have one each) and to one process: after fork the child makes its own. Handlers are
 * called from the caller's libev loop, or from the functions that say "Blocks"; they may call
 * everything but those.
 * Source: pulsar, examples/echo/manage.py, class Echo.
 */
#ifndef ARBITER_CLIENT_H
#define ARBITER_CLIENT_H

#include <stddef.h>
#include <sys/socket.h>
#include <arbiter/status.h>

#ifdef __cplusplus
extern "C" {
#endif

struct arb_client;
struct ev_loop;

enum { ARB_POOL_SIZE = 10, ARB_POOL_SIZE_MAX = 65536 };
enum { ARB_PIPELINE_MAX = 4096, ARB_RETRIES_MAX = 100, ARB_SEPARATOR_MAX = 16 };

struct arb_address {
    struct sockaddr_storage sa;
    socklen_t len;
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
    void *reserved[4]; /* [NULL] */
};

/* arb_client_options_init - fill in the defaults */
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

/* arb_client_counters - what is counted now */
ARB_EXPORT void arb_client_counters(const struct arb_client *client,
                                    struct arb_client_counters *ret);

/* arb_client_calls - how many calls are under way: started, and their handler not called yet */
ARB_EXPORT unsigned arb_client_calls(const struct arb_client *client);

/*
 * arb_client_wait - drive the client until no call is under way
 * @timeout_ms  0 = what can be done at once, -1 = as long as it takes
 * Returns ARB_OK, ARB_TIMEOUT (some still are), ARB_CANCELLED (a handler has freed the client),
 * ARB_BUSY (in a handler), ARB_FORKED or -errno. Blocks.
 */
ARB_EXPORT int arb_client_wait(struct arb_client *client, int timeout_ms);

#ifdef __cplusplus
}
#endif

#endif
