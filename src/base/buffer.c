/*
 * Buffers and their pool. Any process; knows nothing of sockets or messages.
 */
#include "base/buffer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/util.h"

static const size_t header_bytes = offsetof(struct buffer_block, bytes);
static const size_t largest_kept = (size_t)BUFFER_MIN_BYTES << (BUFFER_CLASSES - 1);
/* Half the address space: sums of sizes below it cannot wrap. */
static const size_t largest_block = SIZE_MAX / 4;

static size_t block_bytes(const struct buffer_block *block)
{
    return block->capacity + header_bytes;
}

/* Only for sizes of a class. */
static unsigned class_of(size_t bytes)
{
    return (unsigned)(__builtin_ctzl(bytes) - __builtin_ctzl(BUFFER_MIN_BYTES));
}

static size_t round_up_to_class(size_t bytes)
{
    size_t size = BUFFER_MIN_BYTES;

    while (size < bytes)
        size *= 2;
    return size;
}

void buffer_pool_init(struct buffer_pool *pool, size_t limit_bytes)
{
    memset(pool, 0, sizeof(*pool));
    pool->limit_bytes = MIN(limit_bytes, largest_block);
}

/* More than the limit is held only after an import. */
static size_t pool_limit(const struct buffer_pool *pool)
{
    return MAX(pool->limit_bytes, pool->raised_bytes);
}

/* Frees kept blocks, the largest first, until @bytes more fit below the limit. */
static void pool_make_way(struct buffer_pool *pool, size_t bytes)
{
    for (unsigned i = BUFFER_CLASSES; i-- > 0;) {
        while (pool->n_kept[i] > 0 &&
               pool->used_bytes + pool->kept_bytes + bytes > pool_limit(pool)) {
            struct buffer_block *block = pool->kept[i][--pool->n_kept[i]];

            pool->kept_bytes -= block_bytes(block);
            free(block);
        }
    }
}

void buffer_pool_fini(struct buffer_pool *pool)
{
    assert(pool->used_bytes == 0);
    pool->limit_bytes = 0;
    pool_make_way(pool, 0);
}

/*
 * The size of a block for @capacity bytes that the pool can still give, beside @held bytes that
 * come back in exchange; 0 if there is none. Near the limit a large one need not be a power of two.
 */
static size_t pool_size_for(const struct buffer_pool *pool, size_t capacity, size_t held)
{
    const size_t left = pool_limit(pool) - pool->used_bytes + held;
    size_t size;

    if (capacity > largest_block - header_bytes)
        return 0;
    size = round_up_to_class(capacity + header_bytes);
    if (size > left && size > largest_kept)
        size = MAX(capacity + header_bytes, largest_kept + 1);
    return size <= left ? size : 0;
}

static int pool_take(struct buffer_pool *pool, size_t size, struct buffer_block **ret)
{
    struct buffer_block *block;
    unsigned i;

    if (size <= largest_kept && pool->n_kept[i = class_of(size)] > 0) {
        block = pool->kept[i][--pool->n_kept[i]];
        pool->kept_bytes -= size;
    } else {
        pool_make_way(pool, size);
        block = malloc(size);
        if (!block)
            return -ENOMEM;
    }
    block->capacity = size - header_bytes;
    block->start = 0;
    block->len = 0;
    pool->used_bytes += size;
    *ret = block;
    return 0;
}

static void pool_give(struct buffer_pool *pool, struct buffer_block *block)
{
    const size_t size = block_bytes(block);
    unsigned i;

    pool->used_bytes -= size;
    if (pool->used_bytes <= pool->limit_bytes)
        pool->raised_bytes = 0;
    if (size <= largest_kept && pool->used_bytes + pool->kept_bytes + size <= pool->limit_bytes &&
        pool->n_kept[i = class_of(size)] < BUFFER_KEEP) {
        pool->kept[i][pool->n_kept[i]++] = block;
        pool->kept_bytes += size;
    } else {
        free(block);
    }
}

static void block_move_to_front(struct buffer_block *block)
{
    memmove(block->bytes, block->bytes + block->start, block->len);
    block->start = 0;
}

/* Blocks too large to be kept: the system moves their pages, which costs less than a copy. */
static int buffer_grow_huge(struct buffer *b, struct buffer_pool *pool, size_t capacity)
{
    const size_t old = block_bytes(b->block);
    const size_t size = pool_size_for(pool, capacity, old);
    struct buffer_block *block;

    if (size == 0)
        return -ENOBUFS;
    pool_make_way(pool, size - old);
    if (b->block->start > 0)
        block_move_to_front(b->block);
    block = realloc(b->block, size);
    if (!block)
        return -ENOMEM;
    block->capacity = size - header_bytes;
    pool->used_bytes += size - old;
    b->block = block;
    return 0;
}

static int buffer_grow(struct buffer *b, struct buffer_pool *pool, size_t capacity)
{
    struct buffer_block *block;
    size_t size;
    int rc;

    if (b->block && block_bytes(b->block) > largest_kept)
        return buffer_grow_huge(b, pool, capacity);
    size = pool_size_for(pool, capacity, 0);
    if (size == 0)
        return -ENOBUFS;
    rc = pool_take(pool, size, &block);
    if (rc < 0)
        return rc;
    if (b->block) {
        memcpy(block->bytes, buffer_data(b), b->block->len);
        block->len = b->block->len;
        pool_give(pool, b->block);
    }
    b->block = block;
    return 0;
}

/* So a byte moves O(1) times. */
void buffer_compact(struct buffer *b)
{
    if (b->block && b->block->start > 0 && b->block->start >= b->block->len)
        block_move_to_front(b->block);
}

int buffer_reserve(struct buffer *b, struct buffer_pool *pool, size_t more)
{
    const size_t len = buffer_len(b), capacity = buffer_capacity(b);
    int rc;

    if (b->block && more <= buffer_room(b))
        return 0;
    if (more > largest_block - len)
        return -ENOBUFS;
    buffer_compact(b);
    if (b->block && more <= buffer_room(b))
        return 0;
    rc = buffer_grow(b, pool, len + more <= capacity ? capacity + 1 : len + more);
    if (rc < 0 && b->block && len + more <= capacity) {
        block_move_to_front(b->block);
        return 0;
    }
    return rc;
}

void buffer_commit(struct buffer *b, size_t n)
{
    assert(n <= buffer_room(b));
    b->block->len += n;
}

int buffer_append(struct buffer *b, struct buffer_pool *pool, const void *data, size_t len)
{
    int rc;

    if (len == 0)
        return 0;
    rc = buffer_reserve(b, pool, len);
    if (rc < 0)
        return rc;
    memcpy(buffer_end(b), data, len);
    b->block->len += len;
    return 0;
}

/* A large block has no room to spare: the pages that it would take may be needed by the next
 * import.
 */
int buffer_import(struct buffer *b, struct buffer_pool *pool, const void *data, size_t len)
{
    size_t size;
    int rc;

    assert(!b->block);
    if (len == 0)
        return 0;
    if (len > largest_block - header_bytes)
        return -ENOMEM;
    size = len + header_bytes;
    if (size <= largest_kept)
        size = round_up_to_class(size);
    rc = pool_take(pool, size, &b->block);
    if (rc < 0)
        return rc;
    memcpy(b->block->bytes, data, len);
    b->block->len = len;
    if (pool->used_bytes > pool->limit_bytes)
        pool->raised_bytes = MAX(pool->raised_bytes, pool->used_bytes + pool->used_bytes / 8);
    return 0;
}

void buffer_consume(struct buffer *b, struct buffer_pool *pool, size_t n)
{
    assert(n <= buffer_len(b));
    if (n == buffer_len(b)) {
        buffer_free(b, pool);
        return;
    }
    b->block->start += n;
    b->block->len -= n;
}

void buffer_free(struct buffer *b, struct buffer_pool *pool)
{
    if (b->block)
        pool_give(pool, b->block);
    b->block = NULL;
}
