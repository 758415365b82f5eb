/*
 * The new image of an upgrade, once it goes on (upgrade_inherit.c): it replaces the workers as a
 * reload does, and turns back to the old image if that fails. Runs in the arbiter.
 */
#include "arbiter/internal.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actor/command.h"
#include "arbiter/upgrade_exec.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/util.h"

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

void upgrade_on_commit(struct arbiter *a)
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
    upgrade_finish(a, command_result(json_pack(
                          "{s:s,s:o,s:o,s:o,s:I,s:I}", "version", ECHO_VERSION, "program",
                          command_text(program), "old_version", command_text(u->old_version),
                          "old_program", command_text(old_program), "revision",
                          (json_int_t)a->live->number, "took_ms", (json_int_t)took_ms)));
}

static void exec_back(struct arbiter *a, bool is_quiet UNUSED)
{
    struct upgrade *u = &a->upgrade;
    const struct upgrade_exec exec = {
        .program_fd = u->back_fd, .back_fd = -1, .failed = u->why, .argv = a->options->image->argv};
    int rc;

    log_warning(a->log, "upgrade: back to the old program", F_STR("reason", u->why));
    rc = upgrade_exec_arbiter(a, &exec);
    log_error(a->log, "upgrade: the old program cannot be executed: the new one stays", F_ERR(rc));
    upgrade_finish(a, command_error("internal", u->why));
}

static void turn_back(struct arbiter *a, const char *why)
{
    struct upgrade *u = &a->upgrade;

    snprintf(u->why, sizeof(u->why), "%s", why);
    u->phase = UPGRADE_RETURNING;
    upgrade_exec_later(a, exec_back);
}

void upgrade_on_rollback(struct arbiter *a, enum tr_failure failure)
{
    vacate_removed(a, a->next);
    revision_free(a->next);
    a->next = NULL;
    if (failure == TR_FAILURE_STOPPED)
        upgrade_finish(a, command_error("stopping", "the arbiter stops"));
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
    char why[ARBITER_WHY_LEN];

    if (failed) {
        upgrade_refuse(a, failed);
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
