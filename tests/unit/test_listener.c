/*
 * Listening sockets on port 0 and in a directory of the test's own: options, families, stale and
 * foreign files, and sentences that help.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <ftw.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include "base/fds.h"
#include "base/util.h"
#include "net/listener.h"

static char dir[64];
static char why[256];
static const struct listener_outgoing nothing;
static unsigned n_sleeps;

static int make_dir(void **state UNUSED)
{
    strcpy(dir, "/tmp/listener-XXXXXX");
    umask(022);
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_entry(const char *path, const struct stat *st UNUSED, int type UNUSED,
                        struct FTW *ftw UNUSED)
{
    return remove(path);
}

static int remove_dir(void **state UNUSED)
{
    return nftw(dir, remove_entry, 8, FTW_DEPTH | FTW_PHYS);
}

static const char *path_of(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return path;
}

static const char *text_of(const char *name)
{
    static char text[160];
    snprintf(text, sizeof(text), "unix:%s", path_of(name));
    return text;
}

static struct listener *must_open(const char *text)
{
    struct listener *l = NULL;
    int r = listener_open(text, LISTENER_ANY_ACCESS, 16, 0, 0, nothing, &l, why, sizeof(why));
    if (r != 0)
        fail_msg("%s: %s", text, why);
    assert_string_equal(l->text, text);
    return l;
}

static void must_refuse(const char *text, int error, const char *words)
{
    struct listener *l = (struct listener *)&l;
    why[0] = '\0';
    int r = listener_open(text, LISTENER_ANY_ACCESS, 16, 0, 0, nothing, &l, why, sizeof(why));
    if (r != error || !strstr(why, words) || strncmp(why, text, strlen(text)) != 0)
        fail_msg("%s gave %d (%s), expected %d and \"%s\"", text, r, why, error, words);
    assert_ptr_equal(l, &l);
}

static int connect_to(const struct sockaddr *sa, socklen_t len)
{
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, sa, len) < 0) {
        int r = -errno;
        fds_close(&fd);
        return r;
    }
    return fd;
}

static int connect_text(const char *text)
{
    struct addr a;
    struct sockaddr_storage ss;
    socklen_t len;
    const char *reason;
    assert_int_equal(addr_parse(text, &a, &reason), 0);
    assert_int_equal(addr_to_sockaddr(&a, &ss, &len), 0);
    return connect_to((struct sockaddr *)&ss, len);
}

static int connect_port(int family, unsigned port)
{
    char text[64];
    snprintf(text, sizeof(text), family == AF_INET ? "127.0.0.1:%u" : "[::1]:%u", port);
    return connect_text(text);
}

static int get_int(int fd, int level, int option)
{
    int value = -1;
    socklen_t len = sizeof(value);
    assert_int_equal(getsockopt(fd, level, option, &value, &len), 0);
    return value;
}

static bool has_v6(void)
{
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has = fd >= 0 && bind(fd, (struct sockaddr *)&in6, sizeof(in6)) == 0;
    fds_close(&fd);
    if (!has)
        print_message("skipped: this system has no IPv6\n");
    return has;
}

static void listener_open__tcp__listens_without_blocking(void **state UNUSED)
{
    struct listener *l = must_open("127.0.0.1:0");
    char expected[64];
    assert_int_not_equal(l->addr.port, 0);
    snprintf(expected, sizeof(expected), "127.0.0.1:%u", l->addr.port);
    assert_string_equal(l->bound, expected);
    assert_int_equal(l->backlog, 16);
    assert_true(fcntl(l->fd, F_GETFL) & O_NONBLOCK);
    assert_int_equal(fcntl(l->fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(get_int(l->fd, SOL_SOCKET, SO_REUSEADDR), 1);
    assert_int_equal(accept(l->fd, NULL, NULL), -1);
    assert_int_equal(errno, EAGAIN);
    int fd = connect_text(l->bound);
    assert_true(fd >= 0);
    fds_close(&fd);
    assert_int_equal(listener_set_backlog(l, 7), 0);
    assert_int_equal(l->backlog, 7);
    listener_close(l);
    assert_int_equal(connect_text(expected), -ECONNREFUSED);
    listener_close(NULL);
}

static void listener_open__tcp__accepted_sockets_inherit_the_options(void **state UNUSED)
{
    struct listener *l = NULL;
    assert_int_equal(listener_open("127.0.0.1:0", LISTENER_ANY_ACCESS, 16, 12345, 0, nothing, &l,
                                   why, sizeof(why)),
                     0);
    int client = connect_text(l->bound), fd = accept(l->fd, NULL, NULL);
    assert_true(client >= 0 && fd >= 0);
    assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_NODELAY), 1);
    assert_int_equal(get_int(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
    assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_KEEPIDLE), 60);
    assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_KEEPINTVL), 15);
    assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_KEEPCNT), 4);
    fds_close(&client);
    fds_close(&fd);
    listener_close(l);
}

/* The kernel ends a connection at the first unanswered probe after TCP_USER_TIMEOUT, whatever
 * TCP_KEEPCNT says. */
static void expect_all_probes(int fd, int idle_s, int timeout_ms)
{
    const int last_s = idle_s + get_int(fd, IPPROTO_TCP, TCP_KEEPINTVL) *
                                    (get_int(fd, IPPROTO_TCP, TCP_KEEPCNT) - 1);

    assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_KEEPIDLE), idle_s);
    assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), timeout_ms);
    assert_true(timeout_ms == 0 || timeout_ms > last_s * 1000);
}

static void listener_open__user_timeout__leaves_time_for_all_probes(void **state UNUSED)
{
    static const struct {
        unsigned wanted_ms;
        int first_ms, later_ms;
    } table[] = {
        {0, 0, 0}, {30000, 120000, 160000}, {150000, 150000, 160000}, {900000, 900000, 900000}};

    for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
        struct listener *l = NULL;

        assert_int_equal(listener_open("127.0.0.1:0", LISTENER_ANY_ACCESS, 16, table[i].wanted_ms,
                                       0, nothing, &l, why, sizeof(why)),
                         0);
        expect_all_probes(l->fd, 60, table[i].first_ms);
        listener_space_probes(l, table[i].wanted_ms, 9);
        expect_all_probes(l->fd, 60, table[i].first_ms);
        listener_space_probes(l, table[i].wanted_ms, 400);
        expect_all_probes(l->fd, 100, table[i].later_ms);
        int client = connect_text(l->bound), fd = accept(l->fd, NULL, NULL);
        assert_true(client >= 0 && fd >= 0);
        expect_all_probes(fd, 100, table[i].later_ms);
        fds_close(&client);
        fds_close(&fd);
        listener_space_probes(l, table[i].wanted_ms, SIZE_MAX);
        assert_int_equal(get_int(l->fd, IPPROTO_TCP, TCP_KEEPIDLE), 3600);
        /* The kernel's own patience is shorter, and without a timeout it counts the probes. */
        assert_int_equal(get_int(l->fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
        listener_space_probes(l, table[i].wanted_ms, 0);
        expect_all_probes(l->fd, 60, table[i].first_ms);
        listener_close(l);
    }
}

static void listener_open__any__both_families(void **state UNUSED)
{
    struct listener *l = must_open(":0");
    int v4 = connect_port(AF_INET, l->addr.port);
    assert_true(v4 >= 0);
    fds_close(&v4);
    if (has_v6()) {
        int v6 = connect_port(AF_INET6, l->addr.port);
        assert_true(v6 >= 0);
        fds_close(&v6);
        assert_non_null(strstr(l->bound, "[::]:"));
    } else {
        assert_non_null(strstr(l->bound, "0.0.0.0:"));
    }
    listener_close(l);
}

/* So that somebody else may have the same port of the other family: of several, since another
 * program may have just taken one of them. */
static bool is_v4_free_beside(const struct listener *v6)
{
    struct listener *v4 = NULL;
    char text[64];

    snprintf(text, sizeof(text), "0.0.0.0:%u", v6->addr.port);
    if (listener_open(text, LISTENER_ANY_ACCESS, 16, 0, 0, nothing, &v4, why, sizeof(why)) < 0)
        return false;
    listener_close(v4);
    return true;
}

static void listener_open__v6__v6_alone(void **state UNUSED)
{
    struct listener *l[8];
    bool is_alone = false;

    if (!has_v6())
        skip();
    for (size_t i = 0; i < ARRAY_SIZE(l); i++) {
        int v6;

        l[i] = must_open("[::]:0");
        v6 = connect_port(AF_INET6, l[i]->addr.port);
        assert_true(v6 >= 0);
        fds_close(&v6);
        is_alone |=
            connect_port(AF_INET, l[i]->addr.port) == -ECONNREFUSED && is_v4_free_beside(l[i]);
    }
    for (size_t i = 0; i < ARRAY_SIZE(l); i++)
        listener_close(l[i]);
    assert_true(is_alone);
}

static void listener_open__tcp_after_close__at_once_again(void **state UNUSED)
{
    struct listener *l = must_open("127.0.0.1:0");
    char text[ADDR_TEXT_LEN];
    strcpy(text, l->bound);
    int client = connect_text(text), fd = accept(l->fd, NULL, NULL);
    assert_true(client >= 0 && fd >= 0);
    fds_close(&fd); /* our side closes first: TIME_WAIT stays on this port */
    fds_close(&client);
    listener_close(l);
    l = must_open(text);
    listener_close(l);
}

static void listener_open__cannot_be_had__the_reason_and_a_remedy(void **state UNUSED)
{
    struct listener *l = must_open("127.0.0.1:0");
    must_refuse(l->bound, -EADDRINUSE,
                "bind: Address already in use; another server listens there");
    listener_close(l);
    must_refuse("192.0.2.1:0", -EADDRNOTAVAIL, "no interface of this machine");
    must_refuse("example.com:80", -EINVAL, "not names");
    must_refuse("127.0.0.1", -EINVAL, "port is missing");
    must_refuse("[fe80::1%nosuch0]:0", -ENODEV, "no interface: see");
    must_refuse("unix:/proc/nonexistent/x", -ENOENT, "create it");
    must_refuse("unix:/dev/null/x", -ENOTDIR, "no directory");
}

static int low_port_without_privilege(void)
{
    struct listener *l;
    if (geteuid() == 0 && setuid(65534) != 0)
        return 1;
    int r =
        listener_open("127.0.0.1:7", LISTENER_ANY_ACCESS, 16, 0, 0, nothing, &l, why, sizeof(why));
    if (r == 0)
        return 77; /* net.ipv4.ip_unprivileged_port_start allows it */
    return r == -EACCES && strstr(why, "below 1024") ? 0 : 2;
}

static int no_descriptors(void)
{
    struct listener *l;
    while (dup(0) >= 0)
        ;
    if (listener_open("127.0.0.1:0", LISTENER_ANY_ACCESS, 16, 0, 0, nothing, &l, why,
                      sizeof(why)) != -EMFILE ||
        !strstr(why, "socket: ") || !strstr(why, "ulimit -n"))
        return 1;
    return listener_open(text_of("x"), LISTENER_ANY_ACCESS, 16, 0, 0, nothing, &l, why,
                         sizeof(why)) == -EMFILE
               ? 0
               : 2;
}

static int in_child(int (*body)(void))
{
    int status;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(body());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* A kernel without IPv6, made by a filter on socket(AF_INET6). */
static int any_without_v6(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET6, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog prog = {.len = ARRAY_SIZE(code), .filter = code};
    struct listener *l = NULL;

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog))
        return 77;
    if (socket(AF_INET6, SOCK_STREAM, 0) >= 0 || errno != EAFNOSUPPORT)
        return 77; /* big-endian: the filter looks at the wrong half */
    if (listener_open(":0", LISTENER_ANY_ACCESS, 16, 0, 0, nothing, &l, why, sizeof(why)) != 0)
        return 1;
    if (strncmp(l->bound, "0.0.0.0:", 8) != 0 || l->addr.port == 0 ||
        !(connect_text(l->bound) >= 0))
        return 2;
    int r = listener_open("[::]:0", LISTENER_ANY_ACCESS, 16, 0, 0, nothing, &l, why, sizeof(why));
    return r == -EAFNOSUPPORT && strstr(why, "no IPv6") ? 0 : 3;
}

static void listener_open__any_without_v6__v4_alone(void **state UNUSED)
{
    int r = in_child(any_without_v6);
    if (r == 77) {
        print_message("skipped: this system has no seccomp filters\n");
        skip();
    }
    assert_int_equal(r, 0);
}

static void listener_open__low_port__says_what_it_needs(void **state UNUSED)
{
    int r = in_child(low_port_without_privilege);
    if (r == 77) {
        print_message("skipped: here every user may bind low ports\n");
        skip();
    }
    assert_int_equal(r, 0);
}

static void listener_open__no_descriptors__says_so(void **state UNUSED)
{
    assert_int_equal(in_child(no_descriptors), 0);
}

/* --- unix --- */

static bool exists(const char *name)
{
    struct stat st;
    return lstat(path_of(name), &st) == 0;
}

/* A socket file that nobody listens on any more. */
static void make_stale(const char *name, int type)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, type, 0);
    strcpy(un.sun_path, path_of(name));
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    fds_close(&fd);
}

static void listener_open__unix__made_and_removed(void **state UNUSED)
{
    struct stat st;
    struct listener *l = must_open(text_of("a"));
    assert_string_equal(l->bound, text_of("a"));
    assert_int_equal(lstat(path_of("a"), &st), 0);
    assert_true(S_ISSOCK(st.st_mode));
    assert_int_equal(st.st_mode & 07777, 0644);
    assert_int_equal(umask(022), 022);
    int fd = connect_text(l->text);
    assert_true(fd >= 0);
    fds_close(&fd);
    listener_close(l);
    assert_false(exists("a"));
}

static void listener_open__unix_umask__is_honoured(void **state UNUSED)
{
    static const mode_t masks[] = {0, 0007, 0077, 0177};
    for (size_t i = 0; i < ARRAY_SIZE(masks); i++) {
        struct stat st;
        umask(masks[i]);
        struct listener *l = must_open(text_of("a"));
        assert_int_equal(umask(022), masks[i]);
        assert_int_equal(lstat(path_of("a"), &st), 0);
        assert_int_equal(st.st_mode & 07777, 0666 & ~masks[i]);
        listener_close(l);
    }
}

static void must_have(const char *name, mode_t mode, uid_t uid, gid_t gid)
{
    struct stat st;

    assert_int_equal(lstat(path_of(name), &st), 0);
    if ((st.st_mode & 07777) != mode || st.st_uid != uid || st.st_gid != gid)
        fail_msg("%s: mode %04o, owner %u:%u", name, st.st_mode & 07777, st.st_uid, st.st_gid);
}

static struct listener *must_open_with(struct listener_access access)
{
    struct listener *l = NULL;

    if (listener_open(text_of("a"), access, 16, 0, 0, nothing, &l, why, sizeof(why)) != 0)
        fail_msg("%s", why);
    return l;
}

static void listener_open__unix_access__so_whatever_the_umask(void **state UNUSED)
{
    static const mode_t masks[] = {0, 022, 0377, 0777};

    for (size_t i = 0; i < ARRAY_SIZE(masks); i++) {
        umask(masks[i]);
        struct listener *l = must_open_with((struct listener_access){0666, geteuid(), getegid()});
        assert_int_equal(umask(022), masks[i]);
        must_have("a", 0666, geteuid(), getegid());
        listener_close(l);
        assert_false(exists("a"));
    }
}

static void listener_set_access__while_it_listens__queue_and_socket_stay(void **state UNUSED)
{
    const uid_t uid = geteuid() ? geteuid() : 4321;
    const gid_t gid = geteuid() ? getegid() : 4322;
    struct listener *l = must_open_with((struct listener_access){0600, (uid_t)-1, (gid_t)-1});
    struct listener_access before;
    int client = connect_text(l->text), fd;

    assert_true(client >= 0);
    assert_int_equal(
        listener_set_access(l, (struct listener_access){0660, uid, gid}, NULL, why, sizeof(why)),
        0);
    must_have("a", 0660, uid, gid);
    assert_int_equal(listener_set_access(l, (struct listener_access){0606, (uid_t)-1, (gid_t)-1},
                                         &before, why, sizeof(why)),
                     0);
    assert_int_equal(before.mode, 0660);
    assert_int_equal(before.uid, uid);
    assert_int_equal(before.gid, gid);
    must_have("a", 0606, uid, gid);
    fd = accept(l->fd, NULL, NULL);
    assert_true(fd >= 0);
    fds_close(&fd);
    fds_close(&client);
    listener_close(l);
    assert_false(exists("a"));
}

/* In a child: an ordinary user, of one group more. */
static int be_refused_an_owner(void)
{
    const gid_t group = 4322;
    struct listener *l = NULL;

    if (setgroups(1, &group) < 0 || setresgid(4321, 4321, 4321) < 0 ||
        setresuid(4321, 4321, 4321) < 0)
        return 2;
    if (listener_open(text_of("a"), (struct listener_access){0660, 0, (gid_t)-1}, 16, 0, 0, nothing,
                      &l, why, sizeof(why)) != -EPERM ||
        !strstr(why, "chown: ") || !strstr(why, "only root may give") || exists("a"))
        return 3;
    if (listener_open(text_of("a"), (struct listener_access){0660, (uid_t)-1, group}, 16, 0, 0,
                      nothing, &l, why, sizeof(why)) != 0)
        return 4;
    must_have("a", 0660, 4321, group);
    if (listener_set_access(l, (struct listener_access){0606, (uid_t)-1, 0}, NULL, why,
                            sizeof(why)) != -EPERM)
        return 5;
    must_have("a", 0660, 4321, group);
    listener_close(l);
    return exists("a") ? 6 : 0;
}

/* In a child: an ordinary user, to whom root has passed a socket. */
static int be_refused_a_mode(void)
{
    struct listener *l = must_open_with((struct listener_access){0600, (uid_t)-1, (gid_t)-1});

    if (setgroups(0, NULL) < 0 || setresgid(4321, 4321, 4321) < 0 ||
        setresuid(4321, 4321, 4321) < 0)
        return 2;
    if (listener_set_access(l, (struct listener_access){0666, (uid_t)-1, (gid_t)-1}, NULL, why,
                            sizeof(why)) != -EPERM ||
        !strstr(why, "chmod: ") || !strstr(why, "may change its mode"))
        return 3;
    must_have("a", 0600, 0, 0);
    return 0;
}

static void listener_set_access__mode_of_a_file_of_root__told_so(void **state UNUSED)
{
    int status;
    pid_t pid;

    if (geteuid() != 0) {
        print_message("skipped: only root can become somebody else\n");
        skip();
    }
    assert_int_equal(chmod(dir, 0777), 0);
    pid = fork();
    if (pid == 0)
        _exit(be_refused_a_mode());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(unlink(path_of("a")), 0);
}

static void listener_open__unix_access_that_is_not_allowed__nothing_is_left(void **state UNUSED)
{
    int status;
    pid_t pid;

    if (geteuid() != 0) {
        print_message("skipped: only root can become somebody else\n");
        skip();
    }
    assert_int_equal(chmod(dir, 0777), 0);
    pid = fork();
    if (pid == 0)
        _exit(be_refused_an_owner());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* After a server that was killed: its socket belongs to whom the configuration says. */
static void listener_open__unix_stale_of_its_owner__replaced(void **state UNUSED)
{
    if (geteuid() != 0) {
        print_message("skipped: only root can give a file away\n");
        skip();
    }
    make_stale("a", SOCK_STREAM);
    assert_int_equal(chown(path_of("a"), 4321, 4321), 0);
    must_refuse(text_of("a"), -EEXIST, "stale socket of another user");
    listener_close(must_open_with((struct listener_access){0660, 4321, 4322}));
    assert_false(exists("a"));
}

static void listener_open__unix_stale__replaced(void **state UNUSED)
{
    make_stale("a", SOCK_STREAM);
    assert_int_equal(connect_text(text_of("a")), -ECONNREFUSED);
    struct listener *l = must_open(text_of("a"));
    int fd = connect_text(text_of("a"));
    assert_true(fd >= 0);
    fds_close(&fd);
    listener_close(l);
    assert_false(exists("a"));
}

static void listener_open__unix_live__refused(void **state UNUSED)
{
    struct listener *l = must_open(text_of("a"));
    must_refuse(text_of("a"), -EADDRINUSE, "another server listens there");
    int fd = connect_text(text_of("a"));
    assert_true(fd >= 0);
    fds_close(&fd);
    listener_close(l);
}

/* connect gives EAGAIN there, not success. */
static void listener_open__unix_live_with_full_queue__refused(void **state UNUSED)
{
    int fds[8], n = 0;
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    struct listener *l = must_open(text_of("a"));
    assert_int_equal(listener_set_backlog(l, 1), 0);
    strcpy(un.sun_path, path_of("a"));
    for (; n < 8; n++) {
        fds[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fds[n], (struct sockaddr *)&un, sizeof(un)) < 0)
            break;
    }
    assert_true(n < 8);
    assert_int_equal(errno, EAGAIN);
    must_refuse(text_of("a"), -EADDRINUSE, "another server listens there");
    assert_true(exists("a"));
    for (int i = 0; i <= n; i++)
        fds_close(&fds[i]);
    listener_close(l);
}

static void listener_open__unix_live_of_another_type__refused(void **state UNUSED)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    strcpy(un.sun_path, path_of("a"));
    assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
    must_refuse(text_of("a"), -EADDRINUSE, "another server listens there");
    assert_true(exists("a"));
    fds_close(&fd);
}

static void listener_open__unix_path_is_no_socket__untouched(void **state UNUSED)
{
    struct stat before, after;
    int fd = open(path_of("file"), O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write(fd, "precious", 8), 8);
    fds_close(&fd);
    assert_int_equal(mkdir(path_of("directory"), 0700), 0);
    assert_int_equal(mkfifo(path_of("fifo"), 0600), 0);
    make_stale("stale", SOCK_STREAM);
    assert_int_equal(symlink("stale", path_of("link")), 0);
    assert_int_equal(symlink("nowhere", path_of("dangling")), 0);
    static const char *const names[] = {"file", "directory", "fifo", "link", "dangling"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        assert_int_equal(lstat(path_of(names[i]), &before), 0);
        must_refuse(text_of(names[i]), -EEXIST, "no socket");
        assert_int_equal(lstat(path_of(names[i]), &after), 0);
        assert_int_equal(before.st_ino, after.st_ino);
        assert_int_equal(before.st_size, after.st_size);
    }
    assert_true(exists("stale"));
    assert_false(exists("nowhere"));
}

static void listener_open__unix_stale_of_another_user__untouched(void **state UNUSED)
{
    if (geteuid() != 0) {
        print_message("skipped: only root can give a file away\n");
        skip();
    }
    make_stale("a", SOCK_STREAM);
    assert_int_equal(lchown(path_of("a"), 65534, 65534), 0);
    must_refuse(text_of("a"), -EEXIST, "another user");
    assert_true(exists("a"));
}

/* Whoever may read a directory can lock it. */
static void listener_open__unix_directory_locked__no_obstacle(void **state UNUSED)
{
    int lock = open(dir, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    listener_close(must_open(text_of("a")));
    fds_close(&lock);
}

/* In place of the C library's. */
int nanosleep(const struct timespec *time, struct timespec *rest)
{
    n_sleeps++;
    return -clock_nanosleep(CLOCK_MONOTONIC, 0, time, rest);
}

static void listener_open__unix_path_locked__refused_without_waiting(void **state UNUSED)
{
    int lock = open(path_of("a.lock"), O_RDWR | O_CREAT, 0600);
    assert_int_equal(flock(lock, LOCK_EX), 0);
    n_sleeps = 0;
    must_refuse(text_of("a"), -EBUSY, "try again");
    assert_int_equal(n_sleeps, 0);
    assert_false(exists("a"));
    fds_close(&lock);
    listener_close(must_open(text_of("a")));
    assert_false(exists("a.lock"));
}

static void listener_open__unix_lock_file_is_something_else__refused(void **state UNUSED)
{
    int fd = open(path_of("a.lock"), O_RDWR | O_CREAT, 0600);
    assert_int_equal(write(fd, "mine", 4), 4);
    fds_close(&fd);
    must_refuse(text_of("a"), -EEXIST, "a.lock: File exists; it is no empty file");
    assert_true(exists("a.lock"));
    assert_int_equal(unlink(path_of("a.lock")), 0);
}

/* Those that wait in the queue; each sends a byte and gets it back. */
struct waiting {
    int fds[4];
    int n;
};

static void on_waiting(const struct listener *l UNUSED, int fd, void *userdata)
{
    struct waiting *w = userdata;

    assert_true((size_t)w->n < ARRAY_SIZE(w->fds));
    w->fds[w->n++] = fd;
}

static void must_shut_without_loss(struct listener *l)
{
    struct waiting w = {.n = 0};
    char text[ADDR_TEXT_LEN], byte = 'x';
    int clients[3];

    snprintf(text, sizeof(text), "%s", l->bound);
    for (size_t i = 0; i < ARRAY_SIZE(clients); i++)
        assert_true((clients[i] = connect_text(text)) >= 0);
    listener_shut(&l, 1, on_waiting, &w);
    listener_shut(&l, 1, on_waiting, &w);
    assert_int_equal(w.n, ARRAY_SIZE(clients));
    assert_true(listener_is_over(l));
    assert_true(connect_text(text) < 0);
    for (int i = 0; i < w.n; i++) {
        assert_int_equal(send(clients[i], &byte, 1, MSG_NOSIGNAL), 1);
        close(clients[i]);
    }
    for (int i = 0; i < w.n; i++) {
        assert_int_equal(fcntl(w.fds[i], F_SETFL, 0), 0);
        assert_int_equal(recv(w.fds[i], &byte, 1, 0), 1);
        assert_int_equal(recv(w.fds[i], &byte, 1, 0), 0);
        close(w.fds[i]);
    }
    /* Free while the old one is still open. */
    listener_close(must_open(text));
    listener_close(l);
}

static void listener_shut__clients_wait__accepted_and_the_address_is_free(void **state UNUSED)
{
    must_shut_without_loss(must_open("127.0.0.1:0"));
    must_shut_without_loss(must_open(":0"));
    must_shut_without_loss(must_open(text_of("a")));
}

static void listener_shut__nobody_asks_for_them__they_are_reset(void **state UNUSED)
{
    struct listener *l = must_open("127.0.0.1:0");
    int client = connect_text(l->bound);
    char byte;

    assert_true(client >= 0);
    listener_shut(&l, 1, NULL, NULL);
    assert_int_equal(recv(client, &byte, 1, 0), -1);
    assert_int_equal(errno, ECONNRESET);
    close(client);
    listener_close(l);
}

/* Its interface cannot be changed without privilege: the other way is taken. */
static int shut_with_an_interface(void)
{
    struct listener *l = must_open("127.0.0.1:0");

    if (setsockopt(l->fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) < 0 ||
        (geteuid() == 0 && setresuid(65534, 65534, 65534) < 0))
        return 2;
    must_shut_without_loss(l);
    return 0;
}

static void listener_shut__bound_to_an_interface__no_loss_either(void **state UNUSED)
{
    int status;
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(shut_with_an_interface());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static void listener_close__unix_replaced_by_another__left_alone(void **state UNUSED)
{
    struct listener *l = must_open(text_of("a"));
    assert_int_equal(unlink(path_of("a")), 0);
    make_stale("a", SOCK_STREAM);
    listener_close(l);
    assert_true(exists("a"));

    l = must_open(text_of("b"));
    char moved[128];
    strcpy(moved, path_of("c"));
    assert_int_equal(rename(path_of("b"), moved), 0);
    listener_close(l);
    assert_true(exists("c"));
}

static void listener_close__unix_in_a_child__file_stays(void **state UNUSED)
{
    int status;
    struct listener *l = must_open(text_of("a"));
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        listener_close(l);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    int fd = connect_text(text_of("a"));
    assert_true(fd >= 0);
    fds_close(&fd);
    listener_close(l);
    assert_false(exists("a"));
}

/* One that starts. The winner stays until all have tried: until @done is at its end. */
static int race(int go, const int done[2])
{
    char byte;
    struct listener *l = NULL;
    if (read(go, &byte, 1) != 0)
        return 3;
    int r = -EBUSY;
    while (r == -EBUSY)
        r = listener_open(text_of("a"), LISTENER_ANY_ACCESS, 16, 0, LISTENER_START_MS, nothing, &l,
                          why, sizeof(why));
    close(done[1]);
    if (r == -EADDRINUSE)
        return 1;
    if (r != 0 || read(done[0], &byte, 1) != 0)
        return 3;
    return connect_text(text_of("a")) >= 0 ? 0 : 2;
}

static void listener_open__unix_race_for_a_stale_file__one_winner(void **state UNUSED)
{
    enum { N = 12 };
    int go[2], done[2], status;
    unsigned winners = 0;
    pid_t pids[N];

    make_stale("a", SOCK_STREAM);
    assert_int_equal(pipe(go), 0);
    assert_int_equal(pipe(done), 0);
    for (int i = 0; i < N; i++) {
        pids[i] = fork();
        assert_true(pids[i] >= 0);
        if (pids[i] == 0) {
            close(go[1]);
            _exit(race(go[0], done));
        }
    }
    close(go[0]);
    close(go[1]);
    close(done[0]);
    close(done[1]);
    for (int i = 0; i < N; i++) {
        assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
        assert_true(WIFEXITED(status));
        assert_true(WEXITSTATUS(status) <= 1);
        winners += WEXITSTATUS(status) == 0;
    }
    assert_int_equal(winners, 1);
}

/* What an exec leaves of it: the descriptor, and the facts of the socket file. */
static struct listener *inherit(struct listener *l)
{
    struct listener *again = NULL;
    const int r =
        listener_inherit(l->text, l->fd, l->backlog, l->owner == getpid(), l->dev, l->ino, &again);

    assert_int_equal(r, 0);
    assert_int_equal(again->fd, l->fd);
    assert_string_equal(again->bound, l->bound);
    free(l->text);
    free(l);
    return again;
}

static void listener_inherit__tcp__same_address_and_port(void **state UNUSED)
{
    struct listener *l = must_open("127.0.0.1:0");
    const unsigned port = l->addr.port;

    l = inherit(l);
    assert_int_equal(l->addr.port, port);
    assert_string_equal(l->text, "127.0.0.1:0");
    int fd = connect_port(AF_INET, port);
    assert_true(fd >= 0);
    fds_close(&fd);
    assert_int_equal(listener_set_backlog(l, 5), 0);
    listener_close(l);
}

static void listener_inherit__unix__file_is_still_ours_to_remove(void **state UNUSED)
{
    struct listener *l = inherit(must_open(text_of("s")));

    assert_int_equal(access(path_of("s"), F_OK), 0);
    listener_close(l);
    assert_int_equal(access(path_of("s"), F_OK), -1);
}

static void listener_inherit__not_such_a_socket__refused(void **state UNUSED)
{
    struct listener *l = (struct listener *)&l;
    int pair[2], null = open("/dev/null", O_RDONLY | O_CLOEXEC);

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(listener_inherit(":1", pair[0], 1, false, 0, 0, &l), -EINVAL);
    assert_int_equal(listener_inherit(":1", null, 1, false, 0, 0, &l), -ENOTSOCK);
    assert_int_equal(listener_inherit(":1", -1, 1, false, 0, 0, &l), -EBADF);
    assert_int_equal(listener_inherit("nonsense", pair[0], 1, false, 0, 0, &l), -EINVAL);
    assert_ptr_equal(l, &l);
    assert_true(fcntl(pair[0], F_GETFD) >= 0);
    fds_close(&pair[0]);
    fds_close(&pair[1]);
    fds_close(&null);
}

#define IN_DIR(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(listener_open__tcp__listens_without_blocking),
        cmocka_unit_test(listener_open__tcp__accepted_sockets_inherit_the_options),
        cmocka_unit_test(listener_open__user_timeout__leaves_time_for_all_probes),
        cmocka_unit_test(listener_open__any__both_families),
        cmocka_unit_test(listener_open__any_without_v6__v4_alone),
        cmocka_unit_test(listener_open__v6__v6_alone),
        cmocka_unit_test(listener_open__tcp_after_close__at_once_again),
        cmocka_unit_test(listener_open__cannot_be_had__the_reason_and_a_remedy),
        cmocka_unit_test(listener_open__low_port__says_what_it_needs),
        cmocka_unit_test(listener_open__no_descriptors__says_so),
        IN_DIR(listener_open__unix__made_and_removed),
        IN_DIR(listener_open__unix_umask__is_honoured),
        IN_DIR(listener_open__unix_access__so_whatever_the_umask),
        IN_DIR(listener_set_access__while_it_listens__queue_and_socket_stay),
        IN_DIR(listener_set_access__mode_of_a_file_of_root__told_so),
        IN_DIR(listener_open__unix_access_that_is_not_allowed__nothing_is_left),
        IN_DIR(listener_open__unix_stale_of_its_owner__replaced),
        IN_DIR(listener_open__unix_stale__replaced),
        IN_DIR(listener_open__unix_live__refused),
        IN_DIR(listener_open__unix_live_with_full_queue__refused),
        IN_DIR(listener_open__unix_live_of_another_type__refused),
        IN_DIR(listener_open__unix_path_is_no_socket__untouched),
        IN_DIR(listener_open__unix_stale_of_another_user__untouched),
        IN_DIR(listener_open__unix_directory_locked__no_obstacle),
        IN_DIR(listener_open__unix_path_locked__refused_without_waiting),
        IN_DIR(listener_open__unix_lock_file_is_something_else__refused),
        IN_DIR(listener_open__unix_race_for_a_stale_file__one_winner),
        cmocka_unit_test(listener_inherit__tcp__same_address_and_port),
        IN_DIR(listener_inherit__unix__file_is_still_ours_to_remove),
        cmocka_unit_test(listener_inherit__not_such_a_socket__refused),
        IN_DIR(listener_shut__clients_wait__accepted_and_the_address_is_free),
        cmocka_unit_test(listener_shut__nobody_asks_for_them__they_are_reset),
        cmocka_unit_test(listener_shut__bound_to_an_interface__no_loss_either),
        IN_DIR(listener_close__unix_replaced_by_another__left_alone),
        IN_DIR(listener_close__unix_in_a_child__file_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
