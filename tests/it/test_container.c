/*
 * What a container does to a server, with namespaces and a filter of system calls: it starts and
 * serves, or says in one line why not. As an ordinary user in a namespace of users, where there may
 * be some.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"
#include "support/server_internal.h"
#include "support/tool.h"

/* ---- how a child becomes contained ---- */

static struct it *the_it;
static const int *denied; /* system calls, up to a 0 */
static int denied_errno;

static void give_up(const char *what)
{
    dprintf(STDERR_FILENO, "the test cannot contain it: %s: %s\n", what, strerror(errno));
    _exit(99);
}

static void own_mounts(void)
{
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        give_up("unshare");
}

static void hide(const char *path)
{
    if (access(path, F_OK) == 0 && mount("none", path, "tmpfs", 0, NULL) < 0)
        give_up(path);
}

static void hide_proc(void)
{
    own_mounts();
    hide("/proc");
}

static void hide_proc_sys(void)
{
    own_mounts();
    hide("/proc/sys");
}

static void hide_shm_and_sys(void)
{
    own_mounts();
    hide("/dev/shm");
    hide("/sys");
}

/* But the directory of the test, as a volume for the control socket. */
static void make_root_read_only(void)
{
    const unsigned long kept = MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME | MS_NODIRATIME;
    struct statvfs root;

    own_mounts();
    if (statvfs("/", &root) < 0 || mount(the_it->dir, the_it->dir, NULL, MS_BIND, NULL) < 0 ||
        mount("none", "/", NULL,
              MS_REMOUNT | MS_BIND | MS_RDONLY | (root.f_flag & kept) |
                  (root.f_flag & ST_RELATIME ? MS_RELATIME : 0),
              NULL) < 0)
        give_up("/");
    if (open("/test_container", O_CREAT | O_WRONLY, 0600) >= 0 || errno != EROFS)
        give_up("/ is not read-only");
    if (chdir("/") < 0)
        give_up("chdir");
}

enum { NOBODYS_UID = 4711 };

static void become_nobody_known(void)
{
    static const char *const names[] = {"HOME", "USER", "LOGNAME", "XDG_RUNTIME_DIR"};

    for (size_t i = 0; i < ARRAY_SIZE(names); i++)
        unsetenv(names[i]);
    if (setresgid(NOBODYS_UID, NOBODYS_UID, NOBODYS_UID) < 0 ||
        setresuid(NOBODYS_UID, NOBODYS_UID, NOBODYS_UID) < 0)
        give_up("setresuid");
}

/* As the profiles of container engines do: the call fails, and nobody is killed. */
static void deny_calls(void)
{
    struct sock_filter f[64];
    struct sock_fprog program = {.filter = f};
    unsigned short n = 0;

    f[n++] =
        (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (size_t i = 0; denied[i]; i++) {
        f[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)denied[i], 0, 1);
        f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K,
                                              SECCOMP_RET_ERRNO | (unsigned)denied_errno);
    }
    f[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    program.len = n;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        give_up("seccomp");
}

/* Their run-time needs /proc, and ptrace to look for leaks. */
static void leave_out_sanitizers(void)
{
    if (!it_is_sanitized())
        return;
    printf("# skipped: a sanitizer cannot run so\n");
    skip();
}

/* ---- all goes on ---- */

static bool is_alone; /* in a namespace of users that has no other user */

/* Who is root in a namespace without anybody else serves as that root, and says so. */
static void expect_of_users(struct server *s)
{
    if (is_alone)
        server_expect(s, "workers cannot become another user");
}

/* Traffic, a worker that is killed, and a reload. */
static void must_live(struct server *s)
{
    const pid_t victim = server_worker(s, 0);

    expect_of_users(s);
    server_expect(s, "worker died");
    kill(victim, SIGKILL);
    MUST_COME(!proc_is_alive(victim) && server_accepting(s) == 2, "the worker is not replaced");
    server_must_be_well(s, 2);
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    server_must_be_well(s, 2);
}

static void container__without_proc_sys__serves(void **state)
{
    must_live(server_start(*state, .conf = "", .in_child = hide_proc_sys));
}

static void container__without_shm_and_sys__serves(void **state)
{
    must_live(server_start(*state, .conf = "", .in_child = hide_shm_and_sys));
}

static void container__read_only_root__serves(void **state)
{
    the_it = *state;
    must_live(server_start(the_it, .conf = "", .in_child = make_root_read_only));
}

static void container__uid_without_a_name__serves(void **state)
{
    const char *binary;
    struct server *s;

    the_it = *state;
    if (geteuid() != 0 || access("/proc/self/uid_map", R_OK) < 0 ||
        it_count_lines("/proc/self/uid_map", " 4294967295$") == 0) {
        printf("# skipped: only root can become a user without a name\n");
        skip();
    }
    /* The build directory may be within one that this user cannot enter. */
    binary = it_copy(the_it, it_build_path(the_it, "echo-arbiter"), "echo-arbiter", 0);
    MUST(chmod(the_it->dir, 0777) == 0, "chmod: %s", strerror(errno));
    s = server_start(the_it, .conf = "arbiter: { control = \"\"; };", .binary = binary,
                     .in_child = become_nobody_known);
    must_live(s);
    MUST(proc_status(server_worker(s, 0), "Uid", 10) == NOBODYS_UID, "another uid");
}

static void container__calls_that_engines_deny__serves(void **state)
{
    static const int calls[] = {SYS_io_uring_setup,   SYS_io_uring_enter, SYS_io_uring_register,
                                SYS_ptrace,           SYS_pidfd_getfd,    SYS_pidfd_open,
                                SYS_process_vm_readv, SYS_kcmp,           SYS_perf_event_open,
                                SYS_clone3,           SYS_statx,          0};
    static const int errors[] = {EPERM, ENOSYS};

    leave_out_sanitizers();
    denied = calls;
    for (size_t i = 0; i < ARRAY_SIZE(errors); i++) {
        denied_errno = errors[i];
        must_live(server_start(*state, .conf = "", .in_child = deny_calls));
    }
}

/* Engines of some years ago know no Landlock, and some know no seccomp within seccomp. */
static void container__sandbox_denied__serves_and_warns(void **state)
{
    static const int calls[] = {SYS_seccomp, SYS_landlock_create_ruleset, 0};
    struct server *s;

    leave_out_sanitizers();
    denied = calls;
    denied_errno = EPERM;
    s = server_start(*state, .conf = "", .in_child = deny_calls);
    server_expect(s, "arbiter.sandbox: not all of it can be had");
    must_live(s);
}

/* ---- what it cannot do without ---- */

static void container__without_proc__says_so(void **state)
{
    leave_out_sanitizers();
    server_refuses(*state, 71, "shared memory.*is /proc mounted", .conf = "",
                   .in_child = hide_proc);
}

static void container__memfd_create_denied__says_so(void **state)
{
    static const int calls[] = {SYS_memfd_create, 0};

    denied = calls;
    denied_errno = EPERM;
    server_refuses(*state, 77, "cannot start.*Operation not permitted.*memfd_create", .conf = "",
                   .in_child = deny_calls);
    denied_errno = ENOSYS;
    server_refuses(*state, 71, "cannot start.*not implemented.*memfd_create", .conf = "",
                   .in_child = deny_calls);
}

static void container__kill_denied__never_says_that_it_has_killed(void **state)
{
    static const int calls[] = {SYS_kill, 0};
    struct server *s;
    pid_t stopped;

    leave_out_sanitizers();
    denied = calls;
    denied_errno = EPERM;
    s = server_start(*state, .conf = "arbiter: { exit_timeout = 0.1; };", .in_child = deny_calls);
    server_expect(s, "worker cannot be killed|not gone within arbiter.exit_timeout");
    if (is_alone)
        server_expect(s, "workers cannot become another user");
    stopped = server_worker(s, 0);
    kill(stopped, SIGSTOP);
    server_signal(s, SIGHUP);
    server_wait_log(
        s, "level=error .*worker cannot be killed\" .*error=.Operation not permitted. why=", 1);
    MUST(server_log_count(s, "worker killed") == 0, "it says that it has killed it");
    kill(stopped, SIGCONT);
    MUST_COME(!proc_is_alive(stopped), "it does not end by itself");
}

/* ---- process 1 ---- */

/* The process that the harness has forked stays outside; its child within is a child of the test's.
 */
static void become_process_1(void)
{
    if (unshare(CLONE_NEWPID) < 0)
        give_up("unshare");
    switch (syscall(SYS_clone, CLONE_PARENT | SIGCHLD, NULL, NULL, NULL, NULL)) {
    case -1:
        give_up("clone");
        break;
    case 0:
        break;
    default:
        _exit(0);
    }
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    own_mounts();
    if (mount("none", "/proc", "proc", 0, NULL) < 0)
        give_up("/proc");
}

/* The first process of a new namespace is an init: what loses its parent comes to it, and signals
 * that it does not handle do nothing. */
static struct server *start_as_process_1(struct it *it, const char *conf)
{
    struct server *s = server_spawn(it, .conf = conf, .in_child = become_process_1);
    int status;

    MUST(waitpid(s->pid, &status, 0) == s->pid && status == 0, "see its log: status %d", status);
    MUST(proc_children(getpid(), &s->pid, 1) == 1, "it has not begun");
    expect_of_users(s);
    MUST(server_is_ready_or_ended(s), "it ended before it was ready");
    server_wait_log(s, "actor=arbiter pid=1 msg=\"serving\"", 1);
    return s;
}

/* A process within the namespace that has lost its parent; ends when @hold is closed. Returns its
 * pid here. */
static pid_t start_orphan(struct server *s, int *ret_hold)
{
    char path[64];
    int hold[2], said[2], status;
    pid_t parent, orphan = 0;

    snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)s->pid);
    MUST(pipe2(hold, O_CLOEXEC) == 0 && pipe2(said, O_CLOEXEC) == 0, "pipe: %s", strerror(errno));
    parent = fork();
    if (parent == 0) {
        const int ns = open(path, O_RDONLY);
        char byte;

        close(hold[1]);
        if (ns < 0 || setns(ns, CLONE_NEWPID) < 0)
            _exit(1);
        const pid_t middle = fork(); /* the first one within; known to us by its pid outside */
        if (middle > 0)
            _exit(waitpid(middle, &status, 0) == middle ? status : 2);
        const pid_t child = fork();
        if (child > 0)
            _exit(0);
        (void)!write(said[1], "x", 1);
        (void)!read(hold[0], &byte, 1);
        _exit(7);
    }
    close(hold[0]);
    MUST(waitpid(parent, &status, 0) == parent && status == 0, "setns or fork: status %d", status);
    char byte;
    MUST(read(said[0], &byte, 1) == 1, "the orphan says nothing");
    close(said[0]);
    close(said[1]);
    pid_t children[PROC_CHILDREN_MAX];
    const size_t n = proc_children(s->pid, children, PROC_CHILDREN_MAX);
    for (size_t i = 0; i < n; i++)
        orphan = MAX(orphan, children[i]);
    *ret_hold = hold[1];
    return orphan;
}

static void must_stop(struct server *s, int signo)
{
    const char *problems;

    peer_release_all();
    server_signal(s, signo);
    const int code = server_wait_exit(s, WAIT_MS);
    MUST(code == 0, "%s: exit code %d", strsignal(signo), code);
    problems = server_problems(s);
    MUST(!*problems, "%s", problems);
}

static void container__process_1__reaps_what_is_not_its_own(void **state)
{
    struct server *s = start_as_process_1(*state, "");
    pid_t orphan;
    int hold;

    peer_echo(peer_connect(s->addr[0]), "hello");
    orphan = start_orphan(s, &hold);
    MUST(orphan > 0 && proc_is_alive(orphan), "the orphan has not come to process 1");
    close(hold);
    MUST_COME(proc_state(orphan) == '\0', "the orphan is '%c'", proc_state(orphan));
    must_stop(s, SIGTERM);
}

static void container__process_1__reload_and_upgrade(void **state)
{
    struct it *it = *state;
    struct server *s = start_as_process_1(it, "");
    int fd = peer_connect(s->addr[0]);

    peer_echo(fd, "hello");
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    server_signal(s, SIGUSR2);
    server_wait_log(s, "actor=arbiter pid=1 msg=\"upgraded\"", 1);
    peer_echo(fd, "the same connection");
    must_stop(s, SIGTERM);
}

static void container__process_1__each_signal_that_stops(void **state)
{
    static const int signals[] = {SIGTERM, SIGINT, SIGQUIT};

    for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
        struct server *s = start_as_process_1(*state, "");

        peer_echo(peer_connect(s->addr[0]), "hello");
        must_stop(s, signals[i]);
    }
}

/* A server that is alone in its namespace leaves nobody behind, whatever its end. */
static void container__process_1_is_killed__all_end(void **state)
{
    struct it *it = *state;
    struct server *s = start_as_process_1(it, "");
    int fd = peer_connect(s->addr[0]);

    peer_echo(fd, "hello");
    server_signal(s, SIGKILL);
    MUST(server_wait_exit(s, WAIT_MS) == 128 + SIGKILL, "it lives");
    MUST(peer_drain(fd, WAIT_MS, NULL) != PEER_SILENT, "the peer hears nothing");
    it_wait_orphans(it);
}

/* ---- the CPU quota ---- */

static char group[128];

static bool group_write(const char *name, const char *text)
{
    char path[256];
    int fd;
    bool is_written;

    snprintf(path, sizeof(path), "%s/%s", group, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    is_written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (fd >= 0)
        close(fd);
    return is_written;
}

static void enter_cpu_group(void)
{
    if (!group_write("cgroup.procs", "0"))
        give_up(group);
}

static void must_have_workers(struct server *s, const char *why)
{
    char control[128];
    struct tool_run r;

    snprintf(control, sizeof(control), "%s/control", s->run);
    r = RUN(s->it, NO_INPUT, "-C", control, "info");
    MUST(r.code == 0 && strstr(r.out, why), "not '%s': %s", why, r.out);
}

static void container__cpu_quota__workers_as_it_allows(void **state)
{
    struct it *it = *state;
    struct server *s;
    char why[256];

    snprintf(group, sizeof(group), "/sys/fs/cgroup/cpu/echo-test.%d", (int)getpid());
    if (mkdir(group, 0755) < 0 || !group_write("cpu.cfs_quota_us", "50000")) {
        rmdir(group);
        printf("# skipped: no control group with a CPU quota can be made here\n");
        skip();
    }
    if (sysconf(_SC_NPROCESSORS_ONLN) > 1) {
        s = server_start(it, .conf = "arbiter: { workers = 0; };", .in_child = enter_cpu_group);
        snprintf(why, sizeof(why), "CPUs: quota of %s", group);
        MUST(s->n_workers == 1, "%zu workers", s->n_workers);
        must_have_workers(s, why);
        MUST(group_write("cpu.cfs_quota_us", "-1"), "%s: %s", group, strerror(errno));
        server_signal(s, SIGHUP);
        server_wait_log(s, "msg=\"reloaded\"", 1);
        must_have_workers(s, "WORKERS: ");
        MUST(server_log_count(s, "msg=\"reloaded\".*quota") == 0, "the quota is still there");
        must_stop(s, SIGTERM);
    }
    MUST_COME(rmdir(group) == 0, "%s: %s", group, strerror(errno));
}

/* ---- the files of conf/container ---- */

static void container__its_files__fit_the_programs_and_each_other(void **state)
{
    struct it *it = *state;
    const char *const argv[] = {"tests/it/manifests.py", it_build_path(it, ""), NULL};
    const int code = it_tool_run(it, "manifests", argv);
    char *text = it_read(it_path(it, "manifests"));

    if (*text)
        printf("# %s", text);
    free(text);
    if (code == 77 || code == 127)
        skip();
    MUST(code == 0, "%s: exit code %d", argv[0], code);
}

/* ---- */

static bool map_write(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    const bool is_written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

    if (fd >= 0)
        close(fd);
    return is_written;
}

/* To be root in a namespace of users is enough for nearly all of this. */
static bool may_contain(void)
{
    char uids[32], gids[32];

    snprintf(uids, sizeof(uids), "0 %u 1", geteuid());
    snprintf(gids, sizeof(gids), "0 %u 1", getegid());
    if (geteuid() == 0)
        return unshare(CLONE_NEWNS) == 0 &&
               mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    is_alone = true;
    return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && map_write("/proc/self/setgroups", "deny") &&
           map_write("/proc/self/gid_map", gids) && map_write("/proc/self/uid_map", uids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(container__without_proc_sys__serves),
        IT(container__without_shm_and_sys__serves),
        IT(container__read_only_root__serves),
        IT(container__uid_without_a_name__serves),
        IT(container__calls_that_engines_deny__serves),
        IT(container__sandbox_denied__serves_and_warns),
        IT(container__without_proc__says_so),
        IT(container__memfd_create_denied__says_so),
        IT(container__kill_denied__never_says_that_it_has_killed),
        IT(container__process_1__reaps_what_is_not_its_own),
        IT(container__process_1__reload_and_upgrade),
        IT(container__process_1__each_signal_that_stops),
        IT(container__process_1_is_killed__all_end),
        IT(container__cpu_quota__workers_as_it_allows),
        IT(container__its_files__fit_the_programs_and_each_other),
    };

    if (!may_contain()) {
        printf("# skipped: no namespaces can be made here: %s\n", strerror(errno));
        return 0;
    }
    return it_run(tests);
}
