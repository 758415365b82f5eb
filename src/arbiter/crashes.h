/*
 * The last crashes of workers, for the log and for `crashes`. Runs in the arbiter.
 */
#ifndef ARBITER_CRASHES_H
#define ARBITER_CRASHES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "actor/scoreboard.h"

enum { CRASHES_KEPT = 16, CRASH_PLACE_LEN = 96 };

struct log;
struct sandbox;

/* A record with what the arbiter knows of the process. */
struct crash_entry {
    uint64_t number; /* from 1; 0 = none */
    uint64_t wall_ns;
    char id[32]; /* of the actor */
    uint32_t slot; /* the number in it */
    uint64_t incarnation;
    pid_t pid;
    bool is_judged; /* its keeper has said what has become of its connections, or never will */
    bool is_oom; /* the kernel has killed it: it could not write a record itself */
    struct crash_record record; /* checked: every length is within its array */
    char call[32]; /* the system call that the sandbox has stopped; "" = none */
    char place[CRASH_PLACE_LEN]; /* "module+0xoffset" of the record's pc; "" = is not known */
    char places[CRASH_FRAMES_MAX][CRASH_PLACE_LEN]; /* of its frames */
};

struct crashes {
    uint64_t n; /* that there have been */
    struct crash_entry last[CRASHES_KEPT]; /* number n is at (n - 1) % CRASHES_KEPT */
};

/*
 * crashes_rescued - @count connections of the dead @id live on. Of one that the kernel has killed
 * its keeper alone knows; a record that the process wrote itself stays as it is.
 */
void crashes_rescued(struct crashes *c, const char *id, uint64_t count);

/*
 * crashes_note - a process has died of a fatal signal
 * @is_ours  this very image has forked it, so that what is loaded where is the same
 * @r        borrowed, untrusted: a process that went mad may have written anything there
 * @sandbox  borrowed: that knows the names of system calls
 * Keeps and logs it. Does nothing if the process could not write a record.
 */
void crashes_note(struct crashes *c, struct log *log, const char *id, uint32_t slot,
                  uint64_t incarnation, pid_t pid, bool is_ours, const struct crash_record *r,
                  const struct sandbox *sandbox);

/* crashes_note_oom - the kernel has killed a process because memory ran out; @r is what it had
 * counted, untrusted. Keeps and logs it. */
void crashes_note_oom(struct crashes *c, struct log *log, const char *id, uint32_t slot,
                      uint64_t incarnation, pid_t pid, uint64_t uptime_ms,
                      const struct score_record *r);

/* crashes_list - one object a crash, oldest first; crashes_show - one with its frames, NULL = no
 * such number */
json_t *crashes_list(const struct crashes *c);
/* crashes_brief - the same for people who watch: without registers, and without what clients sent
 */
json_t *crashes_brief(const struct crashes *c);
json_t *crashes_show(const struct crashes *c, uint64_t number);

#endif
