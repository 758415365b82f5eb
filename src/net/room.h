/*
 * Who has to go when the memory of a worker's connections is spent. Pure: bytes, blocks and ages
 * in, one holder after the other out; knows no socket, no loop and no clock.
 *
 * 1. A quarter of max_buffered is kept for small blocks, so that large ones leave room for whoever
 *    wants little.
 * 2. If there is still no room for a block, those make way that hold a larger one: the largest
 *    first, and of these the slowest. What they hold and do not use is taken before they are ended.
 * 3. Of those with a block of the same size only the slow ones make way. If none of them is slow,
 *    who asks is the one that finds no room.
 *
 * So connections that hold less than a block of B bytes each cannot keep out one that wants B, and
 * those that hold as much have to be as many as fill all there is, and all of them in motion.
 */
#ifndef NET_ROOM_H
#define NET_ROOM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "base/buffer.h"

enum {
    ROOM_RESERVE_SHARE = 4, /* of max_buffered is for small blocks: one part in so many */
    ROOM_SMALL_SHARE = 1024, /* a small block is at most one part in so many, and ... */
    ROOM_SMALL_MAX_BYTES = 65536,
    ROOM_SLOW_BYTES_S = 65536, /* who moves less is slow, if somebody needs the room */
    ROOM_MEASURE_MS = 1000, /* the least time after which somebody may be called slow */
    ROOM_LEAST_BYTES_S = 1024, /* who moves less is ended, whether room is needed or not */
    ROOM_LOOKS = 16, /* holders of one size that are looked at, at most, to find a slow one */
};

/* How far a holder has come since it was last marked. */
struct room_pace {
    uint64_t moved_bytes;
    uint64_t age_ms;
};

/* What a holder is asked and told; @block says which of its blocks is meant. */
struct room_holders {
    struct room_pace (*pace)(const struct buffer_block *block);
    void (*mark)(struct buffer_block *block); /* its pace counts from now on */
    bool (*trim)(struct buffer_block *block); /* buffer_trim; the block may be another one then */
    void (*end)(struct buffer_block *block); /* its owner gives all blocks back at once */
};

/* room_init - a pool of @max_buffered bytes with a reserve for small blocks */
void room_init(struct buffer_pool *pool, size_t max_buffered);

/* room_least_bytes - what a holder of a block has to move, at least, in @timeout_ms */
uint64_t room_least_bytes(const struct buffer_pool *pool, const struct buffer_block *block,
                          uint64_t timeout_ms);

/*
 * room_make - as buffer_reserve, but others make way if they have to
 * @asker  the owner of @b, which is spared
 * The cost is bounded by ROOM_LOOKS a size and by what is ended.
 */
int room_make(struct buffer_pool *pool, struct buffer *b, size_t more, const void *asker,
              const struct room_holders *holders);

#endif
