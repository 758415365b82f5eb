/*
 * The end of a listener. shutdown() frees its address for every process that has the socket, at
 * once, and resets the connections that nobody has accepted yet: those are accepted first. The
 * arbiter does it, and a worker that has lost its arbiter.
 */
#include "net/listener.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fds.h"
#include "base/util.h"

enum { TCP_FLAGS_OFFSET = 13, TCP_FLAG_SYN = 0x02, NO_INTERFACE = INT_MAX };

/* Handshakes that have begun end within microseconds on this machine; others have had their time.
 */
enum { SETTLE_MS = 1, SETTLE_ROUNDS = 8 };

/* A SYN is dropped, and comes again a second later. Accepted sockets inherit the filter: so it must
 * let everything else through. */
static void drop_new_ones(int fd)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, TCP_FLAGS_OFFSET),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, TCP_FLAG_SYN, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
    };
    const struct sock_fprog program = {ARRAY_SIZE(code), code};

    setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

/*
 * From here on nobody new gets as far as the queue; handshakes that have begun go on. A listener of
 * an interface that does not exist is found by no SYN: it goes to another listener of the port, as
 * after a reload that has moved the address, or is refused. A listener that has an interface cannot
 * change it without privilege, and Linux before 5.7 lets nobody: there SYNs are dropped.
 */
static void turn_new_ones_away(int fd)
{
    const int interface = NO_INTERFACE;

    if (setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &interface, sizeof(interface)) < 0)
        drop_new_ones(fd);
}

/* Until the queue is empty, which has an end: nobody new comes, but to one that was passed. */
static void accept_waiting(const struct listener *l, listener_on_waiting *on_waiting,
                           void *userdata)
{
    const int nothing = 0;
    int n_errors = 0; /* of single connections: no more than can wait */

    for (int n = 0; n_errors <= l->backlog && !(l->is_passed && n > l->backlog); n++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd >= 0) {
            setsockopt(fd, SOL_SOCKET, SO_DETACH_FILTER, &nothing, sizeof(nothing));
            on_waiting(l, fd, userdata);
        } else if (errno == EAGAIN || errno == EINVAL || errno == EMFILE || errno == ENFILE ||
                   errno == ENOBUFS || errno == ENOMEM) {
            return;
        } else {
            n_errors++;
        }
    }
}

static void accept_from_all(struct listener *const *list, size_t n, listener_on_waiting *on_waiting,
                            void *userdata)
{
    for (size_t i = 0; i < n; i++)
        accept_waiting(list[i], on_waiting, userdata);
}

/* Does somebody come to one of them within the time? */
static bool is_any_readable(struct listener *const *list, size_t n)
{
    struct pollfd p[LISTENER_SHUT_MAX];
    bool is_readable = false;

    for (size_t i = 0; i < n; i++)
        p[i] = (struct pollfd){.fd = list[i]->fd, .events = POLLIN};
    if (poll(p, n, SETTLE_MS) > 0)
        for (size_t i = 0; i < n; i++)
            is_readable |= (p[i].revents & POLLIN) != 0;
    return is_readable;
}

static void shut_unix(struct listener *l, listener_on_waiting *on_waiting, void *userdata)
{
    listener_unlink(l);
    shutdown(l->fd, SHUT_RDWR); /* what waits in the queue stays there */
    if (on_waiting)
        accept_waiting(l, on_waiting, userdata);
}

void listener_shut(struct listener *const *list, size_t n, listener_on_waiting *on_waiting,
                   void *userdata)
{
    struct listener *tcp[LISTENER_SHUT_MAX];
    size_t n_tcp = 0;

    assert(n <= LISTENER_SHUT_MAX);
    for (size_t i = 0; i < n; i++) {
        struct listener *l = list[i];

        if (l->is_shut || l->fd < 0)
            continue;
        l->is_shut = true;
        if (l->is_passed) {
            if (on_waiting)
                accept_waiting(l, on_waiting, userdata);
            continue;
        }
        if (l->addr.kind == ADDR_UNIX) {
            shut_unix(l, on_waiting, userdata);
            continue;
        }
        if (on_waiting)
            turn_new_ones_away(l->fd);
        tcp[n_tcp++] = l;
    }
    if (on_waiting && n_tcp > 0) {
        accept_from_all(tcp, n_tcp, on_waiting, userdata);
        for (int i = 0; i < SETTLE_ROUNDS && is_any_readable(tcp, n_tcp); i++)
            accept_from_all(tcp, n_tcp, on_waiting, userdata);
    }
    for (size_t i = 0; i < n_tcp; i++)
        shutdown(tcp[i]->fd, SHUT_RDWR);
}

bool listener_is_over(const struct listener *l)
{
    struct pollfd p = {.fd = l->fd, .events = POLLIN};

    return poll(&p, 1, 0) == 1 && (p.revents & POLLHUP);
}
