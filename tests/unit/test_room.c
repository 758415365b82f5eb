/*
 * Who makes way when memory is spent: the rules one by one, and a simulation of crowds that hold
 * what they can for as long as they can.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/util.h"
#include "net/room.h"

enum { KIB = 1024, MIB = 1 << 20, HEADER = offsetof(struct buffer_block, bytes) };

/* A client that holds one block. */
struct holder {
    struct buffer buffer;
    uint64_t moved_bytes; /* in all; a mark says how many at mark_tick, in ms */
    uint64_t bytes_s; /* its speed in the simulation */
    unsigned n_ended;
};

static struct buffer_pool pool;
static uint64_t now_ms;

static struct room_pace pace_of(const struct buffer_block *block)
{
    const struct holder *h = block->owner;

    return (struct room_pace){h->moved_bytes - block->mark, now_ms - block->mark_tick};
}

static void mark(struct buffer_block *block)
{
    const struct holder *h = block->owner;

    block->mark = h->moved_bytes;
    block->mark_tick = now_ms;
}

static bool trim(struct buffer_block *block)
{
    struct holder *h = block->owner;

    return buffer_trim(&h->buffer, &pool);
}

static void end(struct buffer_block *block)
{
    struct holder *h = block->owner;

    h->n_ended++;
    buffer_free(&h->buffer, &pool);
}

static const struct room_holders holders = {pace_of, mark, trim, end};

/* All of @len bytes, so that nothing is there to be trimmed. */
static int hold(struct holder *h, size_t len)
{
    const size_t had = buffer_len(&h->buffer);
    const int rc = room_make(&pool, &h->buffer, len - had, h, &holders);

    if (rc < 0)
        return rc;
    buffer_commit(&h->buffer, len - had);
    h->buffer.block->owner = h;
    mark(h->buffer.block);
    return 0;
}

static size_t fit(size_t block)
{
    return block - HEADER;
}

static void begin(size_t max_buffered)
{
    room_init(&pool, max_buffered);
    now_ms = 1000;
}

static void release(struct holder *h, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buffer_free(&h[i].buffer, &pool);
}

static void finish(struct holder *h, size_t n)
{
    release(h, n);
    assert_int_equal(pool.used_bytes, 0);
    assert_int_equal(pool.large_bytes, 0);
    buffer_pool_fini(&pool);
}

static unsigned n_ended(const struct holder *h, size_t n)
{
    unsigned sum = 0;

    for (size_t i = 0; i < n; i++)
        sum += h[i].n_ended;
    return sum;
}

static void
room__large_blocks_take_all_they_may__small_ones_fit_and_nobody_is_ended(void **state UNUSED)
{
    struct holder hogs[100] = {0}, small[200] = {0};
    size_t n = 0;

    begin(64 * MIB);
    while (n < ARRAY_SIZE(hogs) && buffer_append(&hogs[n].buffer, &pool, "x", 1) == 0 &&
           buffer_reserve(&hogs[n].buffer, &pool, fit(MIB) - 1) == 0)
        n++;
    buffer_free(&hogs[n].buffer, &pool);
    assert_int_equal(n, 48);
    for (size_t i = 0; i < ARRAY_SIZE(small); i++)
        assert_int_equal(hold(&small[i], fit(64 * KIB)), 0);
    assert_int_equal(n_ended(hogs, n), 0);
    release(small, ARRAY_SIZE(small));
    finish(hogs, n);
}

static void room__nothing_left__the_largest_makes_way(void **state UNUSED)
{
    struct holder h[5] = {0};

    begin(16 * MIB);
    assert_int_equal(hold(&h[0], fit(4 * MIB)), 0);
    assert_int_equal(hold(&h[1], fit(2 * MIB)), 0);
    assert_int_equal(hold(&h[2], fit(5 * MIB)), 0);
    assert_int_equal(hold(&h[3], fit(MIB)), 0);
    assert_int_equal(hold(&h[4], fit(2 * MIB)), 0);
    assert_int_equal(n_ended(h, 5), 1);
    assert_int_equal(h[0].n_ended + h[2].n_ended, 1);
    finish(h, 5);
}

static void room__two_of_the_largest__the_slow_one_makes_way(void **state UNUSED)
{
    struct holder h[4] = {0};

    begin(16 * MIB);
    assert_int_equal(hold(&h[0], fit(4 * MIB)), 0);
    assert_int_equal(hold(&h[1], fit(4 * MIB)), 0);
    assert_int_equal(hold(&h[2], fit(4 * MIB)), 0);
    now_ms += 2000;
    h[0].moved_bytes += 2 * ROOM_SLOW_BYTES_S;
    h[1].moved_bytes += 2 * ROOM_SLOW_BYTES_S - 1;
    h[2].moved_bytes += 2 * ROOM_SLOW_BYTES_S;
    assert_int_equal(hold(&h[3], fit(MIB)), 0);
    assert_int_equal(h[1].n_ended, 1);
    assert_int_equal(n_ended(h, 4), 1);
    finish(h, 4);
}

static void room__who_asks_is_the_largest__finds_none(void **state UNUSED)
{
    struct holder h[17] = {0};

    begin(16 * MIB);
    for (int i = 0; i < 12; i++)
        assert_int_equal(hold(&h[i], fit(MIB)), 0);
    now_ms += 10000; /* however slow they are */
    assert_int_equal(hold(&h[12], fit(2 * MIB)), -ENOBUFS);
    assert_int_equal(n_ended(h, 12), 0);
    finish(h, 12);
}

static void room__all_hold_as_much__only_a_slow_one_makes_way(void **state UNUSED)
{
    struct holder h[13] = {0};

    begin(16 * MIB);
    for (int i = 0; i < 12; i++)
        assert_int_equal(hold(&h[i], fit(MIB)), 0);
    now_ms += ROOM_MEASURE_MS - 1;
    assert_int_equal(hold(&h[12], fit(MIB)), -ENOBUFS); /* nobody has had its second */
    now_ms += 1;
    for (int i = 0; i < 12; i++)
        h[i].moved_bytes += i == 7 ? 10 : ROOM_SLOW_BYTES_S;
    assert_int_equal(hold(&h[12], fit(MIB)), 0);
    assert_int_equal(h[7].n_ended, 1);
    assert_int_equal(n_ended(h, 13), 1);
    finish(h, 13);
}

static void room__largest_is_mostly_empty__trimmed_and_not_ended(void **state UNUSED)
{
    struct holder h[2] = {0};

    begin(16 * MIB);
    assert_int_equal(hold(&h[0], 10), 0);
    assert_int_equal(buffer_reserve(&h[0].buffer, &pool, 11 * MIB), 0);
    h[0].buffer.block->owner = &h[0];
    assert_int_equal(hold(&h[1], fit(4 * MIB)), 0);
    assert_int_equal(n_ended(h, 2), 0);
    assert_int_equal(buffer_block_bytes(h[0].buffer.block), BUFFER_MIN_BYTES);
    finish(h, 2);
}

static void room__hidden_block__not_found(void **state UNUSED)
{
    struct holder h[2] = {0};

    begin(16 * MIB);
    assert_int_equal(hold(&h[0], fit(8 * MIB)), 0);
    buffer_hide(&h[0].buffer);
    assert_int_equal(hold(&h[1], fit(6 * MIB)), -ENOBUFS);
    buffer_show(&h[0].buffer, &pool);
    assert_int_equal(hold(&h[1], fit(6 * MIB)), 0);
    assert_int_equal(h[0].n_ended, 1);
    finish(h, 2);
}

static void room__who_asks_holds_the_largest__spared_and_finds_none(void **state UNUSED)
{
    struct holder h[2] = {0};
    struct buffer other = {0};

    begin(16 * MIB);
    assert_int_equal(hold(&h[0], fit(8 * MIB)), 0);
    assert_int_equal(hold(&h[1], fit(MIB)), 0);
    now_ms += 5000;
    assert_int_equal(room_make(&pool, &other, 3 * MIB, &h[0], &holders), -ENOBUFS);
    assert_int_equal(n_ended(h, 2), 0);
    finish(h, 2);
}

static void room_least_bytes__by_what_is_held(void **state UNUSED)
{
    struct holder h[2] = {0};

    begin(256 * MIB);
    assert_int_equal(hold(&h[0], fit(64 * KIB)), 0);
    assert_int_equal(hold(&h[1], fit(MIB)), 0);
    assert_int_equal(room_least_bytes(&pool, h[0].buffer.block, 30000), 1);
    assert_int_equal(room_least_bytes(&pool, h[1].buffer.block, 30000), 30 * KIB);
    assert_int_equal(room_least_bytes(&pool, h[1].buffer.block, 86400000), fit(MIB) / 4);
    assert_int_equal(room_least_bytes(&pool, h[1].buffer.block, 0), 1);
    finish(h, 2);
}

/* --- simulation ------------------------------------------------------------------------------- */

enum { HOSTILE_MAX = 3000, STEP_MS = 50, STEPS = 400 };

static uint64_t seed;

static uint64_t chance(uint64_t n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (seed >> 33) % n;
}

static void check_limits(void)
{
    assert_true(pool.used_bytes <= pool.limit_bytes);
    assert_true(pool.large_bytes <= pool.limit_bytes - pool.reserve_bytes);
}

/* A crowd that grabs at once and then moves as slowly, or as fast, as it likes. */
static void crowd_step(struct holder *crowd, size_t n, size_t least, size_t most)
{
    for (size_t i = 0; i < n; i++) {
        struct holder *h = &crowd[i];

        h->moved_bytes += h->bytes_s * STEP_MS / 1000;
        if (h->buffer.block || chance(4) == 0)
            continue;
        if (hold(h, fit(least) + chance(most - least)) == 0)
            h->bytes_s = chance(2) ? chance(100) : chance(4 * ROOM_SLOW_BYTES_S);
    }
}

/*
 * The fewest others that can leave no room for a block: each holds one as large, as the larger
 * ones make way. Blocks of up to 2 MiB are powers of two.
 */
static size_t fewest(size_t block)
{
    const size_t all =
        block <= pool.small_bytes ? pool.limit_bytes : pool.limit_bytes - pool.reserve_bytes;

    return (all - block) / block;
}

struct attack {
    size_t max_buffered;
    size_t n_hostile;
    size_t least, most; /* block of each */
    size_t honest; /* block of an honest client */
};

/* Honest clients come one after the other, and each is done after a few steps. */
static void survive(const struct attack *a)
{
    struct holder *crowd = calloc(a->n_hostile, sizeof(*crowd));
    struct holder honest[4] = {0};

    begin(a->max_buffered);
    for (unsigned step = 0; step < STEPS; step++) {
        struct holder *h = &honest[step % ARRAY_SIZE(honest)];

        now_ms += STEP_MS;
        crowd_step(crowd, a->n_hostile, a->least, a->most);
        check_limits();
        buffer_free(&h->buffer, &pool);
        assert_int_equal(hold(h, fit(a->honest)), 0);
        check_limits();
    }
    assert_int_equal(n_ended(honest, ARRAY_SIZE(honest)), 0);
    release(honest, ARRAY_SIZE(honest));
    finish(crowd, a->n_hostile);
    free(crowd);
}

static struct attack any_attack(unsigned run)
{
    struct attack a = {.least = BUFFER_MIN_BYTES};

    seed = run + 1;
    a.max_buffered = (size_t)MIB << (2 + chance(7));
    a.most = a.max_buffered / 4;
    room_init(&pool, a.max_buffered);
    if (chance(2))
        a.honest = MAX(pool.small_bytes >> chance(4), (size_t)BUFFER_MIN_BYTES);
    else
        a.honest = MIN(a.max_buffered >> (3 + chance(5)), (size_t)2 * MIB);
    return a;
}

static void room__fewer_than_the_stated_number__honest_clients_always_served(void **state UNUSED)
{
    for (unsigned run = 0; run < 100; run++) {
        struct attack a = any_attack(run);
        const size_t n = fewest(a.honest);

        a.n_hostile = n > 4 ? MIN(n - 4, (size_t)HOSTILE_MAX) : 1; /* the others are honest ones */
        if (n > 4)
            survive(&a);
    }
}

static void room__however_many_that_hold_more__honest_clients_always_served(void **state UNUSED)
{
    for (unsigned run = 0; run < 60; run++) {
        struct attack a = any_attack(run);

        a.n_hostile = HOSTILE_MAX;
        a.least = 2 * a.honest;
        a.most = MAX(a.most, a.least + 1);
        survive(&a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(room__large_blocks_take_all_they_may__small_ones_fit_and_nobody_is_ended),
        cmocka_unit_test(room__nothing_left__the_largest_makes_way),
        cmocka_unit_test(room__two_of_the_largest__the_slow_one_makes_way),
        cmocka_unit_test(room__who_asks_is_the_largest__finds_none),
        cmocka_unit_test(room__all_hold_as_much__only_a_slow_one_makes_way),
        cmocka_unit_test(room__largest_is_mostly_empty__trimmed_and_not_ended),
        cmocka_unit_test(room__hidden_block__not_found),
        cmocka_unit_test(room__who_asks_holds_the_largest__spared_and_finds_none),
        cmocka_unit_test(room_least_bytes__by_what_is_held),
        cmocka_unit_test(room__fewer_than_the_stated_number__honest_clients_always_served),
        cmocka_unit_test(room__however_many_that_hold_more__honest_clients_always_served),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
