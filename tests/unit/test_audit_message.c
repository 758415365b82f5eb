/*
 * Messages that describe themselves: never a separator in them, never mistaken for another.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/util.h"
#include "measure/audit_message.h"
#include "conformance/must.h"

enum { SIZE_MAX_HERE = 3000 };

static struct frame_rule rule_of(const void *separator, size_t len)
{
    struct frame_rule r;

    assert_int_equal(frame_rule_init(&r, separator, len, SIZE_MAX_HERE, NULL, 0), 0);
    return r;
}

static void audit_message_write__any_separator_and_size__one_intact_message(void **state)
{
    static const char *const separators[] = {
        "\r\n\r\n",         "\n",  "\r\n", "xx",          "x~",           "~\r",  "\n\r\n\n",
        "\r\n\r\n\r\n\r\n", "0\r", " ",    "ffffffff~\r", "END\r\n.\r\n", "xyxy",
    };
    uint8_t buf[SIZE_MAX_HERE];
    uint64_t rng = 3;

    (void)state;
    for (size_t i = 0; i < ARRAY_SIZE(separators); i++) {
        struct frame_rule r = rule_of(separators[i], strlen(separators[i]));

        for (uint32_t sequence = 0; sequence < 400; sequence++) {
            struct audit_identity id = {random_next(&rng), (uint32_t)random_next(&rng), 77};
            size_t len = rng_below(&rng, sequence % 2 ? 40 : SIZE_MAX_HERE - AUDIT_HEADER_BYTES);
            struct audit_header h;

            audit_message_write(&id, &r, sequence, buf, AUDIT_HEADER_BYTES + len);
            assert_true(frame_is_one(&r, buf, AUDIT_HEADER_BYTES + len));
            assert_int_equal(audit_message_read(buf, AUDIT_HEADER_BYTES + len, &h), AUDIT_INTACT);
            assert_int_equal(h.run, id.run);
            assert_int_equal(h.connection, 77);
            assert_int_equal(h.sequence, sequence);
            assert_int_equal(h.payload_len, len);
        }
    }
}

/* The audit is only worth something if it sends what servers stumble over. */
static void audit_message_write__many__all_awkward_bytes_occur(void **state)
{
    struct frame_rule r = rule_of("\r\n\r\n", 4);
    struct audit_identity id = {1, 1, 1};
    unsigned n_cr = 0, n_lf = 0, n_nul = 0, n_near_miss = 0;
    uint8_t buf[SIZE_MAX_HERE];

    (void)state;
    for (uint32_t sequence = 0; sequence < 100; sequence++) {
        audit_message_write(&id, &r, sequence, buf, 1000);
        n_cr += memchr(buf, '\r', 1000) != NULL;
        n_lf += memchr(buf, '\n', 1000) != NULL;
        n_nul += memchr(buf, 0, 1000) != NULL;
        n_near_miss += memmem(buf, 1000, "\r\n\r", 3) != NULL;
    }
    assert_in_range(n_cr, 80, 100);
    assert_in_range(n_lf, 80, 100);
    assert_in_range(n_nul, 80, 100);
    assert_in_range(n_near_miss, 20, 90);
}

/* What marks the run is in the header alone: a seed gives the same payloads in every run. */
static void audit_message_write__same_seed__same_payload(void **state)
{
    struct frame_rule r = rule_of("\r\n\r\n", 4);
    static const struct audit_identity others[] = {{6, 1, 1}, {5, 1, 2}};
    struct audit_identity id = {5, 1, 1}, other_run = {5, 2, 1};
    uint8_t a[500], b[500];

    (void)state;
    audit_message_write(&id, &r, 9, a, sizeof(a));
    audit_message_write(&id, &r, 9, b, sizeof(b));
    assert_memory_equal(a, b, sizeof(a));
    audit_message_write(&other_run, &r, 9, b, sizeof(b));
    assert_memory_not_equal(a, b, AUDIT_HEADER_BYTES);
    assert_memory_equal(a + AUDIT_HEADER_BYTES, b + AUDIT_HEADER_BYTES,
                        sizeof(a) - AUDIT_HEADER_BYTES);
    for (size_t i = 0; i < ARRAY_SIZE(others); i++) {
        audit_message_write(&others[i], &r, 9, b, sizeof(b));
        assert_memory_not_equal(a + AUDIT_HEADER_BYTES, b + AUDIT_HEADER_BYTES, 400);
    }
    audit_message_write(&id, &r, 10, b, sizeof(b));
    assert_memory_not_equal(a + AUDIT_HEADER_BYTES, b + AUDIT_HEADER_BYTES, 400);
}

static void audit_message_read__any_byte_changed__never_intact(void **state)
{
    struct frame_rule r = rule_of("\r\n\r\n", 4);
    struct audit_identity id = {1, 0xabcdef01, 3};
    struct audit_header h;
    uint8_t buf[300];

    (void)state;
    audit_message_write(&id, &r, 5, buf, sizeof(buf));
    for (size_t i = 0; i < sizeof(buf); i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            enum audit_reading want = i < AUDIT_HEADER_BYTES ? AUDIT_NOISE : AUDIT_DAMAGED;

            buf[i] ^= (uint8_t)(1u << bit);
            assert_int_equal(audit_message_read(buf, sizeof(buf), &h), want);
            buf[i] ^= (uint8_t)(1u << bit);
        }
    }
    assert_int_equal(audit_message_read(buf, sizeof(buf), &h), AUDIT_INTACT);
}

static void audit_message_read__any_prefix__never_intact(void **state)
{
    struct frame_rule r = rule_of("\r\n\r\n", 4);
    struct audit_identity id = {1, 2, 3};
    struct audit_header h = {.sequence = 1234};
    uint8_t buf[300];

    (void)state;
    audit_message_write(&id, &r, 5, buf, sizeof(buf));
    for (size_t len = 0; len < sizeof(buf); len++) {
        uint8_t *copy = malloc(len + 1); /* of exact size, for the sanitizer */

        memcpy(copy + 1, buf, len);
        assert_int_equal(audit_message_read(copy + 1, len, &h),
                         len < AUDIT_HEADER_BYTES ? AUDIT_NOISE : AUDIT_DAMAGED);
        free(copy);
        if (len < AUDIT_HEADER_BYTES)
            assert_int_equal(h.sequence, 1234); /* untouched */
    }
}

static void audit_separator_is_fit__table__not_raw_nor_of_header_characters(void **state)
{
    (void)state;
    assert_true(audit_separator_is_fit("\r\n\r\n", 4));
    assert_true(audit_separator_is_fit("a\n", 2));
    assert_true(audit_separator_is_fit("\0", 1));
    assert_true(audit_separator_is_fit("A", 1));
    assert_false(audit_separator_is_fit("", 0));
    assert_false(audit_separator_is_fit("a", 1));
    assert_false(audit_separator_is_fit("~", 1));
    assert_false(audit_separator_is_fit("0.9", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(audit_message_write__any_separator_and_size__one_intact_message),
        cmocka_unit_test(audit_message_write__many__all_awkward_bytes_occur),
        cmocka_unit_test(audit_message_write__same_seed__same_payload),
        cmocka_unit_test(audit_message_read__any_byte_changed__never_intact),
        cmocka_unit_test(audit_message_read__any_prefix__never_intact),
        cmocka_unit_test(audit_separator_is_fit__table__not_raw_nor_of_header_characters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
