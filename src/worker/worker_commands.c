/*
 * The worker's commands. The arbiter has checked callers and arguments by this table already; they
 * are checked again here, since a message is data.
 */
#include "worker/worker_impl.h"

#include <string.h>

#include "actor/command.h"
#include "base/clock.h"
#include "base/cpus.h"
#include "base/log.h"
#include "base/util.h"

/* What came with a command. A handler takes a descriptor over by setting it to -1. */
struct request {
    json_t *args; /* borrowed */
    int *fds;
    size_t n_fds;
};

/* Returns the result, taken over by the caller; NULL = nothing to say. */
typedef json_t *worker_handler(struct worker *w, const struct request *r);

static json_t *do_ping(struct worker *w UNUSED, const struct request *r UNUSED)
{
    return json_string("pong");
}

static json_t *do_echo(struct worker *w UNUSED, const struct request *r)
{
    return json_incref(json_object_get(r->args, "message"));
}

static json_t *do_info(struct worker *w, const struct request *request UNUSED)
{
    const struct score_record *r = w->process.record;
    const struct score_identity *id = scoreboard_identity(w->boot->scoreboard, w->boot->proc);
    const uint64_t uptime_ns = clock_mono_ns() - counter_get(&id->started_ns);
    json_t *o = json_object(), *counters = json_object();
    char text[CPUS_TEXT_LEN];
    cpu_set_t cpus;

    json_object_set_new(o, "id", json_string(w->boot->id));
    message_set_uint(o, "slot", w->boot->slot);
    message_set_uint(o, "incarnation", w->boot->incarnation);
    message_set_uint(o, "pid", (uint64_t)getpid());
    json_object_set_new(o, "state", json_string(actor_state_name(w->process.state)));
    if (cpus_allowed(&cpus) == 0)
        json_object_set_new(o, "cpus", json_string(cpus_format(&cpus, text)));
    json_object_set_new(o, "uptime", json_real((double)uptime_ns / 1e9));
    message_set_uint(o, "connections", w->conns.n_open);
    message_set_uint(o, "max_connections", w->boot->max_connections);
    message_set_uint(o, "buffered_bytes", w->conns.pool.used_bytes);
#define X(field, help) message_set_uint(counters, #field, counter_get(&r->counters.field));
    COUNTERS(X)
#undef X
    json_object_set_new(o, "counters", counters);
    return o;
}

static json_t *do_collect(struct worker *w, const struct request *r)
{
    if (r->n_fds < 1 || w->is_draining)
        return NULL;
    rescue_finish(&w->foreign); /* of another slot, perhaps */
    rescue_start(&w->foreign, r->fds[0], &w->acceptor, true);
    r->fds[0] = -1;
    return json_true();
}

static json_t *do_run(struct worker *w, const struct request *r UNUSED)
{
    worker_run(w);
    return NULL;
}

static json_t *do_stop(struct worker *w, const struct request *r)
{
    json_t *graceful = json_object_get(r->args, "graceful");

    /* Without room for the descriptors nothing can be given now: the arbiter hears that, and offers
     * again. */
    if (graceful && !json_is_true(graceful))
        ev_break(w->process.loop, EVBREAK_ALL);
    else if (json_array_size(json_object_get(r->args, "to")) > 0)
        worker_move_all(w, r->fds, r->n_fds);
    else
        worker_drain(w);
    return NULL;
}

static json_t *do_take(struct worker *w, const struct request *r)
{
    if (r->n_fds > 0)
        moves_take(&w->moves, json_string_value(json_object_get(r->args, "from")), &r->fds[0]);
    return NULL;
}

static json_t *do_give(struct worker *w, const struct request *r)
{
    json_t *count = json_object_get(r->args, "count");

    moves_give(&w->moves, r->fds, r->n_fds, count ? (size_t)json_integer_value(count) : SIZE_MAX);
    return NULL;
}

static void run_own(struct worker *w, uint64_t id, const json_t *args)
{
    process_call(&w->process, w->holds, w->n_holds, id, args);
}

static json_t *do_log_level(struct worker *w, const struct request *r)
{
    enum log_level level = LOG_LEVEL_INFO;

    /* It is one: command_check has seen to it. */
    log_level_parse(json_string_value(json_object_get(r->args, "level")), &level);
    w->boot->log->level = level;
    return json_string(log_level_name(level));
}

/* clang-format off */
static const struct worker_command {
    struct command_row row;
    worker_handler *run;
    void (*run_later)(struct worker *w, uint64_t id, const json_t *args); /* or: answers itself */
} worker_table[] = {
    {{"ping", COMMAND_BY_OPERATOR | COMMAND_BY_ARBITER, NULL, "Answer \"pong\""}, do_ping, NULL},
    {{"echo", COMMAND_BY_OPERATOR | COMMAND_BY_ARBITER,
      COMMAND_ARGS({"message", COMMAND_STRING, true, 0, 0, "the text to give back"}),
      "Answer with the message"}, do_echo, NULL},
    {{"info", COMMAND_BY_OPERATOR | COMMAND_BY_ARBITER, NULL,
      "Identity, state, times and counters"}, do_info, NULL},
    {{"stop", COMMAND_BY_OPERATOR | COMMAND_BY_ARBITER,
      COMMAND_ARGS({"graceful", COMMAND_BOOL, false, 0, 0, "false: at once (default true)"},
       {"to", COMMAND_NAMES, false, 0, 0, "who takes the connections over"}),
      "Drain within exit_timeout, or end at once"}, do_stop, NULL},
    {{"log_level", COMMAND_BY_OPERATOR | COMMAND_BY_ARBITER,
      COMMAND_ARGS({"level", COMMAND_LEVEL, true, 0, 0, "the least severe that is logged"}),
      "Change the log level until the next reload"}, do_log_level, NULL},

    {{"call", COMMAND_BY_ARBITER,
      COMMAND_ARGS({"command", COMMAND_STRING, true, 0, 0, "OWNER.NAME"},
                   {"args", COMMAND_OBJECT, false, 0, MESSAGE_MAX_BYTES, "its arguments"}),
      "Run a command of a protocol"}, NULL, run_own},
    {{"run", COMMAND_BY_ARBITER, NULL, "Begin to accept"}, do_run, NULL},
    {{"take", COMMAND_BY_ARBITER,
      COMMAND_ARGS({"from", COMMAND_STRING, true, 0, 0, "who gives"}),
      "Take the connections that come on the descriptor that came along, until its end of file"}, do_take, NULL},
    {{"collect", COMMAND_BY_ARBITER, NULL,
      "Collect the connections of nobody that are in the descriptor that came along"}, do_collect, NULL},
    {{"give", COMMAND_BY_ARBITER,
      COMMAND_ARGS({"to", COMMAND_NAMES, true, 0, 0, "who takes, one name per descriptor"},
       {"count", COMMAND_UINT, false, 0, UINT32_MAX, "connections to move (default all)"}),
      "Move connections over the descriptors that came along, spread evenly; serve the rest"}, do_give, NULL},
};
/* clang-format on */

const struct command_set worker_commands = COMMAND_SET(worker_table);

/* Returns the reply, or NULL: it follows. */
static json_t *run_command(struct worker *w, const struct message *m, int *fds, size_t n_fds)
{
    const struct request request = {m->args, fds, n_fds};
    const struct command_row *row = command_find(&worker_commands, m->command);
    const struct worker_command *command;
    const char *code = "unknown_command";
    char why[256] = "there is no such command";
    json_t *result;

    if (!row || command_check(row, COMMAND_BY_ARBITER | COMMAND_BY_OPERATOR, m->args, &code, why,
                              sizeof(why)) < 0)
        return command_error(code, why);
    command = container_of(row, struct worker_command, row);
    if (command->run_later) {
        command->run_later(w, m->id, m->args);
        return NULL;
    }
    result = command->run(w, &request);
    return result ? command_result(result)
                  : command_error("bad_argument", "the worker cannot do that");
}

void worker_command(struct worker *w, const struct message *m, int *fds, size_t n_fds)
{
    json_t *body = run_command(w, m, fds, n_fds);

    if (body && m->id)
        process_tell(&w->process, "reply", m->id, body);
    else
        json_decref(body);
}
