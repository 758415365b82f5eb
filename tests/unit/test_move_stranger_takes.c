/*
 * Giving to a taker that is no worker of ours: another version, nonsense, answers to what was not
 * asked. No connection is lost by it, and no descriptor stays open.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <cmocka.h>
#include "base/fds.h"
#include "base/util.h"
#include "net/conn_impl.h"
#include "net/move_wire.h"
#include "support/move_rig.h"

static struct move_rig t;
static struct taker *taker = &t.takers[0];

static int setup(void **state UNUSED)
{
    move_rig_init(&t, 1, NULL);
    return 0;
}

static int teardown(void **state UNUSED)
{
    move_rig_fini(&t);
    return 0;
}

static void say(uint32_t id, enum moved_outcome verdict, uint32_t room)
{
    uint8_t data[MOVED_ANSWER_BYTES];

    moved_put_answer(&(struct moved_answer){.id = id, .outcome = verdict, .room = room}, data);
    assert_int_equal(move_send(taker->fd, data, sizeof(data), NULL, 0), 0);
    giver_turns(&t);
    giver_turns(&t);
}

static void drop_batches(unsigned n)
{
    while (n-- > 0) {
        struct move_datagram d;

        assert_int_equal(move_receive(taker->fd, &d), 0);
        for (size_t i = 0; i < d.got.n_fds; i++)
            fds_close(&d.got.fds[i]);
    }
}

static void expect_nothing_sent(void)
{
    struct move_datagram d;

    assert_int_equal(move_receive(taker->fd, &d), -EAGAIN);
}

static void end_of_taker(void)
{
    fds_close(&taker->fd);
    move_rig_run(&t);
}

static void move_give__no_greeting__nothing_sent(void **state UNUSED)
{
    move_rig_connect(&t, 5);
    giver_gives(&t, SIZE_MAX);
    rig_run(&t.giver);
    expect_nothing_sent();
    end_of_taker();
    assert_int_equal(t.out.n_stayed, 5);
    move_rig_expect_echoes(&t, 5);
}

static void move_give__greeting_of_another_version__nothing_sent(void **state UNUSED)
{
    uint8_t data[MOVED_ANSWER_BYTES];

    move_rig_connect(&t, 5);
    giver_gives(&t, SIZE_MAX);
    moved_put_answer(&(struct moved_answer){.outcome = MOVED_OK, .room = 100}, data);
    data[4]++;
    assert_int_equal(move_send(taker->fd, data, sizeof(data), NULL, 0), 0);
    move_rig_run(&t);
    assert_int_equal(t.out.n_moved, 0);
    assert_int_equal(t.out.n_stayed, 5);
    fds_close(&taker->fd);
    move_rig_expect_echoes(&t, 5);
}

static void move_give__no_room__nothing_sent_and_done(void **state UNUSED)
{
    move_rig_connect(&t, 5);
    giver_gives(&t, SIZE_MAX);
    say(0, MOVED_OK, 0);
    move_rig_run(&t);
    assert_int_equal(t.out.n_stayed, 5);
    fds_close(&taker->fd);
}

/* Who answers what was not asked gets no more; what it has is its, or ours when it has gone. */
static void move_give__answer_to_a_later_batch__waits_for_the_end(void **state UNUSED)
{
    move_rig_connect(&t, 1500);
    giver_gives(&t, SIZE_MAX);
    say(0, MOVED_OK, MOVED_ROOM_MAX);
    drop_batches(4);
    expect_nothing_sent(); /* four are unanswered */
    say(3, MOVED_OK, MOVED_ROOM_MAX);
    assert_int_equal(t.out.n_moved, 0);
    assert_false(t.out.is_done);
    expect_nothing_sent();
    say(1, MOVED_OK, MOVED_ROOM_MAX);
    assert_int_equal(t.out.n_moved, 252);
    expect_nothing_sent();
    end_of_taker();
    assert_int_equal(t.out.n_moved, 252);
    assert_int_equal(t.giver.set.n_open, 1500 - 252);
    move_rig_expect_echoes(&t, 1500 - 252);
}

static void move_give__garbage_with_descriptors__closed_and_no_more_sent(void **state UNUSED)
{
    int pair[2];

    move_rig_connect(&t, 5);
    giver_gives(&t, SIZE_MAX);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(move_send(taker->fd, (const uint8_t *)"hello", 5, &pair[1], 1), 0);
    close(pair[1]);
    move_rig_run(&t);
    rig_expect_eof(&t.giver, pair[0]);
    close(pair[0]);
    fds_close(&taker->fd);
    assert_int_equal(t.out.n_stayed, 5);
    move_rig_expect_echoes(&t, 5);
}

/* It refuses for ever, and says each time that there is room. */
static void move_give__everything_refused_for_no_reason__given_up(void **state UNUSED)
{
    move_rig_connect(&t, 300);
    giver_gives(&t, SIZE_MAX);
    say(0, MOVED_OK, MOVED_ROOM_MAX);
    for (uint32_t id = 1; !t.out.is_done; id++) {
        assert_in_range(id, 1, 2 * MOVE_UNWANTED_MAX);
        say(id, MOVED_REFUSED, MOVED_ROOM_MAX);
    }
    fds_close(&taker->fd);
    assert_int_equal(t.out.n_moved, 0);
    assert_int_equal(t.out.n_stayed, 300);
    move_rig_expect_echoes(&t, 300);
}

/* It would take what has come of a header for data. */
static void move_give__to_version_2__its_records_and_no_half_header(void **state UNUSED)
{
    struct move_datagram d;
    struct moved_batch batch;
    const struct addr_named somebody = {.kind = ADDR_NAMED_IP, .port = 1};
    struct moved_cursor cursor;
    struct moved_record r;
    const uint8_t *data;
    int ends[2];

    move_rig_connect(&t, 2);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    assert_int_equal(conn_set_add_headed(&t.giver.set, ends[1], 0, PROXY_REQUIRED, false), 0);
    for (int fd = 0; fd < ends[1]; fd++)
        conn_set_name(&t.giver.set, fd, &somebody);
    rig_send_text(&t.giver, ends[0], "PROXY");
    giver_gives(&t, SIZE_MAX);
    say(0, MOVED_OK, 100);
    assert_int_equal(move_receive(taker->fd, &d), 0);
    assert_int_equal(moved_get_batch(d.data, d.got.len, &batch), 0);
    assert_int_equal(batch.version, MOVED_VERSION_OLD);
    assert_int_equal(batch.count, 2);
    assert_int_equal(batch.bytes, 2 * MOVED_RECORD_OLD_BYTES);
    assert_int_equal(move_map(d.got.fds[0], batch.bytes, &data), 0);
    assert_int_equal(moved_open(&cursor, &batch, data, batch.bytes), 0);
    assert_true(moved_next(&cursor, &r) && r.peer.kind == ADDR_NAMED_NONE);
    munmap((void *)(uintptr_t)data, batch.bytes);
    for (size_t i = 0; i < d.got.n_fds; i++)
        fds_close(&d.got.fds[i]);
    say(1, MOVED_REFUSED, 0);
    end_of_taker();
    rig_send_text(&t.giver, ends[0], " UNKNOWN\r\nx\r\n\r\n");
    rig_expect_text(&t.giver, ends[0], "x\r\n\r\n");
    close(ends[0]);
    move_rig_expect_echoes(&t, 2);
}

/* It would refuse the whole batch. */
static void move_give__to_version_2__no_end_that_it_does_not_know(void **state UNUSED)
{
    struct move_datagram d;
    struct moved_batch batch;
    struct moved_cursor cursor;
    struct moved_record r;
    const uint8_t *data;
    int ends[2];

    move_rig_connect(&t, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    assert_int_equal(conn_set_add_headed(&t.giver.set, ends[1], 0, PROXY_REQUIRED, false), 0);
    rig_send_text(&t.giver, ends[0], "no header\r\n");
    rig_run(&t.giver);
    giver_gives(&t, SIZE_MAX);
    say(0, MOVED_OK, 100);
    assert_int_equal(move_receive(taker->fd, &d), 0);
    assert_int_equal(moved_get_batch(d.data, d.got.len, &batch), 0);
    assert_int_equal(move_map(d.got.fds[0], batch.bytes, &data), 0);
    assert_int_equal(moved_open(&cursor, &batch, data, batch.bytes), 0);
    assert_true(moved_next(&cursor, &r));
    assert_int_equal(r.phase, MOVED_LINGERING);
    assert_int_equal(r.end, CONN_END_CUT);
    munmap((void *)(uintptr_t)data, batch.bytes);
    for (size_t i = 0; i < d.got.n_fds; i++)
        fds_close(&d.got.fds[i]);
    say(1, MOVED_OK, 0);
    end_of_taker();
    close(ends[0]);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(move_give__no_greeting__nothing_sent),
        TEST(move_give__greeting_of_another_version__nothing_sent),
        TEST(move_give__no_room__nothing_sent_and_done),
        TEST(move_give__answer_to_a_later_batch__waits_for_the_end),
        TEST(move_give__garbage_with_descriptors__closed_and_no_more_sent),
        TEST(move_give__to_version_2__its_records_and_no_half_header),
        TEST(move_give__to_version_2__no_end_that_it_does_not_know),
        TEST(move_give__everything_refused_for_no_reason__given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
