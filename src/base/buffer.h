/*
 * Byte buffers with a hard cap, and a bounded list of kept blocks for reuse.
 * A buffer is a queue: bytes are appended at the end and consumed at the front. It is one pointer,
 * so that whoever holds nothing pays eight bytes; lengths live in front of the bytes.
 */
#ifndef BASE_BUFFER_H
#define BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/list.h"

/*
 * Blocks are powers of two from BUFFER_MIN_BYTES up, their header included. A few freed ones of
 * each size are kept (cheaper than malloc and free of large blocks). What is handed out and what is
 * kept stay together below the limit. Blocks that are handed out hang in lists by size, so that
 * whoever has to make room finds the largest without a search.
 */
enum { BUFFER_MIN_BYTES = 1024, BUFFER_CLASSES = 12, BUFFER_KEEP = 8, BUFFER_SIZES = 54 };

struct buffer_block {
    size_t capacity; /* of `bytes` */
    size_t start; /* offset of the first byte held */
    size_t len; /* bytes held; 0 only between reserve and commit */
    struct list link; /* in pool->held, or hidden */
    void *owner; /* the owner's own, with the next three; NULL and 0 in a new block */
    uint64_t mark;
    uint64_t mark_tick;
    size_t resume;
    uint8_t bytes[];
};

struct buffer_pool {
    size_t limit_bytes; /* what all buffers together may hold */
    size_t raised_bytes; /* the limit instead, after imports beyond it; 0 = none */
    size_t used_bytes; /* handed out now, whole blocks counted */
    size_t small_bytes; /* the size up to which a block is small; 0 = none is */
    size_t reserve_bytes; /* of the limit, for small blocks alone */
    size_t large_bytes; /* they hold now; part of used_bytes */
    size_t kept_bytes; /* in the lists below; bounded by BUFFER_KEEP a class and by the limit */
    unsigned n_kept[BUFFER_CLASSES];
    struct buffer_block *kept[BUFFER_CLASSES][BUFFER_KEEP];
    struct list held[BUFFER_SIZES]; /* handed out, by buffer_size_class(); the newest at the end */
};

struct buffer {
    struct buffer_block *block; /* owned; NULL = holds nothing */
};

void buffer_pool_init(struct buffer_pool *pool, size_t limit_bytes);

/* buffer_pool_reserve - keep @reserve_bytes of the limit for blocks of up to @small_bytes */
void buffer_pool_reserve(struct buffer_pool *pool, size_t small_bytes, size_t reserve_bytes);

/* buffer_pool_fini - free what is kept; every buffer has been given back before */
void buffer_pool_fini(struct buffer_pool *pool);

static inline uint8_t *buffer_data(const struct buffer *b)
{
    return b->block ? b->block->bytes + b->block->start : NULL;
}

static inline size_t buffer_len(const struct buffer *b)
{
    return b->block ? b->block->len : 0;
}

/* The whole block, as the pool counts it. */
static inline size_t buffer_block_bytes(const struct buffer_block *block)
{
    return block->capacity + offsetof(struct buffer_block, bytes);
}

/* The list of pool->held for blocks of @bytes, at least BUFFER_MIN_BYTES: one for each power of
 * two.
 */
static inline unsigned buffer_size_class(size_t bytes)
{
    return (unsigned)(__builtin_ctzl(BUFFER_MIN_BYTES) ^ 63) - (unsigned)__builtin_clzl(bytes);
}

static inline size_t buffer_capacity(const struct buffer *b)
{
    return b->block ? b->block->capacity : 0;
}

/* Bytes that fit behind the held ones without growing or moving. */
static inline size_t buffer_room(const struct buffer *b)
{
    return b->block ? b->block->capacity - b->block->start - b->block->len : 0;
}

/* Where the next byte goes; only with room. */
static inline uint8_t *buffer_end(const struct buffer *b)
{
    return b->block->bytes + b->block->start + b->block->len;
}

/*
 * buffer_reserve - make room for @more bytes behind the held ones, moving or growing the block
 * Returns 0, -ENOBUFS (the pool's limit) or -ENOMEM; on failure the buffer is as it was.
 */
int buffer_reserve(struct buffer *b, struct buffer_pool *pool, size_t more);

/* buffer_compact - move the held bytes to the front, if no more has to be moved than was consumed
 */
void buffer_compact(struct buffer *b);

/* buffer_commit - @n bytes have been written at buffer_end, within the room */
void buffer_commit(struct buffer *b, size_t n);

/* buffer_append - reserve and copy. Returns as buffer_reserve. @data may not point into @b. */
int buffer_append(struct buffer *b, struct buffer_pool *pool, const void *data, size_t len);

/*
 * buffer_import - hold a copy of what another pool held, whatever the limit says
 * @b  empty
 * The block is no larger than the other pool's was. Beyond the limit, all buffers together may grow
 * by an eighth of what they hold, until they are below it again.
 * Returns 0 or -ENOMEM.
 */
int buffer_import(struct buffer *b, struct buffer_pool *pool, const void *data, size_t len);

/* buffer_consume - drop @n bytes at the front; an empty buffer gives its block back */
void buffer_consume(struct buffer *b, struct buffer_pool *pool, size_t n);

/* buffer_least_block - the size of the smallest block that holds @len bytes, header included */
size_t buffer_least_block(size_t len);

/*
 * buffer_trim - give back what the block has and does not need, if that is a quarter or more of it
 * Returns whether the block has become smaller.
 */
bool buffer_trim(struct buffer *b, struct buffer_pool *pool);

/*
 * buffer_hide - nobody who makes room finds the block; buffer_show - they do again
 * An empty buffer is left alone.
 */
void buffer_hide(struct buffer *b);
void buffer_show(struct buffer *b, struct buffer_pool *pool);

/* buffer_free - give the block back to the pool; the buffer is empty and usable again */
void buffer_free(struct buffer *b, struct buffer_pool *pool);

#endif
