/*
 * Strict numbers: every text that is not the whole of one number is refused, and nothing wraps.
 */
#include <errno.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "base/num.h"
#include "base/util.h"

static const uint64_t untouched = 0xdeadbeef;

struct number_case {
    const char *text;
    int result;
    uint64_t value;
};

typedef int parser(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

static void check_cases(parser *parse, const struct number_case *cases, size_t n, uint64_t max)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t value = untouched;
        int r = parse(cases[i].text, 0, max, &value);
        uint64_t expected = cases[i].result == 0 ? cases[i].value : untouched;

        if (r != cases[i].result || value != expected)
            fail_msg("\"%s\": returned %d and %" PRIu64 ", expected %d and %" PRIu64, cases[i].text,
                     r, value, cases[i].result, expected);
    }
}

static void num_parse_u64__table__strict(void **state UNUSED)
{
    static const struct number_case cases[] = {
        {"0", 0, 0},
        {"7", 0, 7},
        {"4294967296", 0, UINT64_C(4294967296)},
        {"18446744073709551615", 0, UINT64_MAX},
        {"18446744073709551616", -ERANGE, 0},
        {"99999999999999999999999999", -ERANGE, 0},
        {"", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"1 ", -EINVAL, 0},
        {"1\n", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"-0", -EINVAL, 0},
        {"0x10", -EINVAL, 0},
        {"010", -EINVAL, 0},
        {"00", -EINVAL, 0},
        {"1e3", -EINVAL, 0},
        {"1.0", -EINVAL, 0},
        {"1L", -EINVAL, 0},
        {"1_000", -EINVAL, 0},
        {"\xd9\xa3", -EINVAL, 0}, /* an Arabic-Indic three */
        {"inf", -EINVAL, 0},
    };

    check_cases(num_parse_u64, cases, ARRAY_SIZE(cases), UINT64_MAX);
}

static void num_parse_u64__outside_range__erange(void **state UNUSED)
{
    uint64_t value = untouched;

    assert_int_equal(num_parse_u64("4", 5, 9, &value), -ERANGE);
    assert_int_equal(num_parse_u64("10", 5, 9, &value), -ERANGE);
    assert_true(value == untouched);
    assert_int_equal(num_parse_u64("5", 5, 9, &value), 0);
    assert_true(value == 5);
    assert_int_equal(num_parse_u64("9", 5, 9, &value), 0);
    assert_true(value == 9);
}

static void num_parse_duration_ms__table__strict(void **state UNUSED)
{
    static const struct number_case cases[] = {
        {"0", 0, 0},
        {"0.0", 0, 0},
        {"0e999", 0, 0},
        {"30", 0, 30000},
        {"0.25", 0, 250},
        {"0.1", 0, 100},
        {"1e1", 0, 10000},
        {"1E+1", 0, 10000},
        {"2.5e-1", 0, 250},
        {"0.0004", 0, 1}, /* positive, so never 0 = "for ever" */
        {"1e-999", 0, 1},
        {"1e-99999999999999999999", 0, 1},
        {"0.00000000000000000000000000001", 0, 1},
        {"0.0014", 0, 1},
        {"0.0015", 0, 2},
        {"1.9996", 0, 2000},
        {"0.30000000000000000000000000000000001", 0, 300},
        {"9223372036854775.807", 0, INT64_MAX},
        {"18446744073709551616", -ERANGE, 0},
        {"1e999", -ERANGE, 0},
        {"1e99999999999999999999", -ERANGE, 0},
        {"1000000000000000000000000000000000000000000000000000000", -ERANGE, 0},
        {"inf", -EINVAL, 0},
        {"nan", -EINVAL, 0},
        {"", -EINVAL, 0},
        {".", -EINVAL, 0},
        {".2", 0, 200},
        {"5.", -EINVAL, 0},
        {"1e", -EINVAL, 0},
        {"1e+", -EINVAL, 0},
        {"1e1.5", -EINVAL, 0},
        {"1.5.5", -EINVAL, 0},
        {"-1", -EINVAL, 0},
        {"+1", -EINVAL, 0},
        {" 1", -EINVAL, 0},
        {"200ms", 0, 200},
        {"2s", 0, 2000},
        {"1.5m", 0, 90000},
        {".5h", 0, 1800000},
        {"0.0001h", 0, 360},
        {"0.4ms", 0, 1},
        {"0.5ms", 0, 1},
        {"1.5ms", 0, 2},
        {"1e3ms", 0, 1000},
        {"0.33333333333333333333333333333h", 0, 1200000},
        {"18446744073709551615ms", 0, UINT64_MAX},
        {"18446744073709551616ms", -ERANGE, 0},
        {"5124095576030.5h", -ERANGE, 0},
        {"s", -EINVAL, 0},
        {"ms", -EINVAL, 0},
        {"1 s", -EINVAL, 0},
        {"1sec", -EINVAL, 0},
        {"1ss", -EINVAL, 0},
        {"200msms", -EINVAL, 0},
        {"1M", -EINVAL, 0}, /* a month? */
        {"1d", -EINVAL, 0},
        {"64k", -EINVAL, 0},
        {"0x1p3", -EINVAL, 0},
        {"01", -EINVAL, 0},
        {"00.5", -EINVAL, 0},
        {"0,25", -EINVAL, 0},
    };

    check_cases(num_parse_duration_ms, cases, ARRAY_SIZE(cases), UINT64_MAX);
}

static void num_parse_size__table__strict(void **state UNUSED)
{
    static const struct number_case cases[] = {
        {"0", 0, 0},
        {"65536", 0, 65536},
        {"64KiB", 0, 65536},
        {"16MiB", 0, 16u << 20},
        {"3GiB", 0, UINT64_C(3) << 30},
        {"17179869183GiB", 0, UINT64_C(17179869183) << 30},
        {"17179869184GiB", -ERANGE, 0},
        {"18446744073709551615KiB", -ERANGE, 0},
        {"18446744073709551616", -ERANGE, 0},
        {"KiB", -EINVAL, 0},
        {"", -EINVAL, 0},
        {"64kib", -EINVAL, 0},
        {"64KB", -EINVAL, 0},
        {"64k", 0, 65536},
        {"64K", 0, 65536},
        {"2M", 0, 2u << 20},
        {"2G", 0, UINT64_C(2) << 30},
        {"1e3", 0, 1000},
        {".5k", 0, 512},
        {"1.5MiB", 0, 3u << 19},
        {"0.3", -EINVAL, 0}, /* of a byte */
        {"1.0001k", -EINVAL, 0},
        {"2m", -EINVAL, 0}, /* minutes? */
        {"64kB", -EINVAL, 0}, /* 1000 to some, 1024 to others */
        {"18446744073709551616", -ERANGE, 0},
        {"64 KiB", -EINVAL, 0},
        {"64KiB ", -EINVAL, 0},
        {"64KiBKiB", -EINVAL, 0},
        {"-1KiB", -EINVAL, 0},
        {"0x40KiB", -EINVAL, 0},
        {"064KiB", -EINVAL, 0},
    };

    check_cases(num_parse_size, cases, ARRAY_SIZE(cases), UINT64_MAX);
}

static void num_format__any_value__reads_back(void **state UNUSED)
{
    char buf[NUM_DURATION_LEN];
    uint64_t value = 1, back;

    for (unsigned i = 0; i < 4000; i++) {
        value = value * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        uint64_t v = (value >> (value % 64)) << (i % 3 * 10);

        assert_int_equal(num_parse_size(num_format_size(v, buf), 0, UINT64_MAX, &back), 0);
        assert_true(back == v);
        assert_int_equal(
            num_parse_duration_ms(num_format_duration_ms(v / 2, buf), 0, UINT64_MAX, &back), 0);
        assert_true(back == v / 2);
    }
}

static void num_format__round_values__shortest_text(void **state UNUSED)
{
    char buf[NUM_DURATION_LEN];

    assert_string_equal(num_format_size(0, buf), "0");
    assert_string_equal(num_format_size(1000, buf), "1000");
    assert_string_equal(num_format_size(16u << 20, buf), "16MiB");
    assert_string_equal(num_format_size((16u << 20) + 1024, buf), "16385KiB");
    assert_string_equal(num_format_size(UINT64_MAX, buf), "18446744073709551615");
    assert_string_equal(num_format_duration_ms(0, buf), "0");
    assert_string_equal(num_format_duration_ms(250, buf), "0.25");
    assert_string_equal(num_format_duration_ms(1, buf), "0.001");
    assert_string_equal(num_format_duration_ms(30000, buf), "30");
    assert_string_equal(num_format_duration_ms(UINT64_MAX, buf), "18446744073709551.615");
}

static void num_put__bases_and_widths__digits_and_their_end(void **state UNUSED)
{
    static const struct {
        uint64_t value;
        unsigned base, width;
        const char *text;
    } rows[] = {
        {0, 10, 1, "0"},
        {0, 16, 4, "0000"},
        {255, 16, 1, "ff"},
        {7, 10, 2, "07"},
        {123, 10, 2, "123"},
        {UINT64_MAX, 10, 1, "18446744073709551615"},
        {UINT64_MAX, 16, 1, "ffffffffffffffff"},
    };
    char buf[NUM_PUT_LEN];

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *end = num_put(buf, rows[i].value, rows[i].base, rows[i].width);

        assert_string_equal(buf, rows[i].text);
        assert_ptr_equal(end, buf + strlen(rows[i].text));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(num_parse_u64__table__strict),
        cmocka_unit_test(num_parse_u64__outside_range__erange),
        cmocka_unit_test(num_parse_duration_ms__table__strict),
        cmocka_unit_test(num_parse_size__table__strict),
        cmocka_unit_test(num_format__any_value__reads_back),
        cmocka_unit_test(num_put__bases_and_widths__digits_and_their_end),
        cmocka_unit_test(num_format__round_values__shortest_text),
    };

    return cmocka_run_group_tests_name("num", tests, NULL, NULL);
}
