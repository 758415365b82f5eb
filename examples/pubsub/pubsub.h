/*
 * pubsub: a publish/subscribe server that speaks RESP2, on libarbiter.
 *
 *     main.c      connections, and the program: the protocol's table, and the clock
 *     commands.c  the commands, as a table
 *     channels.c  channels, subscribers and messages to them
 *     resp.c      pure: RESP, and patterns
 */
#ifndef PUBSUB_PUBSUB_H
#define PUBSUB_PUBSUB_H

#include <arbiter/server.h>
#include <sys/queue.h>

#include "resp.h"

enum { COUNT_ERRORS, COUNT_PUBLISHED, COUNT_DELIVERED, COUNT_PARKED, COUNT_TOO_SLOW };
enum { NAME_BYTES = 8192 /* of a channel or pattern, at most */, SLOTS_MAX = 1024 };

struct conf {
    unsigned max_channels, max_arguments, databases;
    uint64_t max_bulk, max_inline, max_unsent;
};

/* One connection and one name. It is in a list of each. */
struct subscription {
    struct channel *channel;
    struct session *session;
    LIST_ENTRY(subscription) in_channel;
    TAILQ_ENTRY(subscription) in_session;
};

enum kind { CHANNEL, PATTERN, KINDS };

struct channel {
    struct bytes name; /* in `text` */
    enum kind kind;
    uint32_t total, own, *others; /* subscribers; those of other workers by slot, owned */
    size_t n_others;
    LIST_ENTRY(channel) in_kind;
    LIST_HEAD(subscribers, subscription) subscribers; /* those of this worker */
    char text[];
};

/* A connection. What it is moves with it; while it waits for something it is not moved. */
struct session {
    struct server *server;
    struct arb_conn *conn;
    struct text name; /* of CLIENT SETNAME */
    /* in the order in which they were made */
    TAILQ_HEAD(subscriptions, subscription) subscriptions;
    unsigned n_subscriptions, database, n_queued;
    size_t names_bytes; /* what `save` needs for subscriptions, at most */
    struct text queue; /* commands behind MULTI, as they have come */
    bool is_multi, has_error; /* between MULTI and EXEC; a command of it was refused */
    bool is_slow; /* it does not keep up, and ends */
    bool is_restoring; /* limits of the configuration do not hold for what was allowed before */
    struct resp_place place; /* in an unfinished command; found again after a move */

    /* the command that runs */
    const struct command *row;
    const struct bytes *args; /* [0] is the command */
    size_t n_args;
    struct bytes raw; /* all of it */
    struct text *reply;
    bool is_executing; /* it is one of the queue */
    size_t executed; /* bytes of the queue that EXEC has done, and its reply so far */
    struct text executed_reply;

    struct arb_request *request; /* the reply that is owed; NULL = none */
    struct arb_timer *timer; /* of DEBUG SLEEP */
    bool has_slept, is_parked; /* for credit to publish; in the list of the server */
    TAILQ_ENTRY(session) in_parked;
};

/* A worker. */
struct server {
    struct arb_actor *self;
    const struct conf *conf;
    void *trees[KINDS]; /* all channels by name, and in no order */
    LIST_HEAD(channels, channel) channels[KINDS];
    int64_t token, tokens[SLOTS_MAX + 1]; /* see channels.c */
    struct text news;
    bool is_telling; /* everything is told to others when there is credit */
    TAILQ_HEAD(parked, session) parked;
    struct resp_parser parser, inner; /* of clients; of queues, messages and saved states */
    struct text reply, push;
};

/* ---- channels.c ---- */

struct channel *channel_find(const struct server *srv, enum kind kind, struct bytes name);
void channel_free(struct server *srv, struct channel *c);

struct subscription *session_find(const struct session *s, enum kind kind, struct bytes name);
void session_subscribe(struct session *s, enum kind kind, struct bytes name);
void session_unsubscribe(struct subscription *sub);

void members_tell(struct server *srv); /* tell other workers of all subscribers here */
void publish_on_message(void *server, struct arb_conn *only, const struct arb_message *message);

/* publish_send - to all workers. Returns as arb_send. */
int publish_send(struct arb_actor *self, struct arb_conn *conn, struct bytes channel,
                 struct bytes data);

/* ---- commands.c ---- */

/* What becomes of a connection after a command. RUN_WAIT: the same is run again after a wake. */
enum run { RUN_ON, RUN_FAILED, RUN_CLOSE, RUN_WAIT };

/* command_run - what a parser has found */
enum run command_run(struct session *s, const struct resp_parser *p, struct bytes raw,
                     struct text *reply);

/* ---- main.c ---- */

void session_wake(void *session); /* what it has waited for is there */
void session_discard(struct session *s); /* what is behind MULTI */
void session_reset(struct session *s); /* as a new connection */

#endif
