/*
 * What the files of libarbiter-testing share: the pretended worker and its objects. Objects that
 * are gone stay allocated until the worker is freed, so that a protocol which goes on using one is
 * told.
 */
#ifndef TESTING_TESTING_IMPL_H
#define TESTING_TESTING_IMPL_H

#include <arbiter/testing.h>

struct text {
    char *data; /* owned; a NUL behind it */
    size_t len;
};

struct sent {
    struct sent *next;
    struct text to, topic, data;
    bool is_on_behalf; /* of a connection */
};

struct arb_timer {
    struct arb_timer *next;
    struct arb_actor *actor;
    uint64_t due_ms, every_ms;
    bool is_gone;
    void (*fn)(void *data);
    void *data;
};

struct arb_watch {
    struct arb_watch *next;
    struct arb_actor *actor;
    int fd, events;
    bool is_gone;
    void (*fn)(void *data, int events);
    void *data;
};

struct arb_request {
    struct arb_request *next;
    struct arb_actor *actor;
    struct arb_conn *conn; /* NULL = gone */
    void (*on_gone)(struct arb_request *request, void *data);
    void *data;
    bool is_ended;
};

struct arb_conn {
    struct arb_conn *next;
    struct arb_actor *actor;
    void *state; /* owned; conn_size bytes */
    uint64_t id, seen, timeout_ms; /* timeout: a deadline; 0 = none */
    struct text input; /* what is not consumed */
    size_t resume;
    struct text output, got; /* what the client has not read; what it has read last */
    size_t unsent, owed; /* bytes; requests */
    uint64_t messages;
    enum arb_next next_step; /* what the protocol has asked for */
    enum arb_end why;
    bool is_new; /* bytes or an end that on_data has not been called for */
    bool is_ending, is_end_told; /* the client has half-closed; on_data knows */
    bool is_waiting, is_blank, is_not_kept, is_stalled, is_above, is_over_limit, is_closed,
        is_in_close;
};

struct arb_actor {
    const struct arb_protocol *protocol; /* NULL: another kind */
    const struct arb_kind *kind;
    struct test_conf *conf; /* NULL: another kind */
    void *data; /* what `start` has made */
    unsigned slot;
    uint64_t now_ms, last_number, last_id;
    uint64_t delivering; /* number of the message that on_message has; 0 = none */
    size_t max_buffered, credit;
    bool was_refused, is_stopped;
    struct arb_conn *conns;
    struct arb_request *requests;
    struct arb_timer *timers;
    struct arb_watch *watches;
    struct sent *sent; /* the last one first */
    uint64_t counters[ARB_COUNTERS_MAX];
    struct text log, answer;
    bool is_answered;
    char id[64];
    char broken[256]; /* the first rule that was broken; "" = none */
};

/* test_broken - note that the protocol has broken a rule; the first one stays */
void test_broken(struct arb_actor *a, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

void text_add(struct text *t, const void *data, size_t len); /* aborts without memory */
void text_drop(struct text *t, size_t len); /* at the front */
void *test_alloc(size_t size); /* zeroed, at least one byte; aborts without memory */

/* The settings of one or more workers, checked. */
struct test_conf {
    struct config_schema *schema; /* owned, as is `config` */
    struct config *config;
    const void *own; /* the protocol's */
    size_t max_buffered;
    unsigned n_users;
};

/* test_conf_new - returns NULL and says why not */
struct test_conf *test_conf_new(const struct arb_protocol *protocol, const char *const *settings,
                                char *why, size_t why_size);
void test_conf_unref(struct test_conf *c);

/* test_worker - arb_test_worker with its settings, which get one user more, and its number */
struct arb_actor *test_worker(const struct arb_protocol *protocol, struct test_conf *conf,
                              unsigned slot, char *why, size_t why_size);

/* test_settle - what a worker does at the end of a turn: on_data is called, connections end */
void test_settle(struct arb_actor *a);
void test_conn_finish(struct arb_conn *conn, enum arb_end why);

/* test_sent - the @i-th message that was sent, or NULL */
const struct sent *test_sent(const struct arb_actor *a, size_t i);

/* test_next_due - when the next timer or timeout is due; UINT64_MAX = never */
uint64_t test_next_due(const struct arb_actor *a);

/* test_restore - restore @state in a new connection. Returns NULL if it is refused. */
struct arb_conn *test_restore(struct arb_actor *a, uint64_t id, bool is_blank, const void *state,
                              size_t len);

#endif
