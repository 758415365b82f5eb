/*
 * Hash tables of names that somebody is subscribed to: channels and patterns.
 */
#ifndef PUBSUB_CHANNELS_H
#define PUBSUB_CHANNELS_H

#include <stdint.h>
#include <sys/queue.h>

#include "resp.h"

struct session;

/* One connection and one name. It is in a list of each. */
struct subscription {
    struct channel *channel;
    struct session *session;
    LIST_ENTRY(subscription) in_channel;
    TAILQ_ENTRY(subscription) in_session;
};

enum kind { CHANNEL, PATTERN, KINDS };

struct channel {
    struct channel *next; /* in its bucket */
    enum kind kind;
    uint32_t hash, n_subscribers;
    LIST_HEAD(subscribers, subscription) subscribers; /* in this worker's own tables alone */
    size_t len;
    char name[];
};

struct tables {
    struct table {
        struct channel **buckets; /* owned */
        size_t n_buckets, n;
    } of[KINDS];
};

/* tables_find - NULL = there is none; tables_add - find it or make it, NULL = out of memory */
struct channel *tables_find(const struct tables *t, enum kind kind, const struct resp_arg *name);
struct channel *tables_add(struct tables *t, enum kind kind, const struct resp_arg *name);
void tables_remove(struct tables *t, struct channel *c);
void tables_free(struct tables *t);

/* tables_next - one behind the other; @c NULL = the first. Returns NULL behind the last. */
struct channel *tables_next(const struct tables *t, enum kind kind, const struct channel *c);

#endif
