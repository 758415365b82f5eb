/*
 * The arbiter: the one process that forks, listens and supervises. It never reads a client's bytes,
 * never blocks, and never ends because of a child, a client, a bad reload or a full disk.
 */
#ifndef ARBITER_ARBITER_H
#define ARBITER_ARBITER_H

#include <stddef.h>
#include "actor/boot.h"
#include "conf/config.h"
#include "conf/config_file.h"

struct arbiter_options {
    /* From the command line, borrowed; applied again at each reload. */
    const struct config_override *overrides;
    size_t n_overrides;
    /* Called once, when every worker is ready; @addresses are the bound ones, space separated. */
    void (*on_serving)(const char *addresses, void *userdata);
    void *userdata; /* borrowed */
    /* What is forked into the slots; borrowed. */
    const struct actor_kind *worker;
};

/*
 * arbiter_run - serve until stopped
 * @config  taken over
 * @log     borrowed, open: for what goes wrong before the configuration's own log is open
 * Returns the exit code (sysexits, see echo-arbiter(8)).
 */
int arbiter_run(struct config *config, struct log *log, const struct arbiter_options *options);

#endif
