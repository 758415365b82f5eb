/*
 * The protocols of a worker: each is started in the order of the program, with its hold on the
 * process and its part of the configuration, and stopped in the other order.
 */
#ifndef WORKER_PROTOCOLS_H
#define WORKER_PROTOCOLS_H

#include <arbiter/server.h>

#include "actor/actor.h"
#include "actor/boot.h"
#include "net/conn.h"

struct protocols {
    struct arb_actor holds[ARB_PROTOCOLS_MAX];
    struct conn_protocol list[ARB_PROTOCOLS_MAX]; /* the same, with what `start` has made */
    unsigned n; /* that have started */
};

/*
 * protocols_start - before the worker is ready
 * @boot,@process  borrowed
 * Returns 0; -ENOMEM or what a `start` has said: logged, and those before it are stopped.
 */
int protocols_start(struct protocols *p, const struct actor_boot *boot,
                    struct actor_process *process);

/* protocols_run - connections come from now on */
void protocols_run(struct protocols *p);

/* protocols_stop - after the last on_close; a second time it does nothing */
void protocols_stop(struct protocols *p);

#endif
