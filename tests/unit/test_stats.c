/*
 * Counters from memory that anybody can write over: exact while nobody does, never decreasing and
 * never exploding whatever anybody does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "arbiter/stats.h"
#include "base/util.h"
#include "conformance/must.h"

static const uint64_t second = 1000000000;

static void tally__counts_up__exact(void **state UNUSED)
{
    struct score_record shared = {.counters = {0}};
    struct tally t;
    uint64_t seed = 3, now = 77 * second, requests = 0;

    tally_init(&t, now);
    for (int i = 0; i < 1000; i++) {
        uint64_t n = rng_below(&seed, 1000000);

        requests += n;
        counter_add(&shared.counters.requests, n);
        counter_add(&shared.counters.accepted, 1);
        now += rng_below(&seed, 3 * second);
        tally_take(&t, &shared, now);
        tally_take(&t, &shared, now); /* once more adds nothing */
        assert_int_equal(counter_get(&t.sum.requests), requests);
        assert_int_equal(counter_get(&t.sum.accepted), i + 1);
        assert_int_equal(counter_get(&t.sum.bytes_in), 0);
    }
}

static void tally__each_counter__has_its_own_sum(void **state UNUSED)
{
    struct score_record shared = {.counters = {0}};
    struct tally t;
    uint64_t n = 1;

    tally_init(&t, 0);
#define X(field, help) counter_set(&shared.counters.field, n++);
    COUNTERS(X)
#undef X
    tally_take(&t, &shared, 1);
    n = 1;
#define X(field, help) assert_int_equal(counter_get(&t.sum.field), n++);
    COUNTERS(X)
#undef X
    struct counters sum = {0};
    counters_sum(&sum, &t.sum);
    counters_sum(&sum, &t.sum);
    n = 1;
#define X(field, help) assert_int_equal(counter_get(&sum.field), 2 * n++);
    COUNTERS(X)
#undef X
}

/* As fast as any machine, for as long as any machine. */
static void tally__a_terabyte_a_second_for_weeks__believed(void **state UNUSED)
{
    struct score_record shared = {.counters = {0}};
    struct tally t;
    const uint64_t seconds = 40 * 86400;

    tally_init(&t, 5);
    counter_set(&shared.counters.bytes_in, TALLY_MAX_A_SECOND);
    tally_take(&t, &shared, 6);
    assert_int_equal(counter_get(&t.sum.bytes_in), TALLY_MAX_A_SECOND);
    counter_add(&shared.counters.bytes_in, seconds * TALLY_MAX_A_SECOND);
    tally_take(&t, &shared, 6 + seconds * second);
    assert_int_equal(counter_get(&t.sum.bytes_in), (seconds + 1) * TALLY_MAX_A_SECOND);
}

static void tally__written_over__what_was_counted_stays_and_what_follows_counts(void **state UNUSED)
{
    static const uint64_t patterns[] = {0,
                                        UINT64_C(0x0101010101010101),
                                        UINT64_C(0xa5a5a5a5a5a5a5a5),
                                        UINT64_MAX,
                                        UINT64_MAX - 3,
                                        UINT64_C(1) << 63,
                                        UINT64_C(999)};

    for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
        struct score_record shared = {.counters = {0}};
        struct tally t;
        uint64_t now = second;

        tally_init(&t, now);
        counter_set(&shared.counters.requests, 1000);
        tally_take(&t, &shared, now += second);
        counter_set(&shared.counters.requests, patterns[i]);
        tally_take(&t, &shared, now += second);
        assert_int_equal(counter_get(&t.sum.requests), 1000);
        /* The worker goes on counting from what it finds there, also over the edge. */
        counter_add(&shared.counters.requests, 5);
        tally_take(&t, &shared, now += second);
        assert_int_equal(counter_get(&t.sum.requests), 1005);
        counter_add(&shared.counters.requests, 7);
        tally_take(&t, &shared, now += second);
        assert_int_equal(counter_get(&t.sum.requests), 1012);
    }
}

static void tally__random_garbage__never_down_never_more_than_possible(void **state UNUSED)
{
    uint64_t seed = 17, now = 0, before = 0;
    struct score_record shared = {.counters = {0}};
    struct tally t;

    tally_init(&t, now);
    for (int i = 0; i < 100000; i++) {
        counter_set(&shared.counters.requests, random_next(&seed) >> rng_below(&seed, 64));
        now += second;
        tally_take(&t, &shared, now);
        uint64_t sum = counter_get(&t.sum.requests);
        assert_true(sum >= before && sum - before <= 2 * TALLY_MAX_A_SECOND);
        before = sum;
    }
}

/* Own counters are in the same memory: believed and doubted in the same way, each for itself. */
static void tally__own_counters__as_the_others(void **state UNUSED)
{
    struct score_record shared = {.counters = {0}};
    struct tally t;
    uint64_t now = second;

    tally_init(&t, now);
    for (size_t i = 0; i < ARRAY_SIZE(shared.own.n); i++)
        counter_set(&shared.own.n[i], i + 1);
    tally_take(&t, &shared, now += second);
    counter_set(&shared.own.n[3], UINT64_MAX); /* written over */
    counter_set(&shared.own.n[4], 0);
    counter_add(&shared.own.n[5], 10);
    tally_take(&t, &shared, now += second);
    for (size_t i = 0; i < ARRAY_SIZE(shared.own.n); i++)
        assert_int_equal(counter_get(&t.own_sum.n[i]), i + 1 + (i == 5 ? 10 : 0));
    assert_int_equal(counter_get(&t.sum.requests), 0);
}

static void tally__times__as_the_others(void **state UNUSED)
{
    struct score_record shared = {.counters = {0}};
    struct score_times all = {.reply = {.sum_us = 0}};
    struct tally t;
    uint64_t now = second;

    tally_init(&t, now);
    timing_add(&shared.times.reply, 3000000, 4);
    timing_add(&shared.times.lag, 2 * second, 1);
    tally_take(&t, &shared, now += second);
    timing_reset(&shared.times.reply); /* written over */
    counter_set(&shared.times.lag.counts[3], UINT64_MAX);
    tally_take(&t, &shared, now += second);
    times_merge(&all, &t.times_sum);
    times_merge(&all, &t.times_sum);
    assert_int_equal(timing_count(&all.reply), 8);
    assert_int_equal(counter_get(&all.reply.sum_us), 8 * 3000);
    assert_int_equal(timing_count(&all.lag), 2);
    assert_int_equal(counter_get(&all.lag.max_ns), 2 * second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tally__counts_up__exact),
        cmocka_unit_test(tally__each_counter__has_its_own_sum),
        cmocka_unit_test(tally__a_terabyte_a_second_for_weeks__believed),
        cmocka_unit_test(tally__written_over__what_was_counted_stays_and_what_follows_counts),
        cmocka_unit_test(tally__own_counters__as_the_others),
        cmocka_unit_test(tally__times__as_the_others),
        cmocka_unit_test(tally__random_garbage__never_down_never_more_than_possible),
    };

    return cmocka_run_group_tests_name("tally", tests, NULL, NULL);
}
