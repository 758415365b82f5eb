/*
 * Somebody has asked the arbiter something; the answer may come at once, when a reload or a
 * scaling is done, or when workers have answered. Each asker gets exactly one answer, in bounded
 * time. Knows neither processes nor sockets: who asks is an interface.
 */
#ifndef ARBITER_ANSWER_H
#define ARBITER_ANSWER_H

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"

enum {
    ANSWERS_MAX = 256,
    REQUESTS_MAX = 256,
    REQUEST_TIMEOUT_MS = 5000,
    ANSWERS_SWEEP_MS = 250,
};

/* What an answer waits for. */
enum answer_wait {
    ANSWER_READY, /* nothing: it is being given */
    ANSWER_RELOAD, /* the reload under way */
    ANSWER_NEXT_RELOAD, /* the one after it */
    ANSWER_UPGRADE, /* the upgrade under way */
    ANSWER_SCALE, /* as many workers run as are wanted, and none is too much */
    ANSWER_EXIT, /* process `pid` is gone */
    ANSWER_WORKERS, /* `n_waiting` replies */
    ANSWER_OWN, /* a command of the program, which runs in the arbiter, has answered call `question`
                 */
    ANSWER_SPAWN, /* the actor of `slot` runs */
    ANSWER_LOG, /* the log's writer has answered `question` */
    ANSWER_WAITS
};

/* Whoever asks; embedded in a client of the control socket, or in a worker's process. */
struct asker {
    /* @id as it was given to answer_new; both borrowed */
    void (*give)(struct asker *asker, json_t *id, json_t *body);
};

struct answer {
    struct list link; /* in answers.list */
    struct answers *all; /* borrowed */
    enum answer_wait wait;
    uint64_t deadline_ms;
    struct asker *asker; /* borrowed; NULL = gone */
    json_t *id; /* owned: as the asker gave it */
    uint32_t workers_min, workers_max; /* ANSWER_SCALE: what was asked for; 0, 0 = is not known */
    uint64_t question; /* ANSWER_LOG: its number at the live revision's sink; ANSWER_OWN */
    uint32_t slot; /* ANSWER_SPAWN: the engine's */
    char actor[32]; /* ANSWER_SPAWN: its id; ANSWER_SCALE: of the worker that is new, "" = none */
    pid_t pid; /* ANSWER_EXIT */
    bool (*has_more_time)(struct answer *w); /* asked at the deadline, may put it off; or NULL */
    bool is_map; /* ANSWER_WORKERS: all were asked */
    json_t *map; /* owned: what has come so far */
    unsigned n_waiting;
};

/* A request to a worker whose reply is awaited. */
struct request {
    uint64_t id; /* 0 = free */
    pid_t pid;
    char worker[32]; /* its id */
    uint64_t deadline_ms;
    struct answer *answer; /* borrowed; NULL = nobody asks any more */
};

struct answers {
    struct ev_loop *loop; /* borrowed */
    struct list list; /* every asker that still waits */
    unsigned n;
    struct request requests[REQUESTS_MAX];
    uint64_t last_request;
    ev_timer sweep; /* runs while there are answers */
    /* borrowed: what those that wait for it wait for at present, for whom that takes too long; NULL
     * = nothing in particular */
    const char *obstacles[ANSWER_WAITS];
};

/* answers_init - nobody waits; answers_fini - who still does hears that the arbiter stops */
void answers_init(struct answers *all, struct ev_loop *loop);
void answers_fini(struct answers *all);

/* answer_new - one that @asker (borrowed until answers_forget) is owed. NULL: too many, or no
 * memory. */
struct answer *answer_new(struct answers *all, struct asker *asker, json_t *id);

/* answer_ok, answer_error, answer_give - give it and free it; @result and @body are taken over */
void answer_ok(struct answer *w, json_t *result);
void answer_error(struct answer *w, const char *code, const char *message);
void answer_give(struct answer *w, json_t *body);

/* answer_collect - one more reply of @worker to @w, or the reason why there is none; @body is
 * taken over. The last one that @w waits for completes the answer. */
void answer_collect(struct answer *w, const char *worker, json_t *body);

/* answer_wait - put it off. @timeout_ms from now. */
void answer_wait(struct answer *w, enum answer_wait wait, uint64_t timeout_ms);

/* answers_give - give everything that waits for @wait the same @body (taken over);
 * answers_give_up_to - with a `question` up to @question */
void answers_give(struct answers *all, enum answer_wait wait, json_t *body);
void answers_give_up_to(struct answers *all, enum answer_wait wait, uint64_t question,
                        json_t *body);

/* answers_give_one - the same to the one whose `question` is that, if it still waits */
void answers_give_one(struct answers *all, enum answer_wait wait, uint64_t question, json_t *body);

/* answers_turn - those that wait for @from wait for @to from now on */
void answers_turn(struct answers *all, enum answer_wait from, enum answer_wait to);

/* answers_forget - the asker is gone */
void answers_forget(struct answers *all, const struct asker *asker);

/* answers_on_scaled - @workers run, and no other number is wanted */
void answers_on_scaled(struct answers *all, uint32_t workers);

/* answers_on_spawned - actors may run that are waited for: @runs tells of a slot */
void answers_on_spawned(struct answers *all, bool (*runs)(const void *data, uint32_t slot),
                        const void *data);

/* answers_on_exit - process @pid is gone: its requests will not be answered */
void answers_on_exit(struct answers *all, pid_t pid, bool is_killed);

/* answers_on_reply - the worker @pid has replied to request @id; @body borrowed */
void answers_on_reply(struct answers *all, pid_t pid, uint64_t id, json_t *body);

/*
 * request_new - a message to @worker, process @pid, on behalf of @w; the caller sends it
 * request_cancel - it could not be sent
 * Returns the message's id; 0: too many are under way.
 */
uint64_t request_new(struct answer *w, const char *worker, pid_t pid);
void request_cancel(struct answers *all, uint64_t id);

#endif
