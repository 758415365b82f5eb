/*
 * Whose a connection is, and its number. Runs in a worker.
 */
#include "net/conn_impl.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* A client of a unix socket seldom has a path of its own, but the kernel knows who has connected.
 */
static void name_process(int fd, char *buf)
{
    struct ucred who;
    socklen_t len = sizeof(who);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0)
        snprintf(buf, CONN_PEER_LEN, "unix:uid=%u,pid=%d", who.uid, who.pid);
}

socklen_t conn_peer_address(const struct arb_conn *c, struct sockaddr_storage *ret)
{
    return addr_peer(c->io.fd, ret);
}

const char *conn_peer(const struct arb_conn *c, char buf[CONN_PEER_LEN])
{
    struct sockaddr_storage peer;
    const socklen_t len = conn_peer_address(c, &peer);

    buf[0] = '\0';
    if (len > 0)
        addr_format((struct sockaddr *)&peer, len, buf);
    if (strcmp(buf, "unix:") == 0)
        name_process(c->io.fd, buf);
    return buf;
}

const char *conn_local(const struct arb_conn *c, char buf[CONN_PEER_LEN])
{
    struct sockaddr_storage own;
    socklen_t len = sizeof(own);

    buf[0] = '\0';
    if (getsockname(c->io.fd, (struct sockaddr *)&own, &len) == 0)
        addr_format((struct sockaddr *)&own, len, buf);
    return buf;
}

/* The kernel numbers sockets when they are asked for it, each once since its start: so the number
 * stays whichever process has the connection, also after the death of one. */
uint64_t conn_id(const struct arb_conn *c)
{
    uint64_t id = c->more ? c->more->id : 0;
    socklen_t len = sizeof(id);

    if (id == 0 && getsockopt(c->io.fd, SOL_SOCKET, SO_COOKIE, &id, &len) < 0)
        return 0;
    return id;
}
