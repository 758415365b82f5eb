/*
 * The heartbeat: how often, and what the loop's lag is said to be.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/util.h"
#include "actor/heartbeat.h"

static const uint64_t ms = 1000000, second = 1000000000;

static void lag_window__samples__the_most_for_one_to_two_seconds(void **state UNUSED)
{
    struct lag_window w = {0};
    uint64_t now = 100 * second;

    assert_int_equal(lag_window_add(&w, now, 5), 5);
    assert_int_equal(lag_window_add(&w, now + 100 * ms, 900), 900);
    assert_int_equal(lag_window_add(&w, now + 200 * ms, 7), 900);
    assert_int_equal(lag_window_add(&w, now + 1000 * ms, 8), 900); /* the second before */
    assert_int_equal(lag_window_add(&w, now + 1900 * ms, 9), 900);
    assert_int_equal(lag_window_add(&w, now + 2000 * ms, 1), 9);
    assert_int_equal(lag_window_add(&w, now + 2100 * ms, 50), 50);
    assert_int_equal(lag_window_add(&w, now + 9000 * ms, 0), 0); /* all of it is long ago */
}

static void heartbeat_interval__any_timeout__four_beats_within_it(void **state UNUSED)
{
    static const uint64_t timeouts[] = {500, 501, 999, 1000, 3999, 4000, 30000, 86400000};

    for (size_t i = 0; i < ARRAY_SIZE(timeouts); i++)
        for (int is_busy = 0; is_busy <= 1; is_busy++) {
            uint64_t interval = heartbeat_interval_ms(timeouts[i], is_busy);

            assert_in_range(interval, 1, is_busy ? HEARTBEAT_BUSY_MS : HEARTBEAT_IDLE_MS);
            assert_true(HEARTBEATS_A_TIMEOUT * interval <= timeouts[i]);
        }
    assert_int_equal(heartbeat_interval_ms(30000, false), 1000);
    assert_int_equal(heartbeat_interval_ms(30000, true), 100);
    assert_int_equal(heartbeat_interval_ms(0, false), 1);
}

struct rig {
    struct heartbeat heartbeat;
    struct score_record record;
    struct ev_loop *loop;
    unsigned beats, seconds;
    uint64_t stall_ms; /* at the first beat */
};

static void on_second(struct heartbeat *h)
{
    container_of(h, struct rig, heartbeat)->seconds++;
}

static void on_beat(struct heartbeat *h)
{
    struct rig *r = container_of(h, struct rig, heartbeat);
    const uint64_t until = clock_mono_ms() + r->stall_ms;

    r->beats++;
    while (clock_mono_ms() < until)
        ;
    r->stall_ms = 0;
    if (r->beats == 3)
        ev_break(r->loop, EVBREAK_ALL);
}

/* A turn of 120 ms is longer than the 100 ms to the next beat: nearly 20 ms of lag. */
static void heartbeat__loop_stalls__lag_is_published(void **state UNUSED)
{
    static struct rig r;

    r.loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    r.stall_ms = 120;
    r.heartbeat.on_beat = on_beat;
    r.heartbeat.on_second = on_second;
    const uint64_t before = clock_mono_ns();
    heartbeat_start(&r.heartbeat, r.loop, &r.record, 400);
    assert_true(counter_get(&r.record.heartbeat_ns) >= before);
    assert_int_equal(r.beats, 0);
    ev_run(r.loop, 0);
    assert_int_equal(r.beats, 3);
    assert_true(counter_get(&r.record.lag_ns) >= 15 * ms);
    assert_int_equal(timing_count(&r.record.times.lag), 3);
    assert_true(counter_get(&r.record.times.lag.max_ns) >= 15 * ms);
    assert_in_range(counter_get(&r.record.heartbeat_ns), before + 200 * ms, clock_mono_ns());
    ev_loop_destroy(r.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lag_window__samples__the_most_for_one_to_two_seconds),
        cmocka_unit_test(heartbeat_interval__any_timeout__four_beats_within_it),
        cmocka_unit_test(heartbeat__loop_stalls__lag_is_published),
    };

    return cmocka_run_group_tests_name("heartbeat", tests, NULL, NULL);
}
