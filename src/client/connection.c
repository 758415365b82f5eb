/*
 * A connection of the client: connects, sends its calls one after the other, and takes the replies.
 * Of an echo each byte that comes is held against the message: nothing is searched, a wrong byte is
 * known when it comes, and a reply needs no memory. A protocol of the caller's looks for the end of
 * a reply itself; until it has found it, the bytes are kept here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "base/fds.h"
#include "base/util.h"
#include "client/client_impl.h"
#include "client/outcome.h"

enum { IOV_N = 256, READS_A_TURN = 16 };

static struct arb_connection *of_member(struct pool_member *m)
{
    return container_of(m, struct arb_connection, member);
}

static struct arb_call *first_call(struct arb_connection *conn)
{
    if (list_is_empty(&conn->calls))
        return NULL;
    return container_of(conn->calls.next, struct arb_call, place);
}

static struct arb_call *next_call(struct arb_connection *conn, struct arb_call *call)
{
    if (call->place.next == &conn->calls)
        return NULL;
    return container_of(call->place.next, struct arb_call, place);
}

static void fire(struct arb_connection *conn, struct arb_event *event)
{
    if (conn->client->is_silent)
        return;
    event->client = conn->client;
    event->connection = conn;
    if (event->call)
        events_fire(&event->call->events, event);
    events_fire(&conn->events, event);
    events_fire(&conn->client->events, event);
}

static void connection_fire(struct arb_connection *conn, enum arb_event_kind kind,
                            struct arb_call *call, int status)
{
    struct arb_event event = {.kind = kind, .call = call, .status = status};

    fire(conn, &event);
}

static void mark_dirty(struct arb_connection *conn)
{
    list_remove(&conn->link);
    list_append(&conn->client->dirty, &conn->link);
}

/* Removes a call from the order of replies, and drops the reference that its place has held. */
static void leave_place(struct arb_connection *conn, struct arb_call *call)
{
    if (conn->unsent == call)
        conn->unsent = next_call(conn, call);
    list_remove(&call->place);
    call_unref(call);
}

/* ---- the end ---- */

static bool may_retry(const struct arb_connection *conn, const struct arb_call *call, int status)
{
    return (status == ARB_CLOSED || status == ARB_RESET) && call->received == 0 &&
           call->retries < call->max_retries && !conn->client->is_closing;
}

/* Calls that cannot be sent again end here, in order; the others go back to the head of the queue.
 */
static void end_calls(struct arb_connection *conn, int status)
{
    struct list *pos, *tmp;

    list_for_each_safe (pos, tmp, &conn->calls) {
        struct arb_call *call = container_of(pos, struct arb_call, place);
        bool is_live = call->state == STATE_ASSIGNED;

        if (is_live)
            connection_fire(conn, ARB_POST_REQUEST, call, status);
        if (is_live && may_retry(conn, call, status))
            continue;
        call->connection = NULL;
        if (is_live)
            call_end(call, status);
        leave_place(conn, call);
    }
    while (!list_is_empty(&conn->calls)) {
        struct arb_call *call = container_of(conn->calls.prev, struct arb_call, place);

        call->retries++;
        call->sent = 0;
        call->connection = NULL;
        call->state = STATE_QUEUED;
        leave_place(conn, call);
        pool_acquire_again(conn->client->pool, &call->waiter);
    }
}

/* The one place where a connection ends. Its memory stays until the end of the turn. */
static void end(struct arb_connection *conn, int status)
{
    if (conn->is_dead)
        return;
    conn->is_dead = true;
    conn->status = status;
    reactor_unwatch(&conn->io);
    fds_close(&conn->fd);
    connector_free(conn->connector);
    conn->connector = NULL;
    list_remove(&conn->link);
    list_append(&conn->client->dead, &conn->link);
    end_calls(conn, status);
    if (conn->was_made)
        connection_fire(conn, ARB_CONNECTION_LOST, NULL, status);
}

void connection_lost(struct arb_connection *conn, int status)
{
    if (conn->is_dead)
        return;
    end(conn, status);
    if (conn->was_made)
        pool_lost(conn->client->pool, &conn->member);
    else
        pool_failed(conn->client->pool, &conn->member, status);
}

void connection_free(struct arb_connection *conn)
{
    list_remove(&conn->link);
    events_fini(&conn->events);
    free(conn->input);
    free(conn);
}

/* ---- calls come and go ---- */

static bool is_quit(const struct arb_call *call)
{
    const struct frame_rule *r = &call->client->rule;

    return !call->client->options.protocol && r->quit_len > 0 && call->len == r->quit_len &&
           memcmp(call->bytes, r->quit, r->quit_len) == 0;
}

void connection_assign(struct arb_connection *conn, struct arb_call *call)
{
    call->connection = conn;
    call->state = STATE_ASSIGNED;
    if (call->is_connect) {
        call_end(call, ARB_OK);
        return;
    }
    list_append(&conn->calls, &call->place);
    call->refs++;
    if (!conn->unsent)
        conn->unsent = call;
    reactor_set_background(&conn->io, false);
    mark_dirty(conn);
    /* The server closes after QUIT: no other call may follow on this connection. */
    if (is_quit(call))
        pool_retire(conn->client->pool, &conn->member);
    connection_fire(conn, ARB_PRE_REQUEST, call, ARB_OK);
}

/* No other call may use this connection, and @why is what its loss will be told with. */
static void retire(struct arb_connection *conn, int why)
{
    conn->status = conn->status ? conn->status : why;
    pool_retire(conn->client->pool, &conn->member);
}

static void give_back(struct arb_connection *conn)
{
    pool_release(conn->client->pool, &conn->member);
    if (list_is_empty(&conn->calls))
        reactor_set_background(&conn->io, true);
}

/* A call that is sent in part keeps its place, so that its reply is recognised when it comes. */
void connection_withdraw(struct arb_connection *conn, struct arb_call *call, int status)
{
    connection_fire(conn, ARB_POST_REQUEST, call, status);
    call->connection = NULL;
    call_end(call, status);
    if (call->sent == 0)
        leave_place(conn, call);
    else
        retire(conn, status);
    give_back(conn);
}

/* Its reply is complete. */
static void complete(struct arb_connection *conn, struct arb_call *call)
{
    bool is_live = call->state == STATE_ASSIGNED;
    bool is_full = call->is_full;

    conn->processed++;
    pool_processed(conn->client->pool);
    if (is_live) {
        connection_fire(conn, ARB_POST_REQUEST, call, ARB_OK);
        if (!is_full)
            call->connection = NULL;
        call_end(call, ARB_OK);
    }
    leave_place(conn, call);
    if (is_live && !is_full)
        give_back(conn);
    else if (list_is_empty(&conn->calls))
        reactor_set_background(&conn->io, true);
}

/* ---- bytes ---- */

static void advance(struct arb_connection *conn, size_t n)
{
    while (conn->unsent) {
        struct arb_call *call = conn->unsent;
        size_t k = MIN(n, call->total - call->sent);

        call->sent += k;
        n -= k;
        if (call->sent < call->total)
            break;
        conn->unsent = next_call(conn, call);
    }
}

static ssize_t send_calls(struct arb_connection *conn)
{
    struct iovec iov[IOV_N];
    struct msghdr msg = {.msg_iov = iov};
    struct arb_call *call = conn->unsent;

    for (; call && msg.msg_iovlen < IOV_N; call = next_call(conn, call))
        iov[msg.msg_iovlen++] =
            (struct iovec){(void *)(uintptr_t)(call->wire + call->sent), call->total - call->sent};
    return sendmsg(conn->fd, &msg, MSG_NOSIGNAL);
}

/* A peer that takes no more bytes may still send replies, so only reading tells the end. */
static void send_all(struct arb_connection *conn)
{
    while (conn->unsent && !conn->deaf_status) {
        ssize_t n = send_calls(conn);

        if (n >= 0) {
            advance(conn, (size_t)n);
        } else if (errno == EPIPE || errno == ECONNRESET) {
            conn->deaf_status = outcome_of(errno);
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR) {
            connection_lost(conn, outcome_of(errno));
            return;
        }
    }
    reactor_want_room(&conn->io, conn->unsent && !conn->deaf_status);
}

/*
 * Holds @data against what is outstanding. A status other than 0 is the end of the connection, and
 * that of its first call.
 */
static int hold_against(struct arb_connection *conn, const uint8_t *data, size_t len)
{
    while (len > 0 && !conn->is_dead) {
        struct arb_call *call = first_call(conn);
        size_t n;

        if (!call)
            return ARB_UNEXPECTED;
        n = MIN(len, call->total - call->received);
        if (n > call->sent - call->received)
            return ARB_UNEXPECTED;
        if (memcmp(data, call->bytes + call->received, n) != 0)
            return ARB_MISMATCH;
        call->received += n;
        data += n;
        len -= n;
        if (call->received < call->total)
            break;
        if (len > 0 && !next_call(conn, call))
            retire(conn, ARB_UNEXPECTED);
        complete(conn, call);
    }
    return 0;
}

/* One reply at the beginning of @data, or none yet. Returns the outcome of the connection. */
static int take_reply(struct arb_connection *conn, const uint8_t *data, size_t len,
                      size_t *ret_used)
{
    const struct arb_client_options *o = &conn->client->options;
    struct arb_decoding d = {.data = data, .len = len, .resume = conn->resume};
    struct arb_call *call = first_call(conn);

    *ret_used = 0;
    if (!call || call->sent < call->total)
        return ARB_UNEXPECTED;
    *ret_used = o->protocol->decode(o->protocol_data, &d);
    if (*ret_used > len)
        return ARB_BAD_REPLY;
    conn->resume = *ret_used > 0 ? 0 : d.resume;
    if ((*ret_used > 0 ? *ret_used : len) > o->max_reply)
        return ARB_REPLY_TOO_LONG;
    call->received += *ret_used > 0 ? *ret_used : 1; /* it has begun: not to be sent again */
    if (*ret_used == 0)
        return 0;
    if (call->state == STATE_ASSIGNED) {
        call->reply = malloc(d.reply_len + 1); /* never NULL for an empty one */
        if (!call->reply)
            return ARB_NOMEM;
        if (d.reply_len > 0)
            memcpy(call->reply, d.reply, d.reply_len);
        call->reply_len = d.reply_len;
    }
    if (*ret_used < len && !next_call(conn, call))
        retire(conn, ARB_UNEXPECTED);
    complete(conn, call);
    return 0;
}

/* Keeps @data, which follows what is kept already. Returns 0 or ARB_NOMEM. */
static int keep_input(struct arb_connection *conn, const uint8_t *data, size_t len)
{
    const size_t needed = conn->input_len + len;

    if (needed > conn->input_capacity) {
        const size_t capacity = MAX(needed, conn->input_capacity * 2);
        uint8_t *input = realloc(conn->input, capacity);

        if (!input)
            return ARB_NOMEM;
        conn->input = input;
        conn->input_capacity = capacity;
    }
    memcpy(conn->input + conn->input_len, data, len);
    conn->input_len = needed;
    return 0;
}

/* As hold_against, with the protocol of the caller's. */
static int decode_replies(struct arb_connection *conn, const uint8_t *data, size_t len)
{
    const bool was_kept = conn->input_len > 0;
    size_t used = 0, n;
    int rc = 0;

    if (was_kept && (rc = keep_input(conn, data, len)) != 0)
        return rc;
    if (was_kept) {
        data = conn->input;
        len = conn->input_len;
    }
    while (rc == 0 && used < len && !conn->is_dead) {
        rc = take_reply(conn, data + used, len - used, &n);
        if (n == 0)
            break;
        used += n;
    }
    if (rc != 0 || conn->is_dead)
        return rc;
    if (!was_kept)
        return used < len ? keep_input(conn, data + used, len - used) : 0;
    conn->input_len = len - used;
    memmove(conn->input, conn->input + used, conn->input_len);
    return 0;
}

/* Wrong bytes end the first call with their status; the other calls end as on a closed connection.
 */
static void lose_first(struct arb_connection *conn, int status)
{
    struct arb_call *call = first_call(conn);

    if (call && call->state == STATE_ASSIGNED) {
        connection_fire(conn, ARB_POST_REQUEST, call, status);
        call->connection = NULL;
        call_end(call, status);
    }
    end_calls(conn, ARB_CLOSED);
    connection_lost(conn, status);
}

static void on_data(struct arb_connection *conn, size_t len)
{
    struct arb_event event = {.kind = ARB_DATA_RECEIVED,
                              .call = first_call(conn),
                              .data = conn->client->read_buffer,
                              .len = len};
    int status;

    fire(conn, &event);
    if (conn->client->options.protocol)
        status = decode_replies(conn, event.data, len);
    else
        status = hold_against(conn, event.data, len);
    if (status)
        lose_first(conn, status);
    if (conn->is_dead)
        return;
    event.kind = ARB_DATA_PROCESSED;
    event.call = first_call(conn);
    fire(conn, &event);
}

static void receive(struct arb_connection *conn)
{
    for (int i = 0; i < READS_A_TURN && !conn->is_dead; i++) {
        ssize_t n = recv(conn->fd, conn->client->read_buffer, READ_BYTES, 0);

        if (n > 0) {
            on_data(conn, (size_t)n);
            if (n < READ_BYTES)
                break;
        } else if (n == 0) {
            connection_lost(conn, conn->deaf_status ? conn->deaf_status : ARB_CLOSED);
        } else if (errno != EINTR) {
            if (errno != EAGAIN)
                connection_lost(conn, outcome_of(errno));
            break;
        }
    }
}

static void on_ready(struct reactor_io *io, uint32_t events)
{
    struct arb_connection *conn = container_of(io, struct arb_connection, io);

    (void)events;
    receive(conn);
    if (!conn->is_dead && conn->unsent)
        send_all(conn);
}

void connection_flush(struct arb_connection *conn)
{
    if (conn->connector)
        connector_start(conn->connector);
    else
        send_all(conn);
}

/* ---- the pool's table ---- */

static void on_connected(struct connector *c, int status, int fd, int address)
{
    struct arb_connection *conn = connector_userdata(c);
    struct arb_client *client = conn->client;

    if (status == ARB_OK) {
        conn->fd = fd;
        if (reactor_watch(&client->reactor, &conn->io, fd, false) < 0)
            status = ARB_NOMEM;
    }
    if (status) {
        connection_lost(conn, status);
        return;
    }
    connector_free(c);
    conn->connector = NULL;
    conn->was_made = true;
    conn->session = ++client->n_sessions;
    client->preferred = address;
    reactor_set_background(&conn->io, true);
    addr_format_peer(conn->fd, conn->peer);
    connection_fire(conn, ARB_CONNECTION_MADE, NULL, ARB_OK);
    pool_opened(client->pool, &conn->member);
}

static int connection_open(void *context, struct pool_member **ret)
{
    struct arb_client *client = context;
    struct arb_connection *conn = calloc(1, sizeof(*conn));

    if (!conn)
        return ARB_NOMEM;
    conn->client = client;
    conn->fd = conn->io.fd = -1;
    conn->io.on_ready = on_ready;
    list_init(&conn->link);
    list_init(&conn->calls);
    conn->connector =
        connector_new(&client->reactor, &client->addresses, client->preferred, on_connected, conn);
    if (!conn->connector) {
        free(conn);
        return ARB_NOMEM;
    }
    mark_dirty(conn);
    *ret = &conn->member;
    return ARB_OK;
}

/* A connection that the server has closed while it was idle is found here; a later close is not. */
static bool connection_is_usable(void *context, struct pool_member *m)
{
    struct arb_connection *conn = of_member(m);
    uint8_t byte;
    ssize_t n;

    (void)context;
    if (!list_is_empty(&conn->calls))
        conn->status = ARB_CLOSED;
    else if ((n = recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT)) >= 0)
        conn->status = n > 0 ? ARB_UNEXPECTED : ARB_CLOSED;
    else if (errno != EAGAIN)
        conn->status = outcome_of(errno);
    return conn->status == ARB_OK;
}

static void connection_close(void *context, struct pool_member *m)
{
    struct arb_connection *conn = of_member(m);
    struct arb_client *client = context;

    end(conn, conn->status ? conn->status : client->end_status);
}

const struct pool_ops connection_pool_ops = {
    .open = connection_open,
    .is_usable = connection_is_usable,
    .close = connection_close,
};
