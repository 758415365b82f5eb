/*
 * libarbiter: actors. A process of the server is an actor: the arbiter, a worker, or one of another
 * kind (struct arb_kind). It has an id such as "worker.2", counters, commands, timers, and it sends
 * and receives messages.
 *
 * All functions here are called in the process and on the thread that the handle belongs to. None
 * of them blocks, except arb_actor_wait. A handle lives as long as its process.
 */
#ifndef ARB_ACTOR_H
#define ARB_ACTOR_H

#include <arbiter/config.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

/*
 * What a protocol, a kind of actor or the program's init has of its process. Each has a handle of
 * its own: counters, commands and connections of one do not mix with those of another.
 */
struct arb_actor;
struct arb_conn; /* see <arbiter/protocol.h> */
struct arb_answer; /* the answer to a command that has not been given yet */
struct json_t; /* jansson's */
struct ev_loop; /* libev's */

/* arb_actor_id - "worker.2", "clock.1", "arbiter"; borrowed */
const char *arb_actor_id(const struct arb_actor *self);

/* arb_actor_slot - the number in the id; 0 = the arbiter */
uint32_t arb_actor_slot(const struct arb_actor *self);

/* arb_actor_loop - the loop of this process, for what is not here. Not covered by the ABI promise.
 */
struct ev_loop *arb_actor_loop(const struct arb_actor *self);

/* ---- counters ---- */

/* Shown as OWNER.NAME in `info`, summed over processes, kept over reloads and upgrades. */
struct arb_counter {
    const char *name; /* [a-z_]+ */
    const char *help; /* what is counted, one line */
};

struct arb_counters {
    const struct arb_counter *first;
    size_t count, row_size;
};

/* Own counters of a whole program. */
enum { ARB_COUNTERS_MAX = 32 };

/* arb_count - add @n to counter number @counter of the owner's table. Costs no system call. */
void arb_count(struct arb_actor *self, unsigned counter, uint64_t n);

/* ---- the log ---- */

enum arb_level { ARB_DEBUG, ARB_INFO, ARB_WARNING, ARB_ERROR };

/* A field of a log line: a text, or a number if @text is NULL. */
struct arb_field {
    const char *key; /* [a-z_]+ */
    const char *text;
    uint64_t number;
};

/*
 * arb_log - write a line into the server's log
 * @message  borrowed; what happened, without its values
 * @fields   borrowed; NULL if @n is 0. At most 16 are written, and how many are left out.
 * Texts are escaped, a line that is too long is cut. In workers the line names the protocol.
 * Warnings and errors of one protocol that have the same message are counted instead of written if
 * they repeat within 5 seconds, as the framework's own are.
 */
void arb_log(struct arb_actor *self, enum arb_level level, const char *message,
             const struct arb_field *fields, size_t n);

/* ---- timers, descriptors ---- */

struct arb_timer;

/*
 * arb_timer_new - call @fn after @first_ms, then each @every_ms
 * @every_ms  0 = once: the timer frees itself before @fn is called
 * Returns NULL without memory. Freed by arb_timer_free, or with the actor.
 */
struct arb_timer *arb_timer_new(struct arb_actor *self, uint32_t first_ms, uint32_t every_ms,
                                void (*fn)(void *data), void *data);

/* arb_timer_free - also from its own callback; NULL is fine */
void arb_timer_free(struct arb_timer *timer);

struct arb_watch;
enum { ARB_READABLE = 1, ARB_WRITABLE = 2 };

/*
 * arb_watch_new - call @fn whenever @fd is ready
 * @fd      borrowed, non-blocking; to be closed after arb_watch_free
 * @events  ARB_READABLE, ARB_WRITABLE or both
 * Returns NULL without memory, or if @fd is below 0. Freed by arb_watch_free, or with the actor.
 */
struct arb_watch *arb_watch_new(struct arb_actor *self, int fd, int events,
                                void (*fn)(void *data, int events), void *data);

/* arb_watch_set - wait for other events from now on; 0 = for none */
void arb_watch_set(struct arb_watch *watch, int events);

/* arb_watch_free - also from its own callback; NULL is fine. Does not close the descriptor. */
void arb_watch_free(struct arb_watch *watch);

/* ---- commands ---- */

/*
 * A command is called as OWNER.NAME: the owner is the protocol, the kind, or "arbiter" for those of
 * struct arb_program. `call worker.2 pubsub.channels pattern=a*` asks one worker,
 * `workers` instead of `worker.2` asks all, each of which answers for itself.
 */
struct arb_arg {
    const char *name; /* [a-z_]+ */
    enum arb_type type; /* ARB_COUNT, ARB_BOOL or ARB_TEXT */
    bool is_required;
    uint64_t min, max; /* ARB_COUNT; ARB_TEXT: bytes. Both 0: any */
    const char *help;
};

struct arb_args {
    const struct arb_arg *first;
    size_t count, row_size;
};

struct arb_command {
    const char *name; /* [a-z_]+ */
    const char *help; /* one line */
    struct arb_args args; /* zeroed = none; checked before `run` is called */
    /*
     * run - @args borrowed, an object with what the caller gave
     * Exactly one of arb_answer_json, arb_answer_text and arb_answer_error has to follow, now or
     * later: after 5 seconds the caller is told that there is no answer, and a later one goes to
     * nobody. A process that owes 256 answers refuses further commands.
     */
    void (*run)(void *data, struct arb_answer *answer, const struct json_t *args);
};

struct arb_commands {
    const struct arb_command *first;
    size_t count, row_size;
};

/* arb_answer_json - @result is taken over; NULL = null. The handle is gone afterwards. From workers
 * and actors of a kind an answer has at most 64 KiB; a longer one becomes an error. */
void arb_answer_json(struct arb_answer *answer, struct json_t *result);

/* arb_answer_text - as arb_answer_json, for who has no JSON: @result is one JSON value as text.
 * Returns 0, or -EINVAL: it is no JSON, and the caller has been told so. */
int arb_answer_text(struct arb_answer *answer, const char *result);

/* arb_answer_error - why not: @code for programs ([a-z_]+), @message for people */
void arb_answer_error(struct arb_answer *answer, const char *code, const char *message);

/* clang-format off */
#define ARB_ROWS(table) { (table), sizeof(table) / sizeof((table)[0]), sizeof((table)[0]) }
#define ARB_COUNTERS(table) ARB_ROWS(table)
#define ARB_ARGS(table)     ARB_ROWS(table)
#define ARB_COMMANDS(table) ARB_ROWS(table)
/* clang-format on */

/* ---- messages between actors ---- */

enum { ARB_TOPIC_MAX = 31, ARB_MESSAGE_MAX = 49152 };

/* Borrowed for the call. */
struct arb_message {
    uint64_t number; /* in the one order of all messages of the server, from 1 */
    const char *from; /* id of the sender: "worker.2" */
    const char *topic; /* as the sender gave it */
    const void *data;
    size_t len;
};

/*
 * arb_send - send a message through the arbiter
 * @conn   the connection on whose behalf it is sent, or NULL: that connection is not moved to
 * another worker before the message has its number, so that a later one cannot overtake it
 * @to     "all": every actor, the sender and the arbiter included; a kind, such as "worker"; one
 * actor, such as "worker.3" or "arbiter". While a reload or an upgrade replaces an actor, two
 * processes have its id: both get it.
 * @topic  at most ARB_TOPIC_MAX bytes
 * @data   copied; at most ARB_MESSAGE_MAX bytes
 *
 * All actors see the messages that concern them in one order, each exactly once while the actor
 * lives. For a message to "all" that also holds for a connection that is moved between workers, see
 * on_message of struct arb_protocol.
 *
 * What is under way is bounded in the whole server: each process has its share of 4 MiB, in which
 * a message counts with 256 bytes more than its data, until all actors are done with it. An actor
 * that does not read, because a callback takes long, stalls the others when they have used theirs
 * up. An actor takes part from its first word to the arbiter on: when it is ready, or sends.
 *
 * Returns 0: it will be delivered, unless this process or the arbiter crashes; -EAGAIN: too much is
 * under way, nothing was sent, on_can_send follows; -EMSGSIZE: topic, data or @to are too long,
 * or @to is empty; -EPIPE: the arbiter is gone. That there is no actor @to is not known here: such
 * a message is dropped by the arbiter, counted and logged.
 */
int arb_send(struct arb_actor *self, struct arb_conn *conn, const char *to, const char *topic,
             const void *data, size_t len);

/* ---- actors of other kinds ---- */

/*
 * A kind of actor, beside the workers: it accepts no connections, but has everything else: it is
 * supervised, restarted, listed, commanded, replaced at a reload and at an upgrade. An actor of a
 * kind has either `start` or `main`.
 *
 * At a start the server serves when all of them are ready, too, and gives up if one cannot be. At a
 * reload or an upgrade new ones are started with the new configuration, and the old ones are told
 * to end when all new processes are ready; if one is not, nothing changes. An actor that ends, for
 * whatever reason, is started again, as soon as the rules for workers say. One that is told to end
 * and takes no notice is killed after arbiter.exit_timeout. If the arbiter is gone it is told to
 * end. While an actor is replaced there are two of its id for a moment.
 */
struct arb_kind {
    size_t size; /* sizeof(struct arb_kind) where it was compiled */
    const char *name; /* [a-z_]+, at most 24; its actors are NAME.1, NAME.2 … */
    unsigned count; /* actors at the start, at most 64; 0 = only what arb_spawn starts */

    /* The framework's loop runs. < 0: the actor could not start; `stop` frees *ret_data if that is
     * set. @confs: as in arb_program.init */
    int (*start)(struct arb_actor *self, const void *const *confs, void **ret_data);
    void (*run)(void *data); /* the set of processes that it belongs to serves from now on */
    void (*stop)(void *data); /* it is told to end: free @data. NULL = nothing to do */

    /*
     * main - or a loop of its own: arb_actor_wait has to be called at least once per half of
     * arbiter.timeout; the actor is ready when it is called for the first time, which has to be
     * within arbiter.boot_timeout. Its result is the exit code of the process.
     */
    int (*main)(struct arb_actor *self, const void *const *confs);

    void (*on_message)(void *data, const struct arb_message *message);
    void (*on_can_send)(void *data);
    struct arb_counters counters;
    struct arb_commands commands; /* not with `main` */
};

enum { ARB_ENDS = 1 };

/*
 * arb_actor_wait - for a kind with `main`: handle messages, timers and watches until something has
 * happened or @timeout_ms has passed
 * Returns 0, or ARB_ENDS: this actor has been told to end, and has exit_timeout for it. It may go
 * on to call this until then.
 */
int arb_actor_wait(struct arb_actor *self, uint32_t timeout_ms);

/*
 * arb_actor_set_data - for a kind with `main`: what its on_message and on_can_send get as @data
 */
void arb_actor_set_data(struct arb_actor *self, void *data);

/*
 * arb_spawn - start one more actor of a kind, which then counts among those that are kept running,
 * over reloads and upgrades
 * @on_done  called once, later: @id of the new actor, borrowed, which runs, or NULL and @error:
 * -ENOSPC (there are 64 of the kind), -ETIMEDOUT (it does not run yet, and goes on being started),
 * -EBUSY (an upgrade is under way), -ESHUTDOWN (the server stops) or another -errno; not called if
 * this process ends first; may be NULL
 * Returns 0, -ENOENT (there is no such kind), -EAGAIN (too many are asked for at a time), -ENOMEM
 * or -EPIPE (the arbiter is gone).
 */
int arb_spawn(struct arb_actor *self, const char *kind,
              void (*on_done)(void *data, const char *id, int error), void *data);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
