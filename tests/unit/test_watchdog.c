/*
 * The watchdog on a virtual clock: whoever is silent is aborted in time, and nobody is because the
 * judge, the machine or the clock stood still.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include "arbiter/watchdog.h"
#include "base/util.h"
#include "conformance/must.h"

static const uint64_t ms = 1000000;

/* An arbiter and one worker. Times in milliseconds; the clocks begin anywhere. */
struct rig {
    struct watchdog dog;
    struct watch watch;
    uint64_t timeout_ms;
    uint64_t mono, boot; /* now */
    uint64_t planned; /* of the arbiter's next look */
    uint64_t period; /* of the worker's beats; 0 = it hangs */
    uint64_t beat_due;
    uint64_t beat_ns; /* what it has published */
    uint64_t last_beat;
    enum watchdog_order outcome; /* of the last look */
    unsigned n[WATCHDOG_KILL + 1]; /* verdicts so far */
};

static void beat(struct rig *r)
{
    r->beat_ns = r->mono * ms;
    r->last_beat = r->mono;
    r->beat_due = r->mono + r->period;
}

static void look(struct rig *r)
{
    watchdog_look(&r->dog, r->mono * ms, r->boot * ms, r->timeout_ms / WATCHDOG_LOOKS_A_TIMEOUT);
    r->outcome = watchdog_check(&r->dog, &r->watch, r->beat_ns);
    r->n[r->outcome]++;
    r->planned = r->mono + (watchdog_plan(&r->dog) + ms - 1) / ms;
}

static void rig_init(struct rig *r, uint64_t timeout_ms)
{
    *r = (struct rig){.timeout_ms = timeout_ms, .mono = 5000, .boot = 905000};
    r->period = MIN(timeout_ms / 4, UINT64_C(1000));
    watch_init(&r->watch, timeout_ms, r->mono * ms);
    beat(r);
    look(r);
    assert_int_equal(r->outcome, WATCHDOG_FINE);
}

/* Time passes for everybody until @end or the first verdict of @until. */
static void run_until(struct rig *r, uint64_t end, enum watchdog_order until)
{
    const unsigned before = r->n[until];

    while (r->n[until] == before) {
        uint64_t next = r->period ? MIN(r->planned, r->beat_due) : r->planned;

        if (next > end)
            next = end;
        r->boot += next - r->mono;
        r->mono = next;
        if (r->period && r->mono >= r->beat_due)
            beat(r);
        if (r->mono >= r->planned)
            look(r);
        if (next == end)
            return;
    }
}

static void run(struct rig *r, uint64_t duration)
{
    run_until(r, r->mono + duration, WATCHDOG_KILL);
}

/* Nobody runs; the monotonic clock does, unless the machine is suspended. */
static void stand_still(struct rig *r, uint64_t duration, bool is_suspend)
{
    r->boot += duration;
    r->mono += is_suspend ? 0 : duration;
}

static void must_be_spared(const struct rig *r)
{
    assert_int_equal(r->n[WATCHDOG_ABORT], 0);
    assert_int_equal(r->n[WATCHDOG_KILL], 0);
}

static const uint64_t timeouts[] = {500, 1000, 1001, 2500, 4000, 30000, 600000, 86400000};

static void watchdog__healthy__never_suspected(void **state UNUSED)
{
    struct rig r;

    for (size_t i = 0; i < ARRAY_SIZE(timeouts); i++) {
        rig_init(&r, timeouts[i]);
        run(&r, 100 * timeouts[i]);
        assert_int_equal(r.n[WATCHDOG_SUSPECT], 0);
        must_be_spared(&r);
    }
}

/* Looks cost: an idle arbiter has few, and they are at most one a second unless timeouts are short.
 */
static void watchdog__healthy__few_looks(void **state UNUSED)
{
    struct rig r;

    rig_init(&r, 30000);
    run(&r, 3600000);
    assert_in_range(r.n[WATCHDOG_FINE], 1, 3600 / 7 + 2);
    rig_init(&r, 1000);
    run(&r, 60000);
    assert_in_range(r.n[WATCHDOG_FINE], 1, 60 * 5);
}

/* Each upgrade has a watchdog of its own: the silence of whoever hangs goes on. */
static void watchdog__resumed_while_it_hangs__aborted_in_time(void **state UNUSED)
{
    struct rig r;

    rig_init(&r, 2500);
    r.period = 0;
    for (int i = 0; i < 6; i++) {
        run(&r, 400);
        must_be_spared(&r);
        r.dog = (struct watchdog){.now_ns = 0};
        watch_init(&r.watch, r.timeout_ms, r.mono * ms);
        watch_resume(&r.watch, r.beat_ns);
        look(&r);
    }
    run_until(&r, r.last_beat + 2500 + WATCHDOG_CONFIRM_MS + 1, WATCHDOG_ABORT);
    assert_int_equal(r.n[WATCHDOG_ABORT], 1);
}

/* A heartbeat of the future proves nothing. */
static void watchdog__resumed_with_an_impossible_heartbeat__watched_from_now_on(void **state UNUSED)
{
    struct watch w;

    watch_init(&w, 1000, 5000 * ms);
    watch_resume(&w, 5001 * ms);
    assert_int_equal(w.since_ns, 5000 * ms);
}

static void watchdog__hangs_at_any_time__aborted_in_time_then_killed(void **state UNUSED)
{
    uint64_t seed = 7;
    struct rig r;

    for (int round = 0; round < 2000; round++) {
        const uint64_t timeout = timeouts[rng_below(&seed, ARRAY_SIZE(timeouts))];
        uint64_t aborted, silence;

        rig_init(&r, timeout);
        run(&r, rng_below(&seed, 3 * timeout));
        r.period = 0;
        run_until(&r, r.last_beat + timeout - 1, WATCHDOG_ABORT);
        must_be_spared(&r);
        assert_int_equal(r.n[WATCHDOG_SUSPECT], 0);
        run_until(&r, UINT64_MAX, WATCHDOG_ABORT);
        aborted = r.mono;
        silence = watch_silence_ns(&r.dog, &r.watch) / ms;
        assert_in_range(aborted - r.last_beat, timeout, timeout + WATCHDOG_CONFIRM_MS + 3);
        assert_in_range(silence, aborted - r.last_beat - 1, aborted - r.last_beat);
        run_until(&r, UINT64_MAX, WATCHDOG_KILL);
        assert_in_range(r.mono - aborted, WATCHDOG_KILL_MS, WATCHDOG_KILL_MS + 3);
        /* "timeout + 2 s", whatever it does. */
        assert_in_range(r.mono - r.last_beat, timeout, timeout + 2000);
        /* Once each, however long it takes to die. */
        run(&r, 10 * timeout);
        assert_int_equal(r.n[WATCHDOG_ABORT], 1);
        assert_int_equal(r.n[WATCHDOG_KILL], 1);
    }
}

static void watchdog__beats_again_while_suspected__spared(void **state UNUSED)
{
    struct rig r;

    rig_init(&r, 1000);
    r.period = 0;
    run_until(&r, UINT64_MAX, WATCHDOG_SUSPECT);
    beat(&r);
    run(&r, 200);
    must_be_spared(&r);
    /* And the next silence is a new one. */
    run_until(&r, r.last_beat + 999, WATCHDOG_ABORT);
    must_be_spared(&r);
    run_until(&r, UINT64_MAX, WATCHDOG_ABORT);
    assert_in_range(r.mono - r.last_beat, 1000, 1253);
}

static void watchdog__all_stopped_and_continued__nobody_aborted(void **state UNUSED)
{
    uint64_t seed = 11;
    struct rig r;

    for (int round = 0; round < 5000; round++) {
        const uint64_t timeout = timeouts[rng_below(&seed, ARRAY_SIZE(timeouts))];

        rig_init(&r, timeout);
        for (int stop = 0; stop < 5; stop++) {
            run(&r, rng_below(&seed, 2 * timeout));
            stand_still(&r, rng_below(&seed, 4 * timeout), false);
            /* The arbiter may well be the first to run again. */
            if (r.mono >= r.planned)
                look(&r);
            r.beat_due = r.mono + rng_below(&seed, timeout / 8);
        }
        run(&r, 2 * timeout);
        must_be_spared(&r);
    }
}

static void watchdog__suspended__nobody_aborted_and_a_fresh_grace(void **state UNUSED)
{
    struct rig r;

    for (size_t i = 0; i < ARRAY_SIZE(timeouts); i++) {
        rig_init(&r, timeouts[i]);
        run(&r, timeouts[i] + 10);
        r.period = 0;
        run(&r, timeouts[i] / 2);
        stand_still(&r, UINT64_C(8) * 3600 * 1000, true);
        uint64_t resumed = r.mono;
        run_until(&r, UINT64_MAX, WATCHDOG_ABORT);
        /* It really hangs: a whole timeout after the first look, and not for ever. */
        assert_in_range(r.mono - resumed, timeouts[i],
                        timeouts[i] + MIN(timeouts[i] / 4, (uint64_t)WATCHDOG_LOOK_MAX_MS) + 260);
        assert_true(r.watch.n_graces == 1);
    }
}

/* The wall clock is not asked: that it jumps cannot be seen here. Neither can a boot clock that
 * goes wrong do harm. */
static void watchdog__boot_clock_goes_backwards__nothing_happens(void **state UNUSED)
{
    struct rig r;

    rig_init(&r, 1000);
    run(&r, 500);
    r.boot -= 400000;
    run(&r, 5000);
    must_be_spared(&r);
}

static void watchdog__always_late__a_hung_one_is_aborted_all_the_same(void **state UNUSED)
{
    struct rig r;

    rig_init(&r, 1000);
    run(&r, 3000);
    r.period = 0;
    while (r.n[WATCHDOG_ABORT] == 0) {
        uint64_t wait = r.planned - r.mono + 700; /* starved at every look */

        stand_still(&r, wait, false);
        look(&r);
        assert_true(r.mono - r.last_beat < 10000);
    }
    assert_int_equal(r.watch.n_graces, WATCHDOG_GRACES_MAX);
}

static void watchdog__long_starvation_of_all__nobody_aborted(void **state UNUSED)
{
    uint64_t seed = 13;
    struct rig r;

    rig_init(&r, 1000);
    for (int i = 0; i < 100000; i++) {
        /* Both are late by up to a second, each in its own way. */
        r.mono += rng_below(&seed, 400);
        r.boot = r.mono + 900000;
        if (r.mono >= r.beat_due)
            beat(&r);
        if (r.mono >= r.planned && rng_below(&seed, 3) == 0)
            look(&r);
    }
    must_be_spared(&r);
}

/* What stands in shared memory can be anything. A value that changes is a sign of life; what it
 * says of the time is believed only if it can be true. */
static void watchdog__impossible_heartbeats__silence_counts_from_the_change(void **state UNUSED)
{
    static const uint64_t values[] = {0, 1, UINT64_MAX, UINT64_MAX / 2, 4999 * UINT64_C(1000000)};
    struct rig r;

    for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
        rig_init(&r, 1000);
        run(&r, 3000);
        r.period = 0;
        r.beat_ns = values[i];
        uint64_t changed = r.mono;
        run_until(&r, UINT64_MAX, WATCHDOG_ABORT);
        assert_in_range(r.mono - changed, 1000, 1000 + 250 + 253);
        assert_true(watch_silence_ns(&r.dog, &r.watch) / ms <= r.mono - changed);
    }
}

static void watchdog__first_look_long_after_the_fork__not_held_against_it(void **state UNUSED)
{
    struct watchdog dog = {0};
    struct watch watch;

    watch_init(&watch, 1000, 1000 * ms);
    /* It has booted for eight seconds and beaten just before it was ready. */
    watchdog_look(&dog, 9000 * ms, 9000 * ms, 250);
    assert_int_equal(watchdog_check(&dog, &watch, 8990 * ms), WATCHDOG_FINE);
    assert_int_equal(watch_silence_ns(&dog, &watch), 10 * ms);
    assert_int_equal(watchdog_plan(&dog), 250 * ms);
}

static void watchdog__must_abort__aborted_once_then_killed_however_it_beats(void **state UNUSED)
{
    struct watchdog dog = {0};
    struct watch watch;
    unsigned n_kills = 0;

    watch_init(&watch, 30000, 1000 * ms);
    watchdog_look(&dog, 1000 * ms, 1000 * ms, 7500);
    assert_int_equal(watchdog_check(&dog, &watch, 999 * ms), WATCHDOG_FINE);
    watchdog_look(&dog, 2000 * ms, 2000 * ms, 7500);
    assert_int_equal(watchdog_abort(&dog, &watch), WATCHDOG_ABORT);
    assert_int_equal(watchdog_plan(&dog), WATCHDOG_KILL_MS * ms);
    for (uint64_t t = 2100; t < 5000; t += 100) {
        watchdog_look(&dog, t * ms, t * ms, 7500);
        const enum watchdog_order v =
            t % 200 ? watchdog_abort(&dog, &watch) : watchdog_check(&dog, &watch, t * ms);

        assert_int_equal(v, n_kills == 0 && t >= 2000 + WATCHDOG_KILL_MS ? WATCHDOG_KILL
                                                                         : WATCHDOG_ABORTED);
        n_kills += v == WATCHDOG_KILL;
    }
    assert_int_equal(n_kills, 1);
}

static void watchdog__nobody_to_judge__looks_as_often_as_told(void **state UNUSED)
{
    struct watchdog dog = {0};

    watchdog_look(&dog, 1, 1, 250);
    assert_int_equal(watchdog_plan(&dog), 250 * ms);
    watchdog_look(&dog, 300 * ms, 300 * ms, 86400000);
    assert_int_equal(watchdog_plan(&dog), WATCHDOG_LOOK_MAX_MS * ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(watchdog__healthy__never_suspected),
        cmocka_unit_test(watchdog__healthy__few_looks),
        cmocka_unit_test(watchdog__resumed_while_it_hangs__aborted_in_time),
        cmocka_unit_test(watchdog__resumed_with_an_impossible_heartbeat__watched_from_now_on),
        cmocka_unit_test(watchdog__hangs_at_any_time__aborted_in_time_then_killed),
        cmocka_unit_test(watchdog__beats_again_while_suspected__spared),
        cmocka_unit_test(watchdog__all_stopped_and_continued__nobody_aborted),
        cmocka_unit_test(watchdog__suspended__nobody_aborted_and_a_fresh_grace),
        cmocka_unit_test(watchdog__boot_clock_goes_backwards__nothing_happens),
        cmocka_unit_test(watchdog__always_late__a_hung_one_is_aborted_all_the_same),
        cmocka_unit_test(watchdog__long_starvation_of_all__nobody_aborted),
        cmocka_unit_test(watchdog__impossible_heartbeats__silence_counts_from_the_change),
        cmocka_unit_test(watchdog__first_look_long_after_the_fork__not_held_against_it),
        cmocka_unit_test(watchdog__must_abort__aborted_once_then_killed_however_it_beats),
        cmocka_unit_test(watchdog__nobody_to_judge__looks_as_often_as_told),
    };

    return cmocka_run_group_tests_name("watchdog", tests, NULL, NULL);
}
