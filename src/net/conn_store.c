/*
 * The memory of connections: what only some of them need, and what closed ones leave. Runs in a
 * worker; knows neither bytes nor protocols.
 */
#include "net/conn_impl.h"

#include <stdlib.h>

static struct arb_conn *closed_at(struct list *link)
{
    return container_of(link, struct arb_conn, link);
}

void conn_more_init(struct arb_conn *c, struct conn_more *more)
{
    list_init(&more->link);
    list_init(&more->requests);
    more->wake = WHEEL_NONE;
    more->conn = c;
    c->more = more;
}

struct conn_more *conn_more(struct arb_conn *c)
{
    struct conn_more *more = c->more ? c->more : calloc(1, sizeof(*more));

    if (more && !c->more) {
        more->is_own = true;
        conn_more_init(c, more);
    }
    return more;
}

static void free_more(struct arb_conn *c)
{
    if (c->more)
        list_remove(&c->more->link); /* nobody is to be told of one that is served elsewhere */
    if (c->more && c->more->is_own)
        free(c->more);
    c->more = NULL;
}

void conn_free(struct arb_conn *c)
{
    list_remove(&c->link);
    free_more(c);
    free(c);
}

void conn_free_closed(struct conn_set *set, size_t keep)
{
    while (!list_is_empty(&set->dead_rich))
        conn_free(closed_at(set->dead_rich.next));
    for (; set->n_dead > keep; set->n_dead--)
        conn_free(closed_at(set->dead.next));
}

void conn_bury(struct arb_conn *c)
{
    struct conn_set *set = conn_set_of(c);
    const bool is_spare = !conn_is_rich(conn_protocol_of(c));

    if (is_spare)
        free_more(c);
    list_remove(&c->link);
    list_append(is_spare ? &set->dead : &set->dead_rich, &c->link);
    set->n_dead += is_spare;
    if (!is_spare || set->n_dead > CONN_SPARE)
        ev_prepare_start(set->loop, &set->turn_end);
}

void conn_unlist(struct arb_conn *c)
{
    for (struct conn_cursor *cursor = conn_set_of(c)->cursors; cursor; cursor = cursor->outer)
        if (cursor->next == &c->link)
            cursor->next = c->link.next;
    list_remove(&c->link);
}
