/*
 * Who has to go when memory runs out; see room.h. Any process; pure.
 */
#include "net/room.h"

#include <errno.h>
#include "base/util.h"

void room_init(struct buffer_pool *pool, size_t max_buffered)
{
    const size_t small = MIN(max_buffered / ROOM_SMALL_SHARE, (size_t)ROOM_SMALL_MAX_BYTES);

    buffer_pool_init(pool, max_buffered);
    buffer_pool_reserve(pool, small, pool->limit_bytes / ROOM_RESERVE_SHARE);
}

/* Would a holder with that pace make way for another with as large a block? */
static bool pace_is_slow(struct room_pace pace)
{
    return pace.age_ms >= ROOM_MEASURE_MS &&
           pace.moved_bytes < pace.age_ms * ROOM_SLOW_BYTES_S / 1000;
}

/* Any progress will do for little; and for much, what it takes to be done in the end. */
uint64_t room_least_bytes(const struct buffer_pool *pool, const struct buffer_block *block,
                          uint64_t timeout_ms)
{
    const uint64_t least = timeout_ms * ROOM_LEAST_BYTES_S / 1000;

    if (buffer_block_bytes(block) <= pool->small_bytes)
        return 1;
    return MAX(MIN(least, (uint64_t)block->len / 4), UINT64_C(1));
}

/* The slowest of a size. */
struct candidate {
    struct buffer_block *block; /* NULL = there is none */
    bool is_slow;
};

/*
 * Those that were looked at and are not slow go to the end of the list: the next look sees others.
 * The pace of a holder that has been fast for long enough is measured anew from now on.
 */
static struct candidate find_slowest(struct list *held, const void *asker,
                                     const struct room_holders *holders)
{
    struct candidate found = {.block = NULL};
    struct buffer_block *last =
        held->next == held ? NULL : container_of(held->prev, struct buffer_block, link);

    for (unsigned i = 0; last && i < ROOM_LOOKS && !found.is_slow; i++) {
        struct buffer_block *block = container_of(held->next, struct buffer_block, link);
        struct room_pace pace;

        list_remove(&block->link);
        list_append(held, &block->link);
        if (block->owner && block->owner != asker) {
            pace = holders->pace(block);
            found.is_slow = pace_is_slow(pace);
            if (found.is_slow || !found.block)
                found.block = block;
            if (!found.is_slow && pace.age_ms >= ROOM_MEASURE_MS)
                holders->mark(block);
        }
        if (block == last)
            break;
    }
    return found;
}

/* Lets one holder of a block of that size class, or of a larger one, make way. False = nobody does.
 */
static bool make_way(struct buffer_pool *pool, unsigned least, const void *asker,
                     const struct room_holders *holders)
{
    for (unsigned size = BUFFER_SIZES; size-- > least;) {
        const struct candidate c = find_slowest(&pool->held[size], asker, holders);

        if (!c.block)
            continue;
        if (holders->trim(c.block))
            return true;
        if (size > least || c.is_slow) {
            holders->end(c.block);
            return true;
        }
    }
    return false;
}

int room_make(struct buffer_pool *pool, struct buffer *b, size_t more, const void *asker,
              const struct room_holders *holders)
{
    int rc = buffer_reserve(b, pool, more);
    size_t wanted;

    if (rc != -ENOBUFS || more > pool->limit_bytes)
        return rc;
    wanted = buffer_least_block(MAX(buffer_len(b) + more, buffer_capacity(b) + 1));
    while (rc == -ENOBUFS && make_way(pool, buffer_size_class(wanted), asker, holders))
        rc = buffer_reserve(b, pool, more);
    return rc;
}
