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
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "base/util.h"
#include "support/server.h"

static int master = -1, terminal = -1; /* both ends of the terminal */

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
    terminal = open(ptsname(master), O_RDWR | O_CLOEXEC);
    if (terminal < 0 || tcsetpgrp(terminal, getpgrp()) < 0)
        return 1;
    it_init();
    return _cmocka_run_group_tests(__FILE__, tests, n, NULL, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        IT(terminal__stops_the_group__is_no_command),
    };

    return run_in_session(tests, ARRAY_SIZE(tests));
}
