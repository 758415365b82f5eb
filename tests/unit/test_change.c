/*
 * One change at a time: a reload and an upgrade that do nothing but note what they are told.
 */
#include "arbiter/arbiter_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "support/schema.h"

struct fixture {
    struct arbiter a;
    struct revision live;
    pid_t child[CHANGE_KINDS];
    bool ends_at_once, asks_again;
    unsigned n_starts;
    char heard[256]; /* "KIND WHAT;" each */
    unsigned n_settled;
};

static struct fixture *fixture_of(const struct arbiter *a)
{
    return container_of((struct arbiter *)(uintptr_t)a, struct fixture, a);
}

static void hear(struct arbiter *a, const char *what)
{
    struct fixture *f = fixture_of(a);
    const size_t len = strlen(f->heard);

    snprintf(f->heard + len, sizeof(f->heard) - len, "%s;", what);
}

#define KIND(name, kind)                                                                           \
    static pid_t name##_child(const struct arbiter *a)                                             \
    {                                                                                              \
        return fixture_of(a)->child[kind];                                                         \
    }                                                                                              \
    static void name##_on_child_exit(struct arbiter *a, int status UNUSED)                         \
    {                                                                                              \
        fixture_of(a)->child[kind] = 0;                                                            \
        hear(a, #name " child");                                                                   \
    }                                                                                              \
    static void name##_start(struct arbiter *a)                                                    \
    {                                                                                              \
        fixture_of(a)->n_starts++;                                                                 \
        hear(a, #name " start");                                                                   \
        if (fixture_of(a)->ends_at_once || fixture_of(a)->asks_again)                              \
            change_end(a);                                                                         \
        if (fixture_of(a)->asks_again)                                                             \
            change_request(a, kind);                                                               \
    }                                                                                              \
    static void name##_cancel(struct arbiter *a)                                                   \
    {                                                                                              \
        hear(a, #name " cancel");                                                                  \
    }                                                                                              \
    static const struct change_ops name##_ops = {                                                  \
        .obstacle = #name,                                                                         \
        .child = name##_child,                                                                     \
        .on_child_exit = name##_on_child_exit,                                                     \
        .start = name##_start,                                                                     \
        .cancel = name##_cancel,                                                                   \
    };

KIND(load, CHANGE_RELOAD)
KIND(exec, CHANGE_UPGRADE)

static const struct change_ops *const kinds[CHANGE_KINDS] = {&load_ops, &exec_ops};

static void on_settle(struct ev_loop *loop, ev_check *w UNUSED, int revents UNUSED)
{
    fixture_of(ev_userdata(loop))->n_settled++;
}

/* One worker is wanted, and runs. */
static int setup(void **state)
{
    static const struct tr_set first = {.revision = 1, .workers = 1, .boot_timeout_ms = 1000};
    struct fixture *f = calloc(1, sizeof(*f));
    struct transition *t = calloc(1, sizeof(*t));

    transition_init(t, &first, 8, 1);
    while (transition_next(t, 1).kind != TR_NOTHING)
        ;
    transition_event(t, 2, &(struct tr_event){.kind = TR_EV_READY});
    while (transition_next(t, 2).kind != TR_NOTHING)
        ;
    f->live.workers = 1;
    f->live.config = config_new(schema_of_echo());
    f->a = (struct arbiter){
        .loop = ev_loop_new(0),
        .live = &f->live,
        .engine = t,
        .change = {.kinds = kinds},
    };
    ev_set_userdata(f->a.loop, &f->a);
    ev_init(&f->a.settle, on_settle);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    ev_loop_destroy(f->a.loop);
    config_free(f->live.config);
    free(f->a.engine);
    free(f);
    return 0;
}

static void change_request__nothing_in_its_way__begins_when_settled(void **state)
{
    struct fixture *f = *state;

    change_request(&f->a, CHANGE_RELOAD);
    assert_string_equal(f->heard, "");
    ev_run(f->a.loop, EVRUN_NOWAIT);
    assert_int_equal(f->n_settled, 1);
    change_settle(&f->a);
    change_settle(&f->a);
    assert_string_equal(f->heard, "load start;");
    assert_ptr_equal(f->a.change.active, &load_ops);
}

static void change_request__thrice_while_one_is_under_way__once_more(void **state)
{
    struct fixture *f = *state;

    change_request(&f->a, CHANGE_RELOAD);
    change_settle(&f->a);
    for (int i = 0; i < 3; i++)
        change_request(&f->a, CHANGE_RELOAD);
    change_settle(&f->a);
    assert_string_equal(f->heard, "load start;");
    change_end(&f->a);
    f->ends_at_once = true;
    for (int i = 0; i < 3; i++)
        change_settle(&f->a);
    assert_string_equal(f->heard, "load start;load start;");
}

static void change_settle__both_are_wanted__reload_first(void **state)
{
    struct fixture *f = *state;

    change_request(&f->a, CHANGE_UPGRADE);
    change_request(&f->a, CHANGE_RELOAD);
    assert_string_equal(change_obstacle(&f->a, CHANGE_UPGRADE), "load");
    assert_null(change_obstacle(&f->a, CHANGE_RELOAD));
    change_settle(&f->a);
    change_settle(&f->a);
    assert_string_equal(f->heard, "load start;");
    change_end(&f->a);
    change_settle(&f->a);
    assert_string_equal(f->heard, "load start;exec start;");
    assert_string_equal(change_obstacle(&f->a, CHANGE_RELOAD), "exec");
}

static void change_settle__child_of_the_last_one_is_left__waits_for_its_end(void **state)
{
    struct fixture *f = *state;

    f->child[CHANGE_RELOAD] = 42;
    change_request(&f->a, CHANGE_UPGRADE);
    change_settle(&f->a);
    assert_string_equal(f->heard, "");
    assert_false(change_on_exit(&f->a, 43, 0));
    assert_true(change_on_exit(&f->a, 42, 0));
    change_settle(&f->a);
    assert_string_equal(f->heard, "load child;exec start;");
}

static void change_settle__workers_are_changing__waits(void **state)
{
    struct fixture *f = *state;
    const struct tr_set next = {.revision = 2, .workers = 1, .boot_timeout_ms = 1000};

    transition_event(f->a.engine, 3, &(struct tr_event){.kind = TR_EV_RELOAD, .set = next});
    assert_non_null(change_obstacle(&f->a, CHANGE_RELOAD));
    change_request(&f->a, CHANGE_RELOAD);
    change_settle(&f->a);
    assert_string_equal(f->heard, "");
}

static void change_settle__too_many_drain__says_once_that_it_waits(void **state)
{
    struct fixture *f = *state;
    struct log log = {.level = LOG_LEVEL_INFO};
    char text[1024];
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    log.fd = ends[1];
    f->a.log = &log;
    f->live.workers = 0;
    transition_event(f->a.engine, 3, &(struct tr_event){.kind = TR_EV_DRAINS});
    change_request(&f->a, CHANGE_UPGRADE);
    change_settle(&f->a);
    change_settle(&f->a);
    assert_string_equal(f->heard, "");
    assert_string_equal(f->a.answers.obstacles[ANSWER_UPGRADE],
                        "more than two sets of workers still drain");
    assert_null(f->a.answers.obstacles[ANSWER_NEXT_RELOAD]);
    close(ends[1]);
    text[read(ends[0], text, sizeof(text) - 1)] = '\0';
    assert_non_null(strstr(text, "the upgrade waits"));
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    close(ends[0]);
    f->live.workers = 1;
    change_settle(&f->a);
    assert_string_equal(f->heard, "exec start;");
    assert_null(f->a.answers.obstacles[ANSWER_UPGRADE]);
}

static void change_postpone__could_not_go_on__wanted_but_not_settled_at_once(void **state)
{
    struct fixture *f = *state;

    change_begin(&f->a, &load_ops);
    change_postpone(&f->a);
    assert_null(f->a.change.active);
    assert_true(f->a.change.is_wanted[CHANGE_RELOAD]);
    assert_false(f->a.change.is_wanted[CHANGE_UPGRADE]);
    ev_run(f->a.loop, EVRUN_NOWAIT);
    assert_int_equal(f->n_settled, 0);
}

static void change_cancel__arbiter_stops__nothing_begins_any_more(void **state)
{
    struct fixture *f = *state;

    change_request(&f->a, CHANGE_RELOAD);
    f->a.is_leaving = true;
    change_cancel(&f->a);
    change_request(&f->a, CHANGE_UPGRADE);
    change_settle(&f->a);
    assert_string_equal(f->heard, "load cancel;exec cancel;");
    assert_string_equal(change_obstacle(&f->a, CHANGE_RELOAD), "the arbiter stops");
}

/* ---- settle_soon: when it is that the arbiter looks ---- */

static ev_timer early, late;

static void on_early(struct ev_loop *loop, ev_timer *timer UNUSED, int revents UNUSED)
{
    struct fixture *f = fixture_of(ev_userdata(loop));

    settle_soon(&f->a);
    assert_int_equal(f->n_settled, 0);
}

static void settle_soon__several_events_in_a_turn__once_and_behind_them(void **state)
{
    struct fixture *f = *state;

    ev_set_priority(&f->a.settle, EV_MINPRI);
    ev_timer_init(&early, on_early, 0., 0.);
    ev_timer_init(&late, on_early, 0., 0.);
    ev_timer_start(f->a.loop, &early);
    ev_timer_start(f->a.loop, &late);
    ev_run(f->a.loop, EVRUN_NOWAIT);
    assert_int_equal(f->n_settled, 1);
}

/* The arbiter's own settle, with a change that asks for itself again and again. */
static void settle__something_is_always_posted__bounded_and_goes_on_in_the_next_turn(void **state)
{
    struct fixture *f = *state;

    answers_init(&f->a.answers, f->a.loop);
    sequencer_init(&f->a);
    assert_int_equal(arbiter_attach(&f->a), 0);
    f->asks_again = true;
    change_request(&f->a, CHANGE_RELOAD);
    ev_run(f->a.loop, EVRUN_NOWAIT); /* at its start, and by a timer of no time */
    assert_int_equal(f->n_starts, 2 * 64);
    ev_run(f->a.loop, EVRUN_NOWAIT);
    assert_int_equal(f->n_starts, 3 * 64);
    f->asks_again = false;
    ev_run(f->a.loop, EVRUN_NOWAIT);
    assert_int_equal(f->n_starts, 3 * 64 + 1);
    answers_fini(&f->a.answers);
    sequencer_fini(&f->a);
    arbiter_detach_signals(&f->a);
    move_fini(&f->a);
    free(f->a.signals);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(change_request__nothing_in_its_way__begins_when_settled),
        TEST(change_request__thrice_while_one_is_under_way__once_more),
        TEST(change_settle__both_are_wanted__reload_first),
        TEST(change_settle__child_of_the_last_one_is_left__waits_for_its_end),
        TEST(change_settle__workers_are_changing__waits),
        TEST(change_settle__too_many_drain__says_once_that_it_waits),
        TEST(change_postpone__could_not_go_on__wanted_but_not_settled_at_once),
        TEST(change_cancel__arbiter_stops__nothing_begins_any_more),
        TEST(settle__something_is_always_posted__bounded_and_goes_on_in_the_next_turn),
        TEST(settle_soon__several_events_in_a_turn__once_and_behind_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
