/*
 * What a protocol does with its connections: the functions of <arbiter/protocol.h>. Runs in a
 * worker, mostly inside a callback of a protocol.
 */
#include "net/conn_impl.h"

int conn_announce(struct arb_conn *c, enum arb_origin origin)
{
    const struct conn_protocol *p = conn_protocol_of(c);
    const int rc = p->table->on_open ? p->table->on_open(p->server, c, origin) : 0;

    c->is_announced = rc >= 0;
    return rc;
}

void conn_renounce(struct arb_conn *c, enum arb_end why)
{
    const struct conn_protocol *p = conn_protocol_of(c);

    if (!c->is_announced)
        return;
    c->is_announced = false;
    if (p->table->on_close)
        p->table->on_close(p->server, c, why);
}

uint64_t arb_conn_id(const struct arb_conn *conn)
{
    return conn->id;
}

/* Its mark is that of the blank or not only while it is idle: else it is busy, or on its way. */
void arb_conn_set_blank(struct arb_conn *conn, bool is_blank)
{
    const struct conn_set *set = conn_set_of(conn);
    const uint8_t before = conn->idle_mark;

    if (conn_protocol_of(conn)->table->conn_size == 0)
        return;
    conn->idle_mark = is_blank ? CONN_MARK_IDLE : CONN_MARK_STATEFUL;
    if (!conn->is_detached &&
        (set->marks[conn->io.fd] == before || set->marks[conn->io.fd] == CONN_MARK_QUIET))
        conn_mark(conn, conn->idle_mark);
}

void *arb_conn_state(const struct arb_conn *conn)
{
    return (void *)(uintptr_t)conn->state;
}
