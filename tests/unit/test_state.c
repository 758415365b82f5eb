/*
 * The table of states against the picture of the design: a life goes forward, ends in close or
 * terminate, and only from there does the record become free.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "actor/state.h"
#include "base/util.h"

static void state_name__each__pulsars_word(void **state UNUSED)
{
    static const char *const words[] = {"initial",  "inactive", "starting", "run",
                                        "stopping", "close",    "terminate"};
    assert_int_equal(ARRAY_SIZE(words), ACTOR_STATES);
    for (int s = 0; s < ACTOR_STATES; s++)
        assert_string_equal(actor_state_name((enum actor_state)s), words[s]);
}

static void state_name__no_state__unknown(void **state UNUSED)
{
    assert_string_equal(actor_state_name(ACTOR_STATES), "unknown");
    assert_string_equal(actor_state_name((enum actor_state)200), "unknown");
    assert_false(actor_state_may_follow((enum actor_state)200, ACTOR_RUN));
    assert_false(actor_state_may_follow(ACTOR_RUN, (enum actor_state)200));
    assert_false(actor_state_may_follow(ACTOR_RUN, ACTOR_STATES));
}

static void state_may_follow__every_pair__as_drawn(void **state UNUSED)
{
    /* A row a state, a column a successor, in the order of the enum. */
    static const char *const rows[ACTOR_STATES] = {
        ".x.....", /* initial */
        "..x..xx", /* inactive */
        "...xxxx", /* starting */
        "....xxx", /* run */
        ".....xx", /* stopping */
        "x......", /* close */
        "x......", /* terminate */
    };
    for (int from = 0; from < ACTOR_STATES; from++) {
        for (int to = 0; to < ACTOR_STATES; to++)
            assert_int_equal(actor_state_may_follow((enum actor_state)from, (enum actor_state)to),
                             rows[from][to] == 'x');
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(state_name__each__pulsars_word),
        cmocka_unit_test(state_name__no_state__unknown),
        cmocka_unit_test(state_may_follow__every_pair__as_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
