/*
 * The pure half of a call: replies find their messages, however the bytes are cut.
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
#include "client/exchange.h"
#include "client/text.h"
#include "echo/echo.h"
#include "support/must.h"

static struct frame_rule rule_of(const char *separator, size_t max)
{
    struct frame_rule r;

    assert_int_equal(echo_rule_init(&r, separator, strlen(separator), max), 0);
    return r;
}

/* Bytes come from a server that has got all that was posted. */
static void feed(struct exchange *x, const void *data, size_t len)
{
    uint8_t *room;
    size_t n_out;

    exchange_output(x, &n_out);
    exchange_sent(x, n_out);
    assert_int_equal(exchange_room(x, len, &room), 0);
    memcpy(room, data, len);
    exchange_received(x, len);
}

static void assert_reply(struct exchange *x, const void *data, size_t len)
{
    const uint8_t *reply;
    size_t reply_len;

    assert_int_equal(exchange_take(x, &reply, &reply_len), 0);
    assert_int_equal(reply_len, len);
    assert_memory_equal(reply, data, len);
}

static int take(struct exchange *x)
{
    const uint8_t *reply;
    size_t len;

    return exchange_take(x, &reply, &len);
}

static void exchange_check__table__one_message_or_refused(void **state)
{
    static const struct {
        const char *separator, *message;
        int outcome;
    } rows[] = {
        {"\r\n\r\n", "", 0},
        {"\r\n\r\n", "hello", 0},
        {"\r\n\r\n", "\r\n", CALL_HAS_SEPARATOR}, /* "\r\n" and the separator: one too early */
        {"\r\n\r\n", "a\r\n", CALL_HAS_SEPARATOR},
        {"\r\n\r\n", "a\r\n\r", 0}, /* "\r\n\r\r\n\r\n": the leftmost match is the real one */
        {"\r\n\r\n", "a\r", 0},
        {"\r\n\r\n", "a\n", 0},
        {"\r\n\r\n", "\r\n\r\n", CALL_HAS_SEPARATOR},
        {"\r\n\r\n", "a\r\n\r\nb", CALL_HAS_SEPARATOR},
        {"\n", "a\r", 0},
        {"\n", "a\n", CALL_HAS_SEPARATOR},
        {"aa", "ba", CALL_HAS_SEPARATOR},
        {"aab", "a", 0},
        {"aab", "aab", CALL_HAS_SEPARATOR},
        {"", "any\r\n\r\nthing", 0}, /* raw: no separator */
        {"\r\n\r\n", "123456789012345678901", CALL_TOO_LONG},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct frame_rule r = rule_of(rows[i].separator, 20);

        assert_int_equal(exchange_check(&r, rows[i].message, strlen(rows[i].message)),
                         rows[i].outcome);
    }
}

/* The check against the definition: append the separator, look for the leftmost match. */
static void exchange_check__random_small_alphabet__as_the_leftmost_match_says(void **state)
{
    uint64_t rng = 7;
    unsigned n_refused = 0;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        size_t n = 1 + rng_below(&rng, 4), len = rng_below(&rng, 8);
        char separator[5] = "", whole[16] = "";
        struct frame_rule r;
        bool is_one;

        for (size_t i = 0; i < n; i++)
            separator[i] = (char)('a' + rng_below(&rng, 2));
        for (size_t i = 0; i < len; i++)
            whole[i] = (char)('a' + rng_below(&rng, 3));
        r = rule_of(separator, 20);
        memcpy(whole + len, separator, n);
        is_one = strstr(whole, separator) == whole + len;
        assert_int_equal(exchange_check(&r, whole, len), is_one ? 0 : CALL_HAS_SEPARATOR);
        n_refused += !is_one;
    }
    assert_in_range(n_refused, 1000, 19000);
}

static void exchange_take__any_chunking__the_same_replies(void **state)
{
    static const char wire[] = "one\r\n\r\n\r\n\r\ntwo\r\r\n\r\n\r\nx\r\n\r\n";
    struct frame_rule r = rule_of(ECHO_SEPARATOR, 100);
    const size_t len = sizeof(wire) - 1;
    uint64_t rng = 1;

    (void)state;
    for (int round = 0; round < 2000; round++) {
        struct exchange x;
        size_t n_out;

        exchange_init(&x, &r);
        assert_int_equal(exchange_post(&x, "one", 3), 0);
        assert_int_equal(exchange_post(&x, "", 0), 0);
        assert_int_equal(exchange_post(&x, "two\r", 4), 0);
        assert_int_equal(exchange_post(&x, "\r\nx", 3), 0);
        assert_memory_equal(exchange_output(&x, &n_out), wire, len);
        assert_int_equal(n_out, len);
        for (size_t at = 0; at < len;) {
            size_t n = 1 + rng_below(&rng, len - at);

            if (round < 2) /* byte by byte, and all at once */
                n = round == 0 ? 1 : len;
            feed(&x, wire + at, n);
            at += n;
            if (at < 7)
                assert_int_equal(take(&x), CALL_PENDING);
        }
        assert_reply(&x, "one", 3);
        assert_reply(&x, "", 0);
        assert_reply(&x, "two\r", 4);
        assert_reply(&x, "\r\nx", 3);
        assert_int_equal(take(&x), CALL_PENDING);
        exchange_fini(&x);
    }
}

static void exchange_take__raw__as_many_bytes_as_were_posted(void **state)
{
    struct frame_rule r = rule_of("", 100);
    struct exchange x;

    (void)state;
    exchange_init(&x, &r);
    assert_int_equal(exchange_post(&x, "abc", 3), 0);
    assert_int_equal(exchange_post(&x, "", 0), 0);
    assert_int_equal(exchange_post(&x, "defg", 4), 0);
    assert_int_equal(take(&x), CALL_PENDING);
    feed(&x, "ab", 2);
    assert_int_equal(take(&x), CALL_PENDING);
    feed(&x, "cde", 3);
    assert_reply(&x, "abc", 3);
    assert_reply(&x, "", 0);
    assert_int_equal(take(&x), CALL_PENDING);
    feed(&x, "fg", 2);
    assert_reply(&x, "defg", 4);
    exchange_fini(&x);
}

static void exchange_take__more_than_was_asked_for__unexpected(void **state)
{
    struct frame_rule r = rule_of(ECHO_SEPARATOR, 100);
    struct exchange x;
    uint8_t *room;

    (void)state;
    exchange_init(&x, &r);
    assert_int_equal(exchange_post(&x, "a", 1), 0);
    feed(&x, "a\r\n\r\nb\r\n\r\n", 10);
    assert_reply(&x, "a", 1);
    assert_int_equal(take(&x), CALL_UNEXPECTED);
    assert_int_equal(exchange_room(&x, 1, &room), CALL_UNEXPECTED);
    exchange_fini(&x);
}

/* One byte of the stream is another: known as soon as it is here, whatever follows or does not. */
static void exchange_take__a_wrong_byte_anywhere__mismatch_at_once(void **state)
{
    static const char wire[] = "abc\r\n\r\ndefg\r\n\r\n";
    struct frame_rule r = rule_of(ECHO_SEPARATOR, 1 << 30);

    (void)state;
    for (size_t wrong = 0; wrong < sizeof(wire) - 1; wrong++) {
        struct exchange x;

        exchange_init(&x, &r);
        assert_int_equal(exchange_post(&x, "abc", 3), 0);
        assert_int_equal(exchange_post(&x, "defg", 4), 0);
        feed(&x, wire, wrong);
        if (wrong >= 7)
            assert_reply(&x, "abc", 3);
        assert_int_equal(take(&x), CALL_PENDING);
        feed(&x, "Q", 1);
        assert_int_equal(take(&x), CALL_MISMATCH);
        exchange_fini(&x);
    }
}

static void exchange_take__right_but_before_it_was_sent__unexpected(void **state)
{
    struct frame_rule r = rule_of("\n", 100);
    struct exchange x;
    uint8_t *room;

    (void)state;
    exchange_init(&x, &r);
    assert_int_equal(exchange_post(&x, "ab", 2), 0);
    exchange_sent(&x, 2);
    assert_int_equal(exchange_room(&x, 3, &room), 0);
    memcpy(room, "ab\n", 3);
    exchange_received(&x, 2);
    assert_int_equal(take(&x), CALL_PENDING);
    exchange_received(&x, 1);
    assert_int_equal(take(&x), CALL_UNEXPECTED);
    exchange_fini(&x);
}

static void exchange_post__window_full__refused_until_a_reply_is_taken(void **state)
{
    struct frame_rule r = rule_of("\n", 100);
    struct exchange x;
    char text[16];

    (void)state;
    exchange_init(&x, &r);
    for (int i = 0; i < EXCHANGE_WINDOW; i++) {
        snprintf(text, sizeof(text), "%d", i);
        assert_int_equal(exchange_post(&x, text, strlen(text)), 0);
    }
    assert_int_equal(exchange_post(&x, "more", 4), CALL_WINDOW_FULL);
    /* Round and round: the ring of lengths wraps. */
    for (int i = 0; i < 3 * EXCHANGE_WINDOW; i++) {
        snprintf(text, sizeof(text), "%d\n", i);
        feed(&x, text, strlen(text));
        assert_reply(&x, text, strlen(text) - 1);
        snprintf(text, sizeof(text), "%d", i + EXCHANGE_WINDOW);
        assert_int_equal(exchange_post(&x, text, strlen(text)), 0);
    }
    exchange_fini(&x);
}

static void exchange_post__after_quit__closed(void **state)
{
    struct frame_rule r = rule_of(ECHO_SEPARATOR, 100);
    struct exchange x;

    (void)state;
    exchange_init(&x, &r);
    assert_int_equal(exchange_post(&x, "QUIT!", 5), 0);
    assert_false(x.is_over);
    assert_int_equal(exchange_post(&x, "QUIT", 4), 0);
    assert_int_equal(exchange_post(&x, "more", 4), CALL_CLOSED);
    feed(&x, "QUIT!\r\n\r\nQUIT\r\n\r\n", 17);
    assert_reply(&x, "QUIT!", 5);
    assert_reply(&x, "QUIT", 4);
    exchange_reset(&x);
    assert_int_equal(exchange_post(&x, "more", 4), 0);
    exchange_fini(&x);
}

static void exchange_sent__piece_by_piece__the_rest_stays(void **state)
{
    struct frame_rule r = rule_of("\n", 100);
    struct exchange x;
    size_t len;

    (void)state;
    exchange_init(&x, &r);
    assert_int_equal(exchange_post(&x, "abc", 3), 0);
    exchange_sent(&x, 2);
    assert_int_equal(exchange_post(&x, "d", 1), 0);
    assert_memory_equal(exchange_output(&x, &len), "c\nd\n", 4);
    assert_int_equal(len, 4);
    exchange_sent(&x, 4);
    exchange_output(&x, &len);
    assert_int_equal(len, 0);
    exchange_fini(&x);
}

static void text_unescape__table__bytes_or_refused(void **state)
{
    static const struct {
        const char *text, *bytes;
        size_t len;
        int rc;
    } rows[] = {
        {"", "", 0, 0},
        {"\\r\\n\\r\\n", "\r\n\r\n", 4, 0},
        {"a\\tb\\\\", "a\tb\\", 4, 0},
        {"\\x00\\xfF", "\0\377", 2, 0},
        {"\\x4", NULL, 0, -EINVAL},
        {"\\xg0", NULL, 0, -EINVAL},
        {"\\q", NULL, 0, -EINVAL},
        {"a\\", NULL, 0, -EINVAL},
        {"12345678", "12345678", 8, 0},
        {"123456789", NULL, 0, -E2BIG},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t bytes[8] = "untouch";
        size_t len = 99;

        assert_int_equal(text_unescape(rows[i].text, bytes, sizeof(bytes), &len), rows[i].rc);
        assert_int_equal(len, rows[i].rc ? 99 : rows[i].len);
        assert_memory_equal(bytes, rows[i].rc ? "untouch" : rows[i].bytes, rows[i].rc ? 7 : len);
    }
}

static void text_is_slip__table__likely_or_not(void **state)
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
        if (text_is_slip(rows[i].text, rows[i].word) != rows[i].is_slip)
            fail_msg("'%s' for '%s'", rows[i].text, rows[i].word);
}

static void text_set_json__table__text_or_base64(void **state)
{
    static const struct {
        const char *bytes;
        size_t len;
        const char *json;
    } rows[] = {
        {"", 0, "{\"m\":\"\"}"},
        {"hello \"x\"\n", 10, "{\"m\":\"hello \\\"x\\\"\\n\"}"},
        {"a\0b", 3, "{\"m\":\"a\\u0000b\"}"},
        {"\xc3\xa4", 2, "{\"m\":\"\xc3\xa4\"}"},
        {"\xff", 1, "{\"m_base64\":\"/w==\"}"}, /* RFC 4648, section 10, and beyond ASCII */
        {"\xff\xfe", 2, "{\"m_base64\":\"//4=\"}"},
        {"\xff\xfe\xfd", 3, "{\"m_base64\":\"//79\"}"},
        {"foobar\x80", 7, "{\"m_base64\":\"Zm9vYmFygA==\"}"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        json_t *o = json_object();
        char *text;

        assert_int_equal(text_set_json(o, "m", rows[i].bytes, rows[i].len), 0);
        text = json_dumps(o, JSON_COMPACT);
        assert_string_equal(text, rows[i].json);
        free(text);
        json_decref(o);
    }
}

static void call_outcome__each__has_its_words_and_a_code(void **state)
{
    (void)state;
    for (int i = 0; i < CALL_OUTCOMES_N; i++) {
        assert_true(strlen(call_outcome_name(i)) > 0 && strlen(call_outcome_text(i)) > 0);
        assert_int_equal(call_outcome_exit(i) == 0, i == CALL_DONE);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(call_outcome_name(i), call_outcome_name(j));
    }
    assert_string_equal(call_outcome_name(-EMFILE), "error");
    assert_string_equal(call_outcome_text(-EMFILE), strerror(EMFILE));
    assert_int_equal(call_outcome_exit(-EACCES), 77);
    assert_int_equal(call_outcome_exit(-EMFILE), 71);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exchange_check__table__one_message_or_refused),
        cmocka_unit_test(exchange_check__random_small_alphabet__as_the_leftmost_match_says),
        cmocka_unit_test(exchange_take__any_chunking__the_same_replies),
        cmocka_unit_test(exchange_take__raw__as_many_bytes_as_were_posted),
        cmocka_unit_test(exchange_take__more_than_was_asked_for__unexpected),
        cmocka_unit_test(exchange_take__a_wrong_byte_anywhere__mismatch_at_once),
        cmocka_unit_test(exchange_take__right_but_before_it_was_sent__unexpected),
        cmocka_unit_test(exchange_post__window_full__refused_until_a_reply_is_taken),
        cmocka_unit_test(exchange_post__after_quit__closed),
        cmocka_unit_test(exchange_sent__piece_by_piece__the_rest_stays),
        cmocka_unit_test(text_unescape__table__bytes_or_refused),
        cmocka_unit_test(text_is_slip__table__likely_or_not),
        cmocka_unit_test(text_set_json__table__text_or_base64),
        cmocka_unit_test(call_outcome__each__has_its_words_and_a_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
