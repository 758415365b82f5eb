/*
 * What a server must leave behind: nothing. The oracles of the integration tests, once.
 */
#include "support/server.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server_internal.h"

static void __attribute__((format(printf, 3, 4)))
problem(char *problems, size_t size, const char *format, ...)
{
    size_t len = strlen(problems);
    va_list ap;
    va_start(ap, format);
    vsnprintf(problems + len, size - len, format, ap);
    va_end(ap);
}

char *it_read(const char *path)
{
    size_t len = 0, size = 1 << 16;
    char *buf = malloc(size);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    for (ssize_t n; buf && fd >= 0 && (n = read(fd, buf + len, size - 1 - len)) > 0;) {
        len += (size_t)n;
        if (len == size - 1)
            buf = realloc(buf, size *= 2);
    }
    if (fd >= 0)
        close(fd);
    MUST(buf, "no memory");
    buf[len] = '\0';
    return buf;
}

static void compile(regex_t *re, const char *pattern)
{
    MUST(regcomp(re, pattern, REG_EXTENDED | REG_NOSUB) == 0, "not an expression: %s", pattern);
}

size_t it_count_lines(const char *path, const char *pattern)
{
    regex_t re;
    compile(&re, pattern);
    it_sync_logs();
    char *text = it_read(path), *save;
    size_t n = 0;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
        n += regexec(&re, line, 0, NULL, 0) == 0;
    free(text);
    regfree(&re);
    return n;
}

/*
 * A line of the log at debug or info. Anything else must be expected: sanitizers, libev, glibc. A
 * server looks at the processes of the whole machine when it starts: it may name those that a test
 * beside this one has stopped.
 */
static bool is_harmless(const char *line)
{
    static const char *const levels[] = {" level=debug ", " level=info ", "\"level\":\"debug\"",
                                         "\"level\":\"info\"",
                                         "a stopped process whose arbiter was killed",
                                         /* of the machine, where net.core.somaxconn is low */
                                         "fewer connections can wait than"};
    if (strncmp(line, "ts=", 3) && strncmp(line, "{\"ts\":", 6))
        return false;
    for (size_t i = 0; i < ARRAY_SIZE(levels); i++) {
        if (strstr(line, levels[i]))
            return true;
    }
    return false;
}

static void check_log(struct server *s, char *problems, size_t size)
{
    regex_t re[SERVER_EXPECTED_MAX];
    for (size_t i = 0; i < s->n_expected; i++)
        compile(&re[i], s->expected[i]);
    it_sync_logs();
    char *text = it_read(s->log), *save;
    bool has_stopped = false;
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
        bool is_expected = is_harmless(line);
        if (has_stopped && strstr(line, " actor=arbiter "))
            problem(problems, size, "a line behind the last one: %s\n", line);
        has_stopped |= strstr(line, " actor=arbiter ") && strstr(line, " msg=\"stopped\" ");
        for (size_t i = 0; i < s->n_expected && !is_expected; i++)
            is_expected = regexec(&re[i], line, 0, NULL, 0) == 0;
        if (!is_expected)
            problem(problems, size, "unexpected line: %s\n", line);
    }
    free(text);
    for (size_t i = 0; i < s->n_expected; i++)
        regfree(&re[i]);
}

bool it_knows(const struct it *it, pid_t pid)
{
    for (size_t i = 0; i < ARRAY_SIZE(it->tools); i++) {
        if (it->tools[i] == pid)
            return true;
    }
    for (const struct server *s = it->servers; s; s = s->next) {
        if (s->pid == pid)
            return true;
    }
    return false;
}

/* The test process is a subreaper, so whoever has lost its arbiter is our child now. */
static void check_processes(struct server *s, char *problems, size_t size)
{
    pid_t pids[PROC_CHILDREN_MAX];
    char command[256];
    size_t n = proc_children(getpid(), pids, ARRAY_SIZE(pids));
    for (size_t i = 0; i < n; i++) {
        if (it_knows(s->it, pids[i]))
            continue;
        proc_command(pids[i], command, sizeof(command));
        problem(problems, size, "%s %d left: %s\n", proc_is_alive(pids[i]) ? "orphan" : "zombie",
                (int)pids[i], command);
    }
}

/* Sockets, pid files and locks; what the test wrote itself is of no concern. */
static void check_dir(const char *path, char *problems, size_t size)
{
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        struct stat st;
        if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        const char *dot = strrchr(e->d_name, '.');
        if (S_ISSOCK(st.st_mode) || (dot && (!strcmp(dot, ".pid") || !strcmp(dot, ".lock"))))
            problem(problems, size, "file left: %s/%s\n", path, e->d_name);
    }
    if (dir)
        closedir(dir);
}

/* One that was killed could not tidy up; while another runs, the test's directory is in use. */
static void check_files(struct server *s, char *problems, size_t size)
{
    bool is_alone = true;
    if (WIFSIGNALED(s->status))
        return;
    for (struct server *other = s->it->servers; other; other = other->next)
        is_alone &= other->pid == 0;
    if (is_alone)
        check_dir(s->it->dir, problems, size);
    check_dir(s->run, problems, size);
}

void server_check_left(struct server *s, char *problems, size_t size)
{
    check_processes(s, problems, size);
    check_files(s, problems, size);
    check_log(s, problems, size);
}

const char *server_problems(struct server *s)
{
    char *problems = it_alloc(s->it, 4096);
    server_check_left(s, problems, 4096);
    return problems;
}

static bool is_settled(struct server *s)
{
    pid_t pids[SERVER_WORKERS_MAX];
    size_t n = server_worker_pids(s, pids);
    const size_t n_others = server_others(s);
    /* Of each actor the arbiter has the mailbox, and of a worker the table that it shares with its
     * keeper, if there are keepers. */
    const size_t per_worker = n_others > 0 ? 2 : 1;
    if (proc_count_fds(s->pid) !=
        s->arbiter_fds + per_worker * n - per_worker * s->n_workers + n_others - s->n_others)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (proc_count_fds(pids[i]) != s->worker_fds)
            return false;
    }
    return true;
}

void server_wait_settled(struct server *s, char *problems, size_t size)
{
    char list[2048];
    if (!s->arbiter_fds || WAIT_UNTIL(is_settled(s), WAIT_MS))
        return;
    proc_list_fds(s->pid, list, sizeof(list));
    problem(problems, size, "arbiter has %zu descriptors, had %zu:\n%s", proc_count_fds(s->pid),
            s->arbiter_fds, list);
    pid_t pids[SERVER_WORKERS_MAX];
    size_t n = server_worker_pids(s, pids);
    for (size_t i = 0; i < n; i++) {
        proc_list_fds(pids[i], list, sizeof(list));
        problem(problems, size, "worker %d has %zu descriptors, had %zu:\n%s", (int)pids[i],
                proc_count_fds(pids[i]), s->worker_fds, list);
    }
}

const char *server_end(struct server *s, int signo, int exit_code)
{
    enum { SIZE = 8192 };
    char *problems = it_alloc(s->it, SIZE);
    peer_release_all();
    server_wait_settled(s, problems, SIZE);
    if (s->arbiter_fds && server_gauge(s, sources) > 0)
        problem(problems, SIZE, "sources are counted that have no connection any more\n");
    kill(s->pid, signo);
    int code = server_wait_exit(s, WAIT_MS);
    if (code != exit_code)
        problem(problems, SIZE, "exit code %d, expected %d%s\n", code, exit_code,
                code < 0 ? " (it has not ended)" : "");
    server_check_left(s, problems, SIZE);
    return problems;
}

void server_stop_and_check(struct server *s, int signo, int exit_code)
{
    const char *problems = server_end(s, signo, exit_code);
    MUST(!*problems, "%s", problems);
}
