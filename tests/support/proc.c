/*
 * Readings of /proc. Test process only.
 */
#include "support/proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

/* The whole of a small file below /proc/PID, terminated. Returns its length, 0 = not there. */
static size_t proc_read(pid_t pid, const char *name, char *buf, size_t size)
{
    char path[96];
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, name);
    size_t len = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;
    while (fd >= 0 && len < size - 1 && (n = read(fd, buf + len, size - 1 - len)) > 0)
        len += (size_t)n;
    if (fd >= 0)
        close(fd);
    buf[len] = '\0';
    return len;
}

size_t proc_children(pid_t pid, pid_t *ret, size_t max)
{
    char name[64], buf[8192], *p = buf;
    size_t n = 0;
    snprintf(name, sizeof(name), "task/%d/children", (int)pid);
    proc_read(pid, name, buf, sizeof(buf));
    for (long child; n < max && (child = strtol(p, &p, 10)) > 0;)
        ret[n++] = (pid_t)child;
    return n;
}

char proc_state(pid_t pid)
{
    char buf[1024];
    proc_read(pid, "stat", buf, sizeof(buf));
    const char *p = strrchr(buf, ')');
    return p && p[1] == ' ' ? p[2] : '\0';
}

bool proc_is_alive(pid_t pid)
{
    char state = proc_state(pid);
    return state && state != 'Z' && state != 'X';
}

/* Call @visit for each descriptor until it returns true; that one's number, or -1. */
static int proc_each_fd(pid_t pid, bool (*visit)(int fd, const char *link, void *data), void *data)
{
    char path[64], link[512];
    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    DIR *dir = opendir(path);
    int found = -1;
    for (struct dirent *e; dir && found < 0 && (e = readdir(dir));) {
        ssize_t n = readlinkat(dirfd(dir), e->d_name, link, sizeof(link) - 1);
        if (e->d_name[0] == '.' || n < 0)
            continue;
        link[n] = '\0';
        if (visit(atoi(e->d_name), link, data))
            found = atoi(e->d_name);
    }
    if (dir)
        closedir(dir);
    return found;
}

static bool visit_count(int fd, const char *link, void *data)
{
    (void)fd;
    (void)link;
    ++*(size_t *)data;
    return false;
}

size_t proc_count_fds(pid_t pid)
{
    size_t n = 0;
    proc_each_fd(pid, visit_count, &n);
    return n;
}

static bool visit_match(int fd, const char *link, void *data)
{
    (void)fd;
    return strstr(link, data) != NULL;
}

int proc_find_fd(pid_t pid, const char *text)
{
    return proc_each_fd(pid, visit_match, (void *)(uintptr_t)text);
}

struct listing {
    char *buf;
    size_t size, len;
};

static bool visit_list(int fd, const char *link, void *data)
{
    struct listing *l = data;
    int n = snprintf(l->buf + l->len, l->size - l->len, "%d %s\n", fd, link);
    if (n > 0 && (size_t)n < l->size - l->len)
        l->len += (size_t)n;
    l->buf[l->len] = '\0';
    return false;
}

void proc_list_fds(pid_t pid, char *buf, size_t size)
{
    buf[0] = '\0';
    proc_each_fd(pid, visit_list, &(struct listing){buf, size, 0});
}

uint64_t proc_status(pid_t pid, const char *key, int base)
{
    char buf[8192], name[64];
    proc_read(pid, "status", buf, sizeof(buf));
    snprintf(name, sizeof(name), "\n%s:", key);
    const char *p = strstr(buf, name);
    return p ? strtoull(p + strlen(name), NULL, base) : 0;
}

bool proc_limit_fds(pid_t pid, const struct rlimit *limit, struct rlimit *ret_before)
{
    const uid_t uid = (uid_t)proc_status(pid, "Uid", 10);
    const gid_t gid = (gid_t)proc_status(pid, "Gid", 10);
    struct rlimit *before =
        mmap(NULL, sizeof(*before), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    const pid_t child = before == MAP_FAILED ? -1 : fork();
    int status = -1;

    if (child == 0)
        _exit((geteuid() == 0 && (setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)) ||
              prlimit(pid, RLIMIT_NOFILE, limit, before) < 0);
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        return false;
    if (ret_before)
        *ret_before = *before;
    munmap(before, sizeof(*before));
    return true;
}

uint64_t proc_cpu_ms(pid_t pid)
{
    char buf[1024];
    unsigned long user = 0, system = 0;
    proc_read(pid, "stat", buf, sizeof(buf));
    const char *p = strrchr(buf, ')');
    if (p)
        sscanf(p + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
    return (user + system) * 1000 / (unsigned long)sysconf(_SC_CLK_TCK);
}

void proc_command(pid_t pid, char *buf, size_t size)
{
    size_t len = proc_read(pid, "cmdline", buf, size);
    for (size_t i = 0; i + 1 < len; i++)
        buf[i] = buf[i] ? buf[i] : ' ';
}
