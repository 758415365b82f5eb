/*
 * What is a slip of the pen, and what another word.
 */
#include "base/slip.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static void slip_is__table__likely_or_not(void **state)
{
    static const struct {
        const char *text, *word;
        bool is_slip;
    } rows[] = {
        {"relaod", "reload", true},
        {"Reload", "reload", true},
        {"reolda", "reload", true},
        {"reloadd", "reload", true},
        {"eload", "reload", true},
        {"upload", "reload", false},
        {"road", "reload", false},
        {"tpo", "top", true},
        {"to", "top", false},
        {"pnig", "ping", true},
        {"pong", "ping", false},
        {"scael", "scale", true},
        {"scal", "scale", true},
        {"calls", "scale", false},
        {"confromanse", "conformance", true},
        {"", "top", false},
        {"a word of many letters", "top", false},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (slip_is(rows[i].text, strlen(rows[i].text), rows[i].word, strlen(rows[i].word)) !=
            rows[i].is_slip)
            fail_msg("'%s' for '%s'", rows[i].text, rows[i].word);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slip_is__table__likely_or_not),
    };

    return cmocka_run_group_tests_name("slip", tests, NULL, NULL);
}
