/*
 * What a caller may ask: to start calls or wait for them, and then of a call of its own, and of the
 * connection that it holds.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/util.h"
#include "client/client_impl.h"

/* ---- starting ---- */

void arb_call_options_init(struct arb_call_options *o)
{
    memset(o, -1, sizeof(*o));
}

int arb_message_check(const struct arb_client *client, const void *message, size_t len)
{
    if (len > client->options.max_message)
        return ARB_TOO_LONG;
    if (client->options.protocol)
        return ARB_OK;
    return frame_is_one(&client->rule, message, len) ? ARB_OK : ARB_SEPARATOR;
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

    /* In a raw echo an empty message would have no echo to wait for. */
    if (rc == 0 && !is_connect &&
        (len > 0 ? !message : !client->options.protocol && client->rule.separator_len == 0))
        rc = ARB_INVALID;
    if (rc == 0 && client->is_closing)
        rc = ARB_POOL_CLOSED;
    if (rc == 0 && client->n_calls >= client->options.max_calls)
        rc = ARB_QUEUE_FULL;
    if (rc == 0)
        rc = arb_message_check(client, message, len);
    if (rc == 0)
        rc = call_new(client, message, len, ret);
    if (rc)
        return rc;
    (*ret)->max_retries = (unsigned)merged.retries;
    (*ret)->is_connect = is_connect;
    (*ret)->is_full = (*ret)->is_kept = is_connect || merged.full_response;
    client_add_call(client, *ret, merged.timeout_ms);
    return 0;
}

static void call_discard(struct arb_call *call)
{
    deadlines_unset(&call->client->reactor.deadlines, &call->deadline);
    call_unref(call);
}

/* The call is queued at the end of the turn: now, unless a handler is running or nobody drives the
 * client yet. */
static void call_launch(struct arb_call *call, bool is_driven)
{
    struct arb_client *client = call->client;

    client->n_calls++;
    list_append(&client->started, &call->turn);
    if (!is_driven) {
        reactor_kick(&client->reactor);
        return;
    }
    reactor_enter(&client->reactor);
    client_leave_quietly(client);
}

static int start(struct arb_client *client, const void *message, size_t len,
                 const struct arb_call_options *options, bool is_connect, arb_call_handler *on_done,
                 void *userdata, struct arb_call **ret_call)
{
    struct arb_call *call;
    int rc = reactor_check(&client->reactor, false);

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
    /* Without a loop the call waits until the client is driven; then all calls are sent together.
     */
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
        /* If waiting fails, the call is cancelled: the turn that ends it needs no waiting. */
        reactor_enter(&client->reactor);
        call->wants_cancel = true;
        list_remove(&call->request);
        list_append(&client->requested, &call->request);
        reactor_leave(&client->reactor);
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
    int rc = reactor_check(&client->reactor, true);

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
    /* The reply outlives the client: the call is no longer on its list. */
    if (call->reply) {
        *ret_reply =
            (struct arb_reply){.data = call->reply, .len = call->reply_len, .owner = call->reply};
        call->reply = NULL;
        call_unref(call);
        return ARB_OK;
    }
    events_fini(&call->events);
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
    int rc = reactor_check(&client->reactor, true);

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
    const uint64_t until = deadline_of_wait(timeout_ms);
    int rc = client ? reactor_check(&client->reactor, true) : ARB_OK;

    call->refs++; /* a handler may free the call */
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

/* ---- the call, and its connection ---- */

/* Done at the end of the turn. */
static void request(struct arb_call *call)
{
    struct arb_client *client = call->client;

    reactor_enter(&client->reactor);
    list_remove(&call->request);
    list_append(&client->requested, &call->request);
    client_leave_quietly(client);
}

void arb_call_cancel(struct arb_call *call)
{
    if (!call->client || reactor_check(&call->client->reactor, false) != 0)
        return;
    call->wants_cancel = true;
    request(call);
}

/* The client is gone, or it is that of the parent process: only memory is left. */
static void free_alone(struct arb_call *call)
{
    if (call->connection)
        call->connection->n_held--;
    call_unref(call);
}

static void free_call(struct arb_call *call, bool is_drop)
{
    if (!call)
        return;
    if (!call->client || reactor_check(&call->client->reactor, false) != 0) {
        free_alone(call);
        return;
    }
    call->is_kept = true;
    call->wants_free = call->wants_cancel = true;
    call->wants_drop = is_drop;
    request(call);
}

void arb_call_free(struct arb_call *call)
{
    free_call(call, false);
}

void arb_call_drop(struct arb_call *call)
{
    free_call(call, true);
}

int arb_call_detach(struct arb_call *call, int *ret_fd)
{
    struct arb_connection *conn = call->connection;

    if (call->state != STATE_ENDED)
        return ARB_BUSY;
    if (!conn || conn->is_dead)
        return ARB_CLOSED;
    if (reactor_check(&conn->client->reactor, false) != 0)
        return ARB_FORKED;
    if (conn->member.leases != 1 || !list_is_empty(&conn->calls))
        return ARB_BUSY;
    reactor_enter(&conn->client->reactor);
    reactor_unwatch(&conn->io);
    *ret_fd = conn->fd;
    conn->fd = -1;
    connection_lost(conn, ARB_OK);
    client_leave_quietly(conn->client);
    return ARB_OK;
}

const void *arb_call_message(const struct arb_call *call, size_t *ret_len)
{
    if (ret_len)
        *ret_len = call->len;
    return call->bytes;
}

/* Of an echo every received byte was compared with the message, so the message is the reply. */
const void *arb_call_reply(const struct arb_call *call, size_t *ret_len)
{
    if (call->state != STATE_ENDED || call->status != ARB_OK || call->is_connect) {
        if (ret_len)
            *ret_len = 0;
        return NULL;
    }
    if (ret_len)
        *ret_len = call->reply ? call->reply_len : call->len;
    return call->reply ? call->reply : call->bytes;
}

int arb_call_status(const struct arb_call *call)
{
    return call->state == STATE_ENDED ? call->status : ARB_BUSY;
}

unsigned arb_call_retries(const struct arb_call *call)
{
    return call->retries;
}

struct arb_connection *arb_call_connection(const struct arb_call *call)
{
    return call->connection;
}

unsigned long long arb_connection_session(const struct arb_connection *conn)
{
    return conn->session;
}

unsigned long long arb_connection_processed(const struct arb_connection *conn)
{
    return conn->processed;
}

int arb_connection_fd(const struct arb_connection *conn)
{
    return conn->fd;
}

const char *arb_connection_peer(const struct arb_connection *conn)
{
    return conn->peer;
}

/* A handler for a one-time event that has happened already is called at once, and not bound. */
int arb_connection_bind(struct arb_connection *conn, enum arb_event_kind kind,
                        arb_event_handler *handler, void *userdata)
{
    struct arb_event event = {.kind = kind, .client = conn->client, .connection = conn};

    if (!handler || !((kind == ARB_CONNECTION_MADE && conn->was_made) ||
                      (kind == ARB_CONNECTION_LOST && conn->is_dead)))
        return events_bind(&conn->events, kind, handler, userdata);
    if (kind == ARB_CONNECTION_LOST)
        event.status = conn->status;
    reactor_enter(&conn->client->reactor);
    handler(&event, userdata);
    client_leave_quietly(conn->client);
    return ARB_OK;
}

void arb_connection_unbind(struct arb_connection *conn, enum arb_event_kind kind,
                           arb_event_handler *handler, void *userdata)
{
    events_unbind(&conn->events, kind, handler, userdata);
}

/* The same for a call, which may have its connection or its end already. */
int arb_call_bind(struct arb_call *call, enum arb_event_kind kind, arb_event_handler *handler,
                  void *userdata)
{
    struct arb_event event = {.kind = kind, .client = call->client, .call = call};

    if (kind == ARB_CONNECTION_MADE || kind == ARB_CONNECTION_LOST || kind == ARB_FINISH)
        return ARB_INVALID;
    if (handler && kind == ARB_POST_REQUEST && call->state == STATE_ENDED) {
        event.status = call->status;
        handler(&event, userdata);
        return ARB_OK;
    }
    if (handler && kind == ARB_PRE_REQUEST && call->state == STATE_ASSIGNED) {
        event.connection = call->connection;
        handler(&event, userdata);
    }
    return events_bind(&call->events, kind, handler, userdata);
}

void arb_call_unbind(struct arb_call *call, enum arb_event_kind kind, arb_event_handler *handler,
                     void *userdata)
{
    events_unbind(&call->events, kind, handler, userdata);
}
