/*
 * What `info` answers as a struct, and the rates between two of them. Pure.
 */
#ifndef MEASURE_SAMPLE_H
#define MEASURE_SAMPLE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { SAMPLE_NAME_LEN = 32 };

/* What a process, or all together, have done since they began. */
struct sample_counts {
    uint64_t connections; /* open now */
    uint64_t accepted, requests, bytes_in, bytes_out;
};

/* A second; NaN = not known. */
struct sample_rate {
    double requests, bytes_in, bytes_out;
};

struct sample_worker {
    char id[SAMPLE_NAME_LEN], state[SAMPLE_NAME_LEN];
    pid_t pid;
    uint64_t generation;
    double uptime_s, heartbeat_age_s, lag_ms; /* NaN = the server does not say */
    struct sample_counts counts;
    struct sample_rate rate; /* since the sample before */
};

struct sample {
    uint64_t taken_ns; /* CLOCK_MONOTONIC; 0 = there is none */
    pid_t pid;
    char version[SAMPLE_NAME_LEN], state[SAMPLE_NAME_LEN];
    double uptime_s;
    uint64_t generation, reloads, restarts, wanted;
    bool is_degraded;
    struct sample_counts totals; /* of the dead too */
    struct sample_rate rate;
    struct sample_worker *workers; /* owned */
    size_t n_workers;
};

/*
 * sample_read - from the result of `info`; all rates unknown. What is missing is 0, "?" or NaN.
 * @ret  on 0: sample_fini()
 * Returns 0, -EBADMSG (that is no such result) or -ENOMEM.
 */
int sample_read(const json_t *info, uint64_t now_ns, struct sample *ret);

/* sample_fini - empty again */
void sample_fini(struct sample *s);

/*
 * sample_rate - fill in the rates of @s since @before
 * A process that was not there before counts from its start; one of which that cannot be said, or
 * whose counters went back, has no rate. Never negative.
 */
void sample_rate(struct sample *s, const struct sample *before);

#endif
