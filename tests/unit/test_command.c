/*
 * The table of commands: who may give what, with which arguments; and text in answers.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "actor/command.h"
#include "arbiter/commands.h"
#include "base/util.h"
#include "worker/worker.h"

static void command_text__any_bytes__a_string(void **state UNUSED)
{
    static const struct {
        const char *text, *string;
    } rows[] = {
        {"", ""},
        {"/run/p.pid", "/run/p.pid"},
        {"/run/\xc3\xa9", "/run/\xc3\xa9"}, /* UTF-8 stays as it is */
        {"/run/\xe9.pid", "/run/?.pid"},
        {"\xc3\xa9\xff", "???"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        json_t *value = command_text(rows[i].text);

        assert_string_equal(json_string_value(value), rows[i].string);
        json_decref(value);
    }
    assert_null(command_text(NULL));
}

static void command_error__message_no_utf8__still_an_error(void **state UNUSED)
{
    json_t *body = command_error("config", "\xe9: no such file");
    const json_t *error = json_object_get(body, "error");

    assert_string_equal(json_string_value(json_object_get(error, "code")), "config");
    assert_string_equal(json_string_value(json_object_get(error, "message")), "?: no such file");
    json_decref(body);
}

static void command_check__each_request__allowed_or_why_not(void **state UNUSED)
{
    static const struct {
        const char *name;
        const struct command_set *set;
        unsigned caller;
        const char *args, *code; /* NULL = allowed */
    } rows[] = {
        {"ping", &worker_commands, COMMAND_BY_OPERATOR, "{}", NULL},
        {"ping", &worker_commands, COMMAND_BY_OPERATOR, "{\"a\":1}", "bad_argument"},
        {"scale", &arbiter_commands, COMMAND_BY_WORKER, "{\"workers\":2}", "not_allowed"},
        {"scale", &arbiter_commands, COMMAND_BY_OPERATOR, "{\"workers\":2}", NULL},
        {"scale", &arbiter_commands, COMMAND_BY_ASKER, "{\"workers\":2}", "not_allowed"},
        {"info", &arbiter_commands, COMMAND_BY_ASKER, "{}", NULL},
        {"info", &worker_commands, COMMAND_BY_ASKER, "{}", NULL},
        {"stop", &worker_commands, COMMAND_BY_ASKER, "{}", "not_allowed"},
        {"take", &worker_commands, COMMAND_BY_ASKER, "{}", "not_allowed"},
        {"scale", &arbiter_commands, COMMAND_BY_OPERATOR, "{\"workers\":0}", "bad_argument"},
        {"scale", &arbiter_commands, COMMAND_BY_OPERATOR, "{\"workers\":-1}", "bad_argument"},
        {"scale", &arbiter_commands, COMMAND_BY_OPERATOR, "{}", "bad_argument"},
        {"log_level", &worker_commands, COMMAND_BY_ARBITER, "{\"level\":\"debug\"}", NULL},
        {"stop", &worker_commands, COMMAND_BY_ARBITER, "{\"to\":[\"worker.2\"]}", NULL},
        {"stop", &worker_commands, COMMAND_BY_OPERATOR, "{\"to\":[\"worker.2\"]}", "bad_argument"},
        {"log_level", &worker_commands, COMMAND_BY_ARBITER, "{\"level\":\"all\"}", "bad_argument"},
        {"log_level", &worker_commands, COMMAND_BY_ARBITER, "{\"level\":4}", "bad_argument"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        json_t *args = json_loads(rows[i].args, 0, NULL);
        const char *code = NULL;
        char why[256] = "";
        int rc = command_check(command_find(rows[i].set, rows[i].name), rows[i].caller, args, &code,
                               why, sizeof(why));

        assert_int_equal(rc, rows[i].code ? -EINVAL : 0);
        if (rows[i].code) {
            assert_string_equal(code, rows[i].code);
            assert_true(why[0] != '\0');
        }
        json_decref(args);
    }
    assert_null(command_find(&arbiter_commands, "jump"));
    assert_null(command_find(&worker_commands, "scale"));
}

/* As a row of README's table: "| `scale workers=` | arbiter | What it does |". */
static void format_row(const json_t *row, char *ret, size_t size)
{
    const bool is_arbiters = json_is_true(json_object_get(row, "arbiter"));
    const bool is_workers = json_is_true(json_object_get(row, "worker"));
    char args[128] = "";
    size_t i;
    json_t *arg;

    json_array_foreach(json_object_get(row, "args"), i, arg)
    {
        const bool is_required = json_is_true(json_object_get(arg, "required"));
        const size_t len = strlen(args);

        snprintf(args + len, sizeof(args) - len, is_required ? " %s=" : " [%s=]",
                 json_string_value(json_object_get(arg, "name")));
    }
    snprintf(ret, size, "| `%s%s` | %s | %s | %s |\n",
             json_string_value(json_object_get(row, "name")), args,
             is_arbiters && is_workers ? "all"
             : is_arbiters             ? "arbiter"
                                       : "workers",
             json_string_value(json_object_get(row, "right")),
             json_string_value(json_object_get(row, "help")));
}

static void rows__of_the_same_name__take_the_same_right(void **state UNUSED)
{
    json_t *list = command_list(&arbiter_commands, &worker_commands, COMMAND_BY_ASKER), *row;
    size_t i, n = 0;

    json_array_foreach(list, i, row)
    {
        const char *name = json_string_value(json_object_get(row, "name"));
        const struct command_row *of_workers = command_find(&worker_commands, name);

        assert_string_equal(json_string_value(json_object_get(row, "right")), "ask");
        if (of_workers && (of_workers->callers & COMMAND_BY_OPERATOR)) {
            assert_true(of_workers->callers & COMMAND_BY_ASKER);
            n++;
        }
    }
    assert_true(n >= 3);
    assert_false(command_find(&worker_commands, "stop")->callers & COMMAND_BY_ASKER);
    json_decref(list);
}

static void command_list__for_operators__the_table_of_README(void **state UNUSED)
{
    json_t *list = command_list(&arbiter_commands, &worker_commands, COMMAND_BY_OPERATOR), *row;
    FILE *f = fopen("README.md", "re");
    char line[512] = "", expected[512];
    size_t i;

    assert_non_null(f);
    while (strncmp(line, "| Command |", 11) != 0)
        assert_non_null(fgets(line, sizeof(line), f));
    assert_non_null(fgets(line, sizeof(line), f)); /* |---| */
    json_array_foreach(list, i, row)
    {
        format_row(row, expected, sizeof(expected));
        assert_non_null(fgets(line, sizeof(line), f));
        assert_string_equal(line, expected);
    }
    assert_non_null(fgets(line, sizeof(line), f));
    assert_string_equal(line, "\n");
    fclose(f);
    json_decref(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(command_text__any_bytes__a_string),
        cmocka_unit_test(command_error__message_no_utf8__still_an_error),
        cmocka_unit_test(command_check__each_request__allowed_or_why_not),
        cmocka_unit_test(rows__of_the_same_name__take_the_same_right),
        cmocka_unit_test(command_list__for_operators__the_table_of_README),
    };

    return cmocka_run_group_tests_name("command", tests, NULL, NULL);
}
