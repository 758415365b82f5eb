/*
 * The codec between a worker and its keeper.
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
#include "wire/keep.h"

static const enum keep_kind kinds[] = {KEEP_REGISTER, KEEP_SWEEP, KEEP_OFFER, KEEP_TAKEN};

/* With as many entries as its kind has, each different. */
static struct keep_message message_of(enum keep_kind kind, uint32_t count)
{
    struct keep_message m = {.kind = kind, .count = kind == KEEP_SWEEP ? 0 : count};

    if (kind == KEEP_OFFER || kind == KEEP_TAKEN)
        m.batch = 0x01020304;
    for (uint32_t i = 0; i < m.count; i++) {
        if (kind != KEEP_OFFER) {
            m.entries[i].number = 1000 + i;
            m.entries[i].serial = 0xffffff00u + i;
        }
        if (kind == KEEP_OFFER || kind == KEEP_REGISTER)
            m.entries[i].origin =
                (struct keep_origin){UINT64_C(0x1122334455667788) + i, ~(uint64_t)i};
    }
    return m;
}

static void keep__register_written__bytes_as_said(void **state UNUSED)
{
    static const uint8_t bytes[] = {'k',  'e',  'e',  'p',  1,    0,    1,    0,    0,    0,
                                    0,    0,    1,    0,    0,    0,    0xe8, 3,    0,    0,
                                    0,    0xff, 0xff, 0xff, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33,
                                    0x22, 0x11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    const struct keep_message m = message_of(KEEP_REGISTER, 1);
    uint8_t buf[KEEP_MESSAGE_MAX];

    assert_int_equal(keep_put(&m, buf), sizeof(bytes));
    assert_memory_equal(buf, bytes, sizeof(bytes)); /* little-endian, whatever this machine is */
}

static void keep__written__same_read(void **state UNUSED)
{
    static const uint32_t counts[] = {1, 2, 251, KEEP_COUNT_MAX};

    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++)
        for (size_t i = 0; i < ARRAY_SIZE(counts); i++) {
            const struct keep_message m = message_of(kinds[k], counts[i]);
            uint8_t buf[KEEP_MESSAGE_MAX];
            const size_t len = keep_put(&m, buf);
            struct keep_message got = {0};

            assert_int_equal(keep_get(buf, len, &got), 0);
            assert_memory_equal(&got, &m, sizeof(m));
        }
}

static void keep__any_other_length__refused(void **state UNUSED)
{
    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
        const struct keep_message m = message_of(kinds[k], 2);
        uint8_t buf[KEEP_MESSAGE_MAX] = {0};
        const size_t len = keep_put(&m, buf);
        struct keep_message got;

        for (size_t i = 0; i < len + KEEP_REGISTER_BYTES; i++)
            if (i != len)
                assert_int_equal(keep_get(buf, i, &got), -EBADMSG);
    }
}

/* As message_of, with a peer in each second entry. */
static struct keep_message named_message_of(enum keep_kind kind, uint32_t count)
{
    struct keep_message m = message_of(kind, count);

    for (uint32_t i = 1; i < m.count; i += 2) {
        m.entries[i].peer = (struct addr_named){.kind = ADDR_NAMED_IP, .port = (uint16_t)i};
        m.entries[i].peer.ip.bytes[15] = (uint8_t)i;
    }
    return m;
}

static void keep__with_peers__another_version_and_the_same_read(void **state UNUSED)
{
    static const enum keep_kind named[] = {KEEP_REGISTER, KEEP_OFFER};

    for (size_t k = 0; k < ARRAY_SIZE(named); k++) {
        const struct keep_message m = named_message_of(named[k], KEEP_COUNT_MAX);
        uint8_t buf[KEEP_MESSAGE_MAX];
        const size_t len = keep_put(&m, buf);
        struct keep_message got = {0};

        assert_int_equal(buf[4], KEEP_VERSION_NAMED);
        assert_int_equal(keep_get(buf, len, &got), 0);
        assert_memory_equal(&got, &m, sizeof(m));
        for (size_t i = 8; i < len; i++)
            assert_int_equal(keep_get(buf, i, &got), -EBADMSG);
    }
}

static void keep__nobody_named_in_the_version_that_names__refused(void **state UNUSED)
{
    struct keep_message m = named_message_of(KEEP_OFFER, 2), got;
    uint8_t buf[KEEP_MESSAGE_MAX];
    const size_t len = keep_put(&m, buf);

    assert_int_equal(keep_get(buf, len, &got), 0);
    buf[len - PEER_BYTES] = ADDR_NAMED_UNIX + 1;
    assert_int_equal(keep_get(buf, len, &got), -EBADMSG);
    memset(buf + len - PEER_BYTES, 0, PEER_BYTES);
    assert_int_equal(keep_get(buf, len, &got), -EBADMSG);
    m = message_of(KEEP_TAKEN, 2);
    keep_put(&m, buf);
    buf[4] = KEEP_VERSION_NAMED;
    assert_int_equal(keep_get(buf, KEEP_HEAD_BYTES + 2 * KEEP_TAKEN_BYTES, &got), -EBADMSG);
}

static void keep__another_version__said_so_whatever_else_differs(void **state UNUSED)
{
    const struct keep_message m = message_of(KEEP_OFFER, 2);
    uint8_t buf[KEEP_MESSAGE_MAX];
    const size_t len = keep_put(&m, buf);
    struct keep_message got;

    buf[4] = KEEP_VERSION_NAMED + 1;
    assert_int_equal(keep_get(buf, len, &got), -EPROTONOSUPPORT);
    assert_int_equal(keep_get(buf, 8, &got), -EPROTONOSUPPORT);
    buf[0] = 'K';
    assert_int_equal(keep_get(buf, len, &got), -EBADMSG);
}

/* Writes @value over four bytes of a message that is fine without that. */
static int get_with(enum keep_kind kind, size_t at, uint32_t value)
{
    const struct keep_message m = message_of(kind, 2);
    uint8_t buf[KEEP_MESSAGE_MAX];
    const size_t len = keep_put(&m, buf);
    struct keep_message got;

    for (size_t i = 0; i < 4; i++)
        buf[at + i] = (uint8_t)(value >> (8 * i));
    return keep_get(buf, len, &got);
}

static void keep__impossible_values__refused(void **state UNUSED)
{
    enum { BATCH = 8, COUNT = 12, NUMBER = KEEP_HEAD_BYTES, SERIAL = KEEP_HEAD_BYTES + 4 };

    for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
        assert_int_equal(get_with(kinds[k], COUNT, 1), -EBADMSG);
        assert_int_equal(get_with(kinds[k], COUNT, KEEP_COUNT_MAX + 1), -EBADMSG);
        assert_int_equal(get_with(kinds[k], COUNT, 0x80000002u), -EBADMSG);
        assert_int_equal(get_with(kinds[k], 4, KEEP_VERSION | 5u << 16), -EBADMSG); /* its kind */
        assert_int_equal(get_with(kinds[k], 4, KEEP_VERSION), -EBADMSG);
    }
    assert_int_equal(get_with(KEEP_SWEEP, BATCH, 1), -EBADMSG);
    assert_int_equal(get_with(KEEP_REGISTER, BATCH, 1), -EBADMSG);
    assert_int_equal(get_with(KEEP_OFFER, BATCH, 0), -EBADMSG);
    assert_int_equal(get_with(KEEP_TAKEN, BATCH, 0), -EBADMSG);
    assert_int_equal(get_with(KEEP_REGISTER, NUMBER, KEEP_REFUSED), -EBADMSG);
    assert_int_equal(get_with(KEEP_REGISTER, SERIAL, 0), -EBADMSG);
    assert_int_equal(get_with(KEEP_TAKEN, NUMBER, KEEP_REFUSED), -EBADMSG); /* with a serial */
    assert_int_equal(get_with(KEEP_TAKEN, SERIAL, 0), 0); /* taken, and kept elsewhere */
}

static void keep__refused_entry__comes_through(void **state UNUSED)
{
    struct keep_message m = message_of(KEEP_TAKEN, 3), got;
    uint8_t buf[KEEP_MESSAGE_MAX];

    m.entries[1] = (struct keep_entry){.number = KEEP_REFUSED};
    assert_int_equal(keep_get(buf, keep_put(&m, buf), &got), 0);
    assert_true(got.entries[1].number == KEEP_REFUSED);
    assert_int_equal(got.entries[2].number, 1002);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keep__register_written__bytes_as_said),
        cmocka_unit_test(keep__written__same_read),
        cmocka_unit_test(keep__any_other_length__refused),
        cmocka_unit_test(keep__another_version__said_so_whatever_else_differs),
        cmocka_unit_test(keep__impossible_values__refused),
        cmocka_unit_test(keep__refused_entry__comes_through),
        cmocka_unit_test(keep__with_peers__another_version_and_the_same_read),
        cmocka_unit_test(keep__nobody_named_in_the_version_that_names__refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
