/*
 * THE transition engine: desired state against actual processes. Pure: events and time in, actions
 * out; it forks, kills and logs nothing. Start, restart, reload, scale, recycling, draining,
 * upgrade and stop are rows of it, not machines of their own.
 *
 * Two sets may be wanted at a time: the `live` revision, which serves, and the `next`, which a
 * reload prepares. When every process of `next` is ready it becomes `live` in one step (commit); if
 * one of them fails before that, it is taken back (rollback) and nothing has happened. A process
 * serves from TR_RUN to TR_DRAIN.
 */
#ifndef ARBITER_TRANSITION_H
#define ARBITER_TRANSITION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "arbiter/policy.h"

enum {
    TR_SLOTS_MAX = 1024, /* of workers: 1..TR_SLOTS_MAX */
    TR_KINDS_MAX = 16, /* of other actors: this program's, and those of the one before an upgrade */
    TR_KIND_SLOTS_MAX = 64, /* of one such kind; they follow the workers', kind by kind */
    TR_ALL_SLOTS_MAX = TR_SLOTS_MAX + TR_KINDS_MAX * TR_KIND_SLOTS_MAX,
    TR_RECORDS_MAX = 4096,
    TR_KILL_GRACE_MS = 500,
    TR_QUICK_GRACE_MS = 150,
    TR_RECYCLE_MIN_MS = 1000, /* of service before a process may have an heir */
    TR_COMPANION_MS =
        5000, /* how long a companion may outlive a worker that does not end in time */
    TR_BRIEF_MS = 1500 /* how long a process of the brief kind may drain: it gives nothing away */
};

enum tr_phase {
    TR_FREE, /* no process */
    TR_STARTING, /* forked, not ready; killed at `deadline_ms` (boot_timeout) */
    TR_READY, /* prepared, not told to run: waits for the rest of `next` */
    TR_RUNNING, /* serves; `deadline_ms` is when deaths of its slot count no more */
    TR_DRAINING, /* drains; killed at `deadline_ms` (exit_timeout and a grace) */
    TR_KILLED, /* SIGKILL sent, not yet reaped */
    TR_PHASES
};

struct tr_proc {
    enum tr_phase phase;
    bool wants_heir; /* asked to be replaced; serves until its heir does */
    bool is_quick; /* has been told to exit at once */
    bool is_overdue; /* killed at its boot_timeout: its end was not wanted */
    uint32_t slot; /* 1..TR_ALL_SLOTS_MAX */
    uint64_t revision; /* the configuration that it was started with */
    uint64_t exit_timeout_ms; /* of that configuration */
    uint64_t since_ms; /* entered the phase */
    uint64_t deadline_ms; /* 0 = none */
};

enum tr_mode { TR_MODE_SERVE, TR_MODE_GRACEFUL, TR_MODE_QUICK };

/* A set of processes that is wanted: slots 1..workers and those of the others, each of this
 * revision. revision 0 = none is wanted. */
struct tr_set {
    uint64_t revision;
    uint32_t workers;
    uint64_t boot_timeout_ms;
    uint64_t exit_timeout_ms;
    uint8_t others[TR_KINDS_MAX]; /* actors of each other kind, at most TR_KIND_SLOTS_MAX */
    uint32_t companions; /* kind + 1 of which there is one for each worker, or as many as there can
                            be: scaled with them; 0 = none */
    uint32_t brief; /* kind + 1 whose processes drain for TR_BRIEF_MS at most; 0 = none */
};

/* tr_slot - of actor @number, from 1, of the other kind @kind; tr_slot_kind, tr_slot_number - back
 * again. The kind of a worker's slot is TR_KINDS_MAX. */
static inline uint32_t tr_slot(uint32_t kind, uint32_t number)
{
    return TR_SLOTS_MAX + kind * TR_KIND_SLOTS_MAX + number;
}

static inline uint32_t tr_slot_kind(uint32_t slot)
{
    return slot > TR_SLOTS_MAX ? (slot - TR_SLOTS_MAX - 1) / TR_KIND_SLOTS_MAX
                               : (uint32_t)TR_KINDS_MAX;
}

static inline uint32_t tr_slot_number(uint32_t slot)
{
    return slot > TR_SLOTS_MAX ? (slot - TR_SLOTS_MAX - 1) % TR_KIND_SLOTS_MAX + 1 : slot;
}

enum tr_failure {
    TR_FAILURE_NONE,
    TR_FAILURE_DIED, /* a process of `next` ended before all of `next` were ready */
    TR_FAILURE_BOOT_TIMEOUT,
    TR_FAILURE_FORK,
    TR_FAILURE_STOPPED, /* overtaken by a stop */
};

/* What a process fills a slot as. One that fills none is no longer wanted. */
enum tr_role {
    TR_LIVE,
    TR_NEXT,
    TR_HEIR, /* will take a slot of `live` over from a process that wants to be replaced */
    TR_ROLES,
    TR_NO_ROLE = TR_ROLES
};

/* One look at everything; begun anew by each event and at `wake_ms`, resumed after each action. */
struct tr_pass {
    bool is_due; /* something has changed: begin again */
    uint32_t proc; /* next proc to look at */
    uint32_t slot[TR_ROLES]; /* next slot to fill; 0 = there is no more */
    uint32_t live_running, next_held, next_ready, heirs; /* seen so far */
    uint32_t to_replace; /* proc + 1 of the first that may have an heir now; 0 = none */
    uint64_t wake_ms; /* the earliest deadline seen so far */
};

struct transition {
    enum tr_mode mode;
    struct tr_set live; /* workers changes by scale, others by TR_EV_ONE_MORE */
    struct tr_set next; /* revision 0 = no reload under way */
    uint32_t n_procs; /* usable ones, 1..TR_RECORDS_MAX; bounds the processes */
    struct policy_budget budget; /* of the workers */
    struct policy_budget others_budget; /* of all other kinds; counts until the first set serves */
    uint32_t random; /* state of the jitter's generator */
    uint64_t stop_deadline_ms;
    enum tr_failure failure; /* of `next`; a rollback is due */
    uint32_t failed_proc, failed_slot;
    bool is_commit_due; /* all of `next` were ready: no way back */
    bool has_served; /* every process of the first set has been ready */
    bool is_stopped;
    uint32_t top; /* procs from here on are free */
    uint32_t free_from; /* procs before this one are not */
    uint32_t n[TR_PHASES]; /* procs in each phase */
    uint32_t n_workers[TR_PHASES]; /* of workers alone; not of TR_FREE */
    struct tr_pass pass;
    uint16_t holder[TR_ROLES][TR_ALL_SLOTS_MAX + 1]; /* proc + 1 of the slot's process; 0 = empty */
    struct policy slots[TR_ALL_SLOTS_MAX + 1]; /* of `live`; [0] unused */
    struct tr_proc procs[TR_RECORDS_MAX]; /* index = proc, as in the scoreboard */
};

enum tr_event_kind {
    TR_EV_TICK, /* time has passed */
    TR_EV_RELOAD, /* prepare @set as `next`; ignored unless transition_can_reload() */
    TR_EV_SCALE, /* @workers, 1..TR_SLOTS_MAX, of `next` if a reload is under way, else of `live` */
    TR_EV_ONE_MORE, /* actor of @other, from now on; ignored unless transition_has_room() */
    TR_EV_READY, /* @proc said so */
    TR_EV_DRAINS, /* @proc drains of its own accord: replace it, planned */
    TR_EV_TOLD, /* @proc, draining, could be told so only now: its time begins anew */
    TR_EV_WANTS_HEIR, /* @proc serves and wants to be replaced: first an heir, then its end */
    TR_EV_EXITED, /* @proc has been reaped */
    TR_EV_FORK_FAILED, /* the TR_SPAWN for @proc could not be done */
    TR_EV_STOP, /* graceful; a second one, or @is_quick, is quick */
};

struct tr_event {
    enum tr_event_kind kind;
    uint32_t proc;
    uint32_t workers;
    uint32_t other; /* kind */
    bool is_quick;
    bool was_killed; /* of TR_EV_EXITED: SIGKILL from outside, which says nothing about @proc */
    bool is_missed; /* of TR_EV_EXITED: connections wait for who comes next */
    struct tr_set set;
};

enum tr_action_kind {
    TR_NOTHING, /* wait for the next event or transition_deadline() */
    TR_SPAWN, /* fork @proc for @slot with the configuration @revision */
    TR_RUN, /* tell @proc to serve */
    TR_DRAIN, /* tell @proc to drain (@is_quick: to exit at once) */
    TR_KILL, /* SIGKILL @proc: @why */
    TR_COMMIT, /* `next` is now `live` (@revision): the listeners of the old one may go. Comes after
                  every TR_RUN of the new and before every TR_DRAIN of the old processes. */
    TR_ROLLBACK, /* `next` (@revision) is given up because of @failure at @proc: close what only
                    it had */
    TR_SERVING, /* once: every process of the first set runs */
    TR_STOPPED, /* stopping, and no process is left: leave the loop, exit 0 */
    TR_GIVE_UP, /* no worker serves and the budget is spent, or that of the others before
                   TR_SERVING: exit 70 at the TR_STOPPED that follows */
};

enum tr_kill_reason {
    TR_KILL_BOOT_TIMEOUT,
    TR_KILL_EXIT_TIMEOUT,
    TR_KILL_ROLLBACK,
    TR_KILL_STOP, /* not wanted any more: a stop, fewer workers, or a commit */
};

struct tr_action {
    enum tr_action_kind kind;
    uint32_t proc;
    uint32_t slot;
    uint64_t revision;
    bool is_quick;
    enum tr_kill_reason why;
    enum tr_failure failure;
};

/*
 * transition_init - nothing runs, @first is wanted
 * @n_procs  the scoreboard's size
 * @random     seed of the jitter
 */
void transition_init(struct transition *t, const struct tr_set *first, uint32_t n_procs,
                     uint32_t random);

/* A process that runs already when the engine begins: after an upgrade. */
struct tr_inherited {
    uint32_t index;
    enum tr_role role; /* TR_LIVE, TR_HEIR or TR_NO_ROLE */
    struct tr_proc proc;
};

/*
 * transition_inherit - as transition_init, but @live has served, and these processes are there
 * What is missing in @live is started at once: deaths before an upgrade do not count.
 * Returns 0, or -EINVAL if that is nothing an engine could have come to; @t is undefined then.
 */
int transition_inherit(struct transition *t, const struct tr_set *live, uint32_t n_procs,
                       uint32_t random, const struct tr_inherited *procs, size_t n);

/* transition_describe - the process of @proc, as transition_inherit takes it; none if it is free
 */
void transition_describe(const struct transition *t, uint32_t proc, struct tr_inherited *ret);

/* transition_event - something has happened. Events that make no sense now are ignored. */
void transition_event(struct transition *t, uint64_t now_ms, const struct tr_event *ev);

/*
 * transition_next - the next thing to do; call until it gives TR_NOTHING
 * The engine takes each action as done when it gives it out; what fails comes back as an event.
 */
struct tr_action transition_next(struct transition *t, uint64_t now_ms);

/* transition_deadline - when to send TR_EV_TICK at the latest; UINT64_MAX = never */
uint64_t transition_deadline(const struct transition *t);

/* transition_can_reload - serving, no reload under way, and room for a second set of @n processes
 */
bool transition_can_reload(const struct transition *t, uint32_t n);

/* transition_has_room - for one more actor of @kind */
bool transition_has_room(const struct transition *t, uint32_t kind);

/* transition_size - processes in @set */
uint32_t transition_size(const struct tr_set *set);

/* transition_is_degraded - fewer run than wanted, because of deaths or failed forks: not while a
 * first start, a reload, a planned replacement or scaling up is under way */
bool transition_is_degraded(const struct transition *t);

/* transition_is_planned - the end of @proc is (or would be) wanted; ask before TR_EV_EXITED */
bool transition_is_planned(const struct transition *t, uint32_t proc);

/* transition_failure_text - for people: what happened to a process, as "died ..." */
const char *transition_failure_text(enum tr_failure failure);

/* transition_count - processes in @phase */
uint32_t transition_count(const struct transition *t, enum tr_phase phase);

/* transition_phase - of the process of @proc */
enum tr_phase transition_phase(const struct transition *t, uint32_t proc);

/* transition_is_staying - @proc runs with the live configuration, and will be asked to go on */
bool transition_is_staying(const struct transition *t, uint32_t proc);

/* transition_is_ending - @proc drains, is killed, or has asked for an heir already */
bool transition_is_ending(const struct transition *t, uint32_t proc);

/* transition_has_time - @proc drains, and not more than half of its exit timeout has passed */
bool transition_has_time(const struct transition *t, uint32_t proc, uint64_t now_ms);

/* transition_is_due - transition_next has something to look at, now rather than at its deadline */
bool transition_is_due(const struct transition *t);

/* transition_workers - as many are wanted now; transition_wanted - once a reload that is under way
 * has committed */
uint32_t transition_workers(const struct transition *t);
uint32_t transition_wanted(const struct transition *t);

/* transition_others - as many of @kind are wanted of the live configuration; transition_all_others
 * - of all kinds */
uint32_t transition_others(const struct transition *t, uint32_t kind);
uint32_t transition_all_others(const struct transition *t);

/* transition_is_stopped - TR_STOPPED has been given out */
bool transition_is_stopped(const struct transition *t);

/* transition_is_slot_running - its process of the live configuration runs */
bool transition_is_slot_running(const struct transition *t, uint32_t slot);

/* transition_serves - a worker of the live configuration runs */
bool transition_serves(const struct transition *t);

/* transition_missing - how many slots of the live configuration have no process that runs;
 * @ret_first, if there are some: the first of them */
uint32_t transition_missing(const struct transition *t, uint32_t *ret_first);

/* transition_is_settled - as many workers run as are wanted, and no reload is under way */
bool transition_is_settled(const struct transition *t);

#endif
