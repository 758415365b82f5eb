/*
 * The child that becomes whom the configuration names, as its parent sees it: fork, deadline,
 * answer.
 */
#include "conf/trial.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/answerer.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/reap.h"
#include "base/util.h"

/* Between two processes of one image. */
struct answer_of_trial {
    int rc;
    bool is_group; /* the key that is to blame */
    struct privileges found;
    char why[PRIVILEGES_WHY_LEN];
};
_Static_assert(sizeof(struct answer_of_trial) <= PIPE_BUF, "it is there as a whole or not at all");

/* What is asked for must be had. Only a server that has not been told whom to serve as goes on as
 * what it is, where nobody can become another user. */
static bool is_must(const struct config *c)
{
    return *c->user || *c->group;
}

bool trial_is_needed(const struct config *config)
{
    return geteuid() == 0 || is_must(config);
}

/* ---- in the child ---- */

static void try_privileges(const struct config *c, const char *program, struct answer_of_trial *ret)
{
    const struct privileges_wish wish = {.user = c->user, .group = c->group, .usual = program};
    const char *step = "", *hint = "";
    struct privileges same;
    bool is_switch;

    privileges_same(&same);
    ret->rc = privileges_find(&wish, &ret->found, &ret->is_group, ret->why);
    if (ret->rc < 0)
        return;
    ret->rc = privileges_drop(&ret->found, &step, &is_switch);
    if (!is_must(c) && is_switch && (ret->rc == -EPERM || ret->rc == -EINVAL)) {
        ret->found = same;
        ret->found.kind = PRIVILEGES_BARE;
        ret->rc = privileges_drop(&ret->found, &step, &is_switch);
    }
    if (ret->rc == 0)
        return;
    if (ret->rc == -EPERM)
        hint = is_switch ? ": give it CAP_SETUID, CAP_SETGID and CAP_KILL, or leave the key out"
                         : ": no capability is needed for that: does a filter of system calls "
                           "forbid it?";
    else if (ret->rc == -EINVAL)
        hint = ": is that number mapped in this user namespace?";
    ret->is_group = !*c->user && *c->group;
    snprintf(ret->why, sizeof(ret->why),
             "a process of this server cannot become user %s (%" PRIu32 ") in group %s (%" PRIu32
             "): %s: %s%s",
             ret->found.user, ret->found.uid, ret->found.group, ret->found.gid, step,
             strerror(-ret->rc), hint);
}

struct trial_job {
    const struct config *config;
    const char *program;
};

static void trial_main(const void *data, int fd)
{
    const struct trial_job *job = data;
    struct answer_of_trial answer = {.rc = 0};

    setpgid(0, 0);
    fds_close_all_except(&fd, 1);
    try_privileges(job->config, job->program, &answer);
    _exit(fds_write_all(fd, &answer, sizeof(answer)) < 0);
}

/* ---- in the parent ---- */

int trial_start(const struct config *config, const char *program, pid_t *ret_pid, int *ret_fd)
{
    const struct trial_job job = {config, program};
    const int rc = answerer_start(trial_main, &job, ret_pid, ret_fd);

    if (rc == 0)
        setpgid(*ret_pid, *ret_pid); /* here as well: it may be killed before it has run */
    return rc;
}

int trial_result(const struct config *config, int fd, int status, struct privileges *ret, char *why)
{
    struct answer_of_trial answer;
    const ssize_t n = read(fd, &answer, sizeof(answer));

    fds_close(&fd);
    if (n != (ssize_t)sizeof(answer)) {
        answer = (struct answer_of_trial){.rc = -ECHILD};
        snprintf(answer.why, sizeof(answer.why),
                 "the process that looks users up ended without an answer: %s %d",
                 WIFSIGNALED(status) ? "signal" : "exit code",
                 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    }
    if (answer.rc == 0) {
        *ret = answer.found;
        return 0;
    }
    snprintf(why, CONFIG_WHY_LEN, "%s", answer.why);
    config_name_key(config, answer.is_group ? CONFIG_GROUP : CONFIG_USER, why, CONFIG_WHY_LEN);
    return answer.rc;
}

int trial_run(const struct config *config, const char *program, struct privileges *ret, char *why)
{
    const uint64_t deadline_ms = clock_mono_ms() + TRIAL_MS;
    int status = 0, fd, rc;
    pid_t pid;

    if (!trial_is_needed(config)) {
        privileges_same(ret);
        return 0;
    }
    rc = trial_start(config, program, &pid, &fd);
    if (rc < 0) {
        snprintf(why, CONFIG_WHY_LEN, "the process that looks users up: %s", strerror(-rc));
        return rc;
    }
    if (reap_by(pid, deadline_ms, &status))
        return trial_result(config, fd, status, ret, why);
    reap_killed(pid, NULL);
    fds_close(&fd);
    snprintf(why, CONFIG_WHY_LEN,
             "the look-up of users took longer than %d s: does nsswitch.conf name a service that "
             "does not answer?",
             TRIAL_MS / 1000);
    config_name_key(config, CONFIG_USER, why, CONFIG_WHY_LEN);
    return -ETIME;
}

static bool has_group_of_root(const struct privileges *p)
{
    bool has = p->gid == 0;

    for (size_t i = 0; i < p->n_groups; i++)
        has |= p->groups[i] == 0;
    return has;
}

/* What root should know about: an ordinary user's server has nothing to give away. */
void trial_log(const struct privileges *p, struct log *log)
{
    if (p->kind == PRIVILEGES_SWITCH)
        log_info(log, "workers give root's rights up", F_STR("user", p->user),
                 F_UINT("uid", p->uid), F_STR("group", p->group), F_UINT("gid", p->gid));
    else if (p->kind == PRIVILEGES_ROOT)
        log_warning(log, "workers run as root, and what takes one over has the machine",
                    F_STR("hint", "name a user in arbiter.user that has no rights"));
    else if (p->kind == PRIVILEGES_BARE)
        log_warning(log,
                    "workers cannot become another user: they run as user 0, without any "
                    "capability",
                    F_STR("hint",
                          "give the server CAP_SETUID, CAP_SETGID and CAP_KILL, or start it "
                          "as an ordinary user"));
    if (p->kind == PRIVILEGES_SWITCH && has_group_of_root(p))
        log_warning(log, "workers are in root's group, and may open what it may",
                    F_STR("user", p->user), F_STR("group", p->group),
                    F_STR("hint", "name a group in arbiter.group that has no rights"));
    if ((p->kind == PRIVILEGES_SWITCH || p->kind == PRIVILEGES_BARE) &&
        !privileges_has(CAP_SETPCAP))
        log_warning(log,
                    "workers keep the bounding set of capabilities; no_new_privs alone keeps them "
                    "from gaining any",
                    F_STR("hint", "give the server CAP_SETPCAP"));
}
