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
    assert_true(quantity_share("5s%", &s) < 0);
    assert_true(quantity_share("-1", &s) < 0);
    assert_true(quantity_share("x", &s) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quantity_range__one_or_two_values__in_order_and_bounds),
        cmocka_unit_test(quantity_share__numbers_and_percent__exceeded_only_above),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
