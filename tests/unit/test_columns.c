/*
 * Numbers with units and aligned columns: what stands where, to the character.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "client/columns.h"
#include "client/human.h"

static void count__small_and_large__exact_then_three_digits(void **state UNUSED)
{
    static const struct {
        uint64_t n;
        const char *text;
    } rows[] = {
        {0, "0"},           {99999, "99999"},       {100000, "100k"},
        {123456, "123k"},   {999499, "999k"},       {999500, "1.00M"},
        {1234567, "1.23M"}, {45600000000, "45.6G"}, {UINT64_MAX, "18.4E"},
    };
    char buf[HUMAN_LEN];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_string_equal(human_count(rows[i].n, buf), rows[i].text);
}

static void bytes__units__powers_of_1000(void **state UNUSED)
{
    static const struct {
        uint64_t n;
        const char *text;
    } rows[] = {
        {0, "0 B"},          {999, "999 B"},       {1000, "1.00 kB"},
        {1023, "1.02 kB"},   {99949, "99.9 kB"},   {99951, "100 kB"},
        {999600, "1.00 MB"}, {1234567, "1.23 MB"}, {UINT64_MAX, "18.4 EB"},
    };
    char buf[HUMAN_LEN];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_string_equal(human_bytes(rows[i].n, buf), rows[i].text);
}

static void rate__any_number__short_or_a_dash(void **state UNUSED)
{
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        {0, "0"},       {0.001, "0"},     {0.25, "0.25"},   {12.345, "12.3"},
        {999.4, "999"}, {999.6, "1.00k"}, {12345, "12.3k"}, {1e30, "999T"},
        {NAN, "-"},     {INFINITY, "-"},  {-1, "-"},
    };
    char buf[HUMAN_LEN];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_string_equal(human_rate(rows[i].value, buf), rows[i].text);
    assert_string_equal(human_byte_rate(1999.6, buf), "2.00 kB");
    assert_string_equal(human_byte_rate(NAN, buf), "-");
    assert_string_equal(human_byte_rate(1e30, buf), "-");
}

static void duration__any_time__two_units_at_most(void **state UNUSED)
{
    static const struct {
        double seconds;
        const char *text;
    } rows[] = {
        {0, "0.0ms"},      {0.0004, "0.4ms"}, {0.0154, "15ms"}, {0.9994, "999ms"},
        {1, "1.0s"},       {9.94, "9.9s"},    {10, "10s"},      {59.9, "59s"},
        {60, "1m 00s"},    {3599, "59m 59s"}, {3600, "1h 00m"}, {86399, "23h 59m"},
        {86400, "1d 00h"}, {1e6, "11d 13h"},  {NAN, "-"},       {-1, "-"},
        {INFINITY, "-"},
    };
    char buf[HUMAN_LEN];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_string_equal(human_duration(rows[i].seconds, buf), rows[i].text);
}

static void clean__control_bytes__question_marks(void **state UNUSED)
{
    char text[] = "a\033[2Jb\r\n\x7f\t\302\233"
                  "5m \303\251 \302\251 \302";

    assert_string_equal(human_clean(text), "a?[2Jb??"
                                           "????"
                                           "5m \303\251 \302\251 \302");
}

static void time__any_time__three_digits_at_least(void **state UNUSED)
{
    static const struct {
        double seconds;
        const char *text;
    } rows[] = {
        {0, "0.0us"},        {0.0000823, "82.3us"},
        {0.00123, "1.23ms"}, {0.1234, "123.40ms"},
        {4.5678, "4.568s"},  {NAN, "-"},
        {-1, "-"},
    };
    char buf[HUMAN_LEN];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
        assert_string_equal(human_time(rows[i].seconds, buf), rows[i].text);
}

static void grouped__any_number__threes(void **state UNUSED)
{
    char buf[HUMAN_LEN];

    assert_string_equal(human_grouped(0, buf), "0");
    assert_string_equal(human_grouped(999, buf), "999");
    assert_string_equal(human_grouped(1000, buf), "1 000");
    assert_string_equal(human_grouped(1204331, buf), "1 204 331");
    assert_string_equal(human_grouped(UINT64_MAX, buf), "18 446 744 073 709 551 615");
}

/* ---- columns ---- */

static const struct column three[] = {
    {"NAME", "name", SHOW_TEXT, 0}, {"N", "in/n", SHOW_NUMBER, 4}, {"LAST", "last", SHOW_TEXT, 0}};

static json_t *load(const char *text)
{
    json_error_t error;
    json_t *o = json_loads(text, 0, &error);

    if (!o)
        fail_msg("%s: %s", error.text, text);
    return o;
}

static void check(const struct column *columns, size_t n, const char *rows, const char *expected)
{
    json_t *o = load(rows);
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    assert_int_equal(columns_write(f, columns, n, o), 0);
    fclose(f);
    assert_string_equal(text, expected);
    free(text);
    json_decref(o);
}

static void columns__cells_of_any_width__aligned(void **state UNUSED)
{
    check(three, 3,
          "[{\"name\":\"a\",\"in\":{\"n\":1},\"last\":\"x\"},"
          "{\"name\":\"a long name\",\"in\":{\"n\":23456},\"last\":\"yy\"},"
          "{\"name\":\"\xc3\xa9\xc3\xa9\",\"in\":{\"n\":7},\"last\":\"\"}]",
          "NAME             N  LAST\n"
          "a                1  x\n"
          "a long name  23456  yy\n"
          "\xc3\xa9\xc3\xa9               7\n");
}

static void columns__no_rows__titles(void **state UNUSED)
{
    check(three, 3, "[]", "NAME     N  LAST\n");
}

static void columns__one_object__one_row(void **state UNUSED)
{
    check(three, 3, "{\"name\":\"a\"}", "NAME     N  LAST\na        -  -\n");
}

static void columns__neither_array_nor_object__bad_message(void **state UNUSED)
{
    json_t *o = json_integer(5);

    assert_int_equal(columns_write(stdout, three, 3, o), -EBADMSG);
    assert_int_equal(columns_write(stdout, three, 3, NULL), -EBADMSG);
    json_decref(o);
}

static void columns__cell_with_controls__harmless(void **state UNUSED)
{
    check(three, 3, "[{\"name\":\"a\\nb\",\"in\":{\"n\":1},\"last\":\"\\t\\u001b\"}]",
          "NAME     N  LAST\na?b      1  ??\n");
}

/* Missing, null, or of another kind: no guess. */
static void columns__no_such_value__dash(void **state UNUSED)
{
    check(three, 3, "[{\"name\":null,\"in\":{\"n\":\"1\"},\"last\":{\"a\":[1]}},7,{\"in\":3}]",
          "NAME     N  LAST\n"
          "-        -  {\"a\":[1]}\n"
          "-        -  -\n"
          "-        -  -\n");
}

static void columns__each_way_to_show__as_it_says(void **state UNUSED)
{
    static const struct {
        enum column_show show;
        const char *value, *text;
    } rows[] = {
        {SHOW_LIST, "[\"a\",1,[]]", "a 1 []"},
        {SHOW_NUMBER, "1234567", "1234567"},
        {SHOW_GROUPED, "1234567", "1 234 567"},
        {SHOW_FIXED, "1.25", "1.2"},
        {SHOW_FIXED_2, "1.257", "1.26"},
        {SHOW_FIXED_3, "-2", "-2.000"},
        {SHOW_MEGA, "1500000", "1.500"},
        {SHOW_COUNT, "1234567", "1.23M"},
        {SHOW_BYTES, "1500", "1.50 kB"},
        {SHOW_RATE, "0.25", "0.25"},
        {SHOW_BYTE_RATE, "2000000", "2.00 MB"},
        {SHOW_MS, "65000", "1m 05s"},
        {SHOW_MS, "1500", "1.5s"},
        {SHOW_EXACT_MS, "0.0823", "82.3us"},
        {SHOW_US, "82.3", "82.3us"},
        {SHOW_RATE, "null", "-"},
    };
    char row[64], text[64];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct column one = {"", "v", rows[i].show, 0};

        snprintf(row, sizeof(row), "{\"v\":%s}", rows[i].value);
        snprintf(text, sizeof(text), "\n%s\n", rows[i].text);
        check(&one, 1, row, text);
    }
}

static void columns__long_note__cut_between_characters(void **state UNUSED)
{
    static const struct column one = {"", "v", SHOW_NOTE, 0};
    char row[500] = "{\"v\":\"x", text[500] = "\nx";

    for (int i = 0; i < 100; i++)
        strcat(row, "\xc3\xbc");
    strcat(row, "\"}");
    for (int i = 0; i < 79; i++)
        strcat(text, "\xc3\xbc");
    strcat(text, "...\n");
    check(&one, 1, row, text);
}

static void counts__some_are_0__only_the_others(void **state UNUSED)
{
    static const struct column_count counts[] = {{"sent", "went out"}, {"lost", "did not"}};
    json_t *o = load("{\"sent\":1200,\"lost\":0,\"more\":5}");
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    assert_int_equal(columns_write_counts(f, counts, 2, o), 0);
    fclose(f);
    assert_string_equal(text, "COUNT\n"
                              "sent                       1 200  went out\n");
    free(text);
    json_decref(o);
}

static void columns_fitting__each_width__whole_columns_only(void **state UNUSED)
{
    struct columns t;

    columns_init(&t, three, ARRAY_SIZE(three)); /* 4, 2 + 4, 2 + 4 characters */
    assert_int_equal(columns_fitting(&t, 0), 0);
    assert_int_equal(columns_fitting(&t, 3), 0);
    assert_int_equal(columns_fitting(&t, 4), 1);
    assert_int_equal(columns_fitting(&t, 9), 1);
    assert_int_equal(columns_fitting(&t, 10), 2);
    assert_int_equal(columns_fitting(&t, 15), 2);
    assert_int_equal(columns_fitting(&t, 16), 3);
    assert_int_equal(columns_fitting(&t, 1000), 3);
    columns_fini(&t);
}

/* On a narrow terminal: words go on below, columns in a further part. */
static void columns_limit__wide_table__nothing_is_lost(void **state UNUSED)
{
    static const struct column columns[] = {{"NAME", "n", SHOW_TEXT, 0},
                                            {"COUNT", "c", SHOW_NUMBER, 0},
                                            {"WHAT IT DOES", "h", SHOW_TEXT, 0}};
    static const struct column numbers[] = {{"NAME", "n", SHOW_TEXT, 0},
                                            {"COUNT", "c", SHOW_NUMBER, 0},
                                            {"A LONG TITLE", "c", SHOW_NUMBER, 0},
                                            {"THE LAST", "n", SHOW_TEXT, 0}};
    static const struct column moment[] = {
        {"NAME", "n", SHOW_TEXT, 0}, {"AT", "t", SHOW_TEXT, 0}, {"COUNTED", "c", SHOW_NUMBER, 8}};
    static const char row[] =
        "[{\"n\":\"one\",\"c\":12345,\"h\":\"eats what is there, and asks for more of it\"},"
        "{\"n\":\"two\",\"c\":1,\"h\":\"nothing\"}]";

    columns_limit(40);
    check(columns, 3, row,
          "NAME  COUNT  WHAT IT DOES\n"
          "one   12345  eats what is there, and\n"
          "             asks for more of it\n"
          "two       1  nothing\n");
    columns_limit(20);
    check(numbers, 4, row,
          "NAME  COUNT\n"
          "one   12345\n"
          "two       1\n"
          "NAME  A LONG TITLE\n"
          "one          12345\n"
          "two              1\n"
          "NAME  THE LAST\n"
          "one   one\n"
          "two   two\n");
    columns_limit(36); /* a moment is one word */
    check(moment, 3, "{\"n\":\"one\",\"t\":\"2026-11-30T18:06:13.607Z\",\"c\":12345}",
          "NAME  AT\n"
          "one   2026-11-30T18:06:13.607Z\n"
          "NAME   COUNTED\n"
          "one      12345\n");
    columns_limit(20); /* there is no room for it */
    check(moment, 2, "{\"n\":\"one\",\"t\":\"2026-11-30T18:06:13.607Z\",\"c\":12345}",
          "NAME  AT\n"
          "one   2026-11-30T18:06\n"
          "      :13.607Z\n");
    assert_int_equal(columns_room(50, 8), 12);
    assert_int_equal(columns_room(50, 15), 10);
    columns_limit(0);
    assert_int_equal(columns_room(50, 8), 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(count__small_and_large__exact_then_three_digits),
        cmocka_unit_test(bytes__units__powers_of_1000),
        cmocka_unit_test(rate__any_number__short_or_a_dash),
        cmocka_unit_test(duration__any_time__two_units_at_most),
        cmocka_unit_test(clean__control_bytes__question_marks),
        cmocka_unit_test(columns__cells_of_any_width__aligned),
        cmocka_unit_test(columns__no_rows__titles),
        cmocka_unit_test(time__any_time__three_digits_at_least),
        cmocka_unit_test(grouped__any_number__threes),
        cmocka_unit_test(columns__one_object__one_row),
        cmocka_unit_test(columns__neither_array_nor_object__bad_message),
        cmocka_unit_test(columns__cell_with_controls__harmless),
        cmocka_unit_test(columns__no_such_value__dash),
        cmocka_unit_test(columns__each_way_to_show__as_it_says),
        cmocka_unit_test(columns__long_note__cut_between_characters),
        cmocka_unit_test(counts__some_are_0__only_the_others),
        cmocka_unit_test(columns_fitting__each_width__whole_columns_only),
        cmocka_unit_test(columns_limit__wide_table__nothing_is_lost),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
