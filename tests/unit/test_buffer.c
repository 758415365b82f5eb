/*
 * Buffers against a naive queue of bytes; the pool's limit and its kept blocks.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/buffer.h"
#include "base/util.h"

enum { MIB = 1 << 20 };

static void buffer_free__never_filled__nothing(void **state UNUSED)
{
    struct buffer_pool pool;
    struct buffer b = {0};

    buffer_pool_init(&pool, MIB);
    buffer_free(&b, &pool);
    buffer_consume(&b, &pool, 0);
    assert_int_equal(buffer_append(&b, &pool, NULL, 0), 0);
    assert_int_equal(buffer_len(&b), 0);
    assert_int_equal(buffer_room(&b), 0);
    assert_null(buffer_data(&b));
    buffer_pool_fini(&pool);
}

static void buffer_consume__the_last_byte__block_kept_and_reused(void **state UNUSED)
{
    struct buffer_pool pool;
    struct buffer b = {0};
    const void *block;

    buffer_pool_init(&pool, MIB);
    assert_int_equal(buffer_append(&b, &pool, "hello", 5), 0);
    assert_int_equal(pool.used_bytes, BUFFER_MIN_BYTES);
    block = b.block;
    buffer_consume(&b, &pool, 2);
    assert_memory_equal(buffer_data(&b), "llo", 3);
    buffer_consume(&b, &pool, 3);
    assert_null(b.block);
    assert_int_equal(pool.used_bytes, 0);
    assert_int_equal(pool.kept_bytes, BUFFER_MIN_BYTES);
    assert_int_equal(buffer_append(&b, &pool, "x", 1), 0);
    assert_ptr_equal(b.block, block);
    assert_int_equal(pool.kept_bytes, 0);
    buffer_free(&b, &pool);
    buffer_pool_fini(&pool);
}

static void buffer_free__many_of_a_size__few_kept(void **state UNUSED)
{
    struct buffer_pool pool;
    struct buffer b[BUFFER_KEEP + 5] = {0};

    buffer_pool_init(&pool, MIB);
    for (size_t i = 0; i < BUFFER_KEEP + 5; i++)
        assert_int_equal(buffer_reserve(&b[i], &pool, 3000), 0);
    for (size_t i = 0; i < BUFFER_KEEP + 5; i++)
        buffer_free(&b[i], &pool);
    assert_int_equal(pool.used_bytes, 0);
    assert_int_equal(pool.kept_bytes, BUFFER_KEEP * 4096);
    buffer_pool_fini(&pool);
    assert_int_equal(pool.kept_bytes, 0);
}

static void buffer_reserve__limit__refused_and_unchanged(void **state UNUSED)
{
    struct buffer_pool pool;
    struct buffer a = {0}, b = {0};

    buffer_pool_init(&pool, 8192);
    assert_int_equal(buffer_append(&a, &pool, "abc", 3), 0);
    assert_int_equal(buffer_reserve(&b, &pool, 4000), 0);
    assert_int_equal(buffer_reserve(&a, &pool, 4096), -ENOBUFS);
    assert_int_equal(buffer_reserve(&a, &pool, SIZE_MAX), -ENOBUFS);
    assert_int_equal(buffer_reserve(&a, &pool, SIZE_MAX - 3), -ENOBUFS);
    assert_int_equal(buffer_len(&a), 3);
    assert_memory_equal(buffer_data(&a), "abc", 3);
    assert_int_equal(pool.used_bytes, 1024 + 4096);
    buffer_free(&b, &pool);
    /* What is kept makes way for what is needed. */
    assert_int_equal(pool.kept_bytes, 4096);
    assert_int_equal(buffer_reserve(&b, &pool, 1900), 0);
    assert_int_equal(buffer_reserve(&a, &pool, 1900), 0);
    assert_true(pool.used_bytes + pool.kept_bytes <= 8192);
    buffer_free(&a, &pool);
    buffer_free(&b, &pool);
    buffer_pool_fini(&pool);
}

static void buffer_reserve__large_one_near_the_limit__all_that_is_left(void **state UNUSED)
{
    struct buffer_pool pool;
    struct buffer b = {0};

    buffer_pool_init(&pool, 6 * MIB);
    for (size_t i = 0; i < 5 * MIB; i += 64)
        assert_int_equal(
            buffer_append(&b, &pool,
                          "0123456789012345678901234567890123456789012345678901234567890123", 64),
            0);
    assert_int_equal(buffer_len(&b), 5 * MIB);
    assert_true(pool.used_bytes <= pool.limit_bytes);
    for (size_t i = 0; i < 5 * MIB; i++)
        assert_int_equal(buffer_data(&b)[i], '0' + (i % 64) % 10);
    assert_int_equal(buffer_reserve(&b, &pool, MIB), -ENOBUFS);
    buffer_free(&b, &pool);
    buffer_pool_fini(&pool);
}

static void
buffer_import__beyond_the_limit__held_and_little_more_until_below_it(void **state UNUSED)
{
    struct buffer_pool pool;
    struct buffer b[4] = {0}, c = {0};
    uint8_t *data = calloc(1, 3 * MIB);

    assert_non_null(data);
    buffer_pool_init(&pool, 7 * MIB);
    for (size_t i = 0; i < 4; i++) {
        data[0] = (uint8_t)i;
        assert_int_equal(buffer_import(&b[i], &pool, data, 3 * MIB), 0);
        assert_int_equal(buffer_len(&b[i]), 3 * MIB);
    }
    assert_in_range(pool.used_bytes, 12 * MIB, 12 * MIB + 4096); /* no more than they are */
    assert_int_equal(buffer_append(&b[0], &pool, data, MIB / 2), 0);
    assert_int_equal(buffer_reserve(&c, &pool, 3 * MIB / 2), -ENOBUFS);
    assert_int_equal(buffer_import(&c, &pool, "abc", 3), 0);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(buffer_data(&b[i])[0], i);
        buffer_free(&b[i], &pool);
    }
    assert_int_equal(pool.raised_bytes, 0);
    assert_int_equal(buffer_append(&b[3], &pool, data, 2 * MIB), 0);
    assert_int_equal(buffer_append(&b[3], &pool, data, 3 * MIB), -ENOBUFS);
    buffer_free(&b[3], &pool);
    buffer_free(&c, &pool);
    buffer_pool_fini(&pool);
    free(data);
}

static void buffer_reserve__no_growth_left__moves_to_the_front(void **state UNUSED)
{
    struct buffer_pool pool;
    struct buffer b = {0};
    char text[900];

    memset(text, 'a', sizeof(text));
    memset(text + 100, 'b', 800);
    buffer_pool_init(&pool, BUFFER_MIN_BYTES);
    assert_int_equal(buffer_append(&b, &pool, text, sizeof(text)), 0);
    buffer_consume(&b, &pool, 100);
    assert_int_equal(buffer_reserve(&b, &pool, 150), 0);
    assert_true(buffer_room(&b) >= 150);
    assert_int_equal(buffer_len(&b), 800);
    assert_memory_equal(buffer_data(&b), text + 100, 800);
    assert_int_equal(buffer_reserve(&b, &pool, 300), -ENOBUFS);
    buffer_free(&b, &pool);
    buffer_pool_fini(&pool);
}

static void buffer_append__appended_and_consumed__moves_each_byte_few_times(void **state UNUSED)
{
    struct buffer_pool pool;
    struct buffer b = {0};
    char chunk[100];
    size_t capacity;

    memset(chunk, 'x', sizeof(chunk));
    buffer_pool_init(&pool, MIB);
    for (int i = 0; i < 9; i++)
        assert_int_equal(buffer_append(&b, &pool, chunk, sizeof(chunk)), 0);
    for (int i = 0; i < 10000; i++) {
        assert_int_equal(buffer_append(&b, &pool, chunk, sizeof(chunk)), 0);
        buffer_consume(&b, &pool, sizeof(chunk));
        assert_int_equal(buffer_len(&b), 900);
    }
    capacity = buffer_capacity(&b);
    assert_true(capacity <= 4 * 1000);
    buffer_free(&b, &pool);
    buffer_pool_fini(&pool);
}

/* Whatever is done to it, a buffer is a queue of bytes, and the pool's sums are right. */
static void buffer__random_steps__as_the_naive_queue(void **state UNUSED)
{
    static uint8_t naive[4 * MIB];
    static uint8_t chunk[70000];
    struct buffer_pool pool;
    struct buffer b = {0};
    size_t head = 0, tail = 0;

    srand(2);
    buffer_pool_init(&pool, 2 * MIB);
    for (size_t i = 0; i < sizeof(chunk); i++)
        chunk[i] = (uint8_t)rand();
    for (int step = 0; step < 5000; step++) {
        const size_t n = (size_t)rand() % (rand() % 3 ? 500 : sizeof(chunk));
        const int rc = rand() % 2 ? buffer_append(&b, &pool, chunk, n) : 1;

        if (rc == 0) {
            if (tail + n > sizeof(naive)) {
                memmove(naive, naive + head, tail - head);
                tail -= head;
                head = 0;
            }
            memcpy(naive + tail, chunk, n);
            tail += n;
        } else if (rc == 1) {
            const size_t m = n > tail - head ? tail - head : n;

            buffer_consume(&b, &pool, m);
            head += m;
        } else {
            assert_int_equal(rc, -ENOBUFS);
        }
        assert_int_equal(buffer_len(&b), tail - head);
        if (tail > head)
            assert_memory_equal(buffer_data(&b), naive + head, tail - head);
        assert_int_equal(b.block == NULL, tail == head);
        assert_int_equal(pool.used_bytes, b.block ? sizeof(*b.block) + b.block->capacity : 0);
        assert_true(pool.used_bytes + pool.kept_bytes <= pool.limit_bytes);
    }
    buffer_free(&b, &pool);
    buffer_pool_fini(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffer_free__never_filled__nothing),
        cmocka_unit_test(buffer_consume__the_last_byte__block_kept_and_reused),
        cmocka_unit_test(buffer_free__many_of_a_size__few_kept),
        cmocka_unit_test(buffer_reserve__limit__refused_and_unchanged),
        cmocka_unit_test(buffer_reserve__large_one_near_the_limit__all_that_is_left),
        cmocka_unit_test(buffer_import__beyond_the_limit__held_and_little_more_until_below_it),
        cmocka_unit_test(buffer_reserve__no_growth_left__moves_to_the_front),
        cmocka_unit_test(buffer_append__appended_and_consumed__moves_each_byte_few_times),
        cmocka_unit_test(buffer__random_steps__as_the_naive_queue),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
