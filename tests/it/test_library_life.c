/*
 * The life of clients: closing and freeing in the middle of everything, handlers that do what they
 * should and what they should not, and who may use a client: threads, and the child of a fork.
 */
#include <pthread.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/util.h"
#include "conformance/must.h"
#include "support/rig.h"

/* ---- the end of a client ---- */

static void client_close__calls_in_all_states__each_told_once(void **state UNUSED)
{
    struct rig r;
    struct arb_reply reply;

    rig_open(&r, 2, 1);
    faulty_hold(r.server, true);
    for (int i = 0; i < 6; i++)
        rig_start(&r, 0);
    rig_run_until_bytes(&r, 10);
    arb_client_close(r.client);
    arb_client_close(r.client);
    assert_int_equal(rig_in_use(&r), 0);
    assert_int_equal(rig_counters(r.client).available, 0);
    assert_int_equal(rig_counters(r.client).waiting, 0);
    rig_drive(&r);
    for (int i = 0; i < 6; i++)
        assert_int_equal(r.status[i], ARB_POOL_CLOSED);
    assert_int_equal(rig_try(&r, NULL), ARB_POOL_CLOSED);
    assert_int_equal(arb_echo(r.client, "x", 1, &reply), ARB_POOL_CLOSED);
    rig_close(&r);
}

static void close_client(struct rig *r, struct arb_call *call)
{
    (void)call;
    arb_client_close(r->client);
}

static void client_close__from_a_handler__each_told_once(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 2, 1);
    r.in_handler = close_client;
    for (int i = 0; i < 10; i++)
        rig_start(&r, 0);
    rig_drive(&r);
    assert_int_equal(r.status[9], ARB_POOL_CLOSED);
    rig_close(&r);
}

static void client_free__calls_in_all_states__each_told_once(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 2, 2);
    faulty_hold(r.server, true);
    for (int i = 0; i < 8; i++)
        rig_start(&r, 0);
    rig_run_until_bytes(&r, 20);
    arb_client_free(r.client);
    r.client = NULL;
    assert_int_equal(r.n_done, 8);
    for (int i = 0; i < 8; i++)
        assert_int_equal(r.status[i], ARB_CANCELLED);
    ev_run(r.loop, 0);
    rig_close(&r);
}

static void free_client(struct rig *r, struct arb_call *call)
{
    (void)call;
    arb_client_free(r->client);
    r->client = NULL;
    r->in_handler = NULL;
}

static void client_free__from_a_handler__each_told_once(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 2, 1);
    r.in_handler = free_client;
    for (int i = 0; i < 10; i++)
        rig_start(&r, 0);
    rig_drive(&r);
    assert_int_equal(r.status[9], ARB_CANCELLED);
    rig_close(&r);
}

static void client_free__from_a_handler_under_a_blocking_call__it_ends(void **state UNUSED)
{
    struct arb_reply reply;
    struct rig r;

    rig_open(&r, 1, 1);
    r.in_handler = free_client;
    rig_start(&r, 0);
    assert_int_equal(arb_echo(r.client, "second", 6, &reply), ARB_CANCELLED);
    rig_close(&r);
    rig_open(&r, 1, 1);
    r.in_handler = free_client;
    rig_start(&r, 0);
    assert_int_equal(arb_client_wait(r.client, -1), ARB_CANCELLED);
    rig_close(&r);
}

static void client_free__calls_handed_over__they_stay_valid(void **state UNUSED)
{
    struct arb_call *call = NULL, *lease = NULL;
    struct rig r;
    int fd;

    rig_open(&r, 2, 1);
    assert_int_equal(arb_echo_full(r.client, "mine", 4, NULL, &call), ARB_OK);
    assert_int_equal(arb_connect(r.client, NULL, &lease), ARB_OK);
    assert_int_equal(rig_in_use(&r), 2);
    arb_client_free(r.client);
    r.client = NULL;
    assert_null(arb_call_connection(call));
    assert_memory_equal(arb_call_reply(call, NULL), "mine", 4);
    assert_null(arb_call_reply(lease, NULL));
    assert_int_equal(arb_call_detach(call, &fd), ARB_CLOSED);
    arb_call_cancel(call);
    arb_call_free(call);
    arb_call_drop(lease);
    rig_close(&r);
}

/* ---- handlers ---- */

static void call_blocking(struct rig *r, struct arb_call *call)
{
    struct arb_reply reply;
    struct arb_call *other;

    (void)call;
    assert_int_equal(arb_echo(r->client, "x", 1, &reply), ARB_BUSY);
    assert_int_equal(arb_connect(r->client, NULL, &other), ARB_BUSY);
    assert_int_equal(arb_client_wait(r->client, 0), ARB_BUSY);
    if (r->n_started < 20)
        rig_start(r, 0);
}

static void handler__starts_the_next_and_tries_to_block__goes_on_and_busy(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 1);
    r.in_handler = call_blocking;
    rig_start(&r, 0);
    rig_drive(&r);
    assert_int_equal(r.n_done, 20);
    rig_close(&r);
}

static void client_wait__without_a_loop__drives_all(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 2, 1);
    faulty_hold(r.server, true);
    for (int i = 0; i < 5; i++)
        rig_start(&r, 0);
    assert_int_equal(arb_client_wait(r.client, 1), ARB_TIMEOUT);
    faulty_hold(r.server, false);
    assert_int_equal(arb_client_wait(r.client, -1), ARB_OK);
    assert_int_equal(r.n_done, 5);
    assert_int_equal(arb_client_wait(r.client, -1), ARB_OK);
    rig_close(&r);
}

static void echo__on_a_client_with_a_loop__others_go_on_meanwhile(void **state UNUSED)
{
    struct rig r;

    rig_open(&r, 1, 1);
    for (int i = 0; i < 3; i++)
        rig_start(&r, 0);
    rig_must_be_well(&r); /* behind them, as there is one connection */
    assert_int_equal(r.n_done, 3);
    rig_drive(&r);
    rig_close(&r);
}

/* Full responses on a loop: the handler's to free, in the handler or later. */
static void keep_or_free(struct rig *r, struct arb_call *call)
{
    if (arb_call_message(call, NULL) == NULL || r->n_done % 2)
        arb_call_free(call);
    else
        r->kept = call;
}

static void call_start__full_response__connection_held_until_freed(void **state UNUSED)
{
    struct arb_call_options o;
    struct rig r;

    rig_open(&r, 2, 1);
    arb_call_options_init(&o);
    o.full_response = 1;
    r.in_handler = keep_or_free;
    for (int i = 0; i < 2; i++)
        assert_int_equal(rig_try(&r, &o), ARB_OK);
    rig_drive(&r);
    assert_int_equal(rig_in_use(&r), 1);
    assert_non_null(arb_call_connection(r.kept));
    arb_call_free(r.kept);
    assert_int_equal(rig_in_use(&r), 0);
    assert_int_equal(rig_counters(r.client).available, 2);
    rig_close(&r);
}

static void call_free__still_under_way__cancelled_and_freed_after_its_handler(void **state UNUSED)
{
    struct arb_call_options o;
    struct rig r;

    rig_open(&r, 1, 1);
    arb_call_options_init(&o);
    o.full_response = 1;
    assert_int_equal(rig_try(&r, &o), ARB_OK);
    arb_call_free(r.calls[0]);
    rig_drive(&r);
    assert_int_equal(r.status[0], ARB_CANCELLED);
    rig_close(&r);
}

/* ---- who may use it ---- */

static void child_checks(struct rig *r)
{
    struct arb_client *mine;
    struct arb_reply reply;
    struct arb_call *call;

    if (arb_echo(r->client, "x", 1, &reply) != ARB_FORKED ||
        arb_connect(r->client, NULL, &call) != ARB_FORKED ||
        arb_call_start(r->client, "x", 1, NULL, NULL, NULL, NULL) != ARB_FORKED ||
        arb_client_wait(r->client, 0) != ARB_FORKED || arb_client_resolve(r->client) != ARB_FORKED)
        _exit(1);
    ev_loop_fork(r->loop);
    arb_client_close(r->client);
    arb_call_free(r->kept);
    arb_client_free(r->client);
    if (r->n_done > 1)
        _exit(2); /* the calls are the parent's */
    ev_loop_destroy(r->loop);
    if (arb_client_new(faulty_addr(r->server), NULL, &mine) != ARB_OK ||
        arb_echo(mine, "child", 5, &reply) != ARB_OK)
        _exit(3);
    arb_reply_free(&reply);
    arb_client_free(mine);
    _exit(0);
}

static void client__after_fork__the_child_needs_its_own(void **state UNUSED)
{
    struct rig r;
    pid_t pid;
    int status;

    rig_open(&r, 3, 1);
    assert_int_equal(arb_echo_full(r.client, "held", 4, NULL, &r.kept), ARB_OK);
    rig_start(&r, 0);
    rig_drive(&r);
    faulty_arm(r.server, FAULT_STALL, 2, 1); /* b waits, half of its reply is there */
    rig_start(&r, 0);
    MUST_COME((rig_turn(&r), faulty_messages(r.server)) == 3, "no message");
    faulty_arm(r.server, FAULT_NONE, 0, 0);
    pid = fork();
    if (pid == 0)
        child_checks(&r);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    /* What the child did is nothing to the parent's connections. */
    assert_int_equal(rig_in_use(&r), 2);
    rig_start(&r, 0);
    MUST_COME((rig_turn(&r), r.n_done) == 2, "no reply");
    assert_int_equal(r.status[2], ARB_OK);
    assert_int_equal(faulty_accepted(r.server), 4); /* three are ours: one of them is c's */
    arb_call_free(r.kept);
    arb_call_cancel(r.calls[1]);
    rig_drive(&r);
    rig_close(&r);
}

static void *run_thread(void *arg)
{
    struct arb_client_options o;
    struct arb_client *client;
    char text[32];
    long n_bad = 0;

    arb_client_options_init(&o);
    o.pool_size = 2;
    if (arb_client_new(arg, &o, &client) != ARB_OK)
        return (void *)1;
    for (int i = 0; i < 200; i++) {
        struct arb_reply reply = {0};
        int len = snprintf(text, sizeof(text), "%p %d", (void *)&o, i);

        n_bad += arb_echo(client, text, (size_t)len, &reply) != ARB_OK ||
                 memcmp(reply.data, text, (size_t)len) != 0;
        arb_reply_free(&reply);
    }
    arb_client_free(client);
    return (void *)n_bad;
}

static void client__one_a_thread__independent(void **state UNUSED)
{
    struct faulty *server = faulty_start(NULL);
    pthread_t threads[4];

    for (size_t i = 0; i < ARRAY_SIZE(threads); i++)
        assert_int_equal(
            pthread_create(&threads[i], NULL, run_thread, (void *)(uintptr_t)faulty_addr(server)),
            0);
    for (size_t i = 0; i < ARRAY_SIZE(threads); i++) {
        void *n_bad;

        pthread_join(threads[i], &n_bad);
        assert_null(n_bad);
    }
    assert_int_equal(faulty_messages(server), 200 * ARRAY_SIZE(threads));
    faulty_stop(server);
}

static void on_signal(int signo)
{
    (void)signo;
}

static void echo__broken_connections__no_signal_is_touched(void **state UNUSED)
{
    struct sigaction before = {.sa_handler = on_signal}, after;
    struct rig r;
    struct arb_reply reply;

    sigaction(SIGPIPE, &before, NULL);
    rig_open(&r, 1, 1);
    for (size_t i = 0; i < 10; i++) {
        faulty_arm(r.server, FAULT_RESET, i % 3, 1);
        assert_int_equal(arb_echo(r.client, "x", 1, &reply), ARB_RESET);
    }
    rig_close(&r);
    sigaction(SIGPIPE, NULL, &after);
    assert_ptr_equal(after.sa_handler, on_signal);
}

/* On a unix socket the very first write after the peer's close is a broken pipe. */
static void echo__peer_gone_while_sending__no_signal(void **state UNUSED)
{
    enum { SIZE = 4 << 20 };
    char path[100], *message = calloc(1, SIZE);
    struct arb_client *client = NULL;
    struct arb_reply reply;
    struct faulty *server;

    assert_non_null(message);
    snprintf(path, sizeof(path), "/tmp/test_library_life.%d", (int)getpid());
    server = faulty_start(path);
    signal(SIGPIPE, SIG_DFL); /* one would kill */
    assert_int_equal(arb_client_new(faulty_addr(server), NULL, &client), ARB_OK);
    for (size_t i = 0; i < 5; i++) {
        int status;

        faulty_arm(server, FAULT_EARLY_CLOSE, i, 1);
        status = arb_echo(client, message, SIZE, &reply);
        assert_true(status == ARB_CLOSED || status == ARB_RESET);
    }
    arb_client_free(client);
    faulty_stop(server);
    free(message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client_close__calls_in_all_states__each_told_once),
        cmocka_unit_test(client_close__from_a_handler__each_told_once),
        cmocka_unit_test(client_free__calls_in_all_states__each_told_once),
        cmocka_unit_test(client_free__from_a_handler__each_told_once),
        cmocka_unit_test(client_free__from_a_handler_under_a_blocking_call__it_ends),
        cmocka_unit_test(client_free__calls_handed_over__they_stay_valid),
        cmocka_unit_test(handler__starts_the_next_and_tries_to_block__goes_on_and_busy),
        cmocka_unit_test(client_wait__without_a_loop__drives_all),
        cmocka_unit_test(echo__on_a_client_with_a_loop__others_go_on_meanwhile),
        cmocka_unit_test(call_start__full_response__connection_held_until_freed),
        cmocka_unit_test(call_free__still_under_way__cancelled_and_freed_after_its_handler),
        cmocka_unit_test(client__after_fork__the_child_needs_its_own),
        cmocka_unit_test(client__one_a_thread__independent),
        cmocka_unit_test(echo__broken_connections__no_signal_is_touched),
        cmocka_unit_test(echo__peer_gone_while_sending__no_signal),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
