/*
 * echo-arbiter: a server of the Echo protocol.
 */
#include "echo_arbiter/echo.h"

static const struct arb_program program = ARB_PROGRAM(
        .name = "echo-arbiter", .version = ECHO_VERSION,
        .protocols = (const struct arb_protocol *const[]){&echo_protocol, NULL},
        .config = ECHO_CONFIG,
        .doc = "A TCP echo server whose connections outlive its processes. See echo-arbiter(8).");

int main(int argc, char **argv)
{
    return arb_main(&program, argc, argv);
}
