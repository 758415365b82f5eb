/*
 * The commands that run for a while, ended by Ctrl-C, by a closed pipe, with a terminal, without
 * one, and on one that is of no use: a summary, the right code, and no escape codes where nobody
 * understands them.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/util.h"
#include "support/proc.h"
#include "support/server.h"
#include "support/tool.h"

enum { WORDS_MAX = 8 };

static const struct row {
    const char *words[WORDS_MAX]; /* behind -a ADDR */
    const char *summary;
    bool says_lines; /* before it ends: a closed pipe is noticed at once */
} rows[] = {
    {{"ping", "-i", "10ms"}, "echo statistics ---", true},
    {{"bench", "-c", "2", "--warmup", "0"}, "CONNECTIONS  DEPTH", false},
    {{"audit", "-c", "2"}, "verdict: delivered", false},
    {{"hold", "-c", "2"}, "2 connections opened, 2 still open, 0 cut", false},
};

/* @time  how long it runs; NULL = until it is told to end */
static const char *const *args_of(const struct row *r, struct server *s, const char *time)
{
    const char **args = peer_alloc((WORDS_MAX + 5) * sizeof(*args));
    size_t n = 0;

    args[0] = "-a";
    args[1] = s->addr[0];
    while (n < WORDS_MAX && r->words[n]) {
        args[n + 2] = r->words[n];
        n++;
    }
    args[n + 2] = time ? "-t" : NULL;
    args[n + 3] = time;
    args[n + 4] = NULL;
    return args;
}

/* Until it has done something; what was done before it is not its. */
static void wait_until_busy(struct server *s, const struct row *r, uint64_t requests)
{
    MUST_COME(server_gauge(s, connections) >= 1, "%s: no connection", r->words[0]);
    if (strcmp(r->words[0], "hold") == 0)
        MUST_COME(server_gauge(s, connections) >= 2, "%s: not two connections", r->words[0]);
    else
        MUST_COME(server_counter(s, requests) > requests + 2, "%s: no messages", r->words[0]);
}

static void wait_until_gone(struct server *s)
{
    MUST_COME(server_gauge(s, connections) == 0, "connections are left");
}

static void long_run__no_terminal__summary_and_no_escapes(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct tool_io io = {-1, tool_file(it, "out"), tool_file(it, "err")};
        uint64_t before = server_counter(s, requests);
        pid_t pid = tool_start(it, io, args_of(&rows[i], s, NULL));
        const char *out, *err;
        int code;

        wait_until_busy(s, &rows[i], before);
        kill(pid, SIGINT);
        code = tool_wait(pid);
        out = tool_read_back(io.out, NULL);
        err = tool_read_back(io.err, NULL);
        MUST(code == 130, "%s: exit code %d", rows[i].words[0], code);
        MUST(strstr(out, rows[i].summary), "%s says: %s", rows[i].words[0], out);
        MUST(!strchr(out, '\033') && err[0] == '\0', "%s says: %s%s", rows[i].words[0], out, err);
        wait_until_gone(s);
    }
}

/* Somebody presses Ctrl-C there. */
static void on_terminal(struct it *it, const char *term, unsigned short columns, bool has_escapes)
{
    struct server *s = server_start(it);

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        const char *name = rows[i].words[0];
        bool is_live = has_escapes && !rows[i].says_lines;
        uint64_t before = server_counter(s, requests);
        char seen[65536] = "";
        int fd, code;
        pid_t pid = tool_start_on_terminal(it, term, columns, args_of(&rows[i], s, NULL), &fd);

        wait_until_busy(s, &rows[i], before);
        if (is_live)
            tool_terminal_expect(fd, seen, sizeof(seen), "\033[K");
        tool_type(fd, "\003");
        tool_terminal_expect(fd, seen, sizeof(seen), rows[i].summary);
        code = tool_wait(pid);
        close(fd);
        MUST(code == 130, "%s: exit code %d", name, code);
        MUST(is_live || !strchr(seen, '\033'), "%s: escape codes: %s", name, seen);
        if (is_live) /* the live line is wiped away before the summary is written */
            MUST(strstr(strstr(seen, rows[i].summary), "\033") == NULL, "%s: %s", name, seen);
        wait_until_gone(s);
    }
}

static void long_run__terminal__ended_by_ctrl_c(void **state)
{
    on_terminal(*state, "xterm", 80, true);
}

static void long_run__one_column__ended_by_ctrl_c(void **state)
{
    on_terminal(*state, "xterm", 1, true);
}

static void long_run__terminal_without_columns__no_escapes(void **state)
{
    on_terminal(*state, "xterm", 0, false);
}

static void long_run__dumb_terminal__no_escapes(void **state)
{
    on_terminal(*state, "dumb", 80, false);
}

static void long_run__closed_pipe__silent(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);

    for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
        struct tool_io io = {-1, -1, tool_file(it, "err")};
        const char *err, *time = rows[i].says_lines ? NULL : "200ms";
        int pipe_fds[2], code;
        pid_t pid;

        MUST(pipe2(pipe_fds, O_CLOEXEC) == 0, "pipe2: %s", strerror(errno));
        close(pipe_fds[0]);
        io.out = pipe_fds[1];
        pid = tool_start(it, io, args_of(&rows[i], s, time));
        close(pipe_fds[1]);
        code = tool_wait(pid);
        err = tool_read_back(io.err, NULL);
        MUST(code == 141, "%s: exit code %d", rows[i].words[0], code);
        MUST(err[0] == '\0', "%s says: %s", rows[i].words[0], err);
        wait_until_gone(s);
    }
}

static char *control_of(struct server *s)
{
    char *path = peer_alloc(strlen(s->run) + sizeof("/control"));

    sprintf(path, "%s/control", s->run);
    return path;
}

/* Takes a connection and says nothing. */
static char *deaf_server(struct it *it, int *ret_fd)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char *text = peer_alloc(sizeof(sa.sun_path) + sizeof("unix:"));

    snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", it_path(it, "deaf"));
    sprintf(text, "unix:%s", sa.sun_path);
    MUST(fd >= 0 && bind(fd, (struct sockaddr *)&sa, sizeof(sa)) == 0 && listen(fd, 8) == 0,
         "deaf: %s", strerror(errno));
    *ret_fd = fd;
    return text;
}

/* As the first process of a container, where the kernel keeps signals without a handler away. */
static void run__first_process__ended_by_term(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    int deaf;
    /* What never ends of itself. The last one waits for a byte of a server that says nothing. */
    const char *const runs[][6] = {
        {"echo-client", "-a", s->addr[0]},
        {"echo-client", "-C", control_of(s), "--json", "top"},
        {"conformance", "--timeout", "1h", deaf_server(it, &deaf), "1"},
    };

    for (size_t i = 0; i < ARRAY_SIZE(runs); i++) {
        int in[2], ids[2], status;
        pid_t tool = 0;

        MUST(pipe2(in, O_CLOEXEC) == 0 && pipe2(ids, O_CLOEXEC) == 0, "pipes");
        const pid_t outer = fork();
        if (outer == 0) {
            const pid_t inner = unshare(CLONE_NEWPID) == 0 ? fork() : -1;

            if (inner == 0) {
                dup2(in[0], STDIN_FILENO);
                dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
                execv(it_build_path(it, runs[i][0]), (char *const *)(uintptr_t)runs[i]);
                _exit(99);
            }
            (void)!write(ids[1], &inner, sizeof(inner));
            if (inner > 0)
                waitpid(inner, &status, 0);
            _exit(inner > 0 && WIFEXITED(status) ? WEXITSTATUS(status) : 98);
        }
        close(ids[1]);
        MUST(read(ids[0], &tool, sizeof(tool)) == sizeof(tool), "no child");
        if (tool < 0) {
            waitpid(outer, NULL, 0);
            close(deaf);
            unlink(it_path(it, "deaf"));
            print_message("skipped: no pid namespace here: it takes root\n");
            skip();
        }
        MUST_COME(proc_status(tool, "SigCgt", 16) >> (SIGTERM - 1) & 1, "%zu: no handler", i);
        kill(tool, SIGTERM);
        MUST_COME(waitpid(outer, &status, WNOHANG) == outer, "%zu: TERM does not end it", i);
        MUST(WIFEXITED(status) && WEXITSTATUS(status) == 128 + SIGTERM, "%zu: status %x", i,
             (unsigned)status);
        close(in[0]);
        close(in[1]);
        close(ids[0]);
    }
    close(deaf);
    unlink(it_path(it, "deaf"));
}

/* What is narrower than a table has it in parts; what has an end says how far it is. */
static void terminal__narrow_and_patient__tables_fit_and_progress_is_told(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it);
    char *seen = peer_alloc(65536);
    int fd;
    pid_t pid = tool_start_on_terminal(it, "xterm", 60, ARGS("-C", control_of(s), "commands"), &fd);
    size_t n = 0;

    *seen = '\0';
    tool_terminal_expect(fd, seen, 65536, "WHAT IT DOES");
    assert_int_equal(tool_wait(pid), 0);
    for (const char *p = seen; *p; p++) {
        n = *p == '\n' || *p == '\r' ? 0 : n + 1;
        MUST(n <= 60, "wider than the terminal: %.80s", p - n + 1);
    }
    close(fd);
    pid = tool_start_on_terminal(it, "xterm", 120,
                                 ARGS("-a", s->addr[0], "audit", "-c", "2", "-t", "20s"), &fd);
    tool_terminal_expect(fd, seen, 65536, " %, ");
    tool_terminal_expect(fd, seen, 65536, "s left  ");
    kill(pid, SIGINT);
    assert_int_equal(tool_wait(pid), 128 + SIGINT);
    close(fd);
}

static void top__so_many_views_on_a_terminal__the_last_one_stays(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "arbiter: { control = \"auto\"; };");
    static const char first_screen[] = "\033[?1049l";
    char seen[65536] = "", *last;
    int fd;

    pid_t pid = tool_start_on_terminal(
        it, "xterm", 100, ARGS("-C", control_of(s), "top", "-n", "1", "-i", "0.1"), &fd);
    tool_terminal_expect(fd, seen, sizeof(seen), first_screen);
    last = strstr(seen, first_screen) + strlen(first_screen);
    memmove(seen, last, strlen(last) + 1);
    tool_terminal_expect(fd, seen, sizeof(seen), "worker.2");
    assert_int_equal(tool_wait(pid), 0);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(long_run__no_terminal__summary_and_no_escapes),
        IT(long_run__terminal__ended_by_ctrl_c),
        IT(long_run__one_column__ended_by_ctrl_c),
        IT(long_run__terminal_without_columns__no_escapes),
        IT(long_run__dumb_terminal__no_escapes),
        IT(long_run__closed_pipe__silent),
        IT(run__first_process__ended_by_term),
        IT(terminal__narrow_and_patient__tables_fit_and_progress_is_told),
        IT(top__so_many_views_on_a_terminal__the_last_one_stays),
    };

    return it_run(tests);
}
