/*
 * The schemas that tests of the configuration use: made once, for the life of the process.
 */
#ifndef SUPPORT_SCHEMA_H
#define SUPPORT_SCHEMA_H

#include "conf/config.h"

/* schema_of_echo - the keys of echo-arbiter */
const struct config_schema *schema_of_echo(void);

/* What the protocol toy has: a key of each type. */
struct schema_toy {
    unsigned count, mood;
    uint64_t wait, room;
    bool is_loud;
    char greeting[16];
    struct arb_bytes mark;
};

enum { SCHEMA_ECHO, SCHEMA_TOY }; /* indices of the protocols */

/* schema_of_toys - the keys of a program of two protocols: those of echo-arbiter, and toy's, in the
 * group "toy" */
const struct config_schema *schema_of_toys(void);

#endif
