/*
 * Replies that come later: in order or not, early, late, or when the connection is gone.
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
#include "base/clock.h"
#include "base/util.h"
#include "net/conn_impl.h"
#include "support/conn_rig.h"
#include "support/lines.h"

static const struct conn_limits timed = {.keep_alive_ms = 10000,
                                         .message_timeout_ms = 20000,
                                         .write_timeout_ms = 30000,
                                         .max_buffered = 64 << 20};
static struct rig rig;
static struct lines lines;
static struct arb_actor hold;

static int setup(void **state UNUSED)
{
    const struct conn_protocol p = {.table = &lines_protocol, .server = &lines, .actor = &hold};

    rig_init(&rig, &timed, 1000);
    conn_set_serve(&rig.set, &p, 1);
    lines = (struct lines){.actor = &hold};
    hold.conns = &rig.set;
    return 0;
}

static int teardown(void **state UNUSED)
{
    rig_fini(&rig);
    assert_int_equal(rig.set.n_owing, 0);
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

static uint64_t bytes_in(void)
{
    return counter_get(&rig.counters.bytes_in);
}

static void arb_request__waited_for__nothing_is_read_until_it_has_ended(void **state UNUSED)
{
    const int fd = rig_connect(&rig);
    uint64_t before;

    rig_send_text(&rig, fd, "=a\nw\n=b\n=c");
    rig_expect_text(&rig, fd, "a");
    before = bytes_in();
    rig_send_text(&rig, fd, "d\n");
    rig_expect_nothing(&rig, fd);
    assert_int_equal(bytes_in(), before);
    assert_int_equal(rig.set.n_owing, 1);
    assert_int_equal(lines_answer(&lines, "late;", ARB_GO_ON), 0);
    rig_expect_text(&rig, fd, "late;bcd");
    assert_int_equal(rig.set.n_owing, 0);
    close(fd);
}

static void arb_request__not_waited_for__what_is_replied_first_is_sent_first(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    rig_send_text(&rig, fd, "r\n=a\nr\n");
    rig_expect_text(&rig, fd, "a");
    rig_send_text(&rig, fd, "=b\n");
    rig_expect_text(&rig, fd, "b");
    assert_int_equal(rig.set.n_owing, 1);
    assert_int_equal(arb_request_reply(lines.requests[1], "2", 1), 0);
    assert_int_equal(arb_request_reply(lines.requests[0], "1", 1), 0);
    assert_int_equal(arb_request_reply(lines.requests[1], "2", 1), 0);
    arb_request_end(lines.requests[1], ARB_GO_ON);
    arb_request_end(lines.requests[0], ARB_GO_ON);
    rig_expect_text(&rig, fd, "212");
    assert_int_equal(rig.set.n_owing, 0);
    close(fd);
}

static struct timing times;

static void begin_to_time(void)
{
    timing_reset(&times);
    rig.set.sample.times = &times;
    conn_sample_next(&rig.set);
}

/* What is timed stands for the messages before it that were not. */
static void sample__many_reads__few_times_for_all_messages(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    begin_to_time();
    for (int i = 1; i <= 600; i++) {
        rig_send_text(&rig, fd, i % 2 ? "=a\n=b\n" : "=a\n");
        rig_expect_text(&rig, fd, i % 2 ? "ab" : "a");
        if (i == 1)
            assert_int_equal(timing_count(&times), 2);
        if (i == 256)
            assert_int_equal(timing_count(&times), 2);
    }
    assert_int_equal(timing_count(&times), 2 + 2 * 384); /* with reads 1, 257 and 513 */
    conn_sample_next(&rig.set);
    rig_send_text(&rig, fd, "=a\n");
    rig_expect_text(&rig, fd, "a");
    assert_int_equal(timing_count(&times), 600 * 3 / 2 + 1);
    close(fd);
}

static void sample__message_in_pieces__from_its_last_byte(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    begin_to_time();
    rig_send_text(&rig, fd, "=");
    rig_send_text(&rig, fd, "a");
    assert_int_equal(timing_count(&times), 0);
    rig_send_text(&rig, fd, "\n");
    rig_expect_text(&rig, fd, "a");
    assert_int_equal(timing_count(&times), 1);
    close(fd);
}

static void let_time_go_on(uint64_t ns)
{
    const uint64_t since = clock_mono_ns();

    while (clock_mono_ns() - since < ns)
        ;
}

static void sample__late_reply__counted_when_it_has_ended(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    begin_to_time();
    rig_send_text(&rig, fd, "w\n");
    rig_expect_nothing(&rig, fd);
    assert_int_equal(timing_count(&times), 0);
    let_time_go_on(3000000);
    assert_int_equal(lines_answer(&lines, "late;", ARB_GO_ON), 0);
    rig_expect_text(&rig, fd, "late;");
    assert_int_equal(timing_count(&times), 1);
    assert_true(counter_get(&times.max_ns) >= 3000000);
    close(fd);
}

/* A reply that nobody gets has no time. */
static void sample__connection_gone_before_the_reply__counted_nowhere(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    begin_to_time();
    rig_send_text(&rig, fd, "r\n");
    shutdown(fd, SHUT_RDWR);
    close(fd);
    conn_set_cut(&rig.set);
    rig_run(&rig);
    arb_request_end(lines.requests[0], ARB_GO_ON);
    rig_run(&rig);
    assert_int_equal(timing_count(&times), 0);
}

static void sample__request_ended_inside_on_data__counted_at_once(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    begin_to_time();
    rig_send_text(&rig, fd, "W\n");
    rig_expect_text(&rig, fd, "now;");
    assert_int_equal(timing_count(&times), 1);
    close(fd);
}

static void arb_request__ended_inside_on_data__the_rest_is_looked_at(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    rig_send_text(&rig, fd, "W\n=b\nW\nW\n=c\n");
    rig_expect_text(&rig, fd, "now;bnow;now;c");
    expect_told("open:accepted");
    close(fd);
}

static void arb_request__while_owed__busy_and_not_timed_out(void **state UNUSED)
{
    const int fd = rig_connect(&rig);
    struct arb_conn *c = only_conn();

    rig_send_text(&rig, fd, "b\nr\n");
    assert_int_equal(rig.set.marks[c->io.fd], CONN_MARK_BUSY);
    assert_false(conn_is_movable(c));
    rig_pass(&rig, 15000);
    rig_pass(&rig, 15000);
    assert_int_equal(lines_answer(&lines, "1", ARB_GO_ON), 0);
    rig_expect_text(&rig, fd, "1");
    assert_int_equal(rig.set.marks[c->io.fd], CONN_MARK_IDLE);
    assert_true(conn_is_movable(c));
    rig_pass(&rig, 9000);
    expect_told("open:accepted");
    rig_pass(&rig, 1500);
    expect_told("close:timeout");
    close(fd);
}

/* The peer cannot help it that nobody looks at its message. */
static void arb_request__waited_for_with_half_a_line_behind__not_timed_out(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    rig_send_text(&rig, fd, "w\n=ha");
    rig_pass(&rig, 25000);
    assert_int_equal(lines_answer(&lines, "1", ARB_GO_ON), 0);
    rig_expect_text(&rig, fd, "1");
    rig_pass(&rig, 19000);
    expect_told("open:accepted");
    rig_send_text(&rig, fd, "lf\n");
    rig_expect_text(&rig, fd, "half");
    close(fd);
}

static void arb_request__peer_is_gone__heard_once_and_still_to_be_ended(void **state UNUSED)
{
    const struct linger at_once = {.l_onoff = 1};
    const int fd = rig_connect_tcp(&rig);

    rig_send_text(&rig, fd, "r\nr\nr\n");
    assert_int_equal(lines_answer(&lines, "1", ARB_GO_ON), 0);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    close(fd);
    while (rig.set.n_open > 0)
        ev_run(rig.loop, EVRUN_ONCE);
    expect_told("open:accepted gone gone close:reset");
    assert_int_equal(rig.set.n_owing, 0);
    assert_null(arb_request_conn(lines.requests[1]));
    assert_ptr_equal(arb_request_data(lines.requests[1]), &lines);
    assert_int_equal(lines_answer(&lines, "2", ARB_GO_ON), -EPIPE);
    assert_int_equal(lines_answer(&lines, "3", ARB_CLOSE), -EPIPE);
    expect_told("");
}

/* Nobody waits any more, so nobody needs to hear so. */
static void arb_request__ended_before_it_hears_that_nobody_waits__not_told(void **state UNUSED)
{
    const int fd = rig_connect(&rig);
    struct arb_conn *c = only_conn();

    rig_send_text(&rig, fd, "r\n");
    conn_close(c, CONN_END_RESET);
    assert_int_equal(lines_answer(&lines, "1", ARB_GO_ON), -EPIPE);
    expect_told("open:accepted close:reset");
    close(fd);
}

static void arb_request__end_of_input__stays_until_all_is_given(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    rig_send_text(&rig, fd, "r\nr\n=a\n");
    shutdown(fd, SHUT_WR);
    expect_told("open:accepted end");
    rig_pass(&rig, 15000);
    assert_int_equal(lines_answer(&lines, "1", ARB_GO_ON), 0);
    rig_expect_text(&rig, fd, "a1");
    rig_expect_nothing(&rig, fd);
    assert_int_equal(lines_answer(&lines, "2", ARB_GO_ON), 0);
    rig_expect_text(&rig, fd, "2");
    rig_expect_eof(&rig, fd);
    expect_told("close:peer");
    rig_expect_closed(&rig, &rig.counters.closed_peer, 1);
    close(fd);
}

static void arb_request__end_of_input_behind_the_wait__rest_is_answered(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    lines.answers_rest = true;
    rig_send_text(&rig, fd, "w\n=b\nw\n=c\nw");
    shutdown(fd, SHUT_WR);
    for (unsigned i = 0; i < 2; i++) {
        rig_expect_nothing(&rig, fd);
        assert_int_equal(lines_answer(&lines, "a", ARB_GO_ON), 0);
        rig_expect_text(&rig, fd, i == 0 ? "ab" : "ac");
    }
    rig_run(&rig); /* the last line has no end but the input's */
    assert_int_equal(lines.n_requests, 3);
    assert_int_equal(lines_answer(&lines, "d", ARB_GO_ON), 0);
    rig_expect_text(&rig, fd, "d");
    rig_expect_eof(&rig, fd);
    expect_told("open:accepted end end close:peer");
    close(fd);
}

static void arb_request__close_behind_it__given_first(void **state UNUSED)
{
    const char *const how[] = {"r\nq\nlost\n", "r\nx\nlost\n", "r\nc\nlost\n"};

    for (size_t i = 0; i < ARRAY_SIZE(how); i++) {
        const int fd = rig_connect(&rig);

        rig_send_text(&rig, fd, how[i]);
        lines_told(&lines);
        if (how[i][2] == 'c')
            rig_expect_text(&rig, fd, "?");
        rig_expect_nothing(&rig, fd);
        assert_int_equal(lines_answer(&lines, "1", ARB_GO_ON), 0);
        rig_expect_text(&rig, fd, "1");
        rig_expect_eof(&rig, fd);
        expect_told(how[i][2] == 'x' ? "close:refused" : "close:closed");
        close(fd);
    }
}

static void arb_request_end__says_close__ends_after_the_others(void **state UNUSED)
{
    const int fd = rig_connect(&rig);

    rig_send_text(&rig, fd, "r\nr\n");
    assert_int_equal(lines_answer(&lines, "1", ARB_REFUSE), 0);
    rig_expect_text(&rig, fd, "1");
    rig_send_text(&rig, fd, "=not looked at\n");
    rig_expect_nothing(&rig, fd);
    assert_int_equal(lines_answer(&lines, "2", ARB_CLOSE), 0);
    rig_expect_text(&rig, fd, "2");
    rig_expect_eof(&rig, fd);
    expect_told("open:accepted close:refused");
    close(fd);
}

static void arb_request__too_much_unsent__goes_on_when_it_is_read(void **state UNUSED)
{
    enum { LEN = 400000 };
    const int fd = rig_connect(&rig);
    char *text = malloc(LEN);

    memset(text, 'm', LEN);
    rig_send_text(&rig, fd, "w\n=b\n");
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(arb_request_reply(lines.requests[0], text, LEN), 0);
    assert_int_equal(lines_answer(&lines, "1", ARB_GO_ON), 0);
    rig_run(&rig);
    assert_int_equal(lines.n_calls, 1);
    for (unsigned i = 0; i < 3; i++)
        rig_expect(&rig, fd, text, LEN);
    rig_expect_text(&rig, fd, "1b");
    expect_told("open:accepted writable");
    free(text);
    close(fd);
}

/* --- drains ----------------------------------------------------------------------------------- */

static void conn_set_drain__while_owed__given_then_goodbye(void **state UNUSED)
{
    const int fd = rig_connect(&rig), waits = rig_connect(&rig);

    lines.says_goodbye = true;
    rig_send_text(&rig, fd, "r\n");
    rig_send_text(&rig, waits, "w\n=b\n=c\n");
    conn_set_drain(&rig.set);
    expect_told("open:accepted open:accepted");
    assert_int_equal(rig.set.n_owing, 2);
    assert_int_equal(lines_answer(&lines, "1", ARB_GO_ON), 0);
    assert_int_equal(lines_answer(&lines, "2", ARB_GO_ON), 0);
    rig_expect_text(&rig, fd, "1bye");
    rig_expect_eof(&rig, fd);
    rig_expect_text(&rig, waits, "2bcbye");
    rig_expect_eof(&rig, waits);
    expect_told("drain drain close:drained close:drained");
    close(fd);
    close(waits);
}

static unsigned n_answered;

static bool keep(struct conn_set *set UNUSED, struct arb_conn *c UNUSED)
{
    n_answered++;
    return true;
}

static void
conn_set_drain__answered_and_held_for_a_move__untouched_until_drained_again(void **state UNUSED)
{
    const int fd = rig_connect(&rig);
    struct arb_conn *c = only_conn();
    struct moved_record r;
    uint8_t bytes[64];

    n_answered = 0;
    rig.set.on_answered = keep;
    rig_send_text(&rig, fd, "w\n=b\n");
    conn_set_drain(&rig.set);
    assert_int_equal(lines_answer(&lines, "1", ARB_GO_ON), 0);
    rig_expect_text(&rig, fd, "1");
    rig_send_text(&rig, fd, "=c\n");
    rig_expect_nothing(&rig, fd);
    assert_int_equal(n_answered, 1);
    assert_true(conn_is_movable(c));
    assert_int_equal(conn_export(c, bytes, sizeof(bytes), &r), 0);
    assert_int_equal(r.tail_len, 3);
    assert_int_not_equal(r.fingerprint, rig.set.protocols[0].fingerprint); /* to be looked at */
    conn_set_drain(&rig.set);
    rig_expect_text(&rig, fd, "b");
    rig_expect_eof(&rig, fd);
    expect_told("open:accepted drain close:drained");
    close(fd);
}

static void conn_set_cut__while_owed__counted_apart(void **state UNUSED)
{
    const int fd = rig_connect(&rig), other = rig_connect(&rig);

    rig_send_text(&rig, fd, "r\nr\n");
    conn_set_cut(&rig.set);
    assert_int_equal(counter_get(&rig.counters.closed_owing), 1);
    assert_int_equal(counter_get(&rig.counters.closed_cut), 1);
    assert_int_equal(rig.set.n_owing, 0);
    assert_string_equal(lines_told(&lines),
                        "open:accepted open:accepted gone gone close:cut close:cut");
    assert_int_equal(lines_answer(&lines, "1", ARB_GO_ON), -EPIPE);
    /* The second is never ended: the set frees it. */
    close(fd);
    close(other);
}

/* --- of a protocol without state -------------------------------------------------------------- */

static struct arb_request *plain_request;

static void plain_on_data(void *server UNUSED, struct arb_conn *conn, const struct arb_input *in,
                          struct arb_output *out)
{
    if (in->len > 0)
        plain_request = arb_request_new(conn, NULL, NULL);
    out->consumed = in->len;
    out->next = ARB_WAIT;
}

static void arb_request__protocol_with_nothing_but_on_data__as_well(void **state UNUSED)
{
    static const struct arb_protocol plain =
        ARB_PROTOCOL(.name = "plain", .on_data = plain_on_data);

    rig_use_protocol(&rig, &plain, NULL);
    for (unsigned i = 0; i < 12; i++) {
        const int fd = rig_connect(&rig);

        rig_send_text(&rig, fd, "x");
        rig_expect_nothing(&rig, fd);
        assert_int_equal(arb_request_reply(plain_request, "1", 1), 0);
        if (i % 2 == 0)
            close(fd);
        arb_request_end(plain_request, i % 3 == 0 ? ARB_CLOSE : ARB_GO_ON);
        if (i % 2 == 1)
            close(fd);
        rig_run(&rig);
        assert_int_equal(rig.set.n_open, 0);
    }
}

/* --- any split of the input ------------------------------------------------------------------- */

enum { SCRIPTS = 12, SPLITS = 8, SCRIPT_MAX = 4000 };

static unsigned rng = 1;

static unsigned below(unsigned n)
{
    rng = rng * 1664525u + 1013904223u;
    return (unsigned)((uint64_t)(rng >> 8) * n >> 24);
}

/* What the lines of @script are answered with, however they come: a reply that is owed is "<N>". */
static size_t compose(char *script, char *expected)
{
    const unsigned n = 1 + below(60);
    size_t len = 0, out = 0;
    unsigned owed = 0;

    for (unsigned i = 0; i < n; i++) {
        const unsigned what = below(4);

        if (what == 0) {
            len += (size_t)sprintf(script + len, "w\n");
            out += (size_t)sprintf(expected + out, "<%u>", owed++);
        } else if (what == 1) {
            len += (size_t)sprintf(script + len, "W\n");
            out += (size_t)sprintf(expected + out, "now;");
            owed++;
        } else {
            len += (size_t)sprintf(script + len, "=%u,\n", rng);
            out += (size_t)sprintf(expected + out, "%u,", rng);
        }
    }
    return len;
}

static void answer_some(void)
{
    char text[16];

    if (lines.n_ended == lines.n_requests || below(2) == 0)
        return;
    snprintf(text, sizeof(text), "<%u>", lines.n_ended);
    assert_int_equal(lines_answer(&lines, text, ARB_GO_ON), 0);
}

static void play(const char *script, size_t len, const char *expected)
{
    const int fd = rig_connect(&rig);
    const unsigned longest = 1 + below(40);

    memset(lines.requests, 0, sizeof(lines.requests));
    lines.n_requests = lines.n_ended = 0;
    for (size_t at = 0; at < len;) {
        const size_t n = MIN(len - at, (size_t)1 + below(longest));

        assert_int_equal(send(fd, script + at, n, MSG_NOSIGNAL), n);
        at += n;
        rig_run(&rig);
        answer_some();
    }
    shutdown(fd, SHUT_WR);
    for (unsigned i = 0; i < 1000 && rig.set.n_open > 0; i++) {
        answer_some();
        rig_run(&rig);
    }
    rig_expect_text(&rig, fd, expected);
    rig_expect_eof(&rig, fd);
    close(fd);
    rig_run(&rig);
    lines_told(&lines);
}

static void conn__any_split_and_any_time_of_late_replies__same_replies(void **state UNUSED)
{
    static char script[SCRIPT_MAX], expected[SCRIPT_MAX];

    for (unsigned i = 0; i < SCRIPTS; i++) {
        const size_t len = compose(script, expected);

        for (unsigned k = 0; k < SPLITS; k++)
            play(script, len, expected);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(arb_request__waited_for__nothing_is_read_until_it_has_ended),
        TEST(arb_request__not_waited_for__what_is_replied_first_is_sent_first),
        TEST(sample__many_reads__few_times_for_all_messages),
        TEST(sample__message_in_pieces__from_its_last_byte),
        TEST(sample__late_reply__counted_when_it_has_ended),
        TEST(sample__connection_gone_before_the_reply__counted_nowhere),
        TEST(sample__request_ended_inside_on_data__counted_at_once),
        TEST(arb_request__ended_inside_on_data__the_rest_is_looked_at),
        TEST(arb_request__while_owed__busy_and_not_timed_out),
        TEST(arb_request__waited_for_with_half_a_line_behind__not_timed_out),
        TEST(arb_request__peer_is_gone__heard_once_and_still_to_be_ended),
        TEST(arb_request__ended_before_it_hears_that_nobody_waits__not_told),
        TEST(arb_request__end_of_input__stays_until_all_is_given),
        TEST(arb_request__end_of_input_behind_the_wait__rest_is_answered),
        TEST(arb_request__close_behind_it__given_first),
        TEST(arb_request_end__says_close__ends_after_the_others),
        TEST(arb_request__too_much_unsent__goes_on_when_it_is_read),
        TEST(conn_set_drain__while_owed__given_then_goodbye),
        TEST(conn_set_drain__answered_and_held_for_a_move__untouched_until_drained_again),
        TEST(conn_set_cut__while_owed__counted_apart),
        TEST(arb_request__protocol_with_nothing_but_on_data__as_well),
        TEST(conn__any_split_and_any_time_of_late_replies__same_replies),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
