/*
 * The mailbox codec: there and back, and everything that is refused.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/util.h"
#include "wire/message.h"

#define ID_MAX ((UINT64_C(1) << 53) - 1)

static struct message make(const char *command, uint64_t id, const char *sender, const char *target,
                           json_t *args)
{
    struct message m = {.id = id, .args = args};
    snprintf(m.command, sizeof(m.command), "%s", command);
    snprintf(m.sender, sizeof(m.sender), "%s", sender);
    snprintf(m.target, sizeof(m.target), "%s", target);
    return m;
}

static int decode(const char *text, struct message *ret)
{
    /* A block of the exact size, so that a sanitizer sees a read beyond it. */
    size_t len = strlen(text);
    char *exact = malloc(len ? len : 1);
    assert_non_null(exact);
    memcpy(exact, text, len);
    int r = message_decode(exact, len, ret);
    free(exact);
    return r;
}

static void message_encode__plain__the_documented_bytes(void **state UNUSED)
{
    char buf[MESSAGE_MAX_BYTES];
    size_t len;
    struct message m = make("stop", 7, "arbiter", "worker.2",
                            json_pack("{s:b,s:s}", "graceful", 1, "why", "caf\xc3\xa9"));
    static const char expected[] =
        "{\"command\":\"stop\",\"id\":7,\"sender\":\"arbiter\",\"target\":\"worker.2\","
        "\"args\":{\"graceful\":true,\"why\":\"caf\xc3\xa9\"}}";
    assert_int_equal(message_encode(&m, buf, sizeof(buf), &len), 0);
    assert_int_equal(len, sizeof(expected) - 1);
    assert_memory_equal(buf, expected, len);
    message_fini(&m);
    assert_null(m.args);
    message_fini(&m);
}

/* JSON has no numbers above: a count must not come out as less than it was. */
static void message_set_uint__beyond_json__stays_at_its_most(void **state UNUSED)
{
    json_t *o = json_object();

    message_set_uint(o, "n", INT64_MAX);
    assert_int_equal(json_integer_value(json_object_get(o, "n")), INT64_MAX);
    message_set_uint(o, "n", (uint64_t)INT64_MAX + 1);
    assert_int_equal(json_integer_value(json_object_get(o, "n")), INT64_MAX);
    message_set_uint(o, "n", UINT64_MAX);
    assert_int_equal(json_integer_value(json_object_get(o, "n")), INT64_MAX);
    json_decref(o);
}

static void message_decode__encoded__the_same(void **state UNUSED)
{
    char buf[MESSAGE_MAX_BYTES];
    size_t len;
    struct message out;
    struct message cases[] = {
        make("ready", 0, "worker.1", "arbiter", NULL),
        make("a", ID_MAX, "a", "a", json_object()),
        make("abcdefghijklmnopqrstuvwxyz01234", 1, "_", "0.0",
             json_pack("{s:[i,n,b,f,s],s:{}}", "list", -1, 0, 0.5, "\x01\"\\\n\xf0\x9f\x98\x80",
                       "o")),
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(message_encode(&cases[i], buf, sizeof(buf), &len), 0);
        assert_int_equal(message_decode(buf, len, &out), 0);
        assert_string_equal(out.command, cases[i].command);
        assert_string_equal(out.sender, cases[i].sender);
        assert_string_equal(out.target, cases[i].target);
        assert_int_equal(out.id, cases[i].id);
        assert_true(json_is_object(out.args));
        if (cases[i].args)
            assert_true(json_equal(out.args, cases[i].args));
        else
            assert_int_equal(json_object_size(out.args), 0);
        message_fini(&out);
        message_fini(&cases[i]);
    }
}

static void message_decode__any_prefix__refused(void **state UNUSED)
{
    static const char text[] = "{\"command\":\"stop\",\"id\":7,\"sender\":\"a\",\"target\":\"b\","
                               "\"args\":{\"k\":[1,\"}\"]}}";
    char copy[sizeof(text)];
    struct message m;
    for (size_t len = 0; len < sizeof(text) - 1; len++) {
        memcpy(copy, text, len);
        copy[len] = '\0';
        assert_int_equal(decode(copy, &m), -EBADMSG);
    }
    assert_int_equal(decode(text, &m), 0);
    message_fini(&m);
}

static void message_decode__not_exactly_right__refused_and_untouched(void **state UNUSED)
{
#define HEAD "{\"command\":\"c\",\"id\":1,\"sender\":\"s\",\"target\":\"t\""
    static const char *const cases[] = {
        "",
        "{",
        "{}",
        "[]",
        "null",
        "7",
        "\"x\"",
        "{}{}",
        HEAD "}", /* args missing */
        HEAD ",\"args\":{},\"more\":1}", /* unknown member */
        HEAD ",\"args\":null}", /* wrong types … */
        HEAD ",\"args\":[]}",
        HEAD ",\"args\":\"{}\"}",
        "{\"command\":1,\"id\":1,\"sender\":\"s\",\"target\":\"t\",\"args\":{}}",
        "{\"command\":\"c\",\"id\":\"1\",\"sender\":\"s\",\"target\":\"t\",\"args\":{}}",
        "{\"command\":\"c\",\"id\":1.0,\"sender\":\"s\",\"target\":\"t\",\"args\":{}}",
        "{\"command\":\"c\",\"id\":1e3,\"sender\":\"s\",\"target\":\"t\",\"args\":{}}",
        "{\"command\":\"c\",\"id\":true,\"sender\":\"s\",\"target\":\"t\",\"args\":{}}",
        "{\"command\":\"c\",\"id\":-1,\"sender\":\"s\",\"target\":\"t\",\"args\":{}}",
        "{\"command\":\"c\",\"id\":9007199254740992,\"sender\":\"s\",\"target\":\"t\",\"args\":{}}",
        "{\"command\":\"c\",\"id\":18446744073709551617,\"sender\":\"s\",\"target\":\"t\",\"args\":"
        "{}}",
        "{\"command\":\"c\",\"id\":1,\"sender\":null,\"target\":\"t\",\"args\":{}}",
        "{\"command\":\"c\",\"id\":1,\"sender\":\"s\",\"target\":{},\"args\":{}}",
        /* names */
        "{\"command\":\"\",\"id\":1,\"sender\":\"s\",\"target\":\"t\",\"args\":{}}",
        "{\"command\":\"a.b\",\"id\":1,\"sender\":\"s\",\"target\":\"t\",\"args\":{}}",
        "{\"command\":\"Stop\",\"id\":1,\"sender\":\"s\",\"target\":\"t\",\"args\":{}}",
        "{\"command\":\"st op\",\"id\":1,\"sender\":\"s\",\"target\":\"t\",\"args\":{}}",
        "{\"command\":\"c\\u0000d\",\"id\":1,\"sender\":\"s\",\"target\":\"t\",\"args\":{}}",
        "{\"command\":\"abcdefghijklmnopqrstuvwxyz012345\",\"id\":1,\"sender\":\"s\",\"target\":"
        "\"t\","
        "\"args\":{}}",
        "{\"command\":\"c\",\"id\":1,\"sender\":\"\\u00e9\",\"target\":\"t\",\"args\":{}}",
        "{\"command\":\"c\",\"id\":1,\"sender\":\"s\",\"target\":\"../t\",\"args\":{}}",
        /* duplicates, at any depth */
        HEAD ",\"args\":{},\"args\":{}}",
        HEAD ",\"args\":{\"a\":1,\"a\":1}}",
        HEAD ",\"args\":{\"a\":[{\"b\":1,\"b\":2}]}}",
        /* around it */
        " " HEAD ",\"args\":{}}",
        HEAD ",\"args\":{}} ",
        HEAD ",\"args\":{}}\n",
        HEAD ",\"args\":{}}}",
        HEAD ",\"args\":{}}" HEAD ",\"args\":{}}",
        "\xef\xbb\xbf" HEAD ",\"args\":{}}",
        /* inside it */
        HEAD ",\"args\":{\"a\":\"\\u0000\"}}",
        HEAD ",\"args\":{\"a\\u0000b\":1}}",
        HEAD ",\"args\":{\"a\":\"\xff\"}}",
        HEAD ",\"args\":{\"a\":\"\\ud800\"}}",
        HEAD ",\"args\":{\"a\":1e999}}",
        HEAD ",\"args\":{\"a\":NaN}}",
        HEAD ",\"args\":{\"a\":01}}",
        HEAD ",\"args\":{\"a\":1,}}",
        HEAD ",\"args\":{'a':1}}",
        HEAD ",\"args\":{\"a\":\"\n\"}}",
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct message m = make("untouched", 4711, "x", "y", NULL);
        int r = decode(cases[i], &m);
        if (r != -EBADMSG)
            fail_msg("case %zu gave %d: %s", i, r, cases[i]);
        assert_string_equal(m.command, "untouched");
        assert_int_equal(m.id, 4711);
        assert_null(m.args);
    }
    /* NUL bytes are no blanks either. */
    struct message m;
    assert_int_equal(message_decode(HEAD ",\"args\":{}}\0}", sizeof(HEAD) + 12, &m), -EBADMSG);
#undef HEAD
}

static void message_decode__blanks_and_order_inside__accepted(void **state UNUSED)
{
    struct message m;
    assert_int_equal(
        decode("{ \"args\" : {\"\\\\u0000\":\"{[{[{[{[{[{[{[{[{[\"} ,\n\"target\":\"t\","
               "\"sender\":\"s\",\t\"id\":0,\"command\":\"c\" }",
               &m),
        0);
    assert_string_equal(m.target, "t");
    assert_string_equal(json_string_value(json_object_get(m.args, "\\u0000")),
                        "{[{[{[{[{[{[{[{[{[");
    message_fini(&m);
}

static json_t *nested(int depth)
{
    json_t *value = json_object();
    for (int i = 1; i < depth; i++) {
        json_t *outer = json_object();
        json_object_set_new(outer, "a", value);
        value = outer;
    }
    return value;
}

static void message__nesting__bounded_both_ways(void **state UNUSED)
{
    char buf[MESSAGE_MAX_BYTES];
    size_t len = 4711;
    struct message out;
    /* The message itself is the first level. */
    struct message m = make("c", 1, "s", "t", nested(MESSAGE_DEPTH_MAX - 1));
    assert_int_equal(message_encode(&m, buf, sizeof(buf), &len), 0);
    assert_int_equal(message_decode(buf, len, &out), 0);
    message_fini(&out);
    message_fini(&m);

    m = make("c", 1, "s", "t", nested(MESSAGE_DEPTH_MAX));
    len = 4711;
    assert_int_equal(message_encode(&m, buf, sizeof(buf), &len), -EINVAL);
    assert_int_equal(len, 4711);
    message_fini(&m);

    int n =
        snprintf(buf, sizeof(buf),
                 "{\"command\":\"c\",\"id\":1,\"sender\":\"s\",\"target\":\"t\",\"args\":{\"a\":");
    for (int i = 0; i < 14; i++)
        buf[n++] = '[';
    for (int i = 0; i < 14; i++)
        buf[n++] = ']';
    buf[n] = '}', buf[n + 1] = '}', buf[n + 2] = '\0';
    assert_int_equal(decode(buf, &out), 0);
    message_fini(&out);

    memset(buf, '[', sizeof(buf));
    buf[0] = '{', buf[sizeof(buf) - 1] = '}';
    assert_int_equal(message_decode(buf, sizeof(buf), &out), -EBADMSG);
}

static void message_encode__malformed__refused(void **state UNUSED)
{
    char buf[MESSAGE_MAX_BYTES];
    size_t len = 4711;
    struct message cases[] = {
        make("", 0, "s", "t", NULL),
        make("a.b", 0, "s", "t", NULL),
        make("a\"b", 0, "s", "t", NULL),
        make("c", 0, "", "t", NULL),
        make("c", 0, "S", "t", NULL),
        make("c", 0, "s", "t/", NULL),
        make("c", 0, "s", "", NULL),
        make("c", ID_MAX + 1, "s", "t", NULL),
        make("c", UINT64_MAX, "s", "t", NULL),
        make("c", 0, "s", "t", json_array()),
        make("c", 0, "s", "t", json_null()),
        make("c", 0, "s", "t", json_pack("{s:o}", "a", json_stringn("x\0y", 3))),
        make("c", 0, "s", "t", json_pack("{s:o}", "a", json_stringn_nocheck("\xff", 1))),
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int r = message_encode(&cases[i], buf, sizeof(buf), &len);
        if (r != -EINVAL || len != 4711)
            fail_msg("case %zu gave %d", i, r);
        message_fini(&cases[i]);
    }
    struct message m = make("c", 0, "s", "t", NULL);
    memset(m.target, 'a', sizeof(m.target)); /* no NUL at all */
    assert_int_equal(message_encode(&m, buf, sizeof(buf), &len), -EINVAL);
}

static void message_encode__too_big__refused_at_the_byte(void **state UNUSED)
{
    static char buf[MESSAGE_MAX_BYTES + 100], fill[MESSAGE_MAX_BYTES + 1];
    size_t len = 4711, overhead;
    struct message out, m = make("c", 1, "s", "t", json_pack("{s:s}", "a", ""));
    assert_int_equal(message_encode(&m, buf, sizeof(buf), &overhead), 0);
    memset(fill, 'x', sizeof(fill));
    for (int extra = -1; extra <= 1; extra++) {
        size_t n = (size_t)((int)(MESSAGE_MAX_BYTES - overhead) + extra);
        json_object_set_new(m.args, "a", json_stringn(fill, n));
        len = 4711;
        /* A larger buffer does not make a larger message. */
        int r = message_encode(&m, buf, sizeof(buf), &len);
        assert_int_equal(r, extra <= 0 ? 0 : -EMSGSIZE);
        assert_int_equal(len, extra <= 0 ? overhead + n : 4711);
        if (r == 0) {
            assert_int_equal(message_decode(buf, len, &out), 0);
            message_fini(&out);
        }
    }
    message_fini(&m);
    memset(buf, ' ', sizeof(buf));
    assert_int_equal(message_decode(buf, MESSAGE_MAX_BYTES + 1, &out), -EBADMSG);
}

static void message_encode__any_buffer__fits_or_emsgsize(void **state UNUSED)
{
    char whole[256];
    size_t len, got;
    struct message m = make("command", 12345, "sender", "target", json_pack("{s:i}", "k", 5));
    assert_int_equal(message_encode(&m, whole, sizeof(whole), &len), 0);
    for (size_t size = 0; size <= len + 1; size++) {
        char *buf = malloc(size ? size : 1);
        assert_non_null(buf);
        int r = message_encode(&m, buf, size, &got);
        assert_int_equal(r, size < len ? -EMSGSIZE : 0);
        if (r == 0)
            assert_memory_equal(buf, whole, len);
        free(buf);
    }
    message_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_encode__plain__the_documented_bytes),
        cmocka_unit_test(message_set_uint__beyond_json__stays_at_its_most),
        cmocka_unit_test(message_decode__encoded__the_same),
        cmocka_unit_test(message_decode__any_prefix__refused),
        cmocka_unit_test(message_decode__not_exactly_right__refused_and_untouched),
        cmocka_unit_test(message_decode__blanks_and_order_inside__accepted),
        cmocka_unit_test(message__nesting__bounded_both_ways),
        cmocka_unit_test(message_encode__malformed__refused),
        cmocka_unit_test(message_encode__too_big__refused_at_the_byte),
        cmocka_unit_test(message_encode__any_buffer__fits_or_emsgsize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
