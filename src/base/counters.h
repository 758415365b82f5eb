/*
 * What a worker counts. THE table of counters: one row each, and the scoreboard record, log lines,
 * `info` and the tests are derived from it. One process writes, others read: relaxed atomics, no
 * lock.
 */
#ifndef BASE_COUNTERS_H
#define BASE_COUNTERS_H

#include <stdatomic.h>
#include <stdint.h>

/* clang-format off */
/*    field                   what is counted */
#define COUNTERS(X)                                                                                \
    X(accepted,               "connections accepted")                                              \
    X(proxied,                "connections that began with a header of the PROXY protocol")        \
    X(requests,               "complete messages answered")                                        \
    X(bytes_in,               "bytes read from clients")                                           \
    X(bytes_out,              "bytes written to clients")                                          \
    X(moved_in,              "connections taken over from another worker")                         \
    X(moved_out,             "connections given to another worker")                                \
    X(rescued,                "connections taken over from a worker that died")                    \
    X(left,                   "connections that a worker had open when it died; see rescued")      \
    X(closed_peer,            "connections ended by the peer between messages")                    \
    X(closed_partial,         "connections ended by the peer inside a message")                    \
    X(closed_quit,            "connections ended by the protocol (QUIT)")                          \
    X(closed_reset,           "connections reset by the peer")                                     \
    X(closed_error,           "connections ended by another socket error")                         \
    X(closed_too_big,         "messages that are too long, and what a protocol refuses")           \
    X(closed_message_timeout, "messages not complete within server.message_timeout")               \
    X(closed_write_timeout,   "replies without progress for server.write_timeout")                 \
    X(closed_keep_alive,      "idle connections past server.keep_alive")                           \
    X(closed_buffered,        "connections that asked for more than server.max_buffered left")     \
    X(closed_evicted,         "connections ended because others need the memory that they hold")   \
    X(closed_drained,         "connections half-closed because the worker drains")                 \
    X(closed_cut,             "connections cut at the end of the drain")                           \
    X(closed_owing,           "connections cut at the end of the drain that still owed a reply")   \
    X(closed_broken,          "connections ended because their protocol broke its contract")       \
    X(closed_proxy,           "connections ended because of their PROXY header, or without one")   \
    X(closed_killed,          "connections ended by an operator (kill)")                           \
    X(closed_refused,         "connections accepted and closed because all workers are full")      \
    X(closed_max_per_source,  "new connections reset because of server.max_per_source")            \
    X(closed_accept_rate,     "new connections reset because of server.accept_rate")               \
    X(uncounted,              "connections not limited per source: no room to count them")         \
    X(linger_expired,         "lingering closes ended by their deadline")                          \
    X(accept_pauses,          "times that accepting paused: full, or out of descriptors, memory")  \
    X(accept_errors,          "accept errors that concern one connection only")                    \
    X(cpu_ms,                 "processor time of workers and other actors")                        \
    X(log_dropped,            "log lines dropped because the log could not take them")             \
    X(scanned,                "bytes examined by the separator search")
/* clang-format on */

typedef _Atomic uint64_t counter_t; /* the one typedef: an atomic is no struct */

struct counters {
#define X(field, help) counter_t field;
    COUNTERS(X)
#undef X
};

/* counter_add - by the one writer only, so that one instruction may do it without a lock */
static inline void counter_add(counter_t *c, uint64_t n)
{
#ifdef __x86_64__
    __asm__("addq %1, %0" : "+m"(*(uint64_t *)(void *)c) : "er"(n) : "cc");
#else
    uint64_t v = atomic_load_explicit(c, memory_order_relaxed);
    atomic_store_explicit(c, v + n, memory_order_relaxed);
#endif
}

static inline void counter_set(counter_t *c, uint64_t v)
{
    atomic_store_explicit(c, v, memory_order_relaxed);
}

static inline uint64_t counter_get(const counter_t *c)
{
    return atomic_load_explicit(c, memory_order_relaxed);
}

#endif
