/*
 * Users and groups of a configuration: who owns unix sockets, and who may steer. Names become
 * numbers in the child that parses, since a name service may block; its parent only takes them
 * over.
 */
#ifndef CONF_CONFIG_OWNER_H
#define CONF_CONFIG_OWNER_H

#include <jansson.h>
#include <stdbool.h>
#include "conf/config.h"
#include "conf/config_errors.h"

/* config_owners_are_numbers - is there no name that has to be looked up? */
bool config_owners_are_numbers(const struct config *c);

/*
 * config_owners_look_up - {"users":{NAME:NUMBER},"groups":{NAME:NUMBER}} of all names in @c that
 * the system knows. May block. NULL without memory.
 */
json_t *config_owners_look_up(const struct config *c);

/*
 * config_owners_apply - fill in the numbers
 * @owners  as of config_owners_look_up, and not trusted; NULL = none
 * @errors  takes what is not known
 */
void config_owners_apply(struct config *c, const json_t *owners, struct config_errors *errors);

/* config_owners_encode - what config_owners_apply has filled in, for another process. NULL without
 * memory. */
json_t *config_owners_encode(const struct config *c);

#endif
