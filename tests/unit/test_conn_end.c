/*
 * Connections: how they end, and that nothing delivered is lost by it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fdpass.h"
#include "base/limits.h"
#include "base/passed.h"
#include "base/util.h"
#include "support/conn_rig.h"
#include "support/lingering.h"

enum { MIB = 1 << 20 };

static struct rig rig;

static int setup(void **state UNUSED)
{
    rig_init(&rig, NULL, 16 * MIB);
    return 0;
}

static int teardown(void **state UNUSED)
{
    rig_fini(&rig);
    return 0;
}

static void conn__half_close_after_40019_bytes__all_echoed_then_eof(void **state UNUSED)
{
    const int fd = rig_connect_tcp(&rig);
    uint8_t *data = rig_payload(40015);

    memcpy(data + 777, "\r\n\r\n", 4);
    rig_send(&rig, fd, data, 40019);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    rig_expect(&rig, fd, data, 40019);
    rig_expect_eof(&rig, fd);
    rig_expect_closed(&rig, &rig.counters.closed_peer, 1);
    free(data);
    close(fd);
}

static void conn__half_close_behind_unread_replies__all_delivered(void **state UNUSED)
{
    const size_t len = 3 * MIB;
    uint8_t *data = rig_payload(len);
    const int fd = rig_connect(&rig);
    size_t sent;

    for (size_t i = 1000; i < len; i += 5000)
        memcpy(data + i, "\r\n\r\n", 4);
    sent = rig_offer(&rig, fd, data, len + 4);
    assert_true(sent < len);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    rig_run(&rig);
    assert_int_equal(rig.set.n_open, 1);
    sent = (sent - 1000 - 4) / 5000 * 5000 + 1000 + 4;
    rig_expect(&rig, fd, data, sent);
    rig_expect_eof(&rig, fd);
    assert_int_equal(
        counter_get(&rig.counters.closed_partial) + counter_get(&rig.counters.closed_peer), 1);
    free(data);
    close(fd);
}

static void conn__half_close_inside_a_message__dropped_and_counted(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    rig_send_text(&rig, fd, "whole\r\n\r\npart\r\n\r");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    rig_expect_text(&rig, fd, "whole\r\n\r\n");
    rig_expect_eof(&rig, fd);
    rig_expect_closed(&rig, &rig.counters.closed_partial, 1);
    close(fd);
}

static void conn__quit_with_more_behind__echoed_then_eof(void **state UNUSED)
{
    const int fd = rig_connect_tcp(&rig);

    rig_send_text(&rig, fd, "a\r\n\r\nQUIT\r\n\r\nb\r\n\r\n");
    rig_send_text(&rig, fd, "c\r\n\r\n");
    rig_expect_text(&rig, fd, "a\r\n\r\nQUIT\r\n\r\n");
    rig_expect_eof(&rig, fd);
    assert_int_equal(counter_get(&rig.counters.requests), 2);
    assert_int_equal(rig.set.n_open, 1); /* it lingers */
    close(fd);
    while (rig.set.n_open > 0)
        ev_run(rig.loop, EVRUN_ONCE);
    rig_expect_closed(&rig, &rig.counters.closed_quit, 1);
}

static void conn__quit_behind_queued_replies__all_delivered(void **state UNUSED)
{
    const int fd = rig_connect(&rig);
    uint8_t *data = rig_payload(2 * MIB);

    rig_send(&rig, fd, data, 2 * MIB + 4); /* its reply does not fit into the socket */
    assert_true(rig.set.pool.used_bytes > 0);
    rig_send_text(&rig, fd, "QUIT\r\n\r\nbehind it");
    rig_expect(&rig, fd, data, 2 * MIB + 4);
    rig_expect_text(&rig, fd, "QUIT\r\n\r\n");
    rig_expect_eof(&rig, fd);
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_quit, 1);
    free(data);
}

static void conn__message_of_max_and_one_more__boundary_exact(void **state UNUSED)
{
    enum { MAX = 5000 };

    for (size_t piece = 1; piece <= 2 * MAX; piece = piece * 3 + 1) {
        for (size_t size = MAX - 1; size <= MAX + 1; size++) {
            uint8_t *data = rig_payload(size);
            int fd;

            rig_fini(&rig);
            rig_init(&rig, NULL, MAX);
            fd = rig_connect(&rig);
            rig_send_text(&rig, fd, "first\r\n\r\n");
            for (size_t at = 0; at < size + 4; at += piece)
                rig_offer(&rig, fd, data + at, MIN(piece, size + 4 - at));
            rig_expect_text(&rig, fd, "first\r\n\r\n");
            if (size <= MAX)
                rig_expect(&rig, fd, data, size + 4);
            else
                rig_expect_eof(&rig, fd);
            close(fd);
            rig_run(&rig);
            rig_expect_closed(
                &rig, size <= MAX ? &rig.counters.closed_peer : &rig.counters.closed_too_big, 1);
            free(data);
        }
    }
}

static void conn__peer_resets__counted_as_reset(void **state UNUSED)
{
    const struct linger at_once = {.l_onoff = 1};
    const int fd = rig_connect_tcp(&rig);

    rig_send_text(&rig, fd, "part");
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once)), 0);
    close(fd);
    while (rig.set.n_open > 0)
        ev_run(rig.loop, EVRUN_ONCE);
    rig_expect_closed(&rig, &rig.counters.closed_reset, 1);
}

static void conn_set_drain__idle_busy_and_new__each_ends_in_order(void **state UNUSED)
{
    const int idle = rig_connect_tcp(&rig), arrived = rig_connect(&rig), busy = rig_connect(&rig);
    int late;

    rig_send_text(&rig, busy, "half of");
    assert_int_equal(send(arrived, "x\r\n\r\n", 5, MSG_NOSIGNAL), 5);
    conn_set_drain(&rig.set);
    conn_set_drain(&rig.set);
    rig_expect_eof(&rig, idle);
    rig_expect_text(&rig, arrived, "x\r\n\r\n");
    rig_expect_eof(&rig, arrived);
    rig_expect_nothing(&rig, busy);
    rig_send_text(&rig, busy, " a message");
    rig_expect_nothing(&rig, busy);
    rig_send_text(&rig, busy, "\r\n\r\nand the beginning of another");
    rig_expect_text(&rig, busy, "half of a message\r\n\r\n");
    rig_expect_eof(&rig, busy);
    late = rig_connect(&rig);
    rig_expect_eof(&rig, late);
    assert_int_equal(rig.set.n_open, 4);
    assert_int_equal(rig.set.n_closes, 0);
    rig_send_text(&rig, late, "discarded");
    close(idle);
    close(arrived);
    close(busy);
    close(late);
    while (rig.set.n_open > 0)
        ev_run(rig.loop, EVRUN_ONCE);
    rig_expect_closed(&rig, &rig.counters.closed_drained, 4);
}

static void conn_set_drain__unread_reply__delivered_first(void **state UNUSED)
{
    const int fd = rig_connect(&rig);
    uint8_t *data = rig_payload(2 * MIB);

    rig_send(&rig, fd, data, 2 * MIB + 4);
    conn_set_drain(&rig.set);
    rig_expect(&rig, fd, data, 2 * MIB + 4);
    rig_expect_eof(&rig, fd);
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_drained, 1);
    free(data);
}

static void conn_set_cut__some_lingering__the_others_counted_as_cut(void **state UNUSED)
{
    const int idle = rig_connect(&rig), busy = rig_connect(&rig), gone = rig_connect(&rig);

    rig_send_text(&rig, busy, "half");
    rig_send_text(&rig, gone, "QUIT\r\n\r\n");
    conn_set_cut(&rig.set);
    assert_int_equal(rig.set.n_open, 0);
    assert_int_equal(rig.n_on_closed, 3);
    assert_int_equal(counter_get(&rig.counters.closed_cut), 2);
    assert_int_equal(counter_get(&rig.counters.closed_quit), 1);
    rig_expect_eof(&rig, idle);
    close(idle);
    close(busy);
    close(gone);
}

/* This kernel is older than Linux 6.16. */
int __real_setsockopt(int fd, int level, int option, const void *value, socklen_t len);
int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len);
int __wrap_setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
    if (level == SOL_SOCKET && option == SO_PASSRIGHTS) {
        errno = ENOPROTOOPT;
        return -1;
    }
    return __real_setsockopt(fd, level, option, value, len);
}

/* Its receive queue holds a socket whose close would wait, and goes with it. */
static void conn_set_cut__passed_socket_unread__does_not_wait_for_it(void **state UNUSED)
{
    int reader, passed = lingering_socket(&reader), pair[2], fd;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(conn_set_add(&rig.set, pair[1], 0, ARB_ACCEPTED, true), 0);
    fd = pair[0];
    assert_int_equal(fdpass_send(fd, "x", 1, &passed, 1), 0);
    close(passed);
    conn_set_cut(&rig.set);
    /* An end of file, or a reset if the thread has closed the socket, with what was unread, by now.
     */
    assert_true(recv(fd, &(char){0}, 1, 0) == 0 || errno == ECONNRESET);
    close(fd); /* the reader stays: else the passed one would not linger */
}

/* A socket in whose queue such a one lies: nobody has taken its time to linger away. */
static int hold_lingering(void)
{
    int reader, passed = lingering_socket(&reader), pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(fdpass_send(pair[0], "x", 1, &passed, 1), 0);
    close(passed);
    close(pair[0]);
    return pair[1];
}

/* The thread is busy with the first ones. */
static void passed_close__queue_full__does_not_wait_long(void **state UNUSED)
{
    int fd;

    if (limits_raise(RLIMIT_NOFILE, 2 * PASSED_QUEUE_MAX) < PASSED_QUEUE_MAX + 100)
        skip();
    for (int i = 0; i < 10; i++) {
        fd = hold_lingering();
        passed_close(&fd);
    }
    for (int i = 0; i < PASSED_QUEUE_MAX; i++) {
        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        passed_close(&fd);
    }
    fd = hold_lingering();
    passed_close(&fd);
    assert_int_equal(fd, -1);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(conn__half_close_after_40019_bytes__all_echoed_then_eof),
        TEST(conn__half_close_behind_unread_replies__all_delivered),
        TEST(conn__half_close_inside_a_message__dropped_and_counted),
        TEST(conn__quit_with_more_behind__echoed_then_eof),
        TEST(conn__quit_behind_queued_replies__all_delivered),
        TEST(conn__message_of_max_and_one_more__boundary_exact),
        TEST(conn__peer_resets__counted_as_reset),
        TEST(conn_set_drain__idle_busy_and_new__each_ends_in_order),
        TEST(conn_set_drain__unread_reply__delivered_first),
        TEST(conn_set_cut__some_lingering__the_others_counted_as_cut),
        TEST(conn_set_cut__passed_socket_unread__does_not_wait_for_it),
        TEST(passed_close__queue_full__does_not_wait_long),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
