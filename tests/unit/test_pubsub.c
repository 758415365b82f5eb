/*
 * What examples/pubsub does beside what Redis does: late replies, credit, slow subscribers, limits
 * of its own, and what its workers know of each other. By the library of authors' tests.
 */
#include <arbiter/testing.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

extern const struct arb_protocol pubsub_protocol;

static struct arb_actor *worker_with(const char *const *settings)
{
    char why[256] = "";
    struct arb_actor *a = arb_test_worker(&pubsub_protocol, settings, why, sizeof(why));

    if (!a)
        fail_msg("%s", why);
    return a;
}

static struct arb_actor *worker(void)
{
    return worker_with(NULL);
}

static void stop(struct arb_actor *a)
{
    const char *broken = arb_test_stop(a);

    if (broken)
        fail_msg("%s", broken);
    arb_test_free(a);
}

static void say(struct arb_conn *c, const char *text)
{
    arb_test_feed(c, text, strlen(text));
}

static void must_read(struct arb_conn *c, const char *want)
{
    size_t len;

    assert_string_equal(arb_test_read(c, &len), want);
}

/* Everything that was sent by one of these since the last time, to each of them, as the arbiter
 * does. */
static void relay(struct arb_actor *const *workers, size_t n)
{
    static uint64_t number;
    static const struct arb_actor *known[8];
    static size_t done[8];

    for (size_t i = 0; i < n; i++) {
        struct arb_test_message sent;

        if (known[i] != workers[i]) {
            known[i] = workers[i];
            done[i] = 0;
        }
        while (arb_test_sent(workers[i], done[i], &sent)) {
            const struct arb_message m = {++number, arb_actor_id(workers[i]), sent.topic, sent.data,
                                          sent.len};

            done[i]++;
            for (size_t j = 0; j < n; j++)
                arb_test_deliver(workers[j], NULL, &m);
        }
    }
}

static void settle(struct arb_actor *const *workers, size_t n)
{
    for (int i = 0; i < 4; i++)
        relay(workers, n);
}

static void sleep__one_sleeps__others_are_answered(void **state)
{
    struct arb_actor *a = worker();
    struct arb_conn *c = arb_test_open(a), *d = arb_test_open(a);

    (void)state;
    say(c, "DEBUG SLEEP 5\r\nPING\r\n");
    say(d, "PING\r\n");
    must_read(d, "+PONG\r\n");
    arb_test_advance(a, 4999);
    must_read(c, "");
    arb_test_advance(a, 1);
    must_read(c, "+OK\r\n+PONG\r\n");
    say(c, "DEBUG SLEEP 5\r\n");
    arb_test_cut(c, ARB_END_RESET);
    stop(a);
}

static void exec__with_sleeps__one_reply_after_all_of_them(void **state)
{
    struct arb_actor *a = worker();
    struct arb_conn *c = arb_test_open(a);

    (void)state;
    say(c, "MULTI\r\nDEBUG SLEEP 1\r\nPING\r\nDEBUG SLEEP 2\r\nEXEC\r\nPING\r\n");
    must_read(c, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n");
    arb_test_advance(a, 2999);
    must_read(c, "");
    arb_test_advance(a, 1);
    must_read(c, "*3\r\n+OK\r\n+PONG\r\n+OK\r\n+PONG\r\n");
    stop(a);
}

static void publish__no_credit__parked_and_sent_in_order(void **state)
{
    struct arb_actor *a = worker();
    struct arb_conn *c = arb_test_open(a), *d = arb_test_open(a), *e = arb_test_open(a);
    struct arb_test_message sent;
    size_t before = 0;

    (void)state;
    while (arb_test_sent(a, before, &sent))
        before++;
    arb_test_credit(a, 0);
    say(c, "PUBLISH a 1\r\nPING\r\nPUBLISH a 2\r\n");
    say(d, "MULTI\r\nPING\r\nPUBLISH a 3\r\nPUBLISH a 4\r\nDEBUG SLEEP 1\r\nEXEC\r\nPING\r\n");
    say(e, "PUBLISH a 5\r\n");
    must_read(c, "");
    must_read(d, "+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n");
    assert_null(arb_test_move(c, a));
    arb_test_cut(e, ARB_END_RESET);
    arb_test_credit(a, 2);
    arb_test_credit(a, 100);
    must_read(c, ":0\r\n+PONG\r\n:0\r\n");
    must_read(d, "");
    arb_test_advance(a, 1000);
    must_read(d, "*4\r\n+PONG\r\n:0\r\n:0\r\n+OK\r\n+PONG\r\n");
    assert_true(arb_test_sent(a, before + 3, &sent));
    assert_false(arb_test_sent(a, before + 4, &sent));
    assert_int_equal(arb_test_counter(a, "published"), 4);
    assert_true(arb_test_counter(a, "parked") >= 3);
    stop(a);
}

static void workers__subscribe_publish_move__each_knows_the_numbers(void **state)
{
    struct arb_actor *w[3] = {worker(), worker(), worker()};
    struct arb_conn *a = arb_test_open(w[0]), *b = arb_test_open(w[1]), *c = arb_test_open(w[2]);

    (void)state;
    settle(w, 2); /* the third comes later, and has to ask */
    say(a, "SUBSCRIBE news\r\n");
    say(b, "SUBSCRIBE news\r\nPSUBSCRIBE n* x\r\n");
    settle(w, 2);
    settle(w, 3);
    must_read(a, "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1\r\n");
    arb_test_read(b, &(size_t){0});
    say(c, "PUBLISH news hello\r\nPUBSUB NUMSUB news x\r\nPUBSUB CHANNELS\r\n");
    must_read(c, ":3\r\n*4\r\n$4\r\nnews\r\n:2\r\n$1\r\nx\r\n:0\r\n*1\r\n$4\r\nnews\r\n");
    settle(w, 3);
    must_read(a, "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
    must_read(b, "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n"
                 "*4\r\n$8\r\npmessage\r\n$2\r\nn*\r\n$4\r\nnews\r\n$5\r\nhello\r\n");
    b = arb_test_move(b, w[0]);
    assert_non_null(b);
    settle(w, 3);
    say(c, "PUBLISH news again\r\n");
    must_read(c, ":3\r\n");
    settle(w, 3);
    say(b, "RESET\r\n");
    arb_test_cut(a, ARB_END_PEER);
    settle(w, 3);
    say(c, "PUBLISH news nobody\r\nPUBSUB CHANNELS\r\n");
    must_read(c, ":0\r\n*0\r\n");
    for (size_t i = 0; i < 3; i++)
        stop(w[i]);
}

static void subscriber__too_slow__ended_behind_what_it_has(void **state)
{
    static char text[49000];
    const char *const settings[] = {"max_unsent=64KiB", NULL};
    struct arb_actor *a = worker_with(settings);
    struct arb_conn *c = arb_test_open(a), *p = arb_test_open(a);
    size_t len, whole;
    enum arb_end why;

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    say(c, "SUBSCRIBE news\r\n");
    arb_test_stall(c, true);
    for (int i = 0; i < 3; i++) {
        say(p, "PUBLISH news ");
        say(p, text);
        say(p, "\r\n");
        settle(&a, 1);
    }
    assert_int_equal(arb_test_counter(a, "too_slow"), 1);
    assert_int_equal(arb_test_counter(a, "delivered"), 1);
    assert_non_null(strstr(arb_test_log(a), "does not keep up"));
    arb_test_stall(c, false);
    assert_false(arb_test_is_open(c, &why));
    assert_int_equal(why, ARB_END_CLOSED);
    whole = strlen(strrchr(arb_test_read(c, &len), '\n'));
    assert_int_equal(whole, 1); /* the last message is whole */
    stop(a);
}

static void limits__of_its_own__errors(void **state)
{
    const char *const settings[] = {"max_channels=2", "databases=3", "max_bulk=1KiB", NULL};
    struct arb_actor *a = worker_with(settings);
    struct arb_conn *c = arb_test_open(a);
    static char name[8200], command[9000];

    (void)state;
    say(c, "SELECT 2\r\nSELECT 3\r\n");
    must_read(c, "+OK\r\n-ERR DB index is out of range\r\n");
    say(c, "SUBSCRIBE a b c a\r\n");
    must_read(c,
              "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n*3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n"
              "-ERR a connection has at most 2 channels and patterns\r\n"
              "*3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:2\r\n");
    say(c, "RESET\r\n");
    must_read(c, "+RESET\r\n");
    memset(name, 'n', sizeof(name) - 1);
    snprintf(command, sizeof(command), "SUBSCRIBE %s\r\n", name);
    say(c, command);
    must_read(c, "-ERR the name of a channel has at most 8192 bytes\r\n");
    say(c, "*2\r\n$4\r\nECHO\r\n$1025\r\n");
    must_read(c, "-ERR Protocol error: invalid bulk length\r\n");
    assert_int_equal(arb_test_counter(a, "errors"), 4);
    stop(a);
}

static void multi__more_than_a_state_holds__refused_when_it_arises(void **state)
{
    struct arb_actor *a = worker(), *b = worker();
    struct arb_conn *c = arb_test_open(a);
    static char big[60000];
    size_t len;

    (void)state;
    memset(big, 'x', sizeof(big) - 1);
    say(c, "MULTI\r\n");
    for (int i = 0; i < 20; i++) {
        say(c, "ECHO ");
        say(c, big);
        say(c, "\r\n");
    }
    assert_non_null(strstr(arb_test_read(c, &len), "would need more than 1048576 bytes"));
    c = arb_test_move(c, b);
    assert_non_null(c);
    say(c, "EXEC\r\n");
    must_read(c, "-EXECABORT Transaction discarded because of previous errors.\r\n");
    stop(a);
    stop(b);
}

static void channels__command_of_operators__numbers(void **state)
{
    struct arb_actor *a = worker();
    struct arb_conn *c = arb_test_open(a), *d = arb_test_open(a);

    (void)state;
    say(c, "SUBSCRIBE a b\r\nPSUBSCRIBE *\r\n");
    say(d, "SUBSCRIBE a\r\n");
    assert_string_equal(arb_test_call(a, "channels", NULL),
                        "{\"channels\":2,\"patterns\":1,\"subscriptions\":4}");
    stop(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sleep__one_sleeps__others_are_answered),
        cmocka_unit_test(exec__with_sleeps__one_reply_after_all_of_them),
        cmocka_unit_test(publish__no_credit__parked_and_sent_in_order),
        cmocka_unit_test(workers__subscribe_publish_move__each_knows_the_numbers),
        cmocka_unit_test(subscriber__too_slow__ended_behind_what_it_has),
        cmocka_unit_test(limits__of_its_own__errors),
        cmocka_unit_test(multi__more_than_a_state_holds__refused_when_it_arises),
        cmocka_unit_test(channels__command_of_operators__numbers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
