/*
 * The state on its way: a sealed memfd, and the exec that it is for.
 */
#include "arbiter/upgrade_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include "arbiter/upgrade.h"
#include "base/fds.h"
#include "base/log.h"
#include "base/title.h"
#include "base/util.h"

int upgrade_file_write(const struct upgrade_state *s, int *ret_fd)
{
    char *text;
    size_t len;
    int fd, rc = upgrade_state_encode(s, &text, &len);

    if (rc < 0)
        return rc;
    fd = len <= STATE_MAX_BYTES ? fds_memfd("upgrade") : -EFBIG;
    rc = fd < 0 ? fd : fds_write_sealed(fd, &(struct iovec){text, len}, 1);
    free(text);
    if (rc == 0)
        *ret_fd = fd;
    else
        fds_close(&fd);
    return rc;
}

/* What is sealed cannot change under our hands: the dry run and the real one read the same. */
int upgrade_file_read(int fd, struct upgrade_state *ret, char *why)
{
    const void *data;
    size_t len;
    int rc = fds_map_sealed(fd, STATE_MAX_BYTES, &data, &len);

    if (rc < 0) {
        snprintf(why, STATE_WHY_LEN, "descriptor %d holds no sealed state: %s", fd,
                 rc == -EBADMSG ? "it is empty, too large or not sealed" : strerror(-rc));
        return rc;
    }
    rc = upgrade_state_decode(data, len, ret, why);
    munmap((void *)(uintptr_t)data, len);
    return rc;
}

int upgrade_pass_fds(const struct upgrade_state *s, bool is_passed)
{
    size_t n;
    int *fds;
    int rc = upgrade_state_fds(s, &fds, &n);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < n; i++)
        fds_set_cloexec(fds[i], !is_passed);
    free(fds);
    return 0;
}

static char **build_argv(const struct upgrade_exec *exec, const char *inherit, const char *failed)
{
    size_t n = 0, at = 0;
    char **argv;

    while (exec->argv[n])
        n++;
    argv = calloc(n + 4, sizeof(*argv));
    if (!argv)
        return NULL;
    argv[at++] = exec->argv[0];
    argv[at++] = (char *)(uintptr_t)inherit;
    if (failed)
        argv[at++] = (char *)(uintptr_t)failed;
    for (size_t i = 1; i < n; i++)
        argv[at++] = exec->argv[i];
    return argv;
}

/* An alarm survives the exec: a new image that hangs before it could go on is not deaf for ever. */
static void set_alarm(bool is_on)
{
    alarm(is_on ? UPGRADE_BEGIN_MS / 1000 : 0);
}

static void block_alarm(bool is_on)
{
    sigset_t one;

    sigemptyset(&one);
    sigaddset(&one, SIGALRM);
    sigprocmask(is_on ? SIG_BLOCK : SIG_UNBLOCK, &one, NULL);
}

static struct {
    int program_fd;
    char **argv;
    int *fds; /* owned: those that this image has begun to keep for itself */
    size_t n_fds;
} guard;

/* The kernel's timer decides it, and nobody who sends SIGALRM. */
static void on_alarm(int signo UNUSED, siginfo_t *info, void *context UNUSED)
{
    if (info->si_code != SI_KERNEL)
        return;
    for (size_t i = 0; i < guard.n_fds; i++)
        fcntl(guard.fds[i], F_SETFD, 0);
    set_alarm(true);
    if (guard.argv)
        execveat(guard.program_fd, "", guard.argv, environ, AT_EMPTY_PATH);
    _exit(EX_OSERR);
}

void upgrade_guard(const struct upgrade_exec *back)
{
    static char inherit[64], failed[STATE_WHY_LEN + 32];
    struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO};

    snprintf(inherit, sizeof(inherit), "--inherit=%d,-1", back->state_fd);
    snprintf(failed, sizeof(failed), "--inherit-failed=%s", back->failed);
    guard.program_fd = back->program_fd;
    guard.argv = back->program_fd >= 0 ? build_argv(back, inherit, failed) : NULL;
    sigfillset(&action.sa_mask);
    sigaction(SIGALRM, &action, NULL);
    block_alarm(false);
}

int upgrade_guard_fds(const struct upgrade_state *s)
{
    int *fds;
    size_t n;
    const int rc = upgrade_state_fds(s, &fds, &n);

    if (rc < 0)
        return rc;
    guard.fds = fds;
    atomic_signal_fence(memory_order_seq_cst);
    guard.n_fds = n;
    return 0;
}

void upgrade_unguard(void)
{
    set_alarm(false);
    block_alarm(true);
    signal(SIGALRM, SIG_IGN);
    free(guard.argv);
    free(guard.fds);
    guard.argv = NULL;
    guard.fds = NULL;
    guard.n_fds = 0;
}

/* It is killed with the arbiter, whose number nobody else can have until then. */
static void __attribute__((noreturn)) watch_exec(int end, struct log *log, pid_t arbiter)
{
    struct pollfd p = {.fd = end, .events = POLLIN};
    int keep[] = {end, log->fd};

    title_set("guard", "upgrade");
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fds_close_all_except(keep, ARRAY_SIZE(keep));
    log_forked(log, "guard");
    if (getppid() == arbiter && poll(&p, 1, UPGRADE_WATCH_MS) == 0) {
        log_error(log, "the new program does not begin, and is deaf: killed; the workers drain",
                  F_INT("process", arbiter));
        kill(arbiter, SIGKILL);
    }
    _exit(EX_OK);
}

int upgrade_watch(struct log *log)
{
    const pid_t arbiter = getpid();
    int ends[2];
    pid_t pid;

    if (pipe(ends) < 0) /* inherited by the program */
        return -1;
    pid = fork();
    if (pid == 0) {
        fds_close(&ends[1]);
        watch_exec(ends[0], log, arbiter);
    }
    fds_close(&ends[0]);
    if (pid < 0)
        fds_close(&ends[1]);
    return ends[1];
}

int upgrade_exec(const struct upgrade_exec *exec, const struct upgrade_state *s)
{
    char inherit[64], failed[STATE_WHY_LEN + 32];
    char **argv;
    int rc;

    snprintf(inherit, sizeof(inherit), "--inherit=%d,%d", exec->state_fd, exec->back_fd);
    snprintf(failed, sizeof(failed), "--inherit-failed=%s", exec->failed ? exec->failed : "");
    argv = build_argv(exec, inherit, exec->failed ? failed : NULL);
    rc = argv ? 0 : -ENOMEM;
    if (rc == 0 && s)
        rc = upgrade_pass_fds(s, true);
    if (rc == 0) {
        fds_set_cloexec(exec->state_fd, false);
        if (exec->back_fd >= 0)
            fds_set_cloexec(exec->back_fd, false);
        set_alarm(true);
        if (exec->path)
            execve(exec->path, argv, environ);
        else
            execveat(exec->program_fd, "", argv, environ, AT_EMPTY_PATH);
        rc = -errno;
        set_alarm(false);
        if (s)
            upgrade_pass_fds(s, false);
        fds_set_cloexec(exec->state_fd, true);
        if (exec->back_fd >= 0)
            fds_set_cloexec(exec->back_fd, true);
    }
    free(argv);
    return rc;
}
