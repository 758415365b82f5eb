/*
 * The generated completion in real shells, each on a terminal of its own, as somebody types there.
 */
#include <errno.h>
#include <fcntl.h>
#include <pty.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"
#include "support/tool.h"

#define PROMPT "ready> "

/* What is typed, a tab at the end, and what then stands there. */
static const struct {
    const char *typed, *shown;
} lines[] = {
    {"echo-client aud", "echo-client audit"},
    {"echo-client --js", "echo-client --json"},
    {"echo-client --vers", "echo-client --version"},
    {"echo-client -a :80 --timeout 2 aud", "--timeout 2 audit"},
    {"echo-client audit --max-st", "audit --max-stall"},
    {"echo-client --json stop --n", "stop --now"},
    {"echo-client reload --ti", "reload --timeout"},
    {"echo-client log-level warn", "log-level warning"},
    {"echo-client call wor", "call workers"},
    {"echo-client crashes sh", "crashes show"},
    {"echo-client connections sta", "connections state="},
    {"echo-client connections --lim", "connections --limit"},
    {"echo-client -C ./a-f", "-C ./a-file"},
    {"echo-client bench --compare ./a-f", "--compare ./a-file"},
    {"echo-client --control=./a-f", "--control=./a-file"},
    {"echo-client --timeout=2 -a 127.0.0.1:80 ben", "127.0.0.1:80 bench"},
    {"echo-client --address=unix:/x hol", "unix:/x hold"},
    {"echo-client info --js", "info --json"},
    {"echo-client hold --sep", "hold --separator"},
    {"echo-arbiter --pid", "echo-arbiter --pid-file"},
    {"echo-arbiter -c ./a-f", "-c ./a-file"},
    {"echo-arbiter -l warn", "-l warning"},
    {"echo-arbiter -D -o server.keep_al", "-o server.keep_alive="},
};

/* What a command does not take is not offered. */
static const char *const not_offered[] = {"echo-client info --sep", "echo-client ping --contr"};

struct shell {
    pid_t pid;
    int fd;
    char buf[16384];
};

static void must_type(struct shell *sh, const char *text)
{
    sh->buf[0] = '\0';
    MUST(write(sh->fd, text, strlen(text)) == (ssize_t)strlen(text), "write");
}

static void must_show(struct shell *sh, const char *text)
{
    tool_terminal_expect(sh->fd, sh->buf, sizeof(sh->buf), text);
}

/* Its own files are not read: what it knows is what @setup tells it. */
static void shell_open(struct it *it, struct shell *sh, const char *const *argv, const char *setup)
{
    struct winsize wide = {.ws_row = 50, .ws_col = 200};

    sh->pid = forkpty(&sh->fd, NULL, NULL, &wide);
    MUST(sh->pid >= 0, "forkpty: %s", strerror(errno));
    if (sh->pid == 0) {
        setenv("HOME", it->dir, 1);
        setenv("TERM", "dumb", 1);
        setenv("PS1", PROMPT, 1);
        if (chdir(it->dir) == 0)
            execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    fcntl(sh->fd, F_SETFL, O_NONBLOCK);
    sh->buf[0] = '\0';
    must_show(sh, PROMPT);
    must_type(sh, setup);
    must_show(sh, "set-up");
    must_show(sh, PROMPT);
}

static void shell_close(struct shell *sh)
{
    must_type(sh, "exit\n");
    tool_wait(sh->pid);
    close(sh->fd);
}

/* What the server knows is completed, too; the tool is found by its name. */
static void must_complete_calls(struct shell *sh, const struct server *s)
{
    static const struct {
        const char *typed, *shown;
    } calls[] = {
        {"arb", "call arbiter "},
        {"worker.2 own.wh", "call worker.2 own.who "},
        {"arbiter arbiter.h", "arbiter arbiter.hello "},
        {"worker.1 own.count ot", "own.count other="},
        {"workers own.count n", "own.count n="},
        {"arbiter kill_actor actor=worker.1", "actor=worker.1 "},
    };
    char typed[512];

    for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
        snprintf(typed, sizeof(typed), "echo-client -C %s/control call %s\t", s->run,
                 calls[i].typed);
        must_type(sh, typed);
        must_show(sh, calls[i].shown);
        must_type(sh, "\025\n");
        must_show(sh, PROMPT);
    }
}

/* The number of the only connection that there is. */
static void must_complete_kill(struct it *it, struct shell *sh, const struct server *s)
{
    char control[128], typed[256], shown[64];
    struct tool_run r;
    long long id = 0;

    peer_echo(peer_connect(s->addr[0]), "here");
    snprintf(control, sizeof(control), "%s/control", s->run);
    r = RUN(it, NO_INPUT, "-C", control, "connections");
    MUST(sscanf(r.out, "%*[^\n] %lld", &id) == 1 && id > 0, "no connection: %s%s", r.out, r.err);
    snprintf(typed, sizeof(typed), "echo-client -C %s kill \t", control);
    snprintf(shown, sizeof(shown), "kill %lld ", id);
    must_type(sh, typed);
    must_show(sh, shown);
    must_type(sh, "\025\n");
    must_show(sh, PROMPT);
}

static void must_complete(struct it *it, const char *const *argv, const char *setup)
{
    struct server *s = server_start(it, .binary = "tests/own_server");
    char typed[256];
    struct shell sh;

    it_write(it, "a-file", "");
    shell_open(it, &sh, argv, setup);
    snprintf(typed, sizeof(typed), "PATH=%s:$PATH\n", it_build_path(it, ""));
    must_type(&sh, typed);
    must_show(&sh, PROMPT);
    must_complete_calls(&sh, s);
    must_complete_kill(it, &sh, s);
    for (size_t i = 0; i < ARRAY_SIZE(lines); i++) {
        snprintf(typed, sizeof(typed), "%s\t", lines[i].typed);
        must_type(&sh, typed);
        must_show(&sh, lines[i].shown);
        must_type(&sh, "\025\n"); /* the line away, and a new one */
        must_show(&sh, PROMPT);
    }
    for (size_t i = 0; i < ARRAY_SIZE(not_offered); i++) {
        snprintf(typed, sizeof(typed), "%s\t", not_offered[i]);
        must_type(&sh, typed);
        must_type(&sh, "#here\n");
        must_show(&sh, "#here");
        must_show(&sh, PROMPT);
        MUST(strstr(sh.buf, not_offered[i]) && strstr(sh.buf, "#here") &&
                 !strstr(sh.buf, "--separator") && !strstr(sh.buf, "--control"),
             "%s", sh.buf);
    }
    must_type(&sh, "echo-client audit --max-\t\t"); /* more than one: a list */
    must_show(&sh, "--max-loss");
    must_show(&sh, "--max-stall");
    must_type(&sh, "\025\n");
    must_show(&sh, PROMPT);
    shell_close(&sh);
}

static void completion__bash__as_typed(void **state)
{
    struct it *it = *state;
    char *setup = peer_alloc(512);

    snprintf(setup, 512, "source '%s'; source '%s'; printf 'set%%s\\n' -up\n",
             it_build_path(it, "echo-client.bash"), it_build_path(it, "echo-arbiter.bash"));
    must_complete(it, ARGS("bash", "--norc", "--noprofile", "-i"), setup);
}

static void completion__zsh__as_typed(void **state)
{
    struct it *it = *state;

    if (it_tool_run(it, "which.log", ARGS("sh", "-c", "command -v zsh")) != 0) {
        print_message("skipped: there is no zsh here; apt-get install zsh\n");
        skip();
    }
    MUST(symlink(it_build_path(it, "echo-client.zsh"), it_path(it, "_echo-client")) == 0 &&
             symlink(it_build_path(it, "echo-arbiter.zsh"), it_path(it, "_echo-arbiter")) == 0,
         "symlink: %s", strerror(errno));
    must_complete(it, ARGS("zsh", "-f", "-i"),
                  "fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -D; setopt no_beep; "
                  "printf 'set%s\\n' -up\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(completion__bash__as_typed),
        IT(completion__zsh__as_typed),
    };

    return it_run(tests);
}
