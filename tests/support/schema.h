/*
 * The schemas that tests of the configuration use: made once, for the life of the process.
 */
#ifndef SUPPORT_SCHEMA_H
#define SUPPORT_SCHEMA_H

#include "conf/config.h"
#include "echo_arbiter/echo.h"

/* schema_of_echo - the keys of echo-arbiter */
const struct config_schema *schema_of_echo(void);

/* Its own keys, by their place. */
enum { KEY_MAX_MESSAGE = CONFIG_KEYS, KEY_SEPARATOR, KEYS_OF_ECHO };

/* schema_conf_of_echo - the values of these in a configuration of this schema */
struct echo_conf *schema_conf_of_echo(const struct config *c);

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
