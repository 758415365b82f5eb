/*
 * A bounded pool of connections. Private to the library.
 *
 * The pool opens lazily, reuses first in, first out, serves its waiters in order, and answers each
 * of them exactly once: with a connection, or with the reason why there is none. It knows neither
 * sockets nor time: what opens, checks and closes is a table of its owner's, who also cancels
 * waiters whose time has passed. Members and waiters are embedded in the owner's structs. Every
 * function but pool_free may be called from within the table's functions and the handlers.
 * Source: pulsar, pulsar/async/clients.py, class Pool.
 */
#ifndef CLIENT_POOL_H
#define CLIENT_POOL_H

#include <arbiter/client.h>
#include <stdbool.h>
#include "base/list.h"

struct pool;

/* Everything in these two structs is the pool's own. */
struct pool_member {
    struct list link;
    unsigned leases; /* how many hold it now; more than one only if it is shared */
    int state;
    bool is_retired; /* takes no new lease, is closed after the last one */
    bool is_fresh; /* opened for a waiter, not leased yet */
};

struct pool_waiter;

/* @member is leased to the waiter if @status is ARB_OK, else NULL. */
typedef void pool_handler(struct pool_waiter *waiter, struct pool_member *member, int status);

struct pool_waiter {
    struct list link;
    pool_handler *on_ready;
};

/* How members come and go; @context is pool_new's. */
struct pool_ops {
    /*
     * open - begin to open one
     * Returns ARB_OK with the new member in @ret, for which pool_opened or pool_failed is
     * called some time after open has returned, or a status for the first waiter.
     */
    int (*open)(void *context, struct pool_member **ret);
    /*
     * is_usable - is a member that has been idle still good? What is not is closed and not handed
     * out; one that has just been opened for a waiter is not asked for.
     */
    bool (*is_usable)(void *context, struct pool_member *member);
    /* close - the pool has let go of it, open or still opening; it is the caller's again */
    void (*close)(void *context, struct pool_member *member);
};

/*
 * pool_new - an empty pool; opens nothing
 * @ops, @context  borrowed for the life of the pool
 * @size           members at most, opening ones included, 1..ARB_POOL_SIZE_MAX
 * @shares         leases of one member at a time, 1 = each has its member alone
 * Returns ARB_OK, ARB_INVALID or ARB_NOMEM.
 */
int pool_new(const struct pool_ops *ops, void *context, unsigned size, unsigned shares,
             struct pool **ret);

/* pool_free - close with ARB_POOL_CLOSED and free; not from a callback. NULL is fine. */
void pool_free(struct pool *pool);

/*
 * pool_close - close all members, leased ones too; answer all waiters with @status
 * Afterwards acquire answers ARB_POOL_CLOSED. For good.
 */
void pool_close(struct pool *pool, int status);

/*
 * pool_acquire - wait for a member
 * @waiter  ->on_ready is set; owned by the pool until on_ready is called, exactly once, perhaps
 *          before this returns
 */
void pool_acquire(struct pool *pool, struct pool_waiter *waiter);

/*
 * pool_acquire_again - as pool_acquire, but ahead of all others: for one that was served
 * and whose member is lost. It is served by the pool_lost that follows; several are put back in
 * reverse order.
 */
void pool_acquire_again(struct pool *pool, struct pool_waiter *waiter);

/* pool_cancel - answer a waiter with @status (timeout, cancel); what opens only for it is
 * closed */
void pool_cancel(struct pool *pool, struct pool_waiter *waiter, int status);

/* pool_opened - a member that was opening is ready */
void pool_opened(struct pool *pool, struct pool_member *member);

/* pool_failed - it could not be opened; it is the caller's again, the first waiter gets
 * @status */
void pool_failed(struct pool *pool, struct pool_member *member, int status);

/* pool_release - give one lease back */
void pool_release(struct pool *pool, struct pool_member *member);

/* pool_retire - no new lease for this one; it is closed after the last, or now if it is idle */
void pool_retire(struct pool *pool, struct pool_member *member);

/* pool_lost - it is gone, with all its leases; the pool forgets it and does not call close */
void pool_lost(struct pool *pool, struct pool_member *member);

/* pool_processed - count one request that was answered */
void pool_processed(struct pool *pool);

/* pool_counters - what is counted now, and since pool_new */
void pool_counters(const struct pool *pool, struct arb_client_counters *ret);

#endif
