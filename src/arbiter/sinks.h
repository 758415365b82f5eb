/*
 * Where the log of one or more revisions goes, other than syslog: a pipe that the arbiter and the
 * workers write to without waiting, and a log writer that reads it. Runs in the arbiter, which
 * waits for a writer only before it serves and when it has stopped.
 */
#ifndef ARBITER_SINKS_H
#define ARBITER_SINKS_H

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/counters.h"
#include "base/list.h"
#include "base/log.h"

enum {
    SINKS_MAX = 8, /* at once; those that are left end with their last worker */
    SINK_OPEN_MS = 10000, /* to open the target, before that counts as failed */
    /* At the end, of the time that there is: the rest is for what is queued. */
    SINK_KILLED_MS = 50, /* for writers that have been killed to end */
    SINK_SAY_MS = 200, /* for those that say how many lines are lost */
    SINKS_END_MIN_MS = 300, /* for all of that, however late it is */
    SINK_RESTART_MS = 1000, /* between two starts of a writer */
};

struct sink {
    struct list link; /* in sinks->list */
    struct sinks *sinks; /* borrowed */
    char *path; /* owned; "" = standard error */
    bool is_daemon; /* standard error leads nowhere */
    unsigned refs; /* 0 = left: it ends when its last worker has ended */
    bool is_ready; /* a writer has opened the target at least once */
    bool is_leaving; /* the writer has been told to leave; another follows it */
    bool is_inherited; /* the writer is of an image before this: it knows no numbers of ours */
    int error; /* of the last attempt to open the target, -errno; 0 = it is open, or not tried yet
                */
    char why[256]; /* in words */
    /* Numbers of requests to open the target anew, from 1. One question is under way at a time; the
     * next one asks for all that have come meanwhile. */
    uint64_t wanted, asked, answered;
    int ends[2]; /* owned: the reading end, for the next writer, and the writing one; -1 = left */
    int control_fd; /* owned: to the writer; -1 = it is gone */
    pid_t pid; /* the writer; 0 = none */
    uint64_t started_ms;
    ev_io io;
    ev_timer timer; /* the next start of a writer */
};

struct sinks;

/* What sinks report; filled in by the wiring. */
struct sinks_ops {
    /* the target of @s has been opened for the first time, or could not be: s->error, s->why */
    void (*on_opened)(struct sinks *sinks, struct sink *s);
    /* it has been opened anew, or could not be: requests up to s->answered are done */
    void (*on_reopened)(struct sinks *sinks, struct sink *s);
};

/* All that there are. The owner fills in what is borrowed before it calls anything. */
struct sinks {
    struct list list; /* owned */
    struct ev_loop *loop; /* borrowed */
    struct log *const *log; /* borrowed: where that stands which the owner logs to now */
    counter_t *lost; /* borrowed: lines that the writers could not write */
    const struct sinks_ops *ops; /* borrowed */
};

/* sinks_name - for people */
const char *sinks_name(const struct sink *s);

/*
 * sinks_take - the sink for @path; if there is none yet, it is made and begins to open its target
 * @ret  counted, until sinks_release. Not ready yet: on_opened is called once it is known.
 * Returns 0 or -errno with @why.
 */
int sinks_take(struct sinks *sinks, const char *path, bool is_daemon, struct sink **ret, char *why,
               size_t size);

/* sinks_release - NULL is fine */
void sinks_release(struct sink *s);

/* sinks_wait - until it is ready. Blocks, up to SINK_OPEN_MS. Returns 0 or -errno: @s->why. */
int sinks_wait(struct sink *s);

/* sinks_reopen - all of them: the request has the number s->wanted then */
void sinks_reopen(struct sinks *sinks);

/* sinks_renew - writers of an older image end, and those of this one go on in their place */
void sinks_renew(struct sinks *sinks);

/* sinks_on_exit - a child has ended. Returns whether it was a writer. */
bool sinks_on_exit(struct sinks *sinks, pid_t pid, int status);

/*
 * sinks_inherit - one of the image before this, not held by anybody yet
 * @ends,@control_fd  taken over; -1 = there is none
 * Returns 0 or -ENOMEM.
 */
int sinks_inherit(struct sinks *sinks, const char *path, bool is_daemon, const int ends[2],
                  int control_fd, pid_t pid);

/* sinks_attach - begin to listen to those */
void sinks_attach(struct sinks *sinks);

/* sinks_fini - all logs are closed: wait for what is queued, then end the writers; all of that
 * until
 * @deadline_ms (clock_mono_ms) */
void sinks_fini(struct sinks *sinks, uint64_t deadline_ms);

#endif
