/*
 * echo-arbiter: the program of the Echo protocol.
 */
#include "cmd/worker_kind.h"
#include "echo/echo.h"
#include "server/server.h"

static const struct arb_protocol *const protocols[] = {&echo_server_protocol, NULL};

static const struct arb_program program = ARB_PROGRAM(
        .name = "echo-arbiter", .version = ECHO_VERSION,
        .doc = "Pre-fork TCP echo server: an arbiter supervises worker processes that share its "
               "sockets. See echo-arbiter(8) and echo.conf(5).",
        .protocols = protocols);

int main(int argc, char **argv)
{
    return server_main(&program, &echo_worker_kind, argc, argv);
}
