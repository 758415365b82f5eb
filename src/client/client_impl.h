/*
 * What the files of the client library share: the client, its connections, its calls. Not for the
 * tools.
 *
 *     call_owner.c    what callers ask for
 *     client.c        the client's life and its turns: who is called when, what becomes of calls
 *     connection.c    bytes: sends the calls of a connection, holds what comes against them
 *     call.c          memory and end of a call
 *     pool, connector, reactor, deadlines, events   know nothing of the above
 *
 * Each calls only what stands below it.
 */
#ifndef CLIENT_CLIENT_IMPL_H
#define CLIENT_CLIENT_IMPL_H

#include <arbiter/client.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/addr.h"
#include "base/list.h"
#include "client/addresses.h"
#include "client/connector.h"
#include "client/events.h"
#include "client/pool.h"
#include "client/reactor.h"
#include "wire/frame.h"

enum { READ_BYTES = 65536 };

struct arb_client {
    struct reactor reactor;
    struct pool *pool; /* owned; its members are connections, its waiters calls */
    struct arb_client_options options; /* what was borrowed in it is not used again */
    struct frame_rule rule; /* of Echo: not used with options.protocol */
    char *address_text; /* owned */
    struct addr address;
    struct addresses addresses;
    int preferred; /* index in addresses: the one that answered last */
    unsigned long long n_sessions;
    unsigned n_calls; /* under way: at most options.max_calls */
    struct list calls; /* all that exist, handed-over ones too */
    struct list started; /* calls that are to be queued */
    struct list ended; /* calls whose handlers are to be called */
    struct list requested; /* calls that are to be cancelled, freed or dropped */
    struct list dirty; /* connections with something to begin or send */
    struct list dead; /* connections to be freed */
    struct events events;
    int end_status; /* how calls end when the pool is closed */
    bool is_closing, is_dying; /* asked for; done at the end of the turn */
    bool has_finished; /* ARB_FINISH has been fired */
    bool is_silent; /* in a forked child: nobody is called */
    bool is_quiet; /* this turn calls no handlers of calls */
    uint8_t *read_buffer; /* owned, READ_BYTES */
};

struct arb_connection {
    struct arb_client *client; /* borrowed; NULL = gone */
    struct pool_member member; /* one lease a call */
    struct connector *connector; /* owned; NULL = connected */
    struct reactor_io io;
    int fd; /* owned; -1 = not connected, or no more */
    struct list link; /* in client->dirty or client->dead, or in none */
    struct list calls; /* sent or to be sent, in order: the first one's reply comes next */
    struct arb_call *unsent; /* the first with unsent bytes; NULL = all is sent */
    unsigned n_held; /* handed-over calls that refer to it */
    int status; /* how it ended */
    bool was_made, is_dead;
    int deaf_status; /* sending failed so: nothing more is sent, replies may still come */
    unsigned long long session, processed;
    struct events events;
    /* With a protocol of the caller's: the beginning of a reply, and where decode goes on. */
    uint8_t *input; /* owned */
    size_t input_len, input_capacity, resume;
    char peer[ADDR_TEXT_LEN];
};

enum call_state { STATE_STARTED, STATE_QUEUED, STATE_ASSIGNED, STATE_ENDED };

struct arb_call {
    struct arb_client *client; /* borrowed; NULL = gone */
    struct arb_connection *connection; /* borrowed; while assigned, then if handed over */
    struct pool_waiter waiter;
    struct deadline deadline;
    struct list all; /* in client->calls */
    struct list place; /* in connection->calls: also of a cancelled call that owes a reply */
    struct list turn; /* in client->started or client->ended */
    struct list request; /* in client->requested */
    unsigned refs; /* the owner's and that of the place */
    enum call_state state;
    int status;
    unsigned retries, max_retries;
    bool is_connect; /* has nothing to send, only leases a connection */
    bool is_full; /* keeps its connection when it has ended well */
    bool is_kept; /* the caller's when its handler has returned */
    bool is_answered; /* the handler has been called */
    bool wants_cancel, wants_free, wants_drop;
    arb_call_handler *on_done;
    void *userdata;
    struct events events; /* those bound to this call alone */
    size_t len; /* of the message */
    const uint8_t *wire; /* within `bytes`: what is sent */
    size_t total; /* bytes of `wire` */
    size_t sent, received;
    uint8_t *reply; /* owned; with a protocol of the caller's */
    size_t reply_len;
    uint8_t bytes[]; /* the message, and behind it the separator or what encode made of it */
};

/* call.c */

/* call_new - not under way yet; in no list. Returns 0, ARB_INVALID (encode refuses it) or
 * ARB_NOMEM.
 */
int call_new(struct arb_client *client, const void *message, size_t len, struct arb_call **ret);
/* call_end - once: the handler is called at the end of the turn */
void call_end(struct arb_call *call, int status);
void call_unref(struct arb_call *call);

/* client.c */

/* client_leave_quietly - as reactor_leave, but handlers of calls wait until the caller has the word
 * again */
void client_leave_quietly(struct arb_client *client);
/* client_add_call - it counts among the client's, and its time runs */
void client_add_call(struct arb_client *client, struct arb_call *call, int timeout_ms);

/* connection.c */

extern const struct pool_ops connection_pool_ops;
/* connection_assign - @call has a lease and takes its place as the last one */
void connection_assign(struct arb_connection *conn, struct arb_call *call);
/* connection_withdraw - an assigned call ends with @status and gives its lease back */
void connection_withdraw(struct arb_connection *conn, struct arb_call *call, int status);
/* connection_flush - begin to connect, or send what is to be sent */
void connection_flush(struct arb_connection *conn);
/* connection_lost - it is no more, and the pool has to learn it */
void connection_lost(struct arb_connection *conn, int status);
void connection_free(struct arb_connection *conn);

#endif
