/*
 * The main of a server program, for who brings a kind of worker of its own.
 */
#ifndef SERVER_SERVER_H
#define SERVER_SERVER_H

#include <arbiter/server.h>
#include "actor/boot.h"

/*
 * server_main - as arb_main
 * @program  borrowed for ever, checked
 * @worker   what is forked into the slots, borrowed for ever
 */
int server_main(const struct arb_program *program, const struct actor_kind *worker, int argc,
                char **argv);

#endif
