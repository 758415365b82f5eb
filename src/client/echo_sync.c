/*
 * Calls that block: started like the others and driven to their end with poll, whether the client
 * has a loop or not.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/util.h"
#include "client/internal.h"

/* The caller owns @call; the client may be gone afterwards. Returns how it ended, or -errno. */
static int wait_for(struct arb_client *client, struct arb_call *call)
{
    while (!call->is_answered) {
        int rc = reactor_run(&client->reactor, DEADLINE_NEVER);

        if (rc == 0 || rc == -ENODEV)
            continue;
        /* Without poll there is no waiting: the turn that ends the call needs none. */
        client_enter(client);
        call->wants_cancel = true;
        list_remove(&call->request);
        list_append(&client->requested, &call->request);
        client_leave(client);
        return rc;
    }
    return call->status;
}

static int run(struct arb_client *client, struct arb_call *call)
{
    call->is_kept = true;
    call_launch(call, true);
    return wait_for(client, call);
}

int arb_echo(struct arb_client *client, const void *message, size_t len,
             struct arb_reply *ret_reply)
{
    struct arb_call_options options;
    struct arb_call *call;
    int rc = client_check(client, true);

    arb_call_options_init(&options);
    options.full_response = 0;
    if (rc == 0)
        rc = call_prepare(client, message, len, &options, false, &call);
    if (rc)
        return rc;
    rc = run(client, call);
    if (rc) {
        call_unref(call);
        return rc;
    }
    /* From here on it belongs to no client: only its bytes are of interest. */
    list_remove(&call->all);
    *ret_reply = (struct arb_reply){.data = call->bytes, .len = len, .owner = call};
    return ARB_OK;
}

void arb_reply_free(struct arb_reply *reply)
{
    if (!reply)
        return;
    free(reply->owner);
    *reply = (struct arb_reply){0};
}

static int run_full(struct arb_client *client, const void *message, size_t len, bool is_connect,
                    const struct arb_call_options *options, struct arb_call **ret)
{
    struct arb_call *call;
    int rc = client_check(client, true);

    if (rc == 0)
        rc = call_prepare(client, message, len, options, is_connect, &call);
    if (rc)
        return rc;
    call->is_full = true;
    rc = run(client, call);
    if (rc)
        call_unref(call);
    else
        *ret = call;
    return rc;
}

int arb_echo_full(struct arb_client *client, const void *message, size_t len,
                  const struct arb_call_options *options, struct arb_call **ret)
{
    return run_full(client, message, len, false, options, ret);
}

int arb_connect(struct arb_client *client, const struct arb_call_options *options,
                struct arb_call **ret)
{
    return run_full(client, NULL, 0, true, options, ret);
}

int arb_call_wait(struct arb_call *call, int timeout_ms)
{
    struct arb_client *client = call->client;
    uint64_t until =
        timeout_ms < 0 ? DEADLINE_NEVER : clock_mono_ns() + (uint64_t)timeout_ms * 1000000;
    int rc = client ? client_check(client, true) : ARB_OK;

    call->refs++; /* its handler, or that of another call, may free it */
    while (rc == 0 && !call->is_answered) {
        rc = reactor_run(&client->reactor, until);
        if (rc == -ENODEV)
            rc = ARB_OK;
        else if (rc == 0 && !call->is_answered && clock_mono_ns() >= until)
            rc = ARB_TIMEOUT;
    }
    if (rc == 0)
        rc = call->status;
    call_unref(call);
    return rc;
}
