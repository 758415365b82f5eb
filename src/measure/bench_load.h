/*
 * One thread's part of a bench. Private to it.
 */
#ifndef MEASURE_BENCH_LOAD_H
#define MEASURE_BENCH_LOAD_H

#include <pthread.h>
#include <stdatomic.h>
#include "client/connect.h"
#include "measure/bench.h"

enum { BENCH_BUFFER_BYTES = 1 << 20 };

struct bench_link {
    int fd; /* -1 = none */
    bool is_connecting;
    bool is_writing; /* EPOLLOUT is armed */
    bool is_replacing; /* its churn is over: no more messages */
    const struct bench_bytes *out, *in; /* borrowed: what is sent and what comes back */
    uint32_t send_at; /* offset in the cycle of the next byte to write */
    uint32_t begin; /* message of the cycle that is sent next */
    uint32_t due; /* message of the cycle that comes back next */
    uint64_t base; /* bytes of the whole cycles before that message */
    uint64_t wanted, received; /* bytes of the replies to all begun messages; … that came */
    uint64_t unsent; /* bytes of begun messages that are not written yet */
    uint64_t n_begun; /* messages on this connection */
    unsigned outstanding; /* … of which so many are not echoed */
    uint64_t *began_ns; /* borrowed, `depth` of them, by the place in the cycle */
    uint64_t due_k, n_due; /* open loop: the oldest message that is due and not begun; how many */
    uint64_t moved_ns; /* last progress, for the timeout */
    uint64_t free_ns; /* since when there is room for another message */
    uint64_t retry_ns; /* not connected: when to try again */
    unsigned address;
};

struct bench_load {
    const struct bench_options *options;
    pthread_t thread;
    unsigned index, n_links;
    double rate; /* of this thread */
    uint64_t count; /* … its messages; 0 = no end */
    uint64_t start_ns, window_ns, end_ns;
    atomic_bool *is_stopping; /* borrowed */
    void (*on_tick)(void *data); /* every BENCH_TICK_MS, may be NULL */
    void *on_tick_data;
    atomic_bool is_done;
    int ep, timer; /* owned */
    struct bench_link *links;
    uint64_t *began; /* owned: the rings of all links */
    struct bench_script *scripts;
    unsigned n_scripts;
    uint8_t *buffer;
    uint64_t n_begun, n_open; /* messages in all; of them without an end */
    uint64_t next_k; /* open loop: the next message of the schedule */
    uint64_t next_sweep_ns, backlog_ns, deadline_ns; /* the latter two: once it is ending */
    struct connect_sources from; /* none without churn */
    bool is_ending, has_seen_stop;
    struct bench_counts counts; /* read by others, relaxed */
    struct hist latency, connects;
    uint64_t n_window, n_window_bytes, n_window_connected; /* that came within the window */
    uint64_t last_ns; /* the window's end, for a count */
    int last_failure, error;
};

void bench_load_run(struct bench_load *l);

#endif
