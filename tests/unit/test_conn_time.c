/*
 * Deadlines of connections, on a clock that the test turns. A deadline may come up to two ticks
 * late and never early.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/clock.h"
#include "base/util.h"
#include "net/conn_impl.h"
#include "support/conn_rig.h"

enum { MIB = 1 << 20, LATE_MS = 2 * CONN_TICK_MS };

static struct rig rig;

static void start(uint64_t keep_alive_ms, uint64_t message_timeout_ms, uint64_t write_timeout_ms)
{
    const struct conn_limits limits = {
        .keep_alive_ms = keep_alive_ms,
        .message_timeout_ms = message_timeout_ms,
        .write_timeout_ms = write_timeout_ms,
        .max_buffered = 64 * MIB,
    };

    rig_init(&rig, &limits, 16 * MIB);
}

static int teardown(void **state UNUSED)
{
    rig_fini(&rig);
    return 0;
}

static void conn__message_drips__ended_message_timeout_after_its_first_byte(void **state UNUSED)
{
    int fd;

    start(0, 30000, 30000);
    fd = rig_connect(&rig);
    rig_pass(&rig, 100000); /* idle: nothing runs */
    rig_send_text(&rig, fd, "x\r\n\r\ny");
    rig_expect_text(&rig, fd, "x\r\n\r\n");
    for (int i = 0; i < 29; i++) {
        rig_pass(&rig, 1000);
        rig_send_text(&rig, fd, "y");
    }
    rig_pass(&rig, 999);
    rig_expect_nothing(&rig, fd);
    rig_pass(&rig, 1 + LATE_MS);
    rig_expect_eof(&rig, fd);
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_message_timeout, 1);
}

/* Each piece is longer than the room that the tail has. */
static void conn__message_grows__still_timed_from_its_first_byte(void **state UNUSED)
{
    static const char piece[5000];
    int fd;

    start(0, 30000, 0);
    fd = rig_connect(&rig);
    for (int i = 0; i < 30; i++) {
        rig_send(&rig, fd, piece, sizeof(piece));
        rig_pass(&rig, 1000);
    }
    assert_int_equal(rig.set.n_open, 1);
    rig_pass(&rig, LATE_MS);
    rig_expect_eof(&rig, fd);
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_message_timeout, 1);
}

static void conn__next_message_begins_in_the_same_read__has_its_own_time(void **state UNUSED)
{
    int fd;

    start(0, 10000, 0);
    fd = rig_connect(&rig);
    rig_send_text(&rig, fd, "x");
    for (int i = 0; i < 5; i++) {
        rig_pass(&rig, 9000);
        rig_send_text(&rig, fd, "\r\n\r\nx");
        rig_expect_text(&rig, fd, "x\r\n\r\n");
    }
    rig_pass(&rig, 10000 + LATE_MS);
    rig_expect_eof(&rig, fd);
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_message_timeout, 1);
}

static void conn__idle_past_keep_alive__half_closed(void **state UNUSED)
{
    int fd, never;

    start(15000, 0, 0);
    fd = rig_connect(&rig);
    never = rig_connect(&rig);
    rig_pass(&rig, 14000);
    rig_send_text(&rig, fd, "x\r\n\r\n");
    rig_expect_text(&rig, fd, "x\r\n\r\n");
    rig_pass(&rig, 1000 + LATE_MS);
    rig_expect_eof(&rig, never);
    close(never);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_keep_alive, 1);
    rig_pass(&rig, 13999 - LATE_MS);
    rig_expect_nothing(&rig, fd);
    /* Inside a message it is not idle, however long that takes. */
    rig_send_text(&rig, fd, "x");
    rig_pass(&rig, 60000);
    rig_send_text(&rig, fd, "\r\n\r\n");
    rig_expect_text(&rig, fd, "x\r\n\r\n");
    rig_pass(&rig, 15000 + LATE_MS);
    rig_expect_eof(&rig, fd);
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_keep_alive, 2);
}

static size_t fill(int fd, uint8_t *data, size_t len)
{
    memset(data, 'x', len);
    for (size_t i = 0; i + 4 <= len; i += 1000)
        memcpy(data + i, "\r\n\r\n", 4);
    return rig_offer(&rig, fd, data, len);
}

static void conn__peer_takes_nothing__reset_after_write_timeout(void **state UNUSED)
{
    uint8_t *data = malloc(32 * MIB);
    size_t got = 0;
    ssize_t n;
    int fd;

    start(0, 0, 30000);
    fd = rig_connect_tcp(&rig);
    rig_pass(&rig, 100000);
    /* One message, so that nothing is left unread: only its reply is stuck. */
    memset(data, 'x', 15 * MIB);
    memcpy(data + 15 * MIB, "\r\n\r\n", 4);
    rig_send(&rig, fd, data, 15 * MIB + 4);
    rig_pass(&rig, 30000);
    assert_int_equal(rig.set.n_open, 1);
    rig_pass(&rig, LATE_MS);
    rig_expect_closed(&rig, &rig.counters.closed_write_timeout, 1);
    assert_int_equal(rig.set.pool.used_bytes, 0);
    while ((n = recv(fd, data, 32 * MIB, 0)) > 0)
        got += (size_t)n;
    assert_int_equal(n, -1);
    assert_int_equal(errno, ECONNRESET);
    assert_true(got < 15 * MIB);
    free(data);
    close(fd);
}

static void conn__peer_takes_a_little__write_timeout_begins_anew(void **state UNUSED)
{
    uint8_t *data = malloc(8 * MIB);
    int fd;

    start(0, 0, 30000);
    fd = rig_connect(&rig);
    assert_true(fill(fd, data, 8 * MIB) < 8 * MIB);
    for (int i = 0; i < 2; i++) {
        const uint64_t before = counter_get(&rig.counters.bytes_out);

        rig_pass(&rig, 29000);
        while (counter_get(&rig.counters.bytes_out) == before) {
            assert_true(recv(fd, data, 16384, 0) > 0);
            rig_run(&rig);
        }
        assert_int_equal(rig.set.n_open, 1);
    }
    rig_pass(&rig, 30000 + LATE_MS);
    rig_expect_closed(&rig, &rig.counters.closed_write_timeout, 1);
    free(data);
    close(fd);
}

/* As much as a second's worth of a line; more than the kernel's pieces in a while. */
static void read_steadily(int fd, size_t bytes_s, unsigned seconds)
{
    uint8_t data[4096];

    for (unsigned s = 0; s < seconds; s++) {
        for (size_t n = 0; n < bytes_s;) {
            const ssize_t got = recv(fd, data, MIN(sizeof(data), bytes_s - n), 0);

            assert_true(got > 0);
            n += (size_t)got;
        }
        rig_pass(&rig, 1000);
    }
}

static void send_reply(int fd, size_t len)
{
    uint8_t *data = calloc(1, len);

    memcpy(data + len - 4, "\r\n\r\n", 4);
    rig_send(&rig, fd, data, len);
    assert_true(rig.set.pool.used_bytes > 0);
    free(data);
}

/* The socket does not become writable meanwhile: far too much of it is full. */
static void conn__steady_reader_of_30_kb_a_second__lives(void **state UNUSED)
{
    start(0, 0, 30000);
    for (int i = 0; i < 2; i++) {
        const int fd = i == 0 ? rig_connect_tcp(&rig) : rig_connect_unix(&rig);

        send_reply(fd, 15 * MIB);
        read_steadily(fd, 30000, 150);
        assert_int_equal(rig.set.n_open, 1);
        close(fd);
        rig_run(&rig);
        assert_int_equal(rig.set.n_open, 0);
    }
}

static void conn__unix_peer_takes_nothing__reset_after_write_timeout(void **state UNUSED)
{
    int fd;

    start(0, 0, 30000);
    fd = rig_connect(&rig);
    send_reply(fd, 15 * MIB);
    rig_pass(&rig, 30000);
    assert_int_equal(rig.set.n_open, 1);
    rig_pass(&rig, LATE_MS);
    rig_expect_closed(&rig, &rig.counters.closed_write_timeout, 1);
    close(fd);
}

/* 900 bytes per second of much are too few, and enough when little is owed. */
static void conn__holds_much_and_takes_drops__reset_after_write_timeout(void **state UNUSED)
{
    int fd;

    start(0, 0, 30000);
    fd = rig_connect(&rig);
    send_reply(fd, 15 * MIB);
    read_steadily(fd, 900, 30);
    rig_pass(&rig, LATE_MS);
    rig_expect_closed(&rig, &rig.counters.closed_write_timeout, 1);
    close(fd);
}

/* The kernel has all of the reply. */
static void conn__unix_peer_never_reads__ended_after_write_timeout(void **state UNUSED)
{
    int mute, reads, talks;

    start(0, 0, 30000);
    mute = rig_connect_unix(&rig);
    reads = rig_connect_unix(&rig);
    talks = rig_connect_unix(&rig);
    rig_send_text(&rig, mute, "x\r\n\r\n");
    rig_send_text(&rig, reads, "x\r\n\r\n");
    assert_int_equal(rig.set.pool.used_bytes, 0);
    for (int s = 0; s < 29; s++) {
        rig_send_text(&rig, talks, "x\r\n\r\n"); /* always one reply behind */
        if (s > 0)
            rig_expect_text(&rig, talks, "x\r\n\r\n");
        rig_pass(&rig, 1000);
    }
    assert_int_equal(rig.set.n_open, 3);
    rig_expect_text(&rig, reads, "x\r\n\r\n");
    for (int s = 0; s < 60; s++) {
        rig_send_text(&rig, talks, "x\r\n\r\n");
        rig_expect_text(&rig, talks, "x\r\n\r\n");
        rig_pass(&rig, 1000);
    }
    rig_expect_closed(&rig, &rig.counters.closed_write_timeout, 1);
    rig_expect_text(&rig, mute, "x\r\n\r\n");
    rig_send_text(&rig, reads, "y\r\n\r\n");
    rig_expect_text(&rig, reads, "y\r\n\r\n");
    close(mute);
    close(reads);
    close(talks);
}

static void conn__output_not_taken__not_idle(void **state UNUSED)
{
    uint8_t *data = malloc(8 * MIB);
    int fd;

    start(1000, 0, 0);
    fd = rig_connect(&rig);
    memset(data, 'x', MIB);
    memcpy(data + MIB, "\r\n\r\n", 4);
    rig_send(&rig, fd, data, MIB + 4);
    rig_pass(&rig, 60000);
    rig_expect(&rig, fd, data, MIB + 4);
    assert_int_equal(rig.set.n_open, 1);
    rig_pass(&rig, 1000 + LATE_MS);
    rig_expect_eof(&rig, fd);
    free(data);
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_keep_alive, 1);
}

static void conn__not_read_because_of_its_output__message_time_stands_still(void **state UNUSED)
{
    const size_t len = 700000 + 4;
    uint8_t *data = malloc(len + 4);
    struct arb_conn *c;
    int fd;

    start(0, 10000, 0);
    fd = rig_connect(&rig);
    c = container_of(rig.set.all.next, struct arb_conn, link);
    memset(data, 'x', len);
    memcpy(data + len - 4, "\r\n\r\npart", 8);
    rig_send(&rig, fd, data, len + 4);
    assert_true(c->is_paused && buffer_len(&c->tail) == 4);
    rig_pass(&rig, 60000);
    rig_expect(&rig, fd, data, len);
    assert_false(c->is_paused);
    /* Now it can go on, and has its time again. */
    rig_pass(&rig, 9999);
    rig_expect_nothing(&rig, fd);
    rig_pass(&rig, 1 + LATE_MS);
    rig_expect_eof(&rig, fd);
    free(data);
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_message_timeout, 1);
}

static void conn__peer_never_closes__linger_ends(void **state UNUSED)
{
    int fd;

    start(0, 0, 0);
    fd = rig_connect_tcp(&rig);
    rig_pass(&rig, 100000);
    rig_send_text(&rig, fd, "QUIT\r\n\r\n");
    rig_expect_text(&rig, fd, "QUIT\r\n\r\n");
    rig_expect_eof(&rig, fd);
    rig_send_text(&rig, fd, "more, which does not prolong it");
    rig_pass(&rig, CONN_LINGER_MS - 1);
    assert_int_equal(rig.set.n_open, 1);
    rig_pass(&rig, 1 + LATE_MS);
    rig_expect_closed(&rig, &rig.counters.closed_quit, 1);
    assert_int_equal(counter_get(&rig.counters.linger_expired), 1);
    close(fd);
}

static void conn__timeout_beyond_the_wheel__neither_early_nor_forgotten(void **state UNUSED)
{
    const uint64_t timeout_ms = 5 * WHEEL_SLOTS * CONN_TICK_MS + 50;
    uint64_t passed = 0;
    int fd;

    start(timeout_ms, 0, 0);
    fd = rig_connect(&rig);
    while (passed + 777 < timeout_ms) {
        rig_pass(&rig, 777);
        passed += 777;
    }
    assert_int_equal(counter_get(&rig.counters.closed_keep_alive) + rig.set.n_closes, 0);
    rig_expect_nothing(&rig, fd);
    rig_pass(&rig, 777 + LATE_MS);
    rig_expect_eof(&rig, fd);
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_keep_alive, 1);
}

static void conn__nothing_to_wait_for__no_timer(void **state UNUSED)
{
    int fd;

    start(0, 30000, 30000);
    fd = rig_connect(&rig);
    rig_send_text(&rig, fd, "x\r\n\r\n");
    rig_expect_text(&rig, fd, "x\r\n\r\n");
    assert_false(ev_is_active(&rig.set.sweep));
    rig_now_ms += 1000000; /* and no timer that would have noticed */
    rig_send_text(&rig, fd, "x");
    assert_true(ev_is_active(&rig.set.sweep));
    assert_true(rig.set.sweep_tick >= rig.set.tick + 300);
    rig_send_text(&rig, fd, "\r\n\r\n");
    rig_expect_text(&rig, fd, "x\r\n\r\n");
    /* It hangs where it was, looks once, and that is all. */
    rig_pass(&rig, 30000 + LATE_MS);
    assert_false(ev_is_active(&rig.set.sweep));
    assert_int_equal(rig.set.n_closes, 0);
    /* A connection that goes takes its deadline along. */
    rig_send_text(&rig, fd, "x");
    close(fd);
    rig_run(&rig);
    assert_int_equal(wheel_next(&rig.set.wheel), WHEEL_NONE);
    rig_pass(&rig, 60000);
    rig_expect_closed(&rig, &rig.counters.closed_partial, 1);
}

/* The real clock and the real timer: the deadlines come without help, and few wake-ups do it. */
static void conn__real_clock__deadline_comes_by_itself(void **state UNUSED)
{
    unsigned turns;
    int fd;

    start(150, 0, 0);
    rig.set.clock_ms = clock_mono_ms;
    rig.set.base_ms = clock_mono_ms();
    rig.set.turn = ~0u;
    fd = rig_connect(&rig);
    turns = ev_iteration(rig.loop);
    while (counter_get(&rig.counters.closed_keep_alive) == 0 && rig.set.n_open == 1) {
        char byte;

        ev_run(rig.loop, EVRUN_ONCE);
        if (recv(fd, &byte, 1, 0) == 0)
            break;
    }
    assert_true(ev_iteration(rig.loop) - turns < 20);
    close(fd);
    while (rig.set.n_open > 0)
        ev_run(rig.loop, EVRUN_ONCE);
    rig_expect_closed(&rig, &rig.counters.closed_keep_alive, 1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_teardown(f, teardown)
    const struct CMUnitTest tests[] = {
        TEST(conn__message_drips__ended_message_timeout_after_its_first_byte),
        TEST(conn__message_grows__still_timed_from_its_first_byte),
        TEST(conn__next_message_begins_in_the_same_read__has_its_own_time),
        TEST(conn__idle_past_keep_alive__half_closed),
        TEST(conn__peer_takes_nothing__reset_after_write_timeout),
        TEST(conn__steady_reader_of_30_kb_a_second__lives),
        TEST(conn__unix_peer_takes_nothing__reset_after_write_timeout),
        TEST(conn__holds_much_and_takes_drops__reset_after_write_timeout),
        TEST(conn__unix_peer_never_reads__ended_after_write_timeout),
        TEST(conn__peer_takes_a_little__write_timeout_begins_anew),
        TEST(conn__output_not_taken__not_idle),
        TEST(conn__not_read_because_of_its_output__message_time_stands_still),
        TEST(conn__peer_never_closes__linger_ends),
        TEST(conn__timeout_beyond_the_wheel__neither_early_nor_forgotten),
        TEST(conn__nothing_to_wait_for__no_timer),
        TEST(conn__real_clock__deadline_comes_by_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
