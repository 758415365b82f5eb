/*
 * How a new image begins: in earnest, or only to find out whether it could.
 */
#include "arbiter/arbiter.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sysexits.h>
#include <unistd.h>

#include "arbiter/internal.h"
#include "arbiter/upgrade_impl.h"
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
        log_error(log, "the old program cannot be executed", F_ERR(upgrade_exec(&exec, s)));
    return EX_OSERR;
}

static int check_pid(const struct upgrade_state *s, pid_t pid, char *why)
{
    if (s->pid == (uint64_t)pid)
        return 0;
    snprintf(why, STATE_WHY_LEN, "the state is another process's");
    return -EPERM;
}

/* What was not meant for this image, or is not known to it. */
static int close_strangers(const struct upgrade_state *s, const struct arbiter_inherited *inherited,
                           const struct log *log)
{
    size_t n;
    int *fds, *keep;
    int rc = upgrade_state_fds(s, &fds, &n);

    if (rc < 0)
        return rc;
    keep = realloc(fds, (n + 3) * sizeof(*keep));
    if (!keep) {
        free(fds);
        return -ENOMEM;
    }
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
    int rc = check_pid(s, getpid(), why);

    if (rc == 0 && (rc = close_strangers(s, inherited, log)) == 0 &&
        (rc = arbiter_init(a, log, options)) == 0)
        rc = upgrade_inherit(a, s, why);
    if (rc == 0)
        rc = arbiter_attach(a);
    if (rc == -ENOMEM)
        snprintf(why, STATE_WHY_LEN, "out of memory");
    return rc;
}

/* The loop's first turn finds the signals that have come since the old image blocked them. */
static int go_on(struct arbiter *a, const struct arbiter_inherited *inherited)
{
    a->upgrade.back_fd = inherited->back_fd;
    a->state = ACTOR_RUN;
    title_set("arbiter", actor_state_name(a->state));
    take_name(a->upgrade.path);
    upgrade_resume(a, inherited->failed);
    children_reap(a); /* a SIGCHLD that the old image had taken does not come again */
    return arbiter_serve(a);
}

/* What the command line said wins at the next reload too. Texts are borrowed from @s. */
static int find_overrides(const struct upgrade_state *s, struct config_override **ret,
                          size_t *ret_n)
{
    struct config_override *list = calloc(s->n_values + 1, sizeof(*list));
    size_t n = 0;

    if (!list)
        return -ENOMEM;
    for (size_t i = 0; i < s->n_values; i++) {
        int key = config_find(s->values[i].key);

        if (s->values[i].line == 0 && key >= 0)
            list[n++] = (struct config_override){(enum config_key)key, s->values[i].text};
    }
    *ret = list;
    *ret_n = n;
    return 0;
}

int arbiter_inherit(const struct arbiter_inherited *inherited, struct log *log,
                    const struct arbiter_options *given)
{
    struct arbiter_options options = *given;
    struct config_override *overrides = NULL;
    const struct upgrade_exec back =
        way_back(inherited, given, "the new program hangs before it can go on");
    struct upgrade_state s;
    struct arbiter a;
    char why[STATE_WHY_LEN] = "out of memory";
    int fd = inherited->state_fd;
    int rc;

    upgrade_guard(&back);
    rc = upgrade_file_read(fd, &s, why);
    if (rc < 0)
        return return_early(inherited, NULL, log, given, why);
    rc = find_overrides(&s, &overrides, &options.n_overrides);
    options.overrides = overrides;
    if (rc == 0)
        rc = upgrade_guard_fds(&s);
    if (rc == 0)
        rc = take_over(&a, &s, inherited, log, &options, why);
    if (rc < 0)
        return return_early(inherited, &s, log, given, why);
    upgrade_unguard();
    fds_close(&fd);
    if (inherited->back_fd >= 0)
        fds_set_cloexec(inherited->back_fd, true);
    upgrade_attach(&a, &s);
    log_close(log);
    rc = go_on(&a, inherited);
    arbiter_fini(&a);
    free(overrides);
    upgrade_state_fini(&s);
    return rc;
}

int arbiter_try_inherit(int state_fd, const struct arbiter_options *options, char *why)
{
    struct log none = {.fd = -1, .level = LOG_LEVEL_ERROR};
    struct upgrade_state s;
    struct arbiter a;
    int rc = upgrade_file_read(state_fd, &s, why);

    if (rc == 0)
        rc = check_pid(&s, getppid(), why);
    if (rc == 0 && (rc = arbiter_init(&a, &none, options)) < 0)
        snprintf(why, STATE_WHY_LEN, "out of memory");
    if (rc == 0)
        rc = upgrade_inherit(&a, &s, why);
    return rc;
}
