/*
 * What the files of the arbiter share: its one struct, and the seams between them. Included by
 * src/arbiter/ alone.
 */
#ifndef ARBITER_ARBITER_IMPL_H
#define ARBITER_ARBITER_IMPL_H

#include <arbiter/server.h>
#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>

#include "actor/actor.h"
#include "actor/mailbox.h"
#include "actor/own.h"
#include "actor/own_call.h"
#include "actor/sandbox.h"
#include "actor/scoreboard.h"
#include "actor/sources.h"
#include "actor/spawn.h"
#include "arbiter/answer.h"
#include "arbiter/arbiter.h"
#include "arbiter/change.h"
#include "arbiter/control.h"
#include "arbiter/crashes.h"
#include "arbiter/history.h"
#include "arbiter/kinds.h"
#include "arbiter/notify.h"
#include "base/pidfile.h"
#include "base/privileges.h"
#include "arbiter/sequencer.h"
#include "arbiter/sinks.h"
#include "arbiter/stats.h"
#include "arbiter/transition.h"
#include "arbiter/upgrade.h"
#include "arbiter/watch.h"
#include "arbiter/watchdog.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/oom.h"
#include "net/activation.h"
#include "net/listener.h"

/* A stop takes exit_timeout and a second at most: this much of it, and the rest is for the kernel.
 */
enum { STOP_END_MS = 900 };

struct arbiter;

/* A configuration with what it needs: at most two at a time, the one that serves and the next. */
struct revision {
    uint64_t number; /* from 1 */
    struct config *config; /* owned */
    /* In the order of config->bind, which knows their protocols; shared with the other revision by
     * `refs`. */
    struct listener *listeners[CONFIG_BIND_MAX];
    size_t n_listeners;
    struct listener *status; /* of status.bind, shared in the same way; NULL = none */
    /* Unix sockets of the revision before whose access this one has changed, and what they had. */
    struct {
        struct listener *listener; /* borrowed */
        struct listener_access before;
    } changed[CONFIG_BIND_MAX + 1];
    size_t n_changed;
    struct log log; /* owned; what its workers inherit */
    struct sink *sink; /* held: where the log goes; NULL = syslog */
    unsigned workers; /* at its beginning: as counted, or as an upgrade has kept them */
    unsigned counted; /* what the configuration and the CPUs give */
    char workers_why[CONFIG_WORKERS_WHY_LEN]; /* why so many */
};

/* One process, by its index in the scoreboard. */
struct child {
    struct arbiter *arbiter; /* borrowed */
    char id[KINDS_ID_LEN]; /* "worker.2" */
    pid_t pid; /* 0 = none */
    uint32_t proc;
    struct score_record *score; /* borrowed: what it says about itself */
    uint32_t slot;
    uint64_t incarnation; /* of the slot */
    uint64_t revision;
    uint64_t forked_ms;
    uint64_t ready_ms; /* 0 = not yet */
    bool is_killed; /* SIGKILL was ours */
    bool is_inherited; /* forked by an earlier image: its code lies elsewhere */
    struct watch watch;
    struct tally tally;
    json_t *own_kept; /* owned: as arbiter.own_kept; NULL = none */
    bool must_abort; /* to be aborted, and killed if that takes too long */
    uint64_t disconnected_ms; /* when it closed its mailbox; 0 = not */
    bool must_drain; /* once those that give to it have finished, or somebody can take */
    bool waits_for_look; /* the same again at once would have the same end */
    bool is_draining; /* has been told so */
    uint32_t takers[2 * MAILBOX_FDS_MAX]; /* processes that it may still give to: n_takers */
    size_t n_takers;
    bool has_late; /* connections of it owed a reply when it drained, and can move now */
    unsigned n_offers; /* to take what it could not give when it drained */
    int table_fd; /* owned: what a worker shares with its keeper (net/keep_table.h); -1 = nothing */
    pid_t keeper; /* of a worker: who keeps its connections; 0 = nobody */
    uint64_t n_left; /* of a keeper: connections of dead workers that nobody serves */
    bool is_told_last; /* the same: to end now, since no worker is left */
    uint64_t shown_ms; /* of a status actor: when it got its last snapshot; monotonic */
    unsigned n_gives; /* orders to give that it has not reported yet */
    uint64_t gave_ms; /* the last of them */
    struct mailbox mailbox;
    struct relay_member relay; /* its part in the messages between actors */
    struct asker asker; /* its requests */
};

/* Of a slot, in an image without keepers. */
struct old_pair {
    bool is_open;
    int ends[2]; /* owned: the reading one, the writing one */
};

/* A reload between SIGHUP and its commit or rollback. */
struct reload {
    bool is_force_asked; /* by one of the requests that wait */
    bool is_forced; /* the one under way may lose every group */
    pid_t parser; /* 0 = none; reaped by the sweep */
    const char *path; /* borrowed, of the live revision or the program: what it reads */
    int fd; /* owned: the parser's answer */
    ev_io io;
    ev_timer deadline;
    char *data; /* owned */
    size_t len;
    bool is_read; /* to its end */
    int status; /* of the parser, once it is reaped */
    uint64_t started_ms;
    json_t *changes; /* owned: of the reload under way, for its answer */
    struct config *config; /* owned: read, and waiting for `sink` to be ready; NULL = none */
    struct sink *sink; /* held: where it logs to; NULL = syslog, or not known yet */
};

/* Connections that change hands, since the log last said so. */
struct moves {
    uint64_t since_ms; /* the first order; 0 = none */
    uint64_t before; /* those that had been handed out by then */
    bool is_wanted; /* by a transition: worth a line at info */
    bool is_look_due; /* something has ended: who had to wait may be told now */
    bool is_balance_due; /* the shares may have become uneven */
};

struct arbiter {
    const struct arbiter_options *options; /* borrowed */
    struct ev_loop *loop; /* owned */
    struct log *log; /* borrowed: live->log once there is one */
    struct own own; /* what the program has of its own */
    struct actor_process process;
    struct arb_actor hold; /* of the program on this process */
    struct spawns spawns; /* actors that the program has asked for here */
    struct asker spawn_asker; /* who asks for them */
    struct own_calls own_calls; /* commands of the program that run here */
    uint64_t last_own_call;
    struct scoreboard scoreboard;
    struct sources sources; /* what workers count by source; made when it is needed first */
    struct counters totals; /* of the dead */
    struct own_counts own_totals; /* the same of the program's own counters */
    struct score_times times; /* the same of how long things took */
    json_t *own_kept; /* owned: of an earlier program, which may come back: OWNER.NAME to value */
    size_t n_own_dropped; /* of too many such names */
    struct revision *live; /* owned */
    struct revision *next; /* owned; NULL = no reload has got that far */
    uint64_t last_revision;
    struct sandbox sandbox; /* owned; built for the first revision that wants it */
    struct kinds kinds; /* of actors beside the workers */
    uint64_t incarnations[TR_ALL_SLOTS_MAX + 1]; /* processes that have filled the slot */
    const struct children_ops *children_ops; /* borrowed */
    struct child *children; /* owned, TR_RECORDS_MAX */
    uint32_t n_children_used; /* indexes at or above have never been used */
    struct old_pair *old_pairs; /* owned, by slot */
    bool has_old_pairs;
    bool is_keep_due; /* a worker or a keeper has begun or ended, or a keeper has something to pass
                       */
    struct crashes *crashes; /* owned */
    struct oom oom;
    struct transition *engine; /* owned */
    ev_check settle; /* never started: fed by settle_soon, and comes after all other events */
    ev_timer alarm; /* the engine's next deadline */
    struct moves moves;
    ev_timer balance; /* looks whether connections should move */
    ev_timer watch; /* the watchdog's next look */
    struct watchdog watchdog;
    ev_timer housekeeping; /* closes the counts of repeated log lines */
    struct ev_signal *signals; /* owned: one a row of the table */
    struct change change;
    struct reload reload;
    struct upgrade upgrade;
    struct privileges privileges; /* whom workers and other actors serve as */
    struct pidfile pidfile;
    struct notify notify;
    struct activation activation; /* until the first revision has it */
    struct control control;
    struct sinks sinks; /* owned */
    struct answers answers;
    json_t *notes; /* owned: what `notify` left, by actor */
    json_t *history; /* owned: the last changes (arbiter/history.h) */
    struct sequencer sequencer; /* of the messages between actors */
    enum actor_state state;
    uint64_t started_ms;
    uint64_t reloads;
    uint64_t restarts; /* unplanned ends */
    uint64_t upgrades;
    bool is_leaving; /* a stop has been asked for: nothing begins any more */
    uint64_t leave_ms; /* until then it serves on, arbiter.stop_delay; 0 = it drains, or is not
                          leaving */
    ev_timer leave;
    bool is_stopping; /* it drains */
    uint64_t end_ms; /* when the process has ended at the latest; 0 = it does not stop */
    int exit_code;
};

/*
 * settle_soon - a fact has changed: once all events of this turn of the loop are handled, and
 * before it sleeps, the arbiter looks at all of them (`settle` in arbiter.c)
 */
static inline void settle_soon(struct arbiter *a)
{
    ev_feed_event(a->loop, &a->settle, EV_CUSTOM);
}

/* engine_post - something has happened: the engine hears of it at once, and what is to be done
 * about it is done by `settle`, so that nobody who posts an event is surprised by forks and kills
 */
static inline void engine_post(struct arbiter *a, const struct tr_event *ev)
{
    transition_event(a->engine, clock_mono_ms(), ev);
    settle_soon(a);
}

/* startup.c */

/* arbiter_init - the empty one; to be followed by arbiter_fini, whatever it says. Returns 0,
 * -ENOMEM or -EINVAL: the program's tables are not as they must be, which is logged. */
int arbiter_init(struct arbiter *a, struct log *log, const struct arbiter_options *options);
void arbiter_fini(struct arbiter *a);

/*
 * arbiter_init_program - what the program does in the arbiter before the first fork of an image
 * @why  on failure: a sentence. Returns 0 or -errno.
 */
int arbiter_init_program(struct arbiter *a, char *why, size_t why_size);

/* arbiter_serve - unblock signals and run until stopped. Returns the exit code. */
int arbiter_serve(struct arbiter *a);

/* arbiter.c */

/* arbiter_attach - timers and signals. Returns 0 or -ENOMEM. */
int arbiter_attach(struct arbiter *a);

/* arbiter_set_state - a step of the states' table: logged, and shown in the process title */
void arbiter_set_state(struct arbiter *a, enum actor_state state);

/* arbiter_stop - begin to stop, after arbiter.stop_delay; a second time, or @is_quick, at once.
 * @cause: for the log */
void arbiter_stop(struct arbiter *a, bool is_quick, const char *cause);

/* arbiter_scale - want @workers processes, 1..TR_SLOTS_MAX */
void arbiter_scale(struct arbiter *a, uint32_t workers);

/* arbiter_reopen_logs - begin to; arbiter_on_reopened - a writer has, or could not */
void arbiter_reopen_logs(struct arbiter *a);
void arbiter_on_reopened(struct sinks *sinks, struct sink *s);

/* arbiter_on_exit, arbiter_on_other_exit - of struct children_ops */
void arbiter_on_exit(struct arbiter *a, struct child *c, int status);
void arbiter_on_other_exit(struct arbiter *a, pid_t pid, int status);

/* arbiter_detach_signals - in a forked child, before its own loop: libev's rule */
void arbiter_detach_signals(struct arbiter *a);

/* children.c */

/* What processes report; filled in by the wiring. */
struct children_ops {
    /* in a process that has just been forked: free what belongs to the arbiter's loop */
    void (*in_child)(struct arbiter *a);
    /* @m borrowed. Returns 0, or -EBADMSG: the process may not say that, and is killed. */
    int (*on_message)(struct arbiter *a, struct child *c, struct message *m);
    /* a datagram of the messages between actors. Returns 0, or -errno: its mailbox is closed. */
    int (*on_data)(struct arbiter *a, struct child *c, const uint8_t *data, size_t len);
    /* its mailbox is closed, whether it lives or not */
    void (*on_closed)(struct arbiter *a, struct child *c);
    /* @status of waitpid; what is known of the process is still there */
    void (*on_exit)(struct arbiter *a, struct child *c, int status);
    /* a child that is no actor */
    void (*on_other_exit)(struct arbiter *a, pid_t pid, int status);
};

/* children_kind - what runs in @slot; NULL = nothing that this program can start */
const struct actor_kind *children_kind(const struct arbiter *a, uint32_t slot);

/* children_spawn - fork the process of a TR_SPAWN. Returns 0 or -errno. */
int children_spawn(struct arbiter *a, const struct tr_action *action);

/* child_is_worker - one that serves connections */
static inline bool child_is_worker(const struct child *c)
{
    return c->slot <= TR_SLOTS_MAX;
}

/* In a line about a process: which one. */
#define F_CHILD(c)                                                                                 \
    F_STR(child_is_worker(c) ? "worker" : "id", (c)->id),                                          \
        F_INT(child_is_worker(c) ? "worker_pid" : "id_pid", (c)->pid)

/* children_revision - the one that @c was started with; the live one if that is gone */
struct revision *children_revision(struct arbiter *a, const struct child *c);

/* children_next - the living process behind @c; NULL = the first, or there is none */
struct child *children_next(const struct arbiter *a, const struct child *c);

#define for_each_child(a, c)                                                                       \
    for (struct child *c = children_next(a, NULL); c; c = children_next(a, c))
#define for_each_worker(a, c)                                                                      \
    for_each_child (a, c)                                                                          \
        if (child_is_worker(c))

/* children_send - one message; @args is taken over, NULL = none. Returns 0 or -errno, logged. */
int children_send(struct child *c, const char *command, uint64_t id, json_t *args);

/* children_send_fds - the same with descriptors, borrowed, at most MAILBOX_FDS_MAX */
int children_send_fds(struct child *c, const char *command, uint64_t id, json_t *args,
                      const int *fds, size_t n_fds);

/* children_kill - SIGKILL, logged at @level with @why */
void children_kill(struct child *c, enum log_level level, const char *why);

/* children_inherit - go on with a process that an earlier image has forked; all but the mailbox is
 * filled in. @mailbox_fd: taken over; -1 = closed */
void children_inherit(struct arbiter *a, struct child *c, int mailbox_fd);

/* children_find - by its pid, not 0; NULL = it is gone */
struct child *children_find(struct arbiter *a, pid_t pid);

/* children_reap - sweep every exit there is; SIGCHLD may stand for many */
void children_reap(struct arbiter *a);

/* revision.c */

/*
 * revision_new - open what @config needs; listeners of @old with the same text are shared. The
 * sink that it logs to is ready.
 * @config  taken over on 0
 * @old     borrowed; NULL at the start
 * @why     on failure: a sentence
 * Returns 0, or -errno and nothing is changed.
 */
int revision_new(struct arbiter *a, struct config *config, uint64_t number, struct revision *old,
                 struct revision **ret, char *why, size_t why_size);

/*
 * revision_inherit - one that serves already; its listeners are there
 * @config,@listeners,@status  taken over on 0; listeners as by malloc, each with no reference yet;
 * @status NULL = none
 * Returns 0 or -errno with @why, and nothing is changed.
 */
int revision_inherit(struct arbiter *a, struct config *config, uint64_t number,
                     struct listener **listeners, size_t n, struct listener *status,
                     struct revision **ret, char *why, size_t why_size);

/* revision_keep_workers - as many as there were before an upgrade, whatever is counted now */
void revision_keep_workers(struct revision *rev, unsigned workers);

/* revision_kinds - which of the framework's own kinds of actors @c wants: KINDS_* */
static inline unsigned revision_kinds(const struct config *c)
{
    return (c->has_keepers ? KINDS_KEEPERS : 0) | (*c->status_bind ? KINDS_ONE_STATUS : 0);
}

/* revision_set - the workers and other actors that it wants, for the engine */
struct tr_set revision_set(const struct arbiter *a, const struct revision *rev);

_Static_assert((int)CONFIG_PROXY_ACCEPT == (int)PROXY_ACCEPTED &&
                   (int)CONFIG_PROXY_REQUIRE == (int)PROXY_REQUIRED,
               "what a listener asks for has one number");

/* revision_speak_at - at @l connections are what @bind says, which is borrowed */
static inline void revision_speak_at(struct listener *l, const struct config_bind *bind)
{
    l->protocol = bind->protocol;
    l->proxy = (enum proxy_wish)bind->proxy;
    l->proxy_from = bind->proxy_from;
    l->n_proxy_from = bind->n_proxy_from;
}

/* revision_speak - in this process, its listeners speak what its configuration says: they may be
 * shared with another revision, which says something else */
static inline void revision_speak(const struct revision *rev)
{
    for (size_t i = 0; i < rev->n_listeners; i++)
        revision_speak_at(rev->listeners[i], &rev->config->bind[i]);
}

/* revision_can_change - is there room for another one with the configuration @c and so many
 * workers?
 */
bool revision_can_change(const struct arbiter *a, const struct config *c, uint32_t workers);

/* revision_commit - the next one serves, the old one is freed; revision_roll_back - the next one is
 * freed. Who waits at an address that no other revision has goes to the workers of the live one. */
void revision_commit(struct arbiter *a);
void revision_roll_back(struct arbiter *a);

/* revision_vacate_all - the server stops: free all addresses, before the workers are told, which
 * get who waits there to be accepted. If @is_quick, who waits is reset. */
void revision_vacate_all(struct arbiter *a, bool is_quick);

/* revision_free - close what no other revision holds. NULL is fine. */
void revision_free(struct revision *rev);

/* revision_say_status - in the log: where it shows over HTTP how the server is, if it does */
void revision_say_status(struct revision *rev);

/* revision_addresses - the bound addresses, space separated */
void revision_addresses(const struct revision *rev, char *buf, size_t size);

/* reload.c */

extern const struct change_ops reload_ops;

/* reload_request - @is_forced: also if the file has lost every group that it had */
void reload_request(struct arbiter *a, bool is_forced);

/* reload_on_sink - the target of @s has been opened, or not: @s->why */
void reload_on_sink(struct sinks *sinks, struct sink *s);

/* reload_fini - cancel, and leave neither a zombie nor memory */
void reload_fini(struct arbiter *a);

/* keepers.c */

/* child_is_keeper - it holds duplicates of workers' connections */
static inline bool child_is_keeper(const struct child *c)
{
    return !child_is_worker(c) &&
           strcmp(kinds_name(&c->arbiter->kinds, c->slot), KINDS_KEEPER) == 0;
}

/* keepers_inherit_pair - of @slot of an image without keepers; taken over */
void keepers_inherit_pair(struct arbiter *a, uint32_t slot, int recv_fd, int send_fd);

/* keepers_look - something has begun or ended, or time has passed */
void keepers_look(struct arbiter *a);

/* keepers_settle - introduce workers to the keepers that keep for them, and those who take what
 * dead workers have left; once no worker is left at a stop, keepers end. What waits in an inherited
 * pair a worker collects, until nobody is left who could send more. */
void keepers_settle(struct arbiter *a);
void keepers_fini(struct arbiter *a);

/* keepers_is_keeping - may a keeper have something of @c, which has ended? */
bool keepers_is_keeping(const struct child *c);

/* keepers_on_exit - @c, a worker or a keeper, has ended */
void keepers_on_exit(struct arbiter *a, struct child *c);

/* keepers_on_left, keepers_on_passed - what a keeper says of a worker that has died */
void keepers_on_left(struct arbiter *a, struct child *c, json_t *args);
void keepers_on_passed(struct arbiter *a, struct child *c, json_t *args);

/* keepers_drain - tell the keeper @c to end with its last ward; at a stop, not before the workers
 */
void keepers_drain(struct arbiter *a, struct child *c, bool is_quick);

/* keepers_give_time - @c drains from now on: so does its keeper, perhaps */
void keepers_give_time(struct arbiter *a, const struct child *c);

/* snapshot.c */

/* child_is_status - it shows over HTTP how the server is */
static inline bool child_is_status(const struct child *c)
{
    return !child_is_worker(c) &&
           strcmp(kinds_name(&c->arbiter->kinds, c->slot), KINDS_STATUS) == 0;
}

/* snapshot_on_asked - @c, a status actor, has nothing fresh to show */
void snapshot_on_asked(struct arbiter *a, struct child *c, json_t *args);

/* move.c */

/* move_start - timers; move_fini - stop them */
void move_start(struct arbiter *a);
void move_fini(struct arbiter *a);

/* move_drain - tell @c to give its connections to those that stay, and to end */
void move_drain(struct arbiter *a, struct child *c);

/* move_look - something has ended: who had to wait for it may be told */
void move_look(struct arbiter *a);

/* move_settle - tell those that had to wait to drain; even the shares out if that is due */
void move_settle(struct arbiter *a);

/* move_is_under_way - is any worker giving connections away? One whom something holds up is not
 * waited for. */
bool move_is_under_way(const struct arbiter *a);

/* move_soon - the shares may have become uneven: look at once */
void move_soon(struct arbiter *a);

/* move_on_moved - a giver has finished */
void move_on_moved(struct arbiter *a, struct child *c, json_t *args);

/* move_on_answered - @c drains, and connections that owed a reply can move now */
void move_on_answered(struct arbiter *a, struct child *c, json_t *args);

/* move_want - a transition has told workers to run or to drain: what moves now is worth a line */
void move_want(struct arbiter *a);

/* move_log - once nobody gives any more: say how many have moved */
void move_log(struct arbiter *a);

#endif
