/*
 * What a protocol does with its connections: the functions of <arbiter/protocol.h>. Runs in a
 * worker, mostly inside a callback of a protocol.
 */
#include "net/conn_impl.h"

#include <stdio.h>
#include <string.h>

#include "actor/actor.h"
#include "net/keep.h"

void *arb_conn_state(const struct arb_conn *conn)
{
    return conn_protocol_of(conn)->table->conn_size > 0
               ? (void *)(uintptr_t)((const struct conn_rich *)conn)->state
               : NULL;
}

uint64_t arb_conn_id(const struct arb_conn *conn)
{
    const uint64_t known = conn_id(conn);
    struct conn_more *more = known ? NULL : conn_more((struct arb_conn *)(uintptr_t)conn);

    if (more)
        more->id = ++conn_set_of(conn)->last_id;
    return more ? more->id : known;
}

const char *arb_conn_peer(const struct arb_conn *conn, char buf[ARB_PEER_LEN])
{
    char text[CONN_PEER_LEN];

    conn_peer(conn, text);
    if (strncmp(text, "unix:", 5) == 0)
        text[4] = '\0'; /* a client's own path, if it has one, says nothing */
    snprintf(buf, ARB_PEER_LEN, "%.*s", ARB_PEER_LEN - 1, text);
    return buf;
}

int arb_conn_send(struct arb_conn *conn, const void *data, size_t len)
{
    return conn_push(conn, data, len);
}

size_t arb_conn_unsent(const struct arb_conn *conn)
{
    return buffer_len(&conn->output);
}

void arb_conn_close(struct arb_conn *conn, enum arb_next how)
{
    conn_end_soon(conn, how == ARB_REFUSE ? CONN_END_TOO_BIG : CONN_END_QUIT);
}

void arb_conn_timeout(struct arb_conn *conn, uint32_t ms)
{
    if (conn->phase == CONN_OPEN && conn_more(conn))
        conn_set_wake(conn, ms);
}

/* Its mark is that of the blank or not only while it is idle: else it is busy, or on its way. */
void conn_set_idle_mark(struct arb_conn *c, uint8_t mark)
{
    const struct conn_set *set = conn_set_of(c);
    const uint8_t before = c->idle_mark;

    if (before == mark)
        return;
    c->idle_mark = mark;
    if (!(c->special & CONN_DETACHED) &&
        (set->marks[c->io.fd] == before || set->marks[c->io.fd] == CONN_MARK_QUIET))
        conn_mark(c, mark);
    if (c->kept >= CONN_SETTLED)
        keep_rethink(c);
}

void arb_conn_set_blank(struct arb_conn *conn, bool is_blank)
{
    if (conn_protocol_of(conn)->table->conn_size > 0)
        conn_set_idle_mark(conn, is_blank ? CONN_MARK_IDLE : CONN_MARK_STATEFUL);
}

void arb_conn_keep(struct arb_conn *conn, bool is_to_be_kept)
{
    if (conn_protocol_of(conn)->table->conn_size == 0)
        conn_set_idle_mark(conn, is_to_be_kept ? CONN_MARK_IDLE : CONN_MARK_STATEFUL);
}

void arb_conn_each(struct arb_actor *self, void (*fn)(struct arb_conn *conn, void *data),
                   void *data)
{
    struct conn_set *set = self->conns;
    struct conn_cursor cursor;

    if (!set)
        return;
    cursor = (struct conn_cursor){.next = set->all.next, .outer = set->cursors};
    set->cursors = &cursor;
    while (cursor.next != &set->all) {
        struct arb_conn *c = container_of(cursor.next, struct arb_conn, link);

        cursor.next = c->link.next;
        if (c->phase == CONN_OPEN && !(c->special & CONN_AWAITS_HEADER) &&
            conn_protocol_of(c)->actor == self)
            fn(c, data);
    }
    set->cursors = cursor.outer;
}
