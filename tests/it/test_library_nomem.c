/*
 * The library without memory: every allocation that it makes fails once. Nothing may crash, hang or
 * leak; each call ends once, with ARB_OK or ARB_NOMEM, and afterwards all is well.
 * Its own malloc, calloc and realloc are wrapped by the linker.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "base/util.h"
#include "conformance/must.h"
#include "support/rig.h"

static _Thread_local long countdown = -1; /* allocations until one fails; < 0 = none does */
static unsigned n_failed;

static bool fails(void)
{
    if (countdown < 0 || countdown-- > 0)
        return false;
    n_failed++;
    return true;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t size);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
    return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t size)
{
    return fails() ? NULL : __real_realloc(p, size);
}

static bool is_ok(int status)
{
    MUST(status == ARB_OK || status == ARB_NOMEM, "%s", arb_strerror(status));
    return status == ARB_OK;
}

static unsigned n_ended, n_events;

static void on_done(struct arb_call *call, int status, void *userdata)
{
    n_ended++;
    is_ok(status);
    assert_ptr_equal(userdata, &n_ended);
    if (arb_call_connection(call))
        arb_call_free(call);
}

static void on_event(const struct arb_event *event, void *userdata)
{
    (void)event;
    (*(unsigned *)userdata)++;
}

/* A little of everything. */
static void use(struct arb_client *client)
{
    struct arb_call_options o;
    struct arb_reply reply;
    struct arb_call *call = NULL;
    unsigned n_started = 0;

    n_ended = 0;
    is_ok(arb_client_bind(client, ARB_DATA_RECEIVED, on_event, &n_events));
    arb_call_options_init(&o);
    for (int i = 0; i < 7; i++)
        n_started += is_ok(arb_call_start(client, "message", 7, &o, on_done, &n_ended, NULL));
    if (is_ok(arb_echo(client, "Hello!", 6, &reply)))
        arb_reply_free(&reply);
    if (is_ok(arb_echo_full(client, "full", 4, NULL, &call)))
        arb_call_free(call);
    if (is_ok(arb_connect(client, NULL, &call)))
        arb_call_drop(call);
    assert_int_equal(arb_client_wait(client, -1), ARB_OK);
    assert_int_equal(n_ended, n_started);
    assert_int_equal(rig_counters(client).in_use, 0);
    assert_int_equal(rig_counters(client).connecting, 0);
    assert_int_equal(rig_counters(client).waiting, 0);
    arb_client_unbind(client, ARB_DATA_RECEIVED, on_event, &n_events);
}

static void every_allocation_fails(struct faulty *server, struct ev_loop *loop, unsigned pipeline)
{
    struct arb_client_options o;
    long n = 0;

    arb_client_options_init(&o);
    o.loop = loop;
    o.pipeline = pipeline;
    for (bool has_failed = true; has_failed; n++) {
        unsigned before = n_failed;
        struct arb_client *client = NULL;
        struct arb_reply reply;

        countdown = n;
        if (is_ok(arb_client_new(faulty_addr(server), &o, &client)))
            use(client);
        has_failed = n_failed > before;
        countdown = -1;
        if (client) {
            assert_int_equal(arb_echo(client, "well?", 5, &reply), ARB_OK);
            arb_reply_free(&reply);
        }
        arb_client_free(client);
    }
    printf("# %ld allocations\n", n - 1);
    assert_true(n > 20);
}

static void client__each_allocation_fails_once__typed_error_and_nothing_lost(void **state UNUSED)
{
    struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
    struct faulty *server = faulty_start(NULL);

    every_allocation_fails(server, NULL, 1);
    every_allocation_fails(server, loop, 1);
    every_allocation_fails(server, loop, 3);
    ev_loop_destroy(loop);
    faulty_stop(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(client__each_allocation_fails_once__typed_error_and_nothing_lost),
    };

    return cmocka_run_group_tests_name(__FILE__, tests, NULL, NULL);
}
