/*
 * The worker's commands.
 */
#include "worker/worker_impl.h"

#include <string.h>

#include "actor/process_command.h"
#include "base/clock.h"
#include "base/util.h"

static struct worker *worker_of(struct process *p)
{
    return container_of(p, struct worker, process);
}

static json_t *do_info(struct process *p, const struct process_request *request UNUSED)
{
    const struct score_record *r = p->record;
    const struct worker *w = worker_of(p);
    json_t *o = process_info(p), *counters = json_object();

    message_set_uint(o, "connections", w->conns.n_open);
    message_set_uint(o, "max_connections", w->boot->max_connections);
    message_set_uint(o, "kept", w->keep.n_kept);
    message_set_uint(o, "buffered_bytes", w->conns.pool.used_bytes);
#define X(field, help) message_set_uint(counters, #field, counter_get(&r->counters.field));
    COUNTERS(X)
#undef X
    json_object_set_new(o, "counters", counters);
    return o;
}

static json_t *do_collect(struct process *p, const struct process_request *r)
{
    struct worker *w = worker_of(p);

    if (r->n_fds < 1 || w->is_draining)
        return NULL;
    collect_start(&w->collect, r->fds[0], &w->acceptor);
    r->fds[0] = -1;
    return json_true();
}

static json_t *do_keeper(struct process *p, const struct process_request *r)
{
    if (r->n_fds > 0) {
        keep_link(&worker_of(p)->keep, r->fds[0]);
        r->fds[0] = -1;
    }
    return NULL;
}

static json_t *do_run(struct process *p, const struct process_request *r UNUSED)
{
    worker_run(worker_of(p));
    return NULL;
}

static json_t *do_stop(struct process *p, const struct process_request *r)
{
    struct worker *w = worker_of(p);
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

static json_t *do_take(struct process *p, const struct process_request *r)
{
    struct worker *w = worker_of(p);

    if (r->n_fds > 0)
        moves_take(&w->moves, json_string_value(json_object_get(r->args, "from")), &r->fds[0]);
    return NULL;
}

static json_t *do_give(struct process *p, const struct process_request *r)
{
    struct worker *w = worker_of(p);
    json_t *count = json_object_get(r->args, "count");

    moves_give(&w->moves, r->fds, r->n_fds, count ? (size_t)json_integer_value(count) : SIZE_MAX);
    return NULL;
}

static void run_own(struct process *p, uint64_t id, const json_t *args)
{
    const struct worker *w = worker_of(p);

    process_call(p, w->protocols.holds, w->protocols.n, id, args);
}

/* What is answered has looked at a page of connections, and no more. */
static void answer_page(struct process *p, uint64_t id, const json_t *args, bool is_to_end)
{
    struct worker *w = worker_of(p);
    json_t *body = listings_page(&w->listings, &w->conns, args, is_to_end, clock_mono_ms());

    if (body && id)
        process_tell(p, "reply", id, body);
    else
        json_decref(body);
}

static void do_connections(struct process *p, uint64_t id, const json_t *args)
{
    answer_page(p, id, args, false);
}

static void do_kill(struct process *p, uint64_t id, const json_t *args)
{
    answer_page(p, id, args, true);
}

/* clang-format off */
static const struct process_command worker_table[] = {
    PROCESS_PING,
    PROCESS_ECHO,
    {{"info", COMMAND_ASKS | COMMAND_BY_ARBITER, NULL,
      "Identity, state, times and counters"}, do_info, NULL},
    {{"stop", COMMAND_BY_OPERATOR | COMMAND_BY_ARBITER,
      COMMAND_ARGS({"graceful", COMMAND_BOOL, false, 0, 0, "false: at once (default true)"},
       {"to", COMMAND_NAMES, false, 0, 0, "who takes the connections over"}),
      "Drain within exit_timeout, or end at once"}, do_stop, NULL},
    PROCESS_LOG_LEVEL,
    {{"connections", COMMAND_ASKS | COMMAND_BY_ARBITER, LISTING_ARGS,
      "A page of its connections, and where the next page begins"}, NULL, do_connections},
    {{"kill", COMMAND_BY_OPERATOR | COMMAND_BY_ARBITER, KILLING_ARGS,
      "End connections by number or peer: a page of them, and where the next page begins"}, NULL, do_kill},

    PROCESS_CALL(run_own),
    {{"run", COMMAND_BY_ARBITER, NULL, "Begin to accept"}, do_run, NULL},
    {{"take", COMMAND_BY_ARBITER,
      COMMAND_ARGS({"from", COMMAND_STRING, true, 0, 0, "who gives"}),
      "Take the connections that come on the descriptor that came along, until its end of file"}, do_take, NULL},
    {{"collect", COMMAND_BY_ARBITER, NULL,
      "Collect the connections of nobody that are in the descriptor that came along"}, do_collect, NULL},
    {{"keeper", COMMAND_BY_ARBITER,
      COMMAND_ARGS({"id", COMMAND_STRING, true, 0, 0, "who keeps"}),
      "Register connections over the descriptor that came along, and take what is offered there"}, do_keeper, NULL},
    {{"give", COMMAND_BY_ARBITER,
      COMMAND_ARGS({"to", COMMAND_NAMES, true, 0, 0, "who takes, one name per descriptor"},
       {"count", COMMAND_UINT, false, 0, UINT32_MAX, "connections to move (default all)"}),
      "Move connections over the descriptors that came along, spread evenly; serve the rest"}, do_give, NULL},
};
/* clang-format on */

const struct command_set worker_commands = COMMAND_SET(worker_table);
