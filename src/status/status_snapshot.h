/*
 * What the arbiter has said of itself last, and when it is to be asked again: not before
 * STATUS_FRESH_MS have passed, whoever wants to see how much, and one question at a time. Time is
 * passed in. Runs in the status actor.
 */
#ifndef STATUS_STATUS_SNAPSHOT_H
#define STATUS_STATUS_SNAPSHOT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    STATUS_FRESH_MS = 250, /* as old as an answer may be */
    STATUS_ANSWER_MS = 2000, /* that the arbiter has for one, and who waits for it */
    STATUS_INFO_MAX_BYTES = 64 << 20,
};

struct status_snapshot {
    char *text; /* owned: JSON, `len` bytes; NULL = none has come */
    size_t len;
    json_t *info; /* owned: the same */
    uint64_t taken_ms; /* when it came */
    uint64_t asked_ms; /* a question is under way since then; 0 = none */
};

void status_snapshot_fini(struct status_snapshot *s);

/* status_snapshot_is_fresh - may it be shown? What is older would be taken for news. */
bool status_snapshot_is_fresh(const struct status_snapshot *s, uint64_t now_ms);

/* status_snapshot_may_ask - no question is under way that the arbiter could still answer */
bool status_snapshot_may_ask(const struct status_snapshot *s, uint64_t now_ms);

/*
 * status_snapshot_take - the arbiter's answer: memory that nobody can change any more
 * @fd  borrowed
 * Returns 0, or -EBADMSG, -ENOMEM or -errno, and the question is open.
 */
int status_snapshot_take(struct status_snapshot *s, int fd, uint64_t now_ms);

#endif
