/*
 * The arbiter's beginning and end: what it makes before it serves, in an order in which each
 * failure has a name and leaves nothing behind, and what it undoes.
 */
#include "arbiter/arbiter_impl.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <paths.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>

#include "arbiter/commands.h"
#include "base/clock.h"
#include "base/fds.h"
#include "base/holder.h"
#include "base/limits.h"
#include "base/reap.h"
#include "base/signals.h"
#include "base/util.h"
#include "conf/trial.h"

/* Descriptors of the arbiter: its own with those of a reload or upgrade under way, and for each
 * worker a mailbox, the table that it shares with its keeper, and the same of its heir; for another
 * actor two mailboxes. */
enum { FDS_OF_ARBITER = 24, FDS_PER_WORKER = 4, FDS_PER_ACTOR = 2 };

static int check_descriptors(const struct config *c, const struct tr_set *set, char *why,
                             size_t why_size)
{
    /* As many as this user may have: each connection is one. */
    const uint64_t limit = limits_raise(RLIMIT_NOFILE, UINT64_MAX);
    const unsigned workers = set->workers;
    const size_t needed = FDS_OF_ARBITER + c->n_bind + (*c->status_bind != '\0') +
                          FDS_PER_WORKER * (size_t)workers +
                          FDS_PER_ACTOR * (size_t)(transition_size(set) - workers);
    const size_t there = fds_count_free(limit, needed);

    if (there >= needed)
        return 0;
    snprintf(why, why_size,
             "RLIMIT_NOFILE is %" PRIu64
             ", which leaves %zu descriptors, needed: %zu (workers: %u, "
             "addresses: %zu): raise it, or give arbiter.workers a lower number",
             limit, there, needed, workers, c->n_bind);
    return -EMFILE;
}

/* A worker that cannot open it would only say that it cannot begin, again and again. */
static int check_null_device(char *why, size_t why_size)
{
    int fd = open(_PATH_DEVNULL, O_RDWR | O_CLOEXEC);
    const int error = fd < 0 ? errno : 0;

    fds_close(&fd);
    if (error == 0)
        return 0;
    snprintf(why, why_size,
             "%s: open: %s: every process needs it: make it with mknod -m 666 %s c 1 3",
             _PATH_DEVNULL, strerror(error), _PATH_DEVNULL);
    return -EIO;
}

/* Those of the framework's own kinds that there are. */
static unsigned builtin_kinds(const struct arbiter_options *options)
{
    return (options->keeper ? KINDS_KEEPERS : 0) | (options->status ? KINDS_ONE_STATUS : 0);
}

/* What a process cannot do without, and would miss at a place where it can only abort or try again.
 */
static int check_environment(const struct config *c, const struct arbiter_options *options,
                             char *why, size_t why_size)
{
    struct tr_set set = {.workers = config_effective_workers(c)};
    struct kinds kinds;
    int rc;

    kinds_init(&kinds, options->program, builtin_kinds(options));
    kinds_want(&kinds, &set, revision_kinds(c));
    rc = check_descriptors(c, &set, why, why_size);
    if (rc == 0)
        rc = check_null_device(why, why_size);
    limits_raise(RLIMIT_FSIZE, UINT64_MAX);
    return rc;
}

static void explain_scoreboard(int rc, char *why, size_t why_size)
{
    const char *hint = rc == -EPERM || rc == -ENOSYS
                           ? ": is memfd_create forbidden here, as by a seccomp profile?"
                       : rc == -ENOENT ? ": is /proc mounted?"
                                       : "";
    char limit[64];

    if (rc == -EFBIG) {
        snprintf(limit, sizeof(limit), ": RLIMIT_FSIZE is %" PRIu64 " bytes: raise it",
                 limits_raise(RLIMIT_FSIZE, 0));
        hint = limit;
    }
    snprintf(why, why_size, "scoreboard: %zu bytes of shared memory: %s%s",
             scoreboard_bytes(TR_RECORDS_MAX), strerror(-rc), hint);
}

static int exit_code_of(int rc)
{
    switch (-rc) {
    case EADDRINUSE:
    case EADDRNOTAVAIL:
        return EX_UNAVAILABLE;
    case EACCES:
    case EPERM:
        return EX_NOPERM;
    case ESRCH: /* no such user or group */
        return EX_CONFIG;
    case EBUSY:
        return EX_TEMPFAIL;
    case EPROTOTYPE: /* what a service manager has passed */
        return EX_CONFIG;
    case EEXIST:
    case ENOENT:
    case ENOTDIR:
    case EROFS:
    case ENOSPC:
    case ENXIO:
    case ETIMEDOUT:
    case ELOOP:
    case EISDIR:
        return EX_CANTCREAT;
    default:
        return EX_OSERR;
    }
}

static int refuse_start(struct arbiter *a, int rc, const char *why)
{
    log_error(a->log, "cannot start", F_STR("reason", why));
    notify_refused(a, why);
    return exit_code_of(rc);
}

static const struct change_ops *const changes[CHANGE_KINDS] = {
    [CHANGE_RELOAD] = &reload_ops,
    [CHANGE_UPGRADE] = &upgrade_ops,
};

static const struct children_ops children_ops = {
    .in_child = arbiter_detach_signals,
    .on_message = commands_from_worker,
    .on_data = sequencer_on_data,
    .on_closed = sequencer_leave,
    .on_exit = arbiter_on_exit,
    .on_other_exit = arbiter_on_other_exit,
};

static const struct sinks_ops sinks_ops = {
    .on_opened = reload_on_sink,
    .on_reopened = arbiter_on_reopened,
};

int arbiter_init(struct arbiter *a, struct log *log, const struct arbiter_options *options)
{
    char why[CONFIG_WHY_LEN];
    int rc;

    *a = (struct arbiter){
        .options = options,
        .children_ops = &children_ops,
        .change = {.kinds = changes},
        .log = log,
        .started_ms = clock_mono_ms(),
        .state = ACTOR_INACTIVE,
        .pidfile = {.fd = -1},
        .reload = {.fd = -1},
        .control = {.on_request = commands_dispatch},
        .scoreboard = {.fd = -1},
        .sources = {.fd = -1, .read_fd = -1},
        .sinks = {.log = &a->log, .lost = &a->totals.log_dropped, .ops = &sinks_ops},
    };
    list_init(&a->sinks.list);
    kinds_init(&a->kinds, options->program, builtin_kinds(options));
    oom_init(&a->oom);
    rc = own_init(&a->own, options->program, why, sizeof(why));
    if (rc == -EINVAL)
        log_error(log, "the program's tables are not as they must be", F_STR("reason", why));
    if (rc < 0)
        return rc;
    errno = ENOMEM;
    a->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (!a->loop)
        return -errno;
    answers_init(&a->answers, a->loop);
    a->sinks.loop = a->loop;
    a->engine = calloc(1, sizeof(*a->engine));
    a->children = calloc(TR_RECORDS_MAX, sizeof(*a->children));
    a->notes = json_object();
    a->history = json_array();
    a->own_kept = json_object();
    a->old_pairs = calloc(TR_SLOTS_MAX + 1, sizeof(*a->old_pairs));
    a->crashes = calloc(1, sizeof(*a->crashes));
    if (upgrade_init(a, options->image->path) < 0 || !a->engine || !a->children || !a->notes ||
        !a->history || !a->own_kept || !a->old_pairs || !a->crashes)
        return -ENOMEM;
    ev_set_userdata(a->loop, a);
    a->process = (struct actor_process){
        .id = "arbiter",
        .loop = a->loop,
        .log = &a->log,
        .spawns = &a->spawns,
    };
    spawns_init(&a->spawns, a->loop, options->program, commands_ask_for_actor);
    actor_init(&a->hold, &a->process, "arbiter");
    own_calls_init(&a->own_calls, arbiter_on_own_answer);
    sequencer_init(a);
    return 0;
}

/* The one time that somebody waits for a log: before it serves, a start can fail with a reason. */
static int open_sink(struct arbiter *a, const struct config *config, struct sink **ret, char *why,
                     size_t size)
{
    const char *path = config_log_path(config);
    int rc = path ? sinks_take(&a->sinks, path, config->is_daemon, ret, why, size) : 0;

    if (rc == 0 && *ret)
        rc = sinks_wait(*ret);
    if (rc < 0) {
        if (*ret)
            snprintf(why, size, "%s: %s", (*ret)->path, (*ret)->why);
        config_name_key(config, CONFIG_LOG_FILE, why, size);
    }
    return rc;
}

int arbiter_init_program(struct arbiter *a, char *why, size_t why_size)
{
    const struct arb_program *program = a->options->program;
    int rc = 0;

    if (program && program->init)
        rc = program->init(&a->hold, (const void *const *)a->live->config->own, &a->hold.data);
    if (rc < 0)
        snprintf(why, why_size, "%s cannot begin in the arbiter: %s", program->name, strerror(-rc));
    return rc;
}

static void say_ignored(const struct arbiter *a, struct log *log)
{
    if (*a->activation.ignored)
        log_warning(log, "LISTEN_FDS: the listeners that were passed are not taken",
                    F_STR("reason", a->activation.ignored));
}

/* Returns 0 or the exit code; what was made so far is undone by fini. */
static int prepare(struct arbiter *a, struct config *config)
{
    struct sink *sink = NULL;
    struct tr_set first;
    char why[CONFIG_WHY_LEN];
    int rc;

    rc = trial_run(config, a->options->program->name, &a->privileges, why);
    if (rc == 0)
        rc = activation_take(&a->activation, config->is_daemon, why, sizeof(why));
    if (rc < 0) {
        config_free(config);
        return refuse_start(a, rc, why);
    }
    strays_mark(config_server(config));
    /* First the pid file: it tells "already running" from "the address is taken". */
    rc = pidfile_open(&a->pidfile, config->pid_file, why, sizeof(why));
    if (rc == 0)
        rc = open_sink(a, config, &sink, why, sizeof(why));
    if (rc == 0)
        rc = revision_new(a, config, ++a->last_revision, NULL, &a->live, why, sizeof(why));
    sinks_release(sink);
    say_ignored(a, rc == 0 ? &a->live->log : a->log);
    if (rc < 0) {
        config_free(config);
        return refuse_start(a, rc, why);
    }
    a->log = &a->live->log;
    a->log->dropped = &a->totals.log_dropped;
    rc = scoreboard_open(&a->scoreboard, TR_RECORDS_MAX);
    if (rc < 0) {
        explain_scoreboard(rc, why, sizeof(why));
        return refuse_start(a, rc == -ENOENT ? -ENOSYS : rc, why); /* no file of the operator's */
    }
    rc = control_open(a, config->control, why, sizeof(why));
    if (rc < 0)
        return refuse_start(a, rc, why);
    rc = arbiter_attach(a);
    if (rc < 0)
        return refuse_start(a, rc, "out of memory");
    trial_log(&a->privileges, a->log);
    arbiter_set_state(a, ACTOR_STARTING);
    first = revision_set(a, a->live);
    transition_init(a->engine, &first, TR_RECORDS_MAX, (uint32_t)clock_mono_ns());
    rc = arbiter_init_program(a, why, sizeof(why));
    return rc < 0 ? refuse_start(a, rc, why) : 0;
}

/* What has ended is reaped. The guard of an exec may be about to end; nobody else is waited for. */
static void reap_rest(const struct arbiter *a, uint64_t deadline_ms)
{
    int status = -1;

    if (a->upgrade.has_guard)
        reap_by(-1, deadline_ms, NULL);
    while (reap_by(-1, 0, &status) && status != -1)
        status = -1;
}

_Static_assert(TR_KILL_GRACE_MS + SINKS_END_MIN_MS < STOP_END_MS, "a stop ends in time");

/* The log has what is left of the time for a stop, and a little if processes took all of it. */
static uint64_t fini_deadline(const struct arbiter *a)
{
    const uint64_t now_ms = clock_mono_ms();
    const uint64_t latest_ms = now_ms + STOP_END_MS;

    return a->end_ms ? MAX(MIN(a->end_ms, latest_ms), now_ms + SINKS_END_MIN_MS) : latest_ms;
}

void arbiter_fini(struct arbiter *a)
{
    const uint64_t deadline_ms = fini_deadline(a);

    if (a->loop) {
        reload_fini(a);
        upgrade_fini(a);
        answers_fini(&a->answers);
        control_close(a);
        move_fini(a);
        spawns_fini(&a->spawns);
        actor_fini(&a->hold);
        own_calls_fini(&a->own_calls);
        sequencer_fini(a);
        arbiter_detach_signals(a);
    }
    revision_free(a->next);
    pidfile_remove(&a->pidfile);
    notify_close(a);
    activation_fini(&a->activation);
    scoreboard_close(&a->scoreboard);
    sources_close(&a->sources);
    free(a->signals);
    for (uint32_t i = 0; i < a->n_children_used; i++)
        json_decref(a->children[i].own_kept);
    free(a->children);
    free(a->crashes);
    keepers_fini(a);
    json_decref(a->notes);
    json_decref(a->history);
    json_decref(a->own_kept);
    free(a->engine);
    revision_free(a->live);
    sinks_fini(&a->sinks, deadline_ms);
    own_fini(&a->own);
    sandbox_fini(&a->sandbox);
    if (a->loop)
        ev_loop_destroy(a->loop);
    reap_rest(a, deadline_ms);
}

int arbiter_serve(struct arbiter *a)
{
    signals_unblock_all();
    settle_soon(a);
    do
        ev_run(a->loop, 0);
    while (upgrade_step(a));
    log_flush_causes(a->log, UINT64_MAX);
    stats_log_own(a);
    log_info(a->log, "stopped", F_UINT("uptime_ms", clock_mono_ms() - a->started_ms),
             F_UINT("accepted", counter_get(&a->totals.accepted)),
             F_UINT("requests", counter_get(&a->totals.requests)), F_INT("exit", a->exit_code));
    return a->exit_code;
}

int arbiter_try_start(const struct config *config, const struct arbiter_options *options, char *why)
{
    struct privileges p;
    const int rc = trial_run(config, options->program->name, &p, why);

    return rc < 0 ? exit_code_of(rc) : 0;
}

int arbiter_run(struct config *config, struct log *log, const struct arbiter_options *options)
{
    struct arbiter a = {.log = log};
    char why[CONFIG_WHY_LEN];
    int rc = check_environment(config, options, why, sizeof(why));

    if (rc < 0) {
        config_free(config);
        return refuse_start(&a, rc, why);
    }
    rc = arbiter_init(&a, log, options);
    if (rc < 0) {
        config_free(config);
        snprintf(why, sizeof(why), "arbiter: %s", strerror(-rc));
        rc = refuse_start(&a, rc, why);
    } else {
        notify_open(&a, NOTIFY_NOTHING, config->is_daemon);
        rc = prepare(&a, config);
        if (rc == 0)
            rc = arbiter_serve(&a);
    }
    arbiter_fini(&a);
    return rc;
}
