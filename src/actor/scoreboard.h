/*
 * Shared memory (a memfd, so that it survives exec) in which every process of the server can read
 * how the workers are. The first pages are the arbiter's: who fills which record. Then each record
 * has a page of its own, which only its worker and the arbiter can write: a worker maps the rest
 * through a descriptor that cannot write, so that not even mprotect makes it writable.
 *
 * What a worker says about itself is data like a peer's: readers check it, and decide nothing by it
 * that cannot be undone.
 */
#ifndef ACTOR_SCOREBOARD_H
#define ACTOR_SCOREBOARD_H

#include <arbiter/actor.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "actor/state.h"
#include "base/counters.h"
#include "base/timing.h"

#define SCOREBOARD_MAGIC   UINT64_C(0x61726273636f7265) /* "arbscore" */
#define SCOREBOARD_VERSION 4

enum { SCOREBOARD_RECORDS_MAX = 65536, SCOREBOARD_CONNECTIONS_MAX = INT32_MAX };

/*
 * What a crashing worker leaves behind about itself: written once by its fatal-signal handler, read
 * by the arbiter when the process is gone. Fixed sizes; the reader checks them.
 */
enum { CRASH_FRAMES_MAX = 32, CRASH_PAYLOAD_MAX = 256, CRASH_PEER_MAX = 128 };

struct crash_record {
    uint64_t signo; /* 0 = nothing was written; set after all but the frames and the payload */
    int64_t code; /* si_code: at most 0 = sent by a process */
    uint64_t sender_pid; /* of a signal that was sent */
    uint64_t address; /* si_addr of one that was not */
    uint64_t pc, sp; /* registers; 0 where they are not known */
    int64_t fd; /* the connection that was being served, -1 = none */
    uint64_t requests, connections, uptime_ms;
    uint64_t rescued; /* connections that were sent to the next worker */
    uint64_t payload_len; /* of the message being served, at most CRASH_PAYLOAD_MAX are kept */
    uint8_t payload[CRASH_PAYLOAD_MAX]; /* only with log.crash_payload */
    uint64_t n_frames; /* written last of all: walking the stack may fail */
    uint64_t frames[CRASH_FRAMES_MAX];
    /* New members come last: so records of an earlier image can be read. */
    int64_t call; /* number of the system call that the sandbox has stopped; see sandbox_stopped */
    uint64_t peer_len; /* bytes of `peer`; 0 = not known */
    uint8_t peer[CRASH_PEER_MAX]; /* struct sockaddr of the client that was being served */
};

/* Counters of the program's own, in the order of struct own. */
struct own_counts {
    counter_t n[ARB_COUNTERS_MAX];
};

/* How long what takes time takes. */
struct score_times {
    struct timing reply; /* from a message's last byte to its reply; sampled (conn_sample.c) */
    struct timing lag; /* how late the loop was, at each heartbeat */
};

/* What a worker says about itself. */
struct score_record {
    /* What siblings look at when they accept. */
    _Alignas(64) counter_t
        is_accepting; /* 1 = told to run, not draining; 0 also if nobody is here */
    counter_t is_full; /* 1 = cannot take another connection */
    counter_t connections; /* open now, lingering ones included */
    counter_t heartbeat_ns; /* CLOCK_MONOTONIC, at least once a second */
    counter_t state; /* enum actor_state */
    counter_t lag_ns; /* how late the loop was at most, in the last second or two */
    counter_t owing; /* connections that owe a reply */
    counter_t kept; /* of a worker: registered with its keeper; of a keeper: held */
    counter_t sources; /* addresses with connections that this worker counts for them */
    _Alignas(64) struct counters counters;
    struct own_counts own;
    counter_t kept_bytes; /* of a keeper: memory for what it holds */
    counter_t memory_bytes; /* resident, once a second as the next two; 0 = not known */
    counter_t fds; /* open descriptors */
    counter_t fds_max; /* RLIMIT_NOFILE */
    struct score_times times;
    struct crash_record crash; /* all zero while it lives */
};

/* What the arbiter says about the process of a record. */
struct score_identity {
    counter_t slot; /* 0 = the record is free */
    counter_t incarnation;
    counter_t pid;
    counter_t started_ns; /* CLOCK_MONOTONIC */
};

struct scoreboard_header {
    _Alignas(64) uint64_t magic;
    uint32_t version;
    uint32_t page_bytes; /* from the beginning of a record's page to the next one's */
    uint32_t n_records;
    counter_t high; /* records at or above this index have never been used: readers stop here */
    _Alignas(64) struct score_identity identities[]; /* of n_records */
};

struct scoreboard {
    int fd; /* owned memfd; -1 in a worker, as the next one */
    int read_fd; /* owned: the same memory, which cannot be written through it */
    struct scoreboard_header *header; /* mapped, shared; the pages of the records follow */
    size_t page_bytes;
    size_t records_at; /* offset of the first record's page */
    uint32_t n_records;
};

/* scoreboard_bytes - shared memory of one with that many records, used or not */
size_t scoreboard_bytes(uint32_t n_records);

/*
 * scoreboard_open - make one with @n_records free records
 * Returns 0, -EINVAL (not 1..SCOREBOARD_RECORDS_MAX), -ENOENT (no /proc) or -errno.
 */
int scoreboard_open(struct scoreboard *sb, uint32_t n_records);

/* scoreboard_layout - another number for each layout of a record: names and places of all that is
 * in it
 */
uint64_t scoreboard_layout(void);

/* scoreboard_attach - map an existing one (tests, upgrade); takes @fd over on 0. Returns 0, -EINVAL
 * or -errno. */
int scoreboard_attach(struct scoreboard *sb, int fd);
void scoreboard_close(struct scoreboard *sb);

/*
 * scoreboard_narrow - in a process just forked: map the page of record @index writable and the rest
 * read-only, and close the descriptors. Returns 0 or -errno.
 */
int scoreboard_narrow(struct scoreboard *sb, uint32_t index);

/* scoreboard_record, scoreboard_identity - those of @index, which is below n_records */
struct score_record *scoreboard_record(const struct scoreboard *sb, uint32_t index);
struct score_identity *scoreboard_identity(const struct scoreboard *sb, uint32_t index);

/*
 * scoreboard_assign - give record @index, zeroed, to a new process (arbiter, before the fork):
 * inactive, started now, with a fresh heartbeat; its pid is still to be set
 * The memory of the record is allocated here. Returns 0 or -errno.
 */
int scoreboard_assign(struct scoreboard *sb, uint32_t index, uint32_t slot, uint64_t incarnation);

/* scoreboard_release - the process is gone: free the record, whose counters have been read */
void scoreboard_release(struct scoreboard *sb, uint32_t index);

/* scoreboard_connections - as the record says, 0 if that cannot be */
uint64_t scoreboard_connections(const struct score_record *r);

/*
 * scoreboard_least - the least `connections` of any other accepting, not full record with a
 * heartbeat not older than @fresh_ns; UINT64_MAX if there is none
 * @ret_others_full  no such record has room, and nothing that was read is impossible. May be NULL.
 */
uint64_t scoreboard_least(const struct scoreboard *sb, uint32_t self, uint64_t now_ns,
                          uint64_t fresh_ns, bool *ret_others_full);

#endif
