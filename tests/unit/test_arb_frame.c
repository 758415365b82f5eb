/*
 * <arbiter/frame.h>: one message after the other is what all of them at once are.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <arbiter/frame.h>
#include <cmocka.h>

#include "base/util.h"

static const struct arb_bytes newline = {1, "\n"};

static struct arb_input input_of(const char *text)
{
    return (struct arb_input){.data = (const uint8_t *)text, .len = strlen(text)};
}

/* The messages of @text, each in brackets, and what the loop leaves in @out. */
static const char *messages_of(const struct arb_frame *frame, const char *text,
                               struct arb_output *out, char buf[128])
{
    const struct arb_input in = input_of(text);
    const uint8_t *message;
    size_t len;

    *out = (struct arb_output){0};
    buf[0] = '\0';
    while (arb_frame_next(frame, &in, out, &message, &len))
        snprintf(buf + strlen(buf), 128 - strlen(buf), "[%.*s]", (int)len, (const char *)message);
    return buf;
}

static void next__any_input__the_same_as_scan(void **state UNUSED)
{
    static const struct {
        const char *text, *messages;
    } cases[] = {
        {"", ""},
        {"a", ""},
        {"a\n", "[a]"},
        {"\n\n", "[][]"},
        {"one\ntwo\nrest", "[one][two]"},
        {"one\nquit\nmore\n", "[one][quit]"},
        {"one\n123456789\n", "[one]"},
        {"one\n123456789", "[one]"},
    };
    struct arb_frame frame;

    assert_int_equal(arb_frame_init(&frame, &newline, 8, "quit"), 0);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct arb_input in = input_of(cases[i].text);
        struct arb_output all = {0}, each;
        char buf[128];

        arb_frame_scan(&frame, &in, &all);
        assert_string_equal(messages_of(&frame, cases[i].text, &each, buf), cases[i].messages);
        assert_int_equal(each.consumed, all.consumed);
        assert_int_equal(each.messages, all.messages);
        assert_int_equal(each.next, all.next);
    }
}

static void next__begun_before__goes_on_where_it_stopped(void **state UNUSED)
{
    struct arb_frame frame;
    struct arb_input in = input_of("abcdef");
    struct arb_output out = {0};
    const uint8_t *message;
    size_t len;

    assert_int_equal(arb_frame_init(&frame, &newline, 0, NULL), 0);
    assert_false(arb_frame_next(&frame, &in, &out, &message, &len));
    in = input_of("abcdef\nx");
    in.resume = out.resume;
    out = (struct arb_output){0};
    assert_true(arb_frame_next(&frame, &in, &out, &message, &len));
    assert_int_equal(len, 6);
    assert_ptr_equal(message, in.data);
    assert_false(arb_frame_next(&frame, &in, &out, &message, &len));
    assert_int_equal(out.consumed, 7);
    assert_int_equal(out.messages, 1);
    assert_in_range(out.resume, 0, 1);
}

/* --- random texts in random pieces ------------------------------------------------------------ */

enum { TEXTS = 20000, TEXT_MAX = 300 };

static unsigned rng = 7;

static unsigned below(unsigned n)
{
    rng = rng * 1664525u + 1013904223u;
    return (unsigned)((uint64_t)(rng >> 8) * n >> 24);
}

/* What a connection would have of @text, in pieces: what is left is looked at again with more. */
static struct arb_output walk(const struct arb_frame *frame, const uint8_t *text, size_t len,
                              bool is_one_by_one)
{
    struct arb_output sum = {0};

    for (size_t come = 0; sum.next == ARB_GO_ON && come < len;) {
        const uint8_t *message;
        size_t message_len;

        come += MIN(len - come, (size_t)1 + below(20));
        const struct arb_input in = {
            .data = text + sum.consumed, .len = come - sum.consumed, .resume = sum.resume};
        struct arb_output out = {0};

        if (!is_one_by_one)
            arb_frame_scan(frame, &in, &out);
        else
            while (arb_frame_next(frame, &in, &out, &message, &message_len))
                ;
        assert_true(out.consumed <= in.len && out.resume <= in.len - out.consumed);
        sum.consumed += out.consumed;
        sum.messages += out.messages;
        sum.next = out.next;
        sum.resume = out.resume;
    }
    return sum;
}

static void next__random_texts_in_random_pieces__as_scan(void **state UNUSED)
{
    static const char *const separators[] = {"\n", "\r\n", "\r\n\r\n", "aab"};

    for (unsigned i = 0; i < TEXTS; i++) {
        const char *separator = separators[below(ARRAY_SIZE(separators))];
        struct arb_bytes bytes = {.len = strlen(separator)};
        struct arb_output one, all;
        struct arb_frame frame;
        uint8_t text[TEXT_MAX];
        const size_t len = below(TEXT_MAX);

        memcpy(bytes.data, separator, bytes.len);
        assert_int_equal(arb_frame_init(&frame, &bytes, below(30), below(2) ? "a" : NULL), 0);
        for (size_t k = 0; k < len; k++)
            text[k] = (uint8_t) "aab\r\n"[below(5)];
        one = walk(&frame, text, len, true);
        all = walk(&frame, text, len, false);
        assert_int_equal(one.consumed, all.consumed);
        assert_int_equal(one.messages, all.messages);
        assert_int_equal(one.next, all.next);
    }
}

static void init__what_cannot_be__refused(void **state UNUSED)
{
    struct arb_frame frame;
    struct arb_bytes too_long = {.len = 17};

    assert_int_equal(arb_frame_init(&frame, &too_long, 0, NULL), -EINVAL);
    assert_int_equal(arb_frame_init(&frame, &newline, 0, "more than sixteen bytes"), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(next__any_input__the_same_as_scan),
        cmocka_unit_test(next__begun_before__goes_on_where_it_stopped),
        cmocka_unit_test(next__random_texts_in_random_pieces__as_scan),
        cmocka_unit_test(init__what_cannot_be__refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
