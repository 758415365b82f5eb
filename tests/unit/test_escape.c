/*
 * Bytes as text: what may be written, and that what is written reads back.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include "base/escape.h"
#include "base/util.h"

static void escape_read__table__bytes_or_refused(void **state UNUSED)
{
    static const struct {
        const char *text, *bytes;
        size_t len;
        int rc;
    } rows[] = {
        {"", "", 0, 0},
        {"\\r\\n\\r\\n", "\r\n\r\n", 4, 0},
        {"a\\tb\\\\", "a\tb\\", 4, 0},
        {"\\f\\\"", "\f\"", 2, 0},
        {"\\x00\\xfF", "\0\377", 2, 0},
        {"\\x4", NULL, 0, -EINVAL},
        {"\\xg0", NULL, 0, -EINVAL},
        {"\\q", NULL, 0, -EINVAL},
        {"a\\", NULL, 0, -EINVAL},
        {"12345678", "12345678", 8, 0},
        {"123456789", NULL, 0, -E2BIG},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        uint8_t bytes[8] = "untouch";
        size_t len = 99;

        assert_int_equal(escape_read(rows[i].text, bytes, sizeof(bytes), &len), rows[i].rc);
        assert_int_equal(len, rows[i].rc ? 99 : rows[i].len);
        assert_memory_equal(bytes, rows[i].rc ? "untouch" : rows[i].bytes, rows[i].rc ? 7 : len);
    }
}

static void escape_bytes__any_byte__plain_text_that_reads_back(void **state UNUSED)
{
    uint8_t all[256], back[256];
    char text[4 * sizeof(all) + 1];
    size_t len;

    for (size_t i = 0; i < sizeof(all); i++)
        all[i] = (uint8_t)i;
    escape_bytes(all, sizeof(all), text);
    for (const char *p = text; *p; p++)
        assert_true(*p >= ' ' && *p < 0x7f);
    assert_int_equal(escape_read(text, back, sizeof(back), &len), 0);
    assert_int_equal(len, sizeof(all));
    assert_memory_equal(back, all, len);
    assert_string_equal(escape_bytes((const uint8_t *)"\r\n\t\\\"\x1b", 6, text),
                        "\\r\\n\\t\\\\\\\"\\x1b");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(escape_read__table__bytes_or_refused),
        cmocka_unit_test(escape_bytes__any_byte__plain_text_that_reads_back),
    };

    return cmocka_run_group_tests_name("escape", tests, NULL, NULL);
}
