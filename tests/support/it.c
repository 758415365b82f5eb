/*
 * A test's surroundings: its directory, the programs beside the servers, and the last resort that
 * leaves nothing running. The test process is a subreaper: whoever loses its parent comes to it.
 */
#include "support/it.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"
#include "support/server_internal.h"

static struct it *current;

void it_sync_logs(void)
{
    for (struct server *s = current ? current->servers : NULL; s; s = s->next)
        server_sync_log(s);
}

static void on_failure(const char *file, int line, const char *why)
{
    if (current)
        current->has_failed = true;
    fprintf(stderr, "%s:%d: %s\n", file, line, why);
    _fail(file, line);
}

void it_init(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    signal(SIGPIPE, SIG_IGN);
    setvbuf(stderr, NULL, _IOLBF, 0);
    must_set_handler(on_failure);
}

bool it_is_soak(void)
{
    const char *profile = getenv("ECHO_PROFILE");
    return profile && !strcmp(profile, "soak");
}

uint64_t it_seed(void)
{
    const char *text = getenv("ECHO_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 10) : clock_mono_ns() % 1000000;
    printf("# ECHO_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

char *it_path(struct it *it, const char *name)
{
    size_t size = sizeof(it->dir) + strlen(name) + 2;
    char *path = it_alloc(it, size);
    snprintf(path, size, "%s/%s", it->dir, name);
    return path;
}

void it_write(struct it *it, const char *name, const char *text)
{
    FILE *f = fopen(it_path(it, name), "we");
    MUST(f && fputs(text, f) >= 0 && fclose(f) == 0, "%s: %s", name, strerror(errno));
}

char *it_copy(struct it *it, const char *from, const char *name, size_t len)
{
    char *path = it_path(it, name);
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0755);
    struct stat st;

    MUST(in >= 0 && out >= 0 && fstat(in, &st) == 0, "%s: %s", from, strerror(errno));
    for (size_t left = len ? len : (size_t)st.st_size; left > 0;) {
        ssize_t n = copy_file_range(in, NULL, out, NULL, left, 0);
        MUST(n > 0, "%s: %s", from, strerror(errno));
        left -= (size_t)n;
    }
    MUST(fchmod(out, 0755) == 0, "%s: %s", path, strerror(errno));
    close(in);
    close(out);
    return path;
}

char *it_build_path(struct it *it, const char *name)
{
    char *path = it_alloc(it, 4096);
    const char *build = getenv("ECHO_BUILD");
    if (build) {
        snprintf(path, 4096, "%s/%s", build, name);
        return path;
    }
    /* BUILD/tests/it/test_x */
    ssize_t n = readlink("/proc/self/exe", path, 4000);
    MUST(n > 0, "/proc/self/exe: %s", strerror(errno));
    path[n] = '\0';
    for (int up = 0; up < 3 && strrchr(path, '/'); up++)
        *strrchr(path, '/') = '\0';
    size_t len = strlen(path);
    snprintf(path + len, 4096 - len, "/%s", name);
    return path;
}

void *it_alloc(struct it *it, size_t size)
{
    struct it_block *b = calloc(1, sizeof(*b) + size);
    MUST(b, "no memory");
    b->next = it->blocks;
    it->blocks = b;
    return b->data;
}

int it_setup(void **state)
{
    struct it *it = calloc(1, sizeof(*it));
    const char *tmp = getenv("TMPDIR");
    snprintf(it->dir, sizeof(it->dir), "%s/echo-it.XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    if (!mkdtemp(it->dir))
        return -1;
    /* Workers are others than root that starts them, and have files here for hooks. */
    if (geteuid() == 0 && chmod(it->dir, 0777) < 0)
        return -1;
    it->data = *state;
    *state = current = it;
    return 0;
}

/* Kill all that descends from @pid, the deepest first. */
static void kill_below(pid_t pid)
{
    pid_t children[PROC_CHILDREN_MAX];
    size_t n = proc_children(pid, children, ARRAY_SIZE(children));
    for (size_t i = 0; i < n; i++) {
        kill_below(children[i]);
        kill(children[i], SIGKILL);
    }
}

static bool is_childless(void)
{
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
    pid_t child;
    if (proc_children(getpid(), &child, 1) == 0)
        return true;
    kill_below(getpid());
    return false;
}

static void remove_tree(const char *path)
{
    DIR *dir = opendir(path);
    char name[4096];
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, e->d_name);
        if (unlink(name) < 0)
            remove_tree(name);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

static void release(struct it *it)
{
    peer_release_all();
    WAIT_UNTIL(is_childless(), WAIT_MS);
    while (it->servers) {
        struct server *s = it->servers;
        it->servers = s->next;
        server_free(s);
    }
    remove_tree(it->dir);
    while (it->blocks) {
        struct it_block *b = it->blocks;
        it->blocks = b->next;
        free(b);
    }
    current = NULL;
    free(it);
}

int it_teardown(void **state)
{
    struct it *it = *state;
    char problems[8192] = "";
    for (size_t i = 0; i < ARRAY_SIZE(it->tools); i++)
        it_tool_stop(it, it->tools[i]);
    for (struct server *s = it->servers; s && !it->has_failed; s = s->next) {
        if (s->pid)
            snprintf(problems + strlen(problems), sizeof(problems) - strlen(problems), "%s",
                     server_end(s, SIGTERM, 0));
    }
    bool is_told = it->has_failed || *problems;
    for (struct server *s = it->servers; s && is_told; s = s->next)
        server_print_log(s, s == it->servers ? 16384 : 2048);
    if (*problems)
        fprintf(stderr, "left behind:\n%s", problems);
    release(it);
    return *problems ? -1 : 0;
}

pid_t it_tool(struct it *it, const char *log, const char *const *argv)
{
    char *path = it_path(it, log);
    size_t i = 0;
    while (i < ARRAY_SIZE(it->tools) && it->tools[i])
        i++;
    MUST(i < ARRAY_SIZE(it->tools), "too many tools");
    pid_t pid = fork();
    MUST(pid >= 0, "fork: %s", strerror(errno));
    if (pid == 0) {
        int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setpgid(0, 0);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    it->tools[i] = pid;
    return pid;
}

void it_tool_stop(struct it *it, pid_t pid)
{
    for (size_t i = 0; pid && i < ARRAY_SIZE(it->tools); i++) {
        if (it->tools[i] != pid)
            continue;
        it->tools[i] = 0;
        kill(pid, SIGTERM);
        if (!WAIT_UNTIL(waitpid(pid, NULL, WNOHANG) != 0, WAIT_MS)) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
        }
    }
}

static char *tracer_log(struct it *it, pid_t target)
{
    char name[32];
    snprintf(name, sizeof(name), "strace.%d", (int)target);
    return it_path(it, name);
}

pid_t it_inject(struct it *it, pid_t pid, const char *trace, const char *inject)
{
    char target[16], e1[256], e2[256];
    snprintf(target, sizeof(target), "%d", (int)pid);
    snprintf(e1, sizeof(e1), "trace=%s", trace);
    snprintf(e2, sizeof(e2), "inject=%s", inject);
    const char *argv[] = {"strace", "--quiet=exit,personality",
                          "-p",     target,
                          "-o",     tracer_log(it, pid),
                          "-e",     e1,
                          "-e",     e2,
                          NULL};
    const char *told = it_path(it, "attached.log"), *pattern = "Process [0-9]+ attached";
    size_t before = it_count_lines(told, pattern);
    pid_t tracer = it_tool(it, "attached.log", argv);
    /* It says so when it has stopped the process, which is a moment after it is its tracer. */
    MUST_COME(it_count_lines(told, pattern) > before || !proc_is_alive(tracer),
              "strace does not attach");
    MUST(proc_is_alive(tracer), "strace has ended");
    return tracer;
}

size_t it_traced(struct it *it, pid_t pid, const char *pattern)
{
    return it_count_lines(tracer_log(it, pid), pattern);
}

int it_tool_run(struct it *it, const char *log, const char *const *argv)
{
    pid_t pid = it_tool(it, log, argv);
    int status = -1;
    MUST_COME(waitpid(pid, &status, WNOHANG) == pid, "%s does not end", argv[0]);
    for (size_t i = 0; i < ARRAY_SIZE(it->tools); i++)
        it->tools[i] = it->tools[i] == pid ? 0 : it->tools[i];
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void it_need_strace(struct it *it)
{
    const char *argv[] = {"strace", "-qq", "-o", "/dev/null", "true", NULL};
    int code = it_tool_run(it, "tools.log", argv);
    if (code == 0)
        return;
    printf("# skipped: strace cannot trace here (exit code %d)\n", code);
    skip();
}

bool it_file_has(const char *path, const char *pattern)
{
    return it_count_lines(path, pattern) > 0;
}

static bool has_orphans(struct it *it)
{
    pid_t pids[PROC_CHILDREN_MAX];
    size_t n = proc_children(getpid(), pids, ARRAY_SIZE(pids));
    bool has = false;
    for (size_t i = 0; i < n; i++) {
        if (it_knows(it, pids[i]))
            continue;
        /* Its parent is dead: it is ours to reap. */
        has |= waitpid(pids[i], NULL, WNOHANG) != pids[i];
    }
    return has;
}

void it_wait_orphans(struct it *it)
{
    MUST_COME(!has_orphans(it), "orphans do not end");
}

void it_obey_permissions(void)
{
    /* Out of the bounding set, exec gives them to nobody. Who is not root has none to lose. */
    prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE);
    prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH);
}

bool it_is_sanitized(void)
{
#if defined(__SANITIZE_ADDRESS__)
    return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
    return true;
#endif
#endif
    return false;
}
