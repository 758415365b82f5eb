/*
 * The codec of messages between actors.
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
#include "wire/relayed.h"

static const struct relayed a_message = {
    .kind = RELAYED_MESSAGE,
    .is_for_all = true,
    .origin = 0x01020304,
    .number = UINT64_C(0x1122334455667788),
    .sequence = UINT64_C(0xfedcba9876543210),
    .done = 7,
    .share = 1 << 20,
    .topic = "weather",
    .from = "worker.2",
    .target = "all",
    .data = (const uint8_t *)"\0rain\xff",
    .data_len = 6,
};

static const struct relayed a_send = {
    .kind = RELAYED_SEND, .sequence = 1, .done = 12, .target = "worker"};

static const struct relayed a_status = {
    .kind = RELAYED_STATUS, .number = 12, .sequence = 3, .done = 9, .share = 1};

static int get(const struct relayed *m, struct relayed *ret)
{
    static uint8_t buf[RELAYED_MAX_BYTES];

    relayed_put(m, buf);
    return relayed_get(buf, relayed_bytes(m), ret);
}

static void assert_same(const struct relayed *x, const struct relayed *y)
{
    assert_int_equal(x->kind, y->kind);
    assert_int_equal(x->is_for_all, y->is_for_all);
    assert_int_equal(x->origin, y->origin);
    assert_true(x->number == y->number && x->sequence == y->sequence && x->done == y->done);
    assert_int_equal(x->share, y->share);
    assert_string_equal(x->topic, y->topic);
    assert_string_equal(x->from, y->from);
    assert_string_equal(x->target, y->target);
    assert_int_equal(x->data_len, y->data_len);
    if (x->data_len > 0)
        assert_memory_equal(x->data, y->data, x->data_len);
}

static void relayed__written__same_read(void **state UNUSED)
{
    static uint8_t data[RELAYED_DATA_MAX];
    struct relayed largest = a_message, m;
    uint8_t buf[256];

    assert_int_equal(get(&a_message, &m), 0);
    assert_same(&m, &a_message);
    assert_int_equal(get(&a_send, &m), 0);
    assert_same(&m, &a_send);
    assert_int_equal(get(&a_status, &m), 0);
    assert_same(&m, &a_status);
    memset(largest.topic, 't', RELAYED_NAME_MAX);
    memset(largest.from, 'f', RELAYED_NAME_MAX);
    memset(largest.target, 'a', RELAYED_NAME_MAX);
    largest.data = data;
    largest.data_len = sizeof(data);
    assert_int_equal(relayed_bytes(&largest), RELAYED_MAX_BYTES);
    assert_int_equal(get(&largest, &m), 0);
    assert_same(&m, &largest);

    relayed_put(&a_message, buf);
    assert_true(relayed_is(buf, 1));
    assert_false(relayed_is((const uint8_t *)"{}", 2));
    assert_memory_equal(buf, "\xa5\1\2\1\4\3\2\1\x88\x77\x66\x55\x44\x33\x22\x11", 16);
}

static void relayed_get__any_other_length__refused(void **state UNUSED)
{
    struct relayed m = {0};
    uint8_t buf[256] = {0};

    relayed_put(&a_message, buf);
    for (size_t len = 0; len <= sizeof(buf); len++)
        if (len != relayed_bytes(&a_message))
            assert_int_equal(relayed_get(buf, len, &m), -EBADMSG);
    assert_int_equal(m.kind, 0);
}

static void relayed_get__another_version__said_so(void **state UNUSED)
{
    struct relayed m;
    uint8_t buf[256];

    relayed_put(&a_message, buf);
    buf[1]++;
    assert_int_equal(relayed_get(buf, 2, &m), -EPROTONOSUPPORT);
    assert_int_equal(relayed_get(buf, relayed_bytes(&a_message), &m), -EPROTONOSUPPORT);
}

static void relayed_get__what_nobody_writes__refused(void **state UNUSED)
{
    struct relayed bad, m;
    uint8_t buf[256];

    bad = a_send;
    bad.sequence = 0;
    assert_int_equal(get(&bad, &m), -EBADMSG);
    bad = a_send;
    bad.target[0] = '\0';
    assert_int_equal(get(&bad, &m), -EBADMSG);
    bad = a_send;
    bad.number = 1; /* only the arbiter numbers */
    assert_int_equal(get(&bad, &m), -EBADMSG);
    bad = a_message;
    bad.done = bad.number; /* nobody can be done with what is only being sent */
    assert_int_equal(get(&bad, &m), -EBADMSG);
    bad = a_status;
    bad.data_len = 1;
    bad.data = buf;
    assert_int_equal(get(&bad, &m), -EBADMSG);
    bad = a_status;
    bad.kind = RELAYED_KINDS;
    assert_int_equal(get(&bad, &m), -EBADMSG);
    relayed_put(&a_message, buf);
    buf[RELAYED_HEAD_BYTES + 2] = '\0'; /* in the topic */
    assert_int_equal(relayed_get(buf, relayed_bytes(&a_message), &m), -EBADMSG);
}

/* What is accepted is written again as it was read: no byte is without a meaning. */
static void relayed_get__any_bit_changed__refused_or_read_as_it_is(void **state UNUSED)
{
    const size_t len = relayed_bytes(&a_message);
    uint8_t buf[256], again[256];
    struct relayed m;

    relayed_put(&a_message, buf);
    for (size_t bit = 0; bit < 8 * len; bit++) {
        buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
        if (relayed_get(buf, len, &m) == 0) {
            assert_int_equal(relayed_bytes(&m), len);
            relayed_put(&m, again);
            assert_memory_equal(again, buf, len);
        }
        buf[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(relayed__written__same_read),
        cmocka_unit_test(relayed_get__any_other_length__refused),
        cmocka_unit_test(relayed_get__another_version__said_so),
        cmocka_unit_test(relayed_get__what_nobody_writes__refused),
        cmocka_unit_test(relayed_get__any_bit_changed__refused_or_read_as_it_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
