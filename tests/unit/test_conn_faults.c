/*
 * Connections and every answer that the system may give. Linked with --wrap, so that the calls come
 * through support/calls.c.
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
#include "actor/actor.h"
#include "base/util.h"
#include "support/calls.h"
#include "support/conn_rig.h"
#include "support/lines.h"

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

static void conn__short_writes__rest_follows_in_order(void **state UNUSED)
{
    const char *text = "one\r\n\r\ntwo\r\n\r\nthree\r\n\r\n";

    for (size_t bound = 1; bound < 25; bound++) {
        calls.on_write.n_left = 20;
        calls.on_write.at_most = bound;
        rig_send_text(&rig, calls.peer, text);
        rig_send_text(&rig, calls.peer, "x");
        rig_send_text(&rig, calls.peer, text);
        rig_expect_text(&rig, calls.peer, text);
        rig_expect_text(&rig, calls.peer, "x");
        rig_expect_text(&rig, calls.peer, text);
        assert_int_equal(rig.set.pool.used_bytes, 0);
    }
}

static void conn__write_would_block__waits_without_spinning(void **state UNUSED)
{
    static const int errors[] = {EAGAIN, EINTR};

    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        calls.on_write.error = errors[i];
        calls.on_write.n_left = 3;
        calls_count_from_here();
        rig_send_text(&rig, calls.peer, "message\r\n\r\n");
        rig_expect_text(&rig, calls.peer, "message\r\n\r\n");
        assert_int_equal(calls.n_writes, 4);
        assert_int_equal(calls.on_write.n_left, 0);
    }
    /* EV_WRITE is not armed any more. */
    calls_count_from_here();
    rig_run(&rig);
    assert_int_equal(calls.n_writes + calls.n_reads, 0);
}

static void conn__read_interrupted_or_not_ready__read_again(void **state UNUSED)
{
    static const int errors[] = {EAGAIN, EINTR};

    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        calls.on_read.error = errors[i];
        calls.on_read.n_left = 3;
        rig_send_text(&rig, calls.peer, "mess");
        rig_expect_nothing(&rig, calls.peer);
        calls.on_read.n_left = 3;
        rig_send_text(&rig, calls.peer, "age\r\n\r\n");
        rig_expect_text(&rig, calls.peer, "message\r\n\r\n");
        assert_int_equal(calls.on_read.n_left, 0);
    }
}

static void conn__reads_of_one_byte__same_echo(void **state UNUSED)
{
    const char *text = "one\r\n\r\n\r\n\r\n\r\n\r\nQUI\r\n\r\r\n\r\n";

    calls.on_read = (struct answer){.n_left = 1000, .at_most = 1};
    calls.on_write.at_most = 1;
    calls.on_write.n_left = 30;
    rig_send_text(&rig, calls.peer, text);
    rig_expect_text(&rig, calls.peer, text);
}

static void conn__socket_error__only_that_one_ends(void **state UNUSED)
{
    static const struct {
        int error;
        bool is_write;
        size_t counter;
    } rows[] = {
        {ECONNRESET, false, offsetof(struct counters, closed_reset)},
        {ETIMEDOUT, false, offsetof(struct counters, closed_error)},
        {EIO, false, offsetof(struct counters, closed_error)},
        {ECONNRESET, true, offsetof(struct counters, closed_reset)},
        {EPIPE, true, offsetof(struct counters, closed_reset)},
        {EHOSTUNREACH, true, offsetof(struct counters, closed_error)},
    };

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const counter_t *counter =
            (const counter_t *)((const char *)&rig.counters + rows[i].counter);
        const uint64_t before = counter_get(counter);

        calls.other_peer = rig_connect(&rig);
        rig_run(&rig);
        if (rows[i].is_write) {
            calls.on_write.error = rows[i].error;
            calls.on_write.n_left = 1;
        } else {
            calls.on_read.error = rows[i].error;
            calls.on_read.n_left = 1;
        }
        rig_send_text(&rig, calls.other_peer, "a\r\n\r\nb");
        assert_int_equal(counter_get(counter), before + 1);
        assert_int_equal(rig.set.n_closes, i + 1);
        assert_int_equal(rig.set.pool.used_bytes, 0);
        rig_send_text(&rig, calls.peer, "still\r\n\r\n");
        rig_expect_text(&rig, calls.peer, "still\r\n\r\n");
        close(calls.other_peer);
    }
}

static void conn__error_after_the_half_close__keeps_its_reason(void **state UNUSED)
{
    calls.other_peer = rig_connect(&rig);
    rig_send_text(&rig, calls.other_peer, "QUIT\r\n\r\n");
    rig_expect_text(&rig, calls.other_peer, "QUIT\r\n\r\n");
    calls.on_read.error = ECONNRESET;
    calls.on_read.n_left = 1;
    rig_send_text(&rig, calls.other_peer, "x");
    rig_expect_closed(&rig, &rig.counters.closed_quit, 1);
    close(calls.other_peer);
}

static void conn__error_before_what_is_owed_is_sent__counted_as_reset(void **state UNUSED)
{
    calls.other_peer = rig_connect(&rig);
    rig_run(&rig);
    calls.on_write.error = EAGAIN;
    calls.on_write.n_left = 1;
    assert_int_equal(send(calls.other_peer, "QUIT\r\n\r\n", 8, MSG_NOSIGNAL), 8);
    ev_run(rig.loop, EVRUN_NOWAIT);
    assert_int_equal(calls.n_writes > 0 && rig.set.n_closes == 0, 1);
    calls.on_write.error = EPIPE;
    calls.on_write.n_left = 1;
    rig_run(&rig);
    rig_expect_closed(&rig, &rig.counters.closed_reset, 1);
    close(calls.other_peer);
}

/* --- a protocol with state, without memory ---------------------------------------------------- */

static struct lines lines;
static struct arb_actor hold;

static unsigned count_words(const char *log, const char *word)
{
    unsigned n = 0;

    for (const char *p = log; (p = strstr(p, word)); p++)
        n++;
    return n;
}

static int connect_somehow(void)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    conn_set_add(&rig.set, pair[1], 0, ARB_ACCEPTED, false);
    return pair[0];
}

/* Owes, waits, pushes, holds a tail and unsent replies. */
static void converse(void)
{
    static char text[40000];
    const int one = connect_somehow(), two = connect_somehow();

    memset(text, 'x', sizeof(text));
    rig_offer(&rig, one, "=a\nr\nt100\nb\n=beginning", 23);
    rig_offer(&rig, two, "w\n=b\n", 6);
    for (unsigned i = 0; i < 12; i++) {
        arb_conn_each(&hold, lines_send_to, &(struct text){&lines, text, sizeof(text)});
        rig_run(&rig);
    }
    while (lines.n_ended < lines.n_requests)
        lines_answer(&lines, "late", ARB_GO_ON);
    rig_offer(&rig, one, "\nW\nk\n", 6);
    rig_run(&rig);
    close(one);
    close(two);
    rig_run(&rig);
}

static void conn__each_allocation_fails_once__pairs_hold_and_all_is_given_back(void **state UNUSED)
{
    const struct conn_limits limits = {.max_buffered = MIB};
    const struct conn_protocol p = {.table = &lines_protocol, .server = &lines, .actor = &hold};
    bool has_failed = true;

    for (unsigned n = 1; has_failed; n++) {
        close(calls.peer);
        calls.peer = -1;
        rig_fini(&rig);
        rig_init(&rig, &limits, 1000);
        conn_set_serve(&rig.set, &p, 1);
        lines = (struct lines){.actor = &hold};
        hold.conns = &rig.set;
        calls.fail_allocation = n;
        converse();
        has_failed = calls.fail_allocation == 0;
        calls.fail_allocation = 0;
        conn_set_cut(&rig.set);
        while (lines.n_ended < lines.n_requests)
            lines_answer(&lines, "", ARB_GO_ON);
        assert_int_equal(count_words(lines.log, "open:"), count_words(lines.log, "close:"));
        assert_int_equal(rig.set.n_owing, 0);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(conn__short_writes__rest_follows_in_order),
        TEST(conn__write_would_block__waits_without_spinning),
        TEST(conn__read_interrupted_or_not_ready__read_again),
        TEST(conn__reads_of_one_byte__same_echo),
        TEST(conn__socket_error__only_that_one_ends),
        TEST(conn__error_after_the_half_close__keeps_its_reason),
        TEST(conn__error_before_what_is_owed_is_sent__counted_as_reset),
        TEST(conn__each_allocation_fails_once__pairs_hold_and_all_is_given_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
