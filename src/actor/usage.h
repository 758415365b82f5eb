/*
 * What a process uses: processor time, memory, descriptors. It says so itself, once a second, since
 * no other process may look: it is not dumpable, and perhaps hidden. What it reads is opened before
 * it enters its sandbox, in which it opens nothing.
 */
#ifndef ACTOR_USAGE_H
#define ACTOR_USAGE_H

#include <stdint.h>

struct score_record;

struct usage {
    int memory_fd; /* owned: /proc/self/statm; < 0 = it cannot be read */
    int fds_fd; /* owned: /proc/self/fd; < 0 = it cannot be read */
    uint64_t fds_max; /* RLIMIT_NOFILE; UINT64_MAX = none */
    /* Descriptors at usage_open, where the kernel does not say how many there are; else 0. */
    uint64_t fds_before;
};

/* What a process uses now; 0 = not known. */
struct usage_now {
    uint64_t cpu_ms, memory_bytes, fds, fds_max;
};

/* usage_open - open both files; usage_close - after usage_open, whatever that could open */
void usage_open(struct usage *u);
void usage_close(struct usage *u);

/* usage_memory_bytes - resident bytes of this process; 0 if that cannot be read */
uint64_t usage_memory_bytes(const struct usage *u);

/*
 * usage_look - what this process uses
 * @n_since  descriptors that came after usage_open, and count where the kernel does not tell how
 *   many there are (before Linux 6.2)
 */
void usage_look(const struct usage *u, uint64_t n_since, struct usage_now *ret);

/* usage_publish - the same, into the record of this process */
void usage_publish(const struct usage *u, uint64_t n_since, struct score_record *r);

#endif
