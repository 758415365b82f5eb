/*
 * Somebody has asked the arbiter something; the answer may come at once, when a reload or a
 * scaling is done, or when workers have answered. Each asker gets exactly one answer, in bounded
 * time.
 */
#ifndef ARBITER_ANSWER_H
#define ARBITER_ANSWER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/list.h"

enum { ANSWERS_MAX = 256, REQUESTS_MAX = 256, REQUEST_TIMEOUT_MS = 5000 };

struct arbiter;
struct control_client;

/* What an answer waits for. */
enum answer_wait {
    ANSWER_READY, /* nothing: it is being given */
    ANSWER_RELOAD, /* the reload under way */
    ANSWER_NEXT_RELOAD, /* the one after it */
    ANSWER_UPGRADE, /* the upgrade under way */
    ANSWER_SCALE, /* as many workers run as are wanted, and none is too much */
    ANSWER_EXIT, /* process `pid` is gone */
    ANSWER_WORKERS, /* `n_waiting` replies */
    ANSWER_LOG, /* the log's writer has opened its file anew */
};

struct answer {
    struct list link; /* in arbiter->answers */
    enum answer_wait wait;
    uint64_t deadline_ms;
    struct control_client *client; /* borrowed; NULL = gone, or the asker is a worker */
    json_t *id; /* owned: as the client gave it */
    uint32_t record; /* the asking worker, if `message_id` is not 0 */
    pid_t asker;
    uint64_t message_id;
    uint32_t workers_min, workers_max; /* ANSWER_SCALE: what was asked for; 0, 0 = is not known */
    pid_t pid; /* ANSWER_EXIT */
    uint32_t pid_record;
    bool is_map; /* ANSWER_WORKERS: all were asked */
    json_t *map; /* owned: what has come so far */
    unsigned n_waiting;
};

/* A request to a worker whose reply is awaited. */
struct request {
    uint64_t id; /* 0 = free */
    uint32_t record;
    pid_t pid;
    uint64_t deadline_ms;
    struct answer *answer; /* borrowed; NULL = nobody asks any more */
};

/* answer_new - for a control client or, with @client NULL, to be filled in for a worker. NULL: too
 * many, or no memory. */
struct answer *answer_new(struct arbiter *a, struct control_client *client, json_t *id);

/* answer_ok, answer_error, answer_give - give it and free it; @result and @body are taken over */
void answer_ok(struct arbiter *a, struct answer *w, json_t *result);
void answer_error(struct arbiter *a, struct answer *w, const char *code, const char *message);
void answer_give(struct arbiter *a, struct answer *w, json_t *body);

/* answer_collect - one more reply of a worker to @w, or the reason why there is none; @body is
 * taken over. The last one that @w waits for completes the answer. */
void answer_collect(struct arbiter *a, struct answer *w, uint32_t record, json_t *body);

/* answer_wait - put it off. @timeout_ms from now. */
void answer_wait(struct arbiter *a, struct answer *w, enum answer_wait wait, uint64_t timeout_ms);

/* answers_give - give everything that waits for @wait the same @body (borrowed) */
void answers_give(struct arbiter *a, enum answer_wait wait, json_t *body);

/* answers_advance - those that wait for the next reload now wait for the one under way */
void answers_advance(struct arbiter *a);

/* answers_postpone - the other way round: the one under way begins anew */
void answers_postpone(struct arbiter *a);

/* answers_forget - a control client is gone */
void answers_forget(struct arbiter *a, const struct control_client *client);

/* answers_on_settled - the engine rests: is a scaling done? */
void answers_on_settled(struct arbiter *a);

/* answers_on_exit - process @pid of @record is gone: its requests will not be answered */
void answers_on_exit(struct arbiter *a, uint32_t record, pid_t pid);

/* answers_on_reply - a worker has replied to request @id; @body borrowed */
void answers_on_reply(struct arbiter *a, uint32_t record, uint64_t id, json_t *body);

/* answers_sweep - what is past its deadline. Returns whether anything is left to wait for. */
bool answers_sweep(struct arbiter *a, uint64_t now_ms);

/* answers_fini - everybody who still waits hears that the arbiter stops */
void answers_fini(struct arbiter *a);

/*
 * request_send - forward a command to a worker on behalf of @w
 * @args  borrowed, may be NULL
 * Returns 0 or -errno (-ENOBUFS: too many under way).
 */
int request_send(struct arbiter *a, uint32_t record, const char *command, json_t *args,
                 struct answer *w);

#endif
