/*
 * Bytes as text, and the words of outcomes.
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
#include "client/outcome.h"
#include "client/text.h"

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

static void outcome__each__has_its_words_and_a_code(void **state)
{
    (void)state;
    for (int i = 0; i < OUTCOMES_N; i++) {
        assert_true(strlen(arb_status_name(i)) > 0 && strlen(arb_strerror(i)) > 0);
        assert_int_equal(outcome_exit(i) == 0, i == ARB_OK);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(arb_status_name(i), arb_status_name(j));
    }
    assert_string_equal(arb_status_name(-EMFILE), "error");
    assert_string_equal(arb_strerror(-EMFILE), strerror(EMFILE));
    assert_int_equal(outcome_exit(-EACCES), 77);
    assert_int_equal(outcome_exit(-EMFILE), 71);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_set_json__table__text_or_base64),
        cmocka_unit_test(outcome__each__has_its_words_and_a_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
