/*
 * Listening sockets: opened at the arbiter's start-up and reload, shut when their address is given
 * up. Blocks for nothing but, at a start, the lock of a unix socket's path. One file for TCP, unix
 * and passed sockets, because they share how a failure is told, and all of their life but its end.
 */
#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include "base/fds.h"
#include "base/limits.h"
#include "base/lockfile.h"
#include "base/num.h"
#include "base/passed.h"
#include "base/util.h"

enum { KEEPIDLE_S = 60, KEEPIDLE_MAX_S = 3600, KEEPINTVL_S = 15, KEEPCNT = 4 };
enum { KERNEL_PATIENCE_MS = 924000 }; /* net.ipv4.tcp_retries2 at its default */
/* Of one worker. The kernel's timers come in bunches of many seconds when they are that far away.
 */
enum { PROBES_A_SECOND = 10 };
enum { LOCK_PATH_MAX = 128 };

/* Where the explanation of a failure goes. */
struct failure {
    const char *text;
    char *why;
    size_t size;
};

/* What people can do about an error, by family. */
static const struct {
    int error;
    bool is_unix;
    bool is_low_port;
    const char *hint;
} hints[] = {
    {EADDRINUSE, false, false, "another server listens there: stop it or choose another port"},
    {EADDRINUSE, true, false, "another server listens there: stop it or choose another path"},
    {EADDRNOTAVAIL, false, false,
     "no interface of this machine has that address: see `ip address`"},
    {EACCES, false, true,
     "ports below 1024 need root or CAP_NET_BIND_SERVICE: choose a higher one"},
    {EACCES, true, false,
     "this user may not do that in the directory: change its mode or choose another path"},
    {EAFNOSUPPORT, false, false, "this kernel has no IPv6: use a v4 address"},
    {ENODEV, false, false, "the name after % is no interface: see `ip link`"},
    {ENOENT, true, false, "the directory does not exist: create it"},
    {ENOTDIR, true, false, "a part of the path is no directory"},
    {EROFS, true, false, "the file system is read-only: choose another path"},
    {EMFILE, false, false, "raise the limit of open files: ulimit -n"},
    {EMFILE, true, false, "raise the limit of open files: ulimit -n"},
};

static int fail_hint(const struct failure *f, const char *call, int error, const char *hint)
{
    char text[LIMITS_ERROR_LEN];

    snprintf(f->why, f->size, "%s: %s: %s%s%s", f->text, call, limits_error(error, text),
             hint ? "; " : "", hint ? hint : "");
    return -error;
}

static int fail(const struct failure *f, const struct addr *a, const char *call, int error)
{
    bool is_unix = a->kind == ADDR_UNIX;
    bool is_low_port = !is_unix && a->port > 0 && a->port < 1024;
    const char *hint = NULL;
    for (size_t i = 0; i < ARRAY_SIZE(hints) && !hint; i++) {
        if (hints[i].error == error && hints[i].is_unix == is_unix &&
            (!hints[i].is_low_port || is_low_port))
            hint = hints[i].hint;
    }
    return fail_hint(f, call, error, hint);
}

/* --- TCP -------------------------------------------------------------------------------------- */

/*
 * With TCP_USER_TIMEOUT the kernel does not count the probes: the first that is not answered by
 * then ends the connection. So it leaves time for all of them; where that would be longer than the
 * kernel waits for an acknowledgement by itself, it is better left out.
 */
static int user_timeout(int idle_s, unsigned wanted_ms)
{
    const unsigned least_ms = ((unsigned)idle_s + KEEPCNT * KEEPINTVL_S) * 1000;

    if (wanted_ms < KERNEL_PATIENCE_MS && least_ms > KERNEL_PATIENCE_MS)
        return 0;
    return (int)(wanted_ms ? MAX(wanted_ms, least_ms) : 0);
}

/* Accepted sockets inherit all of these on Linux, which saves six calls a connection. @family is
 * AF_UNSPEC if it is bound already. */
static int set_tcp_options(struct listener *l, int family, unsigned user_timeout_ms, bool is_shared,
                           const struct failure *f)
{
    const struct {
        const char *call;
        int level, option, value;
        bool is_wanted;
    } options[] = {
        {"SO_REUSEADDR", SOL_SOCKET, SO_REUSEADDR, 1, family != AF_UNSPEC},
        {"SO_REUSEPORT", SOL_SOCKET, SO_REUSEPORT, 1, is_shared},
        {"IPV6_V6ONLY", IPPROTO_IPV6, IPV6_V6ONLY, l->addr.kind != ADDR_ANY, family == AF_INET6},
        {"TCP_NODELAY", IPPROTO_TCP, TCP_NODELAY, 1, true},
        {"SO_KEEPALIVE", SOL_SOCKET, SO_KEEPALIVE, 1, true},
        {"TCP_KEEPIDLE", IPPROTO_TCP, TCP_KEEPIDLE, KEEPIDLE_S, true},
        {"TCP_KEEPINTVL", IPPROTO_TCP, TCP_KEEPINTVL, KEEPINTVL_S, true},
        {"TCP_KEEPCNT", IPPROTO_TCP, TCP_KEEPCNT, KEEPCNT, true},
        {"TCP_USER_TIMEOUT", IPPROTO_TCP, TCP_USER_TIMEOUT,
         user_timeout(KEEPIDLE_S, user_timeout_ms), true},
    };
    for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
        if (options[i].is_wanted && setsockopt(l->fd, options[i].level, options[i].option,
                                               &options[i].value, sizeof(int)) < 0)
            return fail(f, &l->addr, options[i].call, errno);
    }
    return 0;
}

static int bind_tcp(struct listener *l, const struct sockaddr_storage *ss, socklen_t len,
                    unsigned user_timeout_ms, bool is_shared, const struct failure *f)
{
    l->fd = socket(ss->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return fail(f, &l->addr, "socket", errno);
    int r = set_tcp_options(l, ss->ss_family, user_timeout_ms, is_shared, f);
    if (r < 0)
        return r;
    if (bind(l->fd, (const struct sockaddr *)ss, len) < 0)
        return fail(f, &l->addr, "bind", errno);
    return 0;
}

static void set_shared(int fd, bool is_on)
{
    const int value = is_on;

    setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &value, sizeof(value));
}

/*
 * 127.0.0.1:80 cannot listen besides 0.0.0.0:80 unless both sockets say SO_REUSEPORT and are of one
 * user. Ours say so only from the bind to the listen of the new one, so that another server is
 * refused. The kernel remembers for as long as the port is in use, however, that it was shared: one
 * of the same user that says SO_REUSEPORT itself is let in. Returns whether there are any.
 */
static bool share_port(const struct listener *l, struct listener_outgoing outgoing, bool is_on)
{
    bool is_shared = false;

    for (size_t i = 0; i < outgoing.n; i++) {
        const struct listener *other = outgoing.list[i];

        if (other->addr.kind == ADDR_UNIX || other->addr.port != l->addr.port)
            continue;
        set_shared(other->fd, is_on);
        is_shared = true;
    }
    return is_shared;
}

static int open_tcp(struct listener *l, unsigned user_timeout_ms, bool is_shared,
                    const struct failure *f)
{
    struct sockaddr_storage ss;
    socklen_t len;
    int r = addr_to_sockaddr(&l->addr, &ss, &len);

    if (r == -EINVAL)
        return fail_hint(f, "address", EINVAL,
                         "a server listens on numbers, not names: write the address itself");
    if (r < 0)
        return fail(f, &l->addr, "address", -r);
    r = bind_tcp(l, &ss, len, user_timeout_ms, is_shared, f);
    if (l->addr.kind == ADDR_ANY && (r == -EAFNOSUPPORT || r == -EADDRNOTAVAIL)) {
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(l->addr.port)};
        memset(&ss, 0, sizeof(ss));
        memcpy(&ss, &any, sizeof(any));
        fds_close(&l->fd);
        r = bind_tcp(l, &ss, sizeof(any), user_timeout_ms, is_shared, f);
    }
    return r;
}

/* --- unix sockets ----------------------------------------------------------------------------- */

/* The lock's name: beside the socket. */
static void lock_path(const struct listener *l, char path[LOCK_PATH_MAX])
{
    snprintf(path, LOCK_PATH_MAX, "%s.lock", l->addr.path);
}

static void explain_lock(const char *path, bool is_held, char *hint, size_t size)
{
    struct stat st = {.st_uid = geteuid()};
    char holder[64] = "another program";
    const bool is_there = lstat(path, &st) == 0;

    if (is_held && is_there)
        lockfile_name_holder(&st, holder, sizeof(holder));
    if (is_held)
        snprintf(hint, size, "%s holds it, maybe a server that starts: try again", holder);
    else if (st.st_uid != geteuid())
        snprintf(
            hint, size,
            "it belongs to user %u: let that user or root remove it, or choose a directory for "
            "the socket in which only this user may write",
            st.st_uid);
    else
        snprintf(hint, size,
                 "it is no empty file of mode 0600: remove it or choose another path for the "
                 "socket");
}

/* Two servers that start at once must not both find the file stale. */
static int take_lock(const struct listener *l, unsigned patience_ms, const struct failure *f,
                     int *ret_fd)
{
    char path[LOCK_PATH_MAX], call[LOCK_PATH_MAX + 8], hint[192];

    lock_path(l, path);
    int r = lockfile_take(path, patience_ms, ret_fd);
    snprintf(call, sizeof(call), "lock %s", path);
    if (r != -EBUSY && r != -EEXIST)
        return r < 0 ? fail(f, &l->addr, call, -r) : 0;
    explain_lock(path, r == -EBUSY, hint, sizeof(hint));
    return fail_hint(f, call, -r, hint);
}

static void release_lock(const struct listener *l, int *fd)
{
    char path[LOCK_PATH_MAX];

    lock_path(l, path);
    lockfile_release(path, fd);
}

/* Does somebody accept there? Returns 0 (stale), -EADDRINUSE or -errno. */
static int probe_unix(const struct sockaddr *sa, socklen_t len)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int error = connect(fd, sa, len) < 0 ? errno : EADDRINUSE;
    fds_close(&fd);
    switch (error) {
    case ECONNREFUSED:
    case ENOENT:
        return 0;
    case EAGAIN: /* its queue is full: alive */
    case EPROTOTYPE: /* of another type, which cannot be probed */
        return -EADDRINUSE;
    default:
        return -error;
    }
}

static int clear_stale(const struct listener *l, uid_t owner, const struct sockaddr *sa,
                       socklen_t len, const struct failure *f)
{
    struct stat st;
    if (lstat(l->addr.path, &st) < 0)
        return errno == ENOENT ? 0 : fail(f, &l->addr, "lstat", errno);
    if (!S_ISSOCK(st.st_mode))
        return fail_hint(f, "bind", EEXIST,
                         "there is something that is no socket: remove it or choose another path");
    int r = probe_unix(sa, len);
    if (r < 0)
        return fail(f, &l->addr, r == -EADDRINUSE ? "bind" : "connect to the old socket", -r);
    if (st.st_uid != geteuid() && st.st_uid != owner)
        return fail_hint(f, "bind", EEXIST,
                         "there is a stale socket of another user: remove it yourself");
    if (unlink(l->addr.path) < 0 && errno != ENOENT)
        return fail(f, &l->addr, "unlink of the stale socket", errno);
    return 0;
}

/* Where nothing has to change nobody asks whether it could: some file systems let nobody. */
static bool has_access(const struct stat *st, struct listener_access access)
{
    return (access.mode < 0 || (mode_t)access.mode == (st->st_mode & 07777)) &&
           (access.uid == (uid_t)-1 || access.uid == st->st_uid) &&
           (access.gid == (gid_t)-1 || access.gid == st->st_gid);
}

static struct listener_access access_in(const struct stat *st)
{
    return (struct listener_access){(int)(st->st_mode & 07777), st->st_uid, st->st_gid};
}

struct listener_access listener_default_access(void)
{
    const mode_t mask = umask(0777);

    umask(mask);
    return (struct listener_access){(int)(0666 & ~mask), geteuid(), getegid()};
}

/* The file by a descriptor, so that nobody can put another one in its place. */
static int open_file(const struct listener *l, int *ret_fd, struct stat *ret)
{
    int fd = open(l->addr.path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    int error = fd < 0 || fstat(fd, ret) < 0 ? errno : 0;

    if (error == 0 && !S_ISSOCK(ret->st_mode))
        error = ENOENT;
    if (error)
        fds_close(&fd);
    else
        *ret_fd = fd;
    return -error;
}

/* chmod(2) knows no descriptor of O_PATH. */
static int change_mode(int fd, mode_t mode)
{
    char path[32];

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    return chmod(path, mode) < 0 ? -errno : 0;
}

static int change_owner(int fd, uid_t uid, gid_t gid)
{
    return fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/*
 * Until the end the file has only the rights that both modes give, so that nobody has more than
 * before or after. Only who owns a file may change its mode, unless CAP_FOWNER lets him: so a
 * foreign owner comes last, and has it no more while the mode changes. Returns 0 or -errno, with
 * @ret_call.
 */
static int change_access(int fd, const struct stat *st, struct listener_access to,
                         const char **ret_call)
{
    const mode_t mode = st->st_mode & 07777;
    const bool has_other_mode = to.mode >= 0 && (mode_t)to.mode != mode;
    const bool has_other_group = to.gid != (gid_t)-1 && to.gid != st->st_gid;
    uid_t owner = st->st_uid;
    int r = 0;

    *ret_call = "chmod"; /* what it would be by */
    if (has_other_mode && owner != geteuid() && (r = change_owner(fd, geteuid(), (gid_t)-1)) == 0)
        owner = geteuid();
    if (r == 0 && has_other_mode && has_other_group)
        r = change_mode(fd, mode & (mode_t)to.mode);
    if (r < 0)
        return r;
    *ret_call = "chown";
    if (has_other_group)
        r = change_owner(fd, (uid_t)-1, to.gid);
    if (r == 0 && has_other_mode && (r = change_mode(fd, (mode_t)to.mode)) < 0)
        *ret_call = "chmod";
    if (r == 0 && to.uid != (uid_t)-1 && to.uid != owner)
        r = change_owner(fd, to.uid, (gid_t)-1);
    else if (r == 0 && to.uid == (uid_t)-1 && owner != st->st_uid)
        r = change_owner(fd, st->st_uid, (gid_t)-1);
    return r;
}

static int fail_access(const struct failure *f, const char *call, int error)
{
    static const char not_allowed[] =
        "only root may give a socket to another user, and an ordinary user only to a group of his "
        "own; under systemd it also takes SystemCallFilter=@chown";
    static const char not_owner[] =
        "only the user whose file it is, and root, may change its mode: leave it out, or let who "
        "makes the socket give it, as by SocketMode= of systemd";

    return fail_hint(f, call, error,
                     error == EPERM    ? strcmp(call, "chmod") == 0 ? not_owner : not_allowed
                     : error == EINVAL ? "this user namespace has no such user or group"
                                       : NULL);
}

/* @from is what the file has: it has it again if this fails. */
static int apply_access(int fd, const struct stat *from, struct listener_access to,
                        const struct failure *f)
{
    const char *call, *unused;
    struct stat now;
    const int r = change_access(fd, from, to, &call);

    if (r == 0)
        return 0;
    if (fstat(fd, &now) == 0)
        change_access(fd, &now, access_in(from), &unused);
    return fail_access(f, call, -r);
}

int listener_set_access(const struct listener *l, struct listener_access access,
                        struct listener_access *ret_before, char *why, size_t why_size)
{
    const struct failure f = {.text = l->text, .why = why, .size = why_size};
    struct stat st = {.st_mode = 0};
    int fd = -1;
    int r = open_file(l, &fd, &st);

    if (r == 0 && (st.st_dev != l->dev || st.st_ino != l->ino))
        r = -ENOENT;
    r = r < 0 ? fail_hint(&f, "its file", -r, NULL) : apply_access(fd, &st, access, &f);
    if (r == 0 && ret_before)
        *ret_before = access_in(&st);
    fds_close(&fd);
    return r;
}

/*
 * A socket is neither run nor listed: 0666 less the umask, as a file would have. One whose access
 * is said is its owner's alone until it has what it shall have.
 */
static int bind_file(const struct listener *l, const struct sockaddr *sa, socklen_t len,
                     bool is_private)
{
    const mode_t mask = umask(0777);
    int r;

    umask(mask | 0111);
    r = is_private && fchmod(l->fd, 0600) < 0 ? -errno : 0;
    if (r == 0 && bind(l->fd, sa, len) < 0)
        r = -errno;
    umask(mask);
    return r;
}

static int bind_unix(struct listener *l, const struct sockaddr *sa, socklen_t len,
                     struct listener_access access, const struct failure *f)
{
    struct stat st = {.st_mode = 0};
    int fd = -1;
    int r = bind_file(l, sa, len, listener_says_access(access));

    if (r == 0)
        r = open_file(l, &fd, &st);
    if (r < 0)
        return fail(f, &l->addr, "bind", -r);
    l->owner = getpid();
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    if (!has_access(&st, access) && st.st_uid != geteuid())
        r = fail_hint(f, "bind", EEXIST,
                      "another user has put a socket of his own there: choose a directory in which "
                      "only this user may write");
    else if (!has_access(&st, access))
        r = apply_access(fd, &st, access, f);
    fds_close(&fd);
    return r;
}

static int open_unix(struct listener *l, struct listener_access access, unsigned patience_ms,
                     const struct failure *f, int *ret_lock)
{
    struct sockaddr_storage ss;
    socklen_t len;
    int r = take_lock(l, patience_ms, f, ret_lock);

    if (r < 0)
        return r;
    r = addr_to_sockaddr(&l->addr, &ss, &len);
    if (r == 0)
        r = clear_stale(l, access.uid, (struct sockaddr *)&ss, len, f);
    if (r < 0)
        return r;
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0)
        return fail(f, &l->addr, "socket", errno);
    return bind_unix(l, (struct sockaddr *)&ss, len, access, f);
}

/* --- both ------------------------------------------------------------------------------------- */

static int learn_name(struct listener *l)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss);

    if (getsockname(l->fd, (struct sockaddr *)&ss, &len) < 0)
        return -errno;
    addr_format((struct sockaddr *)&ss, len, l->bound);
    if (ss.ss_family == AF_INET)
        l->addr.port = ntohs(((struct sockaddr_in *)&ss)->sin_port);
    else if (ss.ss_family == AF_INET6)
        l->addr.port = ntohs(((struct sockaddr_in6 *)&ss)->sin6_port);
    return 0;
}

/*
 * What is accepted inherits them. An urgent byte is a byte of the stream like any other (RFC 6093).
 * Where descriptors cannot be refused, those who accept see to it.
 */
static void set_stream_options(const struct listener *l)
{
    const int on = 1;

    setsockopt(l->fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on));
    if (l->addr.kind == ADDR_UNIX)
        passed_refuse(l->fd);
}

static int begin_to_listen(struct listener *l, const struct failure *f)
{
    int r;

    set_stream_options(l);
    r = listen(l->fd, l->backlog) < 0 ? -errno : 0;
    if (r < 0)
        return fail(f, &l->addr, "listen", -r);
    r = learn_name(l);
    return r < 0 ? fail(f, &l->addr, "getsockname", -r) : 0;
}

/* A TCP address, listening. */
static int serve_tcp(struct listener *l, unsigned user_timeout_ms,
                     struct listener_outgoing outgoing, const struct failure *f)
{
    const bool is_shared = share_port(l, outgoing, true);
    int r = open_tcp(l, user_timeout_ms, is_shared, f);

    if (r == 0)
        r = begin_to_listen(l, f);
    if (is_shared) {
        set_shared(l->fd, false);
        share_port(l, outgoing, false);
    }
    return r;
}

/* The lock is held until there is somebody to answer a probe. */
static int serve_unix(struct listener *l, struct listener_access access, unsigned patience_ms,
                      const struct failure *f)
{
    int lock = -1;
    int r = open_unix(l, access, patience_ms, f, &lock);

    if (r == 0)
        r = begin_to_listen(l, f);
    release_lock(l, &lock);
    return r;
}

int listener_open(const char *text, struct listener_access access, int backlog,
                  unsigned user_timeout_ms, unsigned patience_ms, struct listener_outgoing outgoing,
                  struct listener **ret, char *why, size_t why_size)
{
    struct failure f = {.text = text, .why = why, .size = why_size};
    const char *what;
    struct listener *l = calloc(1, sizeof(*l));

    if (!l || !(l->text = strdup(text))) {
        free(l);
        return fail_hint(&f, "listen", ENOMEM, NULL);
    }
    l->fd = -1;
    l->backlog = backlog;
    int r = addr_parse(text, &l->addr, &what);
    if (r < 0)
        fail_hint(&f, "address", -r, what);
    else if (l->addr.kind == ADDR_UNIX)
        r = serve_unix(l, access, patience_ms, &f);
    else
        r = serve_tcp(l, user_timeout_ms, outgoing, &f);
    if (r < 0) {
        listener_close(l);
        return r;
    }
    *ret = l;
    return 0;
}

static int check_listening(int fd)
{
    int is_listening = 0;
    socklen_t len = sizeof(is_listening);

    if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &is_listening, &len) < 0)
        return -errno;
    return is_listening ? 0 : -EINVAL;
}

int listener_inherit(const char *text, int fd, int backlog, bool is_owner, dev_t dev, ino_t ino,
                     struct listener **ret)
{
    const char *what;
    struct listener *l = calloc(1, sizeof(*l));
    int r = l && (l->text = strdup(text)) ? 0 : -ENOMEM;

    if (r == 0)
        r = addr_parse(text, &l->addr, &what);
    if (r == 0)
        r = check_listening(fd);
    if (r == 0) {
        l->fd = fd;
        l->backlog = backlog;
        l->owner = is_owner ? getpid() : 0;
        l->dev = dev;
        l->ino = ino;
        set_stream_options(l);
        r = learn_name(l);
    }
    if (r < 0) {
        if (l)
            free(l->text);
        free(l);
        return r;
    }
    *ret = l;
    return 0;
}

/* --- passed by a service manager ---------------------------------------------------------------
 */

int listener_check_passed(int fd, char *ret_where, char *why, size_t why_size)
{
    struct sockaddr_storage ss;
    socklen_t len = sizeof(ss), int_len = sizeof(int);
    int type = 0;
    bool is_of_family;

    *ret_where = '\0';
    if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0) {
        snprintf(why, why_size, "%s", errno == EBADF ? "is not open" : "is no socket");
        return -EPROTOTYPE;
    }
    is_of_family = ss.ss_family == AF_INET || ss.ss_family == AF_INET6 || ss.ss_family == AF_UNIX;
    if (is_of_family)
        addr_format((struct sockaddr *)&ss, len, ret_where);
    if (!is_of_family)
        snprintf(why, why_size, "is a socket of family %d, allowed: TCP and unix", ss.ss_family);
    else if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &int_len) < 0 || type != SOCK_STREAM)
        snprintf(why, why_size, "is %s socket, allowed: a stream (ListenStream=)",
                 type == SOCK_DGRAM ? "a datagram" : "another kind of");
    else if (check_listening(fd) < 0)
        snprintf(why, why_size, "does not listen (is it Accept=yes?)");
    else
        return 0;
    return -EPROTOTYPE;
}

static bool is_v6_only(int fd)
{
    int is_only = 0;
    socklen_t len = sizeof(is_only);

    return getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &is_only, &len) == 0 && is_only;
}

/* ":PORT" is both families, or v4 alone where the kernel has no other. */
static bool is_any_of(int fd, const struct sockaddr_storage *ss, uint16_t port)
{
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)ss;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)ss;

    if (ss->ss_family == AF_INET)
        return v4->sin_addr.s_addr == htonl(INADDR_ANY) && ntohs(v4->sin_port) == port;
    return ss->ss_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr) &&
           ntohs(v6->sin6_port) == port && !is_v6_only(fd);
}

static bool is_bound_to(int fd, const struct addr *a)
{
    char is[ADDR_TEXT_LEN], wanted[ADDR_TEXT_LEN];
    struct sockaddr_storage ss, want;
    socklen_t len = sizeof(ss), want_len;

    if (getsockname(fd, (struct sockaddr *)&ss, &len) < 0)
        return false;
    if (a->kind == ADDR_ANY)
        return is_any_of(fd, &ss, a->port);
    if (addr_to_sockaddr(a, &want, &want_len) < 0 || want.ss_family != ss.ss_family)
        return false;
    addr_format((struct sockaddr *)&ss, len, is);
    addr_format((struct sockaddr *)&want, want_len, wanted);
    return strcmp(is, wanted) == 0;
}

void listener_mark_passed(struct listener *l)
{
    struct stat st;

    l->is_passed = true;
    l->passed_mode = -1;
    if (l->addr.kind == ADDR_UNIX && lstat(l->addr.path, &st) == 0 && st.st_dev == l->dev &&
        st.st_ino == l->ino)
        l->passed_mode = (int)(st.st_mode & 07777);
}

/* The file is the manager's, but whether it is still there is seen as of any. */
static void learn_file(struct listener *l)
{
    struct stat st;

    if (l->addr.kind != ADDR_UNIX || lstat(l->addr.path, &st) < 0)
        return;
    l->dev = st.st_dev;
    l->ino = st.st_ino;
}

int listener_take_passed(const char *text, int fd, int backlog, unsigned user_timeout_ms,
                         struct listener **ret)
{
    char why[256];
    const struct failure f = {.text = text, .why = why, .size = sizeof(why)};
    struct listener *l;
    const char *what;
    struct addr a;
    int r = addr_parse(text, &a, &what);

    if (r < 0)
        return r;
    if (!is_bound_to(fd, &a))
        return 1;
    r = listener_inherit(text, fd, backlog, false, 0, 0, &l);
    if (r < 0)
        return r;
    learn_file(l);
    listener_mark_passed(l);
    r = fds_set_nonblock(fd);
    if (r == 0 && l->addr.kind != ADDR_UNIX)
        r = set_tcp_options(l, AF_UNSPEC, user_timeout_ms, false, &f);
    if (r == 0)
        r = listener_set_backlog(l, backlog);
    if (r == 0) {
        *ret = l;
        return 0;
    }
    l->fd = -1; /* stays the caller's */
    listener_close(l);
    return r;
}

int listener_set_backlog(struct listener *l, int backlog)
{
    if (listen(l->fd, backlog) < 0)
        return -errno;
    l->backlog = backlog;
    return 0;
}

/* A listening TCP socket tells it in this field; of others only the limit can be read. */
int listener_queue_max(const struct listener *l)
{
    struct tcp_info info = {.tcpi_state = 0};
    socklen_t len = sizeof(info);
    char text[32] = "";
    uint64_t limit;
    int fd;

    if (l->addr.kind != ADDR_UNIX)
        return getsockopt(l->fd, IPPROTO_TCP, TCP_INFO, &info, &len) == 0 ? (int)info.tcpi_sacked
                                                                          : l->backlog;
    fd = open("/proc/sys/net/core/somaxconn", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, sizeof(text) - 1) > 0)
        text[strcspn(text, "\n")] = '\0';
    fds_close(&fd);
    if (num_parse_u64(text, 0, INT_MAX, &limit) < 0)
        return l->backlog;
    return (int)MIN(limit, (uint64_t)l->backlog);
}

void listener_space_probes(const struct listener *l, unsigned user_timeout_ms, size_t n_open)
{
    const size_t more_s = MIN(n_open / PROBES_A_SECOND, (size_t)KEEPIDLE_MAX_S - KEEPIDLE_S);
    const int idle_s = KEEPIDLE_S + (int)more_s, timeout_ms = user_timeout(idle_s, user_timeout_ms);

    if (l->addr.kind == ADDR_UNIX)
        return;
    /* What was set before serves as well. */
    setsockopt(l->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(int));
    setsockopt(l->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(int));
}

/* One that has been reset already has no address, and is about to end. */
static bool is_believed(const struct listener *l, int fd, const struct sockaddr *peer)
{
    struct sockaddr_storage asked = {.ss_family = AF_UNSPEC};
    socklen_t len = sizeof(asked);
    struct addr_ip ip;

    if (l->addr.kind == ADDR_UNIX)
        return true;
    if (!peer && getpeername(fd, (struct sockaddr *)&asked, &len) == 0)
        peer = (const struct sockaddr *)&asked;
    return peer && addr_ip(peer, &ip) && addr_nets_have(l->proxy_from, l->n_proxy_from, &ip);
}

enum proxy_wish listener_wish(const struct listener *l, int fd, const struct sockaddr *peer)
{
    if (l->proxy == PROXY_UNASKED || is_believed(l, fd, peer))
        return l->proxy;
    return l->proxy == PROXY_ACCEPTED ? PROXY_UNASKED : PROXY_REFUSED;
}

bool listener_is_reachable(const struct listener *l)
{
    struct stat st;

    return l->addr.kind != ADDR_UNIX || (lstat(l->addr.path, &st) == 0 && S_ISSOCK(st.st_mode) &&
                                         st.st_dev == l->dev && st.st_ino == l->ino);
}

void listener_unlink(struct listener *l)
{
    if (l->owner == getpid() && listener_is_reachable(l))
        unlink(l->addr.path);
    l->owner = 0;
}

void listener_close(struct listener *l)
{
    if (!l)
        return;
    listener_unlink(l); /* before the close: from then on a new server may take the path over */
    fds_close(&l->fd);
    free(l->text);
    free(l);
}
