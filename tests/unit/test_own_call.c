/*
 * own commands: their rows, their arguments, and their answers, now, later and never.
 */
#include "actor/own_call.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "actor/own.h"
#include "base/util.h"

static struct arb_answer *kept;
static unsigned n_runs;

static void run_now(void *data, struct arb_answer *answer, const json_t *args)
{
    n_runs++;
    arb_answer_json(answer, json_pack("{s:s,s:O}", "data", (const char *)data, "args", args));
}

static void run_later(void *data, struct arb_answer *answer, const json_t *args)
{
    (void)data;
    (void)args;
    n_runs++;
    kept = answer;
}

static const struct arb_arg arguments[] = {
    {"pattern", ARB_TEXT, true, 1, 4, "which"},
    {"count", ARB_COUNT, false, 2, 5, "how many"},
    {"any", ARB_COUNT, false, 0, 0, "how many, without a bound"},
    {"all", ARB_BOOL, false, 0, 0, "also empty ones"},
};
static const struct arb_command commands[] = {
    {"channels", "Channels that match", ARB_ARGS(arguments), run_now},
    {"wait", "Answer later", {NULL, 0, 0}, run_later},
};
static const struct arb_command kind_commands[] = {{"tick", "Tick", {NULL, 0, 0}, run_now}};
static const struct arb_command program_commands[] = {{"drop", "Drop", {NULL, 0, 0}, run_now}};
static const struct arb_protocol echo = ARB_PROTOCOL(.name = "echo");
static const struct arb_protocol pubsub =
    ARB_PROTOCOL(.name = "pubsub", .commands = ARB_COMMANDS(commands));
static const struct arb_kind clock_kind =
    ARB_KIND(.name = "clock", .commands = ARB_COMMANDS(kind_commands));
static const struct arb_protocol *const protocols[] = {&echo, &pubsub, NULL};
static const struct arb_kind *const kinds[] = {&clock_kind, NULL};
static const struct arb_program program =
    ARB_PROGRAM(.name = "p", .protocols = protocols, .kinds = kinds,
                .commands = ARB_COMMANDS(program_commands));

static struct own own;
static struct own_calls calls;
static json_t *given; /* owned: the last body */
static uint64_t given_to;
static unsigned n_given;

static void on_given(struct own_calls *c, uint64_t number, json_t *body)
{
    assert_ptr_equal(c, &calls);
    json_decref(given);
    given = body;
    given_to = number;
    n_given++;
}

static int setup(void **state)
{
    char why[128];

    (void)state;
    n_runs = n_given = 0;
    kept = NULL;
    own_calls_init(&calls, on_given);
    return own_init(&own, &program, why, sizeof(why));
}

static int teardown(void **state)
{
    (void)state;
    own_calls_fini(&calls);
    assert_int_equal(calls.n, 0);
    own_fini(&own);
    json_decref(given);
    given = NULL;
    return 0;
}

static void call(uint64_t number, const char *name, const char *args)
{
    json_t *o = args ? json_loads(args, 0, NULL) : NULL;

    assert_true(!args || o);
    own_call_run(&calls, number, own_find_command(&own, name), (void *)(uintptr_t) "mine", o);
    json_decref(o);
}

static const char *error_in(const json_t *body, const char *member)
{
    return json_string_value(json_object_get(json_object_get(body, "error"), member));
}

static void find__by_full_name__where_it_runs(void **state UNUSED)
{
    static const struct {
        const char *name;
        enum own_place place;
    } rows[] = {
        {"pubsub.channels", OWN_IN_WORKERS},
        {"clock.tick", OWN_IN_KIND},
        {"arbiter.drop", OWN_IN_ARBITER},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_int_equal(own_find_command(&own, rows[i].name)->owner->place, rows[i].place);
    assert_null(own_find_command(&own, "pubsub.tick"));
    assert_null(own_find_command(&own, "channels"));
    assert_null(own_find_command(&own, ""));
}

static void list__all__with_help_and_arguments(void **state UNUSED)
{
    json_t *list = json_array(), *args;
    const json_t *row;

    own_list_commands(&own, list);
    assert_int_equal(json_array_size(list), 4);
    row = json_array_get(list, 0);
    assert_string_equal(json_string_value(json_object_get(row, "name")), "pubsub.channels");
    assert_string_equal(json_string_value(json_object_get(row, "help")), "Channels that match");
    assert_true(json_is_true(json_object_get(row, "worker")));
    args = json_object_get(row, "args");
    assert_int_equal(json_array_size(args), 4);
    assert_string_equal(json_string_value(json_object_get(json_array_get(args, 0), "allowed")),
                        "a string of 1 to 4 bytes");
    row = json_array_get(list, 2);
    assert_string_equal(json_string_value(json_object_get(row, "kind")), "clock");
    assert_true(json_is_true(json_object_get(json_array_get(list, 3), "arbiter")));
    json_decref(list);
}

static void call__now__answered_with_data_and_arguments(void **state UNUSED)
{
    const json_t *result;

    call(7, "pubsub.channels", "{\"pattern\":\"a*\",\"count\":2,\"all\":true}");
    assert_int_equal(n_given, 1);
    assert_int_equal(given_to, 7);
    result = json_object_get(given, "result");
    assert_string_equal(json_string_value(json_object_get(result, "data")), "mine");
    assert_int_equal(json_object_size(json_object_get(result, "args")), 3);
}

static void call__wrong_arguments__refused_before_it_runs(void **state UNUSED)
{
    static const struct {
        const char *args, *why;
    } rows[] = {
        {NULL, "pubsub.channels needs pattern, a string of 1 to 4 bytes: which"},
        {"{}", "pubsub.channels needs pattern, a string of 1 to 4 bytes: which"},
        {"{\"pattern\":\"\"}",
         "pubsub.channels: pattern must be a string of 1 to 4 bytes, not \"\""},
        {"{\"pattern\":\"abcde\"}",
         "pubsub.channels: pattern must be a string of 1 to 4 bytes, not \"abcde\""},
        {"{\"pattern\":1}", "pubsub.channels: pattern must be a string of 1 to 4 bytes, not 1"},
        {"{\"pattern\":\"a\",\"count\":6}",
         "pubsub.channels: count must be a whole number from 2 to 5, not 6"},
        {"{\"pattern\":\"a\",\"count\":1}",
         "pubsub.channels: count must be a whole number from 2 to 5, not 1"},
        {"{\"pattern\":\"a\",\"any\":-1}",
         "pubsub.channels: any must be a whole number from 0 to 9223372036854775807, not -1"},
        {"{\"pattern\":\"a\",\"all\":1}", "pubsub.channels: all must be true or false, not 1"},
        {"{\"pattern\":\"a\",\"other\":1}", "pubsub.channels has no argument 'other'"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        call(i, "pubsub.channels", rows[i].args);
        assert_int_equal(n_given, i + 1);
        assert_string_equal(error_in(given, "code"), "bad_argument");
        assert_string_equal(error_in(given, "message"), rows[i].why);
    }
    assert_int_equal(n_runs, 0);
}

static void call__later__answered_once_the_command_says_so(void **state UNUSED)
{
    call(8, "pubsub.wait", NULL);
    assert_int_equal(n_given, 0);
    call(9, "pubsub.channels", "{\"pattern\":\"x\"}");
    assert_int_equal(given_to, 9);
    arb_answer_text(kept, "[1, \"two\"]");
    assert_int_equal(given_to, 8);
    assert_int_equal(json_array_size(json_object_get(given, "result")), 2);
    assert_int_equal(n_given, 2);
}

static void call__never__its_handle_ends_with_the_process(void **state UNUSED)
{
    call(8, "pubsub.wait", NULL);
    assert_int_equal(calls.n, 1);
    own_calls_fini(&calls);
    assert_int_equal(n_given, 0);
}

static void call__too_many_unanswered__refused(void **state UNUSED)
{
    struct arb_answer *last;

    for (unsigned i = 0; i < OWN_CALLS_MAX; i++)
        call(i, "pubsub.wait", NULL);
    assert_int_equal(n_given, 0);
    last = kept;
    call(4711, "pubsub.wait", NULL);
    assert_int_equal(given_to, 4711);
    assert_string_equal(error_in(given, "code"), "busy");
    assert_int_equal(n_runs, OWN_CALLS_MAX);
    arb_answer_json(last, NULL);
    assert_true(json_is_null(json_object_get(given, "result")));
    call(4712, "pubsub.wait", NULL);
    assert_int_equal(n_runs, OWN_CALLS_MAX + 1);
}

static void answer__error__code_and_message(void **state UNUSED)
{
    call(1, "pubsub.wait", NULL);
    arb_answer_error(kept, "no_such_channel", "there is no channel \xff");
    assert_string_equal(error_in(given, "code"), "no_such_channel");
    assert_string_equal(error_in(given, "message"), "there is no channel ?");
}

static void answer__text_is_no_json__an_error_and_einval(void **state UNUSED)
{
    static const char *const texts[] = {"", "{", "hello", "{\"a\":1} x", "\xff"};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        call(i, "pubsub.wait", NULL);
        assert_int_equal(arb_answer_text(kept, texts[i]), -EINVAL);
        assert_int_equal(given_to, i);
        assert_string_equal(error_in(given, "code"), "internal");
    }
    call(5, "pubsub.wait", NULL);
    assert_int_equal(arb_answer_text(kept, "\"hello\""), 0);
    assert_string_equal(json_string_value(json_object_get(given, "result")), "hello");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(find__by_full_name__where_it_runs),
        TEST(list__all__with_help_and_arguments),
        TEST(call__now__answered_with_data_and_arguments),
        TEST(call__wrong_arguments__refused_before_it_runs),
        TEST(call__later__answered_once_the_command_says_so),
        TEST(call__never__its_handle_ends_with_the_process),
        TEST(call__too_many_unanswered__refused),
        TEST(answer__error__code_and_message),
        TEST(answer__text_is_no_json__an_error_and_einval),
    };

    return cmocka_run_group_tests_name("own_call", tests, NULL, NULL);
}
