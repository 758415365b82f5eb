/*
 * actor: a hold on this process: its counters, log lines, timers and watched descriptors.
 */
#include "actor/actor.h"

#include <errno.h>
#include <ev.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "actor/own.h"
#include "actor/scoreboard.h"
#include "base/log.h"
#include "base/util.h"

struct rig {
    struct log log, *log_at;
    struct score_record record;
    struct actor_process process;
    struct arb_actor one, two; /* holds of the same process */
    int calls[3];
    struct arb_timer *timers[3];
    struct arb_watch *watch;
    struct arb_watch *other_watch;
    int last_events;
    int ends[2];
};

static struct rig rig;

static int setup(void **state)
{
    (void)state;
    rig = (struct rig){.log = {.fd = memfd_create("log", MFD_CLOEXEC)}, .log_at = &rig.log};
    rig.log.level = LOG_LEVEL_INFO;
    snprintf(rig.log.actor, sizeof(rig.log.actor), "worker.2");
    rig.process = (struct actor_process){
        .id = "worker.2",
        .slot = 2,
        .loop = ev_loop_new(0),
        .log = &rig.log_at,
        .record = &rig.record,
    };
    actor_init(&rig.one, &rig.process, "one");
    actor_init(&rig.two, &rig.process, "two");
    rig.one.is_protocol = rig.two.is_protocol = true;
    rig.one.n_counters = 2;
    rig.two.first_counter = 2;
    rig.two.n_counters = 1;
    assert_int_equal(pipe2(rig.ends, O_NONBLOCK | O_CLOEXEC), 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    actor_fini(&rig.one);
    actor_fini(&rig.two);
    assert_int_equal(ev_pending_count(rig.process.loop), 0);
    /* With nothing left to wait for, the loop ends at once. */
    assert_false(ev_run(rig.process.loop, 0));
    ev_loop_destroy(rig.process.loop);
    close(rig.ends[0]);
    close(rig.ends[1]);
    close(rig.log.fd);
    return 0;
}

static const char *logged(void)
{
    static char text[8192];
    ssize_t n = pread(rig.log.fd, text, sizeof(text) - 1, 0);

    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void count_call(void *data)
{
    ++*(int *)data;
}

/* ---- who it is; counters ---- */

static void actor__id_slot_loop__of_the_process(void **state)
{
    (void)state;
    assert_string_equal(arb_actor_id(&rig.one), "worker.2");
    assert_int_equal(arb_actor_slot(&rig.one), 2);
    assert_ptr_equal(arb_actor_loop(&rig.one), rig.process.loop);
}

static void count__two_owners__each_its_own_place(void **state)
{
    (void)state;
    arb_count(&rig.one, 0, 1);
    arb_count(&rig.one, 1, 10);
    arb_count(&rig.two, 0, 100);
    arb_count(&rig.two, 0, 100);
    assert_int_equal(counter_get(&rig.record.own.n[0]), 1);
    assert_int_equal(counter_get(&rig.record.own.n[1]), 10);
    assert_int_equal(counter_get(&rig.record.own.n[2]), 200);
}

static void count__no_such_counter__nothing_is_touched(void **state)
{
    (void)state;
    arb_count(&rig.one, 2, 5);
    arb_count(&rig.two, 1, 5);
    arb_count(&rig.two, UINT32_MAX, 5);
    for (size_t i = 0; i < ARRAY_SIZE(rig.record.own.n); i++)
        assert_int_equal(counter_get(&rig.record.own.n[i]), 0);
    rig.process.record = NULL;
    arb_count(&rig.one, 0, 5); /* the arbiter has none */
}

/* ---- the log ---- */

static void log__fields__behind_the_protocol_and_escaped(void **state)
{
    const struct arb_field fields[] = {{"peer", "a \"b\"\n", 0}, {"number", NULL, 42}};

    (void)state;
    arb_log(&rig.one, ARB_INFO, "something\x1b has happened", fields, ARRAY_SIZE(fields));
    assert_non_null(strstr(logged(), " level=info actor=worker.2 "));
    assert_non_null(strstr(logged(), "msg=\"something\\u001b has happened\" protocol=one "
                                     "peer=\"a \\\"b\\\"\\n\" number=42\n"));
}

static void log__below_the_level__not_written(void **state)
{
    (void)state;
    arb_log(&rig.one, ARB_DEBUG, "nothing", NULL, 0);
    assert_string_equal(logged(), "");
}

static void log__other_actors__no_protocol(void **state)
{
    (void)state;
    rig.one.is_protocol = false;
    arb_log(&rig.one, ARB_INFO, "it ticks", NULL, 0);
    assert_non_null(strstr(logged(), "msg=\"it ticks\"\n"));
}

static void log__too_many_fields__bounded_and_said(void **state)
{
    struct arb_field fields[40];

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
        fields[i] = (struct arb_field){"f", NULL, i};
    arb_log(&rig.one, ARB_INFO, "much", fields, ARRAY_SIZE(fields));
    assert_non_null(strstr(logged(), " f=15 fields_left_out=24\n"));
    assert_null(strstr(logged(), " f=16"));
}

static void log__warning_repeats__counted_per_owner(void **state)
{
    const char *second;

    (void)state;
    for (int i = 0; i < 5; i++) {
        arb_log(&rig.one, ARB_WARNING, "again", NULL, 0);
        arb_log(&rig.two, ARB_WARNING, "again", NULL, 0);
    }
    second = strchr(logged(), '\n');
    assert_non_null(strstr(second, "protocol=two"));
    assert_int_equal(strlen(strchr(second + 1, '\n')), 1);
    log_flush_causes(&rig.log, UINT64_MAX);
    assert_non_null(strstr(logged(), "protocol=one repeated=4"));
    assert_non_null(strstr(logged(), "protocol=two repeated=4"));
}

/* ---- timers ---- */

static void timer__once__called_once_and_gone(void **state)
{
    (void)state;
    assert_non_null(arb_timer_new(&rig.one, 0, 0, count_call, &rig.calls[0]));
    ev_run(rig.process.loop, 0);
    assert_int_equal(rig.calls[0], 1);
    assert_true(list_is_empty(&rig.one.timers));
}

static void stop_at_three(void *data)
{
    if (++rig.calls[0] == 3)
        arb_timer_free(*(struct arb_timer **)data);
}

static void timer__repeated__until_it_frees_itself(void **state)
{
    (void)state;
    rig.timers[0] = arb_timer_new(&rig.one, 1, 1, stop_at_three, &rig.timers[0]);
    ev_run(rig.process.loop, 0);
    assert_int_equal(rig.calls[0], 3);
    assert_true(list_is_empty(&rig.one.timers));
}

static void free_others(void *data)
{
    const size_t self = (size_t)(uintptr_t)data;

    rig.calls[0]++;
    for (size_t i = 0; i < ARRAY_SIZE(rig.timers); i++) {
        if (i != self)
            arb_timer_free(rig.timers[i]);
        rig.timers[i] = NULL;
    }
}

/* All are due in the same turn of the loop: whoever is first frees those that wait behind it. */
static void timer__freed_in_anothers_callback__never_called(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rig.timers); i++)
        rig.timers[i] = arb_timer_new(&rig.one, 0, 0, free_others, (void *)(uintptr_t)i);
    ev_run(rig.process.loop, 0);
    assert_int_equal(rig.calls[0], 1);
    assert_true(list_is_empty(&rig.one.timers));
}

static void start_another(void *data)
{
    if (++*(int *)data < 5)
        assert_non_null(arb_timer_new(&rig.one, 0, 0, start_another, data));
}

static void timer__once__may_start_another(void **state)
{
    (void)state;
    start_another(&rig.calls[0]);
    ev_run(rig.process.loop, 0);
    assert_int_equal(rig.calls[0], 5);
}

static void timer__hold_ends__freed_and_never_called(void **state)
{
    (void)state;
    assert_non_null(arb_timer_new(&rig.one, 0, 0, count_call, &rig.calls[0]));
    assert_non_null(arb_timer_new(&rig.one, 1, 1, count_call, &rig.calls[0]));
    assert_non_null(arb_timer_new(&rig.two, 0, 0, count_call, &rig.calls[1]));
    actor_fini(&rig.one);
    ev_run(rig.process.loop, 0);
    assert_int_equal(rig.calls[0], 0);
    assert_int_equal(rig.calls[1], 1);
}

static void timer__null__may_be_freed(void **state)
{
    (void)state;
    arb_timer_free(NULL);
    arb_watch_free(NULL);
}

/* ---- watches ---- */

static void free_watch(void *data, int events)
{
    rig.last_events = events;
    rig.calls[0]++;
    arb_watch_free(*(struct arb_watch **)data);
}

static void watch__writable__told_and_freed_from_its_callback(void **state)
{
    (void)state;
    rig.watch = arb_watch_new(&rig.one, rig.ends[1], ARB_WRITABLE, free_watch, &rig.watch);
    ev_run(rig.process.loop, 0);
    assert_int_equal(rig.calls[0], 1);
    assert_int_equal(rig.last_events, ARB_WRITABLE);
    assert_true(list_is_empty(&rig.one.watches));
}

static void watch__set_to_none__silent_until_set_again(void **state)
{
    (void)state;
    assert_int_equal(write(rig.ends[1], "x", 1), 1);
    rig.watch = arb_watch_new(&rig.one, rig.ends[0], ARB_READABLE, free_watch, &rig.watch);
    arb_watch_set(rig.watch, 0);
    ev_run(rig.process.loop, 0);
    assert_int_equal(rig.calls[0], 0);
    arb_watch_set(rig.watch, ARB_READABLE);
    ev_run(rig.process.loop, 0);
    assert_int_equal(rig.last_events, ARB_READABLE);
}

/* Both are ready in the same turn: only one of them is called. */
static void free_both(void *data, int events)
{
    (void)data;
    (void)events;
    rig.calls[0]++;
    arb_watch_free(rig.watch);
    arb_watch_free(rig.other_watch);
}

static void watch__freed_in_anothers_callback__never_called(void **state)
{
    (void)state;
    assert_int_equal(write(rig.ends[1], "x", 1), 1);
    rig.watch = arb_watch_new(&rig.one, rig.ends[0], ARB_READABLE, free_both, NULL);
    rig.other_watch = arb_watch_new(&rig.two, rig.ends[1], ARB_WRITABLE, free_both, NULL);
    ev_run(rig.process.loop, 0);
    assert_int_equal(rig.calls[0], 1);
}

static void watch__no_descriptor__refused(void **state)
{
    (void)state;
    assert_null(arb_watch_new(&rig.one, -1, ARB_READABLE, free_watch, NULL));
}

static void watch__hold_ends__freed(void **state)
{
    (void)state;
    assert_non_null(arb_watch_new(&rig.one, rig.ends[1], ARB_WRITABLE, free_watch, NULL));
    actor_fini(&rig.one);
    ev_run(rig.process.loop, 0);
    assert_int_equal(rig.calls[0], 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(actor__id_slot_loop__of_the_process),
        TEST(count__two_owners__each_its_own_place),
        TEST(count__no_such_counter__nothing_is_touched),
        TEST(log__fields__behind_the_protocol_and_escaped),
        TEST(log__below_the_level__not_written),
        TEST(log__other_actors__no_protocol),
        TEST(log__too_many_fields__bounded_and_said),
        TEST(log__warning_repeats__counted_per_owner),
        TEST(timer__once__called_once_and_gone),
        TEST(timer__repeated__until_it_frees_itself),
        TEST(timer__freed_in_anothers_callback__never_called),
        TEST(timer__once__may_start_another),
        TEST(timer__hold_ends__freed_and_never_called),
        TEST(timer__null__may_be_freed),
        TEST(watch__writable__told_and_freed_from_its_callback),
        TEST(watch__set_to_none__silent_until_set_again),
        TEST(watch__freed_in_anothers_callback__never_called),
        TEST(watch__no_descriptor__refused),
        TEST(watch__hold_ends__freed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
