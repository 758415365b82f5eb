/*
 * libarbiter: a bounded pool of connections, or of anything else that is costly to open.
 *
 * It opens lazily, reuses first in, first out, serves its waiters in order, and answers each of
 * them exactly once: with a connection, or with the reason why there is none. It knows neither
 * sockets nor time: what opens, checks and closes is a table of the caller's, who also cancels
 * waiters whose time has passed. Members and waiters are embedded in the caller's own structs.
 * One thread at a time; every function but arb_pool_free may be called from within the
 * table's functions and the handlers.
 * Source: pulsar, pulsar/async/clients.py, class Pool.
 */
#ifndef ARBITER_POOL_H
#define ARBITER_POOL_H

#include <arbiter/status.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { ARB_POOL_SIZE = 10, ARB_POOL_SIZE_MAX = 65536 };

struct arb_pool;

/* Everything in these three structs is the pool's own. */
struct arb_pool_link {
    struct arb_pool_link *prev, *next;
};

struct arb_pool_member {
    struct arb_pool_link link;
    unsigned leases; /* how many hold it now; more than one only if it is shared */
    int state;
    int is_retired; /* takes no new lease, is closed after the last one */
    int is_fresh; /* opened for a waiter, not leased yet */
};

struct arb_pool_waiter;

/* @member is leased to the waiter if @status is ARB_OK, else NULL. */
typedef void arb_pool_handler(struct arb_pool_waiter *waiter, struct arb_pool_member *member,
                              int status);

struct arb_pool_waiter {
    struct arb_pool_link link;
    arb_pool_handler *on_ready;
};

/* How members come and go; @context is arb_pool_new's. */
struct arb_pool_ops {
    /*
     * open - begin to open one
     * Returns ARB_OK with the new member in @ret, for which arb_pool_opened or arb_pool_failed is
     * called some time after open has returned, or a status for the first waiter.
     */
    int (*open)(void *context, struct arb_pool_member **ret);
    /*
     * is_usable - is a member that has been idle still good? What is not is closed and not handed
     * out; one that has just been opened for a waiter is not asked for.
     */
    int (*is_usable)(void *context, struct arb_pool_member *member);
    /* close - the pool has let go of it, open or still opening; it is the caller's again */
    void (*close)(void *context, struct arb_pool_member *member);
};

/*
 * arb_pool_new - an empty pool; opens nothing
 * @ops, @context  borrowed for the life of the pool
 * @size           members at most, opening ones included, 1..ARB_POOL_SIZE_MAX
 * @shares         leases of one member at a time, 1 = each has its member alone
 * Returns ARB_OK, ARB_INVALID or ARB_NOMEM.
 */
ARB_EXPORT int arb_pool_new(const struct arb_pool_ops *ops, void *context, unsigned size,
                            unsigned shares, struct arb_pool **ret);

/* arb_pool_free - close with ARB_POOL_CLOSED and free; not from a callback. NULL is fine. */
ARB_EXPORT void arb_pool_free(struct arb_pool *pool);

/*
 * arb_pool_close - close all members, leased ones too; answer all waiters with @status
 * Afterwards acquire answers ARB_POOL_CLOSED. For good.
 */
ARB_EXPORT void arb_pool_close(struct arb_pool *pool, int status);

/*
 * arb_pool_acquire - wait for a member
 * @waiter  ->on_ready is set; owned by the pool until on_ready is called, exactly once, perhaps
 *          before this returns
 */
ARB_EXPORT void arb_pool_acquire(struct arb_pool *pool, struct arb_pool_waiter *waiter);

/*
 * arb_pool_acquire_again - as arb_pool_acquire, but ahead of all others: for one that was served
 * and whose member is lost. It is served by the arb_pool_lost that follows; several are put back in
 * reverse order.
 */
ARB_EXPORT void arb_pool_acquire_again(struct arb_pool *pool, struct arb_pool_waiter *waiter);

/* arb_pool_cancel - answer a waiter with @status (timeout, cancel); what opens only for it is
 * closed */
ARB_EXPORT void arb_pool_cancel(struct arb_pool *pool, struct arb_pool_waiter *waiter, int status);

/* arb_pool_opened - a member that was opening is ready */
ARB_EXPORT void arb_pool_opened(struct arb_pool *pool, struct arb_pool_member *member);

/* arb_pool_failed - it could not be opened; it is the caller's again, the first waiter gets
 * @status */
ARB_EXPORT void arb_pool_failed(struct arb_pool *pool, struct arb_pool_member *member, int status);

/* arb_pool_release - give one lease back */
ARB_EXPORT void arb_pool_release(struct arb_pool *pool, struct arb_pool_member *member);

/* arb_pool_retire - no new lease for this one; it is closed after the last, or now if it is idle */
ARB_EXPORT void arb_pool_retire(struct arb_pool *pool, struct arb_pool_member *member);

/* arb_pool_lost - it is gone, with all its leases; the pool forgets it and does not call close */
ARB_EXPORT void arb_pool_lost(struct arb_pool *pool, struct arb_pool_member *member);

/* arb_pool_processed - count one request that was answered */
ARB_EXPORT void arb_pool_processed(struct arb_pool *pool);

/* What is counted now. */
ARB_EXPORT unsigned arb_pool_size(const struct arb_pool *pool);
ARB_EXPORT unsigned arb_pool_in_use(const struct arb_pool *pool); /* leased */
ARB_EXPORT unsigned arb_pool_available(const struct arb_pool *pool); /* idle */
ARB_EXPORT unsigned arb_pool_connecting(const struct arb_pool *pool); /* opening */
ARB_EXPORT unsigned arb_pool_waiting(const struct arb_pool *pool); /* waiters */

/* What has been counted since arb_pool_new: members that were opened, and requests answered. */
ARB_EXPORT unsigned long long arb_pool_sessions(const struct arb_pool *pool);
ARB_EXPORT unsigned long long arb_pool_requests_processed(const struct arb_pool *pool);

#ifdef __cplusplus
}
#endif

#endif
