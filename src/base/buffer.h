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

/*
 * Blocks are powers of two from BUFFER_MIN_BYTES up, their header included. A few freed ones of
 * each size are kept (cheaper than malloc and free of large blocks). What is handed out and what is
 * kept stay together below the limit.
 */
enum { BUFFER_MIN_BYTES = 1024, BUFFER_CLASSES = 12, BUFFER_KEEP = 8 };

struct buffer_block {
    size_t capacity; /* of `bytes` */
    size_t start; /* offset of the first byte held */
    size_t len; /* bytes held; 0 only between reserve and commit */
    uint8_t bytes[];
};

struct buffer_pool {
    size_t limit_bytes; /* what all buffers together may hold */
    size_t raised_bytes; /* the limit instead, after imports beyond it; 0 = none */
    size_t used_bytes; /* handed out now, whole blocks counted */
    size_t kept_bytes; /* in the lists below; bounded by BUFFER_KEEP a class and by the limit */
    unsigned n_kept[BUFFER_CLASSES];
    struct buffer_block *kept[BUFFER_CLASSES][BUFFER_KEEP];
};

struct buffer {
    struct buffer_block *block; /* owned; NULL = holds nothing */
};

void buffer_pool_init(struct buffer_pool *pool, size_t limit_bytes);

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

/* buffer_free - give the block back to the pool; the buffer is empty and usable again */
void buffer_free(struct buffer *b, struct buffer_pool *pool);

#endif
