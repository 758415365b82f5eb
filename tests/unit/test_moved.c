/*
 * The codec of a move.
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
#include "wire/moved.h"

static const struct moved_batch a_batch = {
    .version = 3,
    .id = 0x01020304,
    .count = 252,
    .bytes = UINT64_C(0x1122334455667788),
    .position = UINT64_C(0xfedcba9876543210),
};

static void moved_batch__written__same_read(void **state UNUSED)
{
    static const uint8_t bytes[] = {'m', 'o', 'v', 'e', 3, 0, 1, 0, 4, 3, 2, 1, 252, 0, 0, 0, 0x88};
    uint8_t buf[MOVED_BATCH_BYTES];
    struct moved_batch b;

    moved_put_batch(&a_batch, buf);
    assert_memory_equal(buf, bytes, sizeof(bytes)); /* little-endian, whatever this machine is */
    assert_int_equal(moved_get_batch(buf, sizeof(buf), &b), 0);
    assert_int_equal(b.id, a_batch.id);
    assert_int_equal(b.count, a_batch.count);
    assert_true(b.bytes == a_batch.bytes && b.position == a_batch.position);
}

static void moved_answer__written__same_read(void **state UNUSED)
{
    uint8_t buf[MOVED_ANSWER_BYTES];

    for (enum moved_outcome v = MOVED_OK; v <= MOVED_REFUSED; v++) {
        const struct moved_answer a = {.id = 9 * (v - MOVED_OK),
                                       .outcome = v,
                                       .room = MOVED_ROOM_MAX,
                                       .version = MOVED_VERSION};
        struct moved_answer got;

        moved_put_answer(&a, buf);
        assert_int_equal(moved_get_answer(buf, sizeof(buf), &got), 0);
        assert_int_equal(got.id, a.id);
        assert_int_equal(got.outcome, v);
        assert_int_equal(got.room, MOVED_ROOM_MAX);
        assert_int_equal(got.version, a.id == 0 ? MOVED_VERSION : MOVED_VERSION_OLD);
    }
}

/* What a worker of before says, byte for byte, and what it has to be told. */
static void moved_answer__of_version_2__as_it_was(void **state UNUSED)
{
    static const uint8_t bytes[MOVED_ANSWER_BYTES] = {'m', 'o', 'v', 'e', 2, 0, 2, 0, 7, 0,
                                                      0,   0,   1,   0,   0, 0, 9, 0, 0, 0};
    struct moved_answer got = {.version = 0};
    uint8_t buf[MOVED_ANSWER_BYTES];

    assert_int_equal(moved_get_answer(bytes, sizeof(bytes), &got), 0);
    assert_int_equal(got.room, 9);
    assert_int_equal(got.version, MOVED_VERSION_OLD);
    moved_put_answer(&got, buf);
    assert_memory_equal(buf, bytes, sizeof(bytes));
    got.version = MOVED_VERSION;
    moved_put_answer(&got, buf);
    assert_memory_equal(buf, bytes, sizeof(bytes)); /* its giver goes by the true room … */
    got.id = 0;
    moved_put_answer(&got, buf); /* … but for the opening answer, which has a lot of it */
    assert_int_equal(buf[MOVED_ANSWER_BYTES - 1], 0x80);
    buf[8] = 1;
    assert_int_equal(moved_get_answer(buf, sizeof(buf), &got), -EBADMSG);
    got.room = 0;
    moved_put_answer(&got, buf);
    assert_int_equal(moved_get_answer(buf, sizeof(buf), &got), 0);
    assert_int_equal(got.room, 0); /* none is none, whoever reads it */
    assert_int_equal(buf[MOVED_ANSWER_BYTES - 1], 0);
}

static void moved_get__any_other_length__refused(void **state UNUSED)
{
    uint8_t buf[MOVED_BATCH_BYTES + 1] = {0};
    struct moved_answer answer;
    struct moved_batch batch;

    moved_put_batch(&a_batch, buf);
    for (size_t len = 0; len <= sizeof(buf); len++)
        if (len != MOVED_BATCH_BYTES)
            assert_int_equal(moved_get_batch(buf, len, &batch), -EBADMSG);
    buf[4] = MOVED_VERSION_OLD; /* as answers have */
    assert_int_equal(moved_get_answer(buf, MOVED_BATCH_BYTES, &answer), -EBADMSG);
    moved_put_answer(&(struct moved_answer){.id = 1, .outcome = MOVED_OK, .room = 2}, buf);
    for (size_t len = 0; len <= sizeof(buf); len++)
        if (len != MOVED_ANSWER_BYTES)
            assert_int_equal(moved_get_answer(buf, len, &answer), -EBADMSG);
    assert_int_equal(moved_get_batch(buf, MOVED_ANSWER_BYTES, &batch), -EBADMSG);
}

static void moved_get__another_version__said_so_whatever_else_differs(void **state UNUSED)
{
    uint8_t buf[64] = {0};
    struct moved_answer answer;
    struct moved_batch batch;

    moved_put_batch(&a_batch, buf);
    buf[4] = MOVED_VERSION + 1;
    assert_int_equal(moved_get_batch(buf, MOVED_BATCH_BYTES, &batch), -EPROTONOSUPPORT);
    assert_int_equal(moved_get_batch(buf, sizeof(buf), &batch), -EPROTONOSUPPORT);
    assert_int_equal(moved_get_answer(buf, 8, &answer), -EPROTONOSUPPORT);
    buf[4] = MOVED_VERSION_OLD - 1;
    assert_int_equal(moved_get_batch(buf, MOVED_BATCH_BYTES, &batch), -EPROTONOSUPPORT);
    buf[0] ^= 1;
    assert_int_equal(moved_get_batch(buf, MOVED_BATCH_BYTES, &batch), -EBADMSG);
}

static void moved_get_batch__impossible__refused(void **state UNUSED)
{
    struct moved_batch b = a_batch, got = {.id = 77};
    uint8_t buf[MOVED_BATCH_BYTES];

    b.id = 0;
    moved_put_batch(&b, buf);
    assert_int_equal(moved_get_batch(buf, sizeof(buf), &got), -EBADMSG);
    b = a_batch;
    b.count = 0;
    moved_put_batch(&b, buf);
    assert_int_equal(moved_get_batch(buf, sizeof(buf), &got), -EBADMSG);
    b.count = MOVED_COUNT_MAX + 1;
    moved_put_batch(&b, buf);
    assert_int_equal(moved_get_batch(buf, sizeof(buf), &got), -EBADMSG);
    moved_put_batch(&a_batch, buf);
    buf[MOVED_BATCH_BYTES - 1] = 1; /* reserved */
    assert_int_equal(moved_get_batch(buf, sizeof(buf), &got), -EBADMSG);
    assert_int_equal(got.id, 77);
}

static void moved_get_answer__no_outcome__refused(void **state UNUSED)
{
    uint8_t buf[MOVED_ANSWER_BYTES];
    struct moved_answer got;

    for (unsigned v = 0; v < 300; v++) {
        moved_put_answer(&(struct moved_answer){.id = 1, .outcome = (enum moved_outcome)v}, buf);
        assert_int_equal(moved_get_answer(buf, sizeof(buf), &got),
                         v == MOVED_OK || v == MOVED_REFUSED ? 0 : -EBADMSG);
    }
}

/* --- files ------------------------------------------------------------------------------------ */

struct file {
    struct moved_batch batch;
    uint8_t data[4096];
};

static void add(struct file *f, const void *bytes, uint64_t len)
{
    if (len > 0)
        memcpy(f->data + f->batch.bytes, bytes, len);
    f->batch.bytes += len;
}

static void build_version(struct file *f, uint16_t version, const struct moved_record *records,
                          uint32_t n)
{
    uint8_t record[MOVED_RECORD_BYTES];

    f->batch = (struct moved_batch){.version = version, .id = 1, .count = n};
    f->batch.bytes = n * moved_record_bytes(version);
    for (uint32_t i = 0; i < n; i++) {
        moved_put_record(&records[i], record);
        memcpy(f->data + i * moved_record_bytes(version), record, moved_record_bytes(version));
        add(f, records[i].tail, records[i].tail_len);
        add(f, records[i].output, records[i].output_len);
        add(f, records[i].state, records[i].state_len);
    }
}

static void build(struct file *f, const struct moved_record *records, uint32_t n)
{
    build_version(f, MOVED_VERSION, records, n);
}

/* In a block of the exact size, so that a reader beyond it is seen. */
static int open_exact(struct moved_cursor *c, const struct file *f, size_t len, uint8_t **ret)
{
    *ret = malloc(len ? len : 1);
    assert_non_null(*ret);
    memcpy(*ret, f->data, len);
    return moved_open(c, &f->batch, *ret, len);
}

static void expect_open(const struct file *f, int rc)
{
    struct moved_cursor c;
    uint8_t *data;

    assert_int_equal(open_exact(&c, f, f->batch.bytes, &data), rc);
    free(data);
}

static const struct moved_record three[] = {
    {
        .phase = MOVED_OPEN,
        .is_eof = true,
        .is_blank = true,
        .since_age_ms = 1234,
        .timeout_ms = 77,
        .id = UINT64_C(0x0102030405060708),
        .protocol = UINT64_MAX,
        .fingerprint = UINT64_MAX - 1,
        .seen = UINT64_MAX - 2,
        .resume = 2,
        .tail = (const uint8_t *)"half",
        .tail_len = 4,
        .state = (const uint8_t *)"\0\1",
        .state_len = 2,
        .state_version = UINT32_MAX,
        .messages = 1,
        .bytes_in = UINT64_MAX,
        .bytes_out = 3,
        .age_ms = UINT64_C(1) << 40,
        .peer = {.kind = ADDR_NAMED_IP, .port = 4711, .ip = {{1, [15] = 16}}},
    },
    {
        .phase = MOVED_DELIVERING,
        .end = 7,
        .is_eof = true,
        .is_paused = true,
        .progress_age_ms = UINT32_MAX,
        .output = (const uint8_t *)"unsent",
        .output_len = 6,
    },
    {.phase = MOVED_LINGERING, .end = 255, .peer = {.kind = ADDR_NAMED_UNIX}},
};

static void expect_three(uint16_t version)
{
    const bool is_old = version == MOVED_VERSION_OLD;
    struct moved_cursor c;
    struct moved_record r;
    struct file f;
    uint8_t *data;

    build_version(&f, version, three, 3);
    assert_int_equal(open_exact(&c, &f, f.batch.bytes, &data), 0);
    for (int i = 0; i < 3; i++) {
        const struct moved_record *was = &three[i];

        assert_true(moved_next(&c, &r));
        assert_int_equal(r.phase, was->phase);
        assert_int_equal(r.end, was->end);
        assert_int_equal(r.is_eof, was->is_eof);
        assert_int_equal(r.is_paused, was->is_paused);
        assert_int_equal(r.is_blank, was->is_blank);
        assert_int_equal(r.timeout_ms, was->timeout_ms);
        assert_true(r.id == was->id && r.protocol == was->protocol && r.seen == was->seen);
        assert_true(r.fingerprint == was->fingerprint && r.state_version == was->state_version);
        assert_true(r.since_age_ms == was->since_age_ms);
        assert_true(r.progress_age_ms == was->progress_age_ms);
        assert_int_equal(r.resume, was->resume);
        assert_int_equal(r.tail_len, was->tail_len);
        assert_int_equal(r.output_len, was->output_len);
        assert_int_equal(r.state_len, was->state_len);
        if (was->tail)
            assert_memory_equal(r.tail, was->tail, was->tail_len);
        if (was->output)
            assert_memory_equal(r.output, was->output, was->output_len);
        if (was->state)
            assert_memory_equal(r.state, was->state, was->state_len);
        assert_true(r.messages == (is_old ? 0 : was->messages));
        assert_true(r.bytes_in == (is_old ? 0 : was->bytes_in));
        assert_true(r.bytes_out == (is_old ? 0 : was->bytes_out));
        assert_true(r.age_ms == (is_old ? 0 : was->age_ms));
        assert_int_equal(r.peer.kind, is_old ? ADDR_NAMED_NONE : was->peer.kind);
        assert_int_equal(r.peer.port, is_old ? 0 : was->peer.port);
        if (!is_old)
            assert_memory_equal(&r.peer.ip, &was->peer.ip, sizeof(r.peer.ip));
    }
    assert_false(moved_next(&c, &r));
    free(data);
}

static void moved_next__three_connections__as_they_were(void **state UNUSED)
{
    expect_three(MOVED_VERSION);
}

static void moved_next__of_version_2__what_that_has(void **state UNUSED)
{
    expect_three(MOVED_VERSION_OLD);
}

static void moved_next__amid_a_header__what_has_come_of_it(void **state UNUSED)
{
    const struct moved_record was = {.awaits_header = true,
                                     .may_go_without = true,
                                     .since_age_ms = 5,
                                     .tail = (const uint8_t *)"PROXY",
                                     .tail_len = 5};
    struct moved_cursor c;
    struct moved_record r;
    struct file f;
    uint8_t *data;

    build(&f, &was, 1);
    assert_int_equal(open_exact(&c, &f, f.batch.bytes, &data), 0);
    assert_true(moved_next(&c, &r) && r.awaits_header && r.may_go_without);
    assert_memory_equal(r.tail, "PROXY", 5);
    free(data);
    build_version(&f, MOVED_VERSION_OLD, &was, 1); /* which does not know of headers */
    expect_open(&f, -EBADMSG);
}

static void moved_open__any_other_size__refused(void **state UNUSED)
{
    struct moved_cursor c;
    struct file f;

    build(&f, three, 3);
    for (uint64_t len = 0; len < f.batch.bytes + 20; len++) {
        struct file other = f;
        uint8_t *data;

        assert_int_equal(open_exact(&c, &f, len, &data), len == f.batch.bytes ? 0 : -EBADMSG);
        free(data);
        other.batch.bytes = len;
        expect_open(&other, len == f.batch.bytes ? 0 : -EBADMSG);
    }
    f.batch.count = 2;
    expect_open(&f, -EBADMSG);
    f.batch.count = 4;
    expect_open(&f, -EBADMSG);
}

static void moved_open__huge_lengths__refused(void **state UNUSED)
{
    struct moved_record r = three[0];
    struct file f;

    /* Sums that wrap round to the right size. */
    build(&f, &r, 1);
    r.tail_len = UINT64_MAX - 1;
    r.output_len = 6;
    moved_put_record(&r, f.data);
    expect_open(&f, -EBADMSG);
    r.tail_len = UINT64_C(1) << 63;
    r.output_len = (UINT64_C(1) << 63) + 4;
    moved_put_record(&r, f.data);
    expect_open(&f, -EBADMSG);
}

static void expect_impossible(struct moved_record r)
{
    static const uint8_t bytes[MOVED_STATE_MAX + 1];
    struct file *f = calloc(1, sizeof(*f) + sizeof(bytes));

    assert_non_null(f);
    r.tail = r.output = r.state = bytes;
    build(f, &r, 1);
    expect_open(f, -EBADMSG);
    free(f);
}

static void moved_open__connection_that_cannot_be__refused(void **state UNUSED)
{
    struct file f;

    expect_impossible((struct moved_record){.phase = MOVED_PHASES});
    expect_impossible((struct moved_record){.phase = MOVED_OPEN, .is_paused = true});
    expect_impossible((struct moved_record){.phase = MOVED_OPEN, .resume = 1});
    expect_impossible((struct moved_record){.resume = 5, .tail_len = 4});
    expect_impossible((struct moved_record){.state_len = MOVED_STATE_MAX + 1});
    expect_impossible((struct moved_record){.phase = MOVED_DELIVERING});
    expect_impossible(
        (struct moved_record){.phase = MOVED_DELIVERING, .output_len = 1, .tail_len = 1});
    expect_impossible((struct moved_record){.phase = MOVED_LINGERING, .output_len = 1});
    expect_impossible((struct moved_record){.phase = MOVED_LINGERING, .tail_len = 1});
    expect_impossible((struct moved_record){.phase = MOVED_LINGERING, .is_eof = true});
    expect_impossible((struct moved_record){.phase = MOVED_LINGERING, .state_len = 1});
    expect_impossible((struct moved_record){.phase = MOVED_LINGERING, .timeout_ms = 1});
    expect_impossible((struct moved_record){.phase = MOVED_LINGERING, .is_blank = true});
    expect_impossible((struct moved_record){.phase = MOVED_LINGERING, .state_version = 1});
    expect_impossible((struct moved_record){.may_go_without = true});
    expect_impossible((struct moved_record){.awaits_header = true, .is_eof = true});
    expect_impossible((struct moved_record){.awaits_header = true, .is_blank = true});
    expect_impossible((struct moved_record){.awaits_header = true, .output_len = 1});
    expect_impossible((struct moved_record){.awaits_header = true, .state_len = 1});
    expect_impossible((struct moved_record){.awaits_header = true, .timeout_ms = 1});
    expect_impossible((struct moved_record){.awaits_header = true, .tail_len = 1, .resume = 1});
    expect_impossible(
        (struct moved_record){.awaits_header = true, .peer = {.kind = ADDR_NAMED_UNIX}});
    expect_impossible((struct moved_record){.phase = MOVED_LINGERING, .awaits_header = true});
    expect_impossible((struct moved_record){.peer = {.kind = ADDR_NAMED_UNIX + 1}});
    build(&f, three, 3);
    f.data[2] |= 32; /* an unknown flag */
    expect_open(&f, -EBADMSG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(moved_batch__written__same_read),
        cmocka_unit_test(moved_answer__written__same_read),
        cmocka_unit_test(moved_get__any_other_length__refused),
        cmocka_unit_test(moved_get__another_version__said_so_whatever_else_differs),
        cmocka_unit_test(moved_get_batch__impossible__refused),
        cmocka_unit_test(moved_get_answer__no_outcome__refused),
        cmocka_unit_test(moved_next__three_connections__as_they_were),
        cmocka_unit_test(moved_answer__of_version_2__as_it_was),
        cmocka_unit_test(moved_next__of_version_2__what_that_has),
        cmocka_unit_test(moved_next__amid_a_header__what_has_come_of_it),
        cmocka_unit_test(moved_open__any_other_size__refused),
        cmocka_unit_test(moved_open__huge_lengths__refused),
        cmocka_unit_test(moved_open__connection_that_cannot_be__refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
