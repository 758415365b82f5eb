/*
 * Shared memory (a memfd, so that it survives exec): one cache-aligned record a process, written by
 * that process alone; only `pid`, `slot`, `generation` and the reset are the arbiter's, before the
 * fork.
 */
#ifndef ACTOR_SCOREBOARD_H
#define ACTOR_SCOREBOARD_H

#include <stdint.h>
#include "actor/state.h"
#include "base/counters.h"

#define SCOREBOARD_MAGIC   UINT64_C(0x6563686f73636f72) /* "echoscor" */
#define SCOREBOARD_VERSION 1

enum { SCOREBOARD_RECORDS_MAX = 65536 };

struct score_record {
    _Alignas(64) counter_t state; /* enum actor_state */
    counter_t slot; /* 0 = the record is free */
    counter_t generation;
    counter_t pid;
    counter_t heartbeat_ns; /* CLOCK_MONOTONIC, each turn of the loop and at least once a second */
    counter_t started_ns;
    counter_t connections; /* open now, lingering ones included */
    counter_t recent_closes; /* closes in the last 100 ms, for the accept gate */
    counter_t is_full; /* 1 = cannot take another connection */
    counter_t is_accepting; /* 1 = told to run, not draining */
    _Alignas(64) struct counters counters;
};

struct scoreboard_header {
    _Alignas(64) uint64_t magic;
    uint32_t version;
    uint32_t record_bytes;
    uint32_t n_records;
    counter_t high; /* records at or above this index have never been used: readers stop here */
};

struct scoreboard {
    int fd; /* owned memfd */
    struct scoreboard_header *header; /* mapped, shared */
    struct score_record *records;
    uint32_t n_records;
};

/* scoreboard_open - make one with @n_records free records. Returns 0, -EINVAL (not
 * 1..SCOREBOARD_RECORDS_MAX) or -errno. */
int scoreboard_open(struct scoreboard *sb, uint32_t n_records);

/* scoreboard_attach - map an existing one (tests, upgrade); takes @fd over on 0. Returns 0, -EINVAL
 * or -errno. */
int scoreboard_attach(struct scoreboard *sb, int fd);
void scoreboard_close(struct scoreboard *sb);

/* scoreboard_assign - zero record @index and give it to a new process (arbiter, before the fork):
 * inactive, started now, with a fresh heartbeat; its pid is still to be set */
struct score_record *scoreboard_assign(struct scoreboard *sb, uint32_t index, uint32_t slot,
                                       uint64_t generation);

/* scoreboard_release - the process is gone: add its counters to @totals, free the record */
void scoreboard_release(struct scoreboard *sb, uint32_t index, struct counters *totals);

/* scoreboard_least - the least `connections` of any other accepting, not full record with a
 * heartbeat not older than @fresh_ns; UINT64_MAX if there is none. @ret_all_full: no such record,
 * nor @self, has room. */
uint64_t scoreboard_least(const struct scoreboard *sb, uint32_t self, uint64_t now_ns,
                          uint64_t fresh_ns, int *ret_all_full);

#endif
