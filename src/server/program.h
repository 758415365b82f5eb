/*
 * The tables that an author has written, as this library knows them: checked, and as long as they
 * are here, whatever version of the headers they were compiled with. Pure.
 */
#ifndef SERVER_PROGRAM_H
#define SERVER_PROGRAM_H

#include <arbiter/server.h>

enum { PROGRAM_NAME_MAX = 31, PROGRAM_VERSION_MAX = 63, PROGRAM_WHY_LEN = 256 };

struct program {
    struct arb_program table; /* with the lists below */
    struct arb_protocol protocols[ARB_PROTOCOLS_MAX];
    struct arb_kind kinds[ARB_KINDS_MAX];
    const struct arb_protocol *protocol_list[ARB_PROTOCOLS_MAX + 1];
    const struct arb_kind *kind_list[ARB_KINDS_MAX + 1];
};

/*
 * program_take - copy and check; rows of keys, counters, commands and arguments stay where they are
 * @abi    ARB_ABI where the program was compiled
 * @given  texts, rows and callbacks are borrowed for as long as @ret
 * @ret    on 0; must not move afterwards
 * @why    else: a sentence of at most PROGRAM_WHY_LEN bytes
 * Returns 0 or -EINVAL.
 */
int program_take(unsigned abi, const struct arb_program *given, struct program *ret, char *why);

#endif
