/*
 * The worker of echo-arbiter: serves Echo by the rule of its configuration.
 */
#include "cmd/worker_kind.h"

#include <sysexits.h>

#include "conf/config.h"
#include "echo/echo.h"
#include "worker/worker.h"

static int serve_echo(const struct actor_boot *boot)
{
    const struct config *c = boot->config;
    struct frame_rule rule;

    if (echo_rule_init(&rule, c->separator.data, c->separator.len, c->max_message) < 0)
        return EX_SOFTWARE;
    return worker_main(boot, (struct protocol_binding){&echo_server_protocol, &rule,
                                                       echo_rule_fingerprint(&rule)});
}

const struct actor_kind echo_worker_kind = {"worker", serve_echo, &worker_commands};
