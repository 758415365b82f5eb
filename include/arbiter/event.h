/*
 * libarbiter: events, which tell what happens on connections without being part of it.
 *
 * One-time events happen at most once in the life of a connection; who binds to one that has
 * happened is called at once. Many-times events happen for each call or each read. Handlers of the
 * connection come before those of its client, each in the order in which they were bound.
 * Source: pulsar, pulsar/async/events.py.
 */
#ifndef ARBITER_EVENT_H
#define ARBITER_EVENT_H

#include <stddef.h>
#include <arbiter/echo.h>

#ifdef __cplusplus
extern "C" {
#endif

enum arb_event_kind {
    ARB_CONNECTION_MADE, /* one-time: connected */
    ARB_CONNECTION_LOST, /* one-time: closed, @status says why; ARB_OK: by us, as it was dropped,
                            detached or used up; ARB_POOL_CLOSED: by arb_client_close;
                            ARB_CANCELLED: by arb_client_free */
    ARB_PRE_REQUEST, /* @call has got its connection, nothing is sent yet */
    ARB_DATA_RECEIVED, /* @data has come, not yet compared; @call is what it should answer or NULL
                        */
    ARB_POST_REQUEST /* @call has ended with @status; for each ARB_PRE_REQUEST one */
};

enum { ARB_EVENTS = ARB_POST_REQUEST + 1 };

/* Everything is borrowed until the handler returns. */
struct arb_event {
    enum arb_event_kind kind;
    int status;
    struct arb_client *client;
    struct arb_connection *connection;
    struct arb_call *call;
    const void *data;
    size_t len;
};

typedef void arb_event_handler(const struct arb_event *event, void *userdata);

/* arb_event_name - "connection_made" and so on; static, NULL for no kind */
ARB_EXPORT const char *arb_event_name(enum arb_event_kind kind);

/*
 * arb_client_bind - call @handler for an event of any connection of the client, from now on
 * arb_connection_bind - for one connection
 * Returns ARB_OK, ARB_INVALID or ARB_NOMEM.
 */
ARB_EXPORT int arb_client_bind(struct arb_client *client, enum arb_event_kind kind,
                               arb_event_handler *handler, void *userdata);
ARB_EXPORT int arb_connection_bind(struct arb_connection *connection, enum arb_event_kind kind,
                                   arb_event_handler *handler, void *userdata);

/* arb_client_unbind, arb_connection_unbind - undo one bind with the same arguments, if there is
 * one */
ARB_EXPORT void arb_client_unbind(struct arb_client *client, enum arb_event_kind kind,
                                  arb_event_handler *handler, void *userdata);
ARB_EXPORT void arb_connection_unbind(struct arb_connection *connection, enum arb_event_kind kind,
                                      arb_event_handler *handler, void *userdata);

#ifdef __cplusplus
}
#endif

#endif
