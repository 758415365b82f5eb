/*
 * The schema that tests of the configuration use: made once, for the life of the process.
 */
#ifndef SUPPORT_SCHEMA_H
#define SUPPORT_SCHEMA_H

#include "conf/config.h"

/* schema_of_echo - the keys of echo-arbiter */
const struct config_schema *schema_of_echo(void);

#endif
