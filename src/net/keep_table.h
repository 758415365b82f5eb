/*
 * Memory that one worker process shares with its keeper: for each descriptor number a mark and a
 * serial. The arbiter makes the memory file before it forks the worker, and keeps it, so that it
 * can start a keeper anew. The worker maps it writable and is its only writer; a keeper maps it
 * read-only. One file per process, never per slot: the heir must not overwrite what is still being
 * judged.
 *
 * Sealed: its size is what it was when it was made, so that a reader never meets SIGBUS by size.
 */
#ifndef NET_KEEP_TABLE_H
#define NET_KEEP_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KEEP_NUMBERS_MIN = 1 << 16, KEEP_NUMBERS_MAX = 1 << 20 }; /* the limit may rise */

/*
 * Plain memory with one writer. The worker stores in program order (volatile); the keeper reads it
 * when the worker is dead, or in answer to a datagram that was sent after the stores.
 */
struct keep_table {
    volatile uint8_t *mark; /* enum conn_mark; NULL = not mapped */
    volatile uint32_t *serial; /* 0 = not registered */
    uint32_t n; /* numbers 0..n-1 */
};

/*
 * keep_table_make - a memory file for a process that may have @n descriptors; in the arbiter
 * @n is brought into KEEP_NUMBERS_MIN..MAX. Untouched pages cost nothing.
 * Returns a close-on-exec descriptor or -errno.
 */
int keep_table_make(uint64_t n);

/*
 * keep_table_map - @fd is borrowed, and not needed afterwards
 * @is_writer  this is the worker whose table it is; else the keeper
 * Returns 0, -EBADMSG (it is no such file) or -errno.
 */
int keep_table_map(struct keep_table *t, int fd, bool is_writer);

/* keep_table_unmap - also what was never mapped */
void keep_table_unmap(struct keep_table *t);

#endif
