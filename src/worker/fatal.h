/*
 * What a worker does when it crashes, or is aborted because it hangs: a line with what has
 * happened, a line with the call stack, and then the death that the signal means.
 */
#ifndef WORKER_FATAL_H
#define WORKER_FATAL_H

#include "actor/boot.h"
#include "net/conn.h"

/*
 * fatal_install - handle SEGV, BUS, FPE, ILL, ABRT, TRAP and SYS from now on, and let them through
 * @boot,@conns  borrowed for the life of the process
 * Once a process. Returns 0 or -errno.
 */
int fatal_install(const struct actor_boot *boot, const struct conn_set *conns);

#endif
