/*
 * Amounts as people write them.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/util.h"
#include "measure/quantity.h"

static void quantity_ms__units__milliseconds(void **state)
{
    static const struct {
        const char *text;
        int rc;
        uint64_t ms;
    } rows[] = {
        {"200ms", 0, 200},    {"2s", 0, 2000},
        {"1.5m", 0, 90000},   {"2h", 0, 7200000},
        {"2", 0, 2000},       {"0.25", 0, 250},
        {"0", 0, 0},          {"0.4ms", 0, 1},
        {"0.0001", 0, 1},     {"10000000", -ERANGE, 7},
        {"", -EINVAL, 7},     {"s", -EINVAL, 7},
        {"ms", -EINVAL, 7},   {"-1", -EINVAL, 7},
        {"1 s", -EINVAL, 7},  {"1sec", -EINVAL, 7},
        {"1ss", -EINVAL, 7},  {"inf", -ERANGE, 7},
        {"0x10", -EINVAL, 7}, {"200msms", -EINVAL, 7},
        {"+1s", -EINVAL, 7},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint64_t ms = 7;

        print_message("%s\n", rows[i].text);
        if (rows[i].rc)
            assert_true(quantity_ms(rows[i].text, 0, 1000000000, &ms) < 0);
        else
            assert_int_equal(quantity_ms(rows[i].text, 0, 1000000000, &ms), 0);
        assert_int_equal(ms, rows[i].ms);
    }
}

static void quantity_range__one_or_two_values__in_order_and_bounds(void **state)
{
    struct quantity_range r = {1, 2};

    (void)state;
    assert_int_equal(quantity_size_range("64-16KiB", 0, 1 << 20, &r), 0);
    assert_int_equal(r.min, 64);
    assert_int_equal(r.max, 16384);
    assert_int_equal(quantity_size_range("100", 0, 1 << 20, &r), 0);
    assert_int_equal(r.min, 100);
    assert_int_equal(r.max, 100);
    assert_int_equal(quantity_ms_range("10ms-1s", 0, 5000, &r), 0);
    assert_int_equal(r.min, 10);
    assert_int_equal(r.max, 1000);
    assert_true(quantity_size_range("16KiB-64", 0, 1 << 20, &r) < 0);
    assert_true(quantity_size_range("1-2-3", 0, 1 << 20, &r) < 0);
    assert_true(quantity_size_range("-", 0, 1 << 20, &r) < 0);
    assert_true(quantity_size_range("5-", 0, 1 << 20, &r) < 0);
    assert_true(quantity_size_range("1-2MiB", 0, 1 << 20, &r) < 0);
    assert_true(quantity_ms_range("1-6", 0, 5000, &r) < 0);
    assert_int_equal(r.min, 10); /* untouched */
}

static void quantity_share__numbers_and_percent__exceeded_only_above(void **state)
{
    struct quantity_share s = {0};

    (void)state;
    assert_int_equal(quantity_share("0", &s), 0);
    assert_false(quantity_share_exceeded(&s, 0, 0));
    assert_true(quantity_share_exceeded(&s, 1, 1000));
    assert_int_equal(quantity_share("12", &s), 0);
    assert_false(quantity_share_exceeded(&s, 12, 12));
    assert_true(quantity_share_exceeded(&s, 13, 13000));
    assert_int_equal(quantity_share("0.1%", &s), 0);
    assert_false(quantity_share_exceeded(&s, 1, 1000));
    assert_true(quantity_share_exceeded(&s, 2, 1000));
    assert_false(quantity_share_exceeded(&s, 0, 0));
    assert_true(quantity_share("101%", &s) < 0);
    assert_true(quantity_share("%", &s) < 0);
    assert_true(quantity_share("-1", &s) < 0);
    assert_true(quantity_share("x", &s) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantity_ms__units__milliseconds),
        cmocka_unit_test(quantity_range__one_or_two_values__in_order_and_bounds),
        cmocka_unit_test(quantity_share__numbers_and_percent__exceeded_only_above),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
