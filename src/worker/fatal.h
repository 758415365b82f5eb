/*
 * What a worker does when it crashes, or is aborted because it hangs: a line with what has
 * happened, a line with the call stack, and then the death that the signal means.
 */
#ifndef WORKER_FATAL_H
#define WORKER_FATAL_H

#include <signal.h>
#include <ucontext.h>

#include "actor/boot.h"
#include "net/conn.h"

enum { FATAL_FRAMES_MAX = 48, FATAL_PATIENCE_S = 2 };

/* What the steps of the handler are told. */
struct crash {
    int signo;
    const siginfo_t *info;
    const ucontext_t *context;
    const struct actor_boot *boot;
    const struct conn_set *conns;
};

/*
 * fatal_install - handle SEGV, BUS, FPE, ILL, ABRT, TRAP and SYS from now on, and let them through
 * @boot,@conns  borrowed for the life of the process
 * Once a process. Returns 0 or -errno.
 */
int fatal_install(const struct actor_boot *boot, const struct conn_set *conns);

/* fatal_pc - the program counter in @context; 0 on a machine that we do not know */
uintptr_t fatal_pc(const ucontext_t *context);

#endif
