/*
 * The arbiter's commands. An operator's request is checked by the table, then handled here or
 * forwarded to workers; what takes time is answered when it is done.
 */
#include "arbiter/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "actor/command.h"
#include "arbiter/arbiter_impl.h"
#include "base/clock.h"
#include "base/util.h"
#include "conf/config.h"
#include "wire/message.h"

typedef void arbiter_handler(struct arbiter *a, struct answer *w, json_t *args);

static void do_ping(struct arbiter *a UNUSED, struct answer *w, json_t *args UNUSED)
{
    answer_ok(w, json_string("pong"));
}

static void do_echo(struct arbiter *a UNUSED, struct answer *w, json_t *args)
{
    answer_ok(w, json_incref(json_object_get(args, "message")));
}

static void do_info(struct arbiter *a, struct answer *w, json_t *args UNUSED)
{
    answer_ok(w, stats_info(a));
}

static void do_ready(struct arbiter *a, struct answer *w, json_t *args UNUSED)
{
    answer_ok(w, stats_ready(a));
}

static void do_config(struct arbiter *a, struct answer *w, json_t *args)
{
    const char *key = json_string_value(json_object_get(args, "key"));
    char why[CONFIG_WHY_LEN];

    if (!key || config_find(a->live->config->schema, key) >= 0) {
        answer_ok(w, stats_config(a, key));
        return;
    }
    config_name_explain(a->live->config->schema, key, why, sizeof(why));
    answer_error(w, "bad_argument", why);
}

static void do_actors(struct arbiter *a, struct answer *w, json_t *args UNUSED)
{
    answer_ok(w, stats_actors(a));
}

static void do_crashes(struct arbiter *a, struct answer *w, json_t *args)
{
    json_t *show = json_object_get(args, "show");
    json_t *found = show ? crashes_show(a->crashes, (uint64_t)json_integer_value(show))
                         : crashes_list(a->crashes);

    char why[ARBITER_WHY_LEN];

    if (found) {
        answer_ok(w, found);
        return;
    }
    snprintf(why, sizeof(why),
             "there is no crash %" JSON_INTEGER_FORMAT ", allowed: the numbers that crashes lists",
             json_integer_value(show));
    answer_error(w, "bad_argument", why);
}

static void do_commands(struct arbiter *a, struct answer *w, json_t *args UNUSED)
{
    json_t *list =
        command_list(&arbiter_commands, a->options->worker->commands, COMMAND_BY_OPERATOR);

    if (list)
        own_list_commands(&a->own, list);
    answer_ok(w, list);
}

static bool is_graceful(json_t *args)
{
    json_t *value = json_object_get(args, "graceful");

    return !value || json_is_true(value);
}

static void do_stop(struct arbiter *a, struct answer *w, json_t *args)
{
    arbiter_stop(a, !is_graceful(args), "control socket");
    answer_ok(w, json_pack("{s:b,s:I}", "stopping", 1, "delay_ms",
                           (json_int_t)(a->leave_ms ? a->live->config->stop_delay_ms : 0)));
}

static void do_reload(struct arbiter *a, struct answer *w, json_t *args)
{
    if (a->is_leaving) {
        answer_error(w, "stopping", "the arbiter stops");
        return;
    }
    answer_wait(w, ANSWER_NEXT_RELOAD,
                2 * (CONFIG_PARSE_TIMEOUT_MS + a->live->config->boot_timeout_ms) +
                    a->live->config->exit_timeout_ms);
    reload_request(a, json_is_true(json_object_get(args, "force")));
}

static void do_upgrade(struct arbiter *a, struct answer *w, json_t *args UNUSED)
{
    const char *obstacle = change_obstacle(a, CHANGE_UPGRADE);

    if (obstacle) {
        answer_error(w, a->is_leaving ? "stopping" : "busy", obstacle);
        return;
    }
    answer_wait(w, ANSWER_UPGRADE,
                2 * UPGRADE_CHECK_MS + UPGRADE_BEGIN_MS + a->live->config->boot_timeout_ms +
                    a->live->config->exit_timeout_ms + REQUEST_TIMEOUT_MS);
    change_request(a, CHANGE_UPGRADE);
}

/* Done if @workers run, or, with @or_more, more than that. */
static void scale_to(struct arbiter *a, struct answer *w, uint32_t workers, bool or_more)
{
    if (a->is_leaving) {
        answer_error(w, "stopping", "the arbiter stops");
        return;
    }
    w->workers_min = workers;
    w->workers_max = or_more ? UINT32_MAX : workers;
    answer_wait(w, ANSWER_SCALE, a->live->config->boot_timeout_ms + REQUEST_TIMEOUT_MS);
    arbiter_scale(a, workers);
}

static void do_scale(struct arbiter *a, struct answer *w, json_t *args)
{
    scale_to(a, w, (uint32_t)json_integer_value(json_object_get(args, "workers")), false);
}

/* Wanted from now on, whatever becomes of its first process. */
static void spawn_other(struct arbiter *a, struct answer *w, const char *name)
{
    const int found = kinds_find(&a->kinds, name);
    const uint32_t kind = (uint32_t)found;
    char why[128];

    if (a->is_leaving) {
        answer_error(w, "stopping", "the arbiter stops");
    } else if (found < 0 || !a->kinds.list[kind].row) {
        snprintf(why, sizeof(why), "there is no kind '%.64s' of actors", name);
        answer_error(w, "bad_argument", why);
    } else if (a->upgrade.phase >= UPGRADE_CHANGING) {
        answer_error(w, "busy", "an upgrade is under way: ask again");
    } else if (!transition_has_room(a->engine, kind)) {
        snprintf(why, sizeof(why), "there are %u actors of kind %.32s, allowed: at most %d",
                 transition_others(a->engine, kind), name, TR_KIND_SLOTS_MAX);
        answer_error(w, "limit", why);
    } else {
        w->slot = tr_slot(kind, transition_others(a->engine, kind) + 1);
        kinds_id(&a->kinds, w->slot, w->actor);
        a->kinds.list[kind].n_spawned++;
        log_info(a->log, "spawning", F_STR("id", w->actor));
        answer_wait(w, ANSWER_SPAWN, a->live->config->boot_timeout_ms + REQUEST_TIMEOUT_MS);
        engine_post(a, &(struct tr_event){.kind = TR_EV_ONE_MORE, .other = kind});
    }
}

static void give_to_program(struct asker *asker, json_t *id, json_t *body)
{
    struct arbiter *a = container_of(asker, struct arbiter, spawn_asker);

    spawns_on_reply(&a->spawns, (uint64_t)json_integer_value(id), body);
}

int commands_ask_for_actor(struct spawns *all, uint64_t id, const char *kind)
{
    struct arbiter *a = container_of(all, struct arbiter, spawns);
    json_t *number = json_integer((json_int_t)id);
    struct answer *w = number ? answer_new(&a->answers, &a->spawn_asker, number) : NULL;

    a->spawn_asker.give = give_to_program;
    json_decref(number);
    if (!w)
        return -ENOMEM;
    spawn_other(a, w, kind);
    return 0;
}

static void do_spawn_actor(struct arbiter *a, struct answer *w, json_t *args)
{
    spawn_other(a, w, json_string_value(json_object_get(args, "kind")));
}

static void do_spawn(struct arbiter *a, struct answer *w, json_t *args)
{
    const uint32_t workers = transition_wanted(a->engine) + 1;
    const char *kind = json_string_value(json_object_get(args, "kind"));

    if (kind && strcmp(kind, a->options->worker->name) != 0)
        spawn_other(a, w, kind);
    else if (workers > TR_SLOTS_MAX)
        answer_error(w, "bad_argument", "there are as many workers as there can be");
    else {
        snprintf(w->actor, sizeof(w->actor), "worker.%u", workers);
        scale_to(a, w, workers, true);
    }
}

static void do_reopen_logs(struct arbiter *a, struct answer *w, json_t *args UNUSED)
{
    arbiter_reopen_logs(a);
    if (!a->live->sink) {
        answer_ok(w, json_pack("{s:b,s:s}", "reopened", 0, "to", "syslog"));
        return;
    }
    w->question = a->live->sink->wanted;
    answer_wait(w, ANSWER_LOG, REQUEST_TIMEOUT_MS);
}

static void do_log_level(struct arbiter *a, struct answer *w, json_t *args)
{
    enum log_level level = LOG_LEVEL_INFO;
    unsigned n_untold = 0;

    /* The text is a level: command_check has looked. */
    log_level_parse(json_string_value(json_object_get(args, "level")), &level);
    a->live->log.level = level;
    for_each_child (a, c) {
        const int rc = children_send(c, "log_level", 0, json_incref(args));

        n_untold += rc < 0 && rc != -EPIPE; /* who has gone needs no level */
    }
    log_info(a->log, "log level", F_STR("level", log_level_name(level)));
    if (n_untold) {
        char why[96];

        snprintf(why, sizeof(why), "%u actors cannot be told now; all others are", n_untold);
        answer_error(w, "busy", why);
        return;
    }
    answer_ok(w, json_pack("{s:s}", "level", log_level_name(level)));
}

/* The process that serves as @id; while none of the slot does, the youngest. Or the one that is
 * named. */
static struct child *find_actor(struct arbiter *a, const char *id)
{
    const uint32_t slot = kinds_slot(&a->kinds, id);
    const pid_t pid = kinds_pid(id);
    struct child *found = NULL;
    bool serves = false;

    for_each_child (a, c) {
        const bool is_running = transition_phase(a->engine, c->proc) == TR_RUNNING;

        if (c->slot != slot || (pid && c->pid != pid) || (serves && !is_running) ||
            (found && serves == is_running && c->incarnation < found->incarnation))
            continue;
        serves = is_running;
        found = c;
    }
    return found;
}

/* @others  that could be named here, too */
static void unknown_actor(struct arbiter *a, struct answer *w, const char *id, const char *others)
{
    char text[192 + TR_KINDS_MAX * (KINDS_NAME_LEN + 16)];
    int len = snprintf(text, sizeof(text),
                       "there is no actor '%.64s' to name here: %sworker.1 to worker.%u", id,
                       others, transition_wanted(a->engine));

    for (uint32_t i = 0; i < a->kinds.n; i++)
        if (transition_others(a->engine, i) > 0)
            len += snprintf(text + len, sizeof(text) - (size_t)len, ", %.32s.1 to %u",
                            a->kinds.list[i].name, transition_others(a->engine, i));
    answer_error(w, "unknown_actor", text);
}

/* One that serves is replaced first, and hands over to its heir; in a hurry it just goes. */
static void drain_actor(struct arbiter *a, struct child *c, bool is_quick)
{
    const bool graceful = !is_quick;
    const enum tr_phase phase = transition_phase(a->engine, c->proc);
    const bool has_heir = graceful && phase == TR_RUNNING;

    if (graceful && phase == TR_DRAINING)
        return; /* on its way already, and perhaps handing over */
    if (!has_heir)
        children_send(c, "stop", 0, json_pack("{s:b}", "graceful", graceful));
    engine_post(
        a, &(struct tr_event){.kind = has_heir ? TR_EV_WANTS_HEIR : TR_EV_DRAINS, .proc = c->proc});
}

/* Its time is up: SIGKILL takes a moment. */
static bool kill_overdue(struct answer *w)
{
    struct arbiter *a = ev_userdata(w->all->loop);
    struct child *c = children_find(a, w->pid);

    if (!c)
        return false;
    children_kill(c, LOG_LEVEL_WARNING, "kill_actor: its time is up");
    w->deadline_ms += REQUEST_TIMEOUT_MS;
    return true;
}

static void do_kill_actor(struct arbiter *a, struct answer *w, json_t *args)
{
    const char *id = json_string_value(json_object_get(args, "actor"));
    json_t *timeout = json_object_get(args, "timeout");
    struct child *c;

    if (strcmp(id, "arbiter") == 0 || strcmp(id, "workers") == 0) {
        answer_error(w, "bad_argument",
                     "kill_actor ends one worker, worker.N, or another actor; stop ends the "
                     "arbiter and all");
        return;
    }
    c = find_actor(a, id);
    if (!c) {
        unknown_actor(a, w, id, "");
        return;
    }
    w->pid = c->pid;
    w->has_more_time = kill_overdue;
    answer_wait(w, ANSWER_EXIT, 1000 * (uint64_t)(timeout ? json_integer_value(timeout) : 5));
    drain_actor(a, c, false);
}

/* Returns whether there was room for it. */
static bool note(struct arbiter *a, const char *actor, json_t *info)
{
    json_t *text = json_pack("{s:O,s:I}", "info", info, "at_ms", (json_int_t)clock_mono_ms());
    bool has_room = json_object_size(a->notes) < ANSWERS_MAX || json_object_get(a->notes, actor);

    has_room = has_room && json_object_set(a->notes, actor, text) == 0;
    json_decref(text);
    return has_room;
}

static void answer_noted(struct answer *w, const char *actor, bool is_noted)
{
    if (is_noted)
        answer_ok(w, json_pack("{s:s}", "noted", actor));
    else
        answer_error(w, "busy", "there is no room for more notes");
}

static void do_notify(struct arbiter *a, struct answer *w, json_t *args)
{
    json_t *actor = json_object_get(args, "actor");
    const char *id = actor ? json_string_value(actor) : "arbiter";

    if (strcmp(id, "arbiter") != 0 && !find_actor(a, id)) {
        unknown_actor(a, w, id, "arbiter, or ");
        return;
    }
    answer_noted(w, id, note(a, id, json_object_get(args, "info")));
}

/* ---- what workers say ---- */

static void on_ready(struct arbiter *a, struct child *c, json_t *args UNUSED)
{
    sequencer_join(a, c);
    c->ready_ms = clock_mono_ms();
    log_debug(a->log, child_is_worker(c) ? "worker ready" : "actor ready", F_CHILD(c),
              F_UINT("boot_ms", c->ready_ms - c->forked_ms));
    engine_post(a, &(struct tr_event){.kind = TR_EV_READY, .proc = c->proc});
}

/* A worker may say it without end if its memory is damaged: once is enough. */
static void on_replace_me(struct arbiter *a, struct child *c, json_t *args)
{
    const bool serves = transition_phase(a->engine, c->proc) == TR_RUNNING;

    if (transition_is_ending(a->engine, c->proc))
        return;
    log_info(a->log,
             child_is_worker(c) ? "worker asks to be replaced" : "actor asks to be replaced",
             F_CHILD(c), F_STR("reason", json_string_value(json_object_get(args, "reason"))));
    engine_post(
        a, &(struct tr_event){.kind = serves ? TR_EV_WANTS_HEIR : TR_EV_DRAINS, .proc = c->proc});
}

/* ---- the table ---- */

/* clang-format off */
static const struct arbiter_command {
    struct command_row row;
    arbiter_handler *run; /* for whom an answer is due */
    void (*on_news)(struct arbiter *a, struct child *c, json_t *args); /* what a worker just says */
} arbiter_table[] = {
    {{"ping", COMMAND_ASKS | COMMAND_BY_WORKER, NULL, "Answer \"pong\""}, do_ping, NULL},
    {{"echo", COMMAND_ASKS | COMMAND_BY_WORKER,
      COMMAND_ARGS({"message", COMMAND_STRING, true, 0, 0, "the text to give back"}),
      "Answer with the message"}, do_echo, NULL},
    {{"info", COMMAND_ASKS, NULL, "Identity, state, times and counters"}, do_info, NULL},
    {{"ready", COMMAND_ASKS | COMMAND_BY_WORKER, NULL,
      "Shall clients be sent here? If not, why"}, do_ready, on_ready},
    {{"config", COMMAND_ASKS,
      COMMAND_ARGS({"key", COMMAND_STRING, false, 0, 0, "one key instead of all"}),
      "Effective values and where each comes from"}, do_config, NULL},
    {{"stop", COMMAND_BY_OPERATOR,
      COMMAND_ARGS({"graceful", COMMAND_BOOL, false, 0, 0, "false: at once (default true)"}),
      "Stop the server; sent to a worker: drain that one, another takes its place"}, do_stop, NULL},
    {{"notify", COMMAND_BY_OPERATOR | COMMAND_BY_WORKER,
      COMMAND_ARGS({"info", COMMAND_OBJECT, true, 0, 4096, "anything"},
       {"actor", COMMAND_STRING, false, 0, 0, "whom it is about (default: who says it)"}),
      "Leave a note about an actor, shown in info"}, do_notify, NULL},
    {{"spawn", COMMAND_BY_OPERATOR,
      COMMAND_ARGS({"kind", COMMAND_STRING, false, 0, 0, "of what there shall be one more (default: worker)"}),
      "One worker or other actor more; answers which, when it runs"}, do_spawn, NULL},
    {{"kill_actor", COMMAND_BY_OPERATOR,
      COMMAND_ARGS({"actor", COMMAND_STRING, true, 0, 0, "worker.N, or another actor"},
       {"timeout", COMMAND_UINT, false, 0, 3600, "seconds to drain before SIGKILL (default 5)"}),
      "End one actor; another takes its place"}, do_kill_actor, NULL},
    {{"reload", COMMAND_BY_OPERATOR,
      COMMAND_ARGS({"force", COMMAND_BOOL, false, 0, 0, "true: also if the file has lost every group (default false)"}),
      "Read the configuration again; answers when it is done, or why not"}, do_reload, NULL},
    {{"scale", COMMAND_BY_OPERATOR,
      COMMAND_ARGS({"workers", COMMAND_UINT, true, 1, 1024, "processes that are wanted"}),
      "Change the number of workers; answers when they run"}, do_scale, NULL},
    {{"upgrade", COMMAND_BY_OPERATOR, NULL,
      "Execute the program at its path anew, in place; answers when it is done, or why not"}, do_upgrade, NULL},
    {{"reopen_logs", COMMAND_BY_OPERATOR, NULL,
      "Open the log file anew, after a rotation; answers when it is done, or why not"}, do_reopen_logs, NULL},
    {{"log_level", COMMAND_BY_OPERATOR,
      COMMAND_ARGS({"level", COMMAND_LEVEL, true, 0, 0, "the least severe that is logged"}),
      "Change the log level until the next reload"}, do_log_level, NULL},
    {{"crashes", COMMAND_ASKS,
      COMMAND_ARGS({"show", COMMAND_UINT, false, 1, UINT32_MAX, "number of one crash, with its call stack"}),
      "The last crashes of workers and other actors"}, do_crashes, NULL},
    {{"actors", COMMAND_ASKS, NULL, "Every actor with its state"}, do_actors, NULL},
    {{"commands", COMMAND_ASKS, NULL, "This table"}, do_commands, NULL},

    {{"spawn_actor", COMMAND_BY_WORKER,
      COMMAND_ARGS({"kind", COMMAND_STRING, true, 0, 0, "of what there shall be one more"}),
      "One actor more of another kind; answers when it runs"}, do_spawn_actor, NULL},
    {{"replace_me", COMMAND_BY_WORKER,
      COMMAND_ARGS({"reason", COMMAND_STRING, true, 0, 0, "why"}),
      "Wants to be replaced; serves until it is told to stop"}, NULL, on_replace_me},
    {{"snapshot", COMMAND_BY_WORKER, NULL,
      "A status actor wants what info answers, in memory that is passed"}, NULL, snapshot_on_asked},
    {{"moved", COMMAND_BY_WORKER,
      COMMAND_ARGS({"count", COMMAND_UINT, true, 0, UINT32_MAX, "connections that were moved"},
       {"refused", COMMAND_UINT, true, 0, UINT32_MAX, "that were to be moved and stayed"},
       {"owed", COMMAND_UINT, false, 0, UINT32_MAX, "that owe a reply and stayed for that"},
       {"took_us", COMMAND_UINT, true, 0, INT64_MAX, "microseconds"}),
      "A give, or a stop with targets, has moved what it could"}, NULL, move_on_moved},
    {{"answered", COMMAND_BY_WORKER,
      COMMAND_ARGS({"count", COMMAND_UINT, true, 1, UINT32_MAX, "connections that owed a reply, and can move now"}),
      "Drains, and wants to be told once more who takes connections"}, NULL, move_on_answered},
    {{"left", COMMAND_BY_WORKER,
      COMMAND_ARGS({"of", COMMAND_STRING, true, 0, 0, "the worker that has died"},
       {"kept", COMMAND_UINT, true, 0, UINT32_MAX, "idle connections, which others may take"},
       {"closed", COMMAND_UINT, true, 0, UINT32_MAX, "connections in the middle of something"},
       {"moving", COMMAND_UINT, false, 0, UINT32_MAX, "connections that another worker may have"}),
      "A keeper has looked through what a worker has left"}, NULL, keepers_on_left},
    {{"passed", COMMAND_BY_WORKER,
      COMMAND_ARGS({"of", COMMAND_STRING, true, 0, 0, "the worker that has died"},
       {"kept", COMMAND_UINT, true, 0, UINT32_MAX, "as in left"},
       {"passed", COMMAND_UINT, true, 0, UINT32_MAX, "connections that others have taken"},
       {"closed", COMMAND_UINT, true, 0, UINT32_MAX, "connections that are closed"},
       {"moving", COMMAND_UINT, false, 0, UINT32_MAX, "connections that another worker may have"}),
      "A keeper has passed on what a worker has left"}, NULL, keepers_on_passed},
};
/* clang-format on */

const struct command_set arbiter_commands = COMMAND_SET(arbiter_table);

/* ---- requests of operators ---- */

static const struct arbiter_command *command_of(const struct command_row *row)
{
    return container_of(row, struct arbiter_command, row);
}

static json_t *not_asked(int rc)
{
    char why[96];

    if (rc == -EPIPE)
        return command_error("gone", "the worker has ended");
    if (rc != -EMSGSIZE)
        return command_error("busy", "the worker cannot be asked now: try again");
    snprintf(why, sizeof(why), "too long for a worker: a message to one has at most %d bytes",
             MESSAGE_MAX_BYTES);
    return command_error("bad_argument", why);
}

/* Returns 0 or -errno (-ENOBUFS: too many requests are under way). */
static int ask(struct child *c, const char *command, json_t *args, struct answer *w)
{
    const uint64_t id = request_new(w, c->id, c->pid);
    int rc;

    if (!id)
        return -ENOBUFS;
    rc = children_send(c, command, id, json_incref(args));
    if (rc < 0)
        request_cancel(w->all, id);
    return rc;
}

static void forward(struct arbiter *a, struct answer *w, struct child *c, const char *name,
                    json_t *args)
{
    int rc;

    if (strcmp(name, "stop") == 0) {
        drain_actor(a, c, !is_graceful(args));
        answer_ok(w, json_pack("{s:b}", "stopping", 1));
        return;
    }
    w->wait = ANSWER_WORKERS;
    rc = ask(c, name, args, w);
    if (rc < 0)
        answer_give(w, not_asked(rc));
}

static void forward_to_all(struct arbiter *a, struct answer *w, const char *name, json_t *args)
{
    w->is_map = true;
    w->map = json_object();
    w->wait = ANSWER_WORKERS;
    w->n_waiting = 1; /* until all are asked */
    for_each_worker (a, c) {
        int rc;

        if (transition_phase(a->engine, c->proc) != TR_RUNNING)
            continue;
        w->n_waiting++;
        rc = ask(c, name, args, w);
        if (rc < 0)
            answer_collect(w, c->id, not_asked(rc));
    }
    if (--w->n_waiting == 0)
        answer_ok(w, json_incref(w->map));
}

static void dispatch_to(struct arbiter *a, struct answer *w, const char *target,
                        const struct command_row *row, json_t *args)
{
    const char *name = row->name;
    struct child *c;

    if (strcmp(target, "arbiter") == 0)
        command_of(row)->run(a, w, args);
    else if (strcmp(target, "workers") == 0 && strcmp(name, "stop") == 0)
        answer_error(w, "bad_argument", "stop: name one worker, or the arbiter for all");
    else if (strcmp(target, "workers") == 0)
        forward_to_all(a, w, name, args);
    else if ((c = find_actor(a, target)))
        forward(a, w, c, name, args);
    else
        unknown_actor(a, w, target, "arbiter, workers, or ");
}

/* ---- commands of the program's own ---- */

void arbiter_on_own_answer(struct own_calls *calls, uint64_t number, json_t *body)
{
    struct arbiter *a = container_of(calls, struct arbiter, own_calls);

    answers_give_one(&a->answers, ANSWER_OWN, number, body);
}

static void own_run_here(struct arbiter *a, struct answer *w, const struct own_command *c,
                         json_t *args)
{
    w->question = ++a->last_own_call;
    answer_wait(w, ANSWER_OWN, REQUEST_TIMEOUT_MS);
    own_call_run(&a->own_calls, w->question, c, a->hold.data, args);
}

/* Does @target name actors of the owner's? Else @why says what would. */
static bool own_is_for(const struct own_command *c, const char *target, char *why, size_t size)
{
    const char *owner = c->owner->name;
    const size_t len = strlen(owner);

    switch (c->owner->place) {
    case OWN_IN_ARBITER:
        snprintf(why, size, "%s is a command of the arbiter", c->name);
        return strcmp(target, "arbiter") == 0;
    case OWN_IN_WORKERS:
        snprintf(why, size, "%s is a command of workers", c->name);
        return strcmp(target, "workers") == 0 || strncmp(target, "worker.", 7) == 0;
    case OWN_IN_KIND:
        snprintf(why, size, "%s is a command of %s actors, %s.N", c->name, owner, owner);
        return strncmp(target, owner, len) == 0 && target[len] == '.';
    }
    return false;
}

/* Processes run it as the argument of a command of ours: its name is none for a message. */
static void own_forward(struct arbiter *a, struct answer *w, const struct own_command *c,
                        const char *target, json_t *args)
{
    struct child *child = find_actor(a, target);
    json_t *call = json_pack("{s:s,s:O*}", "command", c->name, "args", args);

    if (!call)
        answer_error(w, "internal", "out of memory");
    else if (strcmp(target, "workers") == 0)
        forward_to_all(a, w, "call", call);
    else if (child)
        forward(a, w, child, "call", call);
    else
        unknown_actor(a, w, target, "workers, or ");
    json_decref(call);
}

static int own_dispatch(struct arbiter *a, struct answer *w, unsigned caller, const char *name,
                        const char *target, json_t *args)
{
    const struct own_command *c = own_find_command(&a->own, name);
    const char *code;
    char why[256];

    if (!c) {
        snprintf(why, sizeof(why), "there is no command '%.64s'", name);
        answer_error(w, "unknown_command", why);
    } else if (!own_is_for(c, target, why, sizeof(why))) {
        answer_error(w, "unknown_command", why);
    } else if (command_check(&c->row, caller, args, &code, why, sizeof(why)) < 0) {
        answer_error(w, code, why);
        return c->row.callers & caller ? 0 : -EPERM;
    } else if (c->owner->place == OWN_IN_ARBITER) {
        own_run_here(a, w, c, args);
    } else {
        own_forward(a, w, c, target, args);
    }
    return 0;
}

/* Members of a request, all that there may be. */
static bool is_well_formed(json_t *request)
{
    const char *name;
    json_t *value;

    json_object_foreach(request, name, value)
    {
        const bool is_string = json_is_string(value);

        if (strcmp(name, "command") == 0 || strcmp(name, "target") == 0 ? !is_string
            : strcmp(name, "args") == 0                                 ? !json_is_object(value)
            : strcmp(name, "id") == 0
                ? !is_string && !json_is_integer(value) && !json_is_null(value)
                : true)
            return false;
    }
    return json_object_get(request, "command") != NULL;
}

/* The row of @name among what @target understands, or NULL: @why. */
static const struct command_row *find_row(struct arbiter *a, const char *target, const char *name,
                                          char *why, size_t size)
{
    const bool is_arbiter = strcmp(target, "arbiter") == 0;
    const struct command_set *workers = a->options->worker->commands;
    const struct actor_kind *kind = children_kind(a, kinds_slot(&a->kinds, target));
    const struct command_set *set = is_arbiter ? &arbiter_commands
                                    : kind     ? kind->commands
                                               : a->options->other->commands;
    const struct command_row *row = command_find(set, name);

    if (row)
        return row;
    if (set != &arbiter_commands && command_find(&arbiter_commands, name))
        snprintf(why, size, "%s is a command of the arbiter", name);
    else if (set != workers && command_find(workers, name))
        snprintf(why, size, "%s is a command of workers", name);
    else
        snprintf(why, size, "there is no command '%.64s'", name);
    return NULL;
}

int commands_dispatch(struct arbiter *a, struct answer *w, unsigned caller, json_t *request)
{
    const char *name = json_string_value(json_object_get(request, "command"));
    json_t *target = json_object_get(request, "target");
    const char *to = target ? json_string_value(target) : "arbiter";
    json_t *args = json_object_get(request, "args");
    const struct command_row *row;
    const char *code;
    char why[256];

    if (!is_well_formed(request)) {
        answer_error(w, "bad_request",
                     "a request is {\"command\":TEXT, \"target\":TEXT, \"args\":{...}, "
                     "\"id\":NUMBER or TEXT}");
        return 0;
    }
    if (strchr(name, '.'))
        return own_dispatch(a, w, caller, name, to, args);
    row = find_row(a, to, name, why, sizeof(why));
    if (!row)
        answer_error(w, "unknown_command", why);
    else if (command_check(row, caller, args, &code, why, sizeof(why)) < 0)
        answer_error(w, code, why);
    else
        dispatch_to(a, w, to, row, args);
    return row && !(row->callers & caller) ? -EPERM : 0;
}

/* ---- messages of workers ---- */

/* The process may be gone, or its record another's: then it has been forgotten. */
static void answer_worker(struct asker *asker, json_t *id, json_t *body)
{
    struct child *c = container_of(asker, struct child, asker);

    children_send(c, "reply", (uint64_t)json_integer_value(id), json_incref(body));
}

/* A worker asks as an operator would, within what the table lets it. */
static void on_request(struct arbiter *a, struct child *c, const struct arbiter_command *command,
                       struct message *m)
{
    json_t *id = json_integer((json_int_t)m->id);
    struct answer *w = answer_new(&a->answers, m->id ? &c->asker : NULL, id);

    c->asker.give = answer_worker;
    json_decref(id);
    if (!w)
        return;
    if (strcmp(m->command, "notify") == 0) {
        answer_noted(w, m->sender, note(a, m->sender, json_object_get(m->args, "info")));
    } else {
        command->run(a, w, m->args);
    }
}

int commands_from_worker(struct arbiter *a, struct child *c, struct message *m)
{
    const struct command_row *row;
    const char *code;
    char why[256];

    if (strcmp(m->command, "reply") == 0) {
        answers_on_reply(&a->answers, c->pid, m->id, m->args);
        return 0;
    }
    row = command_find(&arbiter_commands, m->command);
    if (!row || command_check(row, COMMAND_BY_WORKER, m->args, &code, why, sizeof(why)) < 0) {
        log_warning_limited(a->log, "mailbox: a worker says what it may not",
                            F_STR("worker", m->sender), F_STR("command", m->command),
                            F_STR("why", row ? why : "there is no such command"));
        return -EBADMSG;
    }
    if (command_of(row)->on_news)
        command_of(row)->on_news(a, c, m->args);
    else
        on_request(a, c, command_of(row), m);
    return 0;
}
