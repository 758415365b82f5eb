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
#include <sys/socket.h>
#include <cmocka.h>
#include "base/fds.h"
#include "base/util.h"
#include "net/transfer_wire.h"
#include "support/transfer_rig.h"

static struct transfer_rig t;
static struct taker *taker = &t.takers[0];

static int setup(void **state UNUSED)
{
    transfer_rig_init(&t, 1, NULL);
    return 0;
}

static int teardown(void **state UNUSED)
{
    transfer_rig_fini(&t);
    return 0;
}

static void say(uint32_t id, enum handover_outcome verdict, uint32_t room)
{
    uint8_t data[HANDOVER_ANSWER_BYTES];

    handover_put_answer(&(struct handover_answer){id, verdict, room}, data);
    assert_int_equal(transfer_send(taker->fd, data, sizeof(data), NULL, 0), 0);
    giver_turns(&t);
    giver_turns(&t);
}

static void drop_batches(unsigned n)
{
    while (n-- > 0) {
        struct transfer_datagram d;

        assert_int_equal(transfer_receive(taker->fd, &d), 0);
        for (size_t i = 0; i < d.got.n_fds; i++)
            fds_close(&d.got.fds[i]);
    }
}

static void expect_nothing_sent(void)
{
    struct transfer_datagram d;

    assert_int_equal(transfer_receive(taker->fd, &d), -EAGAIN);
}

static void end_of_taker(void)
{
    fds_close(&taker->fd);
    transfer_rig_run(&t);
}

static void transfer_give__no_greeting__nothing_sent(void **state UNUSED)
{
    transfer_rig_connect(&t, 5);
    giver_gives(&t, SIZE_MAX);
    rig_run(&t.giver);
    expect_nothing_sent();
    end_of_taker();
    assert_int_equal(t.out.n_stayed, 5);
    transfer_rig_expect_echoes(&t, 5);
}

static void transfer_give__greeting_of_another_version__nothing_sent(void **state UNUSED)
{
    uint8_t data[HANDOVER_ANSWER_BYTES];

    transfer_rig_connect(&t, 5);
    giver_gives(&t, SIZE_MAX);
    handover_put_answer(&(struct handover_answer){0, HANDOVER_OK, 100}, data);
    data[4]++;
    assert_int_equal(transfer_send(taker->fd, data, sizeof(data), NULL, 0), 0);
    transfer_rig_run(&t);
    assert_int_equal(t.out.n_moved, 0);
    assert_int_equal(t.out.n_stayed, 5);
    fds_close(&taker->fd);
    transfer_rig_expect_echoes(&t, 5);
}

static void transfer_give__no_room__nothing_sent_and_done(void **state UNUSED)
{
    transfer_rig_connect(&t, 5);
    giver_gives(&t, SIZE_MAX);
    say(0, HANDOVER_OK, 0);
    transfer_rig_run(&t);
    assert_int_equal(t.out.n_stayed, 5);
    fds_close(&taker->fd);
}

/* Who answers what was not asked gets no more; what it has is its, or ours when it has gone. */
static void transfer_give__answer_to_a_later_batch__waits_for_the_end(void **state UNUSED)
{
    transfer_rig_connect(&t, 1500);
    giver_gives(&t, SIZE_MAX);
    say(0, HANDOVER_OK, UINT32_MAX);
    drop_batches(4);
    expect_nothing_sent(); /* four are unanswered */
    say(3, HANDOVER_OK, UINT32_MAX);
    assert_int_equal(t.out.n_moved, 0);
    assert_false(t.out.is_done);
    expect_nothing_sent();
    say(1, HANDOVER_OK, UINT32_MAX);
    assert_int_equal(t.out.n_moved, 252);
    expect_nothing_sent();
    end_of_taker();
    assert_int_equal(t.out.n_moved, 252);
    assert_int_equal(t.giver.set.n_open, 1500 - 252);
    transfer_rig_expect_echoes(&t, 1500 - 252);
}

static void transfer_give__garbage_with_descriptors__closed_and_no_more_sent(void **state UNUSED)
{
    int pair[2];

    transfer_rig_connect(&t, 5);
    giver_gives(&t, SIZE_MAX);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    assert_int_equal(transfer_send(taker->fd, (const uint8_t *)"hello", 5, &pair[1], 1), 0);
    close(pair[1]);
    transfer_rig_run(&t);
    rig_expect_eof(&t.giver, pair[0]);
    close(pair[0]);
    fds_close(&taker->fd);
    assert_int_equal(t.out.n_stayed, 5);
    transfer_rig_expect_echoes(&t, 5);
}

/* It refuses for ever, and says each time that there is room. */
static void transfer_give__everything_refused_for_no_reason__given_up(void **state UNUSED)
{
    transfer_rig_connect(&t, 300);
    giver_gives(&t, SIZE_MAX);
    say(0, HANDOVER_OK, UINT32_MAX);
    for (uint32_t id = 1; !t.out.is_done; id++) {
        assert_in_range(id, 1, 2 * TRANSFER_UNWANTED_MAX);
        say(id, HANDOVER_REFUSED, UINT32_MAX);
    }
    fds_close(&taker->fd);
    assert_int_equal(t.out.n_moved, 0);
    assert_int_equal(t.out.n_stayed, 300);
    transfer_rig_expect_echoes(&t, 300);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(transfer_give__no_greeting__nothing_sent),
        TEST(transfer_give__greeting_of_another_version__nothing_sent),
        TEST(transfer_give__no_room__nothing_sent_and_done),
        TEST(transfer_give__answer_to_a_later_batch__waits_for_the_end),
        TEST(transfer_give__garbage_with_descriptors__closed_and_no_more_sent),
        TEST(transfer_give__everything_refused_for_no_reason__given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
