/*
 * The parts of a call, and its end, which is noted here. client.c, which stands above, begins,
 * queues and answers calls.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "client/client_impl.h"

int call_new(struct arb_client *client, const void *message, size_t len, struct arb_call **ret)
{
    const struct arb_client_protocol *p = client->options.protocol;
    const struct frame_rule *r = &client->rule;
    void *userdata = client->options.protocol_data;
    const size_t room = p ? p->encode(userdata, message, len, NULL, 0) : r->separator_len;
    struct arb_call *call;

    if (room > SIZE_MAX / 4)
        return ARB_INVALID;
    call = malloc(sizeof(*call) + len + room);
    if (!call)
        return ARB_NOMEM;
    *call = (struct arb_call){.client = client, .refs = 1, .len = len};
    if (len > 0)
        memcpy(call->bytes, message, len);
    if (p) {
        call->wire = call->bytes + len;
        call->total = p->encode(userdata, call->bytes, len, call->bytes + len, room);
        if (call->total > room) { /* it is not pure: the same message needs more than before */
            free(call);
            return ARB_INVALID;
        }
    } else {
        call->wire = call->bytes;
        call->total = len + room;
        memcpy(call->bytes + len, r->separator, r->separator_len);
    }
    list_init(&call->place);
    list_init(&call->turn);
    list_init(&call->request);
    *ret = call;
    return 0;
}

void call_unref(struct arb_call *call)
{
    if (--call->refs > 0)
        return;
    list_remove(&call->all);
    list_remove(&call->turn);
    list_remove(&call->request);
    events_fini(&call->events);
    free(call->reply);
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
