/*
 * The heartbeat of a process: the sign in the scoreboard that its loop still turns, and how late
 * the loop was. A timer of its own, so that messages cost nothing for it.
 */
#ifndef ACTOR_HEARTBEAT_H
#define ACTOR_HEARTBEAT_H

#include <ev.h>
#include <stdint.h>

#include "actor/scoreboard.h"

enum {
    HEARTBEAT_IDLE_MS = 1000, /* between beats; less if arbiter.timeout is short */
    HEARTBEAT_BUSY_MS = 100, /* while the loop has something to do: then a wake more is nothing */
    HEARTBEATS_A_TIMEOUT = 4,
};

/* The most of the last second or two. */
struct lag_window {
    uint64_t since_ns;
    uint64_t most_ns; /* since then */
    uint64_t most_before_ns; /* of the second before */
};

/* lag_window_add - one sample; returns the most. Pure. */
uint64_t lag_window_add(struct lag_window *w, uint64_t now_ns, uint64_t late_ns);

/* heartbeat_interval_ms - until the next beat, for an arbiter that waits @timeout_ms for it */
uint64_t heartbeat_interval_ms(uint64_t timeout_ms, bool is_busy);

struct heartbeat {
    ev_timer timer;
    struct score_record *record; /* borrowed */
    uint64_t timeout_ms;
    uint64_t due_ns;
    uint64_t second_ns; /* when on_second was called last */
    unsigned turn; /* of the loop, at the last beat */
    struct lag_window lag;
    void (*on_beat)(struct heartbeat *h);
    void (*on_second)(struct heartbeat *h); /* with a beat, at most once a second */
};

/* heartbeat_start - beat now and from now on; the callbacks are set already */
void heartbeat_start(struct heartbeat *h, struct ev_loop *loop, struct score_record *record,
                     uint64_t timeout_ms);

#endif
