/*
 * What a protocol is promised by <arbiter/protocol.h>: opens and closes in pairs, the end of input,
 * sends, timeouts, and that what cannot be does no harm.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "actor/actor.h"
#include "base/util.h"
#include "net/conn_impl.h"
#include "support/conn_rig.h"
#include "support/lines.h"

enum { MIB = 1 << 20 };

static const struct conn_limits timed = {.keep_alive_ms = 10000,
                                         .message_timeout_ms = 20000,
                                         .write_timeout_ms = 30000,
                                         .max_buffered = 64 << 20};
static struct rig rig;
static struct lines lines;
static struct arb_actor hold;

static void use_lines(const struct conn_limits *limits)
{
    const struct conn_protocol p = {.table = &lines_protocol, .server = &lines, .actor = &hold};

    rig_init(&rig, limits, 1000);
    conn_set_serve(&rig.set, &p, 1);
    lines = (struct lines){.actor = &hold};
    hold.conns = &rig.set;
}

static int setup(void **state UNUSED)
{
    use_lines(NULL);
    return 0;
}

static int teardown(void **state UNUSED)
{
    rig_fini(&rig);
    return 0;
}

static void expect_told(const char *text)
{
    rig_run(&rig);
    assert_string_equal(lines_told(&lines), text);
}

static struct arb_conn *only_conn(void)
{
    assert_int_equal(rig.set.n_open, 1);
    return container_of(rig.set.all.next, struct arb_conn, link);
}

static uint8_t mark_of(const struct arb_conn *c)
{
    return rig.set.marks[c->io.fd];
}

/* --- opens and closes ------------------------------------------------------------------------- */

static void conn__peer_leaves__told_of_the_end_then_of_the_close(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    expect_told("open:accepted");
    rig_send_text(&rig, fd, "=a\n");
    rig_expect_text(&rig, fd, "a");
    close(fd);
    expect_told("end close:peer");
    rig_expect_closed(&rig, &rig.counters.closed_peer, 1);
}

static void conn__ends_of_all_kinds__each_close_says_why_once(void **state UNUSED)
{
    static const struct {
        const char *lines, *told;
    } rows[] = {
        {"q\nlost\n", "open:accepted close:closed"},  {"x\nlost\n", "open:accepted close:refused"},
        {"c\n=kept\n", "open:accepted close:closed"}, {"C\nc\n", "open:accepted close:refused"},
        {"c\nq\n", "open:accepted close:closed"},     {"C\nq\n", "open:accepted close:refused"},
        {"k\n", "open:accepted close:closed"},        {"l1\n", "open:accepted close:broken"},
        {"l2\n", "open:accepted close:broken"},       {"l3\n", "open:accepted close:broken"},
        {"l4\n", "open:accepted close:broken"},       {"l5\n", "open:accepted close:broken"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const int fd = rig_connect(&rig);

        rig_send_text(&rig, fd, rows[i].lines);
        expect_told(rows[i].told);
        if (strstr(rows[i].lines, "kept"))
            rig_expect_text(&rig, fd, "kept");
        rig_expect_eof(&rig, fd);
        close(fd);
        expect_told("");
    }
    assert_int_equal(counter_get(&rig.counters.closed_broken), LINES_LIES);
    assert_int_equal(counter_get(&rig.counters.closed_quit), 4);
    assert_int_equal(counter_get(&rig.counters.closed_too_big), 3);
}

static void conn__reset__told(void **state UNUSED)
{
    const struct linger at_once = {.l_onoff = 1};
    const int fd = rig_connect_tcp(&rig);

    rig_send_text(&rig, fd, "part");
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(fd);
    while (rig.set.n_open > 0)
        ev_run(rig.loop, EVRUN_ONCE);
    expect_told("open:accepted close:reset");
}

static void conn_set_cut__told_before_it_returns(void **state UNUSED)
{
    const int fd = rig_connect(&rig), other = rig_connect(&rig);

    rig_send_text(&rig, other, "q\n");
    lines_told(&lines);
    conn_set_cut(&rig.set);
    assert_int_equal(rig.set.n_open, 0);
    assert_string_equal(lines_told(&lines), "close:cut");
    close(fd);
    close(other);
}

static void on_open__refuses__closed_and_never_told_again(void **state UNUSED)
{
    int fd;

    lines.refuses = -EPERM;
    fd = rig_connect(&rig);
    rig_expect_eof(&rig, fd);
    close(fd);
    expect_told("open:accepted");
    rig_expect_closed(&rig, &rig.counters.closed_quit, 1);
}

static const char *broken[2];

static void on_broken(struct conn_set *set UNUSED, const char *protocol, const char *what)
{
    broken[0] = protocol;
    broken[1] = what;
}

static void conn__protocol_lies__somebody_is_told_which_one_and_what(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    rig.set.on_broken = on_broken;
    rig_send_text(&rig, fd, "=good\nl1\n");
    assert_string_equal(broken[0], "lines");
    assert_string_equal(broken[1], "it has consumed more than there is");
    close(fd);
}

/* --- the end of input ------------------------------------------------------------------------- */

static void conn__end_inside_a_line__partial(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    rig_send_text(&rig, fd, "=a\n=b");
    shutdown(fd, SHUT_WR);
    rig_expect_text(&rig, fd, "a");
    rig_expect_eof(&rig, fd);
    expect_told("open:accepted end close:partial");
    rig_expect_closed(&rig, &rig.counters.closed_partial, 1);
    close(fd);
}

static void conn__protocol_answers_the_rest_at_the_end__delivered(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    lines.answers_rest = true;
    rig_send_text(&rig, fd, "=a\n=b");
    shutdown(fd, SHUT_WR);
    rig_expect_text(&rig, fd, "ab");
    rig_expect_eof(&rig, fd);
    expect_told("open:accepted end close:peer");
    rig_expect_closed(&rig, &rig.counters.closed_peer, 1);
    close(fd);
}

static void conn__end_behind_unread_replies__heard_and_all_delivered(void **state UNUSED)
{
    enum { LEN = 200000 };
    const int fd = rig_connect(&rig);
    char *line = malloc(LEN);

    memset(line, 'y', LEN);
    line[0] = '=';
    line[LEN - 1] = '\n';
    rig_send(&rig, fd, line, LEN);
    shutdown(fd, SHUT_WR);
    expect_told("open:accepted end close:peer");
    rig_expect(&rig, fd, line + 1, LEN - 2);
    rig_expect_eof(&rig, fd);
    free(line);
    close(fd);
}

/* --- sends ------------------------------------------------------------------------------------ */

static void arb_conn_send__in_on_data__before_the_reply(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    rig_send_text(&rig, fd, "=c\n!a\n=d\n!b\n");
    rig_expect_text(&rig, fd, "abcd");
    assert_int_equal(lines.sent, 0);
    close(fd);
}

static void arb_conn_send__to_all__each_gets_it_and_stays_idle(void **state UNUSED)
{
    const int one = rig_connect(&rig), two = rig_connect_tcp(&rig);

    rig_send_text(&rig, one, "*hello\n");
    rig_expect_text(&rig, one, "hello");
    rig_expect_text(&rig, two, "hello");
    assert_int_equal(rig.set.pool.used_bytes, 0);
    close(one);
    close(two);
}

/* Above the high-water mark it is read no more; below half of it the protocol hears so. */
static void arb_conn_send__peer_does_not_read__paused_then_writable_once(void **state UNUSED)
{
    char text[65536];
    const int fd = rig_connect(&rig);
    struct arb_conn *c = only_conn();
    size_t sent = 0;

    memset(text, 'z', sizeof(text));
    while (arb_conn_unsent(c) <= ARB_HIGH_WATER) {
        assert_int_equal(arb_conn_send(c, text, sizeof(text)), 0);
        sent += sizeof(text);
    }
    rig_send_text(&rig, fd, "=unread\n");
    assert_int_equal(lines.n_calls, 0);
    expect_told("open:accepted");
    while (sent > 0) {
        rig_expect(&rig, fd, text, sizeof(text));
        sent -= sizeof(text);
    }
    rig_expect_text(&rig, fd, "unread");
    expect_told("writable");
    close(fd);
}

/* Its protocol has been told that it is closed, and is told nothing when the last bytes go, even if
 * they are so many that it was paused until then. */
static void arb_conn_close__much_is_unsent__delivered_and_closed_once(void **state UNUSED)
{
    static char text[160000], got[1 << 20];
    const int fd = rig_connect(&rig);
    struct arb_conn *c = only_conn();
    size_t sent = 0, capacity = 0, n_got = 0;
    ssize_t n;

    while (capacity == 0 || arb_conn_unsent(c) < capacity + ARB_HIGH_WATER / 2) {
        assert_int_equal(arb_conn_send(c, text, sizeof(text)), 0);
        sent += sizeof(text);
        if (capacity == 0 && arb_conn_unsent(c) > 0)
            capacity = sent - arb_conn_unsent(c);
    }
    assert_true(arb_conn_unsent(c) > ARB_HIGH_WATER);
    arb_conn_close(c, ARB_CLOSE);
    shutdown(fd, SHUT_WR);
    expect_told("open:accepted close:closed");
    /* All that is there is read at once, so that as much goes at once. */
    while ((n = recv(fd, got, sizeof(got), MSG_DONTWAIT)) != 0) {
        n_got += n > 0 ? (size_t)n : 0;
        if (n < 0)
            rig_run(&rig);
    }
    assert_int_equal(n_got, sent);
    rig_run(&rig);
    assert_int_equal(rig.set.n_open, 0);
    rig_expect_closed(&rig, &rig.counters.closed_quit, 1);
    expect_told("");
    close(fd);
}

static void arb_conn_send__max_buffered_used_up__ends_visibly(void **state UNUSED)
{
    static const struct conn_limits small = {.max_buffered = 1 << 20};
    char text[65536];
    int fd, other, rc;
    struct arb_conn *c;

    rig_fini(&rig);
    use_lines(&small);
    memset(text, 'z', sizeof(text));
    fd = rig_connect(&rig);
    c = only_conn();
    other = rig_connect(&rig);
    do
        rc = arb_conn_send(c, text, sizeof(text));
    while (rc == 0);
    assert_int_equal(rc, -ENOBUFS);
    assert_int_equal(arb_conn_send(c, text, 1), -EPIPE);
    expect_told("open:accepted open:accepted close:limit");
    rig_send_text(&rig, other, "=served\n");
    rig_expect_text(&rig, other, "served");
    close(fd);
    rig_run(&rig);
    assert_int_equal(
        counter_get(&rig.counters.closed_buffered) + counter_get(&rig.counters.closed_reset), 1);
    close(other);
}

/* The bytes that a protocol looks at stay where they are: else the slow one that sends them would
 * make way for those that they are sent to. */
static void arb_conn_send__memory_is_short__who_is_served_is_spared(void **state UNUSED)
{
    static const struct conn_limits small = {.max_buffered = 2500000};
    enum { LONG = 600000 };
    char *line = malloc(LONG);
    int deaf, served;
    struct arb_conn *c;

    rig_fini(&rig);
    use_lines(&small);
    memset(line, 'w', LONG);
    line[0] = '*';
    line[LONG - 1] = '\n';
    deaf = rig_connect(&rig);
    c = only_conn();
    served = rig_connect(&rig);
    while (arb_conn_unsent(c) < 200000)
        assert_int_equal(arb_conn_send(c, line, 10000), 0);
    rig_send(&rig, served, line, LONG - 1);
    rig_now_ms += 60000;
    rig_offer(&rig, served, line + LONG - 1, 1);
    expect_told("open:accepted open:accepted close:limit");
    rig_expect(&rig, served, line + 1, LONG - 2);
    rig_send_text(&rig, served, "=and it lives\n");
    rig_expect_text(&rig, served, "and it lives");
    free(line);
    close(deaf);
    close(served);
}

static void arb_conn_send__ending_or_on_its_way__refused(void **state UNUSED)
{
    const int fd = rig_connect(&rig);
    struct arb_conn *c = only_conn();

    conn_detach(c);
    assert_int_equal(arb_conn_send(c, "x", 1), -EBUSY);
    assert_null(arb_request_new(c, NULL, NULL));
    conn_resume(c);
    assert_int_equal(arb_conn_send(c, "y", 1), 0);
    arb_conn_close(c, ARB_CLOSE);
    assert_int_equal(arb_conn_send(c, "z", 1), 0); /* this turn has not ended */
    rig_run(&rig);
    assert_int_equal(arb_conn_send(c, "x", 1), -EPIPE);
    assert_null(arb_request_new(c, NULL, NULL));
    rig_expect_text(&rig, fd, "yz");
    rig_expect_eof(&rig, fd);
    close(fd);
}

static void arb_conn_send__peer_is_gone__told_once_later(void **state UNUSED)
{
    const int fd = rig_connect(&rig);
    struct arb_conn *c = only_conn();

    lines_told(&lines);
    close(fd);
    assert_int_equal(arb_conn_send(c, "x", 1), -EPIPE);
    assert_string_equal(lines.log, "");
    expect_told("close:reset");
    rig_expect_closed(&rig, &rig.counters.closed_reset, 1);
}

/* --- ends by the protocol --------------------------------------------------------------------- */

static void arb_conn_close__of_all_inside_each__every_one_ends(void **state UNUSED)
{
    int fds[50];

    for (size_t i = 0; i < ARRAY_SIZE(fds); i++)
        fds[i] = rig_connect(&rig);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i += 3)
        close(fds[i]); /* and sends to these fail */
    lines_told(&lines);
    assert_int_equal(send(fds[1], "*all\nk\n", 7, MSG_NOSIGNAL), 7);
    rig_run(&rig);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        if (i % 3 == 0)
            continue;
        rig_expect_text(&rig, fds[i], "all");
        rig_expect_eof(&rig, fds[i]);
        close(fds[i]);
    }
    rig_run(&rig);
    assert_int_equal(rig.set.n_open, 0);
}

static void arb_conn_close__more_comes_in_the_same_turn__not_looked_at(void **state UNUSED)
{
    const int fd = rig_connect(&rig);
    struct arb_conn *c = only_conn();

    assert_int_equal(send(fd, "=x\n", 3, MSG_NOSIGNAL), 3);
    arb_conn_close(c, ARB_REFUSE);
    rig_expect_eof(&rig, fd);
    assert_int_equal(lines.n_calls, 0);
    expect_told("open:accepted close:refused");
    close(fd);
}

/* --- timeouts --------------------------------------------------------------------------------- */

static void arb_conn_timeout__once_replaced_and_removed(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    rig_send_text(&rig, fd, "t1000\n");
    rig_pass(&rig, 900);
    expect_told("open:accepted");
    rig_pass(&rig, 300);
    expect_told("timeout");
    rig_expect_text(&rig, fd, "T");
    rig_pass(&rig, 10000);
    expect_told("");
    rig_send_text(&rig, fd, "t1000\nt5000\n");
    rig_pass(&rig, 4000);
    expect_told("");
    rig_pass(&rig, 1300);
    expect_told("timeout");
    rig_send_text(&rig, fd, "t1000\nt0\n");
    rig_pass(&rig, 4000);
    expect_told("");
    close(fd);
}

static void
arb_conn_timeout__beside_keep_alive_and_message_timeout__each_in_its_time(void **state UNUSED)
{
    int idle, busy;

    rig_fini(&rig);
    use_lines(&timed);
    idle = rig_connect(&rig);
    rig_send_text(&rig, idle, "t4000\n");
    rig_pass(&rig, 4200);
    expect_told("open:accepted timeout"); /* it sends, and is idle anew */
    rig_pass(&rig, 9000);
    expect_told("");
    rig_pass(&rig, 1500);
    expect_told("close:timeout");
    busy = rig_connect(&rig);
    rig_send_text(&rig, busy, "t15000\n=part");
    rig_pass(&rig, 15200);
    expect_told("open:accepted timeout");
    rig_pass(&rig, 5000);
    expect_told("close:timeout");
    close(idle);
    close(busy);
    rig_run(&rig);
    assert_int_equal(counter_get(&rig.counters.closed_keep_alive), 1);
    assert_int_equal(counter_get(&rig.counters.closed_message_timeout), 1);
}

/* --- drains ----------------------------------------------------------------------------------- */

static void on_drain__idle_and_busy__goodbye_once_each(void **state UNUSED)
{
    const int idle = rig_connect(&rig), busy = rig_connect(&rig);

    lines.says_goodbye = true;
    rig_send_text(&rig, busy, "=ha");
    conn_set_drain(&rig.set);
    expect_told("open:accepted open:accepted drain close:drained");
    rig_expect_text(&rig, idle, "bye");
    rig_expect_eof(&rig, idle);
    rig_expect_nothing(&rig, busy);
    rig_send_text(&rig, busy, "lf\n");
    rig_expect_text(&rig, busy, "halfbye");
    rig_expect_eof(&rig, busy);
    expect_told("drain close:drained");
    close(idle);
    close(busy);
}

/* --- what is asked of a connection ------------------------------------------------------------ */

static void arb_conn_id_and_peer__unique_and_readable(void **state UNUSED)
{
    char peer[ARB_PEER_LEN];
    const int tcp = rig_connect_tcp(&rig);
    struct arb_conn *c = only_conn();
    const uint64_t id = arb_conn_id(c);
    int fd;

    assert_ptr_equal(arb_conn_peer(c, peer), peer);
    assert_memory_equal(peer, "127.0.0.1:", 10);
    assert_int_equal(arb_conn_id(c), id);
    assert_int_not_equal(id, 0);
    close(tcp);
    rig_run(&rig);
    fd = rig_connect(&rig);
    c = only_conn();
    assert_int_not_equal(arb_conn_id(c), id);
    assert_string_equal(arb_conn_peer(c, peer), "unix");
    close(fd);
}

static void arb_conn_state__aligned_zeroed_and_its_own(void **state UNUSED)
{
    for (unsigned i = 1; i < 200; i++) {
        const int fd = rig_connect(&rig);
        const struct lines_conn *s = arb_conn_state(only_conn());

        assert_int_equal((uintptr_t)s % _Alignof(max_align_t), 0);
        assert_int_equal(s->n_lines, 0);
        rig_send_text(&rig, fd, "=\n=\n=\n");
        assert_int_equal(s->n_lines, 3);
        close(fd);
        rig_run(&rig);
    }
}

static void arb_conn_set_blank__while_idle_and_in_a_line__marked_at_the_end(void **state UNUSED)
{
    const int fd = rig_connect(&rig);
    struct arb_conn *c = only_conn();

    assert_int_equal(mark_of(c), CONN_MARK_STATEFUL);
    rig_send_text(&rig, fd, "b\n");
    assert_int_equal(mark_of(c), CONN_MARK_IDLE);
    rig_send_text(&rig, fd, "=par");
    assert_int_equal(mark_of(c), CONN_MARK_BUSY);
    rig_send_text(&rig, fd, "t\n");
    assert_int_equal(mark_of(c), CONN_MARK_IDLE);
    arb_conn_set_blank(c, false);
    assert_int_equal(mark_of(c), CONN_MARK_STATEFUL);
    close(fd);
}

static void count_them(struct arb_conn *conn UNUSED, void *data)
{
    ++*(unsigned *)data;
}

static void conn_set__two_protocols__each_has_its_own_connections(void **state UNUSED)
{
    static struct arb_actor other_hold;
    static struct lines other;
    const struct conn_protocol two[] = {
        {.table = &lines_protocol, .server = &lines, .actor = &hold},
        {.table = &lines_protocol, .server = &other, .actor = &other_hold}};
    int pair[2], fd;
    unsigned n = 0;

    conn_set_serve(&rig.set, two, 2);
    fd = rig_connect(&rig);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(conn_set_add(&rig.set, pair[1], 1, ARB_RESCUED, false), 0);
    assert_string_equal(lines_told(&lines), "open:accepted");
    assert_string_equal(lines_told(&other), "open:rescued");
    rig_send_text(&rig, pair[0], "=x\n");
    rig_expect_text(&rig, pair[0], "x");
    assert_int_equal(lines.n_calls, 0);
    arb_conn_each(&hold, count_them, &n);
    assert_int_equal(n, 1);
    close(fd);
    close(pair[0]);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(conn__peer_leaves__told_of_the_end_then_of_the_close),
        TEST(conn__ends_of_all_kinds__each_close_says_why_once),
        TEST(conn__reset__told),
        TEST(conn_set_cut__told_before_it_returns),
        TEST(on_open__refuses__closed_and_never_told_again),
        TEST(conn__protocol_lies__somebody_is_told_which_one_and_what),
        TEST(conn__end_inside_a_line__partial),
        TEST(conn__protocol_answers_the_rest_at_the_end__delivered),
        TEST(conn__end_behind_unread_replies__heard_and_all_delivered),
        TEST(arb_conn_send__in_on_data__before_the_reply),
        TEST(arb_conn_send__to_all__each_gets_it_and_stays_idle),
        TEST(arb_conn_send__peer_does_not_read__paused_then_writable_once),
        TEST(arb_conn_close__much_is_unsent__delivered_and_closed_once),
        TEST(arb_conn_send__max_buffered_used_up__ends_visibly),
        TEST(arb_conn_send__memory_is_short__who_is_served_is_spared),
        TEST(arb_conn_send__ending_or_on_its_way__refused),
        TEST(arb_conn_send__peer_is_gone__told_once_later),
        TEST(arb_conn_close__of_all_inside_each__every_one_ends),
        TEST(arb_conn_close__more_comes_in_the_same_turn__not_looked_at),
        TEST(arb_conn_timeout__once_replaced_and_removed),
        TEST(arb_conn_timeout__beside_keep_alive_and_message_timeout__each_in_its_time),
        TEST(on_drain__idle_and_busy__goodbye_once_each),
        TEST(arb_conn_id_and_peer__unique_and_readable),
        TEST(arb_conn_state__aligned_zeroed_and_its_own),
        TEST(arb_conn_set_blank__while_idle_and_in_a_line__marked_at_the_end),
        TEST(conn_set__two_protocols__each_has_its_own_connections),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
