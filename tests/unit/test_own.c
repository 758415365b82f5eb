/*
 * own: the tables of a program, one after the other, with their owners.
 */
#include "actor/own.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "actor/scoreboard.h"
#include "base/hash.h"
#include "base/util.h"

static const struct arb_counter pubsub_counters[] = {{"published", "messages published"},
                                                     {"slow", "subscribers that were too slow"}};
static const struct arb_counter clock_counters[] = {{"published", "ticks"}};
static const struct arb_protocol echo = ARB_PROTOCOL(.name = "echo");
static const struct arb_protocol pubsub =
    ARB_PROTOCOL(.name = "pubsub", .counters = ARB_COUNTERS(pubsub_counters));
static const struct arb_kind clock_kind =
    ARB_KIND(.name = "clock", .counters = ARB_COUNTERS(clock_counters));
static const struct arb_protocol *const protocols[] = {&echo, &pubsub, NULL};
static const struct arb_kind *const kinds[] = {&clock_kind, NULL};
static const struct arb_program program =
    ARB_PROGRAM(.name = "redis-like", .protocols = protocols, .kinds = kinds);

static void own__whole_program__owners_in_order(void **state UNUSED)
{
    struct own own;
    char why[128];

    assert_int_equal(own_init(&own, &program, why, sizeof(why)), 0);
    assert_int_equal(own.n_owners, 4);
    assert_string_equal(own.owners[1].name, "pubsub");
    assert_int_equal(own.owners[1].place, OWN_IN_WORKERS);
    assert_int_equal(own.owners[1].index, 1);
    assert_int_equal(own.owners[1].first_counter, 0);
    assert_int_equal(own.owners[1].n_counters, 2);
    assert_int_equal(own.owners[2].place, OWN_IN_KIND);
    assert_int_equal(own.owners[2].index, 0);
    assert_int_equal(own.owners[2].first_counter, 2);
    assert_string_equal(own.owners[3].name, "arbiter");
    assert_int_equal(own.n_counters, 3);
    assert_string_equal(own.counters[2].owner->name, "clock");
    assert_string_equal(own.counters[2].help, "ticks");
    own_fini(&own);
}

static void own__no_program__nothing(void **state UNUSED)
{
    struct own own;

    assert_int_equal(own_init(&own, NULL, NULL, 0), 0);
    assert_int_equal(own.n_owners, 0);
    assert_int_equal(own_hash(&own, HASH_INIT), HASH_INIT);
}

/* Tables of a program that was compiled when rows had more members, or fewer. */
static void own__rows_of_another_size__read_where_they_are(void **state UNUSED)
{
    static const struct {
        struct arb_counter row;
        const char *of_the_future;
    } wide[] = {{{"one", "first"}, "x"}, {{"two", "second"}, "y"}};
    static const char *const narrow[] = {"one", "two"};
    const struct {
        struct arb_counters table;
        const char *help;
    } tables[] = {
        {{&wide[0].row, 2, sizeof(wide[0])}, "second"},
        {{(const void *)narrow, 2, sizeof(narrow[0])}, ""},
    };

    for (size_t i = 0; i < ARRAY_SIZE(tables); i++) {
        const struct arb_protocol p = ARB_PROTOCOL(.name = "p", .counters = tables[i].table);
        const struct arb_protocol *const list[] = {&p, NULL};
        const struct arb_program x = ARB_PROGRAM(.name = "x", .protocols = list);
        struct own own;
        char why[128];

        assert_int_equal(own_init(&own, &x, why, sizeof(why)), 0);
        assert_int_equal(own.n_counters, 2);
        assert_string_equal(own.counters[1].name, "two");
        assert_string_equal(own.counters[1].help, tables[i].help);
        own_fini(&own);
    }
}

static void own__not_as_it_must_be__refused_by_name(void **state UNUSED)
{
    static struct arb_counter many[ARB_COUNTERS_MAX + 1];
    static char names[ARRAY_SIZE(many)][8];
    static const struct arb_counter twice[] = {{"a", ""}, {"b", ""}, {"a", ""}};
    static const struct arb_counter bad[] = {{"a.b", ""}};
    const struct {
        struct arb_protocol protocol;
        const char *why;
    } rows[] = {
        {ARB_PROTOCOL(.name = "Echo"),
         "a protocol or kind has the name \"Echo\", allowed: 1 to 31 of a to z and _"},
        {ARB_PROTOCOL(.name = NULL),
         "a protocol or kind has the name \"\", allowed: 1 to 31 of a to z and _"},
        {ARB_PROTOCOL(.name = "worker"), "worker: no protocol or kind may have this name"},
        {ARB_PROTOCOL(.name = "clock"), "clock: two protocols or kinds may not have one name"},
        {ARB_PROTOCOL(.name = "p", .counters = ARB_COUNTERS(twice)),
         "p.a: there are two such counters"},
        {ARB_PROTOCOL(.name = "p", .counters = ARB_COUNTERS(bad)),
         "p.a.b: a name has 1 to 31 of the characters a-z and _"},
        {ARB_PROTOCOL(.name = "p", .counters = ARB_COUNTERS(many)),
         "p.c_bg: a program has at most 32 counters of its own"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(many); i++) {
        snprintf(names[i], sizeof(names[i]), "c_%c%c", (char)('a' + i / 26), (char)('a' + i % 26));
        many[i].name = names[i];
    }
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const struct arb_protocol *const list[] = {&rows[i].protocol, NULL};
        const struct arb_program x = ARB_PROGRAM(.name = "x", .protocols = list, .kinds = kinds);
        struct own own;
        char why[128];

        assert_int_equal(own_init(&own, &x, why, sizeof(why)), -EINVAL);
        assert_string_equal(why, rows[i].why);
        own_fini(&own);
    }
}

static void own__shown__an_object_per_owner(void **state UNUSED)
{
    const struct own_counts counts = {.n = {1, 2, 3}};
    struct own own;
    char why[128];
    json_t *shown, *expected = json_pack("{s:{s:i,s:i},s:{s:i}}", "pubsub", "published", 1, "slow",
                                         2, "clock", "published", 3);
    json_t *help;

    assert_int_equal(own_init(&own, &program, why, sizeof(why)), 0);
    shown = own_shown(&own, &counts, NULL);
    assert_true(json_equal(shown, expected));
    json_decref(shown);
    shown = own_shown(&own, &counts, "clock");
    assert_int_equal(json_object_size(shown), 1);
    assert_non_null(json_object_get(shown, "clock"));
    json_decref(shown);
    shown = own_shown(&own, &counts, "worker");
    assert_int_equal(json_object_size(shown), 1);
    assert_non_null(json_object_get(shown, "pubsub"));
    assert_null(own_shown(&own, &counts, "nobody"));
    help = own_help(&own);
    assert_int_equal(json_array_size(help), 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(help, 1), "help")),
                        "subscribers that were too slow");
    own_fini(&own);
    json_decref(help);
    json_decref(shown);
    json_decref(expected);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(own__whole_program__owners_in_order),
        cmocka_unit_test(own__no_program__nothing),
        cmocka_unit_test(own__rows_of_another_size__read_where_they_are),
        cmocka_unit_test(own__not_as_it_must_be__refused_by_name),
        cmocka_unit_test(own__shown__an_object_per_owner),
    };

    return cmocka_run_group_tests_name("own", tests, NULL, NULL);
}
