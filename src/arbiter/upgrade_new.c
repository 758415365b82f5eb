/*
 * The new image of an upgrade: how it begins, in earnest or only to find out whether it could; how
 * it replaces the workers as a reload does; and how it turns back to the old image if it fails.
 */
#include "arbiter/arbiter_impl.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

#include "actor/command.h"
#include "arbiter/upgrade_exec.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/holder.h"
#include "base/title.h"
#include "base/util.h"
#include "conf/trial.h"

/* ---- other workers ---- */

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
    log_info(a->log, "upgraded", F_STR("version", a->options->program->version),
             F_STR("program", program), F_STR("old_version", u->old_version),
             F_STR("old_program", old_program), F_UINT("revision", a->live->number),
             F_UINT("workers", transition_workers(a->engine)), F_UINT("took_ms", took_ms));
    upgrade_finish(
        a, command_result(json_pack("{s:s,s:o,s:o,s:o,s:I,s:I}", "version",
                                    a->options->program->version, "program", command_text(program),
                                    "old_version", command_text(u->old_version), "old_program",
                                    command_text(old_program), "revision",
                                    (json_int_t)a->live->number, "took_ms", (json_int_t)took_ms)));
}

/* A message that a worker does not take would be lost, and does not hold this up any longer:
 * workers that this image cannot replace are worse. */
static void exec_back(struct arbiter *a, bool is_quiet UNUSED)
{
    struct upgrade *u = &a->upgrade;
    const struct upgrade_exec exec = {
        .program_fd = u->back_fd, .back_fd = -1, .failed = u->why, .argv = a->options->image->argv};
    int rc;

    if (transition_is_due(a->engine)) {
        log_warning(a->log, "upgrade: the way back to the old program waits for the workers");
        upgrade_exec_later(a, exec_back);
        return;
    }
    log_warning(a->log, "upgrade: back to the old program", F_STR("reason", u->why));
    for_each_child (a, c)
        if (c->mailbox.n_data > 0) /* it would miss them, and all would wait for it */
            children_kill(c, LOG_LEVEL_WARNING, "it does not take its messages");
    rc = upgrade_exec_arbiter(a, &exec);
    log_error(a->log, "upgrade: the old program cannot be executed: the new one stays", F_ERR(rc));
    upgrade_finish(a, command_error("internal", u->why));
}

static void turn_back(struct arbiter *a, const char *why)
{
    struct upgrade *u = &a->upgrade;

    snprintf(u->why, sizeof(u->why), "%.*s", (int)sizeof(u->why) - 1, why);
    u->phase = UPGRADE_RETURNING;
    upgrade_exec_later(a, exec_back);
}

static void upgrade_on_rollback(struct arbiter *a, enum tr_failure failure, const char *why)
{
    revision_roll_back(a);
    if (failure == TR_FAILURE_STOPPED || a->is_leaving) /* the old workers serve until it stops */
        upgrade_finish(a, command_error("stopping", "the arbiter stops"));
    else
        turn_back(a, why);
}

static const struct change_ops new_image_ops = {
    .obstacle = "an upgrade is under way",
    .on_commit = upgrade_on_commit,
    .on_rollback = upgrade_on_rollback,
};

/* The same configuration once more, for workers of this image, with the CPUs that there are now. */
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
    if (transition_workers(a->engine) != a->live->counted) /* scaled: it stays so until a reload */
        revision_keep_workers(a->next, transition_workers(a->engine));
    a->next->log.level = a->live->log.level;
    return 0;
}

static void start_workers(struct arbiter *a)
{
    struct tr_event ev = {.kind = TR_EV_RELOAD};
    char why[ARBITER_WHY_LEN];

    a->upgrade.phase = UPGRADE_CHANGING;
    if (prepare_next(a, why, sizeof(why)) < 0) {
        turn_back(a, why);
        return;
    }
    if (!revision_can_change(a, a->next->config, a->next->workers)) {
        revision_roll_back(a);
        turn_back(a, "there is no room for a second set of workers");
        return;
    }
    ev.set = revision_set(a, a->next);
    engine_post(a, &ev);
}

static void on_found(struct arbiter *a, int status)
{
    struct upgrade *u = &a->upgrade;
    char why[CONFIG_WHY_LEN];
    const int rc = trial_result(a->live->config, u->checker_fd, status, &a->privileges, why);

    u->checker_fd = -1;
    if (u->phase != UPGRADE_FINDING)
        return; /* the server stops */
    if (rc < 0) {
        turn_back(a, why);
        return;
    }
    trial_log(&a->privileges, a->log);
    start_workers(a);
}

/* The image before has not said whom workers run as: it is of a time when it was always root. */
static void find_privileges(struct arbiter *a)
{
    char why[ARBITER_WHY_LEN];
    pid_t pid;
    int fd;
    const int rc = trial_start(a->live->config, a->options->program->name, &pid, &fd);

    if (rc < 0) {
        snprintf(why, sizeof(why), "the process that looks users up: %s", strerror(-rc));
        turn_back(a, why);
        return;
    }
    a->upgrade.phase = UPGRADE_FINDING;
    upgrade_watch_child(a, pid, fd, on_found);
}

void upgrade_resume(struct arbiter *a, const char *failed)
{
    char why[ARBITER_WHY_LEN];
    const int rc = arbiter_init_program(a, why, sizeof(why));

    if (failed) {
        if (rc < 0) /* it could at its start */
            log_error(a->log, "the program is without what it has in the arbiter",
                      F_STR("reason", why));
        upgrade_refuse(a, failed);
        return;
    }
    a->upgrade.phase = UPGRADE_CHANGING;
    change_begin(a, &new_image_ops);
    if (rc < 0) {
        turn_back(a, why);
        return;
    }
    if (a->privileges.kind == PRIVILEGES_UNKNOWN)
        find_privileges(a);
    else
        start_workers(a);
}

/* ---- the beginning ---- */

/* After an exec by descriptor the kernel calls the process by that number. */
static void take_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    prctl(PR_SET_NAME, slash ? slash + 1 : path);
}

/* The way back to the image before; it is told @why. */
static struct upgrade_exec way_back(const struct arbiter_inherited *inherited,
                                    const struct arbiter_options *options, const char *why)
{
    return (struct upgrade_exec){.program_fd = inherited->back_fd,
                                 .state_fd = inherited->state_fd,
                                 .back_fd = -1,
                                 .failed = why,
                                 .argv = options->image->argv};
}

/* @s is NULL if it could not be read: then the descriptors in it have not been touched. */
static int return_early(const struct arbiter_inherited *inherited, const struct upgrade_state *s,
                        struct log *log, const struct arbiter_options *options, const char *why)
{
    const struct upgrade_exec exec = way_back(inherited, options, why);

    log_error(log, "this program cannot go on with what the one before has left",
              F_STR("reason", why));
    if (inherited->back_fd >= 0)
        log_error(log, "the old program cannot be executed", F_ERR(upgrade_exec_now(&exec, s)));
    return EX_OSERR;
}

/* What was not meant for this image. Returns 0 or -ENOMEM. */
static int close_strangers(const struct upgrade_state *s, const struct arbiter_inherited *inherited,
                           const struct log *log)
{
    int *keep = calloc(s->n_fds + 3, sizeof(*keep));
    size_t n = 0;

    if (!keep)
        return -ENOMEM;
    for (; n < s->n_fds; n++)
        keep[n] = s->fds[n];
    keep[n++] = inherited->state_fd;
    keep[n++] = inherited->back_fd;
    keep[n++] = log->fd;
    fds_close_all_except(keep, n);
    free(keep);
    return 0;
}

/* Returns 0, or -errno with @why and nobody has noticed anything. */
static int take_over(struct arbiter *a, const struct upgrade_state *s,
                     const struct arbiter_inherited *inherited, struct log *log,
                     const struct arbiter_options *options, char *why)
{
    int rc = close_strangers(s, inherited, log);

    if (rc == 0)
        rc = arbiter_init(a, log, options);
    if (rc == 0)
        rc = upgrade_state_unpack(s, a, why);
    if (rc == 0)
        rc = arbiter_attach(a);
    if (rc == -ENOMEM)
        snprintf(why, ARBITER_WHY_LEN, "out of memory");
    return rc;
}

/* What the command line said wins at the next reload too. Returns 0 or -ENOMEM. */
static int find_overrides(const struct config *c, struct config_override *ret, size_t *ret_n)
{
    *ret_n = 0;
    for (int key = 0; key < c->schema->n_keys; key++) {
        if (c->origin[key].kind != ORIGIN_COMMAND_LINE)
            continue;
        ret[*ret_n] = (struct config_override){.key = key, .text = config_get(c, key)};
        if (!ret[(*ret_n)++].text)
            return -ENOMEM;
    }
    return 0;
}

/* Whoever waits for workers or logs. If the exec had failed, they would wait on. */
static void tell_interrupted(struct arbiter *a)
{
    json_t *body = command_error("busy", "an upgrade came in between: ask again");

    answers_give(&a->answers, ANSWER_WORKERS, json_incref(body));
    answers_give(&a->answers, ANSWER_EXIT, json_incref(body));
    answers_give(&a->answers, ANSWER_OWN, json_incref(body));
    answers_give(&a->answers, ANSWER_SPAWN, json_incref(body));
    answers_give(&a->answers, ANSWER_LOG, body);
}

/* The loop's first turn finds the signals that have come since the old image blocked them. */
static int go_on(struct arbiter *a, const struct arbiter_inherited *inherited)
{
    a->upgrade.back_fd = inherited->back_fd;
    a->upgrade.has_guard = true;
    a->state = ACTOR_RUN;
    title_set("arbiter", actor_state_name(a->state));
    take_name(a->upgrade.path);
    strays_mark(config_server(a->live->config));
    sinks_attach(&a->sinks);
    notify_open(a, NOTIFY_CHANGING, false);
    notify_attach(a);
    tell_interrupted(a);
    stats_log_kept(a);
    upgrade_resume(a, inherited->failed);
    children_reap(a); /* a SIGCHLD that the old image had taken does not come again */
    return arbiter_serve(a);
}

int arbiter_inherit(const struct arbiter_inherited *inherited, struct log *log,
                    const struct arbiter_options *given)
{
    struct config_override overrides[CONFIG_KEYS_MAX];
    struct arbiter_options options = *given;
    const struct upgrade_exec back =
        way_back(inherited, given, "the new program hangs before it can go on");
    struct upgrade_state s;
    struct arbiter a;
    char why[ARBITER_WHY_LEN] = "out of memory";
    int fd = inherited->state_fd;
    int rc;

    upgrade_exec_guard(&back);
    rc = upgrade_exec_read(fd, given->program->name, getpid(), &s, why);
    if (rc < 0)
        return return_early(inherited, NULL, log, given, why);
    upgrade_exec_guard_fds(&s);
    rc = take_over(&a, &s, inherited, log, &options, why);
    options.overrides = overrides;
    if (rc == 0)
        rc = find_overrides(a.live->config, overrides, &options.n_overrides);
    if (rc < 0)
        return return_early(inherited, &s, log, given, why);
    upgrade_exec_unguard();
    fds_close(&fd);
    if (inherited->back_fd >= 0)
        fds_set_cloexec(inherited->back_fd, true);
    upgrade_exec_pass(&s, false);
    upgrade_state_fini(&s);
    log_close(log);
    rc = go_on(&a, inherited);
    arbiter_fini(&a);
    for (size_t i = 0; i < options.n_overrides; i++)
        free((char *)(uintptr_t)overrides[i].text);
    return rc;
}

int arbiter_try_inherit(int state_fd, const struct arbiter_options *options, char *why)
{
    struct log none = {.fd = -1, .level = LOG_LEVEL_ERROR};
    struct upgrade_state s;
    struct arbiter a;
    int rc = upgrade_exec_read(state_fd, options->program->name, getppid(), &s, why);

    if (rc == 0 && (rc = arbiter_init(&a, &none, options)) < 0)
        snprintf(why, ARBITER_WHY_LEN, "out of memory");
    if (rc == 0)
        rc = upgrade_state_unpack(&s, &a, why);
    return rc;
}
