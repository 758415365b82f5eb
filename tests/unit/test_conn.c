/*
 * Connections: what comes back.
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
    uint8_t *data = rig_payload(MESSAGES * 100), *p = data;

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
        uint8_t *data = rig_payload(4 * MIB), *p = data;

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

static void conn__peer_never_reads__reading_stops(void **state UNUSED)
{
    const size_t len = 32 * MIB;
    uint8_t *data = rig_payload(len);
    const int fd = rig_connect(&rig);
    size_t sent;

    for (size_t i = 0; i < len; i += 1000)
        memcpy(data + i, "\r\n\r\n", 4);
    sent = rig_offer(&rig, fd, data, len);
    assert_true(sent < 4 * MIB);
    assert_true(rig.set.pool.used_bytes <= 2 * (ARB_HIGH_WATER + 2 * CONN_READ_BYTES));
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
    uint8_t *data = rig_payload(15 * MIB);

    converse(fd, data, 15 * MIB + 4, 4 * MIB);
    assert_int_equal(rig.set.pool.used_bytes, 0);
    free(data);
    close(fd);
}

static void conn__more_than_max_buffered__that_one_is_closed(void **state UNUSED)
{
    const struct conn_limits limits = {.max_buffered = 16384};
    uint8_t *data = rig_payload(20000);
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

static struct spent {
    unsigned n;
    size_t held_bytes;
} spent;

static void on_spent(struct conn_set *set UNUSED, const char *reason UNUSED,
                     const struct arb_conn *c UNUSED, size_t held_bytes)
{
    spent.n++;
    spent.held_bytes = held_bytes;
}

/* As senders of a message without an end, and as peers that do not read. */
static void conn__a_few_hold_all_the_memory__others_are_served(void **state UNUSED)
{
    enum { HOGS = 12, SMALL = 200, MAX = 16 * MIB };
    const struct conn_limits limits = {.max_buffered = MAX};
    uint8_t *data = rig_payload(MAX / 4), *large = rig_payload(MIB);
    int hogs[HOGS], fd;

    rig_fini(&rig);
    for (int kind = 0; kind < 2; kind++) {
        rig_init(&rig, &limits, MAX / 4);
        rig.set.on_spent = on_spent;
        spent = (struct spent){0};
        for (int i = 0; i < HOGS; i++) {
            hogs[i] = rig_connect(&rig);
            rig_offer(&rig, hogs[i], data, MAX / 4 - 1000);
            if (kind == 1)
                rig_offer(&rig, hogs[i], "\r\n\r\n", 4);
        }
        assert_in_range(rig.set.pool.used_bytes, MAX / 2, MAX - MAX / 4);
        /* Who wants little needs nobody to go. */
        const unsigned n_before = spent.n;
        for (int i = 0; i < SMALL; i++) {
            fd = rig_connect(&rig);
            rig_send(&rig, fd, data, 5000);
            rig_send_text(&rig, fd, "\r\n\r\n");
            rig_expect(&rig, fd, data, 5000);
            rig_expect_text(&rig, fd, "\r\n\r\n");
            close(fd);
        }
        assert_int_equal(spent.n, n_before);
        /* For who wants more, one of those goes that hold the most, if need be. */
        fd = rig_connect(&rig);
        rig_send(&rig, fd, large, MIB + 4);
        rig_expect(&rig, fd, large, MIB + 4);
        assert_int_equal(counter_get(&rig.counters.closed_evicted) +
                             counter_get(&rig.counters.closed_buffered),
                         spent.n);
        assert_true(spent.held_bytes > MIB);
        close(fd);
        for (int i = 0; i < HOGS; i++)
            close(hogs[i]);
        rig_run(&rig);
        assert_true(counter_get(&rig.counters.closed_evicted) > 0);
        rig_fini(&rig);
    }
    free(data);
    free(large);
    rig_init(&rig, NULL, MIB);
}

static void conn__raw__every_byte_at_once(void **state UNUSED)
{
    int fd;

    rig_use_rule(&rig, "", 10);
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
static void tenfold_on_data(void *server UNUSED, struct arb_conn *conn, const struct arb_input *in,
                            struct arb_output *out)
{
    static uint8_t reply[10 * CONN_READ_BYTES];
    uint64_t *count = arb_conn_state(conn);

    assert_int_equal(in->resume, 0);
    out->reply = reply;
    while (out->consumed < in->len && out->next == ARB_GO_ON) {
        memset(reply + out->reply_len, in->data[out->consumed], 10);
        out->reply_len += 10;
        out->messages++;
        (*count)++;
        out->next = in->data[out->consumed++] == '.' ? ARB_CLOSE : ARB_GO_ON;
    }
    assert_int_equal(*count, counter_get(&rig.counters.requests) + out->messages);
}

static void conn__protocol_with_replies_of_its_own__sent_in_order(void **state UNUSED)
{
    static const struct arb_protocol tenfold =
        ARB_PROTOCOL(.name = "tenfold", .conn_size = sizeof(uint64_t), .on_data = tenfold_on_data);
    const size_t len = 100000;
    uint8_t *data = rig_payload(len), *expected = malloc(10 * len + 10);
    int fd;

    for (size_t i = 0; i < len; i++)
        memset(expected + 10 * i, data[i], 10);
    memset(expected + 10 * len, '.', 10);
    rig_use_protocol(&rig, &tenfold, NULL);
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

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(conn__every_two_cuts__same_echo),
        TEST(conn__unfinished_message__no_echo_until_its_end),
        TEST(conn__pipelined_5000_in_random_pieces__all_in_order),
        TEST(conn__sizes_of_all_magnitudes__bytes_exact),
        TEST(conn__peer_never_reads__reading_stops),
        TEST(conn__reply_far_above_the_high_water__flows),
        TEST(conn__more_than_max_buffered__that_one_is_closed),
        TEST(conn__a_few_hold_all_the_memory__others_are_served),
        TEST(conn__raw__every_byte_at_once),
        TEST(conn__protocol_with_replies_of_its_own__sent_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
