/*
 * Shared memory (a memfd, so that it survives exec): one cache-aligned record a process, written by
 * that process alone; `pid` and the reset are the arbiter's, before the fork.
 *
 * All of it is writable for every process, also for one that has gone mad. So what is read here is
 * data like a peer's: readers check it, decide nothing by it that cannot be undone, and keep what
 * they must know for sure in memory of their own.
 */
#ifndef ACTOR_SCOREBOARD_H
#define ACTOR_SCOREBOARD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "actor/crash.h"
#include "actor/state.h"
#include "base/counters.h"

#define SCOREBOARD_MAGIC   UINT64_C(0x6563686f73636f72) /* "echoscor" */
#define SCOREBOARD_VERSION 1

enum { SCOREBOARD_RECORDS_MAX = 65536, SCOREBOARD_CONNECTIONS_MAX = INT32_MAX };

struct score_record {
    /* What siblings look at when they accept. */
    _Alignas(64) counter_t slot; /* 0 = the record is free */
    counter_t state; /* enum actor_state */
    counter_t heartbeat_ns; /* CLOCK_MONOTONIC, at least once a second */
    counter_t connections; /* open now, lingering ones included */
    counter_t is_full; /* 1 = cannot take another connection */
    counter_t is_accepting; /* 1 = told to run, not draining */
    counter_t incarnation;
    counter_t pid;
    _Alignas(64) counter_t started_ns;
    counter_t lag_ns; /* how late the loop was at most, in the last second or two */
    struct counters counters;
    struct crash_record crash; /* all zero while it lives */
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

/* scoreboard_bytes - shared memory of one with that many records */
size_t scoreboard_bytes(uint32_t n_records);

/* scoreboard_open - make one with @n_records free records. Returns 0, -EINVAL (not
 * 1..SCOREBOARD_RECORDS_MAX) or -errno. */
int scoreboard_open(struct scoreboard *sb, uint32_t n_records);

/* scoreboard_layout - another number for each layout of a record: names and places of all that is
 * in it
 */
uint64_t scoreboard_layout(void);

/* scoreboard_attach - map an existing one (tests, upgrade); takes @fd over on 0. Returns 0, -EINVAL
 * or -errno. */
int scoreboard_attach(struct scoreboard *sb, int fd);
void scoreboard_close(struct scoreboard *sb);

/* scoreboard_assign - zero record @index and give it to a new process (arbiter, before the fork):
 * inactive, started now, with a fresh heartbeat; its pid is still to be set */
struct score_record *scoreboard_assign(struct scoreboard *sb, uint32_t index, uint32_t slot,
                                       uint64_t incarnation);

/* scoreboard_release - the process is gone: free the record, whose counters have been read */
void scoreboard_release(struct scoreboard *sb, uint32_t index);

/*
 * scoreboard_restate - the process of a record says again who it is
 * Returns whether somebody else had written something different.
 */
bool scoreboard_restate(struct score_record *r, uint32_t slot, uint64_t incarnation,
                        enum actor_state state);

/* scoreboard_restate_header - the arbiter says again what the header must say; @high as there */
void scoreboard_restate_header(struct scoreboard *sb, uint32_t high);

/* scoreboard_connections - as the record says, 0 if that cannot be */
uint64_t scoreboard_connections(const struct score_record *r);

/* scoreboard_is_possible - can a worker in its right mind have written this? */
bool scoreboard_is_possible(const struct score_record *r, uint64_t now_ns);

/*
 * scoreboard_least - the least `connections` of any other accepting, not full record with a
 * heartbeat not older than @fresh_ns; UINT64_MAX if there is none
 * @ret_others_full  no such record has room, and nothing that was read is impossible. May be NULL.
 */
uint64_t scoreboard_least(const struct scoreboard *sb, uint32_t self, uint64_t now_ns,
                          uint64_t fresh_ns, bool *ret_others_full);

#endif
