/*
 * Keys of a program's own and listeners of several protocols: what an author may write, and that
 * everything that is derived from a row works for theirs as for the framework's.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/util.h"
#include "conf/config_codec.h"
#include "conf/config_diff.h"
#include "conf/config_file.h"
#include "support/schema.h"

static char path[] = "/tmp/test_config_own.XXXXXX";

static int key_of(const char *name)
{
    const int key = config_find(schema_of_toys(), name);

    assert_true(key >= KEYS_OF_ECHO);
    return key;
}

static void write_file(const char *text)
{
    FILE *f = fopen(path, "w");

    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static struct config *load(const char *text, const struct config_override *overrides, size_t n)
{
    struct config_errors errors = {.n = 0};
    struct config *c = NULL;

    write_file(text);
    if (config_load(schema_of_toys(), path, overrides, n, &c, &errors) != 0)
        fail_msg("%s", errors.n ? errors.text[0] : "no error is told");
    return c;
}

/* The errors of @text, behind the path, by their beginning; NULL-ended. */
static void expect_errors(const char *text, const char *const *expected)
{
    struct config_errors errors = {.n = 0};
    struct config *c = NULL;
    size_t n = 0;

    write_file(text);
    assert_int_equal(config_load(schema_of_toys(), path, NULL, 0, &c, &errors), -EINVAL);
    for (; expected[n]; n++)
        if (n >= errors.n ||
            strncmp(errors.text[n] + strlen(path), expected[n], strlen(expected[n])) != 0)
            fail_msg("\"%s\" is told of \"%s\", not \"%s\"",
                     n < errors.n ? errors.text[n] : "nothing", text, expected[n]);
    assert_int_equal(errors.n, n);
    config_errors_fini(&errors);
}

static void expect_text(const struct config *c, int key, const char *expected)
{
    char *text = config_get(c, key);

    assert_string_equal(text, expected);
    free(text);
}

static char *dump(const struct config *c)
{
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_non_null(f);
    assert_int_equal(config_dump(c, f), 0);
    fclose(f);
    return text;
}

/* ---- the schema ---- */

struct one {
    unsigned n;
    uint64_t time;
    char text[8];
    struct arb_bytes bytes;
};

static const char *const words[] = {"a", NULL}, *const no_words[] = {NULL};

/* Is what an author has written refused with exactly this? */
static void expect_refused(const struct arb_protocol *const *protocols, const char *expected)
{
    struct config_schema *s = NULL;
    char why[CONFIG_WHY_LEN] = "";

    assert_int_equal(config_schema_new(protocols, &s, why, sizeof(why)), -EINVAL);
    assert_string_equal(why, expected);
    assert_null(s);
}

static void schema__key_that_is_wrong__named_with_what_is_wrong(void **state UNUSED)
{
    /* clang-format off */
    static const struct {
        struct arb_key key;
        const char *why;
    } cases[] = {
        {{"N", ARB_COUNT, ARB_FIELD(struct one, n, unsigned), "1", 0, 1, NULL, "h"},
         "protocol p: \"N\" is no name of a key, allowed: a to z and _, a letter first, and neither true nor false, at most 63 with the group and a dot"},
        {{NULL, ARB_COUNT, ARB_FIELD(struct one, n, unsigned), "1", 0, 1, NULL, "h"},
         "protocol p: \"\" is no name of a key, allowed: a to z and _, a letter first, and neither true nor false, at most 63 with the group and a dot"},
        {{"n", (enum arb_type)0, ARB_FIELD(struct one, n, unsigned), "1", 0, 1, NULL, "h"},
         "protocol p: key n: its type is unknown"},
        {{"n", (enum arb_type)8, ARB_FIELD(struct one, n, unsigned), "1", 0, 1, NULL, "h"},
         "protocol p: key n: its type is unknown"},
        {{"n", ARB_COUNT, ARB_FIELD(struct one, n, unsigned), NULL, 0, 1, NULL, "h"},
         "protocol p: key n: it has no default or no help"},
        {{"n", ARB_COUNT, ARB_FIELD(struct one, n, unsigned), "1", 0, 1, NULL, NULL},
         "protocol p: key n: it has no default or no help"},
        {{"n", ARB_CHOICE, ARB_FIELD(struct one, n, unsigned), "a", 0, 0, NULL, "h"},
         "protocol p: key n: it has no choices"},
        {{"n", ARB_CHOICE, ARB_FIELD(struct one, n, unsigned), "a", 0, 0, no_words, "h"},
         "protocol p: key n: it has no choices"},
        {{"n", ARB_CHOICE, ARB_FIELD(struct one, n, unsigned), "b", 0, 0, words, "h"},
         "a default is wrong: p.n: \"b\" is not known, allowed: \"a\""},
        {{"n", ARB_DURATION, ARB_FIELD(struct one, n, unsigned), "1", 0, 1, NULL, "h"},
         "protocol p: key n: its field has another type"},
        {{"n", ARB_COUNT, sizeof(struct one) - 2, 4, "1", 0, 1, NULL, "h"},
         "protocol p: key n: its field does not lie within conf_size"},
        {{"n", ARB_COUNT, SIZE_MAX, 4, "1", 0, 1, NULL, "h"},
         "protocol p: key n: its field does not lie within conf_size"},
        {{"n", ARB_COUNT, ARB_FIELD(struct one, n, unsigned), "1", 2, 1, NULL, "h"},
         "protocol p: key n: its bounds are wrong, or more than its type can hold"},
        {{"n", ARB_COUNT, ARB_FIELD(struct one, n, unsigned), "1", 0, UINT64_C(1) << 32, NULL, "h"},
         "protocol p: key n: its bounds are wrong, or more than its type can hold"},
        {{"t", ARB_TEXT, offsetof(struct one, text), 8, "", 0, 8, NULL, "h"},
         "protocol p: key t: its bounds are wrong, or more than its type can hold"},
        {ARB_KEY_BYTES(struct one, bytes, "", 65, "h"),
         "protocol p: key bytes: its bounds are wrong, or more than its type can hold"},
        {ARB_KEY_COUNT(struct one, n, "3", 0, 2, "h"),
         "a default is wrong: p.n: 3 is out of range, allowed: a whole number from 0 to 2"},
        {ARB_KEY_TEXT(struct one, text, "12345678", "h"),
         "a default is wrong: p.text: \"12345678\" is too long, allowed: a string of at most 7 bytes"},
    };
    /* clang-format on */

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct arb_protocol p =
            ARB_PROTOCOL(.name = "p", .keys = {&cases[i].key, 1, sizeof(cases[i].key)},
                         .conf_size = sizeof(struct one));
        const struct arb_protocol *const protocols[] = {&p, NULL};

        expect_refused(protocols, cases[i].why);
    }
}

static void schema__names_of_protocols_groups_and_keys__each_once(void **state UNUSED)
{
    static const struct arb_key n[] = {ARB_KEY_COUNT(struct one, n, "1", 0, 2, "h")},
                                backlog = {"backlog", ARB_COUNT, ARB_FIELD(struct one, n, unsigned),
                                           "1",       0,         1,
                                           NULL,      "h"};
    const struct arb_protocol a = ARB_PROTOCOL(.name = "a", .group = "g", .keys = ARB_KEYS(n),
                                               .conf_size = sizeof(struct one)),
                              b = ARB_PROTOCOL(.name = "b", .group = "g", .keys = ARB_KEYS(n),
                                               .conf_size = sizeof(struct one)),
                              s = ARB_PROTOCOL(.name = "s", .group = "server",
                                               .keys = {&backlog, 1, sizeof(backlog)},
                                               .conf_size = sizeof(struct one)),
                              nameless = ARB_PROTOCOL(.name = ""),
                              group = ARB_PROTOCOL(.name = "a", .group = "a.b");
    const struct arb_protocol *const twice[] = {&a, &a, NULL}, *const shared[] = {&a, &b, NULL},
                                     *const framework[] = {&s, NULL},
                                     *const no_name[] = {&nameless, NULL},
                                     *const no_group[] = {&group, NULL};

    expect_refused(twice, "there are two protocols a");
    expect_refused(shared, "protocol b: key n: there is a g.n already");
    expect_refused(framework, "protocol s: key backlog: there is a server.backlog already");
    expect_refused(no_name, "\"\" is no name of a protocol, allowed: a to z and _, a letter first, "
                            "and neither true nor false");
    expect_refused(no_group, "\"a.b\" is no name of a group, allowed: a to z and _, a letter "
                             "first, and neither true nor false");
}

/* What libconfig would read as a number, a boolean or nothing could never be set. */
static void schema__names_that_no_file_can_have__refused(void **state UNUSED)
{
    static const char *const names[] = {"_a", "_", "true", "false", "a1", "a-b", "a.b", "\xc3\xa9"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        const struct arb_key key = {
            names[i], ARB_COUNT, ARB_FIELD(struct one, n, unsigned), "1", 0, 1, NULL, "h"};
        const struct arb_protocol p = ARB_PROTOCOL(.name = "p", .keys = {&key, 1, sizeof(key)},
                                                   .conf_size = sizeof(struct one));
        const struct arb_protocol *const protocols[] = {&p, NULL};
        char expected[256];

        snprintf(
            expected, sizeof(expected),
            "protocol p: \"%s\" is no name of a key, allowed: a to z and _, a letter first, and "
            "neither true nor false, at most 63 with the group and a dot",
            names[i]);
        expect_refused(protocols, expected);
    }
}

static void schema__one_key_too_many__refused(void **state UNUSED)
{
    enum { MANY = CONFIG_KEYS_MAX - CONFIG_KEYS };
    static struct arb_key keys[MANY + 1];
    static char names[MANY + 1][3];
    struct arb_protocol p = ARB_PROTOCOL(.name = "p", .conf_size = sizeof(unsigned[MANY + 1]));
    const struct arb_protocol *const protocols[] = {&p, NULL};
    struct config_schema *s = NULL;
    char why[CONFIG_WHY_LEN], expected[64];

    for (size_t i = 0; i < ARRAY_SIZE(keys); i++) {
        snprintf(names[i], sizeof(names[i]), "%c%c", (char)('a' + i % 26), (char)('a' + i / 26));
        keys[i] = (struct arb_key){
            names[i], ARB_COUNT, i * sizeof(unsigned), sizeof(unsigned), "1", 0, 1, NULL, "h"};
    }
    p.keys = (struct arb_keys){keys, MANY, sizeof(keys[0])};
    assert_int_equal(config_schema_new(protocols, &s, why, sizeof(why)), 0);
    assert_int_equal(s->n_keys, CONFIG_KEYS_MAX);
    config_schema_free(s);
    p.keys.count++;
    snprintf(expected, sizeof(expected), "protocol p: key %s: there are more than 256 keys",
             names[MANY]);
    expect_refused(protocols, expected);
}

static void schema__two_keys_of_one_field__refused(void **state UNUSED)
{
    static const struct arb_key keys[] = {
        ARB_KEY_COUNT(struct one, n, "1", 0, 2, "h"),
        {"m", ARB_COUNT, ARB_FIELD(struct one, n, unsigned), "1", 0, 2, NULL, "h"}};
    const struct arb_protocol p =
        ARB_PROTOCOL(.name = "p", .keys = ARB_KEYS(keys), .conf_size = sizeof(struct one));
    const struct arb_protocol *const protocols[] = {&p, NULL};

    expect_refused(protocols, "protocol p: key m: its field is that of p.n");
}

/* A program that was compiled against a later header has longer rows, an earlier one shorter. */
static void schema__rows_of_another_size__read_by_their_own(void **state UNUSED)
{
    struct {
        struct arb_key key;
        uint64_t later;
    } rows[] = {{ARB_KEY_COUNT(struct one, n, "1", 0, 2, "first"), 7},
                {ARB_KEY_DURATION(struct one, time, "1", 0, 2000, "second"), 7}};
    const struct arb_protocol p =
        ARB_PROTOCOL(.name = "p", .keys = {&rows[0].key, 2, sizeof(rows[0])},
                     .conf_size = sizeof(struct one));
    const struct arb_protocol *const protocols[] = {&p, NULL};
    struct config_schema *s = NULL;
    char why[CONFIG_WHY_LEN];

    assert_int_equal(config_schema_new(protocols, &s, why, sizeof(why)), 0);
    assert_int_equal(s->n_keys, CONFIG_KEYS + 2);
    assert_string_equal(s->rows[CONFIG_KEYS + 1].name, "p.time");
    assert_string_equal(s->rows[CONFIG_KEYS + 1].help, "second");
    assert_string_equal(s->rows[CONFIG_KEYS + 1].allowed,
                        "seconds from 0 to 2, or a time such as \"200ms\", \"30s\" or \"5m\"");
    config_schema_free(s);
}

static void schema__what_is_allowed__derived_from_type_and_range(void **state UNUSED)
{
    static const char *const expected[][2] = {
        {"toy.count", "a whole number from 1 to 9"},
        {"toy.mood", "\"glad\", \"sad\" or \"mad\""},
        {"toy.wait", "seconds from 0.01 to 60, or a time such as \"200ms\", \"30s\" or \"5m\""},
        {"toy.room", "a size from \"1KiB\" to \"1MiB\", such as \"64KiB\" or 65536"},
        {"toy.is_loud", "true or false"},
        {"toy.greeting", "a string of at most 15 bytes"},
        {"toy.mark", "a string of at most 4 bytes"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
        const struct config_row *row = &schema_of_toys()->rows[key_of(expected[i][0])];

        assert_string_equal(row->allowed, expected[i][1]);
        assert_int_equal(row->reload, RELOAD_WORKERS);
    }
}

/* ---- values ---- */

static const char all[] = "toy = { count = 9; mood = \"mad\"; wait = 0.75; room = \"2KiB\"; "
                          "is_loud = true;\n greeting = \"a\\\"b\\n\"; mark = \"\\x01c\"; };";

static void own__values_of_the_file__fill_the_struct(void **state UNUSED)
{
    struct config *c = load(all, NULL, 0);
    const struct schema_toy *toy = c->own[SCHEMA_TOY];

    assert_int_equal(toy->count, 9);
    assert_int_equal(toy->mood, 2);
    assert_int_equal(toy->wait, 750);
    assert_int_equal(toy->room, 2048);
    assert_true(toy->is_loud);
    assert_string_equal(toy->greeting, "a\"b\n");
    assert_int_equal(toy->mark.len, 2);
    assert_memory_equal(toy->mark.data, "\1c", 2);
    assert_int_equal(c->origin[key_of("toy.greeting")].line, 2);
    config_free(c);
}

static void own__defaults__fill_the_struct(void **state UNUSED)
{
    struct config *c = config_new(schema_of_toys());
    const struct schema_toy *toy = c->own[SCHEMA_TOY];

    assert_int_equal(toy->count, 3);
    assert_int_equal(toy->mood, 0);
    assert_int_equal(toy->wait, 500);
    assert_int_equal(toy->room, 4096);
    assert_false(toy->is_loud);
    assert_string_equal(toy->greeting, "hello");
    assert_int_equal(toy->mark.len, 2);
    assert_memory_equal(toy->mark.data, "\1\n", 2);
    config_free(c);
}

static void own__errors__with_line_value_and_what_is_allowed(void **state UNUSED)
{
    static const char *const expected[] = {
        ":1: toy.count: 10 is out of range, allowed: a whole number from 1 to 9",
        ":2: toy.mood: \"bad\" is not known, allowed: \"glad\", \"sad\" or \"mad\"",
        ":3: toy.gretting: unknown key (did you mean greeting?), allowed: count, mood, wait, room, "
        "is_loud, greeting, mark",
        ":4: toy.greeting: \"0123456789abcdef\" is too long, allowed: a string of at most 15",
        ":5: toy.wait: 1x is not understood, allowed: seconds from 0.01 to 60, or a time such as",
        ":6: toy.is_loud: 1 is a number, allowed: true or false",
        ":7: tyo: unknown group (did you mean toy?), allowed: arbiter, server, log, status, toy",
        NULL};
    char why[CONFIG_WHY_LEN];

    expect_errors("toy = { count = 10;\nmood = \"bad\";\ngretting = \"x\";\n"
                  "greeting = \"0123456789abcdef\";\nwait = \"1x\";\nis_loud = 1; };\ntyo = {};",
                  expected);
    config_name_explain(schema_of_toys(), "greeting", why, sizeof(why));
    assert_string_equal(why, "there is no key 'greeting': write toy.greeting");
}

static void own__dump_copy_and_codec__the_same_values(void **state UNUSED)
{
    struct config *c = load(all, NULL, 0), *copy = config_copy(c),
                  *decoded = config_new(schema_of_toys()), *back;
    struct config_errors errors = {.n = 0};
    json_t *values = config_encode(c);
    char *text = dump(c);

    assert_int_equal(config_diff(c, copy, NULL, NULL), 0);
    assert_ptr_not_equal(c->own[SCHEMA_TOY], copy->own[SCHEMA_TOY]);
    assert_int_equal(config_decode(decoded, values, path, &errors), 0);
    assert_int_equal(errors.n, 0);
    assert_int_equal(config_diff(c, decoded, NULL, NULL), 0);
    assert_non_null(strstr(text, "toy = {\n    count = 9;  # /tmp/test_config_own."));
    assert_non_null(strstr(text, "    mark = \"\\x01c\";  # "));
    back = load(text, NULL, 0);
    assert_int_equal(config_diff(c, back, NULL, NULL), 0);
    free(text);
    json_decref(values);
    config_free(c);
    config_free(copy);
    config_free(decoded);
    config_free(back);
}

static void on_change(const struct config_row *row, const char *old_text, const char *new_text,
                      void *userdata)
{
    char *told = userdata;

    sprintf(told + strlen(told), "%s: %s -> %s\n", row->name, old_text, new_text);
}

static void manual__own_keys_only__as_mdoc(void **state UNUSED)
{
    static const char begin[] = ".Ss The group server\n"
                                ".Bl -tag -width Ds\n"
                                ".It Ic server.max_message No = Ar size\n",
                      end[] = ".It Ic toy.mood No = Ar word\n"
                              "how it is:\n"
                              "\\(dqglad\\(dq, \\(dqsad\\(dq or \\(dqmad\\(dq.\n"
                              "The default is\n"
                              ".Li \"\\(dqglad\\(dq\" .\n"
                              ".It Ic toy.wait No = Ar time\n"
                              "how long:\n"
                              "seconds from 0.01 to 60, or a time such as \\(dq200ms\\(dq, "
                              "\\(dq30s\\(dq or \\(dq5m\\(dq.\n"
                              "The default is\n"
                              ".Li \"0.5\" .\n";
    char *text = NULL;
    size_t len;
    FILE *f = open_memstream(&text, &len);

    assert_int_equal(config_manual(schema_of_toys(), f), 0);
    fclose(f);
    assert_memory_equal(text, begin, strlen(begin));
    assert_non_null(strstr(text, ".El\n.Ss The group toy\n.Bl -tag -width Ds\n.It Ic toy.count"));
    assert_non_null(strstr(text, end));
    assert_non_null(strstr(text, ".Li \"\\(dq\\ex01\\en\\(dq\" .\n.El\n"));
    assert_null(strstr(text, "backlog"));
    free(text);
}

static void own__changed_value__told_by_the_difference(void **state UNUSED)
{
    struct config *old = config_new(schema_of_toys()),
                  *new = load("toy = { mood = \"sad\"; count = 3; };", NULL, 0);
    char told[512] = "";

    assert_int_equal(config_diff(old, new, on_change, told), 1);
    assert_string_equal(told, "toy.mood: glad -> sad\n");
    config_free(old);
    config_free(new);
}

static void check__of_a_protocol__told_with_the_key_that_somebody_wrote(void **state UNUSED)
{
    static const char *const cases[][2] = {
        {"toy={count=4;};", "protocol toy: it is unlucky"},
        {"toy={count=5;};", "protocol toy: not allowed"},
        {"toy={count=1;};\narbiter={workers=7;};", ":2: arbiter.workers: arbiter.workers is 7 and"},
        {"arbiter={workers=7;};\ntoy={\nwait=3;};", ":3: toy.wait: arbiter.workers is 7 and"},
        {"toy={wait=3;};\narbiter={\nworkers=7;};", ":1: toy.wait: arbiter.workers is 7 and"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const bool has_place = cases[i][1][0] == ':';
        struct config_errors errors = {.n = 0};
        struct config *c = NULL;

        write_file(cases[i][0]);
        assert_int_equal(config_load(schema_of_toys(), path, NULL, 0, &c, &errors), -EINVAL);
        assert_int_equal(errors.n, 1);
        if (!strstr(errors.text[0] + (has_place ? strlen(path) : 0), cases[i][1]))
            fail_msg("\"%s\", not \"%s\"", errors.text[0], cases[i][1]);
        config_errors_fini(&errors);
    }
}

/* Of the protocol @i with the configuration @text. */
static uint64_t fingerprint(const char *text, size_t i, const char *version)
{
    struct config *c = load(text, NULL, 0);
    uint64_t ret = 0;

    assert_int_equal(config_fingerprint(c, i, version, &ret), 0);
    config_free(c);
    return ret;
}

static void fingerprint__of_a_protocol__its_name_version_and_own_values(void **state UNUSED)
{
    const uint64_t usual = fingerprint("toy={count=3;};", SCHEMA_TOY, "1");

    assert_true(fingerprint("server={separator=\"x\";};log={level=\"debug\";};", SCHEMA_TOY, "1") ==
                usual);
    assert_true(fingerprint("toy={room=\"4096\";};", SCHEMA_TOY, "1") == usual);
    assert_true(fingerprint("toy={count=2;};", SCHEMA_TOY, "1") != usual);
    assert_true(fingerprint("toy={count=3;};", SCHEMA_TOY, "2") != usual);
    assert_true(fingerprint("toy={count=3;};", SCHEMA_ECHO, "1") != usual);
    assert_true(fingerprint("server={separator=\"x\";};", SCHEMA_ECHO, "1") !=
                fingerprint("server={separator=\"y\";};", SCHEMA_ECHO, "1"));
}

/* ---- the command line ---- */

static void override__of_any_key__the_last_one_wins(void **state UNUSED)
{
    static const char *const texts[] = {"toy.count=8", "server.backlog=7", "toy.mark=\\x00=\\\\",
                                        "toy.count=7", "toy.greeting="};
    struct config_override overrides[ARRAY_SIZE(texts)];
    char why[CONFIG_WHY_LEN];
    struct config *c;

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
        assert_int_equal(
            config_override_read(schema_of_toys(), texts[i], &overrides[i], why, sizeof(why)), 0);
    c = load("toy = { count = 2; greeting = \"x\"; };", overrides, ARRAY_SIZE(texts));
    expect_text(c, key_of("toy.count"), "7");
    expect_text(c, key_of("toy.greeting"), "");
    expect_text(c, key_of("toy.mark"), "\\x00=\\\\");
    expect_text(c, CONFIG_BACKLOG, "7");
    assert_int_equal(c->origin[key_of("toy.count")].kind, ORIGIN_COMMAND_LINE);
    config_free(c);
}

static void override__that_is_wrong__says_why(void **state UNUSED)
{
    static const char *const cases[][2] = {
        {"toy.count", "no value, allowed: GROUP.KEY=VALUE"},
        {"=1", "there is no key '': the groups are arbiter, server, log, status, toy"},
        {"mood=sad", "there is no key 'mood': write toy.mood"},
        {"toy.x=1",
         "there is no key 'toy.x': toy has count, mood, wait, room, is_loud, greeting, mark"},
        {"toy.count0123456789012345678901234567890123456789012345678901234567890123456789=1",
         "there is no key 'toy.count0123456789012345678901234567890123456789012345678901234': toy "
         "has "
         "count, mood, wait, room, is_loud, greeting, mark"},
    };
    struct config_override override = {.key = 77}, bad;
    struct config_errors errors = {.n = 0};
    struct config *c = NULL;
    char why[CONFIG_WHY_LEN];

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(
            config_override_read(schema_of_toys(), cases[i][0], &override, why, sizeof(why)),
            -EINVAL);
        assert_string_equal(why, cases[i][1]);
        assert_int_equal(override.key, 77);
    }
    assert_int_equal(config_override_read(schema_of_toys(), "toy.wait=0", &bad, why, sizeof(why)),
                     0);
    assert_int_equal(config_load(schema_of_toys(), NULL, &bad, 1, &c, &errors), -EINVAL);
    assert_string_equal(errors.text[0], "command line: -o: toy.wait: 0 is out of range, allowed: "
                                        "seconds from 0.01 to 60, or a time such as \"200ms\", "
                                        "\"30s\" or \"5m\"");
    config_errors_fini(&errors);
}

/* ---- listeners of several protocols ---- */

static void bind__strings_and_groups__each_with_its_protocol(void **state UNUSED)
{
    struct config
        *c = load("server = { bind = ( \":8060\",\n { address = \":6379\"; protocol = \"toy\"; },\n"
                  "{ protocol = \"echo\"; address = \"unix:/a@b\" }, { address = \":1\" } ); };",
                  NULL, 0),
        *back;
    char *text = dump(c);

    assert_int_equal(c->n_bind, 4);
    assert_string_equal(c->bind[0].address, ":8060");
    assert_int_equal(c->bind[0].protocol, SCHEMA_ECHO);
    assert_string_equal(c->bind[1].address, ":6379");
    assert_int_equal(c->bind[1].protocol, SCHEMA_TOY);
    assert_string_equal(c->bind[2].address, "unix:/a@b");
    assert_int_equal(c->bind[2].protocol, SCHEMA_ECHO);
    expect_text(c, CONFIG_BIND, ":8060\ntoy@:6379\nunix:/a@b\n:1");
    assert_non_null(strstr(text,
                           "    bind = (\":8060\", { address = \":6379\"; protocol = \"toy\"; }, "
                           "\"unix:/a@b\", \":1\");  # "));
    back = load(text, NULL, 0);
    assert_int_equal(config_diff(c, back, NULL, NULL), 0);
    free(text);
    config_free(c);
    config_free(back);
}

/* Names are looked up in the child; whoever runs this has at least a name for root. */
static void bind__access_of_a_unix_socket__read_and_shown_with_its_numbers(void **state UNUSED)
{
    struct config *c = load("server = { bind = ( { address = \"unix:/x\"; mode = \"0660\";\n"
                            "owner = \"root\"; group = \"7\"; protocol = \"toy\"; } ); };\n"
                            "arbiter = { control_group = \"root\"; steer_group = \"8\"; };",
                            NULL, 0),
                  *back;
    char *text = dump(c);

    expect_text(c, CONFIG_BIND, "toy,mode=0660,owner=root,group=7@unix:/x");
    assert_int_equal(c->bind[0].access.uid, 0);
    assert_int_equal(c->bind[0].access.gid, 7);
    assert_int_equal(c->control_access.uid, (uid_t)-1);
    assert_int_equal(c->control_access.gid, 0);
    assert_int_equal(c->steer_gid, 8);
    assert_non_null(strstr(text, "    bind = ({ address = \"unix:/x\"; protocol = \"toy\"; mode = "
                                 "\"0660\"; owner = \"root\"; group = \"7\"; });  # "));
    back = load(text, NULL, 0);
    assert_int_equal(config_diff(c, back, NULL, NULL), 0);
    free(text);
    config_free(c);
    config_free(back);
}

static void bind__owner_on_the_command_line__looked_up_too(void **state UNUSED)
{
    struct config_override overrides[] = {
        {.key = CONFIG_BIND, .text = "owner=root@unix:/x", .option = "-b"},
        {.key = CONFIG_STEER_GROUP, .text = "no-such-group", .option = "-o"}};
    struct config_errors errors = {.n = 0};
    struct config *c = NULL;

    assert_int_equal(config_load(schema_of_toys(), NULL, overrides, 1, &c, &errors), 0);
    assert_int_equal(c->bind[0].access.uid, 0);
    config_free(c);
    assert_int_equal(config_load(schema_of_toys(), NULL, overrides, 2, &c, &errors), -EINVAL);
    assert_int_equal(errors.n, 1);
    assert_non_null(strstr(errors.text[0],
                           "command line: arbiter.steer_group: \"no-such-group\" is "
                           "no group of this system, allowed: what getent group "));
    config_errors_fini(&errors);
}

static void bind__one_group__a_list_of_one(void **state UNUSED)
{
    struct config *c = load("server={bind=({address=\":1\";protocol=\"toy\";});};", NULL, 0);

    expect_text(c, CONFIG_BIND, "toy@:1");
    config_free(c);
}

static void bind__wrong_groups__with_line_value_and_what_is_allowed(void **state UNUSED)
{
    static const char *const cases[][2] = {
        {"server={bind=(\":1\",\n{address=\":2\";\nprotocol=\"tyo\";});};",
         ":3: server.bind: protocol: \"tyo\" is not known, allowed: echo, toy"},
        {"server={bind=({address=\":1\";protocol=\"unix:/x\";});};",
         ":1: server.bind: protocol: \"unix:/x\" is not known, allowed: echo, toy"},
        {"server={bind=(\n{address=\":1\";\nmood=\"toy\";});};",
         ":3: server.bind: mood: unknown key of a listener, allowed: address, protocol"},
        {"server={bind=(\n{protocol=\"toy\";});};",
         ":2: server.bind: a listener without address, allowed: 1 to 64 of \"HOST:PORT\""},
        {"server={bind=(\n{\n\naddress=6379;});};",
         ":4: server.bind: address: not a string of one line, allowed: 1 to 64"},
        {"server={bind=({address=\":1\\n:2\";});};",
         ":1: server.bind: address: not a string of one line, allowed: 1 to 64"},
        {"server={bind=(\n{address=\"example.org:1\";protocol=\"toy\";});};",
         ":2: server.bind: \"example.org:1\": a name, and a reload does not wait for a resolver"},
        {"server={bind=(\":1\",{address=\":1\";protocol=\"toy\";});};",
         ":1: server.bind: \":1\": an element before it has that already"},
        {"server={bind=({address=\":1\";address=\":2\";});};", ":1: duplicate setting name"},
        {"server={bind=({address=\"unix:/x\";\nmode=0660;});};",
         ":2: server.bind: mode: not a string of one line, allowed: 1 to 64"},
        {"server={bind=({address=\"unix:/x\";\ngroup=\"a,mode=0777\";});};",
         ":2: server.bind: group: \"a,mode=0777\" is not a name, allowed: the name or the number"},
        {"server={bind=(\n{address=\"unix:/x\";mode=\"0999\";});};",
         ":2: server.bind: \"mode=0999@unix:/x\": mode is octal digits up to 0777"},
        {"server={bind=(\n{address=\":1\";mode=\"0660\";});};",
         ":2: server.bind: \":1\": only a unix socket has a mode, an owner and a group"},
        {"server={bind=(\n{address=\"unix:/x\";owner=\"no-such-user\";});};",
         ":1: server.bind: \"no-such-user\" is no user of this system, allowed: what getent "
         "passwd"},
        {"server={bind=(\n{address=\"unix:/x\";owner=\"4294967295\";});};",
         ":1: server.bind: \"4294967295\" is no user of this system"},
        {"server={bind={address=\":1\";};};", ":1: server.bind: holds a group"},
        {"server={bind=[\"tyo@:1\"];};",
         ":1: server.bind: \"tyo@:1\": there is no such protocol, but echo, toy, allowed: 1 to 64"},
        {"server={bind=[\"@:1\"];};", ":1: server.bind: \"@:1\": there is no such protocol"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *const expected[] = {cases[i][1], NULL};

        expect_errors(cases[i][0], expected);
    }
}

static void bind__default_protocol_by_its_name__is_the_default(void **state UNUSED)
{
    struct config *c = load("server={bind=[\"echo@:1\", \"toy@[::1]:2\"];};", NULL, 0);

    expect_text(c, CONFIG_BIND, ":1\ntoy@[::1]:2");
    config_free(c);
}

static void bind__only_the_protocol_changed__a_difference(void **state UNUSED)
{
    struct config *old = load("server={bind=\":1\";};", NULL, 0),
                  *new = load("server={bind=\"toy@:1\";};", NULL, 0);
    char told[512] = "";

    assert_int_equal(config_diff(old, new, on_change, told), 1);
    assert_string_equal(told, "server.bind: :1 -> toy@:1\n");
    config_free(old);
    config_free(new);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schema__key_that_is_wrong__named_with_what_is_wrong),
        cmocka_unit_test(schema__names_of_protocols_groups_and_keys__each_once),
        cmocka_unit_test(schema__names_that_no_file_can_have__refused),
        cmocka_unit_test(schema__one_key_too_many__refused),
        cmocka_unit_test(schema__two_keys_of_one_field__refused),
        cmocka_unit_test(schema__rows_of_another_size__read_by_their_own),
        cmocka_unit_test(schema__what_is_allowed__derived_from_type_and_range),
        cmocka_unit_test(own__values_of_the_file__fill_the_struct),
        cmocka_unit_test(own__defaults__fill_the_struct),
        cmocka_unit_test(own__errors__with_line_value_and_what_is_allowed),
        cmocka_unit_test(own__dump_copy_and_codec__the_same_values),
        cmocka_unit_test(manual__own_keys_only__as_mdoc),
        cmocka_unit_test(own__changed_value__told_by_the_difference),
        cmocka_unit_test(check__of_a_protocol__told_with_the_key_that_somebody_wrote),
        cmocka_unit_test(fingerprint__of_a_protocol__its_name_version_and_own_values),
        cmocka_unit_test(override__of_any_key__the_last_one_wins),
        cmocka_unit_test(override__that_is_wrong__says_why),
        cmocka_unit_test(bind__strings_and_groups__each_with_its_protocol),
        cmocka_unit_test(bind__access_of_a_unix_socket__read_and_shown_with_its_numbers),
        cmocka_unit_test(bind__owner_on_the_command_line__looked_up_too),
        cmocka_unit_test(bind__one_group__a_list_of_one),
        cmocka_unit_test(bind__wrong_groups__with_line_value_and_what_is_allowed),
        cmocka_unit_test(bind__default_protocol_by_its_name__is_the_default),
        cmocka_unit_test(bind__only_the_protocol_changed__a_difference),
    };
    const int fd = mkstemp(path);
    int failed;

    if (fd < 0)
        return 1;
    close(fd);
    failed = cmocka_run_group_tests_name("config_own", tests, NULL, NULL);
    unlink(path);
    return failed;
}
