/*
 * Names, numbers and slots of actors of other kinds.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include "arbiter/kinds.h"
#include "base/util.h"

static const struct arb_kind clock_kind = {.size = sizeof(clock_kind), .name = "clock", .count = 1};
static const struct arb_kind big_kind = {.size = sizeof(big_kind), .name = "big", .count = 60};
static const struct arb_kind *const list[] = {&clock_kind, &big_kind, NULL};
static const struct arb_program program = {.size = sizeof(program), .kinds = list};
static struct kinds kinds;

static int begin(void **state UNUSED)
{
    kinds_init(&kinds, &program, 0);
    return 0;
}

static void kinds_slot__id_of_any_slot__is_that_slot(void **state UNUSED)
{
    static const uint32_t slots[] = {1,
                                     2,
                                     TR_SLOTS_MAX,
                                     TR_SLOTS_MAX + 1,
                                     TR_SLOTS_MAX + TR_KIND_SLOTS_MAX,
                                     TR_SLOTS_MAX + TR_KIND_SLOTS_MAX + 1,
                                     TR_SLOTS_MAX + 2 * TR_KIND_SLOTS_MAX};
    char id[KINDS_ID_LEN];

    for (size_t i = 0; i < ARRAY_SIZE(slots); i++) {
        kinds_id(&kinds, slots[i], id);
        assert_int_equal(kinds_slot(&kinds, id), slots[i]);
    }
    assert_int_equal(kinds_slot(&kinds, "worker.7@4711"), 7);
    assert_int_equal(kinds_pid("worker.7@4711"), 4711);
    assert_int_equal(kinds_pid("worker.7"), 0);
    assert_int_equal(kinds_pid("worker.7@"), -1);
    assert_int_equal(kinds_pid("worker.7@x"), -1);
    kinds_id(&kinds, TR_SLOTS_MAX + 2, id);
    assert_string_equal(id, "clock.2");
    assert_string_equal(kinds_name(&kinds, 7), "worker");
    assert_string_equal(kinds_name(&kinds, tr_slot(1, 3)), "big");
}

static void kinds_slot__nobody__none(void **state UNUSED)
{
    static const char *const ids[] = {
        "",           ".",         "worker",
        "worker.",    "worker.0",  "worker.1025",
        "clock",      "clock.0",   "clock.65",
        "clock.1x",   "clocks.1",  "cloc.1",
        "arbiter",    "clock.-1",  "clock. 1",
        "worker.1.1", "worker.@7", "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz.1",
    };

    for (size_t i = 0; i < ARRAY_SIZE(ids); i++)
        if (kinds_slot(&kinds, ids[i]))
            fail_msg("'%s'", ids[i]);
}

static void kinds_want__spawned__counted_up_to_the_limit(void **state UNUSED)
{
    struct tr_set set = {.others = {9, 9, 9}};

    kinds.list[0].n_spawned = 2;
    kinds.list[1].n_spawned = 20;
    kinds_want(&kinds, &set, KINDS_KEEPERS);
    assert_int_equal(set.others[0], 3);
    assert_int_equal(set.others[1], TR_KIND_SLOTS_MAX);
    assert_int_equal(set.others[2], 0);
    assert_int_equal(set.companions, 0); /* this program has none */
}

static void kinds_add__of_another_program__found_but_not_wanted(void **state UNUSED)
{
    const int kind = kinds_add(&kinds, "gone");
    struct tr_set set = {.others = {0}};
    char name[8];

    assert_int_equal(kind, 2);
    assert_int_equal(kinds_find(&kinds, "gone"), 2);
    assert_int_equal(kinds_slot(&kinds, "gone.1"), tr_slot(2, 1));
    kinds.list[kind].n_spawned = 5;
    kinds_want(&kinds, &set, 0);
    assert_int_equal(transition_size(&set), 61);
    for (unsigned i = kinds.n; i < TR_KINDS_MAX; i++) {
        snprintf(name, sizeof(name), "%c", (char)('a' + i));
        assert_int_equal(kinds_add(&kinds, name), i);
    }
    assert_int_equal(kinds_add(&kinds, "more"), -ENOSPC);
}

static void kinds_want__keepers__one_for_each_worker_and_none_to_spawn(void **state UNUSED)
{
    struct tr_set set = {.workers = 5};

    kinds_init(&kinds, &program, KINDS_KEEPERS);
    assert_int_equal(kinds.keeper, 3);
    assert_int_equal(kinds_slot(&kinds, "keeper.64"), tr_slot(2, 64));
    assert_true(kinds_is_keeper(&kinds, tr_slot(2, 1)));
    assert_false(kinds_is_keeper(&kinds, tr_slot(1, 1)));
    assert_false(kinds_is_keeper(&kinds, 1));
    kinds_want(&kinds, &set, KINDS_KEEPERS);
    assert_int_equal(set.others[2], 5);
    assert_int_equal(set.companions, 3);
    set.workers = TR_SLOTS_MAX;
    kinds_want(&kinds, &set, KINDS_KEEPERS);
    assert_int_equal(set.others[2], TR_KIND_SLOTS_MAX);
    kinds_want(&kinds, &set, 0);
    assert_int_equal(set.others[2], 0);
    assert_int_equal(set.companions, 0);
    assert_null(kinds_row(&kinds, tr_slot(2, 1)));
}

static void kinds_want__status__one_if_it_is_wanted(void **state UNUSED)
{
    struct tr_set set = {.workers = 3};

    kinds_init(&kinds, &program, KINDS_KEEPERS | KINDS_ONE_STATUS);
    kinds_want(&kinds, &set, KINDS_ONE_STATUS);
    assert_int_equal(set.companions, 0);
    assert_int_equal(set.others[2], 0);
    assert_int_equal(set.others[3], 1);
    kinds_want(&kinds, &set, KINDS_KEEPERS);
    assert_int_equal(set.others[2], 3);
    assert_int_equal(set.others[3], 0);
    assert_true(kinds_is_status(&kinds, tr_slot(3, 1)));
    assert_false(kinds_is_status(&kinds, tr_slot(2, 1)));
    assert_false(kinds_is_status(&kinds, 1));
}

static void kinds_init__none__only_workers(void **state UNUSED)
{
    kinds_init(&kinds, NULL, 0);
    assert_int_equal(kinds.n, 0);
    assert_int_equal(kinds_find(&kinds, "clock"), -1);
    assert_int_equal(kinds_slot(&kinds, "worker.3"), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(kinds_slot__id_of_any_slot__is_that_slot, begin),
        cmocka_unit_test_setup(kinds_slot__nobody__none, begin),
        cmocka_unit_test_setup(kinds_want__spawned__counted_up_to_the_limit, begin),
        cmocka_unit_test_setup(kinds_add__of_another_program__found_but_not_wanted, begin),
        cmocka_unit_test_setup(kinds_want__keepers__one_for_each_worker_and_none_to_spawn, begin),
        cmocka_unit_test_setup(kinds_want__status__one_if_it_is_wanted, begin),
        cmocka_unit_test_setup(kinds_init__none__only_workers, begin),
    };

    return cmocka_run_group_tests_name("kinds", tests, NULL, NULL);
}
