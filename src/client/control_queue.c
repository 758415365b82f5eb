/*
 * arb_control: commands of a program, one after the other over one control socket. The reactor
 * drives it as it drives a client; control_call moves the bytes.
 */
#include <arbiter/control.h>

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/list.h"
#include "base/util.h"
#include "client/control_call.h"
#include "client/reactor.h"

struct control_command {
    struct list link; /* in `waiting`, the first is the one under way, or in `ended` */
    struct arb_control *control;
    struct deadline deadline;
    char *target; /* owned; NULL = the arbiter */
    char *name; /* owned */
    json_t *args; /* owned; NULL = none */
    int status;
    char *answer; /* owned */
    arb_control_handler *on_done;
    void *userdata;
};

struct arb_control {
    struct reactor reactor;
    struct control_call call;
    struct reactor_io io;
    struct arb_control_options options;
    char *path; /* owned */
    struct list waiting; /* commands in their order */
    struct list ended; /* whose handlers are to be called */
    unsigned n_commands; /* in both */
    bool is_sent; /* the first of `waiting` is under way */
    bool is_quiet; /* this turn calls no handlers */
    bool is_dying;
};

void arb_control_options_init(struct arb_control_options *options)
{
    *options = (struct arb_control_options){.timeout_ms = 10000};
}

static struct control_command *command_at(struct list *link)
{
    return container_of(link, struct control_command, link);
}

static void command_free(struct control_command *cmd)
{
    json_decref(cmd->args);
    free(cmd->target);
    free(cmd->name);
    free(cmd->answer);
    free(cmd);
}

static void command_end(struct control_command *cmd, int status)
{
    struct arb_control *control = cmd->control;

    cmd->status = status;
    deadlines_unset(&control->reactor.deadlines, &cmd->deadline);
    list_remove(&cmd->link);
    list_append(&control->ended, &cmd->link);
}

static void disconnect(struct arb_control *control)
{
    reactor_unwatch(&control->io);
    control_call_close(&control->call);
    control->is_sent = false;
}

/* What was sent and has no answer in time may still be answered: not on the next one's connection.
 */
static void on_command_due(struct deadline *d)
{
    struct control_command *cmd = container_of(d, struct control_command, deadline);
    struct arb_control *control = cmd->control;

    if (control->is_sent && control->waiting.next == &cmd->link)
        disconnect(control);
    command_end(cmd, ARB_TIMEOUT);
}

/* The answer's result, or its error, as text. */
static void take_result(struct control_command *cmd, json_t *answer)
{
    const json_t *error = json_object_get(answer, "error");
    const json_t *value = error ? error : json_object_get(answer, "result");

    cmd->answer = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    json_decref(answer);
    if (!cmd->answer)
        command_end(cmd, ARB_NOMEM);
    else
        command_end(cmd, error ? ARB_COMMAND_FAILED : ARB_OK);
}

static void advance_command(struct arb_control *control)
{
    json_t *answer;
    int rc = control_call_advance(&control->call, &answer);

    if (rc == OUTCOME_PENDING) {
        reactor_want_room(&control->io, (control_call_events(&control->call) & POLLOUT) != 0);
        return;
    }
    control->is_sent = false;
    if (rc == 0) {
        take_result(command_at(control->waiting.next), answer);
        reactor_set_background(&control->io, true);
        return;
    }
    disconnect(control);
    command_end(command_at(control->waiting.next), rc);
}

static void on_control_ready(struct reactor_io *io, uint32_t events)
{
    struct arb_control *control = container_of(io, struct arb_control, io);

    (void)events;
    if (control->is_sent)
        advance_command(control);
    else
        disconnect(control); /* nothing is asked: the server has closed it */
}

static int begin_command(struct arb_control *control, struct control_command *cmd)
{
    uint8_t byte;
    int rc = 0;

    /* A server closes connections that are idle for long. */
    if (control->call.fd >= 0 && recv(control->call.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0)
        disconnect(control);
    if (control->call.fd < 0) {
        rc = control_call_connect(&control->call, control->path, 0);
        if (rc == 0)
            rc = reactor_watch(&control->reactor, &control->io, control->call.fd, false);
    }
    if (rc == 0)
        rc = control_call_post(&control->call, cmd->name, cmd->target, cmd->args);
    return rc == -EILSEQ ? ARB_INVALID : rc;
}

static void send_commands(struct arb_control *control)
{
    while (!control->is_sent && !list_is_empty(&control->waiting)) {
        struct control_command *cmd = command_at(control->waiting.next);
        const int rc = begin_command(control, cmd);

        if (rc) {
            disconnect(control);
            command_end(cmd, rc);
            continue;
        }
        control->is_sent = true;
        reactor_set_background(&control->io, false);
        advance_command(control);
    }
}

/* Only those that have ended before the first handler runs. */
static void answer_commands(struct arb_control *control)
{
    struct list batch;

    list_init(&batch);
    list_splice(&batch, &control->ended);
    while (!list_is_empty(&batch)) {
        struct control_command *cmd = command_at(batch.next);

        list_remove(&cmd->link);
        control->n_commands--;
        if (cmd->on_done && control->reactor.pid == getpid())
            cmd->on_done(control, cmd->status, cmd->answer, cmd->userdata);
        command_free(cmd);
    }
}

static void control_destroy(struct arb_control *control)
{
    while (!list_is_empty(&control->waiting) || !list_is_empty(&control->ended)) {
        if (!list_is_empty(&control->waiting))
            command_end(command_at(control->waiting.next), ARB_CANCELLED);
        else
            answer_commands(control);
    }
    disconnect(control);
    control_call_fini(&control->call);
    reactor_fini(&control->reactor);
    free(control->path);
    free(control);
}

static bool on_control_turn(struct reactor *r)
{
    struct arb_control *control = container_of(r, struct arb_control, reactor);

    if (!control->is_dying) {
        send_commands(control);
        if (!control->is_quiet)
            answer_commands(control);
        control->is_quiet = false;
    }
    if (control->is_dying) {
        control_destroy(control);
        return false;
    }
    if (!list_is_empty(&control->ended) || (!control->is_sent && !list_is_empty(&control->waiting)))
        reactor_kick(r);
    return true;
}

int arb_control_open(const char *path, const struct arb_control_options *options,
                     struct arb_control **ret)
{
    struct arb_control *control;
    int rc;

    if (!path || !*path || (options && options->timeout_ms < 0))
        return ARB_INVALID;
    control = calloc(1, sizeof(*control));
    if (!control)
        return ARB_NOMEM;
    arb_control_options_init(&control->options);
    if (options)
        control->options = *options;
    control_call_init(&control->call);
    control->io = (struct reactor_io){.fd = -1, .on_ready = on_control_ready};
    list_init(&control->waiting);
    list_init(&control->ended);
    control->path = strdup(path);
    rc = control->path ? reactor_init(&control->reactor, control->options.loop, on_control_turn)
                       : ARB_NOMEM;
    if (rc) {
        reactor_fini(&control->reactor);
        free(control->path);
        free(control);
        return rc;
    }
    *ret = control;
    return ARB_OK;
}

void arb_control_free(struct arb_control *control)
{
    if (!control)
        return;
    reactor_enter(&control->reactor);
    control->is_dying = true;
    reactor_leave(&control->reactor);
}

static int command_new(struct arb_control *control, const char *target, const char *name,
                       const char *args, struct control_command **ret)
{
    struct control_command *cmd = calloc(1, sizeof(*cmd));
    bool is_object = true;

    if (!cmd)
        return ARB_NOMEM;
    cmd->control = control;
    cmd->deadline.on_due = on_command_due;
    list_init(&cmd->link);
    cmd->target = target ? strdup(target) : NULL;
    cmd->name = strdup(name);
    if (args) {
        cmd->args = json_loads(args, JSON_REJECT_DUPLICATES, NULL);
        is_object = json_is_object(cmd->args);
    }
    if (cmd->name && is_object && (cmd->target || !target)) {
        *ret = cmd;
        return 0;
    }
    command_free(cmd);
    return is_object ? ARB_NOMEM : ARB_INVALID;
}

static int command_start(struct arb_control *control, const char *target, const char *command,
                         const char *args, arb_control_handler *on_done, void *userdata,
                         struct control_command **ret)
{
    struct control_command *cmd;
    int rc = reactor_check(&control->reactor, false);

    if (rc == 0 && (!command || !*command))
        rc = ARB_INVALID;
    if (rc == 0 && control->n_commands >= ARB_CONTROL_CALLS_MAX)
        rc = ARB_QUEUE_FULL;
    if (rc == 0)
        rc = command_new(control, target, command, args, &cmd);
    if (rc)
        return rc;
    cmd->on_done = on_done;
    cmd->userdata = userdata;
    control->n_commands++;
    list_append(&control->waiting, &cmd->link);
    deadlines_set(&control->reactor.deadlines, &cmd->deadline,
                  deadline_after_ms((uint64_t)control->options.timeout_ms));
    *ret = cmd; /* exists until its handler has been called, in a later turn */
    if (!control->reactor.loop) {
        reactor_kick(&control->reactor);
        return ARB_OK;
    }
    reactor_enter(&control->reactor);
    control->is_quiet = control->reactor.depth == 1;
    reactor_leave(&control->reactor);
    return ARB_OK;
}

int arb_control_start(struct arb_control *control, const char *target, const char *command,
                      const char *args, arb_control_handler *on_done, void *userdata)
{
    struct control_command *cmd;

    return command_start(control, target, command, args, on_done, userdata, &cmd);
}

int arb_control_wait(struct arb_control *control, int timeout_ms)
{
    const uint64_t until = deadline_of_wait(timeout_ms);
    int rc = reactor_check(&control->reactor, true);

    while (rc == 0 && control->n_commands > 0) {
        rc = reactor_run(&control->reactor, until);
        if (rc == -ENODEV)
            return ARB_CANCELLED;
        if (rc == 0 && control->n_commands > 0 && clock_mono_ns() >= until)
            rc = ARB_TIMEOUT;
    }
    return rc;
}

struct control_waiter {
    int status;
    bool is_done;
    char *answer;
};

static void on_waited_for(struct arb_control *control, int status, const char *answer,
                          void *userdata)
{
    struct control_waiter *w = userdata;

    (void)control;
    w->status = status;
    w->is_done = true;
    if (!answer)
        return;
    w->answer = strdup(answer);
    if (!w->answer)
        w->status = ARB_NOMEM;
}

int arb_control_call(struct arb_control *control, const char *target, const char *command,
                     const char *args, char **ret_answer)
{
    struct control_waiter w = {0};
    struct control_command *cmd;
    int rc = reactor_check(&control->reactor, true);

    if (ret_answer)
        *ret_answer = NULL;
    if (rc == 0)
        rc = command_start(control, target, command, args, on_waited_for, &w, &cmd);
    if (rc)
        return rc;
    while (!w.is_done) {
        rc = reactor_run(&control->reactor, DEADLINE_NEVER);
        if (rc == 0 || w.is_done) /* a handler of another command may have freed the handle */
            continue;
        cmd->on_done = NULL;
        return rc;
    }
    if (ret_answer)
        *ret_answer = w.answer;
    else
        free(w.answer);
    return w.status;
}
