/*
 * Bindings: a list, as there are few of them.
 */
#include "client/events.h"

#include <stdlib.h>

#include "base/util.h"

struct event_binding {
    struct event_binding *next;
    enum arb_event_kind kind;
    arb_event_handler *handler; /* NULL = unbound, to be freed */
    void *userdata;
};

static const char *const names[ARB_EVENTS] = {
    [ARB_CONNECTION_MADE] = "connection_made",
    [ARB_CONNECTION_LOST] = "connection_lost",
    [ARB_PRE_REQUEST] = "pre_request",
    [ARB_DATA_RECEIVED] = "data_received",
    [ARB_POST_REQUEST] = "post_request",
    [ARB_DATA_PROCESSED] = "data_processed",
    [ARB_FINISH] = "finish",
};

const char *arb_event_name(enum arb_event_kind kind)
{
    return (unsigned)kind < ARB_EVENTS ? names[kind] : NULL;
}

int events_bind(struct events *all, enum arb_event_kind kind, arb_event_handler *handler,
                void *userdata)
{
    struct event_binding **at = &all->first, *b;

    if ((unsigned)kind >= ARB_EVENTS || !handler)
        return ARB_INVALID;
    b = calloc(1, sizeof(*b));
    if (!b)
        return ARB_NOMEM;
    b->kind = kind;
    b->handler = handler;
    b->userdata = userdata;
    while (*at)
        at = &(*at)->next;
    *at = b;
    all->n[kind]++;
    return ARB_OK;
}

static void sweep(struct events *all)
{
    struct event_binding **at = &all->first;

    if (all->depth > 0 || !all->has_unbound)
        return;
    while (*at) {
        struct event_binding *b = *at;

        if (b->handler) {
            at = &b->next;
            continue;
        }
        *at = b->next;
        free(b);
    }
    all->has_unbound = false;
}

void events_unbind(struct events *all, enum arb_event_kind kind, arb_event_handler *handler,
                   void *userdata)
{
    for (struct event_binding *b = all->first; b; b = b->next) {
        if (b->kind != kind || b->handler != handler || b->userdata != userdata || !handler)
            continue;
        b->handler = NULL;
        all->n[kind]--;
        all->has_unbound = true;
        break;
    }
    sweep(all);
}

void events_fire(struct events *all, const struct arb_event *event)
{
    struct event_binding *last = all->first;

    if (!events_wants(all, event->kind))
        return;
    while (last->next)
        last = last->next;
    all->depth++;
    for (struct event_binding *b = all->first;; b = b->next) {
        if (b->kind == event->kind && b->handler)
            b->handler(event, b->userdata);
        if (b == last)
            break;
    }
    all->depth--;
    sweep(all);
}

void events_fini(struct events *all)
{
    while (all->first) {
        struct event_binding *b = all->first;

        all->first = b->next;
        free(b);
    }
    *all = (struct events){0};
}
