/*
 * From one image to another: the state in a sealed file, the descriptors that travel, the words on
 * the command line, an alarm for a program that hangs, and the moment for all this.
 */
#include "arbiter/upgrade_exec.h"

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
#include <sysexits.h>
#include <unistd.h>

#include "actor/command.h"
#include "arbiter/arbiter_impl.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/signals.h"
#include "base/title.h"
#include "base/util.h"

int upgrade_exec_write(const struct upgrade_state *s, int *ret_fd)
{
    char *text = json_dumps(s->body, JSON_COMPACT | JSON_ENSURE_ASCII);
    const size_t len = text ? strlen(text) : 0;
    int fd = text ? len <= STATE_MAX_BYTES ? fds_memfd("upgrade") : -EFBIG : -ENOMEM;
    const int rc = fd < 0 ? fd : fds_write_sealed(fd, &(struct iovec){text, len}, 1);

    free(text);
    if (rc == 0)
        *ret_fd = fd;
    else
        fds_close(&fd);
    return rc;
}

/* What is sealed cannot change under our hands: the dry run and the real one read the same. */
int upgrade_exec_read(int fd, const char *program, pid_t pid, struct upgrade_state *ret, char *why)
{
    const void *data;
    size_t len;
    int rc = fds_map_sealed(fd, STATE_MAX_BYTES, &data, &len);

    if (rc < 0) {
        snprintf(why, ARBITER_WHY_LEN, "descriptor %d holds no sealed state: %s", fd,
                 rc == -EBADMSG ? "it is empty, too large or not sealed" : strerror(-rc));
        return rc;
    }
    rc = upgrade_state_decode(data, len, program, pid, ret, why);
    munmap((void *)(uintptr_t)data, len);
    return rc;
}

void upgrade_exec_pass(const struct upgrade_state *s, bool is_passed)
{
    for (size_t i = 0; i < s->n_fds; i++)
        fds_set_cloexec(s->fds[i], !is_passed);
}

/* ---- the exec ---- */

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
    const int *fds; /* borrowed: those that this image has begun to keep for itself */
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

void upgrade_exec_guard(const struct upgrade_exec *back)
{
    static char inherit[64], failed[ARBITER_WHY_LEN + 32];
    struct sigaction action = {.sa_sigaction = on_alarm, .sa_flags = SA_SIGINFO};

    snprintf(inherit, sizeof(inherit), "--inherit=%d,-1", back->state_fd);
    snprintf(failed, sizeof(failed), "--inherit-failed=%s", back->failed);
    guard.program_fd = back->program_fd;
    guard.argv = back->program_fd >= 0 ? build_argv(back, inherit, failed) : NULL;
    sigfillset(&action.sa_mask);
    sigaction(SIGALRM, &action, NULL);
    block_alarm(false);
}

void upgrade_exec_guard_fds(const struct upgrade_state *s)
{
    guard.fds = s->fds;
    atomic_signal_fence(memory_order_seq_cst);
    guard.n_fds = s->n_fds;
}

void upgrade_exec_unguard(void)
{
    set_alarm(false);
    block_alarm(true);
    signal(SIGALRM, SIG_IGN);
    free(guard.argv);
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

int upgrade_exec_watch(struct log *log)
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

int upgrade_exec_now(const struct upgrade_exec *exec, const struct upgrade_state *s)
{
    char inherit[64], failed[ARBITER_WHY_LEN + 32];
    char **argv;
    int rc;

    snprintf(inherit, sizeof(inherit), "--inherit=%d,%d", exec->state_fd, exec->back_fd);
    snprintf(failed, sizeof(failed), "--inherit-failed=%s", exec->failed ? exec->failed : "");
    argv = build_argv(exec, inherit, exec->failed ? failed : NULL);
    rc = argv ? 0 : -ENOMEM;
    if (rc == 0) {
        if (s)
            upgrade_exec_pass(s, true);
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
            upgrade_exec_pass(s, false);
        fds_set_cloexec(exec->state_fd, true);
        if (exec->back_fd >= 0)
            fds_set_cloexec(exec->back_fd, true);
    }
    free(argv);
    return rc;
}

int upgrade_exec_arbiter(struct arbiter *a, const struct upgrade_exec *exec)
{
    struct upgrade_exec with_state = *exec;
    struct upgrade_state s;
    int rc;

    with_state.state_fd = -1;
    if (transition_is_due(a->engine))
        return -EBUSY; /* what is still to be done does not travel */
    stats_count(a);
    rc = upgrade_state_pack(a, &s);
    if (rc < 0)
        return rc;
    rc = upgrade_exec_write(&s, &with_state.state_fd);
    if (rc == 0)
        rc = notify_export(a);
    if (rc == 0)
        rc = upgrade_exec_now(&with_state, &s);
    notify_hide();
    fds_close(&with_state.state_fd);
    upgrade_state_fini(&s);
    return rc;
}

/* ---- the moment ---- */

static void on_next_try(struct ev_loop *loop, ev_timer *timer UNUSED, int revents UNUSED)
{
    ev_break(loop, EVBREAK_ALL);
}

static void leave_loop_in(struct arbiter *a, unsigned ms)
{
    struct upgrade *u = &a->upgrade;

    ev_timer_stop(a->loop, &u->timer);
    ev_timer_init(&u->timer, on_next_try, ms / 1e3, 0.);
    ev_now_update(a->loop);
    ev_timer_start(a->loop, &u->timer);
}

/* By a timer, since the loop may not run yet. */
void upgrade_exec_later(struct arbiter *a, void (*exec)(struct arbiter *a, bool is_quiet))
{
    a->upgrade.exec = exec;
    a->upgrade.deadline_ms = clock_mono_ms() + UPGRADE_CHECK_MS;
    leave_loop_in(a, 0);
}

/* Messages that wait in a queue of ours would be lost, and so would what is still to be done. */
static bool is_quiet(const struct arbiter *a)
{
    if (transition_is_due(a->engine) || !list_is_empty(&a->sequencer.inbox))
        return false;
    for_each_child (a, c)
        if (!c->mailbox.is_closed && !mailbox_is_empty(&c->mailbox))
            return false;
    return true;
}

static size_t count_queued(const struct arbiter *a)
{
    size_t n = 0;

    for_each_child (a, c)
        if (!c->mailbox.is_closed)
            n += c->mailbox.n_queued + c->mailbox.n_data;
    return n;
}

/*
 * Queues become empty if nothing is put into them: mailboxes are not read as long as that is all
 * that is waited for, and queues become shorter. If they do not, what is in the mailboxes may be
 * what has to happen.
 */
static void pause_for_queues(struct arbiter *a)
{
    struct upgrade *u = &a->upgrade;
    const size_t before = u->n_queued, n = count_queued(a);
    const bool is_shrinking = a->sequencer.is_paused && n < before;

    u->n_queued = n;
    if (is_shrinking)
        u->deadline_ms = MAX(u->deadline_ms, clock_mono_ms() + 2 * UPGRADE_RETRY_MS);
    sequencer_pause(a, !transition_is_due(a->engine) && !move_is_under_way(a) &&
                           (is_shrinking || !a->sequencer.is_paused));
}

bool upgrade_step(struct arbiter *a)
{
    struct upgrade *u = &a->upgrade;
    sigset_t mask;

    if (transition_is_stopped(a->engine))
        return false;
    if (!u->exec) /* called off by what was handled after the timer, in the loop's last turn */
        return true;
    /* From now on signals stay pending over the exec. Those that libev has taken already, and all
     * that is readable, are handled first: they may even call it off. */
    signals_block_all(&mask);
    ev_run(a->loop, EVRUN_NOWAIT);
    if (u->exec) {
        const bool is_quiet_now = is_quiet(a);

        if ((!is_quiet_now || move_is_under_way(a)) && clock_mono_ms() < u->deadline_ms) {
            pause_for_queues(a);
            leave_loop_in(a, UPGRADE_RETRY_MS);
        } else {
            u->exec(a, is_quiet_now);
        }
    }
    signals_restore(&mask);
    return !transition_is_stopped(a->engine);
}

void upgrade_finish(struct arbiter *a, json_t *body)
{
    struct upgrade *u = &a->upgrade;

    ev_timer_stop(a->loop, &u->timer);
    sequencer_pause(a, false);
    fds_close(&u->back_fd);
    fds_close(&u->board_fd);
    fds_close(&u->sources_fd);
    u->exec = NULL;
    u->phase = UPGRADE_NONE;
    history_note_answer(a->history, "upgrade", clock_mono_ms() - u->asked_ms, body);
    answers_give(&a->answers, ANSWER_UPGRADE, body);
    change_end(a);
}

void upgrade_refuse(struct arbiter *a, const char *why)
{
    log_error(a->log, "upgrade refused: nothing has changed", F_STR("reason", why));
    upgrade_finish(a, command_error("rollback", why));
}
