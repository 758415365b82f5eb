/*
 * The client: its options, its life and its turns. Whatever a handler asks for is only noted, and
 * done at the end of the turn, when nothing else is on the stack.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/util.h"
#include "client/client_impl.h"
#include "client/echo.h"

/* A bound that keeps the sum of a message and its separator from wrapping. */
static const size_t message_limit = SIZE_MAX / 4;

void arb_client_options_init(struct arb_client_options *o)
{
    *o = (struct arb_client_options){
        .pool_size = ARB_POOL_SIZE,
        .pipeline = 1,
        .max_calls = 65536,
        .timeout_ms = 30000,
        .separator = ECHO_SEPARATOR,
        .separator_len = ECHO_SEPARATOR_LEN,
        .max_message = (size_t)16 << 20,
        .max_reply = (size_t)64 << 20,
    };
}

static bool options_are_valid(const struct arb_client_options *o)
{
    return o->pool_size >= 1 && o->pool_size <= ARB_POOL_SIZE_MAX && o->pipeline >= 1 &&
           o->pipeline <= ARB_PIPELINE_MAX && o->max_calls >= 1 && o->retries <= ARB_RETRIES_MAX &&
           o->timeout_ms >= 0 && !(o->full_response & ~1) &&
           o->separator_len <= ARB_SEPARATOR_MAX && (o->separator || o->separator_len == 0) &&
           o->max_message <= message_limit && o->max_reply >= 1 && o->max_reply <= message_limit &&
           (!o->protocol || (o->protocol->size >= sizeof(*o->protocol) && o->protocol->encode &&
                             o->protocol->decode));
}

/* ---- calls: started -> queued -> assigned to a connection -> ended -> answered ---- */

static void on_leased(struct pool_waiter *waiter, struct pool_member *member, int status)
{
    struct arb_call *call = container_of(waiter, struct arb_call, waiter);

    if (status)
        call_end(call, status);
    else
        connection_assign(container_of(member, struct arb_connection, member), call);
}

static void call_queue(struct arb_call *call)
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

static void call_do_requested(struct arb_call *call)
{
    list_remove(&call->request);
    if (call->wants_cancel)
        abort_call(call, ARB_CANCELLED);
    if (!call->wants_free || !call->is_answered)
        return;
    let_go(call, call->wants_drop);
    call_unref(call);
}

static void call_answer(struct arb_call *call)
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

void client_add_call(struct arb_client *client, struct arb_call *call, int timeout_ms)
{
    call->waiter.on_ready = on_leased;
    call->deadline.on_due = on_due;
    list_append(&client->calls, &call->all);
    deadlines_set(&client->reactor.deadlines, &call->deadline,
                  deadline_after_ms((uint64_t)timeout_ms));
}

/* ---- turns ---- */

/* Once, when nothing is under way any more and nothing can begin. */
static void finish(struct arb_client *client)
{
    const struct arb_event event = {
        .kind = ARB_FINISH, .status = client->end_status, .client = client};

    if (client->has_finished || client->end_status == 0 || client->n_calls > 0)
        return;
    client->has_finished = true;
    if (!client->is_silent)
        events_fire(&client->events, &event);
}

static void close_pool(struct arb_client *client, int status)
{
    client->is_closing = true;
    client->end_status = status;
    pool_close(client->pool, status);
}

/* Does all noted work until none is left. The loop ends because each step uses up a call or a
 * retry. */
static void work(struct arb_client *client)
{
    struct list *l;

    if (client->is_closing && client->end_status == 0)
        close_pool(client, client->is_dying ? ARB_CANCELLED : ARB_POOL_CLOSED);
    for (;;) {
        if ((l = client->requested.next) != &client->requested)
            call_do_requested(container_of(l, struct arb_call, request));
        else if ((l = client->started.next) != &client->started)
            call_queue(container_of(l, struct arb_call, turn));
        else if ((l = list_pop(&client->dirty)) != NULL)
            connection_flush(container_of(l, struct arb_connection, link));
        else
            break;
    }
}

static void sweep(struct arb_client *client)
{
    struct list *pos, *tmp;

    list_for_each_safe (pos, tmp, &client->dead) {
        struct arb_connection *conn = container_of(pos, struct arb_connection, link);

        if (conn->n_held == 0)
            connection_free(conn);
    }
}

/* Only calls that ended before the first handler ran: calls that handlers start end in a later
 * turn. */
static void answer(struct arb_client *client)
{
    struct list batch;

    list_init(&batch);
    list_splice(&batch, &client->ended);
    while (!list_is_empty(&batch))
        call_answer(container_of(batch.next, struct arb_call, turn));
}

static void destroy(struct arb_client *client)
{
    struct list *l;

    close_pool(client, ARB_CANCELLED);
    while (!list_is_empty(&client->ended) || !list_is_empty(&client->requested)) {
        work(client);
        answer(client);
    }
    finish(client);
    while ((l = list_pop(&client->calls)) != NULL) {
        struct arb_call *call = container_of(l, struct arb_call, all);

        if (call->connection)
            call->connection->n_held--;
        call->connection = NULL;
        call->client = NULL;
    }
    sweep(client);
    pool_free(client->pool);
    events_fini(&client->events);
    reactor_fini(&client->reactor);
    free(client->read_buffer);
    free(client->address_text);
    free(client);
}

static bool on_turn(struct reactor *r)
{
    struct arb_client *client = container_of(r, struct arb_client, reactor);

    work(client);
    if (!client->is_quiet && !list_is_empty(&client->ended)) {
        answer(client);
        work(client);
    }
    finish(client);
    sweep(client);
    client->is_quiet = false;
    if (client->is_dying) {
        destroy(client);
        return false;
    }
    if (!list_is_empty(&client->ended))
        reactor_kick(r);
    return true;
}

void client_leave_quietly(struct arb_client *client)
{
    if (client->reactor.depth == 1)
        client->is_quiet = true;
    reactor_leave(&client->reactor);
}

/* ---- life ---- */

static int find_addresses(struct arb_client *client, struct addresses *ret)
{
    return addresses_find(&client->address, client->options.resolver, client->options.resolver_data,
                          deadline_after_ms((uint64_t)client->options.timeout_ms), ret);
}

static int client_init(struct arb_client *client, const char *address)
{
    const struct arb_client_options *o = &client->options;
    const char *why;
    int rc;

    if (addr_parse(address, &client->address, &why) < 0 ||
        (client->address.kind != ADDR_UNIX && client->address.port == 0))
        return ARB_BAD_ADDRESS;
    if (echo_rule_init(&client->rule, o->separator, o->separator_len, o->max_message) < 0)
        return ARB_INVALID;
    rc = find_addresses(client, &client->addresses);
    if (rc)
        return rc;
    client->read_buffer = malloc(READ_BYTES);
    client->address_text = strdup(address);
    if (!client->read_buffer || !client->address_text)
        return ARB_NOMEM;
    list_init(&client->calls);
    list_init(&client->started);
    list_init(&client->ended);
    list_init(&client->requested);
    list_init(&client->dirty);
    list_init(&client->dead);
    rc = reactor_init(&client->reactor, o->loop, on_turn);
    return rc ? rc
              : pool_new(&connection_pool_ops, client, o->pool_size, o->pipeline, &client->pool);
}

int arb_client_new(const char *address, const struct arb_client_options *options,
                   struct arb_client **ret)
{
    struct arb_client *client;
    int rc;

    if (!address || (options && !options_are_valid(options)))
        return ARB_INVALID;
    client = calloc(1, sizeof(*client));
    if (!client)
        return ARB_NOMEM;
    arb_client_options_init(&client->options);
    if (options)
        client->options = *options;
    rc = client_init(client, address);
    if (rc) {
        reactor_fini(&client->reactor);
        free(client->read_buffer);
        free(client->address_text);
        free(client);
        return rc;
    }
    client->options.separator = NULL;
    *ret = client;
    return ARB_OK;
}

void arb_client_free(struct arb_client *client)
{
    if (!client)
        return;
    reactor_enter(&client->reactor);
    client->is_dying = client->is_closing = true;
    client->is_silent = client->reactor.pid != getpid();
    reactor_leave(&client->reactor);
}

void arb_client_close(struct arb_client *client)
{
    if (reactor_check(&client->reactor, false) != 0)
        return;
    reactor_enter(&client->reactor);
    client->is_closing = true;
    client_leave_quietly(client);
}

int arb_client_resolve(struct arb_client *client)
{
    struct addresses found;
    int rc = reactor_check(&client->reactor, false);

    if (rc == 0)
        rc = find_addresses(client, &found);
    if (rc)
        return rc;
    client->addresses = found;
    client->preferred = 0;
    return ARB_OK;
}

void arb_client_count(const struct arb_client *client, struct arb_client_counters *ret)
{
    pool_counters(client->pool, ret);
}

struct ev_loop *arb_client_loop(const struct arb_client *client)
{
    return client->options.loop;
}

const char *arb_client_address(const struct arb_client *client)
{
    return client->address_text;
}

int arb_client_full_response(const struct arb_client *client)
{
    return client->options.full_response;
}

unsigned arb_client_calls(const struct arb_client *client)
{
    return client->n_calls;
}

int arb_client_wait(struct arb_client *client, int timeout_ms)
{
    const uint64_t until = deadline_of_wait(timeout_ms);
    int rc = reactor_check(&client->reactor, true);

    while (rc == 0 && client->n_calls > 0) {
        rc = reactor_run(&client->reactor, until);
        if (rc == -ENODEV)
            return ARB_CANCELLED;
        if (rc == 0 && client->n_calls > 0 && clock_mono_ns() >= until)
            rc = ARB_TIMEOUT;
    }
    return rc;
}

int arb_client_bind(struct arb_client *client, enum arb_event_kind kind, arb_event_handler *handler,
                    void *userdata)
{
    return events_bind(&client->events, kind, handler, userdata);
}

void arb_client_unbind(struct arb_client *client, enum arb_event_kind kind,
                       arb_event_handler *handler, void *userdata)
{
    events_unbind(&client->events, kind, handler, userdata);
}
