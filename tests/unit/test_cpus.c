/*
 * Sets of CPUs and their texts.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/cpus.h"
#include "base/util.h"

static void cpus_parse__lists__written_back_in_their_shortest_form(void **state UNUSED)
{
    static const char *const table[][2] = {
        {"0", "0"},           {"7", "7"},         {"0,1", "0-1"},       {"3,1,2,1", "1-3"},
        {"0-3,8", "0-3,8"},   {"2-2", "2"},       {"0-2,1-4", "0-4"},   {"0,2,4", "0,2,4"},
        {"1023,0", "0,1023"}, {"62-65", "62-65"}, {"0-1023", "0-1023"},
    };
    char buf[CPUS_TEXT_LEN];

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        cpu_set_t cpus, again;

        assert_int_equal(cpus_parse(table[i][0], &cpus), 0);
        assert_string_equal(cpus_format(&cpus, buf), table[i][1]);
        assert_int_equal(cpus_parse(buf, &again), 0);
        assert_true(CPU_EQUAL(&cpus, &again));
    }
}

static void cpus_parse__anything_else__refused_and_untouched(void **state UNUSED)
{
    static const struct {
        const char *text;
        int error;
    } table[] = {
        {"", -EINVAL},           {",", -EINVAL},
        {"0,", -EINVAL},         {",0", -EINVAL},
        {"0,,1", -EINVAL},       {"-1", -EINVAL},
        {"1-", -EINVAL},         {"3-1", -EINVAL},
        {"0-1-2", -EINVAL},      {" 0", -EINVAL},
        {"0 ", -EINVAL},         {"0, 1", -EINVAL},
        {"0x1", -EINVAL},        {"01", -EINVAL},
        {"+1", -EINVAL},         {"all", -EINVAL},
        {"0-1:2", -EINVAL},      {"1024", -ERANGE},
        {"0-1024", -ERANGE},     {"99999999999999999999", -ERANGE},
        {"4294967296", -ERANGE},
    };

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        cpu_set_t cpus, before;

        memset(&cpus, 0xa5, sizeof(cpus));
        before = cpus;
        if (cpus_parse(table[i].text, &cpus) != table[i].error)
            fail_msg("\"%s\"", table[i].text);
        assert_memory_equal(&cpus, &before, sizeof(cpus));
    }
}

static void cpus_format__every_second__fits(void **state UNUSED)
{
    char buf[CPUS_TEXT_LEN];
    cpu_set_t cpus, again;

    CPU_ZERO(&cpus);
    assert_string_equal(cpus_format(&cpus, buf), "");
    for (size_t cpu = 1; cpu < CPU_SETSIZE; cpu += 2)
        CPU_SET(cpu, &cpus);
    cpus_format(&cpus, buf);
    assert_string_equal(buf + strlen(buf) - 5, ",1023");
    assert_int_equal(cpus_parse(buf, &again), 0);
    assert_true(CPU_EQUAL(&cpus, &again));
}

static void cpus_nth__any_number__goes_round(void **state UNUSED)
{
    static const int expected[] = {2, 5, 6, 1023, 2, 5};
    cpu_set_t cpus;

    assert_int_equal(cpus_parse("2,5-6,1023", &cpus), 0);
    for (unsigned i = 0; i < ARRAY_SIZE(expected); i++)
        assert_int_equal(cpus_nth(&cpus, i), expected[i]);
    assert_int_equal(cpus_nth(&cpus, UINT32_MAX), expected[UINT32_MAX % 4]);
    CPU_ZERO(&cpus);
    assert_int_equal(cpus_nth(&cpus, 3), -1);
}

static void cpus_allowed__this_process__what_the_kernel_says(void **state UNUSED)
{
    cpu_set_t cpus, mask;

    assert_int_equal(cpus_allowed(&cpus), 0);
    assert_int_equal(sched_getaffinity(0, sizeof(mask), &mask), 0);
    assert_true(CPU_EQUAL(&cpus, &mask));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cpus_parse__lists__written_back_in_their_shortest_form),
        cmocka_unit_test(cpus_parse__anything_else__refused_and_untouched),
        cmocka_unit_test(cpus_format__every_second__fits),
        cmocka_unit_test(cpus_nth__any_number__goes_round),
        cmocka_unit_test(cpus_allowed__this_process__what_the_kernel_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
