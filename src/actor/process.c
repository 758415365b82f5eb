/*
 * A process between its fork and its end, as far as workers and other actors have that in common.
 */
#include "actor/process.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "actor/own.h"
#include "actor/scoreboard.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/title.h"
#include "base/util.h"
#include "conf/config.h"

enum { FLUSH_MS = 1000 };

bool process_is_orphan(const struct process *p)
{
    return getppid() != p->boot->arbiter_pid;
}

int process_tell(struct process *p, const char *command, uint64_t id, json_t *args)
{
    return mailbox_say(&p->mailbox, p->boot->log, p->boot->id, "arbiter", command, id, args, NULL,
                       0);
}

/* ---- commands of the program's own ---- */

static void on_own_answer(struct own_calls *calls, uint64_t id, json_t *body)
{
    struct process *p = container_of(calls, struct process, own_calls);
    int rc;

    if (!id) { /* nobody has asked */
        json_decref(body);
        return;
    }
    rc = process_tell(p, "reply", id, body);
    if (rc == -EMSGSIZE)
        process_tell(p, "reply", id,
                     command_error("internal", "its answer is longer than a message may be"));
    else if (rc == -EINVAL)
        process_tell(p, "reply", id, command_error("internal", "its answer is nested too deep"));
}

void process_call(struct process *p, const struct arb_actor *holds, unsigned n_holds, uint64_t id,
                  const json_t *args)
{
    const char *name = json_string_value(json_object_get(args, "command"));
    const struct own_command *c = own_find_command(p->boot->own, name);

    for (unsigned i = 0; c && i < n_holds; i++) {
        if (strcmp(holds[i].owner, c->owner->name) != 0)
            continue;
        own_call_run(&p->own_calls, id, c, holds[i].data, json_object_get(args, "args"));
        return;
    }
    on_own_answer(&p->own_calls, id,
                  command_error("unknown_command", "its program has no such command"));
}

/* ---- states ---- */

void process_set_state(struct process *p, enum actor_state state)
{
    const enum actor_state from = p->state;

    if (from == state)
        return;
    assert(actor_state_may_follow(from, state));
    log_debug(p->boot->log, "state", F_STR("from", actor_state_name(from)),
              F_STR("to", actor_state_name(state)));
    p->state = state;
    counter_set(&p->record->state, state);
    title_set(p->boot->id, actor_state_name(state));
}

void process_ask_for_heir(struct process *p, const char *reason)
{
    if (p->has_asked || p->state == ACTOR_STOPPING)
        return;
    /* If it cannot be said now, the next heartbeat says it. */
    p->has_asked = process_tell(p, "replace_me", 0, json_pack("{s:s}", "reason", reason)) == 0;
    if (!p->has_asked)
        return;
    /* Not told to run yet: nobody would miss it, and nobody will tell it to stop. */
    if (p->state != ACTOR_RUN)
        p->ops->on_unwanted(p);
}

static void on_beat(struct heartbeat *h)
{
    struct process *p = container_of(h, struct process, heartbeat);

    if (p->is_cut_off && process_is_orphan(p))
        p->ops->on_orphaned(p);
    if (p->has_been_termed)
        process_ask_for_heir(p, "SIGTERM");
    if (p->ops->on_beat)
        p->ops->on_beat(p);
}

/* Where the kernel does not count descriptors, their number is that at the start and one for each
 * connection, which a worker serves or a keeper holds. */
static void publish_usage(struct process *p)
{
    const counter_t *n = p->boot->n_listeners > 0 ? &p->record->connections : &p->record->kept;

    usage_publish(&p->usage, counter_get(n), p->record);
}

static void on_second(struct heartbeat *h)
{
    struct process *p = container_of(h, struct process, heartbeat);

    publish_usage(p);
    log_flush_causes(p->boot->log, clock_mono_ms());
    spawns_sweep(&p->spawns, clock_mono_ms());
    if (p->ops->on_second)
        p->ops->on_second(p);
}

static void on_term(struct ev_loop *loop, ev_signal *signal, int revents UNUSED)
{
    struct process *p = container_of(signal, struct process, term);

    if (process_is_orphan(p)) {
        p->ops->on_orphaned(p);
    } else if (p->has_been_termed) {
        p->is_over = true;
        ev_break(loop, EVBREAK_ALL);
    } else {
        p->has_been_termed = true;
        process_ask_for_heir(p, "SIGTERM");
    }
}

static void process_on_message(struct mailbox *mb, struct message *m, int *fds, size_t n_fds)
{
    struct process *p = container_of(mb, struct process, mailbox);

    log_debug(p->boot->log, "message", F_STR("from", m->sender), F_STR("command", m->command),
              F_UINT("id", m->id));
    if (strcmp(m->command, "reply") == 0)
        spawns_on_reply(&p->spawns, m->id, m->args);
    else
        p->ops->on_message(p, m, fds, n_fds);
}

/* ---- messages between actors ---- */

static struct process *process_of(struct relay *r)
{
    return container_of(r, struct process, relay);
}

static void process_on_relayed(struct relay *r, const struct arb_message *m, bool is_for_all)
{
    struct process *p = process_of(r);

    if (p->ops->on_relayed)
        p->ops->on_relayed(p, m, is_for_all);
}

static void process_on_can_send(struct relay *r)
{
    struct process *p = process_of(r);

    if (p->ops->on_can_send)
        p->ops->on_can_send(p);
}

static void process_on_numbered(struct relay *r)
{
    struct process *p = process_of(r);

    if (p->ops->on_numbered)
        p->ops->on_numbered(p);
}

static int fence_conn(struct relay *r, struct arb_conn *conn, uint64_t sequence)
{
    struct process *p = process_of(r);

    return p->ops->fence ? p->ops->fence(p, conn, sequence) : 0;
}

static const struct relay_ops process_relay_ops = {
    .on_message = process_on_relayed,
    .on_can_send = process_on_can_send,
    .on_numbered = process_on_numbered,
    .fence = fence_conn,
};

static int process_on_data(struct mailbox *mb, const uint8_t *data, size_t len)
{
    return relay_on_datagram(&container_of(mb, struct process, mailbox)->relay, data, len);
}

/*
 * A process that ends closes its descriptors before its children have another parent: SIGTERM
 * follows, or the next heartbeat sees it. Else it is this one alone that is cut off.
 */
static void on_mailbox_close(struct mailbox *mb, int error UNUSED)
{
    struct process *p = container_of(mb, struct process, mailbox);

    p->is_cut_off = true;
    if (p->ops->on_cut_off)
        p->ops->on_cut_off(p);
    if (process_is_orphan(p))
        p->ops->on_orphaned(p);
}

static int ask_for_actor(struct spawns *all, uint64_t id, const char *kind)
{
    return process_tell(container_of(all, struct process, spawns), "spawn_actor", id,
                        json_pack("{s:s}", "kind", kind));
}

void process_begin(struct process *p, const struct actor_boot *boot, const struct process_ops *ops)
{
    p->boot = boot;
    p->ops = ops;
    p->record = scoreboard_record(boot->scoreboard, boot->proc);
    p->state = ACTOR_INACTIVE;
    p->heartbeat.on_beat = on_beat;
    p->heartbeat.on_second = on_second;
    process_set_state(p, ACTOR_STARTING);
    boot->log->dropped = &p->record->counters.log_dropped;
    signals_ignore_strays();
}

int process_prepare(struct process *p)
{
    /* The epoll backend whatever LIBEV_FLAGS says: io_uring's is slower, poll does not scale. */
    errno = ENOMEM;
    p->loop = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
    if (!p->loop)
        return -errno;
    p->shared = (struct actor_process){
        .id = p->boot->id,
        .slot = p->boot->slot,
        .loop = p->loop,
        .log = &p->boot->log,
        .record = p->record,
        .spawns = &p->spawns,
    };
    own_calls_init(&p->own_calls, on_own_answer);
    spawns_init(&p->spawns, p->loop, p->boot->program, ask_for_actor);
    ev_signal_init(&p->term, on_term, SIGTERM);
    ev_signal_start(p->loop, &p->term);
    mailbox_start(&p->mailbox, p->loop, p->boot->mailbox_fd, process_on_message, on_mailbox_close);
    p->mailbox.on_data = process_on_data;
    relay_start(&p->relay, p->loop, &p->mailbox, p->boot->proc, &process_relay_ops);
    p->shared.relay = &p->relay;
    usage_open(&p->usage);
    return 0;
}

int process_confine(struct process *p, enum sandbox_who who)
{
    const char *step;
    const int rc = p->boot->sandbox ? sandbox_enter(p->boot->sandbox, who, &step) : 0;

    if (rc == 0)
        return 0;
    /* It was possible in the arbiter's trial. */
    if (p->boot->config->sandbox == SANDBOX_REQUIRE) {
        log_error(p->boot->log, "arbiter.sandbox: cannot be entered", F_STR("step", step),
                  F_ERR(rc));
        return rc;
    }
    log_warning(p->boot->log, "arbiter.sandbox: not entered", F_STR("step", step), F_ERR(rc));
    return 0;
}

void process_ready(struct process *p)
{
    publish_usage(p);
    heartbeat_start(&p->heartbeat, p->loop, p->record, p->boot->config->timeout_ms);
    signals_unblock_all();
    process_tell(p, "ready", 0, NULL);
}

/* What it would end has ended. */
static void ignore_close(struct mailbox *mb UNUSED, int error UNUSED)
{
}

void process_fini(struct process *p)
{
    own_calls_fini(&p->own_calls);
    /* Messages that were sent for connections which are served elsewhere now. */
    p->mailbox.on_close = ignore_close;
    mailbox_flush(&p->mailbox, FLUSH_MS);
    relay_stop(&p->relay);
    spawns_fini(&p->spawns);
    mailbox_stop(&p->mailbox);
    if (p->loop) {
        publish_usage(p);
        usage_close(&p->usage);
        ev_loop_destroy(p->loop);
    }
    p->loop = NULL;
}
