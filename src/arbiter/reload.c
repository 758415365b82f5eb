/*
 * Reload as a transaction: parse in a child, open what is new, start the new revision, and only
 * when all of it is ready drain the old one. Until then every failure leaves things as they were.
 */
#include "arbiter/arbiter_impl.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "actor/command.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/limits.h"
#include "base/reap.h"
#include "base/util.h"
#include "conf/config_diff.h"

static void close_answer(struct arbiter *a)
{
    struct reload *r = &a->reload;

    if (r->fd >= 0) {
        ev_io_stop(a->loop, &r->io);
        fds_close(&r->fd);
    }
    ev_timer_stop(a->loop, &r->deadline);
    free(r->data);
    r->data = NULL;
    r->len = 0;
    r->is_read = false;
}

/* What was read is dropped, also while the log's target is being opened. */
static void reload_forget(struct arbiter *a)
{
    close_answer(a);
    config_free(a->reload.config);
    a->reload.config = NULL;
    sinks_release(a->reload.sink);
    a->reload.sink = NULL;
}

static void reload_drop(struct arbiter *a)
{
    reload_forget(a);
    json_decref(a->reload.changes);
    a->reload.changes = NULL;
}

static void reload_end(struct arbiter *a)
{
    reload_drop(a);
    change_end(a);
}

/* @details is taken over; NULL = none */
static void reload_refuse_with(struct arbiter *a, const char *code, const char *why,
                               json_t *details)
{
    json_t *body = command_error(code, why), *detail;
    size_t i;

    json_array_foreach(details, i, detail)
        log_error(a->log, "configuration", F_STR("error", json_string_value(detail)));
    log_error(a->log, "reload refused: nothing has changed", F_STR("reason", why));
    if (details)
        json_object_set_new(json_object_get(body, "error"), "details", details);
    history_note_answer(a->history, "reload", clock_mono_ms() - a->reload.started_ms, body);
    answers_give(&a->answers, ANSWER_RELOAD, body);
    reload_end(a);
}

static void reload_refuse(struct arbiter *a, const char *why)
{
    reload_refuse_with(a, "rollback", why, NULL);
}

/* A change of one of these needs a new start. */
struct restart_keys {
    const struct config *config; /* borrowed: the new one */
    json_t *reasons; /* owned: a sentence each */
    size_t n; /* such keys: a sentence may have found no memory */
};

static void on_restart_key(const struct config_row *row, const char *old_text, const char *new_text,
                           void *userdata)
{
    struct restart_keys *found = userdata;
    char why[CONFIG_WHY_LEN];

    if (row->reload != RELOAD_RESTART)
        return;
    snprintf(why, sizeof(why), "\"%s\" instead of \"%s\" needs a new start", new_text, old_text);
    config_name_key(found->config, (int)(row - found->config->schema->rows), why, sizeof(why));
    json_array_append_new(found->reasons, command_text(why));
    found->n++;
}

static bool needs_restart(struct arbiter *a, const struct config *config)
{
    struct restart_keys found = {config, json_array(), 0};
    const int n_changed = config_diff(a->live->config, config, on_restart_key, &found);

    if (n_changed >= 0 && found.n == 0) {
        json_decref(found.reasons);
        return false;
    }
    if (n_changed < 0)
        reload_refuse_with(a, "internal", "out of memory", found.reasons);
    else
        reload_refuse_with(a, "needs_restart", "a change of the configuration needs a new start",
                           found.reasons);
    return true;
}

/* A file without any key is refused when it is read; this one has some. */
static bool has_lost_all(struct arbiter *a, const struct config *config)
{
    if (a->reload.is_forced || !config_has_lost_all(a->live->config, config))
        return false;
    reload_refuse_with(
        a, "groups_lost",
        "no group that the configuration had is in the file any more: was it cut off?", NULL);
    return true;
}

/* The elements of a list are lines of the canonical text. */
static char *on_one_line(const char *text)
{
    char *line = strdup(text);

    for (char *p = line; p && (p = strchr(p, '\n'));)
        *p = ' ';
    return line;
}

static void log_change(const struct config_row *row, const char *old_text, const char *new_text,
                       void *userdata)
{
    struct arbiter *a = userdata;
    char *old_line = on_one_line(old_text), *new_line = on_one_line(new_text);

    log_info(a->log, "configuration changes", F_STR("key", row->name), F_STR("old", old_line),
             F_STR("new", new_line));
    json_array_append_new(a->reload.changes,
                          json_pack("{s:s,s:o,s:o}", "key", row->name, "old",
                                    command_text(old_line), "new", command_text(new_line)));
    free(old_line);
    free(new_line);
}

static void reload_prepare(struct arbiter *a, struct config *config)
{
    char why[CONFIG_WHY_LEN];
    struct tr_event ev = {.kind = TR_EV_RELOAD};

    if (!revision_can_change(a, config, config_effective_workers(config))) {
        /* Things have changed since the start: read it again later. */
        answers_turn(&a->answers, ANSWER_RELOAD, ANSWER_NEXT_RELOAD);
        a->reload.is_force_asked |= a->reload.is_forced;
        config_free(config);
        reload_drop(a);
        change_postpone(a);
        return;
    }
    if (config_diff(a->live->config, config, log_change, a) < 0) {
        config_free(config);
        reload_refuse(a, "out of memory");
        return;
    }
    if (revision_new(a, config, ++a->last_revision, a->live, &a->next, why, sizeof(why)) < 0) {
        config_free(config);
        reload_refuse(a, why);
        return;
    }
    close_answer(a);
    ev.set = revision_set(a, a->next);
    engine_post(a, &ev);
}

static void reload_refuse_sink(struct arbiter *a, const struct config *config, const char *reason)
{
    char why[CONFIG_WHY_LEN];

    snprintf(why, sizeof(why), "%s: %s", config_log_path(config), reason);
    config_name_key(config, CONFIG_LOG_FILE, why, sizeof(why));
    reload_refuse(a, why);
}

/* The parser is of no more use: its exit is what the next request waits for. */
static void give_up_reading(struct arbiter *a, const char *why)
{
    if (a->reload.parser)
        kill(a->reload.parser, SIGKILL);
    reload_refuse(a, why);
}

static void on_deadline(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    struct reload *r = container_of(timer, struct reload, deadline);
    struct arbiter *a = container_of(r, struct arbiter, reload);
    char why[128];

    if (!r->config) {
        snprintf(
            why, sizeof(why),
            "reading the configuration took longer than %g s: does its file system or the name "
            "service hang?",
            CONFIG_PARSE_TIMEOUT_MS / 1e3);
        give_up_reading(a, why);
        return;
    }
    reload_refuse_sink(a, r->config, "not opened within 10 s: does its file system hang?");
}

static void start_deadline(struct arbiter *a, unsigned ms)
{
    struct reload *r = &a->reload;

    ev_timer_init(&r->deadline, on_deadline, ms / 1e3, 0.);
    ev_now_update(a->loop);
    ev_timer_start(a->loop, &r->deadline);
}

/* Another log has to be there before anything changes. Its writer opens it, which may take long. */
static void accept_config(struct arbiter *a, struct config *config)
{
    struct reload *r = &a->reload;
    const char *path = config_log_path(config);
    char why[CONFIG_WHY_LEN];

    if (has_lost_all(a, config) || needs_restart(a, config)) {
        config_free(config);
        return;
    }
    if (path && sinks_take(&a->sinks, path, config->is_daemon, &r->sink, why, sizeof(why)) < 0) {
        reload_refuse_sink(a, config, why);
        config_free(config);
        return;
    }
    if (!r->sink || r->sink->is_ready) {
        reload_prepare(a, config);
        return;
    }
    close_answer(a);
    r->config = config;
    start_deadline(a, SINK_OPEN_MS);
}

void reload_on_sink(struct sinks *sinks, struct sink *s)
{
    struct arbiter *a = container_of(sinks, struct arbiter, sinks);
    struct reload *r = &a->reload;
    struct config *config = r->config;

    if (r->sink != s || !config)
        return;
    r->config = NULL;
    if (s->is_ready) {
        reload_prepare(a, config);
    } else {
        reload_refuse_sink(a, config, s->why);
        config_free(config);
    }
}

static void on_whole_answer(struct arbiter *a)
{
    struct reload *r = &a->reload;
    struct config_errors errors = {0};
    struct config *config = NULL;
    json_t *details;
    int rc =
        config_child_result(a->options->schema, r->path, r->data ? r->data : "", r->len, r->status,
                            a->options->overrides, a->options->n_overrides, &config, &errors);

    if (rc == 0) {
        accept_config(a, config);
    } else {
        details = json_array();
        for (size_t i = 0; i < errors.n; i++)
            json_array_append_new(details, command_text(errors.text[i]));
        reload_refuse_with(
            a, "config", rc == -EINVAL ? "the configuration is not valid" : strerror(-rc), details);
    }
    config_errors_fini(&errors);
}

/* How the parser ended says why an answer is missing: both are waited for. */
static void take_answer(struct arbiter *a)
{
    if (a->reload.is_read && !a->reload.parser)
        on_whole_answer(a);
}

static void on_parser_readable(struct ev_loop *loop UNUSED, ev_io *io, int revents UNUSED)
{
    struct reload *r = container_of(io, struct reload, io);
    struct arbiter *a = container_of(r, struct arbiter, reload);
    char *grown;
    ssize_t n;

    grown = r->len < CONFIG_ANSWER_MAX_BYTES ? realloc(r->data, r->len + 65536) : NULL;
    if (!grown) {
        give_up_reading(a, "the parser's answer is too long");
        return;
    }
    r->data = grown;
    n = read(r->fd, r->data + r->len, 65536);
    if (n > 0)
        r->len += (size_t)n;
    else if (n == 0) {
        ev_io_stop(a->loop, &r->io);
        r->is_read = true;
        take_answer(a);
    } else if (errno != EAGAIN && errno != EINTR)
        give_up_reading(a, strerror(errno));
}

static void reload_start(struct arbiter *a)
{
    struct reload *r = &a->reload;
    const char *path = a->live->config->path;
    char error[LIMITS_ERROR_LEN];
    int rc;

    if (!*path) /* it may have been put there since the start */
        path = config_path_default(a->options->program->config);
    r->is_forced = r->is_force_asked;
    r->is_force_asked = false;
    r->changes = json_array();
    answers_turn(&a->answers, ANSWER_NEXT_RELOAD, ANSWER_RELOAD);
    r->started_ms = clock_mono_ms();
    log_info(a->log, "reloading",
             F_STR("file", path ? path : "none: the command line and the defaults"));
    r->path = path;
    rc = config_child_start(a->options->schema, path, a->options->overrides,
                            a->options->n_overrides, &r->parser, &r->fd);
    if (rc < 0) {
        r->parser = 0;
        r->fd = -1;
        reload_refuse(a, limits_error(-rc, error));
        return;
    }
    ev_io_init(&r->io, on_parser_readable, r->fd, EV_READ);
    ev_io_start(a->loop, &r->io);
    start_deadline(a, CONFIG_PARSE_TIMEOUT_MS);
}

void reload_request(struct arbiter *a, bool is_forced)
{
    a->reload.is_force_asked |= is_forced;
    change_request(a, CHANGE_RELOAD);
}

static pid_t reload_child(const struct arbiter *a)
{
    return a->reload.parser;
}

static void reload_on_child_exit(struct arbiter *a, int status)
{
    a->reload.parser = 0;
    a->reload.status = status;
    take_answer(a);
}

/* What the askers hear: the new revision, what changed, and who serves now. */
static json_t *describe_reload(struct arbiter *a, uint64_t took_ms)
{
    json_t *workers = json_array();

    for_each_worker (a, c)
        if (c->revision == a->live->number)
            json_array_append_new(workers, json_pack("{s:s,s:i}", "id", c->id, "pid", (int)c->pid));
    return command_result(json_pack("{s:I,s:O,s:o,s:I}", "revision", (json_int_t)a->live->number,
                                    "changed", a->reload.changes, "workers", workers, "took_ms",
                                    (json_int_t)took_ms));
}

/* The log that they have asked for is the workers' that end, and of no interest any more. */
static void supersede_reopening(struct arbiter *a)
{
    answers_give(&a->answers, ANSWER_LOG,
                 command_error("superseded", "superseded by a reload: the log goes elsewhere now"));
}

static void reload_on_commit(struct arbiter *a)
{
    const struct sink *old_sink = a->live->sink;
    uint64_t took_ms = clock_mono_ms() - a->reload.started_ms;
    json_t *body;

    revision_commit(a);
    if (a->live->sink != old_sink)
        supersede_reopening(a);
    a->reloads++;
    log_info(a->log, "reloaded", F_UINT("revision", a->live->number),
             F_UINT("workers", a->live->workers), F_STR("workers_why", a->live->workers_why),
             F_UINT("took_ms", took_ms));
    body = describe_reload(a, took_ms);
    history_note_answer(a->history, "reload", took_ms, body);
    answers_give(&a->answers, ANSWER_RELOAD, body);
    reload_end(a);
}

static void reload_on_rollback(struct arbiter *a, enum tr_failure failure, const char *why)
{
    revision_roll_back(a);
    if (failure == TR_FAILURE_STOPPED) {
        log_info(a->log, "reload given up: stopping");
        reload_end(a);
        return;
    }
    reload_refuse(a, why);
}

static void reload_cancel(struct arbiter *a)
{
    if (a->reload.parser)
        kill(a->reload.parser, SIGKILL);
    reload_forget(a);
}

const struct change_ops reload_ops = {
    .obstacle = "a reload is under way",
    .child = reload_child,
    .on_child_exit = reload_on_child_exit,
    .start = reload_start,
    .on_commit = reload_on_commit,
    .on_rollback = reload_on_rollback,
    .cancel = reload_cancel,
};

void reload_fini(struct arbiter *a)
{
    reload_cancel(a);
    if (a->reload.parser)
        reap_killed(a->reload.parser, NULL);
    json_decref(a->reload.changes);
    a->reload.changes = NULL;
}
