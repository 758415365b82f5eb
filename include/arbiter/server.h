/*
 * libarbiter: a server program. arb_main is all of its main: arguments, configuration, daemon,
 * arbiter, workers, reload, upgrade, control socket, statistics, log.
 */
#ifndef ARB_SERVER_H
#define ARB_SERVER_H

#include <arbiter/protocol.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define ARB_ABI 1 /* grows when something is taken away; checked by arb_main */

enum { ARB_PROTOCOLS_MAX = 8, ARB_KINDS_MAX = 8 };

struct arb_program {
    size_t size; /* sizeof(struct arb_program) where it was compiled: ARB_PROGRAM sets it */
    /* [a-z][a-z0-9-]*: in help, titles, messages, the runtime directory; only a program of the same
     * name can follow in an upgrade. */
    const char *name;
    const char *version; /* of the program */
    const char *doc; /* for --help, one paragraph */
    const struct arb_protocol *const *protocols; /* NULL-ended, at least one: the first is the
                                                    default of server.bind */
    const struct arb_kind *const *kinds; /* NULL-ended; NULL = only workers */

    /* -- in the arbiter, which must never block and never crash -- */
    /*
     * init - before the first actor is forked, and again in the new program after an upgrade, where
     * what was spawned before is still wanted
     * It has the rights of whoever has started the server. If that is root, all `start` and what
     * follows it run as arbiter.user, and open only what this user may.
     * @confs  one per protocol, in their order; borrowed until the next reload
     * Returns 0 or -errno: the server does not start, an upgrade is taken back.
     */
    int (*init)(struct arb_actor *arbiter, const void *const *confs, void **ret_data);
    void (*on_message)(void *data, const struct arb_message *message);
    void (*on_can_send)(void *data);
    struct arb_commands commands; /* arbiter.NAME, of the actor `arbiter`; `run` gets @data */

    /* Absolute: read without -c if it is there. NULL = without -c the built-in values serve. */
    const char *config;

    /*
     * -- in workers --
     * calls - names of system calls, NULL-ended, that the protocols make beyond what the functions
     * of this API do, such as "openat". A worker that makes another one is ended: its sandbox lets
     * through what the framework needs, and there are no files in it. `start` of a protocol is
     * called before the sandbox is entered: what it has opened can be used.
     * With any name there is no Landlock in workers, but still seccomp; with "*" there is neither.
     * NULL = none.
     */
    const char *const *calls;
};

/*
 * arb_main - run the program
 * @program  borrowed for ever
 * Returns the exit code of the process (sysexits.h). To be called from main, with its arguments,
 * before anything else: it changes descriptors, signals, limits and the process title.
 */
#define arb_main(program, argc, argv) arb_main_abi(ARB_ABI, program, argc, argv)
int arb_main_abi(unsigned abi, const struct arb_program *program, int argc, char **argv);

/* clang-format off */
#define ARB_PROGRAM(...) { .size = sizeof(struct arb_program), __VA_ARGS__ }
/* clang-format on */

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif
#endif
