/*
 * Connections: what comes back, and how they end.
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
#include "support/conn_rig.h"

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

/* @n bytes that differ from place to place and hold no separator. */
static uint8_t *payload(size_t n)
{
    uint8_t *p = malloc(n + 4);

    assert_non_null(p);
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)('a' + (i * 2654435761u >> 16) % 23);
    memcpy(p + n, "\r\n\r\n", 4);
    return p;
}

static void conn__every_two_cuts__same_echo(void **state UNUSED)
{
    const char *text = "ab\r\n\r\n\r\n\r\ncd\r\ne\r\n\r\n";
    const size_t len = strlen(text);
    const int fd = rig_connect(&rig);

    for (size_t a = 0; a <= len; a++) {
        for (size_t b = a; b <= len; b++) {
            rig_send(&rig, fd, text, a);
            rig_send(&rig, fd, text + a, b - a);
            rig_send(&rig, fd, text + b, len - b);
            rig_expect_text(&rig, fd, text);
        }
    }
    rig_expect_nothing(&rig, fd);
    assert_int_equal(rig.set.pool.used_bytes, 0);
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_peer, 1);
}

static void conn__unfinished_message__no_echo_until_its_end(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    rig_send_text(&rig, fd, "one\r\n\r\ntwo\r\n\r");
    rig_expect_text(&rig, fd, "one\r\n\r\n");
    rig_expect_nothing(&rig, fd);
    rig_send_text(&rig, fd, "\nthree");
    rig_expect_text(&rig, fd, "two\r\n\r\n");
    rig_expect_nothing(&rig, fd);
    assert_int_equal(counter_get(&rig.counters.requests), 2);
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_partial, 1);
}

/* Sends @data in random pieces and takes the echo in random portions, both ways full at times. */
static void converse(int fd, const uint8_t *data, size_t len, size_t longest)
{
    size_t sent = 0, got = 0;
    uint8_t *echo = malloc(len);

    assert_non_null(echo);
    while (got < len) {
        const size_t n = MIN(len - sent, 1 + (size_t)rand() % longest);
        const size_t m = MIN(len - got, 1 + (size_t)rand() % (longest * 2));
        ssize_t k = n > 0 ? send(fd, data + sent, n, MSG_NOSIGNAL) : 0;

        sent += k > 0 ? (size_t)k : 0;
        if (rand() % 4)
            rig_run(&rig);
        k = recv(fd, echo + got, m, 0);
        assert_int_not_equal(k, 0);
        got += k > 0 ? (size_t)k : 0;
    }
    assert_memory_equal(echo, data, len);
    free(echo);
}

static void conn__pipelined_5000_in_random_pieces__all_in_order(void **state UNUSED)
{
    enum { MESSAGES = 5000 };
    uint8_t *data = payload(MESSAGES * 100), *p = data;

    srand(4);
    for (int i = 0; i < MESSAGES; i++) {
        p += rand() % 90;
        memcpy(p, "\r\n\r\n", 4);
        p += 4;
    }
    for (int tcp = 0; tcp < 2; tcp++) {
        const int fd = tcp ? rig_connect_tcp(&rig) : rig_connect(&rig);

        converse(fd, data, (size_t)(p - data), 3000);
        assert_int_equal(counter_get(&rig.counters.requests), MESSAGES * (tcp + 1));
        close(fd);
    }
    free(data);
}

/* Messages of all sizes, so that every way through the buffers is gone. */
static void conn__sizes_of_all_magnitudes__bytes_exact(void **state UNUSED)
{
    srand(5);
    for (int round = 0; round < 12; round++) {
        const int fd = round % 2 ? rig_connect_tcp(&rig) : rig_connect(&rig);
        uint8_t *data = payload(4 * MIB), *p = data;

        for (int i = 0; i < 40 && p < data + 3 * MIB; i++) {
            p += (unsigned)rand() % (1u << (1 + rand() % 20));
            memcpy(p, "\r\n\r\n", 4);
            p += 4;
        }
        converse(fd, data, (size_t)(p - data), 1u << (4 + round * 3 / 2));
        assert_int_equal(rig.set.pool.used_bytes, 0);
        free(data);
        close(fd);
        rig_run(&rig);
        assert_int_equal(rig.set.n_open, 0);
    }
    assert_int_equal(counter_get(&rig.counters.bytes_in), counter_get(&rig.counters.bytes_out));
}

static void conn__half_close_after_40019_bytes__all_echoed_then_eof(void **state UNUSED)
{
    const int fd = rig_connect_tcp(&rig);
    uint8_t *data = payload(40015);

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
    uint8_t *data = payload(len);
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
    uint8_t *data = payload(2 * MIB);

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
            uint8_t *data = payload(size);
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

static void conn__peer_never_reads__reading_stops(void **state UNUSED)
{
    const size_t len = 32 * MIB;
    uint8_t *data = payload(len);
    const int fd = rig_connect(&rig);
    size_t sent;

    for (size_t i = 0; i < len; i += 1000)
        memcpy(data + i, "\r\n\r\n", 4);
    sent = rig_offer(&rig, fd, data, len);
    assert_true(sent < 4 * MIB);
    assert_true(rig.set.pool.used_bytes <= 2 * (CONN_HIGH_WATER + 2 * CONN_READ_BYTES));
    assert_true(counter_get(&rig.counters.bytes_in) < sent); /* the rest is the kernel's */
    /* When it reads at last, all goes on. */
    rig_expect(&rig, fd, data, (sent - 4) / 1000 * 1000 + 4);
    rig_send(&rig, fd, "\r\n\r\n", 4);
    free(data);
    close(fd);
}

static void conn__reply_far_above_the_high_water__flows(void **state UNUSED)
{
    const int fd = rig_connect_tcp(&rig);
    uint8_t *data = payload(15 * MIB);

    converse(fd, data, 15 * MIB + 4, 4 * MIB);
    assert_int_equal(rig.set.pool.used_bytes, 0);
    free(data);
    close(fd);
}

static void conn__more_than_max_buffered__that_one_is_closed(void **state UNUSED)
{
    const struct conn_limits limits = {.max_buffered = 16384};
    uint8_t *data = payload(20000);
    int a, b, c;

    rig_fini(&rig);
    rig_init(&rig, &limits, MIB);
    a = rig_connect(&rig);
    b = rig_connect(&rig);
    rig_send(&rig, a, data, 3000);
    rig_send_text(&rig, b, "b\r\n\r\n");
    rig_send(&rig, b, data, 5000);
    rig_expect_text(&rig, b, "b\r\n\r\n");
    rig_expect_nothing(&rig, b);
    rig_offer(&rig, b, data, 5000);
    rig_expect_eof(&rig, b);
    assert_int_equal(rig.set.n_open, 2); /* b lingers */
    close(b);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_buffered, 1);
    c = rig_connect(&rig);
    rig_send_text(&rig, c, "c\r\n\r\n");
    rig_expect_text(&rig, c, "c\r\n\r\n");
    rig_send(&rig, a, data + 17000, 3004);
    rig_expect(&rig, a, data, 3000);
    rig_expect(&rig, a, data + 17000, 3004);
    free(data);
    close(a);
    close(c);
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

static void conn__raw__every_byte_at_once(void **state UNUSED)
{
    int fd;

    assert_int_equal(frame_rule_init(&rig.rule, "", 0, 10, "", 0), 0);
    fd = rig_connect(&rig);
    rig_send(&rig, fd, "\0x", 2);
    rig_expect(&rig, fd, "\0x", 2);
    rig_send_text(&rig, fd, "QUIT\r\n\r\n and more than ten");
    rig_expect_text(&rig, fd, "QUIT\r\n\r\n and more than ten");
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_peer, 1);
}

/* Answers each byte with ten of its own, counts them in its state, and ends at a dot. */
static struct protocol_result tenfold_on_data(const void *context UNUSED, uint64_t *protocol_state,
                                              const uint8_t *data, size_t len, size_t resume)
{
    static uint8_t reply[10 * CONN_READ_BYTES];
    struct protocol_result r = {.reply = reply};

    assert_int_equal(resume, 0);
    while (r.consumed < len && r.verdict == PROTOCOL_GO_ON) {
        memset(reply + r.reply_len, data[r.consumed], 10);
        r.reply_len += 10;
        r.messages++;
        (*protocol_state)++;
        r.verdict = data[r.consumed++] == '.' ? PROTOCOL_CLOSE : PROTOCOL_GO_ON;
    }
    assert_int_equal(*protocol_state, counter_get(&rig.counters.requests) + r.messages);
    return r;
}

static void conn__protocol_with_replies_of_its_own__sent_in_order(void **state UNUSED)
{
    static const struct protocol tenfold = {.name = "tenfold", .on_data = tenfold_on_data};
    const size_t len = 100000;
    uint8_t *data = payload(len), *expected = malloc(10 * len + 10);
    int fd;

    for (size_t i = 0; i < len; i++)
        memset(expected + 10 * i, data[i], 10);
    memset(expected + 10 * len, '.', 10);
    rig.set.binding.protocol = &tenfold;
    fd = rig_connect_tcp(&rig);
    rig_send(&rig, fd, data, len);
    rig_send_text(&rig, fd, ".abc");
    rig_expect(&rig, fd, expected, 10 * len + 10);
    rig_expect_eof(&rig, fd);
    assert_int_equal(counter_get(&rig.counters.requests), len + 1);
    free(data);
    free(expected);
    close(fd);
    while (rig.set.n_open > 0)
        ev_run(rig.loop, EVRUN_ONCE);
    rig_expect_closed(&rig, &rig.counters.closed_quit, 1);
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
    uint8_t *data = payload(2 * MIB);

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

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(conn__every_two_cuts__same_echo),
        TEST(conn__unfinished_message__no_echo_until_its_end),
        TEST(conn__pipelined_5000_in_random_pieces__all_in_order),
        TEST(conn__sizes_of_all_magnitudes__bytes_exact),
        TEST(conn__half_close_after_40019_bytes__all_echoed_then_eof),
        TEST(conn__half_close_behind_unread_replies__all_delivered),
        TEST(conn__half_close_inside_a_message__dropped_and_counted),
        TEST(conn__quit_with_more_behind__echoed_then_eof),
        TEST(conn__quit_behind_queued_replies__all_delivered),
        TEST(conn__message_of_max_and_one_more__boundary_exact),
        TEST(conn__peer_never_reads__reading_stops),
        TEST(conn__reply_far_above_the_high_water__flows),
        TEST(conn__more_than_max_buffered__that_one_is_closed),
        TEST(conn__peer_resets__counted_as_reset),
        TEST(conn__raw__every_byte_at_once),
        TEST(conn__protocol_with_replies_of_its_own__sent_in_order),
        TEST(conn_set_drain__idle_busy_and_new__each_ends_in_order),
        TEST(conn_set_drain__unread_reply__delivered_first),
        TEST(conn_set_cut__some_lingering__the_others_counted_as_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
