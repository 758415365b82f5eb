/*
 * Starting, watching and stopping a server. Test process only.
 */
#include "support/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arbiter/transition.h"
#include "base/util.h"
#include "support/server_internal.h"

enum { READY_FD = 3, ARGS_MAX = 48, HIGH_FD = 200 };

static void add_args(const char **argv, size_t *n, const char *const *more, size_t max)
{
    for (size_t i = 0; i < max && more[i]; i++)
        argv[(*n)++] = more[i];
}

static void build_argv(struct server *s, const struct server_options *o, const char **argv)
{
    size_t n = 0;
    const char *conf = o->conf ? o->conf : "";
    add_args(argv, &n, o->wrapper, ARRAY_SIZE(o->wrapper));
    argv[n++] = o->binary && o->binary[0] == '/'
                    ? o->binary
                    : it_build_path(s->it, o->binary ? o->binary : "echo-arbiter");
    if (!o->is_bare) {
        static const char *const ready_fds[] = {"3", "4", "5", "6",
                                                "7"}; /* behind what is passed */
        const char *const ready[] = {"--ready-fd", ready_fds[o->n_passed]};
        static const char *const bind[] = {"-b", "127.0.0.1:0"};
        static const char *const workers[] = {"-w", "2"};
        argv[n++] = "-c";
        argv[n++] = s->conf;
        add_args(argv, &n, ready, 2);
        add_args(argv, &n, bind, strstr(conf, "bind") ? 0 : 2);
        add_args(argv, &n, workers, strstr(conf, "workers") ? 0 : 2);
    }
    add_args(argv, &n, o->args, ARRAY_SIZE(o->args));
    argv[n] = NULL;
}

/* From READY_FD on: what is passed, then the ready pipe; nothing else stays open. */
static void place_descriptors(const struct server_options *o, int ready)
{
    int high[ARRAY_SIZE(o->passed) + 1];
    char text[24];

    for (size_t i = 0; i <= o->n_passed; i++)
        high[i] = fcntl(i < o->n_passed ? o->passed[i] : ready, F_DUPFD, HIGH_FD);
    for (size_t i = 0; i <= o->n_passed; i++)
        dup2(high[i], READY_FD + (int)i);
    close_range(READY_FD + (unsigned)o->n_passed + 1, ~0u, 0);
    if (o->n_passed == 0)
        return;
    snprintf(text, sizeof(text), "%zu", o->n_passed);
    setenv("LISTEN_FDS", text, 1);
    snprintf(text, sizeof(text), "%d", (int)getpid());
    setenv("LISTEN_PID", text, 1);
}

static void __attribute__((noreturn))
become_server(const struct server *s, const struct server_options *o, const char **argv, int ready)
{
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
    signal(SIGPIPE, SIG_DFL);
    int null = open("/dev/null", O_RDONLY);
    int log = open(s->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(null, 0);
    dup2(log, 1);
    dup2(log, 2);
    place_descriptors(o, ready);
    setenv("RUNTIME_DIRECTORY", s->run, 1);
    for (size_t i = 0; i < ARRAY_SIZE(o->env) && o->env[i]; i++)
        putenv((char *)(uintptr_t)o->env[i]);
    if (o->in_child)
        o->in_child();
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    dprintf(2, "cannot execute %s: %s\n", argv[0], strerror(errno));
    _exit(127);
}

struct server *server_spawn_with(struct it *it, const struct server_options *o)
{
    struct server *s = calloc(1, sizeof(*s));
    const char *argv[ARGS_MAX];
    int ready[2];
    unsigned number = 0;
    for (struct server *other = it->servers; other; other = other->next)
        number++;
    *s = (struct server){.it = it, .next = it->servers, .ready_fd = -1, .board = {.fd = -1}};
    it->servers = s;
    snprintf(s->conf, sizeof(s->conf), "%s/echo%u.conf", it->dir, number);
    snprintf(s->log, sizeof(s->log), "%s/log%u", it->dir, number);
    snprintf(s->run, sizeof(s->run), "%s/run%u", it->dir, number);
    MUST(mkdir(s->run, 0700) == 0, "mkdir: %s", strerror(errno));
    server_configure(s, o->conf ? o->conf : "");
    build_argv(s, o, argv);
    MUST(pipe2(ready, O_CLOEXEC) == 0, "pipe: %s", strerror(errno));
    s->pid = fork();
    MUST(s->pid >= 0, "fork: %s", strerror(errno));
    if (s->pid == 0)
        become_server(s, o, argv, ready[1]);
    setpgid(s->pid, s->pid);
    close(ready[1]);
    s->ready_fd = ready[0];
    return s;
}

/* One line from the ready pipe: > 0 its length, 0 = closed without one. */
static size_t read_ready_line(struct server *s, char *buf, size_t size)
{
    size_t len = 0;
    uint64_t deadline = clock_mono_ms() + WAIT_MS;
    while (len < size - 1 && !memchr(buf, '\n', len)) {
        struct pollfd p = {.fd = s->ready_fd, .events = POLLIN};
        uint64_t now = clock_mono_ms();
        MUST(now < deadline && poll(&p, 1, (int)(deadline - now)) > 0, "not ready in time");
        ssize_t n = read(s->ready_fd, buf + len, size - 1 - len);
        if (n <= 0)
            return 0;
        len += (size_t)n;
    }
    buf[len] = '\0';
    return len;
}

bool server_is_ready_or_ended(struct server *s)
{
    char line[2048];
    size_t len = read_ready_line(s, line, sizeof(line));
    if (len == 0)
        return false;
    char *save;
    for (char *p = strtok_r(line, " \n", &save); p; p = strtok_r(NULL, " \n", &save)) {
        MUST(s->n_addr < SERVER_ADDRS_MAX, "too many addresses");
        snprintf(s->addr[s->n_addr++], sizeof(s->addr[0]), "%s", p);
    }
    return true;
}

void server_wait_ready(struct server *s)
{
    char byte;
    MUST(server_is_ready_or_ended(s), "it ended before it was ready");
    /* It closes the descriptor behind the line: only then are its descriptors those of service. */
    struct pollfd end = {.fd = s->ready_fd, .events = POLLIN};
    MUST(poll(&end, 1, (int)WAIT_MS) == 1 && read(s->ready_fd, &byte, 1) == 0,
         "--ready-fd stays open");
    pid_t workers[SERVER_WORKERS_MAX];
    s->n_workers = server_worker_pids(s, workers);
    server_wait_workers(s, s->n_workers);
    s->n_others = server_others(s);
    s->arbiter_fds = proc_count_fds(s->pid);
    s->worker_fds = proc_count_fds(server_worker(s, 0));
}

struct server *server_start_with(struct it *it, const struct server_options *o)
{
    struct server *s = server_spawn_with(it, o);
    server_wait_ready(s);
    return s;
}

static bool is_reaped(struct server *s)
{
    if (s->pid && waitpid(s->pid, &s->status, WNOHANG) == s->pid)
        s->pid = 0;
    return s->pid == 0;
}

int server_wait_exit(struct server *s, unsigned timeout_ms)
{
    if (!WAIT_UNTIL(is_reaped(s), timeout_ms))
        return -1;
    return WIFEXITED(s->status) ? WEXITSTATUS(s->status) : 128 + WTERMSIG(s->status);
}

void server_refuses_with(struct it *it, int code, const char *pattern,
                         const struct server_options *o)
{
    struct server *s = server_spawn_with(it, o);
    int got = server_wait_exit(s, WAIT_MS);
    MUST(got == code, "exit code %d, expected %d", got, code);
    MUST(!pattern || server_log_count(s, pattern), "no line like: %s", pattern);
    server_expect(s, ".");
    if (o->is_daemon)
        it_wait_orphans(it);
    const char *problems = server_problems(s);
    MUST(!*problems, "%s", problems);
}

void server_configure(struct server *s, const char *text)
{
    /* A file without a key is refused; the command line has another word for this one. Whoever
     * reads it now has all of the old one or all of the new one. */
    it_write(s->it, "conf.new", *text ? text : "arbiter: { workers = 2; };");
    MUST(rename(it_path(s->it, "conf.new"), s->conf) == 0, "%s: %s", s->conf, strerror(errno));
}

void server_signal(struct server *s, int signo)
{
    MUST(s->pid > 0 && kill(s->pid, signo) == 0, "signal %d: the arbiter is gone", signo);
}

void server_expect(struct server *s, const char *pattern)
{
    MUST(s->n_expected < SERVER_EXPECTED_MAX, "too many expected patterns");
    s->expected[s->n_expected++] = pattern;
}

size_t server_log_count(struct server *s, const char *pattern)
{
    return it_count_lines(s->log, pattern);
}

static pid_t find_writer(pid_t parent)
{
    pid_t pids[PROC_CHILDREN_MAX];
    size_t n = proc_children(parent, pids, ARRAY_SIZE(pids));
    char command[256];
    for (size_t i = 0; i < n; i++) {
        proc_command(pids[i], command, sizeof(command));
        if (proc_is_alive(pids[i]) && strstr(command, "echo-arbiter: log ") == command)
            return pids[i];
    }
    return 0;
}

pid_t server_log_writer(struct server *s)
{
    /* One that has lost its arbiter is ours. */
    return s->pid ? find_writer(s->pid) : find_writer(getpid());
}

/* Nothing waits for it, and it waits for something: more lines. */
static bool has_written(pid_t writer)
{
    char path[64];
    int queued = 0, n = proc_find_fd(writer, "pipe:[");
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)writer, n);
    int fd = n < 0 ? -1 : open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return !proc_is_alive(writer);
    ioctl(fd, FIONREAD, &queued);
    close(fd);
    return queued == 0 && proc_state(writer) == 'S';
}

void server_sync_log(struct server *s)
{
    pid_t writer = server_log_writer(s);
    if (writer)
        WAIT_UNTIL(has_written(writer), 1000);
}

void server_wait_log(struct server *s, const char *pattern, size_t n)
{
    MUST_COME(server_log_count(s, pattern) >= n, "log: %zu of %zu lines like: %s",
              server_log_count(s, pattern), n, pattern);
}

void server_print_log(struct server *s, size_t max)
{
    char *text = it_read(s->log);
    size_t len = strlen(text), from = len > max ? len - max : 0;
    fprintf(stderr, "---- log of %s%s\n%s----\n", s->conf, from ? " (end)" : "", text + from);
    free(text);
}

static bool is_attached(struct server *s)
{
    if (s->board.fd >= 0)
        return true;
    char path[64];
    int n = proc_find_fd(s->pid, "memfd:scoreboard");
    if (n < 0)
        return false;
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)s->pid, n);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return false;
    if (scoreboard_attach(&s->board, fd) == 0)
        return true;
    close(fd);
    s->board.fd = -1;
    return false;
}

/* The index of the process's record, or -1. */
static int64_t find_record(struct server *s, pid_t pid)
{
    if (!is_attached(s))
        return -1;
    uint64_t high = counter_get(&s->board.header->high);
    for (uint32_t i = 0; i < high; i++) {
        const struct score_identity *id = scoreboard_identity(&s->board, i);
        if (counter_get(&id->slot) && counter_get(&id->pid) == (uint64_t)pid)
            return i;
    }
    return -1;
}

struct score_record *server_record(struct server *s, pid_t pid)
{
    int64_t i = find_record(s, pid);
    return i < 0 ? NULL : scoreboard_record(&s->board, (uint32_t)i);
}

const struct score_identity *server_identity(struct server *s, pid_t pid)
{
    int64_t i = find_record(s, pid);
    return i < 0 ? NULL : scoreboard_identity(&s->board, (uint32_t)i);
}

/* A live child that has a record; the parser of a reload has none. */
struct live {
    pid_t pid; /* as /proc says: the record may change hands meanwhile */
    const struct score_record *record;
    const struct score_identity *identity;
};

static bool is_of_worker(struct server *s, int64_t record)
{
    return counter_get(&scoreboard_identity(&s->board, (uint32_t)record)->slot) <= TR_SLOTS_MAX;
}

size_t server_others(struct server *s)
{
    pid_t pids[PROC_CHILDREN_MAX];
    size_t n = 0, n_pids = proc_children(s->pid, pids, ARRAY_SIZE(pids));

    for (size_t i = 0; i < n_pids; i++) {
        int64_t at = proc_is_alive(pids[i]) ? find_record(s, pids[i]) : -1;

        n += at >= 0 && !is_of_worker(s, at);
    }
    return n;
}

static size_t live_workers(struct server *s, struct live *ret)
{
    pid_t pids[PROC_CHILDREN_MAX];
    size_t n = 0, n_pids = proc_children(s->pid, pids, ARRAY_SIZE(pids));
    for (size_t i = 0; i < n_pids && n < SERVER_WORKERS_MAX; i++) {
        int64_t at = proc_is_alive(pids[i]) ? find_record(s, pids[i]) : -1;
        if (at >= 0 && is_of_worker(s, at))
            ret[n++] = (struct live){pids[i], scoreboard_record(&s->board, (uint32_t)at),
                                     scoreboard_identity(&s->board, (uint32_t)at)};
    }
    return n;
}

size_t server_worker_pids(struct server *s, pid_t *ret)
{
    struct live live[SERVER_WORKERS_MAX];
    size_t n = live_workers(s, live);
    for (size_t i = 0; i < n; i++)
        ret[i] = live[i].pid;
    return n;
}

pid_t server_worker(struct server *s, size_t i)
{
    pid_t pids[SERVER_WORKERS_MAX];
    size_t n = server_worker_pids(s, pids);
    MUST(i < n, "no worker %zu: there are %zu", i, n);
    return pids[i];
}

size_t server_accepting(struct server *s)
{
    struct live live[SERVER_WORKERS_MAX];
    size_t accepting = 0, n = live_workers(s, live);
    for (size_t i = 0; i < n; i++)
        accepting += counter_get(&live[i].record->is_accepting) &&
                     counter_get(&live[i].record->state) == ACTOR_RUN;
    return accepting;
}

static bool is_staffed(struct server *s, size_t n)
{
    pid_t pids[SERVER_WORKERS_MAX];
    return server_accepting(s) == n && server_worker_pids(s, pids) == n;
}

void server_wait_workers(struct server *s, size_t n)
{
    MUST_COME(is_staffed(s, n), "%zu workers accept, expected %zu", server_accepting(s), n);
}

uint64_t server_sum(struct server *s, size_t offset)
{
    struct live live[SERVER_WORKERS_MAX];
    uint64_t sum = 0;
    size_t n = live_workers(s, live);
    for (size_t i = 0; i < n; i++)
        sum += counter_get((const counter_t *)((const char *)live[i].record + offset));
    return sum;
}

pid_t server_slot_pid(struct server *s, uint32_t slot)
{
    pid_t pids[PROC_CHILDREN_MAX];
    size_t n = proc_children(s->pid, pids, ARRAY_SIZE(pids));
    for (size_t i = 0; i < n; i++) {
        int64_t at = proc_is_alive(pids[i]) ? find_record(s, pids[i]) : -1;
        if (at >= 0 && counter_get(&scoreboard_identity(&s->board, (uint32_t)at)->slot) == slot)
            return pids[i];
    }
    return 0;
}

static uint64_t cpu_of_all(struct server *s)
{
    pid_t pids[SERVER_WORKERS_MAX];
    size_t n = server_worker_pids(s, pids);
    uint64_t ms = proc_cpu_ms(s->pid);
    for (size_t i = 0; i < n; i++)
        ms += proc_cpu_ms(pids[i]);
    pid_t writer = server_log_writer(s);
    return ms + (writer ? proc_cpu_ms(writer) : 0);
}

void server_must_idle(struct server *s)
{
    enum { WATCH_MS = 500, MARGIN_MS = 200 };
    uint64_t before = cpu_of_all(s);
    nanosleep(&(struct timespec){.tv_nsec = WATCH_MS * 1000000L}, NULL); /* what is watched */
    uint64_t after = cpu_of_all(s),
             used = after - MIN(before, after); /* who ended took its share along */
    MUST(used < MARGIN_MS, "%llu ms of CPU in %d ms", (unsigned long long)used, WATCH_MS);
}

void server_must_be_well(struct server *s, size_t workers)
{
    server_wait_workers(s, workers);
    for (int i = 0; i < 100; i++)
        MUST(peer_is_served(s->addr[0], WAIT_MS), "new connection %d of 100 is not served", i);
}

void server_free(struct server *s)
{
    if (s->ready_fd >= 0)
        close(s->ready_fd);
    if (s->board.fd >= 0)
        scoreboard_close(&s->board);
    free(s);
}
