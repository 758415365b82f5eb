/*
 * A listening socket: made, kept and closed by the arbiter alone, inherited by workers. Unix
 * sockets are made under safe stale-path rules and unlinked only by who made them.
 */
#ifndef NET_LISTENER_H
#define NET_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>
#include <sys/types.h>
#include "base/addr.h"
#include "wire/proxy.h"

/* Who may connect to a unix socket: the mode, the owner and the group of its file. */
struct listener_access {
    int mode; /* -1 = as a file would have it (0666 less the umask), or as it is */
    uid_t uid; /* -1 = this process', or as it is */
    gid_t gid;
};

#define LISTENER_ANY_ACCESS ((struct listener_access){-1, (uid_t)-1, (gid_t)-1})

/* listener_says_access - is there anything in @access that is not left open? */
static inline bool listener_says_access(struct listener_access access)
{
    return access.mode >= 0 || access.uid != (uid_t)-1 || access.gid != (gid_t)-1;
}

struct listener {
    char *text; /* owned: as configured; identity over reloads */
    char bound[ADDR_TEXT_LEN]; /* what it is bound to, port 0 resolved: "127.0.0.1:43211" */
    struct addr addr; /* with the port that the kernel chose */
    int fd; /* owned; listening, non-blocking, cloexec */
    int backlog;
    unsigned refs; /* how many configurations (live, next) hold it */
    /* Index in the program's table: what is spoken there, as this process' revision has it. */
    unsigned protocol;
    /* As this process' revision has it: PROXY_UNASKED, or what those of `proxy_from` begin with; of
     * a unix socket everybody. */
    enum proxy_wish proxy;
    const struct addr_net *proxy_from; /* borrowed from that revision */
    size_t n_proxy_from;
    bool is_passed; /* by a service manager, which has a copy: what the socket is, is not ours */
    int passed_mode; /* of a unix socket that was passed: its file's; -1 = not known */
    bool is_shut; /* its address is free again */
    pid_t owner; /* only this process unlinks */
    dev_t dev; /* of the socket file */
    ino_t ino;
};

/* Listeners of the same server that end when the new one begins to serve. Borrowed. */
struct listener_outgoing {
    struct listener *const *list;
    size_t n;
};

/*
 * listener_open - socket, options, bind, listen
 * TCP: SO_REUSEADDR, TCP_NODELAY (inherited), keepalive (inherited), TCP_USER_TIMEOUT (inherited).
 * ":PORT" is dual-stack; v4 alone where the kernel has no IPv6. unix: a stale socket file (nobody
 * accepts) of our own user or of the owner in @access is replaced under a lock; a live one, another
 * user's, or anything that is no socket, is refused.
 * @text      borrowed, valid for addr_parse; the path of a unix socket is absolute
 * @access    of a unix socket. What it says is so before anybody can connect, whatever the umask.
 * @user_timeout_ms  TCP_USER_TIMEOUT, if it leaves time for all keepalive probes; 0 = kernel's
 *   default
 * @patience_ms  for the lock of a unix socket's path, which another server may have while it
 * starts; 0 = do not block
 * @outgoing  they are no obstacle to a TCP address of the same port, and lose nothing if this fails
 * @why       on failure: a sentence that names the address, the call and what to do; @why_size
 * bytes Returns 0 or -errno (-EADDRINUSE also for a live unix socket, -EEXIST for what may not be
 * removed, -EBUSY if another process has the lock).
 */
int listener_open(const char *text, struct listener_access access, int backlog,
                  unsigned user_timeout_ms, unsigned patience_ms, struct listener_outgoing outgoing,
                  struct listener **ret, char *why, size_t why_size);

/*
 * listener_set_access - of a unix socket that may be listening
 * Nobody may connect meanwhile who might neither before nor after. What is -1 stays.
 * @ret_before  what its file had; NULL = of no interest
 * @why  on failure, as of listener_open: nothing has changed then
 * Returns 0 or -errno (-ENOENT: its file is gone, or another one is there).
 */
int listener_set_access(const struct listener *l, struct listener_access access,
                        struct listener_access *ret_before, char *why, size_t why_size);

/* listener_default_access - what a socket has whose access is not said */
struct listener_access listener_default_access(void);

/*
 * listener_inherit - a listening socket that an earlier image of this program has made
 * @text      as of listener_open
 * @fd        taken over on 0
 * @is_owner  the socket file is @dev, @ino and ours to unlink
 * Returns 0, -ENOTSOCK, -EINVAL (it does not listen, or @text is no address) or -errno.
 */
int listener_inherit(const char *text, int fd, int backlog, bool is_owner, dev_t dev, ino_t ino,
                     struct listener **ret);

/*
 * listener_check_passed - is @fd a stream socket that listens at an address which can be
 * configured?
 * @ret_where  its address, ADDR_TEXT_LEN bytes; "" if it is not known
 * @why        if it is not: what it is instead
 * Returns 0 or -EPROTOTYPE.
 */
int listener_check_passed(int fd, char *ret_where, char *why, size_t why_size);

/*
 * listener_take_passed - serve at the socket @fd of a service manager, if it is what @text says
 * It gets the options of listener_open and @backlog. listener_shut leaves it open for the manager:
 * who connects from then on waits there. Its socket file is not unlinked.
 * @text  as of listener_open; the same interfaces and families are meant, and port 0 is none
 * @fd    taken over on 0
 * Returns 0, 1 (it is another address) or -errno.
 */
int listener_take_passed(const char *text, int fd, int backlog, unsigned user_timeout_ms,
                         struct listener **ret);

/* listener_mark_passed - @l, which was inherited, once was passed by a service manager */
void listener_mark_passed(struct listener *l);

/* listener_set_backlog - listen() again with another backlog (arbiter only). Returns 0 or -errno.
 */
int listener_set_backlog(struct listener *l, int backlog);

/* listener_queue_max - how many connections can wait: the backlog, or net.core.somaxconn where that
 * is less, as far as it can be known */
int listener_queue_max(const struct listener *l);

/*
 * listener_space_probes - for what is accepted from now on, by somebody who has @n_open connections
 * Connections that were opened together would be probed together, by the hundred thousand in one
 * tick of the kernel, which drops what its queues cannot hold. So the idle time before the first
 * probe grows with the number of connections.
 */
void listener_space_probes(const struct listener *l, unsigned user_timeout_ms, size_t n_open);

/*
 * listener_wish - what does the connection @fd, which @l has accepted, begin with?
 * @peer  its address; NULL = it is asked for
 */
enum proxy_wish listener_wish(const struct listener *l, int fd, const struct sockaddr *peer);

/* What waited in the queue of @l: @fd is accepted, non-blocking, cloexec, and taken over. */
typedef void listener_on_waiting(const struct listener *l, int fd, void *userdata);

enum { LISTENER_SHUT_MAX = 64, LISTENER_START_MS = 100 /* patience of a server that starts */ };

/*
 * listener_shut - free the addresses at once, in every process that has the sockets
 * From then on clients are refused and other servers may have the addresses; in the owner the
 * socket files are unlinked. Takes a few milliseconds at most, for all of them together. Of one
 * that was passed only those are accepted that wait now.
 * Idempotent.
 * @n           at most LISTENER_SHUT_MAX
 * @on_waiting  called for each connection that nobody has accepted yet, as far as there are
 *   descriptors for them; NULL = they are reset
 */
void listener_shut(struct listener *const *list, size_t n, listener_on_waiting *on_waiting,
                   void *userdata);

/* listener_is_reachable - is the socket file still there? True for TCP. */
bool listener_is_reachable(const struct listener *l);

/* listener_is_over - has somebody shut it down, who may be another process? */
bool listener_is_over(const struct listener *l);

/* listener_unlink - in the owner: remove the socket file, if it is still ours */
void listener_unlink(struct listener *l);

/* listener_close - close; in the owner also unlink the socket file, if it is still ours. NULL is
 * fine. */
void listener_close(struct listener *l);

#endif
