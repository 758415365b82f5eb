/*
 * pubsub: a publish/subscribe server that speaks RESP2, on libarbiter.
 *
 *     main.c      the program: the protocol's table, and the clock
 *     session.c   connections, their state, what they wait for
 *     commands.c  the commands, as a table
 *     publish.c   messages to subscribers, and how many there are in other workers
 *     channels.c, glob.c, resp.c   pure parts
 */
#ifndef PUBSUB_PUBSUB_H
#define PUBSUB_PUBSUB_H

#include <arbiter/server.h>

#include "channels.h"

enum { COUNT_ERRORS, COUNT_PUBLISHED, COUNT_DELIVERED, COUNT_PARKED, COUNT_TOO_SLOW };

enum { NAME_BYTES = 8192 }; /* of a channel or pattern, at most */

struct conf {
    unsigned max_channels, max_arguments, databases;
    uint64_t max_bulk, max_inline, max_unsent;
};

/* A connection. What it is moves with it; while it waits for something it is not moved. */
struct session {
    struct server *server;
    struct arb_conn *conn;
    struct text name; /* of CLIENT SETNAME */
    TAILQ_HEAD(subscriptions, subscription)
    subscriptions; /* in the order in which they were made */
    unsigned n_subscriptions;
    size_t saved_bytes; /* that they, and the queue, need in `save` at most */
    struct text queue; /* commands behind MULTI, as RESP */
    struct mode {
        uint32_t database, n_queued;
        uint8_t is_multi, has_error; /* between MULTI and EXEC; a command of it was refused */
    } mode;

    struct resp_place place; /* in an unfinished command; found again after a move */
    struct arb_request *request; /* the reply that is owed; NULL = none */
    struct text late; /* that reply, as far as it is known */
    struct arb_timer *timer; /* of DEBUG SLEEP */
    uint32_t sleep_ms;
    bool is_parked; /* for credit to publish; in the list of the server */
    LIST_ENTRY(session) in_parked;
    bool is_executing; /* EXEC is running, and has done this much of the queue */
    size_t executed;
    bool is_slow; /* it does not keep up, and ends */
};

/* What is known of the subscriptions of the worker of a slot. */
struct member {
    int64_t token; /* grows with each process of the slot, and whenever it tells everything anew */
    struct tables tables;
};

/* A worker. */
struct server {
    struct arb_actor *self;
    const struct conf *conf;
    struct member *members; /* owned; by slot */
    size_t n_members;
    struct tables own; /* with the subscribers */
    int64_t token; /* see publish.c */
    bool is_asking, is_telling; /* to be done when there is credit */
    LIST_HEAD(parked, session) parked;
    struct resp_parser parser; /* of clients */
    struct resp_parser inner; /* of queues, messages and saved states */
    struct text reply, push;
};

extern const struct arb_protocol pubsub_protocol; /* for its tests, too */

/* ---- session.c ---- */

int session_open(void *server, struct arb_conn *conn, enum arb_origin origin);
void session_data(void *server, struct arb_conn *conn, const struct arb_input *in,
                  struct arb_output *out);
void session_can_send(void *server);
void session_close(void *server, struct arb_conn *conn, enum arb_end why);
size_t session_save(void *server, const struct arb_conn *conn, void *buf, size_t size);
int session_restore(void *server, struct arb_conn *conn, uint32_t version, const void *data,
                    size_t len);

/* session_fits - may the state grow by so much? */
bool session_fits(const struct session *s, size_t more);
struct subscription *session_find(const struct session *s, const struct channel *c);
bool session_subscribe(struct session *s, enum kind kind, const struct resp_arg *name);
void session_unsubscribe(struct subscription *sub);
void session_discard(struct session *s); /* what is behind MULTI */
void session_reset(struct session *s); /* as a new connection */

/* ---- commands.c ---- */

/* What becomes of a connection after a command. */
enum run { RUN_ON, RUN_CLOSE, RUN_PARK /* no credit: the same has to be run again later */ };

/* command_run - the reply is appended to @reply; if sleep_ms is set it may not be sent before */
enum run command_run(struct session *s, const struct resp_arg *args, size_t n, struct text *reply);
enum run command_exec(struct session *s, struct text *reply); /* what is left of EXEC */

/* ---- publish.c ---- */

void members_start(struct server *srv);
void members_changed(struct server *srv, struct channel *c); /* its number of subscribers */
void members_flush(struct server *srv); /* send what there was no credit for */
void members_stop(struct server *srv);
void publish_on_message(void *server, struct arb_conn *only, const struct arb_message *message);

/* publish_send - to all workers. Returns as arb_send. */
int publish_send(struct arb_actor *self, struct arb_conn *conn, const struct resp_arg *channel,
                 const struct resp_arg *data);

#endif
