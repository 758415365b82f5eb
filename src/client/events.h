/*
 * Who wants to know what: the handlers of a client or of a connection, by event.
 */
#ifndef CLIENT_EVENTS_H
#define CLIENT_EVENTS_H

#include <arbiter/client.h>
#include <stdbool.h>

struct event_binding;

struct events {
    struct event_binding *first; /* owned; of all kinds, in the order of binding */
    unsigned n[ARB_EVENTS]; /* bound handlers of a kind */
    unsigned depth; /* handlers are being called: nothing is freed */
    bool has_unbound; /* something is to be freed when they have returned */
};

/* events_bind - returns ARB_OK, ARB_INVALID or ARB_NOMEM */
int events_bind(struct events *all, enum arb_event_kind kind, arb_event_handler *handler,
                void *userdata);
void events_unbind(struct events *all, enum arb_event_kind kind, arb_event_handler *handler,
                   void *userdata);

/* events_fire - call the handlers of @event->kind; those that they bind wait for the next event */
void events_fire(struct events *all, const struct arb_event *event);

void events_fini(struct events *all);

static inline bool events_wants(const struct events *all, enum arb_event_kind kind)
{
    return all->n[kind] > 0;
}

#endif
