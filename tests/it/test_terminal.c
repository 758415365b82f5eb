/*
 * A server in the background of a terminal. The test process leads the terminal's session and is in
 * the foreground; each server is a process group of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"

static int master = -1, terminal = -1; /* both ends of the terminal */
static char name[64]; /* of its node; /dev/tty's is the machine's, whose mode stays as it is */

/* Who writes to the terminal from the background is stopped: stty tostop. */
static void set_tostop(void)
{
    struct termios t;

    MUST(tcgetattr(terminal, &t) == 0, "tcgetattr: %s", strerror(errno));
    t.c_lflag |= TOSTOP;
    MUST(tcsetattr(terminal, TCSANOW, &t) == 0, "tcsetattr: %s", strerror(errno));
}

/*
 * A process in the server's group reads or writes. The terminal sends @signo to all of the group,
 * so that the process is stopped.
 */
static void touch_terminal_beside(struct server *s, int signo)
{
    const pid_t pid = fork();
    char byte = '\n';
    int status = 0;

    if (pid == 0) {
        setpgid(0, s->pid);
        if (signo == SIGTTIN)
            _exit(read(terminal, &byte, 1) == 1);
        _exit(write(terminal, &byte, 1) == 1);
    }
    MUST(waitpid(pid, &status, WUNTRACED) == pid && WIFSTOPPED(status) && WSTOPSIG(status) == signo,
         "it was not stopped by signal %d: status %x", signo, (unsigned)status);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    /* While it is pending, one that is sent by somebody would be one with it. */
    MUST_COME(proc_status(s->pid, "ShdPnd", 16) == 0, "a signal stays pending");
}

static void terminal__stops_the_group__is_no_command(void **state)
{
    struct it *it = *state;
    struct server *s = server_start(it, .conf = "");

    set_tostop();
    touch_terminal_beside(s, SIGTTOU);
    touch_terminal_beside(s, SIGTTIN);
    server_must_be_well(s, 2);
    /* What somebody sends is a command as before, and comes behind the others. */
    server_signal(s, SIGTTIN);
    server_wait_workers(s, 3);
    server_signal(s, SIGTTOU);
    server_wait_workers(s, 2);
    server_stop_and_check(s, SIGTERM, 0);
    MUST(server_log_count(s, "msg=\"scaling\" ") == 2, "the terminal has scaled the server");
}

/* Standard error is the terminal, as for a server that was started in the background. */
static void log_to_terminal(void)
{
    int fd = open(name, O_RDWR);

    dup2(fd, 2);
    close(fd);
}

/* So that it cannot be opened: as another user's. */
static void log_to_strange_terminal(void)
{
    log_to_terminal();
    fchmod(2, 0);
    it_obey_permissions();
}

/* Many lines, with nobody who reads them. */
static void serve_and_stop(struct server *s)
{
    for (int i = 0; i < 20; i++) {
        server_signal(s, SIGUSR1);
        server_signal(s, SIGHUP);
        server_must_be_well(s, 2);
    }
    server_must_idle(s);
    server_stop_and_check(s, SIGTERM, 0);
}

/* The log is written although the terminal does not want to be written to: its writer ignores
 * that. */
static void terminal__tostop_and_logged_to__served_and_stopped(void **state)
{
    struct it *it = *state;
    struct server *s;
    static char text[4096];
    ssize_t n;

    set_tostop();
    s = server_start(it, .conf = "", .in_child = log_to_terminal);
    n = read(master, text, sizeof(text) - 1);
    MUST(n > 0 && strstr(text, "actor=arbiter"), "nothing on the terminal: %s", text);
    serve_and_stop(s);
}

/* Ctrl-S, or nobody at the other end. */
static void terminal__stopped_and_logged_to__served_and_stopped(void **state)
{
    static void (*const as_child[])(void) = {log_to_terminal, log_to_strange_terminal};
    struct it *it = *state;

    for (size_t i = 0; i < ARRAY_SIZE(as_child); i++) {
        struct server *s =
            server_start(it, .conf = "log: { level = \"debug\"; };", .in_child = as_child[i]);

        MUST(tcflow(terminal, TCOOFF) == 0, "tcflow: %s", strerror(errno));
        serve_and_stop(s);
        MUST(tcflow(terminal, TCOON) == 0 && fchmod(terminal, 0600) == 0, "%s", strerror(errno));
        tcflush(terminal, TCIOFLUSH);
    }
}

/* In a child: whoever leads a process group already cannot lead a session. */
static int run_in_session(const struct CMUnitTest *tests, size_t n)
{
    int status = -1;
    const pid_t pid = fork();

    if (pid != 0) {
        waitpid(pid, &status, 0);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    }
    setsid();
    master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
        return 1;
    snprintf(name, sizeof(name), "%s", ptsname(master));
    terminal = open(name, O_RDWR | O_CLOEXEC);
    if (terminal < 0 || tcsetpgrp(terminal, getpgrp()) < 0)
        return 1;
    it_init();
    return _cmocka_run_group_tests(__FILE__, tests, n, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(terminal__stops_the_group__is_no_command),
        IT(terminal__tostop_and_logged_to__served_and_stopped),
        IT(terminal__stopped_and_logged_to__served_and_stopped),
    };

    return run_in_session(tests, ARRAY_SIZE(tests));
}
