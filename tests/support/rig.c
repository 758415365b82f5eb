/*
 * The rig of the library's tests.
 */
#include "support/rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "conformance/must.h"

void rig_open(struct rig *r, unsigned pool_size, unsigned pipeline)
{
    struct arb_client_options o;

    memset(r, 0, sizeof(*r));
    arb_client_options_init(&o);
    o.pool_size = pool_size;
    o.pipeline = pipeline;
    o.loop = r->loop = ev_loop_new(EVFLAG_AUTO);
    r->server = faulty_start(NULL);
    assert_int_equal(arb_client_new(faulty_addr(r->server), &o, &r->client), ARB_OK);
}

void rig_close(struct rig *r)
{
    arb_client_free(r->client);
    assert_int_equal(r->n_done, r->n_started);
    ev_loop_destroy(r->loop);
    faulty_stop(r->server);
}

static void on_done(struct arb_call *call, int status, void *userdata)
{
    struct rig *r = userdata;
    size_t len;
    const char *message = arb_call_message(call, &len);

    assert_int_equal(len, 1);
    r->status[message[0] - 'a'] = status;
    r->order[r->n_done++] = message[0];
    assert_int_equal(arb_call_status(call), status);
    if (r->in_handler)
        r->in_handler(r, call);
}

/* The message is one letter, which names the call. */
int rig_try(struct rig *r, const struct arb_call_options *o)
{
    char name = (char)('a' + r->n_started);
    int rc;

    assert_true(r->n_started < RIG_CALLS_MAX);
    rc = arb_call_start(r->client, &name, 1, o, on_done, r, &r->calls[r->n_started]);

    if (rc == ARB_OK)
        r->n_started++;
    return rc;
}

void rig_start(struct rig *r, int timeout_ms)
{
    struct arb_call_options o;

    arb_call_options_init(&o);
    o.timeout_ms = timeout_ms;
    assert_int_equal(rig_try(r, &o), ARB_OK);
}

void rig_drive(struct rig *r)
{
    ev_run(r->loop, 0);
    assert_int_equal(r->n_done, r->n_started);
}

void rig_turn(struct rig *r)
{
    ev_run(r->loop, EVRUN_NOWAIT);
}

/* All that has been started has reached the server. */
void rig_run_until_bytes(struct rig *r, unsigned bytes)
{
    MUST_COME((rig_turn(r), faulty_bytes(r->server)) >= bytes, "the messages do not arrive");
}

unsigned rig_in_use(const struct rig *r)
{
    return rig_counters(r->client).in_use;
}

void rig_must_be_well(struct rig *r)
{
    struct arb_reply reply;

    r->in_handler = NULL;
    assert_int_equal(arb_echo(r->client, "well?", 5, &reply), ARB_OK);
    arb_reply_free(&reply);
    MUST(rig_in_use(r) == 0, "in use: %u", rig_in_use(r));
}
