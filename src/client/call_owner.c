/*
 * What the owner of a call may ask of it, and of the connection that it holds.
 */
#include <stdlib.h>

#include "base/util.h"
#include "client/internal.h"

/* Done at the end of the turn. */
static void request(struct arb_call *call)
{
    struct arb_client *client = call->client;

    client_enter(client);
    list_remove(&call->request);
    list_append(&client->requested, &call->request);
    client_leave_quietly(client);
}

void arb_call_cancel(struct arb_call *call)
{
    if (!call->client || client_check(call->client, false) != 0)
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
    if (!call->client || client_check(call->client, false) != 0) {
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
    if (client_check(conn->client, false) != 0)
        return ARB_FORKED;
    if (conn->member.leases != 1 || !list_is_empty(&conn->calls))
        return ARB_BUSY;
    client_enter(conn->client);
    reactor_unwatch(&conn->io);
    *ret_fd = conn->fd;
    conn->fd = -1;
    connection_lost(conn, ARB_OK);
    client_leave_quietly(conn->client);
    return ARB_OK;
}

static const void *bytes_of(const struct arb_call *call, size_t *ret_len)
{
    if (ret_len)
        *ret_len = call->len;
    return call->bytes;
}

const void *arb_call_message(const struct arb_call *call, size_t *ret_len)
{
    return bytes_of(call, ret_len);
}

/* Each byte that came was held against the message: they are the same. */
const void *arb_call_reply(const struct arb_call *call, size_t *ret_len)
{
    if (call->state != STATE_ENDED || call->status != ARB_OK || call->is_connect) {
        if (ret_len)
            *ret_len = 0;
        return NULL;
    }
    return bytes_of(call, ret_len);
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

/* Who comes too late to a one-time event hears of it at once, and only then. */
int arb_connection_bind(struct arb_connection *conn, enum arb_event_kind kind,
                        arb_event_handler *handler, void *userdata)
{
    struct arb_event event = {.kind = kind, .client = conn->client, .connection = conn};

    if (!handler || !((kind == ARB_CONNECTION_MADE && conn->was_made) ||
                      (kind == ARB_CONNECTION_LOST && conn->is_dead)))
        return events_bind(&conn->events, kind, handler, userdata);
    if (kind == ARB_CONNECTION_LOST)
        event.status = conn->status;
    client_enter(conn->client);
    handler(&event, userdata);
    client_leave_quietly(conn->client);
    return ARB_OK;
}

void arb_connection_unbind(struct arb_connection *conn, enum arb_event_kind kind,
                           arb_event_handler *handler, void *userdata)
{
    events_unbind(&conn->events, kind, handler, userdata);
}
