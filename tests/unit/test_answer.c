/*
 * Answers that come later, with an asker and a clock that the test holds: no process, no socket.
 */
#include "arbiter/answer.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "actor/command.h"
#include "base/util.h"

struct fixture {
    struct answers all;
    struct asker asker;
    char heard[1024]; /* "ID BODY;" each */
};

static void hear(struct asker *asker, json_t *id, json_t *body)
{
    struct fixture *f = container_of(asker, struct fixture, asker);
    char *text = json_dumps(body, JSON_COMPACT | JSON_SORT_KEYS);
    const size_t len = strlen(f->heard);

    snprintf(f->heard + len, sizeof(f->heard) - len, "%d %s;", (int)json_integer_value(id), text);
    free(text);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    f->asker.give = hear;
    answers_init(&f->all, ev_loop_new(0));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    answers_fini(&f->all);
    assert_int_equal(f->all.n, 0);
    ev_loop_destroy(f->all.loop);
    free(f);
    return 0;
}

static struct answer *ask(struct fixture *f, int id)
{
    json_t *json = json_integer(id);
    struct answer *w = answer_new(&f->all, &f->asker, json);

    json_decref(json);
    return w;
}

/* The sweep that comes by itself every ANSWERS_SWEEP_MS. */
static void sweep(struct fixture *f)
{
    ev_invoke(f->all.loop, &f->all.sweep, EV_TIMER);
}

static void answer_ok__asker_waits__one_answer_with_its_id(void **state)
{
    struct fixture *f = *state;

    answer_ok(ask(f, 7), json_string("pong"));
    assert_string_equal(f->heard, "7 {\"result\":\"pong\"};");
    assert_int_equal(f->all.n, 0);
}

static void answer_ok__no_memory_for_the_result__an_error_all_the_same(void **state)
{
    struct fixture *f = *state;

    answer_ok(ask(f, 1), NULL);
    assert_non_null(strstr(f->heard, "out of memory"));
}

static void answer_new__too_many_wait__refused(void **state)
{
    struct fixture *f = *state;

    for (int i = 0; i < ANSWERS_MAX; i++)
        assert_non_null(ask(f, i));
    assert_null(ask(f, ANSWERS_MAX));
}

static void answers_give__some_wait_for_it__only_those(void **state)
{
    struct fixture *f = *state;

    answer_wait(ask(f, 1), ANSWER_RELOAD, 1000);
    answer_wait(ask(f, 2), ANSWER_UPGRADE, 1000);
    answer_wait(ask(f, 3), ANSWER_RELOAD, 1000);
    answers_give(&f->all, ANSWER_RELOAD, command_result(json_true()));
    assert_string_equal(f->heard, "1 {\"result\":true};3 {\"result\":true};");
    assert_int_equal(f->all.n, 1);
}

static void answers_turn__next_reload_begins__its_askers_wait_for_it(void **state)
{
    struct fixture *f = *state;

    answer_wait(ask(f, 1), ANSWER_NEXT_RELOAD, 1000);
    answers_turn(&f->all, ANSWER_NEXT_RELOAD, ANSWER_RELOAD);
    answers_give(&f->all, ANSWER_RELOAD, command_result(json_true()));
    assert_string_equal(f->heard, "1 {\"result\":true};");
}

static void answers_forget__asker_is_gone__heard_by_nobody(void **state)
{
    struct fixture *f = *state;

    answer_wait(ask(f, 1), ANSWER_RELOAD, 1000);
    answers_forget(&f->all, &f->asker);
    answers_give(&f->all, ANSWER_RELOAD, command_result(json_true()));
    assert_string_equal(f->heard, "");
    assert_int_equal(f->all.n, 0);
}

static void answers_on_scaled__other_number_runs__superseded(void **state)
{
    struct fixture *f = *state;
    struct answer *exact = ask(f, 1), *more = ask(f, 2);

    exact->workers_min = exact->workers_max = 3;
    more->workers_min = 3;
    more->workers_max = UINT32_MAX;
    answer_wait(exact, ANSWER_SCALE, 1000);
    answer_wait(more, ANSWER_SCALE, 1000);
    answers_on_scaled(&f->all, 4);
    assert_non_null(strstr(f->heard, "1 {\"error\":{\"code\":\"superseded\""));
    assert_non_null(strstr(f->heard, "2 {\"result\":{\"workers\":4}}"));
}

static void answers_sweep__deadline_has_come__timeout(void **state)
{
    struct fixture *f = *state;

    answer_wait(ask(f, 1), ANSWER_RELOAD, 0);
    answer_wait(ask(f, 2), ANSWER_RELOAD, 1000000);
    sweep(f);
    assert_non_null(strstr(f->heard, "1 {\"error\":{\"code\":\"timeout\""));
    assert_null(strstr(f->heard, "2 "));
}

static void answers_sweep__something_is_in_its_way__timeout_names_it(void **state)
{
    struct fixture *f = *state;

    answer_wait(ask(f, 1), ANSWER_NEXT_RELOAD, 0);
    f->all.obstacles[ANSWER_NEXT_RELOAD] = "the cat";
    sweep(f);
    assert_non_null(strstr(f->heard, "\"the reload is not done yet: the cat\""));
}

static bool give_time(struct answer *w)
{
    w->deadline_ms = UINT64_MAX;
    return true;
}

static void answers_sweep__deadline_is_put_off__waits_on(void **state)
{
    struct fixture *f = *state;
    struct answer *w = ask(f, 1);

    w->pid = 42;
    w->has_more_time = give_time;
    answer_wait(w, ANSWER_EXIT, 0);
    sweep(f);
    assert_string_equal(f->heard, "");
    answers_on_exit(&f->all, 43, true);
    assert_string_equal(f->heard, "");
    answers_on_exit(&f->all, 42, true);
    assert_string_equal(f->heard, "1 {\"result\":{\"killed\":true,\"pid\":42}};");
}

/* As for `workers`: one dies, one replies, a third one's reply is another's. */
static void requests__some_reply_and_some_die__one_answer_with_all(void **state)
{
    struct fixture *f = *state;
    struct answer *w = ask(f, 1);
    json_t *pong = command_result(json_string("pong"));
    uint64_t first, second;

    w->is_map = true;
    w->map = json_object();
    w->n_waiting = 2;
    answer_wait(w, ANSWER_WORKERS, 0);
    first = request_new(w, "worker.1", 11);
    second = request_new(w, "worker.2", 12);
    assert_true(first && second && first != second);
    answers_on_reply(&f->all, 12, first, pong);
    answers_on_reply(&f->all, 12, 0, pong);
    sweep(f);
    assert_string_equal(f->heard, "");
    answers_on_reply(&f->all, 12, second, pong);
    answers_on_exit(&f->all, 11, false);
    assert_string_equal(f->heard,
                        "1 {\"result\":{\"worker.1\":{\"error\":{\"code\":\"gone\",\"message\":"
                        "\"the worker ended before it answered\"}},\"worker.2\":\"pong\"}};");
    answers_on_reply(&f->all, 12, second, pong);
    json_decref(pong);
}

static void request_cancel__could_not_be_sent__place_is_free_again(void **state)
{
    struct fixture *f = *state;
    struct answer *w = ask(f, 1);

    for (int i = 0; i < 2 * REQUESTS_MAX; i++) {
        uint64_t id = request_new(w, "worker.1", 11);

        assert_true(id > 0);
        request_cancel(&f->all, id);
    }
    for (int i = 0; i < REQUESTS_MAX; i++)
        assert_true(request_new(w, "worker.1", 11) > 0);
    assert_int_equal(request_new(w, "worker.1", 11), 0);
}

static void answers_fini__somebody_waits__hears_that_it_stops(void **state)
{
    struct fixture *f = *state;

    answer_wait(ask(f, 1), ANSWER_RELOAD, 1000);
    answers_fini(&f->all);
    assert_non_null(strstr(f->heard, "1 {\"error\":{\"code\":\"stopping\""));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(answer_ok__asker_waits__one_answer_with_its_id),
        TEST(answer_ok__no_memory_for_the_result__an_error_all_the_same),
        TEST(answer_new__too_many_wait__refused),
        TEST(answers_give__some_wait_for_it__only_those),
        TEST(answers_turn__next_reload_begins__its_askers_wait_for_it),
        TEST(answers_forget__asker_is_gone__heard_by_nobody),
        TEST(answers_on_scaled__other_number_runs__superseded),
        TEST(answers_sweep__deadline_has_come__timeout),
        TEST(answers_sweep__something_is_in_its_way__timeout_names_it),
        TEST(answers_sweep__deadline_is_put_off__waits_on),
        TEST(requests__some_reply_and_some_die__one_answer_with_all),
        TEST(request_cancel__could_not_be_sent__place_is_free_again),
        TEST(answers_fini__somebody_waits__hears_that_it_stops),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
