/*
 * Framing: exact boundaries, and every chunking of the bytes against the naive splitter.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/util.h"
#include "conformance/must.h"
#include "support/naive_split.h"
#include "wire/frame_kernel.h"

static struct frame_rule make_rule(const void *separator, size_t len, size_t max_message)
{
    struct frame_rule r;

    assert_int_equal(frame_rule_init(&r, separator, len, max_message, "QUIT", 4), 0);
    return r;
}

static void assert_agrees(const struct piecewise *p, const uint8_t *data, size_t len, size_t fed)
{
    const struct frame_result naive = naive_split(p->rule, data, len);

    if (!piecewise_agrees(p, &naive, fed))
        fail_msg("kernel %d: verdict %d for %d, prefix %zu for %zu, messages %zu for %zu, %zu "
                 "scanned of %zu",
                 p->kernel, (int)p->sum.outcome, (int)naive.outcome, p->sum.complete,
                 naive.complete, (size_t)p->sum.messages, (size_t)naive.messages,
                 (size_t)p->sum.scanned, fed);
}

/* Feeds @data in pieces, the first of @first bytes, the others of @other, to every kernel. */
static void check_pieces(const struct frame_rule *r, const uint8_t *data, size_t len, size_t first,
                         size_t other)
{
    for (int kernel = -1; kernel < FRAME_KERNELS; kernel++) {
        struct piecewise p;
        size_t at = 0, n = MIN(first, len);
        bool more = true;

        if (kernel >= 0 && !frame_kernel_is_usable((enum frame_kernel)kernel))
            continue;
        piecewise_init(&p, r, kernel);
        while (more) {
            more = piecewise_feed(&p, data + at, n) && at + n < len;
            at += n;
            n = MIN(other, len - at);
        }
        assert_agrees(&p, data, len, at);
        piecewise_fini(&p);
    }
}

static void frame_rule_init__too_long__refused_and_untouched(void **state UNUSED)
{
    struct frame_rule r = make_rule("x", 1, 7);

    assert_int_equal(frame_rule_init(&r, "12345678901234567", 17, 9, "", 0), -EINVAL);
    assert_int_equal(frame_rule_init(&r, "1234", 4, 9, "12345678901234567", 17), -EINVAL);
    assert_int_equal(r.separator_len, 1);
    assert_int_equal(r.max_message, 7);
}

static void frame_scan__raw__all_complete(void **state UNUSED)
{
    const struct frame_rule r = make_rule("", 0, 2);
    struct frame_result f = frame_scan(&r, (const uint8_t *)"QUIT\r\n\r\n", 8, 0);

    assert_int_equal(f.outcome, FRAME_PENDING);
    assert_int_equal(f.complete, 8);
    assert_int_equal(f.messages, 1);
    f = frame_scan(&r, (const uint8_t *)"", 0, 0);
    assert_int_equal(f.complete + f.messages + f.resume, 0);
}

static void frame_scan__no_quit_and_empty_messages__goes_on(void **state UNUSED)
{
    struct frame_result f;
    struct frame_rule r;

    assert_int_equal(frame_rule_init(&r, "\n", 1, 9, NULL, 0), 0);
    f = frame_scan(&r, (const uint8_t *)"\n\nQUIT\n", 7, 0);
    assert_int_equal(f.outcome, FRAME_PENDING);
    assert_int_equal(f.complete, 7);
    assert_int_equal(f.messages, 3);
}

static const struct {
    const char *data;
    size_t max_message;
    enum frame_outcome outcome;
    size_t complete, messages;
    size_t resume; /* has a meaning only while the conversation goes on */
} table[] = {
    {"", 9, FRAME_PENDING, 0, 0, 0},
    {"\r\n\r\n", 9, FRAME_PENDING, 4, 1, 0},
    {"\r\n\r\n", 0, FRAME_PENDING, 4, 1, 0},
    {"\r\n\r\n\r\n", 9, FRAME_PENDING, 4, 1, 0},
    {"\r\n\r\n\r\n\r\n", 9, FRAME_PENDING, 8, 2, 0},
    {"\r\n\r\n\r\n\r\n\r\n\r\n", 9, FRAME_PENDING, 12, 3, 0},
    {"\r\r\n\r\n", 9, FRAME_PENDING, 5, 1, 0},
    {"a\r\n\r\nbc\r\n\r\nd", 9, FRAME_PENDING, 11, 2, 0},
    {"a\r\n\r\nbcdefg", 9, FRAME_PENDING, 5, 1, 3},
    {"abc\r\n\r\n", 3, FRAME_PENDING, 7, 1, 0},
    {"abcd\r\n\r\n", 3, FRAME_TOO_BIG, 0, 0, 0},
    {"abc", 3, FRAME_PENDING, 0, 0, 0},
    {"abc\r", 3, FRAME_PENDING, 0, 0, 1},
    {"abc\r\n", 3, FRAME_PENDING, 0, 0, 2},
    {"abc\r\n\r", 3, FRAME_PENDING, 0, 0, 3},
    {"abc\r\n\rx", 3, FRAME_TOO_BIG, 0, 0, 0},
    {"abc\r\n\r\r", 3, FRAME_TOO_BIG, 0, 0, 0},
    {"ab\r\r\n\r", 3, FRAME_PENDING, 0, 0, 3},
    {"abcd", 3, FRAME_TOO_BIG, 0, 0, 0},
    {"abcd\r", 3, FRAME_TOO_BIG, 0, 0, 0},
    {"ab\r\n\r\nabcd", 3, FRAME_TOO_BIG, 6, 1, 0},
    {"QUIT\r\n\r\n", 9, FRAME_QUIT, 8, 1, 0},
    {"a\r\n\r\nQUIT\r\n\r\nb\r\n\r\n", 9, FRAME_QUIT, 13, 2, 0},
    {"QUIT\r\n\r\nabcdefghijkl", 9, FRAME_QUIT, 8, 1, 0},
    {"QUIT\r\n\r", 9, FRAME_PENDING, 0, 0, 4},
    {"QUIT\r\n\r\n", 3, FRAME_TOO_BIG, 0, 0, 0},
    {"xQUIT\r\n\r\n", 9, FRAME_PENDING, 9, 1, 0},
    {"QUITx\r\n\r\n", 9, FRAME_PENDING, 9, 1, 0},
    {"quit\r\n\r\n", 9, FRAME_PENDING, 8, 1, 0},
    {"abcdefghijkl\r\n\r\nQUIT\r\n\r\n", 9, FRAME_TOO_BIG, 0, 0, 0},
};

static void frame_scan__table__as_written(void **state UNUSED)
{
    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        const struct frame_rule r = make_rule("\r\n\r\n", 4, table[i].max_message);
        const size_t len = strlen(table[i].data);
        const struct frame_result f = frame_scan(&r, (const uint8_t *)table[i].data, len, 0);

        if (f.outcome != table[i].outcome || f.complete != table[i].complete ||
            f.messages != table[i].messages ||
            (f.outcome == FRAME_PENDING && f.resume != table[i].resume))
            fail_msg("row %zu: verdict %d, complete %zu, messages %zu, resume %zu", i,
                     (int)f.outcome, f.complete, (size_t)f.messages, f.resume);
        for (size_t first = 0; first <= len; first++)
            check_pieces(&r, (const uint8_t *)table[i].data, len, first, 1);
    }
}

/* All texts of up to eight letters of the separator and one other, in all two-piece splits. */
static void frame_scan__all_short_texts__as_naive(void **state UNUSED)
{
    static const char *const separators[] = {"\r\n\r\n", "\r\r", "\r", "\r\n\r", "\n\n\r"};
    static const char letters[] = "\r\nx";

    for (size_t s = 0; s < ARRAY_SIZE(separators); s++) {
        const struct frame_rule r = make_rule(separators[s], strlen(separators[s]), 3);

        for (unsigned code = 0; code < 6561; code++) {
            uint8_t text[8];

            for (unsigned i = 0, c = code; i < sizeof(text); i++, c /= 3)
                text[i] = (uint8_t)letters[c % 3];
            for (size_t first = 0; first <= sizeof(text); first += 2)
                check_pieces(&r, text, sizeof(text), first, sizeof(text));
        }
    }
}

/* Wherever the separator stands in the blocks of the search, and wherever the data ends. */
static void frame_scan__separator_anywhere__found_at_its_place(void **state UNUSED)
{
    for (size_t n = 1; n <= FRAME_SEPARATOR_MAX; n++) {
        const struct frame_rule r = make_rule("\r\n\r\nabcdefghijkl", n, SIZE_MAX);

        for (size_t len = n; len <= 330; len += 1 + len / 40) {
            uint8_t data[330];

            for (size_t at = 0; at + n <= len; at++) {
                memset(data, '\r', len);
                memset(data, 'x', at);
                memcpy(data + at, r.separator, n);
                check_pieces(&r, data, len, len, len);
            }
        }
    }
}

static void frame_scan__random_bytes_and_pieces__as_naive(void **state UNUSED)
{
    static const char *const separators[] = {
        "\r\n\r\n", "a", "aa", "aba", "aabaab", "abababab", "aaaaaaaaaaaaaaaa", "QUIT"};
    uint8_t data[700];

    srand(3);
    for (int round = 0; round < 4000; round++) {
        const char *sep = separators[rand() % (int)ARRAY_SIZE(separators)];
        const size_t len = (size_t)rand() % sizeof(data);
        const size_t max = rand() % 2 ? SIZE_MAX : (size_t)rand() % 300;
        const struct frame_rule r = make_rule(sep, strlen(sep), max);
        const int density = 1 + rand() % 8;

        for (size_t i = 0; i < len;) {
            const char *part = rand() % density == 0 ? sep : rand() % 9 == 0 ? "QUIT" : "aab\r\n";
            const size_t n = MIN(1 + (size_t)rand() % strlen(part), len - i);

            memcpy(data + i, part, n);
            i += n;
        }
        check_pieces(&r, data, len, (size_t)rand() % (len + 1), 1 + (size_t)rand() % 200);
    }
}

/* 1 MiB in one-byte pieces: what is examined stays linear. */
static void frame_scan__byte_by_byte__linear(void **state UNUSED)
{
    enum { BYTES = 1 << 20 };
    const struct frame_rule r = make_rule("\r\n\r\n", 4, SIZE_MAX);
    uint8_t *data = malloc(BYTES);
    size_t resume = 0, scanned = 0;

    assert_non_null(data);
    memset(data, '\r', BYTES);
    memcpy(data + BYTES - 4, "\r\n\r\n", 4);
    for (size_t len = 1; len <= BYTES; len++) {
        const struct frame_result f = frame_scan(&r, data, len, resume);

        resume = f.resume;
        scanned += f.scanned;
        assert_int_equal(f.complete, len == BYTES ? BYTES : 0);
    }
    assert_true(scanned <= 4 * (size_t)BYTES);
    free(data);
}

/* ---- frame_is_one ---- */

static void frame_is_one__table__one_message_or_refused(void **state)
{
    static const struct {
        const char *separator, *message;
        bool is_one;
    } rows[] = {
        {"\r\n\r\n", "", true},
        {"\r\n\r\n", "hello", true},
        {"\r\n\r\n", "\r\n", false}, /* "\r\n" and the separator: one too early */
        {"\r\n\r\n", "a\r\n", false},
        {"\r\n\r\n", "a\r\n\r", true}, /* "\r\n\r\r\n\r\n": the leftmost match is the real one */
        {"\r\n\r\n", "a\r", true},
        {"\r\n\r\n", "a\n", true},
        {"\r\n\r\n", "\r\n\r\n", false},
        {"\r\n\r\n", "a\r\n\r\nb", false},
        {"\n", "a\r", true},
        {"\n", "a\n", false},
        {"aa", "ba", false},
        {"aab", "a", true},
        {"aab", "aab", false},
        {"", "any\r\n\r\nthing", true}, /* raw: no separator */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct frame_rule r = make_rule(rows[i].separator, strlen(rows[i].separator), 20);

        assert_int_equal(frame_is_one(&r, rows[i].message, strlen(rows[i].message)),
                         rows[i].is_one);
    }
}

/* The check against the definition: append the separator, look for the leftmost match. */
static void frame_is_one__random_small_alphabet__as_the_leftmost_match_says(void **state)
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
        r = make_rule(separator, n, 20);
        memcpy(whole + len, separator, n);
        is_one = strstr(whole, separator) == whole + len;
        assert_int_equal(frame_is_one(&r, whole, len), is_one);
        n_refused += !is_one;
    }
    assert_in_range(n_refused, 1000, 19000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frame_rule_init__too_long__refused_and_untouched),
        cmocka_unit_test(frame_scan__raw__all_complete),
        cmocka_unit_test(frame_scan__no_quit_and_empty_messages__goes_on),
        cmocka_unit_test(frame_scan__table__as_written),
        cmocka_unit_test(frame_scan__all_short_texts__as_naive),
        cmocka_unit_test(frame_scan__separator_anywhere__found_at_its_place),
        cmocka_unit_test(frame_scan__random_bytes_and_pieces__as_naive),
        cmocka_unit_test(frame_scan__byte_by_byte__linear),
        cmocka_unit_test(frame_is_one__table__one_message_or_refused),
        cmocka_unit_test(frame_is_one__random_small_alphabet__as_the_leftmost_match_says),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
