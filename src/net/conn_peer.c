/*
 * Whose a connection is, and its number. Runs in a worker, and in its handler of fatal signals.
 */
#include "net/conn_impl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

/*
 * ---- whom proxies have named, by descriptor ----
 *
 * The memory is mapped when a proxy first names somebody. Pages that are not written cost nothing.
 */

static int make_peers(struct conn_set *set)
{
    void *memory = mmap(NULL, set->n_own_marks * sizeof(*set->peers), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        return -ENOMEM;
    set->peers = memory;
    return 0;
}

/* A number that was another connection's before has no name any more. */
int conn_set_name(struct conn_set *set, int fd, const struct addr_named *peer)
{
    const bool is_named = peer && peer->kind != ADDR_NAMED_NONE;
    const bool has_room = fd >= 0 && (size_t)fd < set->n_own_marks;

    if (!has_room || (!set->peers && (!is_named || make_peers(set) < 0)))
        return is_named ? -ENOMEM : 0;
    set->peers[fd] = is_named ? *peer : (struct addr_named){.kind = ADDR_NAMED_NONE};
    return 0;
}

const struct addr_named *conn_set_named(const struct conn_set *set, int fd)
{
    static const struct addr_named nobody = {.kind = ADDR_NAMED_NONE};

    return set->peers && fd >= 0 && (size_t)fd < set->n_own_marks ? &set->peers[fd] : &nobody;
}

const struct sockaddr *conn_set_named_address(const struct conn_set *set, int fd,
                                              struct sockaddr_storage *buf, socklen_t *ret_len)
{
    const socklen_t len = addr_named_sockaddr(conn_set_named(set, fd), buf);

    *ret_len = len;
    return len ? (const struct sockaddr *)buf : NULL;
}

void conn_free_names(struct conn_set *set)
{
    if (set->peers)
        munmap(set->peers, set->n_own_marks * sizeof(*set->peers));
    set->peers = NULL;
}

/* ---- the peer ---- */

/* A client of a unix socket seldom has a path of its own, but the kernel knows who has connected.
 */
static void name_process(int fd, char *buf)
{
    struct ucred who;
    socklen_t len = sizeof(who);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0)
        snprintf(buf, CONN_PEER_LEN, "unix:uid=%u,pid=%d", who.uid, who.pid);
}

/* Whom a proxy has named, rather than the proxy. */
socklen_t conn_peer_address(const struct arb_conn *c, struct sockaddr_storage *ret)
{
    const socklen_t len = addr_named_sockaddr(conn_set_named(conn_set_of(c), c->io.fd), ret);

    return len > 0 ? len : addr_peer(c->io.fd, ret);
}

const char *conn_peer(const struct arb_conn *c, char buf[CONN_PEER_LEN])
{
    struct sockaddr_storage peer;
    const socklen_t len = conn_peer_address(c, &peer);

    buf[0] = '\0';
    if (len > 0)
        addr_format((struct sockaddr *)&peer, len, buf);
    if (strcmp(buf, "unix:") == 0 &&
        conn_set_named(conn_set_of(c), c->io.fd)->kind == ADDR_NAMED_NONE)
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
