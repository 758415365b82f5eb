/*
 * The scan of the text: what is refused before libconfig sees it, what is blanked out, and that a
 * word in a string or comment is none.
 */
#include "conf/config_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/util.h"
#include "support/schema.h"

struct scanned {
    struct config_text text;
    struct config_errors errors;
    char *buf;
    int result;
};

static void scan(struct scanned *s, const char *text, size_t len)
{
    memset(s, 0, sizeof(*s));
    s->buf = malloc(len + 1);
    assert_non_null(s->buf);
    memcpy(s->buf, text, len);
    s->buf[len] = '\0';
    s->result = config_text_scan(schema_of_echo(), s->buf, len, "F", &s->text, &s->errors);
}

static void scanned_fini(struct scanned *s)
{
    config_errors_fini(&s->errors);
    free(s->buf);
}

static void expect_number(const struct scanned *s, int key, unsigned line, const char *number)
{
    assert_int_equal(s->text.key[key].line, line);
    assert_non_null(s->text.key[key].number);
    assert_int_equal(s->text.key[key].number_len, strlen(number));
    assert_memory_equal(s->text.key[key].number, number, strlen(number));
}

/* Each case: what is told (in order, by its beginning), and what libconfig would get to see. */
struct text_case {
    const char *text;
    int result;
    const char *errors[5];
    const char *left; /* NULL = not looked at */
};

static void check_case(const struct text_case *t)
{
    struct scanned s;
    size_t n = 0;

    scan(&s, t->text, strlen(t->text));
    for (; n < ARRAY_SIZE(t->errors) && t->errors[n]; n++)
        if (n >= s.errors.n || strncmp(s.errors.text[n], t->errors[n], strlen(t->errors[n])) != 0)
            fail_msg("\"%s\": error %zu is \"%s\", not \"%s\"", t->text, n,
                     n < s.errors.n ? s.errors.text[n] : "missing", t->errors[n]);
    if (s.errors.n != n)
        fail_msg("\"%s\": one error too many: %s", t->text, s.errors.text[n]);
    for (size_t i = 0; i < n; i++)
        assert_non_null(strstr(s.errors.text[i], ", allowed: ")
                            ?: strstr(s.errors.text[i], "given"));
    if (s.result != t->result)
        fail_msg("\"%s\": %d is returned", t->text, s.result);
    if (t->left && strcmp(s.buf, t->left) != 0)
        fail_msg("\"%s\": \"%s\" is left", t->text, s.buf);
    scanned_fini(&s);
}

static void scan__refused_statements__told_and_blanked(void **state UNUSED)
{
    static const struct text_case cases[] = {
        {"", 0, {NULL}, ""},
        {"# only a comment", 0, {NULL}, NULL},
        {"arbiter={workers=1;};", 0, {NULL}, "arbiter={workers=1;};"},
        {"arbiter={workerz=1;};",
         0,
         {"F:1: arbiter.workerz: unknown key (did you mean workers?), allowed: workers, "
          "cpu_affinity, boot_"},
         "arbiter={          };"},
        {"arbiter={a=1;b=2 c=3,workers=4;d=5};",
         0,
         {"F:1: arbiter.a: ", "F:1: arbiter.b: ", "F:1: arbiter.c: ", "F:1: arbiter.d: "},
         "arbiter={            workers=4;   };"},
        {"arbiter={workers=1;\nworkers\n=\n2;daemon=true;}",
         0,
         {"F:2: arbiter.workers: given twice, first in line 1, allowed: once"},
         "arbiter={workers=1;\n       \n \n  daemon=true;}"},
        {"log={};log={level=1;};",
         0,
         {"F:1: log: given twice, allowed: one group"},
         "log={};               "},
        {"lag={level=\"a;}\";{x=1;}};log={};",
         0,
         {"F:1: lag: unknown group, allowed: arbiter, server, log, status"},
         "                         log={};"},
        {"workers=1;",
         0,
         {"F:1: workers: outside of its group, allowed: arbiter = { workers = VALUE; ... }"},
         NULL},
        {"log=1;", 0, {"F:1: log: not a group, allowed: log = {"}, NULL},
        {"log={level={a=1;};file=\"\";}",
         0,
         {"F:1: log.level: holds a group, allowed: \"debug\""},
         "log={             file=\"\";}"},
        {"server={bind=[{a=1;a=1;},{b=2;}];}",
         0,
         {"F:1: server.bind: holds a group"},
         "server={                         }"},
        {"server={bind={address=\":1\";};}",
         0,
         {"F:1: server.bind: holds a group"},
         "server={                     }"},
        {"server={bind=({a=1;},\"\",{workers=2;b={c=1;};});backlog={};}",
         0,
         {"F:1: server.backlog: holds a group"},
         "server={bind=({a=1;},\"\",{workers=2;b={c=1;};});           }"},
        {"arbiter={daemon=yes;workers=nan;}",
         0,
         {"F:1: arbiter.daemon: yes is a bare word, allowed: true or false",
          "F:1: arbiter.workers: nan is a bare word"},
         NULL},
        {"arbiter={workers=1;\nserver={bind=\":1\";};}",
         0,
         {"F:2: arbiter.server: unknown key; is a } missing before it?"},
         NULL},
        {"arbiter.workers=1;",
         0,
         {"F:1: arbiter.workers: outside of its group, allowed: arbiter = { workers = VALUE; ... "
          "}"},
         NULL},
        {"arbiter={workers=};5;", 0, {NULL}, NULL},
        {"\xc3\xa9=1;", 0, {NULL}, NULL}, /* left to libconfig: a syntax error */
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        check_case(&cases[i]);
}

static void scan__what_libconfig_had_better_not_see__unreadable(void **state UNUSED)
{
    static const struct text_case cases[] = {
        {"@include \"/etc\"\n",
         CONFIG_TEXT_UNREADABLE,
         {"F:1: @include: another file is never read"},
         NULL},
        {"log={};\n  @include\t\"x\"", CONFIG_TEXT_UNREADABLE, {"F:2: @include: "}, NULL},
        {"log={@include \"x\"};", CONFIG_TEXT_UNREADABLE, {"F:1: @include: "}, NULL},
        {"/* */ @include \"x\"", CONFIG_TEXT_UNREADABLE, {"F:1: @include: "}, NULL},
        {"log={file=\"abc;\n\n};", CONFIG_TEXT_UNREADABLE, {"F:1: a string begins here"}, NULL},
        {"log={file=\"abc\\\";};", CONFIG_TEXT_UNREADABLE, {"F:1: a string begins here"}, NULL},
        {"\"", CONFIG_TEXT_UNREADABLE, {"F:1: a string begins here"}, NULL},
        {"\"\\", CONFIG_TEXT_UNREADABLE, {"F:1: a string begins here"}, NULL},
        {"\n\n/* log={};\n", CONFIG_TEXT_UNREADABLE, {"F:3: a comment begins here"}, NULL},
        {"/*/", CONFIG_TEXT_UNREADABLE, {"F:1: a comment begins here"}, NULL},
        {"server={separator=\"a\\x00b\";};",
         CONFIG_TEXT_UNREADABLE,
         {"F:1: server.separator: a string with \\x00"},
         NULL},
        {"server={separator=\"\\X00\";};",
         CONFIG_TEXT_UNREADABLE,
         {"F:1: server.separator: a string with \\x00"},
         NULL},
        {"log={\n\n", CONFIG_TEXT_UNREADABLE, {"F:1: { is never closed"}, NULL},
        {"server={bind=[\n\"a\";\n};",
         CONFIG_TEXT_UNREADABLE,
         {"F:3: } does not close the [ of line 1"},
         NULL},
        {"log={};\n};", CONFIG_TEXT_UNREADABLE, {"F:2: } closes nothing"}, NULL},
        {")", CONFIG_TEXT_UNREADABLE, {"F:1: ) closes nothing, allowed: one for each ("}, NULL},
        {"server={bind=((((((((((((((((((((",
         CONFIG_TEXT_UNREADABLE,
         {"F:1: nested too deeply"},
         NULL},
        {"lag=1;\n@", CONFIG_TEXT_UNREADABLE, {"F:1: lag: unknown group", "F:2: @include"}, NULL},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
        check_case(&cases[i]);
}

static void scan__nul_byte__unreadable_with_its_line(void **state UNUSED)
{
    static const char text[] = "log={\n};\n\0 x=1;";
    struct scanned s;

    scan(&s, text, sizeof(text) - 1);
    assert_int_equal(s.result, CONFIG_TEXT_UNREADABLE);
    assert_int_equal(s.errors.n, 1);
    assert_string_equal(s.errors.text[0], "F:3: a NUL byte, allowed: text");
    scanned_fini(&s);
}

static void scan__strings_and_comments__hide_everything(void **state UNUSED)
{
    static const char text[] =
        "# @include \"x\" lag={\n"
        "// @include \"x\" }\n"
        "/* @include\n\"x\" }} */\n"
        "log /* a */ = // b\n"
        "{ file = \"@include \\\"x\\\" = { \\\\\" \"# // /*\"; /**/ level : \"\\\\x00\" };\n"
        "/***/server={separator=\"\n\";backlog=7;};";
    struct scanned s;

    scan(&s, text, strlen(text));
    if (s.errors.n)
        fail_msg("%s", s.errors.text[0]);
    assert_int_equal(s.result, 0);
    assert_string_equal(s.buf, text);
    assert_int_equal(s.text.key[CONFIG_LOG_FILE].line, 6);
    assert_int_equal(s.text.key[CONFIG_LOG_LEVEL].line, 6);
    assert_null(s.text.key[CONFIG_LOG_FILE].number);
    expect_number(&s, CONFIG_BACKLOG, 8, "7");
    scanned_fini(&s);
}

static void scan__numbers__kept_as_written(void **state UNUSED)
{
    static const char text[] =
        "arbiter={workers=4294967296;boot_timeout:+1e999,exit_timeout=\n0x1F;};\n"
        "server={backlog=-10L keep_alive = /* c */ .5; write_timeout=1-2;\n"
        "max_connections=010#\n;bind=[1,2];message_timeout=5workers=3;};";
    struct scanned s;

    scan(&s, text, strlen(text));
    if (s.errors.n)
        fail_msg("%s", s.errors.text[0]);
    expect_number(&s, CONFIG_WORKERS, 1, "4294967296");
    expect_number(&s, CONFIG_BOOT_TIMEOUT, 1, "+1e999");
    expect_number(&s, CONFIG_EXIT_TIMEOUT, 1, "0x1F");
    expect_number(&s, CONFIG_BACKLOG, 3, "-10L");
    expect_number(&s, CONFIG_KEEP_ALIVE, 3, ".5");
    expect_number(&s, CONFIG_WRITE_TIMEOUT, 3, "1-2");
    expect_number(&s, CONFIG_MAX_CONNECTIONS, 4, "010");
    expect_number(&s, CONFIG_MESSAGE_TIMEOUT, 5, "5workers");
    assert_null(s.text.key[CONFIG_BIND].number);
    scanned_fini(&s);
}

static void scan__more_errors_than_places__counted(void **state UNUSED)
{
    char text[4096] = "log={\n", *p = text + strlen(text);
    struct scanned s;

    for (unsigned i = 0; i < 100; i++)
        p += sprintf(p, "key_%u = %u;\n", i, i);
    strcpy(p, "};");
    scan(&s, text, strlen(text));
    assert_int_equal(s.result, 0);
    assert_int_equal(s.errors.n, CONFIG_ERRORS_MAX - 1);
    assert_string_equal(
        s.errors.text[30],
        "F:32: log.key_30: unknown key, allowed: level, file, format, crash_payload, connections");
    config_errors_close(&s.errors, "F");
    assert_int_equal(s.errors.n, CONFIG_ERRORS_MAX);
    assert_string_equal(s.errors.text[31], "F: 69 more of this kind");
    scanned_fini(&s);
}

static void errors__added_in_any_order__told_in_the_order_of_lines(void **state UNUSED)
{
    struct config_errors e = {.n = 0};

    config_errors_add(&e, "F", 7, "c");
    config_errors_add(&e, "F", 2, "%s", "a");
    config_errors_add(&e, "F", 7, "d");
    config_errors_add(&e, "F", 3, "b");
    config_errors_add(&e, "F", 0, "whole");
    assert_int_equal(e.n, 5);
    assert_string_equal(e.text[0], "F: whole");
    assert_string_equal(e.text[1], "F:2: a");
    assert_string_equal(e.text[2], "F:3: b");
    assert_string_equal(e.text[3], "F:7: c");
    assert_string_equal(e.text[4], "F:7: d");
    config_errors_fini(&e);
    assert_int_equal(e.n, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scan__refused_statements__told_and_blanked),
        cmocka_unit_test(scan__what_libconfig_had_better_not_see__unreadable),
        cmocka_unit_test(scan__nul_byte__unreadable_with_its_line),
        cmocka_unit_test(scan__strings_and_comments__hide_everything),
        cmocka_unit_test(scan__numbers__kept_as_written),
        cmocka_unit_test(scan__more_errors_than_places__counted),
        cmocka_unit_test(errors__added_in_any_order__told_in_the_order_of_lines),
    };

    return cmocka_run_group_tests_name("config_text", tests, NULL, NULL);
}
