/*
 * The course of an upgrade, in the old image and in the new one. Runs in the arbiter; waits for
 * nothing: the dry run is a child, and both execs are made when the loop has been left.
 */
#include "arbiter/internal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actor/command.h"
#include "arbiter/upgrade_impl.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/reap.h"
#include "base/signals.h"
#include "base/util.h"

/* ---- ends ---- */

static void finish(struct arbiter *a, json_t *body)
{
    struct upgrade *u = &a->upgrade;

    ev_timer_stop(a->loop, &u->timer);
    fds_close(&u->back_fd);
    fds_close(&u->board_fd);
    u->phase = UPGRADE_NONE;
    answers_give(&a->answers, ANSWER_UPGRADE, body);
    change_end(a);
}

static void refuse(struct arbiter *a, const char *why)
{
    log_error(a->log, "upgrade refused: nothing has changed", F_STR("reason", why));
    finish(a, command_error("rollback", why));
}

static pid_t upgrade_child(const struct arbiter *a)
{
    return a->upgrade.checker;
}

static void upgrade_cancel(struct arbiter *a)
{
    struct upgrade *u = &a->upgrade;

    upgrade_check_kill(u);
    if (u->phase == UPGRADE_CHECKING || u->phase == UPGRADE_DUE || u->phase == UPGRADE_RETURNING) {
        log_info(a->log, "upgrade given up");
        finish(a, command_error("stopping", "the arbiter stops"));
    }
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int revents UNUSED)
{
    struct upgrade *u = container_of(timer, struct upgrade, timer);

    if (u->phase == UPGRADE_CHECKING) {
        u->is_overdue = true;
        upgrade_check_kill(u);
    } else {
        ev_break(loop, EVBREAK_ALL); /* the next try */
    }
}

static void wait_ms(struct arbiter *a, unsigned ms)
{
    struct upgrade *u = &a->upgrade;

    ev_timer_stop(a->loop, &u->timer);
    ev_timer_set(&u->timer, ms / 1e3, 0.);
    ev_now_update(a->loop);
    ev_timer_start(a->loop, &u->timer);
}

/* Both execs are made outside of the loop; a timer, since it may not run yet. */
static void leave_loop(struct arbiter *a)
{
    a->upgrade.deadline_ms = clock_mono_ms() + UPGRADE_CHECK_MS;
    wait_ms(a, 0);
}

static void upgrade_start(struct arbiter *a)
{
    struct upgrade *u = &a->upgrade;
    char why[256];
    int rc;

    u->is_overdue = false;
    u->asked_ms = clock_mono_ms();
    u->phase = UPGRADE_CHECKING;
    log_info(a->log, "upgrading: dry run", F_STR("path", u->path));
    wait_ms(a, UPGRADE_CHECK_MS);
    rc = upgrade_check_start(a);
    if (rc == 0)
        return;
    snprintf(why, sizeof(why), "%s: %s", u->path, strerror(-rc));
    refuse(a, why);
}

static void upgrade_on_child_exit(struct arbiter *a, int status)
{
    struct upgrade *u = &a->upgrade;
    char text[768];
    int rc;

    u->checker = 0;
    rc = upgrade_check_end(u, status, text, sizeof(text));
    if (u->phase != UPGRADE_CHECKING)
        return; /* cancelled */
    ev_timer_stop(a->loop, &u->timer);
    if (rc < 0) {
        refuse(a, text);
        return;
    }
    log_info(a->log, "upgrading: the dry run was successful", F_STR("version", text));
    u->phase = UPGRADE_DUE;
    leave_loop(a);
}

/* ---- exec ---- */

static bool is_same_file(const struct stat *x, const struct stat *y)
{
    return x->st_dev == y->st_dev && x->st_ino == y->st_ino && x->st_size == y->st_size &&
           x->st_mtim.tv_sec == y->st_mtim.tv_sec && x->st_mtim.tv_nsec == y->st_mtim.tv_nsec &&
           x->st_ctim.tv_sec == y->st_ctim.tv_sec && x->st_ctim.tv_nsec == y->st_ctim.tv_nsec;
}

/* Messages that wait in a queue of ours would be lost, and so would what is still to be done. */
static bool is_quiet(const struct arbiter *a)
{
    if (transition_is_due(a->engine))
        return false;
    for (uint32_t i = 0; i < a->n_children_used; i++)
        if (a->children[i].pid && !a->children[i].mailbox.is_closed &&
            a->children[i].mailbox.n_queued > 0)
            return false;
    return true;
}

/* What cannot travel hears it now. */
static void dismiss(struct arbiter *a)
{
    json_t *body = command_error("busy", "an upgrade came in between: ask again");

    answers_give(&a->answers, ANSWER_WORKERS, json_incref(body));
    answers_give(&a->answers, ANSWER_EXIT, json_incref(body));
    answers_give(&a->answers, ANSWER_LOG, body);
}

static int exec_image(struct arbiter *a, const struct upgrade_exec *how)
{
    struct upgrade_exec exec = *how;
    struct upgrade_state s;
    int rc;

    assert(!transition_is_due(a->engine)); /* what is still to be done does not travel */
    dismiss(a);
    stats_count(a);
    rc = upgrade_snapshot(a, &s);
    if (rc < 0)
        return rc;
    rc = upgrade_file_write(&s, &exec.state_fd);
    if (rc == 0) {
        rc = upgrade_exec(&exec, &s);
        fds_close(&exec.state_fd);
    }
    upgrade_state_fini(&s);
    return rc;
}

/* Returns the reason why it has not worked. */
static const char *go_forward(struct arbiter *a)
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
    watch_fd = upgrade_watch(a->log);
    rc = exec_image(a, &exec);
    fds_close(&watch_fd);
    fds_close(&exec.back_fd);
    return strerror(-rc);
}

static void go_back(struct arbiter *a)
{
    struct upgrade *u = &a->upgrade;
    const struct upgrade_exec exec = {
        .program_fd = u->back_fd, .back_fd = -1, .failed = u->why, .argv = a->options->image->argv};
    int rc;

    log_warning(a->log, "upgrade: back to the old program", F_STR("reason", u->why));
    rc = exec_image(a, &exec);
    log_error(a->log, "upgrade: the old program cannot be executed: the new one stays", F_ERR(rc));
    finish(a, command_error("internal", u->why));
}

static bool is_leap_due(const struct arbiter *a)
{
    return a->upgrade.phase == UPGRADE_DUE || a->upgrade.phase == UPGRADE_RETURNING;
}

bool upgrade_step(struct arbiter *a)
{
    struct upgrade *u = &a->upgrade;
    const char *why;
    sigset_t mask;

    if (transition_is_stopped(a->engine) || !is_leap_due(a))
        return false;
    /* From now on signals stay pending over the exec. Those that libev has taken already, and all
     * that is readable, are handled first: they may even call it off. */
    signals_block_all(&mask);
    ev_run(a->loop, EVRUN_NOWAIT);
    if (is_leap_due(a) && (!is_quiet(a) || move_is_under_way(a)) &&
        clock_mono_ms() < u->deadline_ms) {
        wait_ms(a, UPGRADE_RETRY_MS);
    } else if (u->phase == UPGRADE_DUE) {
        why = is_quiet(a) ? go_forward(a) : "a worker does not take its messages";
        refuse(a, why);
    } else if (u->phase == UPGRADE_RETURNING) {
        go_back(a);
    }
    signals_restore(&mask);
    return !transition_is_stopped(a->engine);
}

/* ---- the new image ---- */

/* The file that was executed, without what the kernel adds when it has been replaced. "" = unknown.
 */
static void name_program(const char *link, char *buf, size_t size)
{
    static const char gone[] = " (deleted)";
    const ssize_t n = readlink(link, buf, size - 1);
    size_t len = n > 0 ? (size_t)n : 0;

    if (len > strlen(gone) && memcmp(buf + len - strlen(gone), gone, strlen(gone)) == 0)
        len -= strlen(gone);
    buf[len] = '\0';
}

static void upgrade_on_commit(struct arbiter *a)
{
    struct upgrade *u = &a->upgrade;
    const uint64_t took_ms = clock_mono_ms() - u->asked_ms;
    char program[PATH_MAX], old_program[PATH_MAX], link[64];

    name_program("/proc/self/exe", program, sizeof(program));
    snprintf(link, sizeof(link), "/proc/self/fd/%d", u->back_fd);
    name_program(link, old_program, sizeof(old_program));
    revision_commit(a);
    sinks_renew(&a->sinks);
    a->upgrades++;
    log_info(a->log, "upgraded", F_STR("version", ECHO_VERSION), F_STR("program", program),
             F_STR("old_version", u->old_version), F_STR("old_program", old_program),
             F_UINT("revision", a->live->number), F_UINT("workers", transition_workers(a->engine)),
             F_UINT("took_ms", took_ms));
    finish(a, command_result(
                  json_pack("{s:s,s:o,s:o,s:o,s:I,s:I}", "version", ECHO_VERSION, "program",
                            command_text(program), "old_version", command_text(u->old_version),
                            "old_program", command_text(old_program), "revision",
                            (json_int_t)a->live->number, "took_ms", (json_int_t)took_ms)));
}

static void turn_back(struct arbiter *a, const char *why)
{
    struct upgrade *u = &a->upgrade;

    snprintf(u->why, sizeof(u->why), "%s", why);
    u->phase = UPGRADE_RETURNING;
    leave_loop(a);
}

static void upgrade_on_rollback(struct arbiter *a, enum tr_failure failure)
{
    vacate_removed(a, a->next);
    revision_free(a->next);
    a->next = NULL;
    if (failure == TR_FAILURE_STOPPED)
        finish(a, command_error("stopping", "the arbiter stops"));
    else
        turn_back(a, transition_failure_text(failure));
}

/* The same configuration once more, for workers of this image. */
static int prepare_next(struct arbiter *a, char *why, size_t size)
{
    struct config *config = config_copy(a->live->config);
    int rc;

    if (!config) {
        snprintf(why, size, "out of memory");
        return -ENOMEM;
    }
    rc = revision_new(a, config, ++a->last_revision, a->live, &a->next, why, size);
    if (rc < 0) {
        config_free(config);
        return rc;
    }
    a->next->workers = transition_workers(a->engine); /* as scaled */
    a->next->log.level = a->live->log.level;
    return 0;
}

void upgrade_resume(struct arbiter *a, const char *failed)
{
    struct tr_event ev = {.kind = TR_EV_RELOAD};
    char why[STATE_WHY_LEN];

    if (failed) {
        refuse(a, failed);
        return;
    }
    a->upgrade.phase = UPGRADE_CHANGING;
    change_begin(a, CHANGE_UPGRADE);
    if (!transition_can_reload(a->engine, transition_workers(a->engine))) {
        turn_back(a, "there is no room for a second set of workers");
        return;
    }
    if (prepare_next(a, why, sizeof(why)) < 0) {
        turn_back(a, why);
        return;
    }
    ev.set = (struct tr_set){
        .revision = a->next->number,
        .workers = a->next->workers,
        .boot_timeout_ms = a->next->config->boot_timeout_ms,
        .exit_timeout_ms = a->next->config->exit_timeout_ms,
    };
    engine_post(a, &ev);
}

const struct change_ops upgrade_ops = {
    .obstacle = "an upgrade is under way",
    .child = upgrade_child,
    .on_child_exit = upgrade_on_child_exit,
    .start = upgrade_start,
    .on_commit = upgrade_on_commit,
    .on_rollback = upgrade_on_rollback,
    .cancel = upgrade_cancel,
};

/* ---- life ---- */

int upgrade_init(struct arbiter *a, const char *path)
{
    a->upgrade =
        (struct upgrade){.path = strdup(path), .checker_fd = -1, .back_fd = -1, .board_fd = -1};
    ev_timer_init(&a->upgrade.timer, on_timer, 0., 0.);
    return a->upgrade.path ? 0 : -ENOMEM;
}

void upgrade_fini(struct arbiter *a)
{
    struct upgrade *u = &a->upgrade;

    if (u->checker) {
        upgrade_check_kill(u);
        reap_killed(u->checker, NULL);
        fds_close(&u->checker_fd);
    }
    fds_close(&u->back_fd);
    fds_close(&u->board_fd);
    free(u->path);
    free(u->old_version);
    u->path = u->old_version = NULL;
}
