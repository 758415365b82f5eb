#include "support/stranger.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

void stranger_need_root(void)
{
    if (geteuid() == 0)
        return;
    printf("# skipped: only root can become somebody else\n");
    skip();
}

void stranger_become(const struct identity *who)
{
    if (setgroups(who->group != 0, &who->group) < 0 ||
        setresgid(who->gid, who->gid, who->gid) < 0 || setresuid(who->uid, who->uid, who->uid) < 0)
        _exit(2);
    prctl(PR_SET_PDEATHSIG, SIGKILL); /* after setresuid, which clears it */
}

static int connect_path(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&un, sizeof(un)) == 0)
        return fd;
    close(fd);
    return -1;
}

static void knock(struct stranger *r, const char *path)
{
    int fd = connect_path(path);
    char text[256];
    ssize_t n;

    if (fd >= 0) {
        r->connected++;
        send(fd, "{\"command\":\"ping\"}\n", 19, MSG_NOSIGNAL);
        n = recv(fd, text, sizeof(text), 0);
        if (n > 0 && memmem(text, (size_t)n, "\"not_allowed\"", 13))
            r->told++;
        else if (n > 0)
            r->answered++;
        close(fd);
    } else if (errno == EACCES) {
        r->refused++;
    } else if (errno == ENOENT) {
        r->absent++;
    } else if (errno != ECONNREFUSED) { /* bound, and not yet listening or no longer */
        r->error = (unsigned)errno;
        r->odd++;
    }
}

struct stranger *stranger_send(struct it *it, const char *path, const struct identity *who)
{
    struct stranger *r =
        mmap(NULL, sizeof(*r), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char *dir = peer_alloc(strlen(path) + 1);
    const pid_t parent = getpid();
    pid_t pid;

    MUST(r != MAP_FAILED, "mmap");
    *strrchr(strcpy(dir, path), '/') = '\0';
    pid = fork();
    MUST(pid >= 0, "fork: %s", strerror(errno));
    if (pid == 0) {
        stranger_become(who);
        if (access(dir, X_OK) < 0)
            _exit(2);
        while (!r->is_over && getppid() == parent)
            knock(r, path);
        _exit(0);
    }
    it->tools[0] = r->pid = pid; /* a process that the harness may find */
    return r;
}

void stranger_call_back(struct it *it, struct stranger *r)
{
    int status;

    r->is_over = true;
    MUST_COME(waitpid(r->pid, &status, WNOHANG) == r->pid, "the stranger stays");
    it->tools[0] = 0;
    if (status == 0)
        return;
    printf("# skipped: no other user can get as far as the socket from here\n");
    skip();
}

/* In the child: what comes goes to @out. */
static void ask(const char *path, const char *text, int out)
{
    const size_t len = strlen(text);
    char buf[4096];
    int fd = connect_path(path);
    ssize_t n;

    alarm(must_wait_ms / 1000 + 1);
    if (fd < 0) {
        dprintf(out, "connect: %s", strerror(errno));
        return;
    }
    if (send(fd, text, len, MSG_NOSIGNAL) != (ssize_t)len || shutdown(fd, SHUT_WR) < 0)
        dprintf(out, "send: %s\n", strerror(errno));
    while ((n = recv(fd, buf, sizeof(buf), 0)) > 0)
        if (write(out, buf, (size_t)n) != n)
            _exit(3);
}

char *stranger_ask(struct it *it, const char *path, const struct identity *who, const char *text)
{
    enum { SIZE = 65536 };
    char *answer = peer_alloc(SIZE);
    size_t len = 0;
    int ends[2], status;
    ssize_t n;
    pid_t pid;

    MUST(pipe(ends) == 0, "pipe");
    pid = fork();
    MUST(pid >= 0, "fork: %s", strerror(errno));
    if (pid == 0) {
        stranger_become(who);
        ask(path, text, ends[1]);
        _exit(0);
    }
    it->tools[0] = pid;
    close(ends[1]);
    while ((n = read(ends[0], answer + len, SIZE - 1 - len)) > 0)
        len += (size_t)n;
    answer[len] = '\0';
    close(ends[0]);
    MUST(waitpid(pid, &status, 0) == pid && status == 0, "%s: status %d, %s", path, status, answer);
    it->tools[0] = 0;
    return answer;
}

char *stranger_public_path(struct it *it)
{
    char *dir = it_path(it, "public");

    MUST(chmod(it->dir, 0711) == 0 && mkdir(dir, 0700) == 0 && chmod(dir, 0777) == 0, "chmod");
    return it_path(it, "public/control");
}
