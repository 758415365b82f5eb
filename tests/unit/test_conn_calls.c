/*
 * What connections ask of the system: the number of calls and allocations a message. Linked with
 * --wrap, so that the calls come through support/calls.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/util.h"
#include "support/calls.h"
#include "support/conn_rig.h"

enum { MIB = 1 << 20 };

static struct rig rig;

static int setup(void **state UNUSED)
{
    calls_reset();
    rig_init(&rig, NULL, 16 * MIB);
    calls.peer = rig_connect(&rig);
    return 0;
}

static int teardown(void **state UNUSED)
{
    close(calls.peer);
    calls_reset();
    rig_fini(&rig);
    return 0;
}

static void take(const void *expected, size_t len)
{
    static uint8_t got[4 * MIB];

    assert_int_equal(recv(calls.peer, got, sizeof(got), 0), len);
    assert_memory_equal(got, expected, len);
}

static void conn__one_message_after_another__one_read_one_write_no_allocation(void **state UNUSED)
{
    const char *message =
        "0123456789012345678901234567890123456789012345678901234567890123\r\n\r\n";

    calls_count_from_here();
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(send(calls.peer, message, 68, MSG_NOSIGNAL), 68);
        rig_run(&rig);
        take(message, 68);
    }
    assert_int_equal(calls.n_reads, 1000);
    assert_int_equal(calls.n_writes, 1000);
    assert_int_equal(calls.n_allocations, 0);
    assert_int_equal(counter_get(&rig.counters.requests), 1000);
}

static void conn__sixteen_at_once__one_read_one_write_no_allocation(void **state UNUSED)
{
    char batch[16 * 68];

    for (size_t i = 0; i < sizeof(batch); i += 68)
        memcpy(batch + i,
               "0123456789012345678901234567890123456789012345678901234567890123\r\n\r\n", 68);
    calls_count_from_here();
    for (int i = 0; i < 100; i++) {
        assert_int_equal(send(calls.peer, batch, sizeof(batch), MSG_NOSIGNAL), sizeof(batch));
        rig_run(&rig);
        take(batch, sizeof(batch));
    }
    assert_int_equal(calls.n_reads, 100);
    assert_int_equal(calls.n_writes, 100);
    assert_int_equal(calls.n_allocations, 0);
}

static void conn__messages_in_two_parts__no_allocation_after_the_first(void **state UNUSED)
{
    static const size_t sizes[] = {10, 1000, 5000, 70000, 150000};

    for (size_t k = 0; k < ARRAY_SIZE(sizes); k++) {
        uint8_t *message = calloc(1, sizes[k]);

        memcpy(message + sizes[k] - 4, "\r\n\r\n", 4);
        for (int i = 0; i < 20; i++) {
            if (i == 2)
                calls_count_from_here();
            rig_send(&rig, calls.peer, message, sizes[k] / 2);
            /* The room that the messages before it needed is there from the start. */
            if (i >= 2 && sizes[k] >= 5000)
                assert_in_range(rig.set.pool.used_bytes, sizes[k], 2 * sizes[k] + 64);
            rig_send(&rig, calls.peer, message + sizes[k] / 2, sizes[k] - sizes[k] / 2);
            take(message, sizes[k]);
        }
        assert_int_equal(calls.n_allocations, 0);
        assert_int_equal(calls.n_writes, 18);
        assert_int_equal(rig.set.pool.used_bytes, 0);
        free(message);
    }
}

static void conn__pipelined_with_rests__tail_stays_small(void **state UNUSED)
{
    uint8_t *data = malloc(64 * 1000 + 64);

    for (size_t i = 0; i < 1000; i++)
        memcpy(data + i * 64,
               "012345678901234567890123456789012345678901234567890123456789\r\n\r\n", 64);
    memcpy(data + 64 * 1000, data, 64);
    rig_send(&rig, calls.peer, data, 30);
    calls_count_from_here();
    for (int i = 0; i < 20; i++) {
        assert_int_equal(send(calls.peer, data + 30, 64 * 1000, MSG_NOSIGNAL), 64 * 1000);
        rig_run(&rig);
        take(data, 64 * 1000);
        assert_int_equal(rig.set.pool.used_bytes, BUFFER_MIN_BYTES);
    }
    assert_int_equal(calls.n_reads, 20);
    assert_int_equal(calls.n_writes, 20);
    assert_int_equal(calls.n_allocations, 0);
    free(data);
}

/* Room that is only guessed may not crowd out what is needed. */
static void conn__pool_half_used__no_room_on_a_guess(void **state UNUSED)
{
    const struct conn_limits limits = {.max_buffered = MIB};
    uint8_t *message = rig_payload(100000);
    int peers[16];

    close(calls.peer);
    rig_fini(&rig);
    rig_init(&rig, &limits, MIB);
    for (size_t i = 0; i < ARRAY_SIZE(peers); i++) {
        calls.peer = peers[i] = rig_connect(&rig);
        rig_send(&rig, calls.peer, message, 100004);
        take(message, 100004);
        rig_send_text(&rig, calls.peer, "unfinished");
    }
    assert_in_range(rig.set.pool.used_bytes, MIB / 4, MIB / 2 + 16 * BUFFER_MIN_BYTES);
    assert_int_equal(rig.set.n_open, ARRAY_SIZE(peers));
    for (size_t i = 0; i + 1 < ARRAY_SIZE(peers); i++)
        close(peers[i]);
    free(message);
}

static void conn__long_message_in_pieces__searched_once(void **state UNUSED)
{
    uint8_t *message = rig_payload(300000);

    calls.on_read = (struct answer){.n_left = 10000, .at_most = 100};
    rig_send(&rig, calls.peer, message, 300004);
    rig_expect(&rig, calls.peer, message, 300004);
    assert_in_range(counter_get(&rig.counters.scanned), 300004, 2 * 300004);
    free(message);
}

static void conn__half_close_while_output_waits__no_more_reads(void **state UNUSED)
{
    const size_t len = 400000; /* too much for the socket, too little to stop the reading */
    uint8_t *message = rig_payload(len);

    rig_send(&rig, calls.peer, message, len + 4);
    assert_in_range(rig.set.pool.used_bytes, 1, 1 << 20);
    assert_int_equal(shutdown(calls.peer, SHUT_WR), 0);
    calls_count_from_here();
    rig_run(&rig);
    assert_int_equal(calls.n_reads, 1); /* that of the end itself */
    for (int i = 0; i < 10; i++)
        ev_run(rig.loop, EVRUN_NOWAIT);
    assert_int_equal(calls.n_reads, 1);
    assert_int_equal(rig.set.n_open, 1);
    rig_expect(&rig, calls.peer, message, len + 4);
    rig_expect_eof(&rig, calls.peer);
    assert_int_equal(calls.n_reads, 1);
    rig_expect_closed(&rig, &rig.counters.closed_peer, 1);
    free(message);
}

static void conn__two_with_much_input__one_read_each_a_turn(void **state UNUSED)
{
    uint8_t *data = malloc(150000);

    for (size_t i = 0; i < 150000; i += 10)
        memcpy(data + i, "123456\r\n\r\n", 10);
    calls.other_peer = rig_connect(&rig);
    rig_run(&rig);
    assert_int_equal(send(calls.peer, data, 150000, MSG_NOSIGNAL), 150000);
    assert_int_equal(send(calls.other_peer, data, 150000, MSG_NOSIGNAL), 150000);
    for (int turn = 0; turn < 2; turn++) {
        calls_count_from_here();
        ev_run(rig.loop, EVRUN_NOWAIT);
        assert_int_equal(calls.n_reads, 2);
        assert_int_equal(calls.n_writes, 2);
    }
    rig_run(&rig);
    free(data);
    close(calls.other_peer);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(conn__one_message_after_another__one_read_one_write_no_allocation),
        TEST(conn__sixteen_at_once__one_read_one_write_no_allocation),
        TEST(conn__messages_in_two_parts__no_allocation_after_the_first),
        TEST(conn__pipelined_with_rests__tail_stays_small),
        TEST(conn__pool_half_used__no_room_on_a_guess),
        TEST(conn__long_message_in_pieces__searched_once),
        TEST(conn__half_close_while_output_waits__no_more_reads),
        TEST(conn__two_with_much_input__one_read_each_a_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
