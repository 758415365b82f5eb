/*
 * How commands run in a process, and those that all of them have.
 */
#include "actor/process_command.h"

#include <unistd.h>

#include "actor/own.h"
#include "actor/scoreboard.h"
#include "base/clock.h"
#include "base/cpus.h"
#include "base/log.h"
#include "base/util.h"

json_t *process_do_ping(struct process *p UNUSED, const struct process_request *r UNUSED)
{
    return json_string("pong");
}

json_t *process_do_echo(struct process *p UNUSED, const struct process_request *r)
{
    return json_incref(json_object_get(r->args, "message"));
}

json_t *process_do_log_level(struct process *p, const struct process_request *r)
{
    enum log_level level = LOG_LEVEL_INFO;

    /* The text is a level: command_check has looked. */
    log_level_parse(json_string_value(json_object_get(r->args, "level")), &level);
    p->boot->log->level = level;
    return json_string(log_level_name(level));
}

json_t *process_info(const struct process *p)
{
    const struct score_identity *id = scoreboard_identity(p->boot->scoreboard, p->boot->proc);
    const uint64_t uptime_ns = clock_mono_ns() - counter_get(&id->started_ns);
    json_t *o = json_object();
    char text[CPUS_TEXT_LEN];
    cpu_set_t cpus;

    json_object_set_new(o, "id", json_string(p->boot->id));
    message_set_uint(o, "slot", p->boot->slot);
    message_set_uint(o, "incarnation", p->boot->incarnation);
    message_set_uint(o, "pid", (uint64_t)getpid());
    json_object_set_new(o, "state", json_string(actor_state_name(p->state)));
    if (cpus_allowed(&cpus) == 0)
        json_object_set_new(o, "cpus", json_string(cpus_format(&cpus, text)));
    message_set_uint(o, "uptime_ms", uptime_ns / 1000000);
    json_object_set_new(
        o, "own",
        own_shown(p->boot->own, &p->record->own, p->boot->kind ? p->boot->kind->name : "worker"));
    return o;
}

/* Returns the reply, or NULL: it follows. */
static json_t *run_command(struct process *p, const struct command_set *set,
                           const struct message *m, int *fds, size_t n_fds)
{
    const struct process_request request = {m->args, fds, n_fds};
    const struct command_row *row = command_find(set, m->command);
    const struct process_command *command;
    const char *code = "unknown_command";
    char why[256] = "there is no such command";
    json_t *result;

    if (!row || command_check(row, PROCESS_BY_BOTH, m->args, &code, why, sizeof(why)) < 0)
        return command_error(code, why);
    command = container_of(row, struct process_command, row);
    if (command->run_later) {
        command->run_later(p, m->id, m->args);
        return NULL;
    }
    result = command->run(p, &request);
    return result ? command_result(result)
                  : command_error("bad_argument", p->boot->kind ? "the actor cannot do that"
                                                                : "the worker cannot do that");
}

void process_command(struct process *p, const struct command_set *set, const struct message *m,
                     int *fds, size_t n_fds)
{
    json_t *body = run_command(p, set, m, fds, n_fds);

    if (body && m->id)
        process_tell(p, "reply", m->id, body);
    else
        json_decref(body);
}
