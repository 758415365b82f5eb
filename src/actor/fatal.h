/*
 * What a process does when it crashes, or is aborted because it hangs: a line with what has
 * happened, a line with the call stack, and then the death that the signal means.
 */
#ifndef ACTOR_FATAL_H
#define ACTOR_FATAL_H

#include <stddef.h>
#include <stdint.h>

#include "actor/boot.h"
#include "actor/scoreboard.h"

/* What a process that serves connections adds. Called in the handler: async-signal-safe. */
struct fatal_hooks {
    /* save what can be saved, before all else */
    void (*rescue)(struct crash_record *r);
    /* the message that is being served; false = none */
    bool (*serving)(int *ret_fd, const uint8_t **ret_data, size_t *ret_len);
    /* whose message that is: the length of the address in @ret, 0 = not known */
    size_t (*peer)(uint8_t ret[CRASH_PEER_MAX]);
};

/*
 * fatal_install - handle SEGV, BUS, FPE, ILL, ABRT, TRAP and SYS from now on, and let them through
 * @boot   borrowed for the life of the process
 * @hooks  the same; NULL = none
 * Once a process. Returns 0 or -errno.
 */
int fatal_install(const struct actor_boot *boot, const struct fatal_hooks *hooks);

#endif
