/*
 * What a keeper does: it holds duplicates of its wards' connections, judges what a dead ward has
 * left, and offers what was idle to those that live. Runs in a keeper's loop; knows no arbiter and
 * no mailbox. It touches no connection. The rules: net/keep_rules.h and net/keep.md.
 *
 * A ward is a worker process as its keeper sees it. Nothing here blocks, and judging a dead ward
 * needs no memory: what was allocated when its connections were registered is enough.
 */
#ifndef KEEPER_WARDS_H
#define KEEPER_WARDS_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/list.h"
#include "wire/keep.h"

enum {
    WARDS_MAX = 256,
    WARDS_ID_LEN = 32,
    WARDS_ORIGINS_MAX = 250, /* different pairs of listener and protocol; more are not kept */
    WARDS_DEATHS_MAX = 64, /* that are not settled; of more, the last one gets the sum */
    WARDS_REFUSALS_MAX = 8, /* of one connection, which is closed then */
    WARDS_DATAGRAMS_A_WAKE = 16, /* of one ward, before others have their turn */
    WARDS_RETRY_MS = 5,
};

struct wards;
struct log;

/* What has become of a dead ward's connections. */
struct ward_death {
    char of[WARDS_ID_LEN]; /* the worker */
    uint32_t kept; /* were idle when it died */
    uint32_t pending; /* of them, those that nobody has taken so far */
    uint32_t passed; /* of them, those that others have taken */
    uint32_t closed; /* the rest of them, and those that were in the middle of something */
    uint32_t moving; /* were on their way from or to another worker, which may have them */
};

struct wards_ops {
    /* a ward has died and is judged: @death->kept are pending now */
    void (*on_left)(struct wards *w, const struct ward_death *death);
    /* nothing is pending any more of one that had something */
    void (*on_passed)(struct wards *w, const struct ward_death *death);
    /* the numbers below have changed, perhaps */
    void (*on_change)(struct wards *w);
};

/* One duplicate; its index is its descriptor. */
struct held {
    uint32_t serial;
    int32_t next; /* in a chain of what is pending or on its way; -1 = the last */
    uint8_t origin; /* index in `origins` */
    uint8_t death; /* index in `deaths`, while it is in such a chain */
    uint8_t n_refused;
};

struct held_chain {
    int32_t first, last; /* -1 = empty */
    uint32_t count;
};

struct wards {
    struct ev_loop *loop; /* borrowed, as the next ones */
    struct log *log;
    const struct wards_ops *ops;
    struct list list; /* of struct ward, owned; the newest last */
    size_t n_wards;
    struct held *held; /* owned */
    struct addr_named *peers; /* owned: as many, whom proxies have named; NULL = nobody so far */
    size_t held_size;
    struct keep_origin origins[WARDS_ORIGINS_MAX];
    unsigned n_origins;
    struct ward_death deaths[WARDS_DEATHS_MAX]; /* kept 0 = free */
    struct held_chain pending; /* to be offered */
    size_t n_held; /* descriptors: of living wards, pending and on their way */
    size_t n_bytes; /* of memory for them */
    size_t batch_max; /* connections of an offer; fewer after a failure that fewer may avoid */
    ev_timer retry; /* after what no event ends: too many descriptors on their way, out of memory */
};

/* wards_init - nobody is a ward; @ops,@log: borrowed */
void wards_init(struct wards *w, struct ev_loop *loop, struct log *log,
                const struct wards_ops *ops);

/* wards_fini - close everything: what only this process held ends */
void wards_fini(struct wards *w);

/*
 * wards_add - one more
 * @id        copied
 * @fd        this end of the pair, not blocking; taken over
 * @table_fd  borrowed
 * Returns 0, -ENOSPC, -ENOMEM, -EBADMSG (that is no table) or -errno; @fd is then closed.
 */
int wards_add(struct wards *w, const char *id, int fd, int table_fd);

/* wards_pulse - once a second: offer again to those that did not want */
void wards_pulse(struct wards *w);

/* wards_is_idle - is there no ward, and nothing to be passed on? */
bool wards_is_idle(const struct wards *w);

#endif
