/*
 * The life of calls: deadlines, queues, limits, cancelling.
 */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/util.h"
#include "conformance/must.h"
#include "support/rig.h"

/* ---- deadlines ---- */

static void call__deadline_in_the_queue__timeout_and_the_others_served(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 1);
    faulty_hold(r.server, true);
    rig_start(&r, 0);
    rig_start(&r, RIG_HASTY_MS);
    rig_start(&r, 0);
    MUST_COME((rig_turn(&r), r.n_done) == 1, "no timeout");
    assert_int_equal(r.status[1], ARB_TIMEOUT);
    faulty_hold(r.server, false);
    rig_drive(&r);
    assert_string_equal(r.order, "bac");
    assert_int_equal(r.status[0], ARB_OK);
    assert_int_equal(r.status[2], ARB_OK);
    assert_int_equal(faulty_accepted(r.server), 1);
    rig_close(&r);
}

static void call__deadline_while_receiving__connection_not_reused(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 1);
    faulty_arm(r.server, FAULT_STALL, 2, 1);
    rig_start(&r, RIG_HASTY_MS);
    rig_start(&r, 0); /* waits for the same connection */
    rig_drive(&r);
    assert_int_equal(r.status[0], ARB_TIMEOUT);
    assert_int_equal(r.status[1], ARB_OK);
    assert_int_equal(faulty_accepted(r.server), 2);
    rig_close(&r);
}

/* Connections complete in its queue, and nobody reads what comes. */
static int deaf_listener(char *addr, size_t size)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(sa);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&sa, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&sa, &len), 0);
    assert_int_equal(listen(fd, 8), 0);
    snprintf(addr, size, "127.0.0.1:%u", ntohs(sa.sin_port));
    return fd;
}

static void echo__deadline_while_sending__timeout(void **state UNUSED)
{
    enum { SIZE = 16 << 20 };
    char *message = calloc(1, SIZE), addr[64];
    int fd = deaf_listener(addr, sizeof(addr));
    struct arb_call_options o;
    struct arb_client *client;
    struct arb_call *call = NULL;

    assert_non_null(message);
    assert_int_equal(arb_client_new(addr, NULL, &client), ARB_OK);
    assert_int_equal(arb_connect(client, NULL, &call), ARB_OK);
    arb_call_free(call);
    arb_call_options_init(&o);
    o.timeout_ms = 300; /* enough to begin with it, also on a slow machine */
    assert_int_equal(arb_echo_full(client, message, SIZE, &o, &call), ARB_TIMEOUT);
    assert_int_equal(rig_counters(client).sessions, 1);
    assert_int_equal(rig_counters(client).available, 0);
    arb_client_free(client);
    close(fd);
    free(message);
}

/* ---- order and limits ---- */

static void call__ten_over_one_connection__served_in_order(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 1);
    for (int i = 0; i < 10; i++)
        rig_start(&r, 0);
    rig_drive(&r);
    assert_string_equal(r.order, "abcdefghij");
    assert_int_equal(faulty_accepted(r.server), 1);
    rig_close(&r);
}

static void call__reply_comes_twice__who_waits_gets_another_connection(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 1);
    faulty_arm(r.server, FAULT_TWICE, 0, 1);
    for (int i = 0; i < 3; i++)
        rig_start(&r, 0);
    rig_drive(&r);
    for (int i = 0; i < 3; i++)
        assert_int_equal(r.status[i], ARB_OK);
    assert_int_equal(faulty_accepted(r.server), 2);
    rig_close(&r);
}

static void call_start__more_than_allowed__queue_full(void **state UNUSED)
{
    struct arb_client_options o;
    struct rig r;

    rig_open(&r, 1, 1);
    arb_client_free(r.client);
    arb_client_options_init(&o);
    o.loop = r.loop;
    o.max_calls = 3;
    assert_int_equal(arb_client_new(faulty_addr(r.server), &o, &r.client), ARB_OK);
    for (int i = 0; i < 3; i++)
        rig_start(&r, 0);
    assert_int_equal(arb_client_calls(r.client), 3);
    assert_int_equal(rig_try(&r, NULL), ARB_QUEUE_FULL);
    rig_drive(&r);
    rig_start(&r, 0);
    rig_drive(&r);
    rig_close(&r);
}

static void call_start__bad_options__invalid(void **state UNUSED)
{
    struct arb_call_options o;
    struct rig r;

    rig_open(&r, 1, 1);
    arb_call_options_init(&o);
    o.timeout_ms = -2;
    assert_int_equal(rig_try(&r, &o), ARB_INVALID);
    arb_call_options_init(&o);
    o.retries = ARB_RETRIES_MAX + 1;
    assert_int_equal(rig_try(&r, &o), ARB_INVALID);
    arb_call_options_init(&o);
    o.full_response = 1; /* and nobody to hand it over to */
    assert_int_equal(arb_call_start(r.client, "x", 1, &o, NULL, NULL, NULL), ARB_INVALID);
    /* Fire and forget is fine. */
    assert_int_equal(arb_call_start(r.client, "x", 1, NULL, NULL, NULL, NULL), ARB_OK);
    rig_drive(&r);
    assert_int_equal(faulty_messages(r.server), 1);
    rig_close(&r);
}

static void client_new__bad_options__invalid(void **state UNUSED)
{
    struct arb_client_options good, o;
    struct arb_client *client = NULL;

    arb_client_options_init(&good);
#define BAD(change)                                                                                \
    do {                                                                                           \
        o = good;                                                                                  \
        change;                                                                                    \
        assert_int_equal(arb_client_new("127.0.0.1:1", &o, &client), ARB_INVALID);                 \
    } while (0)
    BAD(o.pool_size = 0);
    BAD(o.pool_size = ARB_POOL_SIZE_MAX + 1);
    BAD(o.pipeline = 0);
    BAD(o.pipeline = ARB_PIPELINE_MAX + 1);
    BAD(o.max_calls = 0);
    BAD(o.retries = ARB_RETRIES_MAX + 1);
    BAD(o.timeout_ms = -1);
    BAD(o.full_response = 2);
    BAD(o.separator_len = ARB_SEPARATOR_MAX + 1);
    BAD(o.separator = NULL);
    BAD(o.max_message = SIZE_MAX);
#undef BAD
    assert_int_equal(arb_client_new(NULL, NULL, &client), ARB_INVALID);
    assert_int_equal(arb_client_new("nonsense", NULL, &client), ARB_BAD_ADDRESS);
    assert_int_equal(arb_client_new("", NULL, &client), ARB_BAD_ADDRESS);
    assert_int_equal(arb_client_new("127.0.0.1:0", NULL, &client), ARB_BAD_ADDRESS);
    assert_null(client);
    arb_client_free(NULL);
    arb_call_free(NULL);
    arb_reply_free(NULL);
}

/* ---- cancelling ---- */

static void call_cancel__in_the_queue__told_later_and_the_others_served(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 1);
    for (int i = 0; i < 3; i++)
        rig_start(&r, 0);
    arb_call_cancel(r.calls[1]);
    arb_call_cancel(r.calls[1]);
    assert_int_equal(r.n_done, 0); /* not from within */
    rig_drive(&r);
    assert_string_equal(r.order, "bac");
    assert_int_equal(r.status[1], ARB_CANCELLED);
    assert_int_equal(faulty_messages(r.server), 2);
    rig_close(&r);
}

static void call_cancel__while_connecting__nothing_sent(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 1);
    rig_start(&r, 0);
    assert_int_equal(rig_counters(r.client).connecting, 1);
    arb_call_cancel(r.calls[0]);
    assert_int_equal(rig_counters(r.client).connecting, 0);
    rig_drive(&r);
    assert_int_equal(r.status[0], ARB_CANCELLED);
    rig_must_be_well(&r);
    assert_int_equal(faulty_messages(r.server), 1);
    rig_close(&r);
}

static void call_cancel__reply_outstanding__connection_not_reused(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 1);
    faulty_hold(r.server, true);
    rig_start(&r, 0);
    rig_run_until_bytes(&r, 5);
    arb_call_cancel(r.calls[0]);
    assert_int_equal(rig_in_use(&r), 0);
    assert_int_equal(rig_counters(r.client).available, 0);
    rig_drive(&r);
    assert_int_equal(r.status[0], ARB_CANCELLED);
    faulty_hold(r.server, false);
    rig_must_be_well(&r);
    assert_int_equal(faulty_accepted(r.server), 2);
    rig_close(&r);
}

static void call_cancel__one_of_several_on_a_connection__the_others_get_theirs(void **state UNUSED)
{
    for (int victim = 0; victim < 5; victim++) {
        struct rig r;

        rig_open(&r, 1, 8);
        faulty_hold(r.server, true);
        for (int i = 0; i < 5; i++)
            rig_start(&r, 0);
        rig_run_until_bytes(&r, 25);
        arb_call_cancel(r.calls[victim]);
        rig_turn(&r);
        assert_int_equal(r.n_done, 1);
        assert_int_equal(rig_in_use(&r), 1); /* the others wait on it */
        rig_start(&r, 0); /* but nobody new comes to it */
        faulty_hold(r.server, false);
        rig_drive(&r);
        for (int i = 0; i < 6; i++)
            assert_int_equal(r.status[i], i == victim ? ARB_CANCELLED : ARB_OK);
        assert_int_equal(faulty_accepted(r.server), 2);
        rig_close(&r);
    }
}

static void cancel_all(struct rig *r, struct arb_call *call)
{
    (void)call;
    for (unsigned i = 0; i < r->n_started; i++)
        if (!strchr(r->order, (int)('a' + i)))
            arb_call_cancel(r->calls[i]);
}

static void call_cancel__from_a_handler__each_told_once(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 2, 2);
    r.in_handler = cancel_all;
    for (int i = 0; i < 20; i++)
        rig_start(&r, 0);
    rig_drive(&r);
    assert_int_equal(r.status[19], ARB_CANCELLED);
    rig_must_be_well(&r);
    rig_close(&r);
}

/* ---- waiting for one ---- */

static void wait_in_handler(struct rig *r, struct arb_call *call)
{
    (void)call;
    assert_int_equal(arb_call_wait(r->calls[2], -1), ARB_BUSY);
}

static void call_wait__one_of_three__the_others_go_on(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 1);
    faulty_hold(r.server, true);
    for (int i = 0; i < 3; i++)
        rig_start(&r, 0);
    assert_int_equal(arb_call_wait(r.calls[1], 20), ARB_TIMEOUT);
    assert_string_equal(r.order, "");
    r.in_handler = wait_in_handler;
    faulty_hold(r.server, false);
    assert_int_equal(arb_call_wait(r.calls[1], -1), ARB_OK);
    assert_memory_equal(r.order, "ab", 2);
    r.in_handler = NULL;
    rig_drive(&r);
    assert_string_equal(r.order, "abc");
    rig_close(&r);
}

static void free_client(struct rig *r, struct arb_call *call)
{
    (void)call;
    r->in_handler = NULL;
    arb_client_free(r->client);
    r->client = NULL;
}

static void call_wait__client_freed_in_a_handler__cancelled(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 1);
    rig_start(&r, 0);
    rig_start(&r, 0);
    r.in_handler = free_client;
    assert_int_equal(arb_call_wait(r.calls[1], -1), ARB_CANCELLED);
    assert_string_equal(r.order, "ab");
    rig_close(&r);
}

static void message_check__as_sending_would_say(void **state UNUSED)
{
    struct arb_client_options o;
    struct arb_client *client;

    arb_client_options_init(&o);
    o.max_message = 8;
    assert_int_equal(arb_client_new("127.0.0.1:1", &o, &client), ARB_OK);
    assert_int_equal(arb_message_check(client, "12345678", 8), ARB_OK);
    assert_int_equal(arb_message_check(client, "123456789", 9), ARB_TOO_LONG);
    assert_int_equal(arb_message_check(client, "a\r\n", 3), ARB_SEPARATOR);
    assert_int_equal(arb_message_check(client, NULL, 0), ARB_OK);
    arb_client_free(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(call__deadline_in_the_queue__timeout_and_the_others_served),
        cmocka_unit_test(call__deadline_while_receiving__connection_not_reused),
        cmocka_unit_test(echo__deadline_while_sending__timeout),
        cmocka_unit_test(call__ten_over_one_connection__served_in_order),
        cmocka_unit_test(call__reply_comes_twice__who_waits_gets_another_connection),
        cmocka_unit_test(call_start__more_than_allowed__queue_full),
        cmocka_unit_test(call_start__bad_options__invalid),
        cmocka_unit_test(client_new__bad_options__invalid),
        cmocka_unit_test(call_cancel__in_the_queue__told_later_and_the_others_served),
        cmocka_unit_test(call_cancel__while_connecting__nothing_sent),
        cmocka_unit_test(call_cancel__reply_outstanding__connection_not_reused),
        cmocka_unit_test(call_cancel__one_of_several_on_a_connection__the_others_get_theirs),
        cmocka_unit_test(call_cancel__from_a_handler__each_told_once),
        cmocka_unit_test(call_wait__one_of_three__the_others_go_on),
        cmocka_unit_test(call_wait__client_freed_in_a_handler__cancelled),
        cmocka_unit_test(message_check__as_sending_would_say),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
