/*
 * Who has an address that cannot be had at the start, as far as /proc tells, and processes of ours
 * that were stopped, or hung, while their arbiter was killed: nobody else would ever end them.
 */
#ifndef BASE_HOLDER_H
#define BASE_HOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/log.h"

enum { HOLDERS_MAX = 64, HOLDER_TRIES = 200, HOLDER_STEP_MS = 10 };

struct holder {
    pid_t pid, parent;
    int pidfd; /* owned: what is signalled is what was looked at */
    char name[32];
    bool is_own_user; /* root has them all */
    bool is_alone; /* by its title the child of an arbiter, and its parent is none */
    bool is_stray; /* that, of this user or of any for root, and it executes this program's file */
    bool is_stopped; /* by a signal, not by a debugger */
    bool is_told; /* SIGTERM waits for it, which the kernel sends when the arbiter is gone */
};

struct holders {
    struct holder list[HOLDERS_MAX];
    size_t n;
    bool is_incomplete; /* there are more, or one cannot be looked at */
    bool is_inherited; /* this process has it, too, from whoever has started it */
};

/* holders_find - who listens at @text, valid for addr_parse; holders_free - close their pidfds */
void holders_find(struct holders *h, const char *text);
void holders_free(struct holders *h);

/*
 * holders_are_strays - have all of them lost their arbiter?
 * They free the address by themselves as soon as they can.
 */
bool holders_are_strays(const struct holders *h);

/* holders_continue - strays that are stopped and for which SIGTERM waits, so that they end by it */
void holders_continue(const struct holders *h, struct log *log);

/* holders_kill - strays for which SIGTERM still waits; nobody else is touched */
void holders_kill(const struct holders *h, struct log *log);

/* holders_name - append to @why who they are, if that is known */
void holders_name(const struct holders *h, char *why, size_t why_size);

/*
 * strays_mark - let this process, and those that it forks, show whose they are
 * @server  the same number is the same server
 * The mark is a mapping with a name, which is not inherited over an exec.
 */
void strays_mark(uint64_t server);

/*
 * strays_continue - strays with the mark of this process, as holders_continue
 * Whether they have the address or not: another of them may have freed it. Processes with the mark
 * that execute another file are named in @log. Those of another server are let alone.
 */
void strays_continue(struct log *log);

#endif
