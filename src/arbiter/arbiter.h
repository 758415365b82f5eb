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
    const struct config_override
        *overrides; /* borrowed: command line, applied again at each reload */
    size_t n_overrides;
    int ready_fd;  /* owned; -1 = none. One line with the bound addresses when every worker is ready
                    */
    int status_fd; /* owned; -1 = none. The daemon's launcher waits here for its exit code (one
                      byte) */
    const struct actor_kind *worker; /* what is forked into the slots; borrowed */
};

/*
 * arbiter_run - serve until stopped
 * @config  taken over
 * @log     borrowed, open
 * Returns the exit code (sysexits, see echo-arbiter(8)).
 */
int arbiter_run(struct config *config, struct log *log, const struct arbiter_options *options);

#endif
