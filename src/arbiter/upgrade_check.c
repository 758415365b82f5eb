/*
 * The dry run: a child executes the program at the path, on the real state and with the real
 * descriptors, and says whether it could go on. Runs in the arbiter, which does not wait for it.
 */
#include "arbiter/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "arbiter/upgrade_impl.h"
#include "base/fds.h"
#include "base/signals.h"

/* Never returns. */
static void __attribute__((noreturn))
become_checker(const struct upgrade *u, const struct upgrade_state *s, int state_fd, int out,
               char *argv0, pid_t arbiter)
{
    char option[32];
    char *argv[] = {argv0, option, NULL};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    setpgid(0, 0);
    signals_default_all();
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != arbiter)
        _exit(1);
    dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    snprintf(option, sizeof(option), "--inherit-check=%d", state_fd);
    if (upgrade_pass_fds(s, true) < 0)
        _exit(1);
    fds_set_cloexec(state_fd, false);
    signals_unblock_all();
    execve(u->path, argv, environ);
    dprintf(STDERR_FILENO, "%s\n", strerror(errno));
    _exit(127);
}

static int fork_checker(struct arbiter *a, const struct upgrade_state *s, int state_fd)
{
    struct upgrade *u = &a->upgrade;
    const pid_t arbiter = getpid();
    sigset_t mask;
    int ends[2];
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    fds_set_nonblock(ends[0]);
    signals_block_all(&mask);
    pid = fork();
    if (pid == 0)
        become_checker(u, s, state_fd, ends[1], a->options->image->argv[0], arbiter);
    signals_restore(&mask);
    fds_close(&ends[1]);
    if (pid < 0) {
        fds_close(&ends[0]);
        return -errno;
    }
    setpgid(pid, pid); /* here as well: it may be killed before it has run */
    u->checker = pid;
    u->checker_fd = ends[0];
    return 0;
}

int upgrade_check_start(struct arbiter *a)
{
    struct upgrade_state s;
    int fd = -1;
    int rc;

    if (stat(a->upgrade.path, &a->upgrade.candidate) < 0)
        return -errno;
    rc = upgrade_snapshot(a, &s);
    if (rc < 0)
        return rc;
    rc = upgrade_file_write(&s, &fd);
    if (rc == 0)
        rc = fork_checker(a, &s, fd);
    upgrade_state_fini(&s);
    fds_close(&fd);
    return rc;
}

void upgrade_check_kill(const struct upgrade *u)
{
    if (u->checker)
        kill(-u->checker, SIGKILL);
}

/* What it has said, all that it will ever say; cut to @size. */
static void read_output(struct upgrade *u, char *buf, size_t size)
{
    size_t len = 0;
    ssize_t n;

    while (len < size - 1 && (n = read(u->checker_fd, buf + len, size - 1 - len)) > 0)
        len += (size_t)n;
    buf[len] = '\0';
    fds_close(&u->checker_fd);
}

static void describe_end(const struct upgrade *u, int status, const char *output, char *why,
                         size_t size)
{
    const int first = (int)strcspn(output, "\n");

    if (u->is_overdue)
        snprintf(why, size, "%s: the dry run took longer than %d s", u->path,
                 UPGRADE_CHECK_MS / 1000);
    else if (WIFSIGNALED(status))
        snprintf(why, size, "%s: the dry run was ended by signal %d (%s)", u->path,
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) == 0)
        snprintf(why, size, "%s: it does not say that it can go on: is it an echo-arbiter?",
                 u->path);
    else
        snprintf(why, size, "%s: exit code %d%s%.*s", u->path, WEXITSTATUS(status),
                 first ? ": " : "", first, output);
}

int upgrade_check_end(struct upgrade *u, int status, char *text, size_t size)
{
    char output[512];

    u->checker = 0;
    read_output(u, output, sizeof(output));
    if (status == 0 && !u->is_overdue &&
        strncmp(output, ARBITER_CAN_INHERIT, strlen(ARBITER_CAN_INHERIT)) == 0) {
        output[strcspn(output, "\n")] = '\0';
        snprintf(text, size, "%s", output + strlen(ARBITER_CAN_INHERIT));
        return 0;
    }
    describe_end(u, status, output, text, size);
    return -EINVAL;
}
