/*
 * The log line of a signal handler: the same bytes as the usual one, whatever the time and values,
 * and never more than its room.
 */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/log_raw.h"
#include "base/util.h"

#define FIELDS(...) ((const struct log_field[]){__VA_ARGS__, {.key = NULL}})

static struct log_raw raw;
static char usual[LOG_LINE_MAX];

static void must_be_the_same(enum log_format format, uint64_t wall_ns, const char *text,
                             uint64_t number)
{
    struct log log = {.format = format, .actor = "worker.7"};
    size_t len, expected = log_render(usual, sizeof(usual), format, LOG_LEVEL_ERROR, log.actor,
                                      4711, wall_ns, "worker crashes",
                                      FIELDS(F_STR("signal", text), F_UINT("n", number)));

    log_raw_begin(&raw, &log, LOG_LEVEL_ERROR, wall_ns, 4711, "worker crashes");
    log_raw_str(&raw, "signal", text);
    log_raw_uint(&raw, "n", number);
    len = log_raw_end(&raw);
    assert_int_equal(raw.text[0], '\n');
    assert_string_equal(raw.text + 1, usual);
    assert_int_equal(len, expected);
}

static void log_raw__any_day__as_the_usual_line(void **state UNUSED)
{
    static const uint64_t day_ns = UINT64_C(86400000000000);

    for (uint64_t day = 0; day < 365 * 500; day += 13) {
        must_be_the_same(LOG_FORMAT_TEXT, day * day_ns, "SEGV", day);
        must_be_the_same(LOG_FORMAT_TEXT, day * day_ns + day_ns - 1, "SEGV", day);
    }
    for (uint64_t day = 365 * 30; day < 365 * 35; day++)
        must_be_the_same(LOG_FORMAT_JSON, day * day_ns + day * UINT64_C(997000007), "SEGV", day);
    must_be_the_same(LOG_FORMAT_TEXT, UINT64_MAX, "SEGV", 1);
}

static void log_raw__values__as_the_usual_line(void **state UNUSED)
{
    static const char *const texts[] = {"",  "x", "a b", "a=b", "0x1f", "libc.so.6(abort+0x12)",
                                        NULL};
    static const uint64_t numbers[] = {0, 9, 10, UINT64_MAX, INT64_MAX, UINT64_C(1) << 63};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        for (size_t k = 0; k < ARRAY_SIZE(numbers); k++) {
            must_be_the_same(LOG_FORMAT_TEXT, 1, texts[i], numbers[k]);
            must_be_the_same(LOG_FORMAT_JSON, 1, texts[i], numbers[k]);
        }
}

static void log_raw__what_needs_an_escape__question_mark(void **state UNUSED)
{
    struct log log = {.format = LOG_FORMAT_JSON, .actor = "worker.7"};
    json_t *line, *value;

    log_raw_begin(&raw, &log, LOG_LEVEL_ERROR, 1, 1, "m");
    log_raw_str(&raw, "v", "a\"b\\c\nd\x1b[\xff");
    line = json_loadb(raw.text + 1, log_raw_end(&raw), 0, NULL);
    value = json_object_get(line, "v");
    assert_string_equal(json_string_value(value), "a?b?c?d?[?");
    json_decref(line);
}

static void log_raw__addresses__hexadecimal(void **state UNUSED)
{
    static const struct {
        uint64_t value;
        const char *text;
    } rows[] = {{0, " v=0x0\n"}, {255, " v=0xff\n"}, {UINT64_MAX, " v=0xffffffffffffffff\n"}};
    struct log log = {.actor = "worker.7"};

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        log_raw_begin(&raw, &log, LOG_LEVEL_ERROR, 1, 1, "m");
        log_raw_address(&raw, "v", rows[i].value);
        log_raw_end(&raw);
        assert_string_equal(strstr(raw.text, " v="), rows[i].text);
    }
}

/* A field that is too long is left out, the line says so, and it is still one line. */
static void log_raw__too_much__cut_and_marked(void **state UNUSED)
{
    static char big[LOG_LINE_MAX];

    memset(big, 'x', sizeof(big) - 1);
    for (int format = LOG_FORMAT_TEXT; format <= LOG_FORMAT_JSON; format++) {
        struct log log = {.format = (enum log_format)format, .actor = "worker.7"};

        for (size_t n = 0; n < sizeof(big); n += 61) {
            log_raw_begin(&raw, &log, LOG_LEVEL_ERROR, 1, 1, "m");
            log_raw_str(&raw, "a", big + n);
            log_raw_str(&raw, "b", big + sizeof(big) - 500);
            log_raw_str(&raw, "c", "last");
            size_t len = log_raw_end(&raw);
            assert_true(len < sizeof(raw.text) - 1);
            assert_int_equal(strlen(raw.text + 1), len);
            assert_ptr_equal(strchr(raw.text + 1, '\n'), raw.text + len);
            bool is_cut = strstr(raw.text, "cut") != NULL;
            assert_int_equal(is_cut, strstr(raw.text, "last") == NULL);
            if (format == LOG_FORMAT_JSON) {
                json_t *line = json_loadb(raw.text + 1, len, 0, NULL);
                assert_non_null(line);
                json_decref(line);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_raw__any_day__as_the_usual_line),
        cmocka_unit_test(log_raw__values__as_the_usual_line),
        cmocka_unit_test(log_raw__what_needs_an_escape__question_mark),
        cmocka_unit_test(log_raw__addresses__hexadecimal),
        cmocka_unit_test(log_raw__too_much__cut_and_marked),
    };

    return cmocka_run_group_tests_name("log_raw", tests, NULL, NULL);
}
