/*
 * The process of the status actor: it asks the arbiter by message, and answers over HTTP.
 */
#include "status/status.h"

#include <errno.h>
#include <ev.h>
#include <sysexits.h>
#include <unistd.h>

#include "actor/fatal.h"
#include "actor/process.h"
#include "actor/process_command.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/util.h"
#include "net/listener.h"
#include "status/status_http.h"

enum {
    DRAIN_MS = 1000, /* for the answers under way, when another process takes over or all stop */
    STATUS_NICE = 5,
};

struct status {
    struct process process;
    struct status_http http;
    struct status_snapshot snapshot;
    ev_timer drain;
    ev_timer later; /* runs while the arbiter is to be asked, but not yet */
    bool is_ending;
};

/* A process has one status actor. */
static struct status this_status;

static struct status *status_of(struct process *p)
{
    return container_of(p, struct status, process);
}

/* ---- its end ---- */

static void status_on_drain_over(struct ev_loop *loop, ev_timer *timer UNUSED, int revents UNUSED)
{
    ev_break(loop, EVBREAK_ALL);
}

static void status_begin_end(struct status *s)
{
    struct process *p = &s->process;

    if (s->is_ending)
        return;
    s->is_ending = true;
    if (p->state == ACTOR_STARTING || p->state == ACTOR_RUN)
        process_set_state(p, ACTOR_STOPPING);
    ev_now_update(p->loop);
    ev_timer_start(p->loop, &s->drain);
    status_http_drain(&s->http);
}

static void status_on_orphaned(struct process *p)
{
    struct status *s = status_of(p);

    if (!s->is_ending)
        log_warning(p->boot->log, "the arbiter is gone: ending");
    status_begin_end(s);
    ev_break(p->loop, EVBREAK_ALL); /* there is nothing to show any more */
}

static void status_on_unwanted(struct process *p)
{
    status_begin_end(status_of(p));
}

/* ---- the snapshot of the arbiter ---- */

/* Asks now, or sets the timer for when the arbiter may be asked again. */
static void ask_arbiter(struct status *s)
{
    const uint64_t now_ms = clock_mono_ms();
    const uint64_t wait_ms = status_snapshot_wait_ms(&s->snapshot, now_ms);

    ev_timer_stop(s->process.loop, &s->later);
    if (wait_ms == 0 && process_tell(&s->process, "snapshot", 0, NULL) == 0) {
        status_snapshot_asked(&s->snapshot, now_ms);
        return;
    }
    ev_timer_set(&s->later, (double)MAX(wait_ms, (uint64_t)STATUS_FRESH_MS / 10) / 1e3, 0.);
    ev_now_update(s->process.loop);
    ev_timer_start(s->process.loop, &s->later);
}

static void on_later(struct ev_loop *loop UNUSED, ev_timer *timer, int revents UNUSED)
{
    ask_arbiter(container_of(timer, struct status, later));
}

static void on_wanted(struct status_http *h)
{
    ask_arbiter(container_of(h, struct status, http));
}

static void on_drained(struct status_http *h)
{
    ev_break(h->loop, EVBREAK_ALL);
}

static const struct status_http_ops http_ops = {.on_wanted = on_wanted, .on_drained = on_drained};

static json_t *do_snapshot(struct process *p, const struct process_request *r)
{
    struct status *s = status_of(p);
    int rc;

    if (r->n_fds != 1 || r->fds[0] < 0)
        return NULL;
    rc = status_snapshot_take(&s->snapshot, r->fds[0],
                              (uint64_t)json_integer_value(json_object_get(r->args, "taken_ns")));
    if (rc < 0) {
        log_warning_limited(p->boot->log, "what the arbiter says of itself cannot be read",
                            F_ERR(rc));
        return NULL;
    }
    ev_timer_stop(p->loop, &s->later);
    status_http_tell(&s->http);
    return NULL;
}

/* ---- commands ---- */

static json_t *status_do_info(struct process *p, const struct process_request *r UNUSED)
{
    const struct status *s = status_of(p);
    json_t *o = process_info(p);

    json_object_del(o, "own"); /* the program's counters: a status actor counts none */
    json_object_set_new(o, "address", json_string(p->boot->listeners[0]->bound));
    message_set_uint(o, "connections", s->http.n_clients);
    message_set_uint(o, "answered", s->http.n_answered);
    message_set_uint(o, "unanswered", s->http.n_unanswered);
    return o;
}

static json_t *status_do_run(struct process *p, const struct process_request *r UNUSED)
{
    if (p->state == ACTOR_STARTING)
        process_set_state(p, ACTOR_RUN);
    return NULL;
}

static json_t *status_do_stop(struct process *p, const struct process_request *r)
{
    const json_t *graceful = json_object_get(r->args, "graceful");

    status_begin_end(status_of(p));
    if (graceful && !json_is_true(graceful))
        ev_break(p->loop, EVBREAK_ALL);
    return NULL;
}

/* clang-format off */
static const struct process_command status_table[] = {
    PROCESS_PING,
    PROCESS_ECHO,
    {{"info", PROCESS_BY_BOTH | COMMAND_ASKS, NULL, "Identity, state, address and clients"}, status_do_info, NULL},
    {{"stop", PROCESS_BY_BOTH,
      COMMAND_ARGS({"graceful", COMMAND_BOOL, false, 0, 0, "false: at once (default true)"},
                   {"to", COMMAND_NAMES, false, 0, 0, "nobody: its clients stay"}),
      "End when the clients have their answers, or at once"}, status_do_stop, NULL},
    PROCESS_LOG_LEVEL,
    {{"run", COMMAND_BY_ARBITER, NULL, "All of the set are ready"}, status_do_run, NULL},
    {{"snapshot", COMMAND_BY_ARBITER,
      COMMAND_ARGS({"taken_ns", COMMAND_UINT, true, 1, INT64_MAX, "when, by the monotonic clock"}),
      "What info answers, in memory that comes along"}, do_snapshot, NULL},
};
/* clang-format on */

static const struct command_set status_commands = COMMAND_SET(status_table);

static void status_on_message(struct process *p, struct message *m, int *fds, size_t n_fds)
{
    process_command(p, &status_commands, m, fds, n_fds);
}

static const struct process_ops status_ops = {
    .on_message = status_on_message,
    .on_orphaned = status_on_orphaned,
    .on_unwanted = status_on_unwanted,
};

/* ---- the process ---- */

/* Returns 0 or -errno, which is logged. */
static int status_prepare(struct status *s, const struct actor_boot *boot)
{
    char why[HTTP_LIBRARY_WHY_LEN];
    int rc = fatal_install(boot, NULL);

    /* Those who watch the server shall not slow down its clients. The kernel may refuse. */
    (void)!nice(STATUS_NICE);
    if (rc == 0)
        rc = process_prepare(&s->process);
    ev_timer_init(&s->drain, status_on_drain_over, DRAIN_MS / 1e3, 0.);
    ev_timer_init(&s->later, on_later, 0., 0.);
    if (rc == 0 && http_library_load(&s->http.library, why) < 0) {
        log_error(boot->log, "status.bind", F_STR("reason", why));
        return -ENOENT;
    }
    if (rc == 0)
        rc = status_http_start(&s->http, s->process.loop, boot->log, boot->listeners[0]->fd,
                               &s->snapshot, &http_ops);
    if (rc < 0)
        log_error(boot->log, "status actor cannot begin", F_ERR(rc));
    return rc < 0 ? rc : process_confine(&s->process, SANDBOX_STATUS);
}

static int status_main(const struct actor_boot *boot)
{
    struct status *s = &this_status;

    process_begin(&s->process, boot, &status_ops);
    if (status_prepare(s, boot) < 0)
        return EX_OSERR;
    process_ready(&s->process);
    ev_run(s->process.loop, 0);
    status_http_stop(&s->http);
    status_snapshot_fini(&s->snapshot);
    process_set_state(&s->process, ACTOR_CLOSE);
    process_fini(&s->process);
    return EX_OK;
}

const struct actor_kind status_actor = {"status", status_main, &status_commands};
