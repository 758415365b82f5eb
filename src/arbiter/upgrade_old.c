/*
 * The old image of an upgrade: from the request over the dry run to the exec. The dry run is a
 * child that executes the program at the path, on the real state and with the real descriptors, and
 * says whether it could go on. Runs in the arbiter, which does not wait for it.
 */
#include "arbiter/arbiter_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "actor/command.h"
#include "arbiter/upgrade_exec.h"
#include "base/answerer.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/reap.h"
#include "base/util.h"

/* ---- a child ---- */

static void check_kill(const struct upgrade *u)
{
    if (u->checker)
        kill(-u->checker, SIGKILL);
}

static void on_overdue(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    struct upgrade *u = container_of(timer, struct upgrade, timer);

    u->is_overdue = true;
    check_kill(u);
}

void upgrade_watch_child(struct arbiter *a, pid_t pid, int fd,
                         void (*on_exit)(struct arbiter *a, int status))
{
    struct upgrade *u = &a->upgrade;

    u->is_overdue = false;
    u->checker = pid;
    u->checker_fd = fd;
    u->on_checker_exit = on_exit;
    ev_timer_init(&u->timer, on_overdue, UPGRADE_CHECK_MS / 1e3, 0.);
    ev_now_update(a->loop);
    ev_timer_start(a->loop, &u->timer);
}

/* ---- the dry run ---- */

struct check_job {
    const struct upgrade *upgrade;
    const struct upgrade_state *state;
    int state_fd;
    char *argv0;
};

static void become_checker(const void *data, int out)
{
    const struct check_job *job = data;
    char option[32];
    char *argv[] = {job->argv0, option, NULL};
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);

    setpgid(0, 0);
    dup2(null, STDIN_FILENO);
    dup2(out, STDOUT_FILENO);
    dup2(out, STDERR_FILENO);
    snprintf(option, sizeof(option), "--inherit-check=%d", job->state_fd);
    upgrade_exec_pass(job->state, true);
    fds_set_cloexec(job->state_fd, false);
    execve(job->upgrade->path, argv, environ);
    dprintf(STDERR_FILENO, "%s\n", strerror(errno));
    _exit(127);
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

/* Returns 0 with its version in @text, or -EINVAL with the reason. */
static int explain_end(const struct upgrade *u, const char *program, int status, const char *output,
                       char *text, size_t size)
{
    const int first = (int)strcspn(output, "\n");
    const char *can_inherit =
        memmem(output, (size_t)first, ARBITER_CAN_INHERIT, strlen(ARBITER_CAN_INHERIT));
    const int name_len = can_inherit ? (int)(can_inherit - output) : 0;
    char way_back[64];

    snprintf(way_back, sizeof(way_back), "\n" ARBITER_WRITES_STATE "%d\n", STATE_VERSION);
    if (u->is_overdue)
        snprintf(text, size, "%s: the dry run took longer than %d s", u->path,
                 UPGRADE_CHECK_MS / 1000);
    else if (WIFSIGNALED(status))
        snprintf(text, size, "%s: the dry run was ended by signal %d (%s)", u->path,
                 WTERMSIG(status), strsignal(WTERMSIG(status)));
    else if (WEXITSTATUS(status) != 0)
        snprintf(text, size, "%s: exit code %d%s%.*s", u->path, WEXITSTATUS(status),
                 first ? ": " : "", first, output);
    else if (!can_inherit)
        snprintf(text, size, "%s: it does not say that it can go on: is it %s?", u->path, program);
    else if ((size_t)name_len != strlen(program) || memcmp(output, program, (size_t)name_len) != 0)
        snprintf(text, size,
                 "%s: it is %.*s, this server is %s: only a program of the same name can go on",
                 u->path, name_len, output, program);
    else if (!strstr(output, way_back))
        snprintf(text, size, "%s: there is no way back from it: this program reads state %d only",
                 u->path, STATE_VERSION);
    else {
        can_inherit += strlen(ARBITER_CAN_INHERIT);
        snprintf(text, size, "%.*s", (int)strcspn(can_inherit, "\n"), can_inherit);
        return 0;
    }
    return -EINVAL;
}

/* ---- the exec ---- */

static bool is_same_file(const struct stat *x, const struct stat *y)
{
    return x->st_dev == y->st_dev && x->st_ino == y->st_ino && x->st_size == y->st_size &&
           x->st_mtim.tv_sec == y->st_mtim.tv_sec && x->st_mtim.tv_nsec == y->st_mtim.tv_nsec &&
           x->st_ctim.tv_sec == y->st_ctim.tv_sec && x->st_ctim.tv_nsec == y->st_ctim.tv_nsec;
}

/* Returns the reason why it has not worked. */
static const char *exec_program(struct arbiter *a)
{
    struct upgrade *u = &a->upgrade;
    struct upgrade_exec exec = {.path = u->path, .argv = a->options->image->argv};
    struct stat st;
    int rc, watch_fd;

    if (stat(u->path, &st) < 0 || !is_same_file(&st, &u->candidate))
        return "the program has changed since the dry run: ask again";
    /* What runs now, whatever the path leads to by now. */
    exec.back_fd = open("/proc/self/exe", O_PATH | O_CLOEXEC);
    if (exec.back_fd < 0)
        return "/proc/self/exe cannot be opened, so there would be no way back";
    log_info(a->log, "upgrading: executing the program");
    watch_fd = upgrade_exec_watch(a->log);
    rc = upgrade_exec_arbiter(a, &exec);
    fds_close(&watch_fd);
    a->upgrade.has_guard = true;
    fds_close(&exec.back_fd);
    return strerror(-rc);
}

static void on_exec_due(struct arbiter *a, bool is_quiet)
{
    if (is_quiet)
        upgrade_refuse(a, exec_program(a));
    else
        upgrade_refuse(a, transition_is_due(a->engine)
                              ? "the workers are changing: try again in a moment"
                              : "a worker does not take its messages");
}

static void on_checked(struct arbiter *a, int status)
{
    struct upgrade *u = &a->upgrade;
    char output[512], text[768];
    int rc;

    read_output(u, output, sizeof(output));
    rc = explain_end(u, a->options->program->name, status, output, text, sizeof(text));
    if (u->phase != UPGRADE_CHECKING)
        return; /* cancelled */
    if (rc < 0) {
        upgrade_refuse(a, text);
        return;
    }
    log_info(a->log, "upgrading: the dry run was successful", F_STR("version", text));
    u->phase = UPGRADE_DUE;
    upgrade_exec_later(a, on_exec_due);
}

/* ---- the begin ---- */

static int fork_checker(struct arbiter *a, const struct upgrade_state *s, int state_fd)
{
    const struct check_job job = {&a->upgrade, s, state_fd, a->options->image->argv[0]};
    pid_t pid;
    int fd;
    const int rc = answerer_start(become_checker, &job, &pid, &fd);

    if (rc < 0)
        return rc;
    setpgid(pid, pid); /* here as well: it may be killed before it has run */
    upgrade_watch_child(a, pid, fd, on_checked);
    return 0;
}

static int check_start(struct arbiter *a)
{
    struct upgrade_state s;
    int fd = -1;
    int rc;

    if (stat(a->upgrade.path, &a->upgrade.candidate) < 0)
        return -errno;
    rc = upgrade_state_pack(a, &s);
    if (rc < 0)
        return rc;
    rc = upgrade_exec_write(&s, &fd);
    if (rc == 0)
        rc = fork_checker(a, &s, fd);
    upgrade_state_fini(&s);
    fds_close(&fd);
    return rc;
}

static void upgrade_start(struct arbiter *a)
{
    struct upgrade *u = &a->upgrade;
    char why[256];
    int rc;

    u->asked_ms = clock_mono_ms();
    u->phase = UPGRADE_CHECKING;
    log_info(a->log, "upgrading: dry run", F_STR("path", u->path));
    rc = check_start(a);
    if (rc == 0)
        return;
    snprintf(why, sizeof(why), "%s: %s", u->path, strerror(-rc));
    upgrade_refuse(a, why);
}

static void upgrade_on_child_exit(struct arbiter *a, int status)
{
    a->upgrade.checker = 0;
    ev_timer_stop(a->loop, &a->upgrade.timer);
    a->upgrade.on_checker_exit(a, status);
}

static pid_t upgrade_child(const struct arbiter *a)
{
    return a->upgrade.checker;
}

static void upgrade_cancel(struct arbiter *a)
{
    struct upgrade *u = &a->upgrade;

    check_kill(u);
    if (u->phase != UPGRADE_NONE && u->phase != UPGRADE_CHANGING) {
        log_info(a->log, "upgrade given up");
        upgrade_finish(a, command_error("stopping", "the arbiter stops"));
    }
}

const struct change_ops upgrade_ops = {
    .obstacle = "an upgrade is under way",
    .child = upgrade_child,
    .on_child_exit = upgrade_on_child_exit,
    .start = upgrade_start,
    .cancel = upgrade_cancel,
};

/* ---- life ---- */

int upgrade_init(struct arbiter *a, const char *path)
{
    a->upgrade = (struct upgrade){.path = strdup(path),
                                  .on_checker_exit = on_checked,
                                  .checker_fd = -1,
                                  .back_fd = -1,
                                  .board_fd = -1,
                                  .sources_fd = -1};
    ev_init(&a->upgrade.timer, on_overdue);
    return a->upgrade.path ? 0 : -ENOMEM;
}

void upgrade_fini(struct arbiter *a)
{
    struct upgrade *u = &a->upgrade;

    if (u->checker) {
        check_kill(u);
        reap_killed(u->checker, NULL);
        fds_close(&u->checker_fd);
    }
    fds_close(&u->back_fd);
    fds_close(&u->board_fd);
    fds_close(&u->sources_fd);
    free(u->path);
    free(u->old_version);
    u->path = u->old_version = NULL;
}
