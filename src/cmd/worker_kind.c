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
    struct echo_conf conf = {.separator = c->separator, .max_message = c->max_message};
    struct worker_protocol echo = {.table = &echo_server_protocol, .conf = &conf};
    struct frame_rule rule;

    if (echo_rule_init(&rule, c->separator.data, c->separator.len, c->max_message) < 0)
        return EX_SOFTWARE;
    echo.fingerprint = echo_rule_fingerprint(&rule);
    return worker_main(boot, &echo, 1);
}

const struct actor_kind echo_worker_kind = {"worker", serve_echo, &worker_commands};
