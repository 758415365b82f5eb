/*
 * Connections that begin with a PROXY header: what their protocol sees, whom they are from, and how
 * those end whose header is wrong, late or missing. What is a header, test_proxy says.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/util.h"
#include "net/conn_impl.h"
#include "support/conn_rig.h"
#include "support/move_rig.h"

#define V1         "PROXY TCP4 192.0.2.1 198.51.100.2 4660 80\r\n"
#define V2         "\r\n\r\n\0\r\nQUIT\n"
#define V2_V4      V2 "\x21\x11\0\x0c\xc0\x00\x02\x01\xc6\x33\x64\x02\x12\x34\x00\x50"
#define LOCAL      V2 "\x20\x00\0\0"
#define TIMEOUT_MS 5000

static struct rig rig;
static struct conn_header_news told;
static char told_peer[CONN_PEER_LEN];
static unsigned n_told, n_opened, n_closed;

static void on_header(struct conn_set *set UNUSED, const struct conn_header_news *news)
{
    told = *news;
    snprintf(told_peer, sizeof(told_peer), "%s", news->peer);
    n_told++;
}

static int setup(void **state UNUSED)
{
    const struct conn_limits limits = {
        .message_timeout_ms = TIMEOUT_MS, .keep_alive_ms = 60000, .max_buffered = 64 << 20};

    rig_init(&rig, &limits, 0);
    rig.set.on_header = on_header;
    told = (struct conn_header_news){.reason = NULL};
    n_told = n_opened = n_closed = 0;
    return 0;
}

static int teardown(void **state UNUSED)
{
    rig_fini(&rig);
    return 0;
}

/* Returns the peer's end. */
static int connect_headed(enum proxy_wish wish)
{
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(conn_set_add_headed(&rig.set, ends[1], 0, wish, false), 0);
    return ends[0];
}

static struct arb_conn *first_conn(void)
{
    return container_of(rig.set.all.next, struct arb_conn, link);
}

static void expect_peer(const char *expected)
{
    char text[CONN_PEER_LEN];

    assert_string_equal(conn_peer(first_conn(), text), expected);
}

static void expect_refused(int fd, const char *reason)
{
    assert_int_equal(n_told, 1);
    assert_non_null(told.reason);
    if (!strstr(told.reason, reason))
        fail_msg("%s", told.reason);
    rig_expect_eof(&rig, fd);
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_proxy, 1);
}

struct bytes {
    const char *data;
    size_t len;
};

#define BYTES(text) ((struct bytes){(text), sizeof(text) - 1})

/* ---- a header comes ---- */

static void headed__cut_at_each_byte__message_answered_and_peer_known(void **state UNUSED)
{
    static const char message[] = "Hello!\r\n\r\n";
    const struct bytes headers[] = {BYTES(V1), BYTES(V2_V4)};

    for (size_t k = 0; k < ARRAY_SIZE(headers); k++) {
        char all[256];
        const size_t len = headers[k].len + strlen(message);

        memcpy(all, headers[k].data, headers[k].len);
        memcpy(all + headers[k].len, message, strlen(message));
        for (size_t cut = 0; cut <= len; cut++) {
            const int fd = connect_headed(cut % 2 ? PROXY_REQUIRED : PROXY_ACCEPTED);

            rig_send(&rig, fd, all, cut);
            rig_send(&rig, fd, all + cut, len - cut);
            rig_expect_text(&rig, fd, message);
            expect_peer("192.0.2.1:4660");
            close(fd);
            rig_run(&rig);
        }
    }
    assert_int_equal(n_told, 0);
    assert_true(counter_get(&rig.counters.proxied) == counter_get(&rig.counters.requests));
}

static void headed__byte_by_byte__the_same(void **state UNUSED)
{
    static const char all[] = V2_V4 "one\r\n\r\ntwo\r\n\r\n";
    const int fd = connect_headed(PROXY_REQUIRED);

    for (size_t i = 0; i < sizeof(all) - 1; i++)
        rig_send(&rig, fd, all + i, 1);
    rig_expect_text(&rig, fd, "one\r\n\r\ntwo\r\n\r\n");
    expect_peer("192.0.2.1:4660");
    assert_int_equal(counter_get(&rig.counters.proxied), 1);
    /* What the proxy says is nothing that a client has sent. */
    assert_int_equal(counter_get(&rig.counters.bytes_in), strlen("one\r\n\r\ntwo\r\n\r\n"));
    close(fd);
}

static void headed__nobody_named__the_peer_of_the_socket(void **state UNUSED)
{
    const struct bytes headers[] = {BYTES("PROXY UNKNOWN\r\n"), BYTES(LOCAL)};
    char own[CONN_PEER_LEN];

    for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
        const int fd = connect_headed(PROXY_REQUIRED);

        conn_peer(first_conn(), own);
        rig_send(&rig, fd, headers[i].data, headers[i].len);
        rig_send_text(&rig, fd, "x\r\n\r\n");
        rig_expect_text(&rig, fd, "x\r\n\r\n");
        expect_peer(own);
        close(fd);
        rig_run(&rig);
    }
    assert_int_equal(n_told, 0);
}

/* Its number was another connection's before. */
static void headed__number_used_again__not_the_peer_of_before(void **state UNUSED)
{
    int fd = connect_headed(PROXY_REQUIRED), number = first_conn()->io.fd;

    rig_send_text(&rig, fd, V1 "x\r\n\r\n");
    expect_peer("192.0.2.1:4660");
    close(fd);
    rig_run(&rig);
    for (int i = 0; i < 2; i++) {
        fd = i ? connect_headed(PROXY_REQUIRED) : rig_connect(&rig);
        assert_int_equal(first_conn()->io.fd, number);
        assert_int_equal(conn_set_named(&rig.set, number)->kind, ADDR_NAMED_NONE);
        close(fd);
        rig_run(&rig);
    }
}

static void headed__65551_bytes__whole(void **state UNUSED)
{
    static const char head[] = V2 "\x21\x11\xff\xff\xc0\x00\x02\x01\xc6\x33\x64\x02\x12\x34\x00\x50"
                                  "\x04\xff\xf0";
    char *all = calloc(1, PROXY_V2_MAX);
    const int fd = connect_headed(PROXY_REQUIRED);

    assert_non_null(all);
    memcpy(all, head, sizeof(head) - 1);
    rig_send(&rig, fd, all, PROXY_V2_MAX);
    rig_send_text(&rig, fd, "x\r\n\r\n");
    rig_expect_text(&rig, fd, "x\r\n\r\n");
    expect_peer("192.0.2.1:4660");
    assert_int_equal(rig.set.pool.used_bytes, 0);
    free(all);
    close(fd);
}

/* ---- none comes, or a wrong one ---- */

static void required__something_else__refused_and_not_answered(void **state UNUSED)
{
    const int fd = connect_headed(PROXY_REQUIRED);

    rig_send_text(&rig, fd, "Hello!\r\n\r\n");
    expect_refused(fd, "something else");
    assert_int_equal(counter_get(&rig.counters.requests), 0);
}

static void required__wrong__refused_with_the_reason(void **state UNUSED)
{
    const int fd = connect_headed(PROXY_REQUIRED);

    rig_send_text(&rig, fd, "PROXY TCP4 192.0.2.1\r\nHello!\r\n\r\n");
    expect_refused(fd, "two addresses");
}

static void accepted__wrong__refused_with_the_reason(void **state UNUSED)
{
    const int fd = connect_headed(PROXY_ACCEPTED);

    rig_send(&rig, fd, V2 "\x31", 13);
    expect_refused(fd, "a version");
}

static void required__nothing_within_message_timeout__refused(void **state UNUSED)
{
    const int fd = connect_headed(PROXY_REQUIRED);

    rig_pass(&rig, TIMEOUT_MS - 500);
    rig_expect_nothing(&rig, fd);
    rig_pass(&rig, 1000);
    expect_refused(fd, "there is none within server.message_timeout");
}

/* Its time begins when it is connected: who sends a byte now and then has no more of it. */
static void required__half_a_header_within_message_timeout__refused(void **state UNUSED)
{
    const int fd = connect_headed(PROXY_REQUIRED);

    for (int i = 0; i < 5; i++) {
        rig_pass(&rig, TIMEOUT_MS / 5);
        rig_send(&rig, fd, &V1[i], 1);
    }
    rig_pass(&rig, 500);
    expect_refused(fd, "not complete within server.message_timeout");
}

/* As a check of a balancer does that only connects. */
static void required__end_without_a_byte__no_fault(void **state UNUSED)
{
    const int fd = connect_headed(PROXY_REQUIRED);

    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_peer, 1);
    assert_int_equal(n_told, 0);
}

static void accepted__no_header__served_as_it_is(void **state UNUSED)
{
    const int fd = connect_headed(PROXY_ACCEPTED);

    rig_send_text(&rig, fd, "Hello!\r\n\r\n");
    rig_expect_text(&rig, fd, "Hello!\r\n\r\n");
    assert_int_equal(counter_get(&rig.counters.proxied), 0);
    assert_int_equal(counter_get(&rig.counters.bytes_in), 10);
    close(fd);
}

static void accepted__begins_like_one_and_goes_on_otherwise__served(void **state UNUSED)
{
    const int fd = connect_headed(PROXY_ACCEPTED);

    rig_send_text(&rig, fd, "\r\n\r\n");
    rig_expect_nothing(&rig, fd);
    rig_send_text(&rig, fd, "x\r\n\r\n");
    rig_expect_text(&rig, fd, "\r\n\r\nx\r\n\r\n");
    close(fd);
}

static void accepted__begins_like_one_and_waits__served_in_time(void **state UNUSED)
{
    const int fd = connect_headed(PROXY_ACCEPTED);

    rig_send_text(&rig, fd, "\r\n\r\n");
    rig_pass(&rig, TIMEOUT_MS + 500);
    rig_expect_text(&rig, fd, "\r\n\r\n");
    assert_int_equal(n_told, 0);
    close(fd);
}

static void accepted__begins_like_one_and_ends__served(void **state UNUSED)
{
    const int fd = connect_headed(PROXY_ACCEPTED);

    rig_send_text(&rig, fd, "\r\n\r\n");
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    rig_run(&rig);
    rig_expect_text(&rig, fd, "\r\n\r\n");
    rig_expect_eof(&rig, fd);
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_peer, 1);
}

/* Time counts from then on as for any that is idle. */
static void accepted__nothing_within_message_timeout__idle(void **state UNUSED)
{
    const int fd = connect_headed(PROXY_ACCEPTED);

    rig_pass(&rig, TIMEOUT_MS + 500);
    assert_int_equal(rig.set.n_open, 1);
    assert_int_equal(rig.set.marks[first_conn()->io.fd], CONN_MARK_IDLE);
    rig_pass(&rig, 59000);
    rig_expect_nothing(&rig, fd);
    rig_pass(&rig, 2000);
    rig_expect_eof(&rig, fd);
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_keep_alive, 1);
}

/* ---- nobody expects one ---- */

static void unasked__a_header_comes__told_and_taken_for_data(void **state UNUSED)
{
    const struct bytes headers[] = {BYTES(V1 "\r\n"), BYTES(V2_V4 "\r\n\r\n"),
                                    BYTES(V2 "\r\n\r\n")};

    for (size_t i = 0; i < ARRAY_SIZE(headers); i++) {
        const int fd = rig_connect(&rig);

        rig_send(&rig, fd, headers[i].data, headers[i].len);
        rig_expect(&rig, fd, headers[i].data, headers[i].len);
        assert_int_equal(n_told, i + 1);
        assert_true(told.is_unasked);
        close(fd);
        rig_run(&rig);
    }
}

static void unasked__anything_else__not_told(void **state UNUSED)
{
    static const char *const texts[] = {"PROXY your way\r\n\r\n", "\r\n\r\n", "\r\n\r\n\r\n\r\n",
                                        "PROXY TCP4 192.0.2.1\r\n\r\n"};

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        const int fd = rig_connect(&rig);

        rig_send_text(&rig, fd, texts[i]);
        rig_expect_text(&rig, fd, texts[i]);
        rig_send(&rig, fd, V2_V4 "\r\n\r\n", sizeof(V2_V4) + 3); /* not at its beginning */
        close(fd);
        rig_run(&rig);
    }
    assert_int_equal(n_told, 0);
}

/* ---- what the protocol sees ---- */

static char peer_at_open[ARB_PEER_LEN];

static int greet(void *server UNUSED, struct arb_conn *conn, enum arb_origin origin)
{
    assert_int_equal(origin, ARB_ACCEPTED);
    n_opened++;
    arb_conn_peer(conn, peer_at_open);
    return arb_conn_send(conn, "welcome\n", 8);
}

static void count_close(void *server UNUSED, struct arb_conn *conn UNUSED, enum arb_end why UNUSED)
{
    n_closed++;
}

static void swallow(void *server UNUSED, struct arb_conn *conn UNUSED, const struct arb_input *in,
                    struct arb_output *out)
{
    assert_int_equal(n_opened, 1);
    out->consumed = in->len;
}

static const struct arb_protocol greeter =
    ARB_PROTOCOL(.name = "greeter", .conn_size = 8, .on_open = greet, .on_close = count_close,
                 .on_data = swallow);

static void headed__protocol_that_greets__opened_with_the_header(void **state UNUSED)
{
    int fd;

    rig_use_protocol(&rig, &greeter, NULL);
    fd = connect_headed(PROXY_REQUIRED);
    rig_send_text(&rig, fd, "PROXY TCP4 192.0.2.1 ");
    rig_expect_nothing(&rig, fd);
    assert_int_equal(n_opened, 0);
    rig_send_text(&rig, fd, "198.51.100.2 4660 80\r\nHello");
    rig_expect_text(&rig, fd, "welcome\n");
    assert_int_equal(n_opened, 1);
    assert_string_equal(peer_at_open, "192.0.2.1:4660");
    close(fd);
    rig_run(&rig);
    assert_int_equal(n_closed, 1);
}

static void headed__protocol_and_no_header__it_never_hears_of_it(void **state UNUSED)
{
    int fd;

    rig_use_protocol(&rig, &greeter, NULL);
    fd = connect_headed(PROXY_REQUIRED);
    rig_send_text(&rig, fd, "Hello");
    expect_refused(fd, "something else");
    assert_int_equal(n_opened + n_closed, 0);
}

/* ---- other ends ---- */

static void drain__a_header_and_a_message_have_arrived__answered(void **state UNUSED)
{
    const int fd = connect_headed(PROXY_REQUIRED);

    assert_int_equal(write(fd, V1 "x\r\n\r\n", strlen(V1) + 5), strlen(V1) + 5);
    conn_set_drain(&rig.set);
    rig_expect_text(&rig, fd, "x\r\n\r\n");
    rig_expect_eof(&rig, fd);
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_drained, 1);
}

static void drain__amid_the_header__the_message_behind_it_is_answered(void **state UNUSED)
{
    const int fd = connect_headed(PROXY_REQUIRED);

    rig_send_text(&rig, fd, "PROXY TCP4 192.0.2.1 ");
    conn_set_drain(&rig.set);
    rig_expect_nothing(&rig, fd);
    rig_send_text(&rig, fd, "198.51.100.2 4660 80\r\nx\r\n\r\n");
    rig_expect_text(&rig, fd, "x\r\n\r\n");
    rig_expect_eof(&rig, fd);
    close(fd);
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_drained, 1);
}

/* ---- moves ---- */

static struct move_rig moving;

static struct arb_conn *conn_of(struct rig *r)
{
    return container_of(r->set.all.next, struct arb_conn, link);
}

static int connect_to_giver(enum proxy_wish wish)
{
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
    assert_int_equal(conn_set_add_headed(&moving.giver.set, ends[1], 0, wish, false), 0);
    return ends[0];
}

static void move_to(struct taker *taker)
{
    taker_takes(taker, 1000);
    giver_gives(&moving, SIZE_MAX);
    move_rig_run(&moving);
    assert_int_equal(moving.out.n_moved, 1);
}

/* Cut at each byte: what has come before the move, and what comes after it. */
static void move__amid_the_header__goes_on_where_it_was(void **state UNUSED)
{
    static const char all[] = V2_V4 "x\r\n\r\n";
    const size_t len = sizeof(all) - 1;
    char text[CONN_PEER_LEN];

    for (size_t cut = 0; cut <= len; cut++) {
        struct rig *taker;
        int fd;

        move_rig_init(&moving, 1, NULL);
        taker = &moving.takers[0].rig;
        fd = connect_to_giver(cut % 2 ? PROXY_REQUIRED : PROXY_ACCEPTED);
        rig_send(&moving.giver, fd, all, cut);
        if (cut == len)
            rig_expect_text(&moving.giver, fd, "x\r\n\r\n");
        move_to(&moving.takers[0]);
        rig_send(taker, fd, all + cut, len - cut);
        if (cut < len)
            rig_expect_text(taker, fd, "x\r\n\r\n");
        assert_string_equal(conn_peer(conn_of(taker), text), "192.0.2.1:4660");
        close(fd);
        rig_run(taker);
        move_rig_fini(&moving);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(headed__cut_at_each_byte__message_answered_and_peer_known),
        TEST(headed__byte_by_byte__the_same),
        TEST(headed__nobody_named__the_peer_of_the_socket),
        TEST(headed__number_used_again__not_the_peer_of_before),
        TEST(headed__65551_bytes__whole),
        TEST(required__something_else__refused_and_not_answered),
        TEST(required__wrong__refused_with_the_reason),
        TEST(accepted__wrong__refused_with_the_reason),
        TEST(required__nothing_within_message_timeout__refused),
        TEST(required__half_a_header_within_message_timeout__refused),
        TEST(required__end_without_a_byte__no_fault),
        TEST(accepted__no_header__served_as_it_is),
        TEST(accepted__begins_like_one_and_goes_on_otherwise__served),
        TEST(accepted__begins_like_one_and_waits__served_in_time),
        TEST(accepted__begins_like_one_and_ends__served),
        TEST(accepted__nothing_within_message_timeout__idle),
        TEST(unasked__a_header_comes__told_and_taken_for_data),
        TEST(unasked__anything_else__not_told),
        TEST(headed__protocol_that_greets__opened_with_the_header),
        TEST(headed__protocol_and_no_header__it_never_hears_of_it),
        TEST(drain__a_header_and_a_message_have_arrived__answered),
        TEST(drain__amid_the_header__the_message_behind_it_is_answered),
        cmocka_unit_test(move__amid_the_header__goes_on_where_it_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
