/*
 * The process of a keeper: the arbiter introduces wards to it, and hears what has become of those
 * that died.
 */
#include "keeper/keeper.h"

#include <ev.h>
#include <signal.h>
#include <sysexits.h>
#include <unistd.h>

#include "actor/fatal.h"
#include "actor/process.h"
#include "actor/process_command.h"
#include "actor/scoreboard.h"
#include "base/log.h"
#include "base/util.h"
#include "conf/config.h"
#include "keeper/wards.h"

struct keeper {
    struct process process;
    struct wards wards;
    bool is_ending; /* with the last ward, when nothing is pending */
    bool is_alone; /* the arbiter is gone: nobody will bring an heir */
};

/* There is one in a process. */
static struct keeper this_keeper;

static struct keeper *keeper_of(struct process *p)
{
    return container_of(p, struct keeper, process);
}

/* ---- its end ---- */

static bool has_ended(const struct keeper *k)
{
    return k->is_ending && (k->is_alone ? k->wards.n_wards == 0 : wards_is_idle(&k->wards));
}

static void end_if_done(struct keeper *k)
{
    if (has_ended(k))
        ev_break(k->process.loop, EVBREAK_ALL);
}

static void begin_end(struct keeper *k)
{
    if (k->process.state == ACTOR_STARTING || k->process.state == ACTOR_RUN)
        process_set_state(&k->process, ACTOR_STOPPING);
    k->is_ending = true;
    end_if_done(k);
}

/* Workers end, too, and until they have, their connections are safer with a keeper. */
static void on_orphaned(struct process *p)
{
    struct keeper *k = keeper_of(p);

    if (k->is_alone)
        return;
    log_warning(p->boot->log, "the arbiter is gone: ending with the last ward");
    k->is_alone = true;
    begin_end(k);
}

static void on_unwanted(struct process *p)
{
    begin_end(keeper_of(p));
}

/* ---- what has become of wards ---- */

/* An arbiter of an earlier image knows nothing of `moving`, which is rare. */
static void tell_death(struct wards *w, const char *what, const struct ward_death *d, json_t *args)
{
    if (d->moving > 0)
        message_set_uint(args, "moving", d->moving);
    process_tell(&container_of(w, struct keeper, wards)->process, what, 0, args);
}

static void on_left(struct wards *w, const struct ward_death *d)
{
    tell_death(w, "left", d,
               json_pack("{s:s,s:I,s:I}", "of", d->of, "kept", (json_int_t)d->kept, "closed",
                         (json_int_t)d->closed));
}

static void on_passed(struct wards *w, const struct ward_death *d)
{
    tell_death(w, "passed", d,
               json_pack("{s:s,s:I,s:I,s:I}", "of", d->of, "kept", (json_int_t)d->kept, "passed",
                         (json_int_t)d->passed, "closed", (json_int_t)d->closed));
}

static void on_change(struct wards *w)
{
    struct keeper *k = container_of(w, struct keeper, wards);

    counter_set(&k->process.record->kept, w->n_held);
    counter_set(&k->process.record->kept_bytes, w->n_bytes);
    end_if_done(k);
}

static const struct wards_ops keeper_wards_ops = {
    .on_left = on_left, .on_passed = on_passed, .on_change = on_change};

/* ---- commands ---- */

static json_t *do_info(struct process *p, const struct process_request *r UNUSED)
{
    const struct wards *w = &keeper_of(p)->wards;
    json_t *o = process_info(p);

    json_object_del(o, "own"); /* of workers */
    message_set_uint(o, "wards", w->n_wards);
    message_set_uint(o, "kept", w->n_held);
    message_set_uint(o, "pending", w->pending.count);
    message_set_uint(o, "kept_bytes", w->n_bytes);
    return o;
}

static json_t *do_run(struct process *p, const struct process_request *r UNUSED)
{
    if (p->state == ACTOR_STARTING)
        process_set_state(p, ACTOR_RUN);
    return NULL;
}

static json_t *do_stop(struct process *p, const struct process_request *r)
{
    const json_t *graceful = json_object_get(r->args, "graceful");

    begin_end(keeper_of(p));
    if (graceful && !json_is_true(graceful))
        ev_break(p->loop, EVBREAK_ALL);
    return NULL;
}

static json_t *do_ward(struct process *p, const struct process_request *r)
{
    const char *id = json_string_value(json_object_get(r->args, "id"));
    int rc;

    if (r->n_fds != 2 || r->fds[0] < 0 || r->fds[1] < 0)
        return NULL;
    rc = wards_add(&keeper_of(p)->wards, id, r->fds[0], r->fds[1]);
    r->fds[0] = -1;
    if (rc < 0)
        log_warning_limited(p->boot->log, "a worker cannot be kept", F_STR("worker", id),
                            F_ERR(rc));
    return NULL;
}

/* clang-format off */
static const struct process_command keeper_table[] = {
    PROCESS_PING,
    PROCESS_ECHO,
    {{"info", PROCESS_BY_BOTH | COMMAND_ASKS, NULL, "Identity, state, wards and what is kept"}, do_info, NULL},
    {{"stop", PROCESS_BY_BOTH,
      COMMAND_ARGS({"graceful", COMMAND_BOOL, false, 0, 0, "false: at once (default true)"}),
      "End with the last ward, or at once"}, do_stop, NULL},
    PROCESS_LOG_LEVEL,
    {{"run", COMMAND_BY_ARBITER, NULL, "All of the set are ready"}, do_run, NULL},
    {{"ward", COMMAND_BY_ARBITER,
      COMMAND_ARGS({"id", COMMAND_STRING, true, 1, WARDS_ID_LEN - 1, "the worker"},
                   {"proc", COMMAND_UINT, true, 0, UINT32_MAX, "its process"}),
      "Keep what the worker registers: its end of a pair and its table"}, do_ward, NULL},
};
/* clang-format on */

static const struct command_set keeper_commands = COMMAND_SET(keeper_table);

static void on_message(struct process *p, struct message *m, int *fds, size_t n_fds)
{
    process_command(p, &keeper_commands, m, fds, n_fds);
}

static void on_second(struct process *p)
{
    wards_pulse(&keeper_of(p)->wards);
}

static const struct process_ops keeper_ops = {
    .on_message = on_message,
    .on_orphaned = on_orphaned,
    .on_unwanted = on_unwanted,
    .on_second = on_second,
};

/* ---- the process ---- */

static int keeper_main(const struct actor_boot *boot)
{
    struct keeper *k = &this_keeper;
    int rc;

    process_begin(&k->process, boot, &keeper_ops);
    rc = fatal_install(boot, NULL);
    if (rc == 0)
        rc = process_prepare(&k->process);
    if (rc < 0) {
        log_error(boot->log, "keeper cannot begin", F_ERR(rc));
        return EX_OSERR;
    }
    wards_init(&k->wards, k->process.loop, boot->log, &keeper_wards_ops);
    if (process_confine(&k->process, SANDBOX_KEEPER) < 0)
        return EX_OSERR;
    process_ready(&k->process);
    ev_run(k->process.loop, 0);
    wards_fini(&k->wards);
    process_set_state(&k->process, ACTOR_CLOSE);
    process_fini(&k->process);
    return EX_OK;
}

const struct actor_kind keeper_actor = {"keeper", keeper_main, &keeper_commands};
