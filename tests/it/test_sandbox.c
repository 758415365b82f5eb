/*
 * The sandbox of workers and keepers, seen from outside: who is in it, what becomes of a call that
 * it forbids, what the configuration says of it, and that its list is what is really called.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "actor/sandbox.h"
#include "arbiter/transition.h"
#include "base/util.h"
#include "support/server.h"
#include "support/server_internal.h"
#include "support/tool.h"

/* ---- a container that refuses ---- */

/* What a container's filter does to the call; without it this process goes on as before. */
static void answer_call(int number, unsigned action)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, action),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    const struct sock_fprog program = {ARRAY_SIZE(code), code};

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void refuse_seccomp(void)
{
    answer_call(SYS_seccomp, SECCOMP_RET_ERRNO | EPERM);
}

static void refuse_landlock(void)
{
    answer_call(SYS_landlock_restrict_self, SECCOMP_RET_ERRNO | EPERM);
}

static void kill_seccomp(void)
{
    answer_call(SYS_seccomp, SECCOMP_RET_KILL_PROCESS);
}

static void kill_landlock(void)
{
    answer_call(SYS_landlock_create_ruleset, SECCOMP_RET_KILL_PROCESS);
}

/* Where there is no sandbox by design, or by the kernel, there is nothing to be tested. */
static void need_sandbox(void)
{
    struct sandbox s = {.is_known = false};
    bool is_whole;

    MUST(sandbox_init(&s, NULL) == 0, "sandbox_init");
    is_whole = !*s.lacks;
    if (!is_whole)
        printf("# skipped: %s\n", s.lacks);
    sandbox_fini(&s);
    if (!is_whole)
        skip();
}

/* ---- what is asked ---- */

static char *info_of(struct server *s)
{
    char control[128];
    struct tool_run r;

    snprintf(control, sizeof(control), "%s/control", s->run);
    r = RUN(s->it, NO_INPUT, "-C", control, "info");
    MUST(r.code == 0, "info: %s", r.err);
    return r.out;
}

static void info_must_say(struct server *s, const char *text)
{
    const char *info = info_of(s);

    MUST(strstr(info, text), "info does not say \"%s\":\n%s", text, info);
}

/* All workers and keepers; those of the last revision may be about to be reaped. */
static bool are_confined(struct server *s, uint64_t seccomp)
{
    pid_t pids[PROC_CHILDREN_MAX];
    const size_t n = proc_children(s->pid, pids, ARRAY_SIZE(pids));
    const pid_t writer = server_log_writer(s);
    size_t n_confined = 0;

    for (size_t i = 0; i < n; i++)
        n_confined += pids[i] != writer && proc_status(pids[i], "Seccomp", 10) == seccomp &&
                      proc_status(pids[i], "NoNewPrivs", 10) == 1;
    return n == 5 && n_confined == 4;
}

static void must_be_confined(struct server *s, uint64_t seccomp)
{
    MUST_COME(are_confined(s, seccomp), "not all workers and keepers have Seccomp %llu",
              (unsigned long long)seccomp);
}

static struct server *start_hooked(struct it *it, const char *conf)
{
    struct server *s = server_start(it, .conf = conf, .binary = "test/echo-arbiter");

    server_expect(s, "worker crashes|backtrace|msg=\"crash\"|worker died");
    return s;
}

static void send_kind(struct server *s, const char *kind)
{
    char text[64];
    const int fd = peer_connect(s->addr[0]);

    snprintf(text, sizeof(text),
             "\x01"
             "crash %s\r\n\r\n",
             kind);
    peer_send_text(fd, text);
    MUST(peer_drain(fd, WAIT_MS, NULL) != PEER_SILENT, "%s: its connection lives on", kind);
}

/* ---- tests ---- */

static void sandbox__forbidden_call__is_a_crash_with_its_name(void **state)
{
    static const char *const calls[] = {"openat", "socket", "execve", "ptrace", "setuid", "kill"};
    struct it *it = *state;
    need_sandbox();
    struct server *s = start_hooked(it, "arbiter: { workers = 1; };");
    const int idle = peer_connect(s->addr[0]);
    char pattern[160], control[128];
    struct tool_run r;

    peer_echo(idle, "before");
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        send_kind(s, calls[i]);
        snprintf(pattern, sizeof(pattern), "worker crashes\" signal=SYS .*forbidden_call=%s",
                 calls[i]);
        server_wait_log(s, pattern, 1);
        snprintf(pattern, sizeof(pattern), "msg=\"crash\" .*forbidden_call=%s", calls[i]);
        server_wait_log(s, pattern, 1);
        peer_echo(idle, "after");
    }
    snprintf(control, sizeof(control), "%s/control", s->run);
    r = RUN(it, NO_INPUT, "-C", control, "crashes");
    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        snprintf(pattern, sizeof(pattern), "forbidden call: %s ", calls[i]);
        MUST(strstr(r.out, pattern), "no \"%s\" in:\n%s", pattern, r.out);
    }
}

static void sandbox__off_and_auto__as_the_configuration_says(void **state)
{
    struct it *it = *state;
    need_sandbox();
    struct server *s = server_start(it, .conf = "arbiter: { sandbox = \"off\"; };");
    const uint64_t own = proc_status(getpid(), "Seccomp", 10);

    must_be_confined(s, own);
    info_must_say(s, "SANDBOX: none: arbiter.sandbox is \"off\"\n");
    server_configure(s, "arbiter: { sandbox = \"require\"; };");
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    must_be_confined(s, SECCOMP_MODE_FILTER);
    MUST(proc_status(s->pid, "Seccomp", 10) == own, "the arbiter is confined");
    info_must_say(s, "SANDBOX: seccomp, Landlock (ABI ");
}

static void sandbox__refused_by_a_container__warned_once_or_refused(void **state)
{
    struct it *it = *state;
    need_sandbox();
    struct server *s = server_start(it, .conf = "", .in_child = refuse_seccomp);

    server_expect(s, "arbiter.sandbox: not all of it can be had.*no seccomp: Operation not");
    info_must_say(s, "SANDBOX: Landlock (ABI ");
    info_must_say(s, "; no seccomp: Operation not permitted\n");
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    MUST(server_log_count(s, "arbiter.sandbox: not all") == 1, "it is warned of more than once");
    server_configure(s, "arbiter: { sandbox = \"require\"; };");
    server_expect(s, "reload refused: nothing has changed.*echo0.conf:1: arbiter.sandbox: "
                     ".*require.* is not possible: no seccomp: Operation not");
    server_signal(s, SIGHUP);
    server_wait_log(s, "reload refused", 1);
    server_refuses(it, 71, "arbiter.sandbox: .*require.* is not possible: no Landlock: .*allowed",
                   .conf = "arbiter: { sandbox = \"require\"; };", .in_child = refuse_landlock);
}

/* Whoever makes the call is killed: that is never the arbiter. */
static void sandbox__killed_by_a_container__the_arbiter_lives_and_warns(void **state)
{
    struct it *it = *state;
    need_sandbox();
    struct server *s =
        server_start(it, .conf = "arbiter: { sandbox = \"off\"; };", .in_child = kill_seccomp);
    char control[128];
    struct tool_run r;

    server_expect(s, "arbiter.sandbox: not all of it can be had.*no seccomp: .*is killed: Bad sys|"
                     "reload refused: .*require.* is not possible: no seccomp: .*is killed");
    server_configure(s, "arbiter: { sandbox = \"require\"; };");
    server_signal(s, SIGHUP);
    server_wait_log(s, "reload refused", 1);
    server_configure(s, "arbiter: { sandbox = \"auto\"; };");
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 1);
    info_must_say(s, "SANDBOX: Landlock (ABI ");
    server_must_be_well(s, 2);
    snprintf(control, sizeof(control), "%s/control", s->run);
    r = RUN(it, NO_INPUT, "-C", control, "upgrade");
    MUST(r.code == 0, "upgrade: %s", r.err);
    MUST(server_log_count(s, "arbiter.sandbox: not all") == 3, "not of a dry run and two images");
    server_must_be_well(s, 2);
    server_refuses(it, 71, "require.* is not possible: no Landlock: .*is killed: Bad system call",
                   .conf = "arbiter: { sandbox = \"require\"; };", .in_child = kill_landlock);
}

/* ---- the list ---- */

/* Of all workers, all keepers, or all status actors. */
struct seen {
    char calls[4096]; /* " read write " */
    unsigned n_processes;
};

/* Adds what was called behind the entry into the sandbox; nothing if there was none. */
static void take_trace(char *text, struct seen seen[SANDBOX_WHO])
{
    char *line = strstr(text, "\nseccomp(SECCOMP_SET_MODE_FILTER"), *save, name[40], key[48];
    struct seen *of;

    if (!line)
        return;
    of = &seen[strstr(line, "sender\\\":\\\"keeper")   ? SANDBOX_KEEPER
               : strstr(line, "sender\\\":\\\"status") ? SANDBOX_STATUS
                                                       : SANDBOX_WORKER];
    of->n_processes++;
    strtok_r(line, "\n", &save);
    while ((line = strtok_r(NULL, "\n", &save))) {
        if (sscanf(line, "%39[a-z0-9_](", name) != 1 || line[strlen(name)] != '(')
            continue;
        snprintf(key, sizeof(key), " %s ", name);
        if (!strstr(of->calls, key))
            strcat(of->calls, key + (*of->calls != 0));
    }
}

static bool is_listed(const char *call, enum sandbox_who who)
{
    struct sandbox_rule r;

    for (size_t i = 0; sandbox_rule(i, &r); i++)
        if (r.may[who] && strcmp(r.call, call) == 0)
            return true;
    return false;
}

static void must_be_the_list(struct seen *seen, enum sandbox_who who)
{
    struct sandbox_rule r;
    char key[48], idle[1024] = "", *name, *save;

    MUST(seen->n_processes > 0, "nobody has entered the sandbox");
    for (size_t i = 0; sandbox_rule(i, &r); i++) {
        snprintf(key, sizeof(key), " %s ", r.call);
        if (r.may[who] && !r.rare && !strstr(seen->calls, key))
            snprintf(idle + strlen(idle), sizeof(idle) - strlen(idle), "%s", key);
    }
    MUST(!*idle, "in the list without a reason, and nobody has called them:%s", idle);
    for (name = strtok_r(seen->calls, " ", &save); name; name = strtok_r(NULL, " ", &save))
        MUST(is_listed(name, who), "%s is called, and not in the list", name);
}

static void must_answer(struct server *s, const char *actor, const char *command, const char *arg)
{
    char control[128];
    struct tool_run r;

    snprintf(control, sizeof(control), "%s/control", s->run);
    r = RUN(s->it, NO_INPUT, "-C", control, "call", actor, command, arg);
    MUST(r.code == 0, "call %s %s: %s", actor, command, r.err);
}

/* Requests that are answered at once, later, and never. */
static void see_status(struct server *s)
{
    static const char *const requests[] = {
        "GET /api/info HTTP/1.1\r\nHost: x\r\n\r\n", "HEAD /api/info HTTP/1.0\r\n\r\n",
        "GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n", "garbage\r\n\r\n"};
    const char *info = strstr(info_of(s), "STATUS OVER HTTP: ");
    char addr[64];

    MUST(info && sscanf(info, "STATUS OVER HTTP: %63s", addr) == 1, "info says no address");
    for (size_t i = 0; i < ARRAY_SIZE(requests); i++) {
        const int fd = peer_connect(addr);

        peer_send_text(fd, requests[i]);
        MUST(peer_drain(fd, WAIT_MS, NULL) != PEER_SILENT, "no answer to %s", requests[i]);
    }
    peer_reset(peer_connect(addr));
}

/* All that processes usually do: serve, move, reload, crash, be killed, keep, log, answer, end. */
static void live(struct server *s)
{
    static char large[600 << 10];
    static const char *const actors[] = {"workers", "keeper.1", "status.1"};
    pid_t termed;
    int fds[8];

    memset(large, 'x', sizeof(large) - 5);
    memcpy(large + sizeof(large) - 5, "\r\n\r\n", 5);
    server_signal(s, SIGHUP); /* the processes that are traced from their beginning */
    server_wait_log(s, "msg=\"reloaded\"", 1);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        fds[i] = peer_connect(s->addr[i % 2]);
        peer_echo(fds[i], "one");
    }
    peer_send_text(fds[0], large);
    peer_expect_text(fds[0], large);
    peer_send_text(fds[1], "half");
    for (size_t i = 0; i < ARRAY_SIZE(actors); i++) {
        must_answer(s, actors[i], "info", NULL);
        must_answer(s, actors[i], "log_level", "level=debug");
    }
    see_status(s);
    server_signal(s, SIGHUP);
    server_wait_log(s, "msg=\"reloaded\"", 2);
    see_status(s);
    peer_send_text(fds[1], "\r\n\r\n");
    peer_expect_text(fds[1], "half\r\n\r\n");
    send_kind(s, "abrt");
    server_wait_log(s, "worker died", 1);
    server_wait_workers(s, 2);
    for (size_t i = 2; i < ARRAY_SIZE(fds); i++)
        peer_echo(fds[i], "two");
    MUST_COME(server_gauge(s, kept) >= ARRAY_SIZE(fds), "connections are not kept");
    kill(server_worker(s, 0), SIGKILL);
    server_wait_log(s, "worker died", 2);
    server_wait_workers(s, 2);
    server_wait_workers(s, 2);
    termed = server_worker(s, 0);
    kill(termed, SIGTERM);
    MUST_COME(!proc_is_alive(termed), "it does not end");
    server_wait_workers(s, 2);
    kill(server_slot_pid(s, tr_slot(0, 1)), SIGABRT);
    server_wait_log(s, "actor died", 1);
    kill(server_slot_pid(s, tr_slot(1, 1)), SIGABRT);
    server_wait_log(s, "actor died", 2);
    for (size_t i = 0; i < ARRAY_SIZE(fds); i++) {
        peer_echo(fds[i], "three");
        peer_close(fds[i]);
    }
}

static void sandbox__list__is_what_is_called(void **state)
{
#if defined(__x86_64__)
    struct it *it = *state;
    need_sandbox();
    it_need_strace(it);
    static struct seen seen[SANDBOX_WHO];
    char path[128], pid[16];
    snprintf(path, sizeof(path), "unix:%s", it_path(it, "socket"));
    struct server *s = server_start(
        it, .conf = "arbiter: { keep_after = 0; max_memory = \"1GiB\"; };",
        .binary = "test/echo-arbiter", .args = {"-b", path, "-o", "status.bind=127.0.0.1:0"});
    struct dirent *e;
    DIR *dir;
    pid_t tracer;

    server_expect(s, "worker crashes|backtrace|msg=\"crash\"|worker died|actor died");
    snprintf(path, sizeof(path), "%s", it_path(it, "trace"));
    snprintf(pid, sizeof(pid), "%d", (int)s->pid);
    const char *const argv[] = {"strace", "-ff", "-s", "300", "-o", path, "-p", pid, NULL};
    tracer = it_tool(it, "attached.log", argv);
    MUST_COME(proc_status(s->pid, "TracerPid", 10) == (uint64_t)tracer, "strace does not attach");
    live(s);
    server_stop_and_check(s, SIGTERM, 0);
    MUST(tool_wait(tracer) == 0, "strace has failed");
    dir = opendir(it->dir);
    while ((e = readdir(dir))) {
        char *text = strncmp(e->d_name, "trace.", 6) == 0 ? it_read(it_path(it, e->d_name)) : NULL;

        if (text)
            take_trace(text, seen);
        free(text);
    }
    closedir(dir);
    for (enum sandbox_who who = 0; who < SANDBOX_WHO; who++) {
        static const char *const names[] = {[SANDBOX_WORKER] = "workers",
                                            [SANDBOX_KEEPER] = "keepers",
                                            [SANDBOX_STATUS] = "status actors"};

        printf("# %u %s:%s\n", seen[who].n_processes, names[who], seen[who].calls);
    }
    for (enum sandbox_who who = 0; who < SANDBOX_WHO; who++)
        must_be_the_list(&seen[who], who);
#else
    (void)state;
    printf("# skipped: which calls a C library makes of what is known for one machine only\n");
    skip();
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(sandbox__forbidden_call__is_a_crash_with_its_name),
        IT(sandbox__off_and_auto__as_the_configuration_says),
        IT(sandbox__refused_by_a_container__warned_once_or_refused),
        IT(sandbox__killed_by_a_container__the_arbiter_lives_and_warns),
        IT(sandbox__list__is_what_is_called),
    };

    return it_run(tests);
}
