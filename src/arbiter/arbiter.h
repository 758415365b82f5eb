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

struct arb_program;

/* The program that runs: what an upgrade executes anew. */
struct arbiter_image {
    const char *path; /* borrowed: of the executable, absolute */
    char *const *argv; /* borrowed: of the first start */
};

struct arbiter_options {
    /* From the command line, borrowed; applied again at each reload. */
    const struct config_override *overrides;
    size_t n_overrides;
    /* Called once, when every worker is ready; @addresses are the bound ones, space separated. */
    void (*on_serving)(const char *addresses, void *userdata);
    void *userdata; /* borrowed */
    const struct arb_program *program; /* borrowed: what the author has written */
    const struct config_schema *schema; /* borrowed: the keys of this program */
    /* What is forked: workers, actors of the program's other kinds, and the framework's own:
     * keepers and what shows over HTTP how the server is, of which NULL = there are none; borrowed.
     */
    const struct actor_kind *worker, *other, *keeper, *status;
    const struct arbiter_image *image; /* borrowed */
};

/*
 * arbiter_run - serve until stopped
 * @config  taken over
 * @log     borrowed, open: for what goes wrong before the configuration's own log is open
 * Returns the exit code (sysexits).
 */
int arbiter_run(struct config *config, struct log *log, const struct arbiter_options *options);

/*
 * arbiter_try_start - can a start with @config become whom it has to? Changes nothing.
 * @why  on failure: a sentence; CONFIG_WHY_LEN bytes
 * Returns 0 or the exit code that a start would have.
 */
int arbiter_try_start(const struct config *config, const struct arbiter_options *options,
                      char *why);

/* arbiter_signal_help - what the arbiter does with its @i-th signal, in words; NULL = there are no
 * more */
const char *arbiter_signal_help(size_t i, int *ret_signo);

/* What the image before this one has left. */
struct arbiter_inherited {
    int state_fd; /* taken over */
    int back_fd; /* taken over: its executable; -1 = there is no way back */
    const char
        *failed; /* borrowed: why an upgrade has come back to this image; NULL = it has not */
};

/*
 * arbiter_inherit - go on where the image before this one has stopped, until stopped
 * All signals are blocked. What goes wrong before it serves leads back to that image.
 * @options  without overrides; on_serving is not called: it has served
 * Returns as arbiter_run.
 */
int arbiter_inherit(const struct arbiter_inherited *inherited, struct log *log,
                    const struct arbiter_options *options);

/* What a program says on standard output in the dry run if it could, a line each: behind its name
 * its version, and that of the state which it would write for the way back (STATE_VERSION). */
#define ARBITER_CAN_INHERIT  " can go on: version "
#define ARBITER_WRITES_STATE "state "

/*
 * arbiter_try_inherit - the dry run: could this program do that? The process has to end with _exit.
 * @why  on failure: a sentence of at most ARBITER_WHY_LEN bytes
 * Returns 0 or -errno.
 */
enum { ARBITER_WHY_LEN = 256 };
int arbiter_try_inherit(int state_fd, const struct arbiter_options *options, char *why);

#endif
