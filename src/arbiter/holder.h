/*
 * Who has an address that cannot be had at the start, as far as /proc tells: for the message, and
 * to get rid of workers of ours that were stopped, or hung, while their arbiter was killed.
 */
#ifndef ARBITER_HOLDER_H
#define ARBITER_HOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/log.h"

enum { HOLDERS_MAX = 64, HOLDER_TRIES = 200, HOLDER_STEP_MS = 10 };

struct holder {
    pid_t pid, parent;
    int pidfd; /* owned: what is signalled is what was looked at */
    char name[32];
    bool is_ours; /* this program, and this user */
    bool
        is_told; /* stopped, and SIGTERM waits for it: the kernel's word that its arbiter is gone */
};

struct holders {
    struct holder list[HOLDERS_MAX];
    size_t n;
    bool is_incomplete; /* there are more, or one cannot be looked at */
};

/* holders_find - who listens at @text, valid for addr_parse; holders_free - close their pidfds */
void holders_find(struct holders *h, const char *text);
void holders_free(struct holders *h);

/*
 * holders_are_strays - are all of them workers of ours that have lost their arbiter?
 * An arbiter holds each address of its workers, so that one whose parent does not has none. They
 * free the address by themselves as soon as they can.
 */
bool holders_are_strays(const struct holders *h);

/*
 * holders_push - strays for which SIGTERM waits are continued, so that they end by it; half way
 * through HOLDER_TRIES they are killed. Nobody else is touched.
 * @i  from 0, once each HOLDER_STEP_MS
 */
void holders_push(const struct holders *h, unsigned i, struct log *log);

/* holders_name - append to @why who they are, if that is known */
void holders_name(const struct holders *h, char *why, size_t why_size);

#endif
