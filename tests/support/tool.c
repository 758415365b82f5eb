/*
 * Running echo-client. Test process only.
 */
#include "support/tool.h"

#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/json_schema.h"

enum { ARGS_MAX = 16 };

static void move_fd(int from, int to)
{
    if (from < 0)
        close(to);
    else
        dup2(from, to);
}

/* In a child: never returns. ECHO_TOOL_WRAPPER, words with single blanks between, comes before it.
 */
static void tool_exec(char *tool, const char *const *args)
{
    const char *wrapper = getenv("ECHO_TOOL_WRAPPER"), *argv[2 * ARGS_MAX + 2] = {NULL};
    char *words = strdup(wrapper ? wrapper : ""), *word;
    size_t n = 0;

    while (words && n < ARGS_MAX && (word = strsep(&words, " ")) != NULL)
        if (*word)
            argv[n++] = word;
    argv[n++] = tool;
    for (size_t i = 0; i < ARGS_MAX && args[i]; i++)
        argv[n++] = args[i];
    execvp(argv[0], (char *const *)(uintptr_t)argv);
    _exit(127);
}

static void check_args(const char *const *args)
{
    for (size_t i = 0; args[i]; i++)
        MUST(i < ARGS_MAX, "too many arguments");
}

pid_t tool_start(struct it *it, struct tool_io io, const char *const *args)
{
    char *tool = it_build_path(it, "echo-client");
    pid_t pid;

    check_args(args);
    pid = fork();
    MUST(pid >= 0, "fork: %s", strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_DFL);
        signal(SIGINT, SIG_DFL);
        move_fd(io.in, 0);
        move_fd(io.out, 1);
        move_fd(io.err, 2);
        tool_exec(tool, args);
    }
    return pid;
}

pid_t tool_start_on_terminal(struct it *it, const char *term, unsigned short columns,
                             const char *const *args, int *ret_fd)
{
    char *tool = it_build_path(it, "echo-client"), *state = it_path(it, "state");
    struct winsize size = {.ws_row = columns ? 24 : 0, .ws_col = columns};
    pid_t pid;

    check_args(args);
    pid = forkpty(ret_fd, NULL, NULL, &size);
    MUST(pid >= 0, "forkpty: %s", strerror(errno));
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        setenv("XDG_STATE_HOME", state, 1);
        setenv("HOME", it->dir, 1);
        setenv("TERM", term, 1);
        tool_exec(tool, args);
    }
    fcntl(*ret_fd, F_SETFD, FD_CLOEXEC);
    fcntl(*ret_fd, F_SETFL, O_NONBLOCK);
    return pid;
}

void tool_type(int fd, const char *text)
{
    MUST(write(fd, text, strlen(text)) == (ssize_t)strlen(text), "write: %s", strerror(errno));
}

int tool_wait(pid_t pid)
{
    int status;

    if (!WAIT_UNTIL(waitpid(pid, &status, WNOHANG) == pid, WAIT_MS)) {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        MUST(false, "echo-client does not end");
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int tool_file(struct it *it, const char *name)
{
    int fd = open(it_path(it, name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    MUST(fd >= 0, "%s: %s", name, strerror(errno));
    return fd;
}

char *tool_read_back(int fd, size_t *ret_len)
{
    off_t len = lseek(fd, 0, SEEK_END);
    char *text = peer_alloc((size_t)len + 1);

    MUST(pread(fd, text, (size_t)len, 0) == len, "pread: %s", strerror(errno));
    text[len] = '\0';
    if (ret_len)
        *ret_len = (size_t)len;
    close(fd);
    return text;
}

struct tool_run tool_run(struct it *it, struct bytes in, const char *const *args)
{
    struct tool_io io = {tool_file(it, "in"), tool_file(it, "out"), tool_file(it, "err")};
    struct tool_run r = {0};

    MUST(write(io.in, in.data, in.len) == (ssize_t)in.len, "write: %s", strerror(errno));
    lseek(io.in, 0, SEEK_SET);
    r.pid = tool_start(it, io, args);
    close(io.in);
    r.code = tool_wait(r.pid);
    r.out = tool_read_back(io.out, &r.out_len);
    r.err = tool_read_back(io.err, NULL);
    json_schema_check_output(args, r.out);
    return r;
}

void tool_must_print(const struct tool_run *r, const void *data, size_t len)
{
    MUST(r->code == 0, "exit code %d: %s", r->code, r->err);
    MUST(r->err[0] == '\0', "said: %s", r->err);
    MUST(r->out_len == len && memcmp(r->out, data, len) == 0, "printed %zu bytes, not %zu: %.200s",
         r->out_len, len, r->out);
}

void tool_must_fail(const struct tool_run *r, int code, const char *text)
{
    MUST(r->code == code, "exit code %d, not %d: %s", r->code, code, r->err);
    MUST(strstr(r->err, text), "does not say '%s': %s", text, r->err);
    MUST(strchr(r->err, '\n') == r->err + strlen(r->err) - 1, "not one line: %s", r->err);
}

void tool_terminal_expect(int fd, char *buf, size_t size, const char *text)
{
    size_t len = strlen(buf);
    ssize_t n;

    MUST_COME((n = read(fd, buf + len, size - 1 - len), len += n > 0 ? (size_t)n : 0,
               buf[len] = '\0', strstr(buf, text) != NULL),
              "the terminal does not show '%s' but: %s", text, buf);
}
