/*
 * The blocks that a connection holds: who makes way for them, and whether the peer takes what is in
 * them. Runs in a worker.
 *
 * A block's mark says how far its connection was at a certain time. For the beginning of a message
 * that is the number of bytes that had come, at the block's own mark_tick. For output it is the
 * number of bytes that the kernel held and the peer had not taken, at conn->progress; what the
 * kernel takes later is added. So what the peer has taken since then is the mark less what the
 * kernel holds now.
 */
#include "net/conn_impl.h"

#include <errno.h>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "net/room.h"

enum { UNREAD_UNIT = 256 }; /* bytes; the kernel counts 768 for the least that it holds */

/*
 * What the peer has not taken of what the kernel holds: over TCP what is not acknowledged, over a
 * unix socket what is not read. The latter is counted in the kernel's own blocks, of up to 37 KiB,
 * and a block is done with when its last byte is read.
 */
static uint64_t kernel_holds(const struct arb_conn *c)
{
    int n;

    return ioctl(c->io.fd, SIOCOUTQ, &n) == 0 && n > 0 ? (uint64_t)n : 0;
}

void conn_await_progress(struct arb_conn *c)
{
    c->progress = conn_now(conn_set_of(c));
    c->output.block->mark = kernel_holds(c);
}

/* Since conn->progress. */
static uint64_t taken_by_peer(const struct arb_conn *c)
{
    const uint64_t mark = c->output.block->mark, held = kernel_holds(c);

    return mark > held ? mark - held : 0;
}

void conn_see_progress(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);

    if (taken_by_peer(c) >=
        room_least_bytes(&set->pool, c->output.block, set->limits.write_timeout_ms))
        conn_await_progress(c);
}

void conn_see_unread(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);
    const bool is_quiet = set->marks[c->io.fd] == CONN_MARK_QUIET;
    const uint16_t unread = (uint16_t)MIN(kernel_holds(c) / UNREAD_UNIT, (uint64_t)UINT16_MAX);

    /* What is unread and as much as before, with no message in between, is the same bytes. */
    if (is_quiet && unread > 0 && unread == c->unread)
        return;
    c->progress = conn_now(set);
    c->unread = unread;
    if (c->idle_mark == CONN_MARK_IDLE)
        conn_mark(c, CONN_MARK_QUIET);
}

/* A block that is mostly empty is given back in time when memory may become short. */
static void shrink_output(struct arb_conn *c)
{
    struct buffer_pool *pool = &conn_set_of(c)->pool;

    if (pool->used_bytes > pool->limit_bytes / 2 &&
        buffer_len(&c->output) < buffer_capacity(&c->output) / 4)
        buffer_trim(&c->output, pool);
}

void conn_count_sent(struct arb_conn *c, size_t n)
{
    c->output.block->mark += n;
    buffer_consume(&c->output, &conn_set_of(c)->pool, n);
    if (!c->output.block)
        return;
    conn_see_progress(c);
    shrink_output(c);
}

static void mark_tail(struct arb_conn *c)
{
    c->tail.block->mark = c->tail.block->len;
    c->tail.block->mark_tick = conn_now(conn_set_of(c));
}

/* --- what room.h asks and tells --------------------------------------------------------------- */

static struct room_pace pace_of(const struct buffer_block *block)
{
    struct arb_conn *c = block->owner;
    struct conn_set *set = conn_set_of(c);
    const uint64_t len = block->len;

    if (block == c->output.block)
        return (struct room_pace){taken_by_peer(c), conn_age_ms(set, c->progress)};
    /* Less than there was: a message was complete, and what is there is all of the next. */
    return (struct room_pace){len >= block->mark ? len - block->mark : len,
                              conn_age_ms(set, (uint32_t)block->mark_tick)};
}

static void mark_block(struct buffer_block *block)
{
    struct arb_conn *c = block->owner;

    if (block == c->output.block)
        conn_await_progress(c);
    else
        mark_tail(c);
}

static bool trim_block(struct buffer_block *block)
{
    struct arb_conn *c = block->owner;

    return buffer_trim(block == c->output.block ? &c->output : &c->tail, &conn_set_of(c)->pool);
}

static size_t held_bytes(const struct arb_conn *c)
{
    return (c->tail.block ? buffer_block_bytes(c->tail.block) : 0) +
           (c->output.block ? buffer_block_bytes(c->output.block) : 0);
}

static void say_spent(const struct arb_conn *c, const char *reason)
{
    struct conn_set *set = conn_set_of(c);

    if (set->on_spent)
        set->on_spent(set, reason, c, held_bytes(c));
}

static void end_holder(struct buffer_block *block)
{
    struct arb_conn *c = block->owner;

    say_spent(c, "others need its room");
    conn_abort(c, CONN_END_EVICTED);
}

static const struct room_holders holders = {pace_of, mark_block, trim_block, end_holder};

int conn_append(struct arb_conn *c, struct buffer *b, const void *data, size_t len)
{
    struct conn_set *set = conn_set_of(c);
    const size_t capacity = buffer_capacity(b);
    int rc = room_make(&set->pool, b, len, c, &holders);

    if (rc == -ENOBUFS)
        say_spent(c, "it wants more and nobody has to make way");
    if (rc < 0)
        return rc;
    rc = buffer_append(b, &set->pool, data, len);
    if (!b->block || (b->block->owner == c && buffer_capacity(b) == capacity))
        return rc;
    b->block->owner = c;
    if (b == &c->tail)
        mark_tail(c);
    return rc;
}

void conn_own(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);

    buffer_show(&c->tail, &set->pool);
    buffer_show(&c->output, &set->pool);
    if (c->tail.block)
        c->tail.block->owner = c;
    if (c->tail.block && c->tail.block->mark_tick == 0)
        mark_tail(c);
    if (c->output.block)
        c->output.block->owner = c;
    if (c->output.block && c->output.block->mark == 0)
        c->output.block->mark = kernel_holds(c);
}

void conn_disown(struct arb_conn *c)
{
    buffer_hide(&c->tail);
    buffer_hide(&c->output);
}
