/*
 * Numbers with units and aligned columns: what stands where, to the character.
 */
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

/* ---- columns ---- */

static const struct column three[] = {{"NAME", false, 0}, {"N", true, 4}, {"LAST", false, 0}};

static void fill(struct columns *t, size_t n, const char *const *cells)
{
    columns_init(t, three, ARRAY_SIZE(three));
    for (size_t i = 0; i < n; i++)
        columns_add(t, cells[i]);
}

static char *written(struct columns *t)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    assert_int_equal(columns_finish(t, f), 0);
    fclose(f);
    return text;
}

static void columns__cells_of_any_width__aligned(void **state UNUSED)
{
    static const char *const cells[] = {
        "a", "1", "x", "a long name", "23456", "yy", "b", "\xc3\xa9\xc3\xa9", ""};
    struct columns t;
    char *text;

    fill(&t, ARRAY_SIZE(cells), cells);
    text = written(&t);
    assert_string_equal(text, "NAME             N  LAST\n"
                              "a                1  x\n"
                              "a long name  23456  yy\n"
                              "b               \xc3\xa9\xc3\xa9\n");
    free(text);
}

static void columns__no_rows__titles(void **state UNUSED)
{
    struct columns t;
    char *text;

    fill(&t, 0, NULL);
    assert_int_equal(columns_rows(&t), 0);
    text = written(&t);
    assert_string_equal(text, "NAME     N  LAST\n");
    free(text);
}

static void columns__cell_with_controls__harmless(void **state UNUSED)
{
    static const char *const cells[] = {"a\nb", "\033", "\t"};
    struct columns t;
    char *text;

    fill(&t, ARRAY_SIZE(cells), cells);
    text = written(&t);
    assert_string_equal(text, "NAME     N  LAST\na?b      ?  ?\n");
    free(text);
}

static void columns_fitting__each_width__whole_columns_only(void **state UNUSED)
{
    struct columns t;

    fill(&t, 0, NULL); /* 4, 2 + 4, 2 + 4 characters */
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
        cmocka_unit_test(columns__cell_with_controls__harmless),
        cmocka_unit_test(columns_fitting__each_width__whole_columns_only),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
