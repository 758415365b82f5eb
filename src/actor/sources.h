/*
 * How many connections each source address has in the whole server, and how fast they come. Shared
 * memory (a memfd, so that it survives exec) with one part for each process: a worker counts its
 * own connections in its own part, which nobody else can write, and reads the others'. So nothing
 * that a killed worker has counted has to be taken back: its part is freed when it is reaped. A
 * worker that has gone mad can have a source refused, or hide its own connections; it can harm
 * nothing else.
 *
 * Which entry of a part a source has follows from a keyed hash, so that peers cannot choose
 * addresses that collide. A source without room in its part is not limited there.
 */
#ifndef ACTOR_SOURCES_H
#define ACTOR_SOURCES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/counters.h"

#define SOURCES_MAGIC   UINT64_C(0x617262736f757263) /* "arbsourc" */
#define SOURCES_VERSION 1

enum {
    SOURCES_PARTS_MAX = 65536,
    SOURCES_WAYS = 8, /* entries that a source may have in a part */
    SOURCES_MIN = 256, /* entries of a part */
    SOURCES_MAX = 65536,
};
#define SOURCES_NONE UINT32_MAX

/*
 * A part has first a short tag for each entry, then the entries: who looks at many parts reads a
 * line of the cache in most of them, and more only where the source may be known. An entry is free
 * if nothing is counted and `next_ns` has passed.
 */
struct source_entry {
    _Atomic uint32_t tag; /* of the hash */
    _Atomic uint32_t count; /* connections open now */
    counter_t next_ns; /* CLOCK_MONOTONIC: when the accepts so far are due at the allowed rate */
};

/* The arbiter's pages. */
struct sources_header {
    _Alignas(64) uint64_t magic;
    uint32_t version;
    uint32_t n_parts;
    uint32_t n_entries; /* of each part, a power of two */
    uint32_t page_bytes;
    uint64_t key[2]; /* of the hash */
    counter_t high; /* parts at or above this index have never been used */
    _Alignas(64) _Atomic uint8_t is_used[]; /* of n_parts: it belongs to a living process */
};

struct sources {
    int fd; /* owned memfd; -1 in a worker, or if there is none, as the next one */
    int read_fd; /* owned: the same memory, which cannot be written through it */
    struct sources_header
        *header; /* mapped, shared: in the arbiter these pages alone; NULL = none */
    size_t parts_at; /* offset of the first part */
    size_t part_bytes;
    /* Of a worker. */
    struct source_entry *own; /* of its part; NULL = it counts nothing */
    _Atomic uint16_t *own_tags; /* of its part */
    uint32_t self; /* index of that part */
    uint32_t n_in_use; /* entries with a connection */
};

/* sources_init - none so far */
void sources_init(struct sources *s);

/* sources_size - entries of a part for workers with @max_connections */
uint32_t sources_size(uint64_t max_connections);

/* sources_bytes - shared memory of one, used or not */
size_t sources_bytes(uint32_t n_parts, uint32_t n_entries);

/*
 * sources_open - make one of @n_parts free parts with @n_entries each, a value of sources_size
 * Returns 0, -EINVAL, -ENOENT (no /proc) or -errno.
 */
int sources_open(struct sources *s, uint32_t n_parts, uint32_t n_entries);

/* sources_attach - map an existing one (upgrade); takes @fd over on 0. Returns 0, -EINVAL (it is
 * of another layout, or has not @n_parts) or -errno. */
int sources_attach(struct sources *s, int fd, uint32_t n_parts);
void sources_close(struct sources *s);

/* sources_assign - give part @index, empty, to a new process (arbiter, before the fork); its
 * memory is allocated here. Returns 0 or -errno. */
int sources_assign(struct sources *s, uint32_t index);

/* sources_release - the process is gone, and what it counted with it. Also of a part that was not
 * assigned, and if there are none. */
void sources_release(struct sources *s, uint32_t index);

/*
 * sources_narrow - in a process just forked: map part @index writable and the rest read-only, and
 * close the descriptors
 * @is_counting  else nothing is mapped any more
 * Returns 0 or -errno.
 */
int sources_narrow(struct sources *s, uint32_t index, bool is_counting);

/* ---- what a worker does ---- */

struct source_limits {
    uint32_t connections; /* 0 = no limit */
    uint32_t accepts; /* a second; 0 = no limit */
};

enum source_answer { SOURCE_ADMITTED, SOURCE_HAS_ENOUGH, SOURCE_IS_TOO_FAST };

/*
 * source_rate_take - one more accept at @now_ns, as GCRA has it: up to @a_second at once, and then
 * as many a second
 * @next_ns  in and out, 0 at first; unchanged if it is refused
 * Returns whether it is allowed. Pure.
 */
bool source_rate_take(uint64_t *next_ns, uint64_t now_ns, uint32_t a_second);

/*
 * sources_find - the own entry of @source (addr_source), taken if there is none yet
 * It stays the source's while something is counted in it. Returns SOURCES_NONE without room.
 */
uint32_t sources_find(struct sources *s, uint64_t source, uint64_t now_ns);

/* sources_add, sources_drop - a connection more, a connection fewer */
void sources_add(struct sources *s, uint32_t entry);
void sources_drop(struct sources *s, uint32_t entry);

/*
 * sources_admit - a new connection of the source of @entry: may it be served? Then it is counted.
 * Workers that ask in the same moment never let more connections in than @limits says, and may
 * refuse one that there was room for; of the rate each of them may let one more in.
 */
enum source_answer sources_admit(struct sources *s, uint32_t entry,
                                 const struct source_limits *limits, uint64_t now_ns);

#endif
