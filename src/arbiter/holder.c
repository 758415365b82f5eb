/*
 * A look into /proc, by an arbiter that does not serve yet and may take its time.
 */
#include "arbiter/holder.h"

#include <dirent.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/fds.h"
#include "base/util.h"

enum { INODES_MAX = 16, IS_LISTENING = 0x10000, TCP_STATE_LISTEN = 10 };

struct inodes {
    unsigned long list[INODES_MAX];
    size_t n;
};

/* ---- which sockets ---- */

/* As in /proc/net/tcp and tcp6: words of 32 bits in the machine's order. */
static void format_hex(const struct sockaddr_storage *ss, char hex[33])
{
    uint32_t words[4];
    size_t n = ss->ss_family == AF_INET ? 1 : 4;

    if (n == 1)
        memcpy(words, &((const struct sockaddr_in *)ss)->sin_addr, sizeof(words[0]));
    else
        memcpy(words, &((const struct sockaddr_in6 *)ss)->sin6_addr, sizeof(words));
    for (size_t i = 0; i < n; i++)
        snprintf(hex + 8 * i, 9, "%08X", words[i]);
}

static bool is_any(const char *hex)
{
    return hex[strspn(hex, "0")] == '\0';
}

static bool is_in_the_way(const char *mine, const char *other)
{
    if (strlen(mine) == strlen(other))
        return is_any(mine) || is_any(other) || strcmp(mine, other) == 0;
    return is_any(strlen(mine) > strlen(other) ? mine : other); /* both families, perhaps */
}

/* The inode of a line of /proc/net/tcp or tcp6 if it is a listener in the way of @a; else 0. */
static unsigned long match_tcp(const struct addr *a, const char *line)
{
    struct sockaddr_storage ss;
    unsigned long inode;
    char hex[33], mine[33];
    unsigned port, state;
    socklen_t len;

    if (sscanf(line, " %*u: %32[0-9A-F]:%x %*s %x %*s %*s %*s %*u %*u %lu", hex, &port, &state,
               &inode) != 4)
        return 0;
    if (state != TCP_STATE_LISTEN || port != a->port || addr_to_sockaddr(a, &ss, &len) < 0)
        return 0;
    format_hex(&ss, mine);
    return is_in_the_way(mine, hex) ? inode : 0;
}

/* The same for /proc/net/unix. */
static unsigned long match_unix(const struct addr *a, const char *line)
{
    unsigned long inode;
    unsigned flags;
    int at = 0;

    if (sscanf(line, "%*[^:]: %*x %*x %x %*x %*x %lu %n", &flags, &inode, &at) != 2 || at == 0)
        return 0;
    return (flags & IS_LISTENING) && strcmp(line + at, a->path) == 0 ? inode : 0;
}

static void add_inodes(struct inodes *s, const char *file, const struct addr *a,
                       unsigned long (*match)(const struct addr *, const char *))
{
    FILE *f = fopen(file, "re");
    char *line = NULL;
    size_t size = 0;
    ssize_t len;

    while (f && s->n < INODES_MAX && (len = getline(&line, &size, f)) > 0) {
        line[line[len - 1] == '\n' ? len - 1 : len] = '\0';
        s->list[s->n] = match(a, line);
        s->n += s->list[s->n] != 0;
    }
    free(line);
    if (f)
        fclose(f);
}

/* ---- which processes ---- */

static bool has_one_of(pid_t pid, const struct inodes *s)
{
    char path[300], target[64];
    const struct dirent *e;
    bool has = false;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    while (dir && !has && (e = readdir(dir))) {
        unsigned long inode;
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)pid, e->d_name);
        n = readlink(path, target, sizeof(target) - 1);
        target[MAX(n, 0)] = '\0';
        if (sscanf(target, "socket:[%lu]", &inode) != 1)
            continue;
        for (size_t i = 0; i < s->n; i++)
            has |= s->list[i] == inode;
    }
    if (dir)
        closedir(dir);
    return has;
}

static bool is_this_program(pid_t pid)
{
    struct stat process, theirs, ours;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d", (int)pid);
    if (stat(path, &process) < 0 || process.st_uid != geteuid())
        return false;
    snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    return stat(path, &theirs) == 0 && stat("/proc/self/exe", &ours) == 0 &&
           theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

/* Returns false if the process cannot be looked at. */
static bool read_status(struct holder *p)
{
    const unsigned long long term = 1ULL << (SIGTERM - 1);
    unsigned long long pending;
    char path[64], line[256];
    int parent;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)p->pid);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "Name: %31[^\n]", p->name) == 1)
            continue;
        if (sscanf(line, "PPid: %d", &parent) == 1)
            p->parent = parent;
        else if (sscanf(line, "SigPnd: %llx", &pending) == 1 ||
                 sscanf(line, "ShdPnd: %llx", &pending) == 1)
            p->is_told |= (pending & term) != 0;
    }
    if (f)
        fclose(f);
    return f && p->parent > 0;
}

static void add_holder(struct holders *h, pid_t pid)
{
    struct holder *p = &h->list[h->n];

    if (h->n == HOLDERS_MAX) {
        h->is_incomplete = true;
        return;
    }
    *p = (struct holder){.pid = pid, .pidfd = pidfd_open(pid, 0)};
    if (p->pidfd < 0 || !read_status(p))
        h->is_incomplete = true;
    p->is_ours = is_this_program(pid);
    h->n++;
}

void holders_find(struct holders *h, const char *text)
{
    struct inodes s = {.n = 0};
    const struct dirent *e;
    const char *why;
    struct addr a;
    DIR *proc;

    *h = (struct holders){.n = 0};
    if (addr_parse(text, &a, &why) < 0)
        return;
    if (a.kind == ADDR_UNIX) {
        add_inodes(&s, "/proc/net/unix", &a, match_unix);
    } else {
        add_inodes(&s, "/proc/net/tcp", &a, match_tcp);
        add_inodes(&s, "/proc/net/tcp6", &a, match_tcp);
    }
    proc = s.n > 0 ? opendir("/proc") : NULL;
    while (proc && (e = readdir(proc))) {
        const int pid = atoi(e->d_name);

        if (pid > 0 && has_one_of(pid, &s))
            add_holder(h, pid);
    }
    if (proc)
        closedir(proc);
}

void holders_free(struct holders *h)
{
    for (size_t i = 0; i < h->n; i++)
        fds_close(&h->list[i].pidfd);
    h->n = 0;
}

bool holders_are_strays(const struct holders *h)
{
    for (size_t i = 0; i < h->n; i++) {
        if (!h->list[i].is_ours)
            return false;
        for (size_t k = 0; k < h->n; k++)
            if (h->list[i].parent == h->list[k].pid)
                return false;
    }
    return h->n > 0 && !h->is_incomplete;
}

void holders_push(const struct holders *h, unsigned i, struct log *log)
{
    const int signo = i == 0 ? SIGCONT : i == HOLDER_TRIES / 2 ? SIGKILL : 0;

    for (size_t k = 0; signo && k < h->n; k++) {
        const struct holder *p = &h->list[k];

        if (!p->is_told || pidfd_send_signal(p->pidfd, signo, NULL, 0) < 0)
            continue;
        log_warning(log, "a worker whose arbiter was killed has the address",
                    F_INT("worker_pid", p->pid),
                    F_STR("done", signo == SIGCONT ? "continued, so that it ends" : "killed"));
    }
}

void holders_name(const struct holders *h, char *why, size_t why_size)
{
    size_t used = strlen(why);

    for (size_t i = 0; i < h->n && i < 4 && used < why_size; i++)
        used +=
            (size_t)snprintf(why + used, why_size - used, "%s%d (%s)",
                             i ? ", " : "; it is process ", (int)h->list[i].pid, h->list[i].name);
}
