/*
 * What a protocol fills in: a table of callbacks that turn bytes into replies. A protocol knows no
 * socket, loop, time or log; net/conn calls it with bytes and does what the result says.
 */
#ifndef NET_PROTOCOL_H
#define NET_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum protocol_outcome {
    PROTOCOL_GO_ON,
    PROTOCOL_CLOSE, /* deliver the replies so far, then close (QUIT) */
    PROTOCOL_TOO_BIG, /* a message above the limit: deliver what precedes it, then close and count
                       */
};

/* What the protocol made of the bytes. Everything is borrowed until the next call. */
struct protocol_result {
    enum protocol_outcome outcome;
    size_t consumed; /* bytes of @data that are finished with: a prefix of whole messages */
    size_t resume; /* handed back as @resume with the rest; 0 if there is none */
    uint64_t messages; /* complete ones in @consumed */
    uint64_t scanned; /* bytes examined, for the counter */
    const uint8_t *reply; /* may point into @data (an echo copies nothing) */
    size_t reply_len;
};

struct protocol {
    const char *name; /* "echo" */
    /*
     * on_data - bytes have come
     * @context  the protocol's own, one per worker, immutable (rules, limits); from protocol_bind
     * @state    of this connection, for the protocol's use; 0 at first
     * @data     what is unfinished plus what is new, contiguous; begins at a message's first byte
     * @resume   where the last call stopped looking; 0 for fresh data
     */
    struct protocol_result (*on_data)(const void *context, uint64_t *state, const uint8_t *data,
                                      size_t len, size_t resume);
    /* An idle connection (nothing unfinished) has no state: it may be rescued and handed over. */
    bool is_stateless_when_idle;
    /*
     * save - write what another process needs to go on with @state; restore - read it there
     * Both or none: NULL = a connection with state is drained where it is. The bytes may come from
     * another version of the protocol: say so in them.
     * @size   PROTOCOL_STATE_MAX
     * save returns the length; more than @size = it cannot be moved. restore returns 0 or -errno.
     */
    size_t (*save)(const void *context, uint64_t state, uint8_t *buf, size_t size);
    int (*restore)(const void *context, const uint8_t *data, size_t len, uint64_t *ret_state);
};

enum { PROTOCOL_STATE_MAX = 4096 };

/* A protocol with its context: what a worker serves. */
struct protocol_binding {
    const struct protocol *protocol;
    const void *context; /* borrowed, outlives the worker's connections */
    /* Of the context: equal ones mean the same rules, so that a `resume` of there holds here. */
    uint64_t fingerprint;
};

#endif
