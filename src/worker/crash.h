/*
 * What a worker adds to the handler of fatal signals: its keeper gets the idle connections that
 * it does not have yet, and the crash record tells which message it was serving.
 */
#ifndef WORKER_CRASH_H
#define WORKER_CRASH_H

#include "actor/boot.h"
#include "net/conn.h"
#include "net/keep.h"

/* crash_install - as fatal_install. All are borrowed for the life of the process. */
int crash_install(const struct actor_boot *boot, const struct conn_set *conns, struct keep *keep);

#endif
