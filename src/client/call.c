/*
 * Calls: started -> queued -> assigned to a connection -> ended -> answered. Whatever a handler
 * asks for is only noted, and done at the end of the turn, when nothing else is on the stack.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"
#include "client/internal.h"

/* ---- one call's life ---- */

void call_unref(struct arb_call *call)
{
    if (--call->refs > 0)
        return;
    list_remove(&call->all);
    list_remove(&call->turn);
    list_remove(&call->request);
    free(call);
}

void call_end(struct arb_call *call, int status)
{
    struct arb_client *client = call->client;

    assert(call->state != STATE_ENDED);
    call->state = STATE_ENDED;
    call->status = status;
    if (call->connection)
        call->connection->n_held += status == ARB_OK && call->is_full;
    deadlines_unset(&client->reactor.deadlines, &call->deadline);
    list_remove(&call->turn);
    list_append(&client->ended, &call->turn);
}

static void on_leased(struct pool_waiter *waiter, struct pool_member *member, int status)
{
    struct arb_call *call = container_of(waiter, struct arb_call, waiter);

    if (status)
        call_end(call, status);
    else
        connection_assign(container_of(member, struct arb_connection, member), call);
}

void call_queue(struct arb_call *call)
{
    list_remove(&call->turn);
    call->state = STATE_QUEUED;
    pool_acquire(call->client->pool, &call->waiter);
}

static void abort_call(struct arb_call *call, int status)
{
    switch (call->state) {
    case STATE_STARTED:
        call_end(call, status);
        break;
    case STATE_QUEUED:
        pool_cancel(call->client->pool, &call->waiter, status);
        break;
    case STATE_ASSIGNED:
        connection_withdraw(call->connection, call, status);
        break;
    case STATE_ENDED:
        break;
    }
}

static void on_due(struct deadline *d)
{
    abort_call(container_of(d, struct arb_call, deadline), ARB_TIMEOUT);
}

/* Let go of the connection that an ended call holds. */
static void let_go(struct arb_call *call, bool is_drop)
{
    struct arb_connection *conn = call->connection;

    if (!conn)
        return;
    call->connection = NULL;
    conn->n_held--;
    if (conn->is_dead)
        return;
    if (is_drop)
        pool_retire(conn->client->pool, &conn->member);
    pool_release(conn->client->pool, &conn->member);
}

void call_do_requested(struct arb_call *call)
{
    list_remove(&call->request);
    if (call->wants_cancel)
        abort_call(call, ARB_CANCELLED);
    if (!call->wants_free || !call->is_answered)
        return;
    let_go(call, call->wants_drop);
    call_unref(call);
}

void call_answer(struct arb_call *call)
{
    struct arb_client *client = call->client;

    list_remove(&call->turn);
    client->n_calls--;
    if (call->on_done && !client->is_silent)
        call->on_done(call, call->status, call->userdata);
    call->is_answered = true;
    if (!call->is_kept) {
        call_unref(call);
    } else if (call->wants_free) {
        list_remove(&call->request);
        list_append(&client->requested, &call->request);
    }
}

/* ---- starting ---- */

void arb_call_options_init(struct arb_call_options *o)
{
    memset(o, -1, sizeof(*o));
}

int arb_message_check(const struct arb_client *client, const void *message, size_t len)
{
    if (len > client->rule.max_message)
        return ARB_TOO_LONG;
    return frame_is_one(&client->rule, message, len) ? ARB_OK : ARB_SEPARATOR;
}

static int call_new(struct arb_client *client, const void *message, size_t len,
                    struct arb_call **ret)
{
    const struct frame_rule *r = &client->rule;
    struct arb_call *call;
    int rc = arb_message_check(client, message, len);

    if (rc)
        return rc;
    call = malloc(sizeof(*call) + len + r->separator_len);
    if (!call)
        return ARB_NOMEM;
    *call = (struct arb_call){.client = client, .refs = 1, .len = len};
    call->total = len + r->separator_len;
    call->waiter.on_ready = on_leased;
    call->deadline.on_due = on_due;
    if (len > 0)
        memcpy(call->bytes, message, len);
    memcpy(call->bytes + len, r->separator, r->separator_len);
    list_init(&call->place);
    list_init(&call->turn);
    list_init(&call->request);
    *ret = call;
    return 0;
}

/* The options of the call, or where they say -1 those of the client. */
static int merge_options(const struct arb_client *client, const struct arb_call_options *options,
                         struct arb_call_options *ret)
{
    const struct arb_client_options *all = &client->options;

    arb_call_options_init(ret);
    if (options)
        *ret = *options;
    if (ret->timeout_ms == -1)
        ret->timeout_ms = all->timeout_ms;
    if (ret->retries == -1)
        ret->retries = (int)all->retries;
    if (ret->full_response == -1)
        ret->full_response = all->full_response;
    return ret->timeout_ms < 0 || ret->retries < 0 || ret->retries > ARB_RETRIES_MAX ||
                   (ret->full_response & ~1)
               ? ARB_INVALID
               : 0;
}

/* A new call, not yet under way. Returns as arb_call_start. */
static int call_prepare(struct arb_client *client, const void *message, size_t len,
                        const struct arb_call_options *options, bool is_connect,
                        struct arb_call **ret)
{
    struct arb_call_options merged;
    int rc = merge_options(client, options, &merged);

    /* In a raw echo no bytes would have no echo. */
    if (rc == 0 && !is_connect && (len > 0 ? !message : client->rule.separator_len == 0))
        rc = ARB_INVALID;
    if (rc == 0 && client->is_closing)
        rc = ARB_POOL_CLOSED;
    if (rc == 0 && client->n_calls >= client->options.max_calls)
        rc = ARB_QUEUE_FULL;
    if (rc == 0)
        rc = call_new(client, message, len, ret);
    if (rc)
        return rc;
    (*ret)->max_retries = (unsigned)merged.retries;
    (*ret)->is_connect = is_connect;
    (*ret)->is_full = (*ret)->is_kept = is_connect || merged.full_response;
    list_append(&client->calls, &(*ret)->all);
    deadlines_set(&client->reactor.deadlines, &(*ret)->deadline,
                  deadline_after_ms((uint64_t)merged.timeout_ms));
    return 0;
}

static void call_discard(struct arb_call *call)
{
    deadlines_unset(&call->client->reactor.deadlines, &call->deadline);
    call_unref(call);
}

/* Off it goes: with the end of the turn, which is now unless we are in a handler, or nobody drives
 * the client yet. */
static void call_launch(struct arb_call *call, bool is_driven)
{
    struct arb_client *client = call->client;

    client->n_calls++;
    list_append(&client->started, &call->turn);
    if (!is_driven) {
        reactor_kick(&client->reactor);
        return;
    }
    client_enter(client);
    client_leave_quietly(client);
}

static int start(struct arb_client *client, const void *message, size_t len,
                 const struct arb_call_options *options, bool is_connect, arb_call_handler *on_done,
                 void *userdata, struct arb_call **ret_call)
{
    struct arb_call *call;
    int rc = client_check(client, false);

    if (rc == 0)
        rc = call_prepare(client, message, len, options, is_connect, &call);
    if (rc)
        return rc;
    if (call->is_full && !on_done) {
        call_discard(call);
        return ARB_INVALID;
    }
    call->on_done = on_done;
    call->userdata = userdata;
    /* Without a loop it waits for who drives the client: then all are sent together. */
    call_launch(call, client->reactor.loop != NULL);
    if (ret_call)
        *ret_call = call;
    return ARB_OK;
}

int arb_call_start(struct arb_client *client, const void *message, size_t len,
                   const struct arb_call_options *options, arb_call_handler *on_done,
                   void *userdata, struct arb_call **ret_call)
{
    return start(client, message, len, options, false, on_done, userdata, ret_call);
}

int arb_connect_start(struct arb_client *client, const struct arb_call_options *options,
                      arb_call_handler *on_done, void *userdata, struct arb_call **ret_call)
{
    return start(client, NULL, 0, options, true, on_done, userdata, ret_call);
}

/* ---- calls that block: driven with poll, whether the client has a loop or not ---- */

/* The caller owns @call; the client may be gone afterwards. Returns how it ended, or -errno. */
static int wait_for_end(struct arb_client *client, struct arb_call *call)
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

static int run_blocking(struct arb_client *client, struct arb_call *call)
{
    call->is_kept = true;
    call_launch(call, true);
    return wait_for_end(client, call);
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
    rc = run_blocking(client, call);
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
    rc = run_blocking(client, call);
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
