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
    for (unsigned i = 0; i < BUFFER_SIZES; i++)
        list_init(&pool->held[i]);
}

void buffer_pool_reserve(struct buffer_pool *pool, size_t small_bytes, size_t reserve_bytes)
{
    assert(reserve_bytes <= pool->limit_bytes);
    pool->small_bytes = small_bytes;
    pool->reserve_bytes = reserve_bytes;
}

static bool is_large(const struct buffer_pool *pool, size_t size)
{
    return size > pool->small_bytes;
}

static void pool_list(struct buffer_pool *pool, struct buffer_block *block)
{
    list_append(&pool->held[buffer_size_class(buffer_block_bytes(block))], &block->link);
}

/* Counts @block, which is handed out from now on. */
static void pool_lend(struct buffer_pool *pool, struct buffer_block *block)
{
    const size_t size = buffer_block_bytes(block);

    pool->used_bytes += size;
    pool->large_bytes += is_large(pool, size) ? size : 0;
    pool_list(pool, block);
}

static void pool_take_back(struct buffer_pool *pool, struct buffer_block *block)
{
    const size_t size = buffer_block_bytes(block);

    pool->used_bytes -= size;
    pool->large_bytes -= is_large(pool, size) ? size : 0;
    list_remove(&block->link);
}

/* More than the limit is held only after an import. */
static size_t pool_limit(const struct buffer_pool *pool)
{
    return MAX(pool->limit_bytes, pool->raised_bytes);
}

static bool is_beyond(const struct buffer_pool *pool)
{
    return pool->used_bytes > pool->limit_bytes ||
           pool->large_bytes > pool->limit_bytes - pool->reserve_bytes;
}

/* What has been imported beyond the limit may grow by an eighth. */
static void pool_raise(struct buffer_pool *pool)
{
    const size_t all = MAX(pool->used_bytes, pool->large_bytes + pool->reserve_bytes);

    if (is_beyond(pool))
        pool->raised_bytes = MAX(pool->raised_bytes, all + all / 8);
}

/* Frees kept blocks, the largest first, until @bytes more fit below the limit. */
static void pool_make_way(struct buffer_pool *pool, size_t bytes)
{
    for (unsigned i = BUFFER_CLASSES; i-- > 0;) {
        while (pool->n_kept[i] > 0 &&
               pool->used_bytes + pool->kept_bytes + bytes > pool_limit(pool)) {
            struct buffer_block *block = pool->kept[i][--pool->n_kept[i]];

            pool->kept_bytes -= buffer_block_bytes(block);
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

/* Is there room for a block of @size, beside @held bytes that come back in exchange? */
static bool pool_has_room(const struct buffer_pool *pool, size_t size, size_t held)
{
    const size_t limit = pool_limit(pool), large_limit = limit - pool->reserve_bytes;
    const size_t held_large = is_large(pool, held) ? held : 0;

    if (size > limit || pool->used_bytes - held > limit - size)
        return false;
    return !is_large(pool, size) ||
           (size <= large_limit && pool->large_bytes - held_large <= large_limit - size);
}

/*
 * The size of a block for @capacity bytes that the pool can still give, beside @held bytes that
 * come back in exchange; 0 if there is none. Near the limit a large one need not be a power of two.
 */
static size_t pool_size_for(const struct buffer_pool *pool, size_t capacity, size_t held)
{
    size_t size;

    if (capacity > largest_block - header_bytes)
        return 0;
    size = round_up_to_class(capacity + header_bytes);
    if (size > largest_kept && !pool_has_room(pool, size, held))
        size = MAX(capacity + header_bytes, largest_kept + 1);
    return pool_has_room(pool, size, held) ? size : 0;
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
    *block = (struct buffer_block){.capacity = size - header_bytes};
    pool_lend(pool, block);
    *ret = block;
    return 0;
}

static void pool_give(struct buffer_pool *pool, struct buffer_block *block)
{
    const size_t size = buffer_block_bytes(block);
    unsigned i;

    pool_take_back(pool, block);
    if (!is_beyond(pool))
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

/* The system moves the pages of a huge block. Returns 0, or -ENOMEM with the block as it was. */
static int buffer_resize_huge(struct buffer *b, struct buffer_pool *pool, size_t size)
{
    struct buffer_block *block;

    if (b->block->start > 0)
        block_move_to_front(b->block);
    pool_take_back(pool, b->block);
    block = realloc(b->block, size);
    if (block) {
        block->capacity = size - header_bytes;
        b->block = block;
    }
    list_init(&b->block->link);
    pool_lend(pool, b->block);
    return block ? 0 : -ENOMEM;
}

/* Blocks too large to be kept: the system moves their pages, which costs less than a copy. */
static int buffer_grow_huge(struct buffer *b, struct buffer_pool *pool, size_t capacity)
{
    const size_t old = buffer_block_bytes(b->block);
    const size_t size = pool_size_for(pool, capacity, old);

    if (size == 0)
        return -ENOBUFS;
    pool_make_way(pool, size - old);
    return buffer_resize_huge(b, pool, size);
}

/* Another block of @size instead, which all that is held fits into. Returns 0 or -ENOMEM. */
static int buffer_change_block(struct buffer *b, struct buffer_pool *pool, size_t size)
{
    struct buffer_block *block, *old = b->block;
    const int rc = pool_take(pool, size, &block);

    if (rc < 0)
        return rc;
    if (old) {
        memcpy(block->bytes, buffer_data(b), old->len);
        block->len = old->len;
        block->owner = old->owner;
        block->mark = old->mark;
        block->mark_tick = old->mark_tick;
        block->resume = old->resume;
        pool_give(pool, old);
    }
    b->block = block;
    return 0;
}

static int buffer_grow(struct buffer *b, struct buffer_pool *pool, size_t capacity)
{
    size_t size;

    if (b->block && buffer_block_bytes(b->block) > largest_kept)
        return buffer_grow_huge(b, pool, capacity);
    size = pool_size_for(pool, capacity, 0);
    return size == 0 ? -ENOBUFS : buffer_change_block(b, pool, size);
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
    pool_raise(pool);
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

size_t buffer_least_block(size_t len)
{
    const size_t size = len + header_bytes;

    return size <= largest_kept ? round_up_to_class(size) : size;
}

bool buffer_trim(struct buffer *b, struct buffer_pool *pool)
{
    const size_t old = b->block ? buffer_block_bytes(b->block) : 0;
    const size_t size = buffer_least_block(buffer_len(b));

    if (size > old - old / 4)
        return false;
    if (size > largest_kept)
        return buffer_resize_huge(b, pool, size) == 0;
    return buffer_change_block(b, pool, size) == 0;
}

void buffer_hide(struct buffer *b)
{
    if (b->block)
        list_remove(&b->block->link);
}

void buffer_show(struct buffer *b, struct buffer_pool *pool)
{
    if (!b->block)
        return;
    list_remove(&b->block->link);
    pool_list(pool, b->block);
}
