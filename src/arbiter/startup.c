/*
 * The arbiter's beginning and end: what it makes before it serves, in an order in which each
 * failure has a name and leaves nothing behind, and what it undoes.
 */
#include "arbiter/internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sysexits.h>

#include "base/clock.h"
#include "base/signals.h"
#include "base/util.h"

/* As many descriptors as this user may have: each connection is one. */
static void raise_descriptor_limit(void)
{
    struct rlimit rl;

    if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
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
    case EBUSY:
        return EX_TEMPFAIL;
    case EEXIST:
    case ENOENT:
    case ENOTDIR:
    case EROFS:
    case ENOSPC:
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
    return exit_code_of(rc);
}

int arbiter_init(struct arbiter *a, struct log *log, const struct arbiter_options *options)
{
    *a = (struct arbiter){
        .options = options,
        .log = log,
        .started_ms = clock_mono_ms(),
        .state = ACTOR_INACTIVE,
        .pidfile = {.fd = -1},
        .reload = {.fd = -1},
        .scoreboard = {.fd = -1},
    };
    list_init(&a->answers);
    a->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    a->engine = calloc(1, sizeof(*a->engine));
    a->children = calloc(TR_RECORDS_MAX, sizeof(*a->children));
    a->requests = calloc(REQUESTS_MAX, sizeof(*a->requests));
    a->notes = json_object();
    a->rescue = calloc(TR_SLOTS_MAX + 1, sizeof(*a->rescue));
    a->crashes = calloc(1, sizeof(*a->crashes));
    if (upgrade_init(a, options->image->path) < 0 || !a->loop || !a->engine || !a->children ||
        !a->requests || !a->notes || !a->rescue || !a->crashes)
        return -ENOMEM;
    ev_set_userdata(a->loop, a);
    return 0;
}

/* Returns 0 or the exit code; what was made so far is undone by fini. */
static int prepare(struct arbiter *a, struct config *config)
{
    struct tr_set first;
    char why[CONFIG_WHY_LEN];
    int rc;

    raise_descriptor_limit();
    /* First the pid file: it tells "already running" from "the address is taken". */
    rc = pidfile_open(&a->pidfile, config->pid_file, why, sizeof(why));
    if (rc == 0)
        rc = generation_new(config, ++a->last_epoch, NULL, &a->live, why, sizeof(why));
    if (rc < 0) {
        config_free(config);
        return refuse_start(a, rc, why);
    }
    a->log = &a->live->log;
    a->log->dropped = &a->totals.log_dropped;
    rc = scoreboard_open(&a->scoreboard, TR_RECORDS_MAX);
    if (rc < 0)
        return refuse_start(a, rc, "scoreboard");
    rc = control_open(a, config->control, why, sizeof(why));
    if (rc < 0)
        return refuse_start(a, rc, why);
    rc = arbiter_attach(a);
    if (rc < 0)
        return refuse_start(a, rc, "out of memory");
    arbiter_set_state(a, ACTOR_STARTING);
    first = (struct tr_set){
        .epoch = a->live->epoch,
        .workers = a->live->workers,
        .boot_timeout_ms = config->boot_timeout_ms,
        .exit_timeout_ms = config->exit_timeout_ms,
    };
    transition_init(a->engine, &first, TR_RECORDS_MAX, (uint32_t)clock_mono_ns());
    return 0;
}

void arbiter_fini(struct arbiter *a)
{
    if (a->loop) {
        reload_fini(a);
        upgrade_fini(a);
        answers_fini(a);
        control_close(a);
        handover_fini(a);
        arbiter_detach_signals(a);
        ev_loop_destroy(a->loop);
    }
    generation_free(a->next);
    pidfile_remove(&a->pidfile);
    scoreboard_close(&a->scoreboard);
    free(a->signals);
    free(a->children);
    free(a->requests);
    free(a->crashes);
    rescue_fini(a);
    json_decref(a->notes);
    free(a->engine);
    generation_free(a->live);
}

int arbiter_serve(struct arbiter *a)
{
    signals_unblock_all();
    arbiter_pump(a);
    do
        ev_run(a->loop, 0);
    while (upgrade_step(a));
    log_info(a->log, "stopped", F_UINT("uptime_ms", clock_mono_ms() - a->started_ms),
             F_UINT("accepted", counter_get(&a->totals.accepted)),
             F_UINT("requests", counter_get(&a->totals.requests)), F_INT("exit", a->exit_code));
    return a->exit_code;
}

int arbiter_run(struct config *config, struct log *log, const struct arbiter_options *options)
{
    struct arbiter a;
    int rc = arbiter_init(&a, log, options);

    if (rc < 0) {
        config_free(config);
        rc = refuse_start(&a, rc, "out of memory");
    } else {
        rc = prepare(&a, config);
        if (rc == 0)
            rc = arbiter_serve(&a);
    }
    arbiter_fini(&a);
    return rc;
}
