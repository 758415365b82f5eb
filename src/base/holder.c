/*
 * A look into /proc, by an arbiter that does not serve yet and may take its time.
 */
#include "base/holder.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/addr.h"
#include "base/fds.h"
#include "base/hash.h"
#include "base/privileges.h"
#include "base/title.h"
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

static int send_signal(int pidfd, int signo)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, signo, NULL, 0);
}

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
    struct stat theirs, ours;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
    return stat(path, &theirs) == 0 && stat("/proc/self/exe", &ours) == 0 &&
           theirs.st_dev == ours.st_dev && theirs.st_ino == ours.st_ino;
}

/* Any process may read it; "" if there is none. */
static void read_title(pid_t pid, char title[64])
{
    char path[64];
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? 0 : read(fd, title, 63);
    title[MAX(n, 0)] = '\0';
    fds_close(&fd);
}

/* What follows the name of this program; NULL = it is the title of another. */
static const char *actor_of_title(const char *title)
{
    const size_t len = strlen(title_program());

    return strncmp(title, title_program(), len) == 0 &&
                   strncmp(title + len, TITLE_COLON, strlen(TITLE_COLON)) == 0
               ? title + len + strlen(TITLE_COLON)
               : NULL;
}

/* A process that an arbiter has made, and that is to end with it. */
static bool is_child_title(const char *title)
{
    const char *actor = actor_of_title(title);

    return actor && (strncmp(actor, "worker.", 7) == 0 || strncmp(actor, "log ", 4) == 0);
}

/* Perhaps one that has been upgraded, and executes another file than its workers. */
static bool is_arbiter(pid_t pid)
{
    char title[64];

    read_title(pid, title);
    return actor_of_title(title) || is_this_program(pid);
}

/* Returns false if the process cannot be looked at. */
static bool read_status(struct holder *p)
{
    const unsigned long long term = 1ULL << (SIGTERM - 1);
    unsigned long long pending;
    char path[64], line[256], state;
    unsigned uid;
    int parent;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)p->pid);
    f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "Name: %31[^\n]", p->name) == 1)
            continue;
        if (sscanf(line, "State: %c", &state) == 1)
            p->is_stopped = state == 'T';
        else if (sscanf(line, "PPid: %d", &parent) == 1)
            p->parent = parent;
        else if (sscanf(line, "Uid: %*u %u", &uid) == 1)
            p->is_own_user = uid == geteuid() || geteuid() == 0; /* whose workers are others */
        else if (sscanf(line, "SigPnd: %llx", &pending) == 1 ||
                 sscanf(line, "ShdPnd: %llx", &pending) == 1)
            p->is_told |= (pending & term) != 0;
    }
    if (f)
        fclose(f);
    return f && p->parent > 0;
}

/* Its pidfd first: whoever has the number later is not signalled. Returns false if it cannot be
 * looked at. */
static bool look_at(struct holder *p, pid_t pid)
{
    char title[64];
    bool is_seen;

    *p = (struct holder){.pid = pid, .pidfd = (int)syscall(SYS_pidfd_open, pid, 0)};
    is_seen = p->pidfd >= 0 && read_status(p);
    read_title(pid, title);
    p->is_alone = is_seen && is_child_title(title) && !is_arbiter(p->parent);
    p->is_stray = p->is_alone && p->is_own_user && is_this_program(pid);
    return is_seen;
}

static void add_holder(struct holders *h, pid_t pid)
{
    if (pid == getpid()) {
        h->is_inherited = true;
        return;
    }
    if (h->n == HOLDERS_MAX) {
        h->is_incomplete = true;
        return;
    }
    if (!look_at(&h->list[h->n++], pid))
        h->is_incomplete = true;
}

/* The processes there are, by their numbers. Returns 0 at the end. */
static pid_t next_process(DIR *proc)
{
    const struct dirent *e;
    pid_t pid = 0;

    while (proc && pid <= 0 && (e = readdir(proc)))
        pid = (pid_t)atoi(e->d_name);
    return MAX(pid, 0);
}

void holders_find(struct holders *h, const char *text)
{
    struct inodes s = {.n = 0};
    const char *why;
    struct addr a;
    DIR *proc;
    pid_t pid;

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
    while ((pid = next_process(proc)) > 0)
        if (has_one_of(pid, &s))
            add_holder(h, pid);
    if (proc)
        closedir(proc);
    h->is_incomplete |= s.n > 0 && h->n == 0 && !h->is_inherited;
}

void holders_free(struct holders *h)
{
    for (size_t i = 0; i < h->n; i++)
        fds_close(&h->list[i].pidfd);
    h->n = 0;
}

bool holders_are_strays(const struct holders *h)
{
    bool are_strays = h->n > 0 && !h->is_incomplete && !h->is_inherited;

    for (size_t i = 0; i < h->n; i++)
        are_strays &= h->list[i].is_stray;
    return are_strays;
}

void holders_kill(const struct holders *h, struct log *log)
{
    for (size_t i = 0; i < h->n; i++) {
        const struct holder *p = &h->list[i];

        if (p->is_stray && p->is_told && send_signal(p->pidfd, SIGKILL) == 0)
            log_warning(log, "a process whose arbiter was killed has the address: killed",
                        F_INT("process", p->pid));
    }
}

/* A process that is stopped, and told to end, and has no arbiter any more. */
static void continue_one(const struct holder *p, struct log *log)
{
    if (p->is_stray && send_signal(p->pidfd, SIGCONT) == 0)
        log_warning(log, "a stopped process whose arbiter was killed: continued, so that it ends",
                    F_INT("process", p->pid));
    else if (!p->is_stray)
        log_warning(log,
                    "a stopped process whose arbiter was killed is let alone: it executes another "
                    "file than this server, or one that cannot be looked at: continue or kill it",
                    F_INT("process", p->pid));
}

void holders_continue(const struct holders *h, struct log *log)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->list[i].is_stray && h->list[i].is_stopped && h->list[i].is_told)
            continue_one(&h->list[i], log);
}

/* ---- strays of this server ---- */

/* The name of the mapping, as /proc/PID/maps shows it; "" = there is none. */
static char mark[72];

void strays_mark(uint64_t server)
{
    char name[56];
    int fd;

    snprintf(name, sizeof(name), "%s-%016llx", title_program(), (unsigned long long)server);
    fd = fds_memfd(name);
    /* Nothing is ever in it: it takes no memory. */
    if (fd >= 0 && mmap(NULL, 1, PROT_NONE, MAP_SHARED, fd, 0) != MAP_FAILED)
        snprintf(mark, sizeof(mark), "/memfd:%s ", name);
    fds_close(&fd);
}

static bool has_mark(pid_t pid)
{
    char path[64], *line = NULL;
    size_t size = 0;
    bool has = false;
    FILE *f;

    snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
    f = *mark ? fopen(path, "re") : NULL;
    while (f && !has && getline(&line, &size, f) > 0)
        has = strstr(line, mark) != NULL;
    free(line);
    if (f)
        fclose(f);
    return has;
}

void strays_continue(struct log *log)
{
    DIR *proc = opendir("/proc");
    char title[64];
    pid_t pid;

    while ((pid = next_process(proc)) > 0) {
        struct holder p;

        read_title(pid, title);
        if (!is_child_title(title))
            continue;
        if (look_at(&p, pid) && p.is_alone && p.is_own_user && p.is_stopped && p.is_told &&
            has_mark(pid))
            continue_one(&p, log);
        fds_close(&p.pidfd);
    }
    if (proc)
        closedir(proc);
}

void holders_name(const struct holders *h, char *why, size_t why_size)
{
    size_t used = strlen(why);

    if (h->n == 0 && h->is_incomplete)
        snprintf(why + used, why_size - used,
                 "; no process that may be looked at has it: perhaps another user's%s",
                 geteuid() == 0 && !privileges_has(CAP_SYS_PTRACE)
                     ? ", at which root may look with CAP_SYS_PTRACE"
                     : "");
    for (size_t i = 0; i < h->n && i < 4 && used < why_size; i++)
        used +=
            (size_t)snprintf(why + used, why_size - used, "%s%d (%s)",
                             i ? ", " : "; it is process ", (int)h->list[i].pid, h->list[i].name);
    if (h->is_inherited && used < why_size)
        snprintf(why + used, why_size - used,
                 "; this process has inherited it, but not as LISTEN_FDS and LISTEN_PID say it");
}
