/*
 * The commands `connections` and `kill` of a worker: which connections are meant, and how they are
 * described or ended. An answer is one page: the worker has looked at a bounded number of
 * connections, and says where the next page begins.
 */
#ifndef WORKER_LISTING_H
#define WORKER_LISTING_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "actor/command.h"
#include "net/conn_facts.h"
#include "wire/message.h"

enum {
    LISTINGS_MAX = 8, /* under way; one more ends the one that was continued longest ago */
    LISTING_LOOKS = 512, /* connections that are looked at for one page */
    LISTING_ROWS = 64, /* that a page lists, or ends */
    LISTING_BYTES = MESSAGE_MAX_BYTES / 2, /* of rows, after which a page is full */
    LISTING_REST_MS = 10000, /* from a page until nobody is expected to ask for the next one */
};

/* A listing under way: some pages are sent, and the client may ask for the next one. */
struct listing {
    struct conn_walk walk;
    uint64_t number; /* 0 = free */
    uint64_t asked_ms; /* monotonic: when its last page was asked for */
};

/* All zeros at first. */
struct listings {
    struct listing list[LISTINGS_MAX];
    uint64_t last; /* the number that was given last */
};

/* The arguments of both, for the worker's table. */
#define LISTING_FROM                                                                               \
    {                                                                                              \
        "from", COMMAND_UINT, false, 1, INT64_MAX, "`next` of the page before"                     \
    }
#define LISTING_ID                                                                                 \
    {                                                                                              \
        "id", COMMAND_UINT, false, 1, INT64_MAX, "the connection of that number"                   \
    }
#define LISTING_PEER                                                                               \
    {                                                                                              \
        "peer", COMMAND_STRING, false, 1, CONN_PEER_LEN - 1,                                       \
            "of these peers: ADDRESS:PORT, ADDRESS, ADDRESS/BITS, unix, or unix:... as listed"     \
    }
#define LISTING_ARGS                                                                               \
    COMMAND_ARGS(                                                                                  \
        LISTING_FROM,                                                                              \
        {"rows", COMMAND_UINT, false, 0, LISTING_ROWS,                                             \
         "so many are listed in this page, others are only counted (default 64)"},                 \
        LISTING_ID, LISTING_PEER, {"state", COMMAND_STRING, false, 1, 16, "those in that state"},  \
        {"protocol", COMMAND_STRING, false, 1, 63, "those that speak it"},                         \
        {"kept", COMMAND_BOOL, false, 0, 0, "those that a keeper has as well, or has not"},        \
        {"min", COMMAND_OBJECT, false, 0, 512,                                                     \
         "at least that: age_ms, idle_ms, messages, bytes_in, bytes_out"},                         \
        {"max", COMMAND_OBJECT, false, 0, 512, "at most that"})
#define KILLING_ARGS COMMAND_ARGS(LISTING_FROM, LISTING_ID, LISTING_PEER)

/*
 * listings_page - the answer to one command: {"result":…} or {"error":…}
 * @args        borrowed, checked by the table
 * @is_to_end   kill: end them instead of describing them
 * Returns NULL without memory.
 */
json_t *listings_page(struct listings *all, struct conn_set *set, const json_t *args,
                      bool is_to_end, uint64_t now_ms);

/* listings_sweep - end those that nobody has continued for LISTING_REST_MS; listings_stop - end all
 */
void listings_sweep(struct listings *all, struct conn_set *set, uint64_t now_ms);
void listings_stop(struct listings *all, struct conn_set *set);

#endif
