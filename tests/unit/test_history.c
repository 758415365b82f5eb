/*
 * The last changes: how their results read, and that there are never too many.
 */
#include "arbiter/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "actor/command.h"
#include "base/util.h"

static const char *text_at(const json_t *history, size_t i, const char *member)
{
    const char *text = json_string_value(json_object_get(json_array_get(history, i), member));

    assert_non_null(text);
    return text;
}

static void note__too_many__the_oldest_go(void **state UNUSED)
{
    json_t *history = json_array();
    char what[32];

    for (int i = 0; i < 3 * HISTORY_KEPT; i++) {
        snprintf(what, sizeof(what), "change %d", i);
        history_note(history, "scale", true, 0, what);
        assert_true(json_array_size(history) <= HISTORY_KEPT);
        assert_string_equal(text_at(history, json_array_size(history) - 1, "what"), what);
    }
    assert_string_equal(text_at(history, 0, "what"), "change 32");
    json_decref(history);
}

static void note__any_text__bounded_and_json(void **state UNUSED)
{
    json_t *history = json_array();
    char long_text[1000];

    memset(long_text, 'x', sizeof(long_text) - 1);
    long_text[sizeof(long_text) - 1] = '\0';
    history_note(history, "reload", false, 7, long_text);
    assert_int_equal(strlen(text_at(history, 0, "what")), HISTORY_WHAT_LEN - 1);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(history, 0), "took_ms")), 7);
    assert_int_equal(strlen(text_at(history, 0, "time")), strlen("2026-11-30T00:00:00Z"));
    history_note(history, "reload", false, 0, "a path with \xff in it");
    assert_string_equal(text_at(history, 1, "what"), "a path with ? in it");
    json_decref(history);
}

static void note_answer__as_the_askers_are_told(void **state UNUSED)
{
    static const struct {
        const char *body, *what;
        bool is_done;
    } rows[] = {
        {"{\"result\":{\"revision\":3,\"changed\":[{}]}}", "revision 3, 1 key changed", true},
        {"{\"result\":{\"revision\":4,\"changed\":[]}}", "revision 4, 0 keys changed", true},
        {"{\"result\":{\"revision\":5,\"version\":\"2\",\"old_version\":\"1\"}}",
         "revision 5, version 2 from 1", true},
        {"{\"error\":{\"code\":\"rollback\",\"message\":\"no such file\"}}", "no such file", false},
        {"{\"error\":{}}", "?", false},
    };
    json_t *history = json_array();

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        json_t *body = json_loads(rows[i].body, 0, NULL);

        history_note_answer(history, "reload", 1, body);
        assert_string_equal(text_at(history, i, "what"), rows[i].what);
        assert_int_equal(json_is_true(json_object_get(json_array_get(history, i), "done")),
                         rows[i].is_done);
        json_decref(body);
    }
    json_decref(history);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(note__too_many__the_oldest_go),
        cmocka_unit_test(note__any_text__bounded_and_json),
        cmocka_unit_test(note_answer__as_the_askers_are_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
