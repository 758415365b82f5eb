/*
 * Whom processes run as: what root has started gives its rights up before it reads a client's
 * bytes, and goes on giving them up over everything that a server lives through.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <jansson.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

enum { OTHER = 4711 }; /* no entry of passwd has it */

#define WITHOUT(capability) "setpriv", "--bounding-set", "-" capability, "--"

static void need_root(void)
{
    if (geteuid() == 0)
        return;
    printf("# only root can become another user\n");
    skip();
}

static char *control_of(struct server *s)
{
    const size_t size = strlen(s->run) + sizeof("/control");
    char *path = peer_alloc(size);

    snprintf(path, size, "%s/control", s->run);
    return path;
}

#define ASK(s, ...) RUN((s)->it, NO_INPUT, "-C", control_of(s), "--json", __VA_ARGS__)

static void must_do(struct server *s, const char *command)
{
    struct tool_run r = ASK(s, command);

    MUST(r.code == 0, "%s: exit code %d: %s%s", command, r.code, r.err, r.out);
}

/* The four numbers of "Uid:" or "Gid:", which are all the same; or -1. */
static long long id_of(pid_t pid, const char *key)
{
    char path[64], line[256];
    unsigned id[4];
    long long found = -1;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f))
        if (strncmp(line, key, strlen(key)) == 0 &&
            sscanf(line + strlen(key), ": %u %u %u %u", &id[0], &id[1], &id[2], &id[3]) == 4 &&
            id[0] == id[1] && id[1] == id[2] && id[2] == id[3])
            found = id[0];
    if (f)
        fclose(f);
    return found;
}

static bool is_bare(pid_t pid)
{
    static const char *const sets[] = {"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"};
    bool is = proc_status(pid, "NoNewPrivs", 10) == 1;

    for (size_t i = 0; i < ARRAY_SIZE(sets); i++)
        is &= proc_status(pid, sets[i], 16) == 0;
    return is;
}

/* Is whoever serves @uid and @gid and without any right, and the rest who may stay root? */
static bool do_run_as(struct server *s, uid_t uid, gid_t gid, char *why, size_t size)
{
    pid_t pids[PROC_CHILDREN_MAX];
    const size_t n = proc_children(s->pid, pids, ARRAY_SIZE(pids));
    size_t n_bare = 0, n_logs = 0;

    for (size_t i = 0; i < n; i++) {
        char title[128] = "";
        bool is_well;

        proc_command(pids[i], title, sizeof(title));
        if (!proc_is_alive(pids[i]) || !*title)
            continue;
        is_well = strstr(title, ": log ");
        n_logs += is_well;
        if (strstr(title, ": worker.") || strstr(title, ": keeper.")) {
            is_well =
                id_of(pids[i], "Uid") == uid && id_of(pids[i], "Gid") == gid && is_bare(pids[i]);
            n_bare++;
        }
        snprintf(why, size, "%s: uid %lld, gid %lld, CapEff %llx", title, id_of(pids[i], "Uid"),
                 id_of(pids[i], "Gid"), (unsigned long long)proc_status(pids[i], "CapEff", 16));
        if (!is_well)
            return false;
    }
    snprintf(why, size, "%zu serve, %zu log", n_bare, n_logs);
    return n_bare >= 2 && n_logs >= 1;
}

/* One that has just been forked is not yet what it will be. */
static void must_run_as(struct server *s, uid_t uid, gid_t gid)
{
    char why[256];

    MUST_COME(do_run_as(s, uid, gid, why, sizeof(why)), "%s", why);
}

/* A port below 1024 of a loopback address that no other test has. */
static const char *low_address(unsigned port)
{
    char *text = peer_alloc(64);

    snprintf(text, 64, "127.%u.%u.80:%u", 1 + (unsigned)getpid() / 250 % 250,
             1 + (unsigned)getpid() % 250, port);
    return text;
}

static void configure(struct server *s, unsigned n_ports, const char *log)
{
    char text[512];
    size_t len = (size_t)snprintf(text, sizeof(text),
                                  "arbiter = { user = \"%d\"; }; log = { file = \"%s\"; };\n"
                                  "server = { bind = [",
                                  OTHER, log);

    for (unsigned i = 0; i < n_ports; i++)
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s\"%s\"", i ? ", " : "",
                                low_address(80 + i));
    snprintf(text + len, sizeof(text) - len, "]; };\n");
    server_configure(s, text);
}

static void must_serve(unsigned n_ports)
{
    for (unsigned i = 0; i < n_ports; i++)
        MUST(peer_is_served(low_address(80 + i), 5000), "%s is not served", low_address(80 + i));
}

static void root_start__whole_life__nobody_who_serves_has_a_right(void **state)
{
    struct it *it = *state;
    char text[512], *closed = it_path(it, "closed"), *log = peer_alloc(128), *old = peer_alloc(128);
    struct server *s;
    int fd;

    need_root();
    MUST(mkdir(closed, 0700) == 0, "mkdir");
    snprintf(log, 128, "%s/log", closed);
    snprintf(old, 128, "%s/old", closed);
    snprintf(text, sizeof(text),
             "arbiter = { user = \"%d\"; }; log = { file = \"%s\"; };\n"
             "server = { bind = \"%s\"; };\n",
             OTHER, log, low_address(80));
    s = server_start(it, .conf = text);
    fd = peer_connect(low_address(80));
    peer_echo(fd, "begin");
    must_run_as(s, OTHER, OTHER);
    configure(s, 2, log);
    must_do(s, "reload");
    must_serve(2);
    must_run_as(s, OTHER, OTHER);
    MUST(rename(log, old) == 0, "rename");
    must_do(s, "reopen-logs");
    MUST(it_file_has(log, "log reopened"), "it is not a new file");
    must_do(s, "upgrade");
    must_serve(2);
    must_run_as(s, OTHER, OTHER);
    configure(s, 3, log);
    must_do(s, "reload");
    must_serve(3);
    must_do(s, "upgrade");
    kill(server_worker(s, 0), SIGKILL);
    server_expect(s, "worker died");
    server_wait_workers(s, 2);
    must_run_as(s, OTHER, OTHER);
    must_serve(3);
    peer_echo(fd, "end");
    peer_close(fd);
    configure(s, 1, log); /* with as many descriptors as in the beginning */
    must_do(s, "reload");
}

/* What is not said is chosen, said once, and shown. */
static void root_start__no_user_named__nobody_or_the_programs_own(void **state)
{
    struct it *it = *state;
    const struct passwd *own;
    struct server *s;
    struct tool_run r;
    json_t *info, *a;

    need_root();
    own = getpwnam("echo-arbiter");
    own = own ? own : getpwnam("nobody");
    s = server_start(it, .conf = "");
    MUST(server_log_count(s, "level=info .*workers give root's rights up\" user=") == 1,
         "not said");
    must_run_as(s, own ? own->pw_uid : 65534, own ? own->pw_gid : 65534);
    r = ASK(s, "info");
    info = json_loads(r.out, 0, NULL);
    a = json_object_get(info, "arbiter");
    MUST(json_integer_value(json_object_get(a, "uid")) == (own ? own->pw_uid : 65534) &&
             *json_string_value(json_object_get(a, "user")) &&
             *json_string_value(json_object_get(a, "group")),
         "info: %s", r.out);
    json_decref(info);
}

static void worker__tries_everything__can_do_nothing(void **state)
{
    struct it *it = *state;
    char *secret = peer_alloc(128);
    struct server *s;
    int fd;

    need_root();
    it_write(it, "secret", "of root\n");
    MUST(chmod(it_path(it, "secret"), 0600) == 0, "chmod");
    snprintf(secret, 128, "ECHO_TEST_SECRET=%s", it_path(it, "secret"));
    s = server_start(it, .conf = "arbiter = { sandbox = \"off\"; };", .binary = "test/echo-arbiter",
                     .env = {secret});
    fd = peer_connect(s->addr[0]);
    peer_send_text(fd, "\x01"
                       "crash rights\r\n\r\n");
    peer_expect_text(fd, " setuid=EPERM setgid=EPERM setgroups=EPERM open=EACCES ptrace=EPERM "
                         "kill=EPERM chroot=EPERM dumpable=done");
    peer_close(fd);
}

static void root_start__user_and_group_by_name__with_the_groups_of_that_user(void **state)
{
    struct it *it = *state;
    const struct group *sys;
    struct server *s;

    need_root();
    sys = getgrnam("sys");
    if (!getpwnam("daemon") || !sys) {
        printf("# no user daemon, or no group sys\n");
        skip();
    }
    s = server_start(it, .conf = "arbiter = { user = \"daemon\"; group = \"sys\"; };");
    must_run_as(s, getpwnam("daemon")->pw_uid, getgrnam("sys")->gr_gid);
    server_configure(s, "arbiter = { user = \"nobody\"; group = \"sys\"; };");
    server_expect(s, "reload refused|needs a new start");
    MUST(ASK(s, "reload").code == 78, "reloaded");
    MUST(server_log_count(s, "arbiter.user: .*needs a new start") == 1, "not said");
}

static void root_start__root_is_asked_for__warned_of(void **state)
{
    struct it *it = *state;
    struct server *s;

    need_root();
    s = server_start(it, .conf = "arbiter = { user = \"root\"; };");
    server_expect(s, "workers run as root");
    MUST(server_log_count(s, "level=warning .*workers run as root") == 1, "not warned of");
    MUST(id_of(server_worker(s, 0), "Uid") == 0, "it is not root");
}

static void root_start__group_of_root__warned_of(void **state)
{
    struct it *it = *state;
    struct server *s;

    need_root();
    s = server_start(it, .conf = "arbiter = { group = \"root\"; };");
    server_expect(s, "workers are in root's group");
    MUST(server_log_count(s, "level=warning .*workers are in root's group.* group=root") == 1,
         "not warned of");
}

static void root_start__bounding_set_stays__warned_of(void **state)
{
    struct it *it = *state;
    struct server *s;

    need_root();
    s = server_start(it, .conf = "", .wrapper = {WITHOUT("setpcap")});
    server_expect(s, "workers keep the bounding set");
    MUST(server_log_count(s, "level=warning .*workers keep the bounding set.*CAP_SETPCAP") == 1,
         "not warned of");
}

/* A filter that refuses what needs no capability. */
static void refuse_no_new_privs(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_prctl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PR_SET_NO_NEW_PRIVS, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {ARRAY_SIZE(code), code};

    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        _exit(99);
}

static void root_start__no_new_privs_is_refused__told_so(void **state)
{
    static const char told[] = "arbiter.user: .*prctl: PR_SET_NO_NEW_PRIVS: Operation not "
                               "permitted: no capability is needed for that";
    struct it *it = *state;

    need_root();
    if (!(proc_status(getpid(), "CapEff", 16) & (1u << CAP_SYS_ADMIN))) {
        printf("# skipped: no filter without no_new_privs can be had here\n");
        skip();
    }
    server_refuses(it, 77, told, .conf = "arbiter = { user = \"root\"; };",
                   .in_child = refuse_no_new_privs);
    server_refuses(it, 77, told, .conf = "", .in_child = refuse_no_new_privs);
}

static void start__user_that_cannot_be__refused_before_anything_is_bound(void **state)
{
    struct it *it = *state;

    server_refuses(it, 78, "echo0.conf:1: arbiter.user: there is no user .*no-such-user",
                   .conf = "arbiter = { user = \"no-such-user\"; };");
    server_refuses(it, 78, "echo1.conf:1: arbiter.group: there is no group .*no-such-group",
                   .conf = "arbiter = { group = \"no-such-group\"; };");
    server_refuses(it, 78, "arbiter.user: .*is no name", .conf = "arbiter = { user = \"a:b\"; };");
    server_refuses(it, 78, "arbiter.user: .*4294967295. is too great a number",
                   .conf = "arbiter = { user = \"4294967295\"; };");
}

static struct it *the_it;

static void become_other(void)
{
    if (chown(the_it->dir, OTHER, OTHER) < 0 || setgroups(0, NULL) < 0 || setgid(OTHER) < 0 ||
        setuid(OTHER) < 0)
        _exit(99);
}

/* By itself it is what it is already. */
static void ordinary_start__another_user__refused(void **state)
{
    char text[128];
    const char *binary;
    struct server *s;

    the_it = *state;
    if (geteuid() != 0) {
        server_refuses(the_it, 77, "arbiter.user: only root can serve as another user than its own",
                       .conf = "arbiter = { user = \"root\"; };");
        return;
    }
    binary = it_copy(the_it, it_build_path(the_it, "echo-arbiter"), "echo-arbiter", 0);
    server_refuses(the_it, 77, "arbiter.user: only root can serve as another user than its own",
                   .conf = "arbiter = { user = \"daemon\"; };", .binary = binary,
                   .in_child = become_other);
    server_refuses(the_it, 77, "arbiter.group: only root can serve as another group than its own",
                   .conf = "arbiter = { group = \"daemon\"; };", .binary = binary,
                   .in_child = become_other);
    snprintf(text, sizeof(text), "arbiter = { user = \"%d\"; group = \"%d\"; };", OTHER, OTHER);
    s = server_start(the_it, .conf = text, .binary = binary, .in_child = become_other);
    server_expect(s, "no control socket");
    MUST(id_of(server_worker(s, 0), "Uid") == OTHER, "another user's");
    MUST(proc_status(server_worker(s, 0), "NoNewPrivs", 10) == 1, "it may gain rights");
}

static void root_start__may_become_nobody__serves_without_capabilities(void **state)
{
    struct it *it = *state;
    struct server *s;

    need_root();
    server_refuses(it, 77,
                   "arbiter.user: .*cannot become user .*setresuid: Operation not permitted",
                   .conf = "arbiter = { user = \"4711\"; };", .wrapper = {WITHOUT("setuid")});
    server_refuses(it, 77, "arbiter.sandbox: .*require.* workers run as user 0",
                   .conf = "arbiter = { sandbox = \"require\"; };", .wrapper = {WITHOUT("setuid")});
    s = server_start(it, .conf = "", .wrapper = {WITHOUT("setuid")});
    server_expect(s, "cannot become another user");
    MUST(server_log_count(s, "level=warning .*workers cannot become another user") == 1,
         "not warned of");
    must_run_as(s, 0, 0);
    must_do(s, "upgrade");
    must_run_as(s, 0, 0);
    server_must_be_well(s, 2);
}

/* Nobody else would end a worker of another user that hangs. */
static void root_start__may_signal_nobody__a_worker_that_hangs_is_ended(void **state)
{
    struct it *it = *state;
    struct server *s;
    pid_t hangs;

    need_root();
    server_refuses(it, 77, "arbiter.user: .*cannot become user .*kill: .*give it .*CAP_KILL",
                   .conf = "arbiter = { user = \"4711\"; };", .wrapper = {WITHOUT("kill")});
    s = server_start(it, .conf = "arbiter = { exit_timeout = 0.3; };",
                     .wrapper = {WITHOUT("kill")});
    server_expect(s, "cannot become another user|not gone within arbiter.exit_timeout|worker died");
    must_run_as(s, 0, 0);
    hangs = server_worker(s, 0);
    kill(hangs, SIGSTOP);
    must_do(s, "reload");
    MUST_COME(!proc_is_alive(hangs), "it is not ended");
    server_must_be_well(s, 2);
}

/* A child of another user listens at a port of its own choice. */
static pid_t listen_as_other(char address[32])
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    pid_t pid;

    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&at, len) == 0 && listen(fd, 1) == 0 &&
             getsockname(fd, (struct sockaddr *)&at, &len) == 0,
         "listen: %s", strerror(errno));
    snprintf(address, 32, "127.0.0.1:%u", ntohs(at.sin_port));
    pid = fork();
    if (pid == 0) {
        if (setresuid(OTHER, OTHER, OTHER) < 0)
            _exit(99);
        for (;;)
            pause();
    }
    close(fd);
    MUST_COME(id_of(pid, "Uid") == OTHER, "it is not another user's");
    return pid;
}

static void root_start__address_of_a_process_that_it_may_not_look_at__told_so(void **state)
{
    struct it *it = *state;
    const char *binary = it_build_path(it, "echo-arbiter");
    char address[32];
    pid_t holder;

    need_root();
    holder = listen_as_other(address);
    MUST(it_tool_run(
             it, "refused",
             ARGS(WITHOUT("sys_ptrace"), binary, "-o", "arbiter.control=", "-b", address)) == 69 &&
             it_file_has(it_path(it, "refused"),
                         "perhaps another user's, at which root may look with CAP_SYS_PTRACE"),
         "it is not told");
    kill(holder, SIGKILL);
    MUST(waitpid(holder, NULL, 0) == holder, "waitpid");
}

/* In a user namespace in which only one number is mapped. */
static void unshared_start__others_are_not_mapped__serves_without_capabilities(void **state)
{
    struct it *it = *state;
    struct server *s;

    if (it_tool_run(it, "unshare", ARGS("unshare", "-Ur", "true")) != 0) {
        printf("# unshare -Ur: no user namespace can be had here\n");
        skip();
    }
    s = server_start(it, .conf = "", .wrapper = {"unshare", "-Ur"});
    server_expect(s, "cannot become another user|no control socket");
    MUST(server_log_count(s, "level=warning .*workers cannot become another user") == 1,
         "not warned of");
    MUST(is_bare(server_worker(s, 0)), "a worker has capabilities");
}

static void check__user_that_does_not_exist__told(void **state)
{
    struct it *it = *state;
    const char *binary = it_build_path(it, "echo-arbiter");

    MUST(it_tool_run(it, "check", ARGS(binary, "-t", "-o", "arbiter.user=no-such-user")) == 78 &&
             it_file_has(it_path(it, "check"), "there is no user"),
         "it is not found");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(root_start__whole_life__nobody_who_serves_has_a_right),
        IT(root_start__no_user_named__nobody_or_the_programs_own),
        IT(worker__tries_everything__can_do_nothing),
        IT(root_start__user_and_group_by_name__with_the_groups_of_that_user),
        IT(root_start__root_is_asked_for__warned_of),
        IT(root_start__group_of_root__warned_of),
        IT(root_start__bounding_set_stays__warned_of),
        IT(root_start__no_new_privs_is_refused__told_so),
        IT(start__user_that_cannot_be__refused_before_anything_is_bound),
        IT(ordinary_start__another_user__refused),
        IT(root_start__may_become_nobody__serves_without_capabilities),
        IT(root_start__may_signal_nobody__a_worker_that_hangs_is_ended),
        IT(root_start__address_of_a_process_that_it_may_not_look_at__told_so),
        IT(unshared_start__others_are_not_mapped__serves_without_capabilities),
        IT(check__user_that_does_not_exist__told),
    };

    return it_run(tests);
}
