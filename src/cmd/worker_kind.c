/*
 * The worker of echo-arbiter: serves the protocols of its program.
 */
#include "cmd/worker_kind.h"

#include <sysexits.h>

#include "worker/worker.h"

static int serve(const struct actor_boot *boot)
{
    struct worker_protocol protocols[ARB_PROTOCOLS_MAX];
    unsigned n;

    if (worker_protocols(boot, protocols, &n) < 0)
        return EX_OSERR;
    return worker_main(boot, protocols, n);
}

const struct actor_kind echo_worker_kind = {"worker", serve, &worker_commands};
