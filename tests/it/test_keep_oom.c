/*
 * A worker that the OOM killer ends, in a memory control group of its own: its idle connections
 * live on, and the log and `crashes` say who has ended it. Where this machine allows no such group,
 * a line says so.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/oom.h"
#include "base/util.h"
#include "support/server.h"
#include "support/server_internal.h"
#include "support/tool.h"

enum { IDLE = 100, ROOM = 24 << 20, CHUNK = 1 << 20 };

/* Below the group of this process. The files have other names in version 2. */
static struct group {
    char dir[OOM_PATH_MAX + 32];
    bool is_v2;
    pid_t owner; /* 0 = there is none */
} group;

/* Also after a test that has failed, when its server is gone. */
static void group_remove(void)
{
    if (group.owner == getpid())
        rmdir(group.dir);
}

/* Returns 0 or -errno. */
static int group_write(const char *name, const char *text)
{
    char path[sizeof(group.dir) + 64];
    int fd, rc = 0;

    snprintf(path, sizeof(path), "%s/%s", group.dir, name);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        rc = -errno;
    if (fd >= 0)
        close(fd);
    return rc;
}

static uint64_t group_usage(void)
{
    char path[sizeof(group.dir) + 64], *text;
    uint64_t bytes;

    snprintf(path, sizeof(path), "%s/%s", group.dir,
             group.is_v2 ? "memory.current" : "memory.usage_in_bytes");
    text = it_read(path);
    bytes = strtoull(text, NULL, 10);
    free(text);
    return bytes;
}

static int group_limit(uint64_t bytes)
{
    char text[32];

    snprintf(text, sizeof(text), "%llu", (unsigned long long)bytes);
    return group_write(group.is_v2 ? "memory.max" : "memory.limit_in_bytes", text);
}

static void leave_out(const char *what, int error)
{
    printf("#| a kill by the OOM killer is left out: %s: %s\n", what, strerror(error));
    skip();
}

/* A limit that nothing meets: may it be set? */
static void group_make(void)
{
    char *text = it_read("/proc/self/cgroup"), file[OOM_PATH_MAX], *end;
    int rc;

    oom_find_path(text, false, file);
    free(text);
    end = strrchr(file, '/');
    if (!end) {
        leave_out("no memory control group", ENOENT);
        return;
    }
    group.is_v2 = strcmp(end, "/memory.events") == 0;
    snprintf(group.dir, sizeof(group.dir), "%.*s/echo-test-%d", (int)(end - file), file,
             (int)getpid());
    if (mkdir(group.dir, 0755) < 0)
        leave_out(group.dir, errno);
    group.owner = getpid();
    atexit(group_remove);
    rc = group_limit(UINT64_C(1) << 40);
    if (rc < 0)
        leave_out("no limit in a group of its own", -rc);
    group_write(group.is_v2 ? "memory.swap.max" : "memory.swappiness", "0");
}

static void enter_group(void)
{
    if (group_write("cgroup.procs", "0") < 0)
        _exit(99);
}

/* Half a message, until its worker is gone. */
static void fill_a_worker(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    static char chunk[CHUNK];
    ssize_t n = 0;

    memset(chunk, 'x', sizeof(chunk));
    while (n >= 0 || errno == EAGAIN) {
        MUST(poll(&p, 1, (int)WAIT_MS) > 0, "the worker lives on, and does not read");
        n = send(fd, chunk, sizeof(chunk), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    MUST(errno == ECONNRESET || errno == EPIPE, "no end: %s", strerror(errno));
    peer_close(fd);
}

static void must_be_named(struct it *it, struct server *s)
{
    char control[128];
    struct tool_run r;

    snprintf(control, sizeof(control), "%s/control", s->run);
    r = RUN(it, NO_INPUT, "crashes", "--json", "-C", control);
    MUST(r.code == 0 && strstr(r.out, "\"out of memory\""), "crashes: %s", r.out);
}

static void keep__oom_killer__named_and_idle_ones_live_on(void **state)
{
    struct server *s;
    int fds[IDLE];

    group_make();
    s = server_start(*state,
                     .conf = "arbiter: { keep_after = 0; };\n"
                             "server: { max_message = \"256MiB\"; max_buffered = \"1GiB\"; };",
                     .in_child = enter_group);
    server_expect(s, "worker died|the kernel has killed a process because memory ran out");
    for (int i = 0; i < IDLE; i++) {
        fds[i] = peer_connect(s->addr[0]);
        peer_echo(fds[i], "before");
    }
    MUST_COME(server_gauge(s, kept) == IDLE, "not all are kept");
    MUST(group_limit(group_usage() + ROOM) == 0, "no limit");
    fill_a_worker(peer_connect(s->addr[0]));
    server_wait_log(s, "msg=\"the kernel has killed a process because memory ran out\" id=worker",
                    1);
    for (int i = 0; i < IDLE; i++)
        peer_echo(fds[i], "after");
    must_be_named(*state, s);
    printf("#| killed by the OOM killer (control groups, version %d): all of %d idle connections "
           "live on\n",
           group.is_v2 ? 2 : 1, (int)IDLE);
    for (int i = 0; i < IDLE; i++)
        peer_close(fds[i]);
    server_wait_workers(s, 2);
    server_stop_and_check(s, SIGTERM, 0);
    MUST_COME(rmdir(group.dir) == 0, "%s stays: %s", group.dir, strerror(errno));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(keep__oom_killer__named_and_idle_ones_live_on),
    };

    return it_run(tests);
}
