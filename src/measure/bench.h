/*
 * A load generator: connections that keep messages under way, in threads with an epoll each, every
 * reply compared byte for byte, every time in a histogram. Part of the tool; prints nothing.
 *
 *   closed loop  each connection keeps `depth` messages under way; a time is from writing to echo
 *   open loop    messages are due at a fixed rate, whatever the server does; a time is from when
 * the message was *due*, so that a server that stalls cannot hide it by stalling the generator
 * (coordinated omission)
 */
#ifndef MEASURE_BENCH_H
#define MEASURE_BENCH_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include "client/addresses.h"
#include "base/hist.h"
#include "client/outcome.h"

enum { BENCH_CONNECTIONS_MAX = 1000000, BENCH_DEPTH_MAX = 4096, BENCH_THREADS_MAX = 64 };

/* A cycle of `depth` messages that a connection sends again and again. */
struct bench_script {
    struct bench_bytes {
        uint8_t *bytes; /* owned: the messages one after the other */
        uint32_t *bounds; /* owned: where each begins, and the end of the last */
        uint32_t len;
    } out, in; /* what is sent, what must come back; without bytes of its own `in` is `out` */
};

struct bench_options;
typedef int bench_make_script(struct bench_script *s, const struct bench_options *o, uint64_t seed);

struct bench_options {
    struct addresses to;
    unsigned connections, depth, threads;
    uint64_t size_min, size_max; /* of a message, without separator; log-uniform */
    uint64_t duration_ms; /* warm-up included; 0 = until `count` */
    uint64_t warmup_ms; /* not counted */
    uint64_t count; /* messages in all; 0 = until duration_ms */
    double rate; /* messages per second in all; 0 = closed loop */
    unsigned churn; /* messages per connection before it is replaced; 0 = it stays */
    uint64_t timeout_ms; /* connecting, or a reply; 0 = none */
    uint8_t separator[16];
    size_t separator_len; /* 0 = raw echo */
    bench_make_script *make_script; /* NULL = bench_script_init */
};

/*
 * bench_script_init - messages of letters and digits; @seed says which. Returns 0 or -ENOMEM; in
 * either case bench_script_fini.
 */
int bench_script_init(struct bench_script *s, const struct bench_options *o, uint64_t seed);
void bench_script_fini(struct bench_script *s);

/* clang-format off */
/* THE table of what is counted; JSON and text are derived from it. */
#define BENCH_COUNTS(X)                                                                            \
    X(messages,   "messages sent in the window that came back, also after it")                        \
    X(bytes,      "bytes of them, separators included")                                            \
    X(connected,  "connections made, warm-up included")                                                              \
    X(unanswered, "messages sent and not echoed when their connection or the bench ended")                            \
    X(unsent,     "messages that were due, or wanted by a count, and never sent")                            \
    X(closed,     "connections that the server closed")                                            \
    X(reset,      "connections that were reset")                                                   \
    X(timeout,    "connections given up because nothing came in time")                             \
    X(wrong,      "connections given up because other bytes came back")                            \
    X(refused,    "connects that failed")                                                          \
    X(late,       "open loop: messages sent more than 1 ms late because the generator was late")
/* clang-format on */

struct bench_counts {
#define X(field, help) uint64_t field;
    BENCH_COUNTS(X)
#undef X
};

struct bench_result {
    struct bench_counts counts;
    struct hist latency, connects; /* nanoseconds; owned */
    double seconds; /* of the window; 0 = stopped in the warm-up */
    double cut_short_ms; /* what a stop, or a server that says nothing, has taken off the window */
    double outage_ms; /* of the window: no connection at all, of the thread where it was longest */
    double rate, byte_rate; /* messages, bytes per second that came back in the window */
    uint64_t n_connected; /* connections made in it */
    double connect_rate; /* … a second */
    int last_failure; /* ARB_* of a connect that failed, 0 = none */
};

struct bench;

/* Every BENCH_TICK_MS, in the thread of bench_measure. */
enum { BENCH_TICK_MS = 20 };
typedef void bench_on_tick(struct bench *b, void *data);

/*
 * bench_measure - all of it. Blocks; one thread's part runs in the caller's
 * @on_tick  may be NULL
 * @ret      on 0: bench_result_fini
 * Returns 0 or -errno.
 */
int bench_measure(const struct bench_options *o, bench_on_tick *on_tick, void *data,
                  struct bench_result *ret);

/* bench_stop - no new messages; bench_counts - so far. For on_tick. */
void bench_stop(struct bench *b);
struct bench_counts bench_counts(const struct bench *b);

void bench_result_fini(struct bench_result *r);

/* ---- what it says ---- */

json_t *bench_json(const struct bench_options *o, const struct bench_result *r);

/* bench_text_write - a bench_json for people, with a plot of the times. Returns 0 or -ENOMEM. */
int bench_text_write(FILE *f, const json_t *o, const struct hist *latency);

/* bench_has_fallen_behind - open loop: the generator was too slow for the times to mean anything */
bool bench_has_fallen_behind(const struct bench_options *o, const struct bench_result *r);

/* bench_find_other - an option that the bench of @before had otherwise: its name in JSON, or NULL
 */
const char *bench_find_other(const json_t *before, const struct bench_options *o);

/*
 * bench_compare - two bench_json: rate, 50 % and 99 %
 * @max_percent  how much worse each may be
 * Returns 0, 1 (it is worse; said in the text), -EINVAL (@before is no such JSON) or -ENOMEM.
 */
int bench_compare(FILE *f, const json_t *before, const json_t *now, double max_percent);

#endif
