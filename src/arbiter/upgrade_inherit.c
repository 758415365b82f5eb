/*
 * How the new image of an upgrade begins: in earnest, or only to find out whether it could. Until
 * it serves, whatever goes wrong leads back to the old image.
 */
#include "arbiter/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

#include "actor/command.h"
#include "arbiter/upgrade_exec.h"
#include "base/fds.h"
#include "base/title.h"

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
    for (int key = 0; key < CONFIG_KEYS; key++) {
        if (c->origin[key].kind != ORIGIN_COMMAND_LINE)
            continue;
        ret[*ret_n] =
            (struct config_override){(enum config_key)key, config_get(c, (enum config_key)key)};
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
    answers_give(&a->answers, ANSWER_LOG, body);
}

/* The loop's first turn finds the signals that have come since the old image blocked them. */
static int go_on(struct arbiter *a, const struct arbiter_inherited *inherited)
{
    a->upgrade.back_fd = inherited->back_fd;
    a->state = ACTOR_RUN;
    title_set("arbiter", actor_state_name(a->state));
    take_name(a->upgrade.path);
    sinks_attach(&a->sinks);
    tell_interrupted(a);
    upgrade_resume(a, inherited->failed);
    children_reap(a); /* a SIGCHLD that the old image had taken does not come again */
    return arbiter_serve(a);
}

int arbiter_inherit(const struct arbiter_inherited *inherited, struct log *log,
                    const struct arbiter_options *given)
{
    struct config_override overrides[CONFIG_KEYS];
    struct arbiter_options options = *given;
    const struct upgrade_exec back =
        way_back(inherited, given, "the new program hangs before it can go on");
    struct upgrade_state s;
    struct arbiter a;
    char why[ARBITER_WHY_LEN] = "out of memory";
    int fd = inherited->state_fd;
    int rc;

    upgrade_exec_guard(&back);
    rc = upgrade_exec_read(fd, getpid(), &s, why);
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
    int rc = upgrade_exec_read(state_fd, getppid(), &s, why);

    if (rc == 0 && (rc = arbiter_init(&a, &none, options)) < 0)
        snprintf(why, ARBITER_WHY_LEN, "out of memory");
    if (rc == 0)
        rc = upgrade_state_unpack(&s, &a, why);
    return rc;
}
