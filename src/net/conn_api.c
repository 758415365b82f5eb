/*
 * What a protocol does with its connections: the functions of <arbiter/protocol.h>. Runs in a
 * worker, mostly inside a callback of a protocol.
 */
#include "net/conn_impl.h"

void *arb_conn_state(const struct arb_conn *conn)
{
    return (void *)(uintptr_t)conn->state;
}
