/*
 * The last snapshot of the arbiter, and when the arbiter may be asked for another one: one question
 * at a time, and at most one in STATUS_FRESH_MS, however many clients there are. A client never
 * gets a snapshot that is older than its request. When one status actor replaces another, both
 * answer for a while, and a client that asks first one and then the other must not see time run
 * backwards. Time is passed in. Runs in the status actor.
 */
#ifndef STATUS_STATUS_SNAPSHOT_H
#define STATUS_STATUS_SNAPSHOT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STATUS_FRESH_MS = 250, /* from a question to the next one */
    STATUS_ANSWER_MS = 2000, /* how long a client waits for the arbiter's answer */
    STATUS_INFO_MAX_BYTES = 64 << 20,
};

struct status_snapshot {
    char *text; /* owned: JSON, `len` bytes; NULL = none has come */
    size_t len;
    json_t *info; /* owned: `text`, parsed */
    uint64_t taken_ns; /* when, by the monotonic clock, which all processes share */
    uint64_t last_ms; /* when the arbiter was asked last; 0 = never */
    bool is_asking; /* a question is under way */
};

void status_snapshot_fini(struct status_snapshot *s);

/* status_snapshot_has - may a request that came at @since_ns be shown it? */
bool status_snapshot_has(const struct status_snapshot *s, uint64_t since_ns);

/* status_snapshot_wait_ms - until the arbiter may be asked; 0 = now. One that has not answered in
 * STATUS_ANSWER_MS is asked again. */
uint64_t status_snapshot_wait_ms(const struct status_snapshot *s, uint64_t now_ms);

/* status_snapshot_asked - a question is under way */
void status_snapshot_asked(struct status_snapshot *s, uint64_t now_ms);

/*
 * status_snapshot_take - the arbiter's answer: memory that nobody can change any more
 * @fd  borrowed
 * Returns 0, or -EBADMSG, -ENOMEM or -errno, and the question is open.
 */
int status_snapshot_take(struct status_snapshot *s, int fd, uint64_t taken_ns);

#endif
