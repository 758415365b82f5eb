/*
 * The kernel's set behind a worker's loop. Runs in a worker.
 */
#include "net/conn.h"

#include <sys/epoll.h>

static void on_embed(struct ev_loop *loop, ev_embed *embed, int revents)
{
    (void)loop, (void)embed, (void)revents;
}

/* libev has no call for it, but embeds one loop in another by its descriptor. */
static int find_epoll_fd(struct conn_set *set)
{
    ev_embed embed;
    int fd;

    if (ev_backend(set->loop) != EVBACKEND_EPOLL)
        return -1;
    if (!set->probe)
        set->probe = ev_loop_new(EVBACKEND_SELECT | EVFLAG_NOENV);
    if (!set->probe)
        return -1;
    ev_embed_init(&embed, on_embed, set->loop);
    ev_embed_start(set->probe, &embed);
    fd = embed.io.fd;
    ev_embed_stop(set->probe, &embed);
    return fd;
}

/* It changes when libev builds its set anew, which is between two turns of the loop. To ask for it
 * is a system call. */
void conn_set_unwatch(struct conn_set *set, int fd)
{
    const unsigned turn = ev_iteration(set->loop);

    if (set->epoll_fd <= 0 || set->epoll_turn != turn)
        set->epoll_fd = find_epoll_fd(set);
    set->epoll_turn = turn;
    if (set->epoll_fd >= 0)
        epoll_ctl(set->epoll_fd, EPOLL_CTL_DEL, fd, NULL); /* perhaps it is not there */
}
